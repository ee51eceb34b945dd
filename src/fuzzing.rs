//! Entrances for the fuzz targets; there under `--cfg fuzzing` only, and no part of the public
//! shape.

use crate::gates::wait_queue::model::Pair;
use crate::ground::time;

/// Runs the wait queue and its naive model side by side, four bytes a step; panics where they
/// disagree.
pub fn wait_queue(steps: &[u8]) {
    Pair::new(time::now()).run(steps.as_chunks::<4>().0);
    Pair::shedding(time::now()).run(steps.as_chunks::<4>().0);
}

/// Lines of `X-Forwarded-For` or `Forwarded` that a client forges.
#[cfg(feature = "tower")]
pub fn client_ip(lines: &[u8]) {
    crate::blocks::rate_limit::http::claims::client_ip(lines);
}

/// Lines of an answer's headers that speak of rate limits.
#[cfg(feature = "tower")]
pub fn rate_limit_headers(lines: &[u8]) {
    crate::blocks::rate_limit::http::claims::hint(lines);
}

/// A file of the pipeline's checkpoints, as a disk may have left it.
#[cfg(feature = "json")]
pub fn checkpoint_file(bytes: &[u8]) {
    crate::facade::pipeline::claims(bytes);
}

/// Lines of an environment that names proxies, and URLs to ask for.
#[cfg(feature = "http")]
pub fn proxy_environment(lines: &[u8]) {
    crate::blocks::http_transport::claims::proxy_environment(lines);
}

/// A body that comes compressed, cut into pieces: its first four bytes tell how.
#[cfg(feature = "compression")]
pub fn body_decoder(data: &[u8]) {
    crate::blocks::http_transport::claims::decoder::body(data);
}

/// Lines of a URL, a method, headers and a body that a user wrote.
#[cfg(feature = "http")]
pub fn http_input(lines: &[u8]) {
    crate::blocks::http_transport::claims::http_input(lines);
}

/// Lines of requests for an HTTP intake: paths, fields, bodies, keys.
#[cfg(feature = "ingest")]
pub fn http_intake(lines: &[u8]) {
    crate::edges::intake::http::claims::request(lines);
}

/// Bytes that claim to be a JSON document.
#[cfg(feature = "json")]
pub fn json_decode(bytes: &[u8]) {
    crate::edges::intake::json_claims(bytes);
}

/// Names of files in a watched directory, and status files.
#[cfg(all(feature = "watch", unix))]
pub fn watch_names(bytes: &[u8]) {
    crate::edges::intake::watch_claims(bytes);
}
