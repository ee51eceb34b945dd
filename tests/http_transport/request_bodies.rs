//! A request's body that is not what it said it would be.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use headworks::http_transport::{Protocol, TransportBody, TransportConfig, TransportError};
use http::Request;
use http_body::{Frame, SizeHint};

use crate::h2::serving;
use crate::server::{OK, Peer, Server, at_rest, patiently, transport};

/// Says that it has so many bytes, and has these.
struct Claims {
    length: u64,
    pieces: VecDeque<&'static str>,
    knows_its_end: bool,
}

impl http_body::Body for Claims {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = self.pieces.pop_front().map(|it| Bytes::from_static(it.as_bytes()));
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.knows_its_end && self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}

async fn server(protocol: Protocol) -> Server {
    if protocol == Protocol::Http2 {
        return serving(10, |request, mut respond| async move {
            let mut body = request.into_body();
            while let Some(piece) = body.data().await {
                if piece.is_err() {
                    return;
                }
            }
            let _ = respond.send_response(http::Response::new(()), true);
        })
        .await;
    }
    Server::running(|mut peer: Peer| async move {
        while peer.request().await.is_some() && peer.write(OK).await {}
    })
    .await
}

#[tokio::test]
async fn a_stream_of_another_length_than_it_claims_fails_the_request() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let server = server(protocol).await;
        let transport = transport(TransportConfig::default().with_protocol(protocol));
        for knows_its_end in [false, true] {
            for (pieces, well) in [
                (vec!["ab", "cde"], true),
                (vec!["abcde"], true),
                (vec!["ab"], false),
                (vec!["ab", ""], false),
                (vec![], false),
                (vec!["abcdefg"], false),
                (vec!["abc", "defg"], false),
            ] {
                let what = format!("{protocol:?}, {pieces:?}, {knows_its_end}");
                let body = Claims { length: 5, pieces: pieces.into(), knows_its_end };
                let request = Request::post(server.url("/")).body(TransportBody::stream(body));
                let result = patiently(transport.send(request.unwrap())).await;
                match result {
                    Ok(answer) => {
                        assert!(well, "{what}");
                        patiently(answer.into_body().bytes(10)).await.unwrap();
                    }
                    Err(error) => {
                        let own = matches!(error, TransportError::RequestBody(_));
                        assert!(!well && own, "{what}: {error:?}");
                        assert!(!error.is_retryable());
                    }
                }
            }
        }
        let counts = at_rest(&transport).await;
        assert_eq!(counts.open(), counts.idle, "{protocol:?}");
    }
}
