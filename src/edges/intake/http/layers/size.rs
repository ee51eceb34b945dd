//! No body that is too long.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Limited};

use crate::intake::http::problem::{Kind, Problem};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request, whoever sends it: it fails where it becomes too long.
pub(in crate::edges::intake::http) struct Incoming {
    body: Limited<UnsyncBoxBody<Bytes, AnyError>>,
    most: usize,
}

impl Incoming {
    /// What it can come to: what it says of itself, or what it may.
    pub(in crate::edges::intake::http) fn most(&self) -> usize {
        self.most
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = AnyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The request with a body that is bounded, unless it says that it is too long.
pub(in crate::edges::intake::http) fn limited<B>(
    request: Request<B>,
    most: usize,
) -> Result<Request<Incoming>, Problem>
where
    B: Body<Data = Bytes, Error: Into<AnyError>> + Send + 'static,
{
    let said = request.body().size_hint();
    let is_too_long = |bytes: u64| usize::try_from(bytes).map_or(true, |bytes| bytes > most);
    if is_too_long(said.lower()) || said.upper().is_some_and(is_too_long) {
        return Err(too_large(most));
    }
    let upper = said.upper().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(most);
    Ok(request.map(|body| {
        let body = body.map_err(Into::into).boxed_unsync();
        Incoming { body: Limited::new(body, most), most: upper }
    }))
}

pub(in crate::edges::intake::http) fn too_large(most: usize) -> Problem {
    Problem::new(Kind::BodyTooLarge, format!("a body may have {most} bytes"))
}
