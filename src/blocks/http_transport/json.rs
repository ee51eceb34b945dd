//! JSON in, JSON out.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, Uri};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::body::Body;
use super::error::{Cause, TransportError};
use super::request_body::TransportBody;
use super::transport::{Transport, parse};
use crate::ground::retry_after::retry_after;
use crate::ground::time;

/// What a value is written into at first: it grows by taking larger buffers.
const BUFFER_BYTES: usize = 1_024;
/// Of an answer that is an error, this much is kept …
const PREFIX_BYTES: usize = 1_024;
/// … and this much read, so that the connection can be used again …
const DRAIN_BYTES: usize = 64 << 10;
/// … for so long at most. Dialling anew costs no more.
const DRAIN_TIME: Duration = Duration::from_secs(1);

impl Transport {
    /// Posts `value` as JSON and reads the answer as JSON.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and: `JsonEncode`; `Status` when the answer is not a 2xx;
    /// `BodyTooLarge` above `max_json_bytes`; `JsonDecode`.
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cost
    ///
    /// The value is written into a buffer of a [`BytesPool`](crate::BytesPool) that all transports
    /// of one configuration share, and which gets it back as soon as it has been sent. At most 8 MiB
    /// lie there unused, and none of more than 64 KiB.
    pub async fn post_json<T, R>(
        &self,
        url: impl TryInto<Uri>,
        value: &T,
    ) -> Result<R, TransportError>
    where
        T: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let mut request = Request::new(value);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = parse(url)?;
        self.send_json(request).await
    }

    /// As [`post_json`](Self::post_json), with a method, headers and extensions of one's own. The
    /// content type is JSON unless the request says another.
    ///
    /// # Errors
    ///
    /// As [`post_json`](Self::post_json).
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cost
    ///
    /// As [`post_json`](Self::post_json).
    pub async fn send_json<T, R>(&self, request: Request<&T>) -> Result<R, TransportError>
    where
        T: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let (parts, value) = request.into_parts();
        let shared = self.shared();
        let mut json = shared.buffers.take(BUFFER_BYTES);
        serde_json::to_writer(&mut json, value)
            .map_err(|error| TransportError::JsonEncode(Cause::new(error)))?;
        let mut request = Request::from_parts(parts, TransportBody::from(json.freeze()));
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().entry(CONTENT_TYPE).or_insert_with(|| json.clone());
        request.headers_mut().entry(ACCEPT).or_insert(json);
        let answer = self.json_answer(request).await?;
        serde_json::from_slice(&answer).map_err(|error| TransportError::JsonDecode {
            malformed: !error.is_data(),
            cause: Cause::new(error),
        })
    }

    async fn json_answer(&self, request: Request<TransportBody>) -> Result<Bytes, TransportError> {
        let most = self.shared().config.max_json_bytes;
        let answer = self.send(request).await?;
        if !answer.status().is_success() {
            return Err(refused(answer).await);
        }
        answer.into_body().bytes(most).await
    }
}

async fn refused(answer: Response<Body>) -> TransportError {
    let (status, retry_after) = (answer.status(), retry_after(answer.headers()));
    let mut body = answer.into_body();
    let (mut prefix, mut read) = (Vec::new(), 0);
    let drained = async {
        // What goes wrong in here does not matter: the status is the error.
        while let Some(Ok(chunk)) = body.chunk().await {
            let room = PREFIX_BYTES - prefix.len();
            prefix.extend_from_slice(&chunk[..chunk.len().min(room)]);
            read += chunk.len();
            if read > DRAIN_BYTES {
                break;
            }
        }
    };
    // What is not read by then closes its connection.
    let _ = time::until(time::later(time::now(), DRAIN_TIME), drained).await;
    TransportError::Status { status, retry_after, body: prefix.into() }
}
