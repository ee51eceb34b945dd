//! What an HTTP intake is made from.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::HeaderValue;

use crate::ConfigError;
use crate::rate_limit::TieredQuota;

/// Where it listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bind {
    /// This port of 127.0.0.1: only what runs on this machine (in this pod) comes in. 0: a free one.
    Loopback(u16),
    /// This address, whoever can reach it: to be said by name, and never without a
    /// [`Bearer`](super::Bearer) unless something before it asks who comes. Nothing here speaks TLS.
    Anywhere(SocketAddr),
}

impl Bind {
    pub(super) fn address(self) -> SocketAddr {
        match self {
            Self::Loopback(port) => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            Self::Anywhere(address) => address,
        }
    }
}

/// Everything about an HTTP intake that is plain data. Checked by
/// [`HttpIntakeBuilder`](super::HttpIntakeBuilder).
///
/// ```
/// use headworks::intake::http::{Bind, HttpIntakeConfig};
///
/// let config = HttpIntakeConfig::default().with_bind(Bind::Loopback(9090));
/// assert_eq!(config.body_bytes, 1 << 20);
/// ```
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct HttpIntakeConfig {
    /// Label in metrics and logs. Default: `"intake"`.
    pub name: Cow<'static, str>,
    /// Where it listens. Default: `Bind::Loopback(8080)`.
    pub bind: Bind,
    /// Connections at once. Who comes beyond is told so with 503 and sent away. Default: 1,024.
    pub connections: usize,
    /// How long a connection may take for the head of a request, and how long it may idle between
    /// two. Who has begun one is told so with 408. Default: 10 s.
    pub header_timeout: Duration,
    /// The longest head of a request; beyond, 431. It has 100 fields at most. (What is four times as
    /// long, or has more fields, is answered without a document.) Default: 16 KiB.
    pub header_bytes: usize,
    /// The longest body; beyond, 413. Default: 1 MiB.
    pub body_bytes: usize,
    /// How long a whole body may take; beyond, 408. Default: 10 s.
    pub body_timeout: Duration,
    /// What has come, in all, of bodies that are being read; beyond, 503. Default: 64 MiB.
    pub bodies_bytes: usize,
    /// Documents in one body; beyond, 422. Default: 64.
    pub documents: usize,
    /// How long an answer waits until its intents are on disk; beyond, 503, and the ticket in it. And
    /// how long for the [`Bearer`](super::Bearer) before that. Default: 30 s.
    pub answer_timeout: Duration,
    /// How long a client may take nothing of what is written to it, an event stream included; then
    /// its connection is closed. (What the client's system takes for it counts as taken. Who has
    /// vanished from the network is noticed as soon, on Linux.) Default: 30 s.
    pub write_timeout: Duration,
    /// Event streams at once; beyond, 503. Default: 256.
    pub event_streams: usize,
    /// After so long without an event a stream has a comment, so that nobody between takes it for
    /// dead. Default: 15 s.
    pub heartbeat: Duration,
    /// Tickets that have not ended; beyond, 503. (The pipeline's own bound counts runs, and many
    /// tickets may join one.) Default: 100,000.
    pub live_tickets: usize,
    /// Tickets that have ended and can still be read. Default: 10,000.
    pub ended_tickets: usize,
    /// How long each of them can. Default: 1 h.
    pub ended_for: Duration,
    /// Idempotency keys that are remembered, each counted with as many as it had documents; the
    /// oldest are forgotten first. Default: 10,000.
    pub idempotency_keys: usize,
    /// How long each of them is. Default: 1 h.
    pub idempotency_for: Duration,
    /// How long an answer that will not change (what became of a ticket) is given again without
    /// asking anybody: that long a token that was withdrawn goes on reading what it has just read.
    /// `None`: never. Default: 10 s.
    pub cache_for: Option<Duration>,
    /// Origins (`https://host:port`) whose pages may use it from a browser. A `POST` that a browser
    /// sends from another page is refused with 403. Default: none.
    pub cors_origins: Vec<String>,
    /// How often one client may ask, and all together; health and readiness don't count. `None`: as
    /// often as they like. Default: `TieredQuota::default()`, 20/s for each address and 500/s for all.
    pub rate: Option<TieredQuota>,
    /// How full the pipeline's queue may be for it to call itself ready, in `0.0..=1.0`. Default: 0.9.
    pub ready_ratio: f64,
}

impl Default for HttpIntakeConfig {
    fn default() -> Self {
        Self {
            name: Cow::Borrowed("intake"),
            bind: Bind::Loopback(8080),
            connections: 1_024,
            header_timeout: Duration::from_secs(10),
            header_bytes: 16 << 10,
            body_bytes: 1 << 20,
            body_timeout: Duration::from_secs(10),
            bodies_bytes: 64 << 20,
            documents: 64,
            answer_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            event_streams: 256,
            heartbeat: Duration::from_secs(15),
            live_tickets: 100_000,
            ended_tickets: 10_000,
            ended_for: Duration::from_secs(3_600),
            idempotency_keys: 10_000,
            idempotency_for: Duration::from_secs(3_600),
            cache_for: Some(Duration::from_secs(10)),
            cors_origins: Vec::new(),
            rate: Some(TieredQuota::default()),
            ready_ratio: 0.9,
        }
    }
}

impl HttpIntakeConfig {
    /// Sets [`name`](Self::name).
    #[must_use]
    pub fn with_name(self, name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Sets [`bind`](Self::bind).
    #[must_use]
    pub fn with_bind(self, bind: Bind) -> Self {
        Self { bind, ..self }
    }

    /// Sets [`connections`](Self::connections).
    #[must_use]
    pub fn with_connections(self, connections: usize) -> Self {
        Self { connections, ..self }
    }

    /// Sets [`header_timeout`](Self::header_timeout).
    #[must_use]
    pub fn with_header_timeout(self, header_timeout: Duration) -> Self {
        Self { header_timeout, ..self }
    }

    /// Sets [`header_bytes`](Self::header_bytes).
    #[must_use]
    pub fn with_header_bytes(self, header_bytes: usize) -> Self {
        Self { header_bytes, ..self }
    }

    /// Sets [`body_bytes`](Self::body_bytes).
    #[must_use]
    pub fn with_body_bytes(self, body_bytes: usize) -> Self {
        Self { body_bytes, ..self }
    }

    /// Sets [`body_timeout`](Self::body_timeout).
    #[must_use]
    pub fn with_body_timeout(self, body_timeout: Duration) -> Self {
        Self { body_timeout, ..self }
    }

    /// Sets [`bodies_bytes`](Self::bodies_bytes).
    #[must_use]
    pub fn with_bodies_bytes(self, bodies_bytes: usize) -> Self {
        Self { bodies_bytes, ..self }
    }

    /// Sets [`documents`](Self::documents).
    #[must_use]
    pub fn with_documents(self, documents: usize) -> Self {
        Self { documents, ..self }
    }

    /// Sets [`answer_timeout`](Self::answer_timeout).
    #[must_use]
    pub fn with_answer_timeout(self, answer_timeout: Duration) -> Self {
        Self { answer_timeout, ..self }
    }

    /// Sets [`write_timeout`](Self::write_timeout).
    #[must_use]
    pub fn with_write_timeout(self, write_timeout: Duration) -> Self {
        Self { write_timeout, ..self }
    }

    /// Sets [`event_streams`](Self::event_streams).
    #[must_use]
    pub fn with_event_streams(self, event_streams: usize) -> Self {
        Self { event_streams, ..self }
    }

    /// Sets [`heartbeat`](Self::heartbeat).
    #[must_use]
    pub fn with_heartbeat(self, heartbeat: Duration) -> Self {
        Self { heartbeat, ..self }
    }

    /// Sets [`live_tickets`](Self::live_tickets).
    #[must_use]
    pub fn with_live_tickets(self, live_tickets: usize) -> Self {
        Self { live_tickets, ..self }
    }

    /// Sets [`ended_tickets`](Self::ended_tickets).
    #[must_use]
    pub fn with_ended_tickets(self, ended_tickets: usize) -> Self {
        Self { ended_tickets, ..self }
    }

    /// Sets [`ended_for`](Self::ended_for).
    #[must_use]
    pub fn with_ended_for(self, ended_for: Duration) -> Self {
        Self { ended_for, ..self }
    }

    /// Sets [`idempotency_keys`](Self::idempotency_keys).
    #[must_use]
    pub fn with_idempotency_keys(self, idempotency_keys: usize) -> Self {
        Self { idempotency_keys, ..self }
    }

    /// Sets [`idempotency_for`](Self::idempotency_for).
    #[must_use]
    pub fn with_idempotency_for(self, idempotency_for: Duration) -> Self {
        Self { idempotency_for, ..self }
    }

    /// Sets [`cache_for`](Self::cache_for).
    #[must_use]
    pub fn with_cache_for(self, cache_for: Option<Duration>) -> Self {
        Self { cache_for, ..self }
    }

    /// Sets [`cors_origins`](Self::cors_origins).
    #[must_use]
    pub fn with_cors_origins(self, cors_origins: Vec<String>) -> Self {
        Self { cors_origins, ..self }
    }

    /// Sets [`rate`](Self::rate).
    #[must_use]
    pub fn with_rate(self, rate: Option<TieredQuota>) -> Self {
        Self { rate, ..self }
    }

    /// Sets [`ready_ratio`](Self::ready_ratio).
    #[must_use]
    pub fn with_ready_ratio(self, ready_ratio: f64) -> Self {
        Self { ready_ratio, ..self }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let count = |value, field| {
            let allowed = (1..=1 << 24).contains(&value);
            ConfigError::unless(allowed, field, value, "1..=16777216")
        };
        count(self.connections, "intake.http.connections")?;
        count(self.documents, "intake.http.documents")?;
        count(self.event_streams, "intake.http.event_streams")?;
        count(self.live_tickets, "intake.http.live_tickets")?;
        count(self.ended_tickets, "intake.http.ended_tickets")?;
        count(self.idempotency_keys, "intake.http.idempotency_keys")?;
        let bytes = |value: usize, least, most, field, allowed| {
            ConfigError::unless((least..=most).contains(&value), field, value, allowed)
        };
        let (header, body) = (self.header_bytes, self.body_bytes);
        bytes(header, 1 << 10, 1 << 20, "intake.http.header_bytes", "1024..=1048576")?;
        bytes(body, 1, 1 << 28, "intake.http.body_bytes", "1..=268435456")?;
        let allowed = "at least body_bytes, at most 1099511627776";
        bytes(self.bodies_bytes, body, 1 << 40, "intake.http.bodies_bytes", allowed)?;
        for (time, field) in [
            (self.header_timeout, "intake.http.header_timeout"),
            (self.body_timeout, "intake.http.body_timeout"),
            (self.answer_timeout, "intake.http.answer_timeout"),
            (self.write_timeout, "intake.http.write_timeout"),
            (self.heartbeat, "intake.http.heartbeat"),
            (self.ended_for, "intake.http.ended_for"),
            (self.idempotency_for, "intake.http.idempotency_for"),
            (self.cache_for.unwrap_or(Duration::from_secs(1)), "intake.http.cache_for"),
        ] {
            let allowed = !time.is_zero() && time <= Duration::from_secs(30 * 86_400);
            ConfigError::unless(
                allowed,
                field,
                format_args!("{time:?}"),
                "more than 0, 30 days at most",
            )?;
        }
        let ratio = self.ready_ratio;
        ConfigError::unless(
            (0.0..=1.0).contains(&ratio),
            "intake.http.ready_ratio",
            ratio,
            "0.0..=1.0",
        )?;
        self.origins().map(drop)
    }

    pub(super) fn origins(&self) -> Result<Vec<HeaderValue>, ConfigError> {
        let allowed = "origins as a browser writes them: http://host or https://host:port";
        let one = |origin: &String| {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            let is_host = |host: &str| {
                let plain =
                    |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._:[]".contains(&b);
                !host.is_empty() && host.bytes().all(plain)
            };
            let value = HeaderValue::from_str(origin).ok().filter(|_| host.is_some_and(is_host));
            let wrong = || {
                ConfigError::invalid(
                    "intake.http.cors_origins",
                    format_args!("{origin:?}"),
                    allowed,
                )
            };
            value.ok_or_else(wrong)
        };
        self.cors_origins.iter().map(one).collect()
    }
}
