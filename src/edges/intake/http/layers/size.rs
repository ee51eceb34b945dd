//! No head and no body that is too long.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Limited};

use crate::intake::http::config::HttpIntakeConfig;
use crate::intake::http::problem::{Kind, Problem};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request, whoever sends it: it fails where it becomes too long.
pub(in crate::edges::intake::http) struct Incoming {
    body: Limited<UnsyncBoxBody<Bytes, AnyError>>,
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

/// The request with a body that is bounded, unless its head is too long, or it says of its body that it
/// is.
pub(in crate::edges::intake::http) fn limited<B>(
    request: Request<B>,
    config: &HttpIntakeConfig,
) -> Result<Request<Incoming>, Problem>
where
    B: Body<Data = Bytes, Error: Into<AnyError>> + Send + 'static,
{
    if head_bytes(&request) > config.header_bytes {
        let detail = format!("the head of a request may have {} bytes", config.header_bytes);
        return Err(Problem::new(Kind::HeadTooLarge, detail));
    }
    let most = config.body_bytes;
    let said = request.body().size_hint();
    let is_too_long = |bytes: u64| usize::try_from(bytes).map_or(true, |bytes| bytes > most);
    if is_too_long(said.lower()) || said.upper().is_some_and(is_too_long) {
        return Err(too_large(most));
    }
    Ok(request.map(|body| {
        let body = body.map_err(Into::into).boxed_unsync();
        Incoming { body: Limited::new(body, most) }
    }))
}

/// About as many as came: names, values, and what HTTP/1 has around them.
fn head_bytes<B>(request: &Request<B>) -> usize {
    let target = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    target + fields.sum::<usize>()
}

pub(in crate::edges::intake::http) fn too_large(most: usize) -> Problem {
    Problem::new(Kind::BodyTooLarge, format!("a body may have {most} bytes"))
}
