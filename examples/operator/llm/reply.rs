//! Requests and replies in the two styles seen in the field.

use std::time::Duration;

use hyper::{Response, StatusCode, header};
use serde_json::{Value, json};

use super::body::ReplyBody;
use super::fate::{Fate, Kind};
use super::rules;
use super::socket::ResetSwitch;

/// Whose protocol is spoken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Style {
    OpenAi,
    Ollama,
}

impl Style {
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path {
            "/api/generate" => Some(Self::Ollama),
            _ => path.ends_with("/v1/chat/completions").then_some(Self::OpenAi),
        }
    }
}

/// What was asked: the model's name and the operator's question.
#[derive(Debug)]
pub(crate) struct Prompt {
    model: String,
    question: String,
}

impl Prompt {
    /// Reads a request's body; an error is the text of a 400. The question is the last message
    /// (OpenAI), or the prompt's last line (Ollama): instructions may stand before it.
    pub(crate) fn read(style: Style, body: &[u8]) -> Result<Self, &'static str> {
        let body: Value = serde_json::from_slice(body).map_err(|_| "the body is not JSON")?;
        let model = body["model"].as_str().ok_or("model must be a string")?.to_owned();
        let question = match style {
            Style::OpenAi if body["stream"] == true => return Err("streaming is not offered"),
            Style::OpenAi => body["messages"]
                .as_array()
                .and_then(|messages| messages.last()?["content"].as_str())
                .ok_or("messages must hold at least one with a content")?,
            // Absent means true there.
            Style::Ollama if body["stream"] != false => return Err("streaming is not offered"),
            Style::Ollama => body["prompt"]
                .as_str()
                .and_then(|prompt| prompt.trim_end().lines().last())
                .ok_or("prompt must be a string that is not empty")?,
        };
        Ok(Self { model, question: question.to_owned() })
    }
}

/// The reply to a prompt, as its fate says. A hang has none: it is the server's.
pub(crate) fn reply(
    style: Style,
    prompt: &Prompt,
    fate: Fate,
    retry_after: Duration,
    switch: &ResetSwitch,
) -> Response<ReplyBody> {
    let output = rules::answer(&prompt.question);
    match fate.kind {
        Kind::RateLimited => rate_limited(style, retry_after),
        Kind::ServerError => {
            let statuses = [
                StatusCode::INTERNAL_SERVER_ERROR,
                StatusCode::BAD_GATEWAY,
                StatusCode::SERVICE_UNAVAILABLE,
                StatusCode::GATEWAY_TIMEOUT,
            ];
            let status = statuses[fate.variant as usize % statuses.len()];
            failure(style, status, "the model is not available", "server_error")
        }
        Kind::Plain | Kind::Hang => ok(ReplyBody::whole(envelope(style, prompt, &output, "stop"))),
        Kind::Prose => {
            let output = format!(
                "Sure! Here is the structured intent:\n\n```json\n{output}\n```\n\n\
                 Let me know if anything should be different."
            );
            ok(ReplyBody::whole(envelope(style, prompt, &output, "stop")))
        }
        Kind::Truncated => ok(ReplyBody::whole(truncated(style, prompt, &output, fate.variant))),
        Kind::Reset => {
            let whole = envelope(style, prompt, &output, "stop");
            ok(ReplyBody::cut(whole, switch.clone()))
        }
    }
}

/// A refusal or failure in the style's own form.
pub(crate) fn failure(
    style: Style,
    status: StatusCode,
    message: &str,
    code: &str,
) -> Response<ReplyBody> {
    let body = match style {
        Style::OpenAi => json!({"error": {"message": message, "type": code, "code": code}}),
        Style::Ollama => json!({"error": message}),
    };
    let mut response = ok(ReplyBody::whole(body.to_string()));
    *response.status_mut() = status;
    response
}

fn rate_limited(style: Style, retry_after: Duration) -> Response<ReplyBody> {
    let status = StatusCode::TOO_MANY_REQUESTS;
    let mut response = failure(style, status, "rate limit reached", "rate_limit_exceeded");
    let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
    let reset = header::HeaderValue::try_from(format!("{seconds}s"));
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, seconds.into());
    headers.insert("x-ratelimit-limit-requests", 60.into());
    headers.insert("x-ratelimit-remaining-requests", 0.into());
    if let Ok(reset) = reset {
        headers.insert("x-ratelimit-reset-requests", reset);
    }
    response
}

fn ok(body: ReplyBody) -> Response<ReplyBody> {
    let mut response = Response::new(body);
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// The model's output as the style wraps it.
fn envelope(style: Style, prompt: &Prompt, output: &str, reason: &str) -> String {
    let (asked, said) = (prompt.question.len() / 4, output.len() / 4);
    let body = match style {
        Style::OpenAi => json!({
            "id": "chatcmpl-stand-in",
            "object": "chat.completion",
            "model": prompt.model,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": output},
                "finish_reason": reason,
            }],
            "usage": {
                "prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said,
            },
        }),
        Style::Ollama => json!({
            "model": prompt.model, "response": output, "done": true, "done_reason": reason,
        }),
    };
    body.to_string()
}

/// Out of tokens in the middle of the object, nothing said at all, or an envelope that a proxy
/// cut short.
fn truncated(style: Style, prompt: &Prompt, output: &str, variant: u64) -> String {
    match variant % 4 {
        0 | 1 => envelope(style, prompt, half(output), "length"),
        2 => envelope(style, prompt, "", "length"),
        _ => half(&envelope(style, prompt, output, "stop")).to_owned(),
    }
}

/// The first half: of a JSON object never an object.
fn half(text: &str) -> &str {
    let ends = (0..=text.len() / 2).rev().find(|end| text.is_char_boundary(*end));
    &text[..ends.unwrap_or(0)]
}
