//! Asks an LLM over HTTP, in either of the two styles seen in the field.

use headworks::http_transport::{Transport, TransportError};
use http::uri::InvalidUri;
use http::{HeaderValue, Method, Request, Uri, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::Style;
use crate::intent::NetworkIntent;
use crate::prompt::{INSTRUCTIONS, user_message};

/// Longest answer that is asked for: an intent in fields comes back whole.
const MAX_TOKENS: u32 = 4096;

/// A model behind a URL.
#[derive(Clone, Debug)]
pub(crate) struct Llm {
    transport: Transport,
    url: Uri,
    style: Style,
    model: String,
    /// `Bearer …`, marked as secret.
    authorization: Option<HeaderValue>,
}

impl Llm {
    /// # Errors
    /// `url` with the style's path behind it is no URL.
    pub(crate) fn new(
        transport: Transport,
        url: &str,
        style: Style,
        model: &str,
        authorization: Option<HeaderValue>,
    ) -> Result<Self, InvalidUri> {
        let path = match style {
            Style::Openai => "/v1/chat/completions",
            Style::Ollama => "/api/generate",
        };
        let url = format!("{}{path}", url.trim_end_matches('/')).parse()?;
        Ok(Self { transport, url, style, model: model.to_owned(), authorization })
    }

    /// Where it is asked.
    pub(crate) fn url(&self) -> &Uri {
        &self.url
    }

    /// The model's words about an intent.
    ///
    /// # Errors
    /// As the transport: each error says whether another attempt may help.
    ///
    /// # Cancel safety
    /// Dropped, the call is abandoned and its connection closed.
    pub(crate) async fn ask(&self, intent: &NetworkIntent) -> Result<String, TransportError> {
        let transport = self.transport.with_priority(intent.priority);
        match self.style {
            Style::Openai => {
                let answer: Completion = self.send(&transport, &self.chat(intent)).await?;
                let first = answer.choices.into_iter().next();
                Ok(first.and_then(|choice| choice.message.content).unwrap_or_default())
            }
            Style::Ollama => {
                let answer: Generated = self.send(&transport, &self.prompt(intent)).await?;
                Ok(answer.response)
            }
        }
    }

    async fn send<R: for<'de> Deserialize<'de>>(
        &self,
        transport: &Transport,
        question: &Value,
    ) -> Result<R, TransportError> {
        let mut request = Request::new(question);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
        }
        transport.send_json(request).await
    }

    /// OpenAI style: instructions and data are messages of their own.
    fn chat(&self, intent: &NetworkIntent) -> Value {
        json!({
            "model": self.model,
            "messages": [
                { "role": "system", "content": INSTRUCTIONS },
                { "role": "user", "content": user_message(intent) },
            ],
            "max_tokens": MAX_TOKENS,
            "temperature": 0,
            "response_format": { "type": "json_object" },
        })
    }

    /// Ollama style: one prompt, whose last line is the data.
    fn prompt(&self, intent: &NetworkIntent) -> Value {
        json!({
            "model": self.model,
            "prompt": format!("{INSTRUCTIONS}\n\n{}", user_message(intent)),
            "stream": false,
        })
    }
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

#[derive(Deserialize)]
struct Generated {
    response: String,
}
