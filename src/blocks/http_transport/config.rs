//! What a transport may be told, and the three presets.

use std::borrow::Cow;
use std::time::Duration;

#[cfg(feature = "compression")]
use super::decoding::Decoding;
use super::proxy::Proxy;
#[cfg(feature = "tls")]
use super::tls_config::TlsConfig;
use crate::ground::config_error::ConfigError;

/// How a [`Transport`](super::Transport) pools connections and how long it waits for what.
///
/// Plain data. [`TransportFactory::transport`](super::TransportFactory::transport) checks it once;
/// equal configurations share one pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct TransportConfig {
    /// Metric label. It belongs to the pool: two names are two pools. Default: `"http"`.
    pub name: Cow<'static, str>,
    /// Idle connections kept over all hosts; above it the oldest is closed. 0 keeps none.
    /// Default: 100.
    pub idle_overall: usize,
    /// Idle connections kept per host; above it the oldest of that host is closed. Default: 20.
    pub idle_per_host: usize,
    /// Connections of one host, dialling ones included. 1 to `open_overall`. Default: 100.
    pub open_per_host: usize,
    /// Connections of all hosts, dialling ones included. Default: 1,000.
    ///
    /// Keep it above `open_per_host`: a host at its own cap then leaves room for the others.
    pub open_overall: usize,
    /// Hosts known at a time, 1 to 1,024. One without connections and waiters makes room for a
    /// new one; when there is none such, a request to a new host is refused. Default: 1,024.
    pub hosts: usize,
    /// Requests that may wait for a connection, per host. Graded by class: a low one is refused
    /// at 80 %, a normal one at 90 %. Default: 2,000.
    pub waiting_per_host: usize,
    /// What connections speak. Default: `Negotiated`.
    pub protocol: Protocol,
    /// Requests that one HTTP/2 connection carries at a time, unless the server allows fewer. The
    /// next connection is dialled when no more than an eighth of a host's is free. A server may send
    /// up to 1 MiB of each answer before it is read, so a connection holds no more than so many MiB.
    /// Default: 200.
    pub streams_per_connection: usize,
    /// How long a request waits for a connection. Default: 5 s.
    pub pool_wait_timeout: Duration,
    /// Through which proxy requests go, if through any. Default: `Direct`.
    pub proxy: Proxy,
    /// How long looking the name up and connecting may take, over all addresses, and through a
    /// proxy until it has opened the tunnel. Default: 5 s.
    pub dial_timeout: Duration,
    /// Which address of a host comes first. Default: `Preferred`.
    pub address_order: AddressOrder,
    /// How long one address has to itself before the next is tried beside it; the first that
    /// answers is taken ("happy eyeballs", RFC 8305). 10 ms to 2 s. Default: 250 ms.
    pub address_delay: Duration,
    /// How long the TLS handshake may take. Default: 10 s.
    pub tls_timeout: Duration,
    /// From handing the request to a connection, its body included, to the end of the answer's
    /// header. Default: 10 s.
    pub response_header_timeout: Duration,
    /// Requests whose body is larger than this, or of unknown length, say `Expect: 100-continue`, and
    /// so do those whose headers say so: their body is sent when the server asks for it, or after
    /// `expect_continue_wait`, and not at all when it has answered by then. Default: `None`, those
    /// alone whose headers say so.
    pub expect_continue_above: Option<usize>,
    /// How long such a request waits for the server's word. Default: 1 s.
    pub expect_continue_wait: Duration,
    /// The longest silence between two pieces of the answer's body. Default: 30 s.
    pub body_idle_timeout: Duration,
    /// From `send` to the last byte of the answer's body; waiting, dialling and a second attempt
    /// are inside it. Default: 30 s.
    pub total_timeout: Duration,
    /// How long a connection stays idle before it is closed. Default: 90 s.
    pub idle_timeout: Duration,
    /// How old a connection may get before it is closed instead of used again, ±10 % by chance so
    /// that connections dialled together don't end together. The name is looked up again for
    /// every new one. Default: 10 min.
    pub max_age: Duration,
    /// TCP keep-alive probes start after this silence. `None`: no probes. Default: 30 s.
    pub tcp_keep_alive: Option<Duration>,
    /// Bytes that are read of an answer nobody wants any more, so that its connection can be used
    /// again; where more is left, or it takes a second, it is closed. 0: none. Default: 64 KiB.
    pub drain_bytes: usize,
    /// Whom to trust over `https`, and who to be. Default: the public roots, and nobody.
    #[cfg(feature = "tls")]
    #[cfg_attr(feature = "serde", serde(skip))]
    pub tls: TlsConfig,
    /// The largest header of an answer, in bytes, 8 KiB to 1 MiB. Over HTTP/2 names and values
    /// count, and 32 bytes for each. Default: 64 KiB.
    pub max_header_bytes: usize,
    /// The largest body of an answer, in bytes, however it is read. Default: `None`, no limit beside
    /// that of the reader.
    pub max_body_bytes: Option<usize>,
    /// Whether compressed answers are asked for, and decoded. Only where the request doesn't say
    /// `Accept-Encoding` or `Range` itself; `Content-Encoding` and `Content-Length` are gone from an
    /// answer that is decoded. [`max_body_bytes`](Self::max_body_bytes) holds before and after.
    /// Default: `None`, they are not.
    #[cfg(feature = "compression")]
    pub decoding: Option<Decoding>,
    /// The largest answer `post_json` reads, in bytes. Default: 4 MiB.
    pub max_json_bytes: usize,
}

impl Default for TransportConfig {
    fn default() -> Self {
        Self {
            name: Cow::Borrowed("http"),
            idle_overall: 100,
            idle_per_host: 20,
            open_per_host: 100,
            open_overall: 1_000,
            hosts: MAX_HOSTS,
            waiting_per_host: 2_000,
            protocol: Protocol::Negotiated,
            streams_per_connection: 200,
            pool_wait_timeout: Duration::from_secs(5),
            proxy: Proxy::Direct,
            dial_timeout: Duration::from_secs(5),
            address_order: AddressOrder::Preferred,
            address_delay: Duration::from_millis(250),
            tls_timeout: Duration::from_secs(10),
            response_header_timeout: Duration::from_secs(10),
            expect_continue_above: None,
            expect_continue_wait: Duration::from_secs(1),
            body_idle_timeout: Duration::from_secs(30),
            total_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(90),
            max_age: Duration::from_secs(600),
            tcp_keep_alive: Some(Duration::from_secs(30)),
            drain_bytes: 64 << 10,
            #[cfg(feature = "tls")]
            tls: TlsConfig::default(),
            max_header_bytes: 64 << 10,
            max_body_bytes: None,
            #[cfg(feature = "compression")]
            decoding: None,
            max_json_bytes: 4 << 20,
        }
    }
}

/// What connections speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Protocol {
    /// HTTP/1.1 over `http`; over `https` HTTP/2 where the server agrees (ALPN), else HTTP/1.1.
    #[default]
    Negotiated,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only, over `http` as well: the server is known to speak it (prior knowledge, RFC
    /// 9113, section 3.3). One that doesn't fails the dial.
    Http2,
}

/// Which address of a host comes first, if it has several. The rest follow by turns of IPv6 and
/// IPv4, up to 16 in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum AddressOrder {
    /// The one that the system prefers (RFC 6724).
    #[default]
    Preferred,
    /// Each in turn, of either family: the connections of a host are spread evenly over what its
    /// name stands for. Meant for HTTP/1.1, whose connections are many; over HTTP/2 a host has
    /// one at a time as a rule. An address that does not answer costs its turn `address_delay`.
    RoundRobin,
}

/// The three ready-made configurations.
///
/// | | `Default` | `HighThroughput` | `Optimized` |
/// |---|---|---|---|
/// | idle overall / per host, open per host | 100/20, 100 | 200/50, 200 | 100/50, 100 |
/// | dial, TLS handshake | 5 s, 10 s | 5 s, 15 s | 10 s, 10 s |
/// | response header; idle; total | 10 s; 90 s; 30 s | 60 s; 120 s; 60 s | 30 s; 90 s; 30 s |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Preset {
    /// Short calls to ordinary services.
    #[default]
    Default,
    /// Many calls at once to slow answerers. Its 60 s are for a language model that sends its
    /// header only when the whole answer has been generated.
    HighThroughput,
    /// Few far-away hosts: longer dials, more idle connections per host.
    Optimized,
}

impl From<Preset> for TransportConfig {
    fn from(preset: Preset) -> Self {
        let config = Self::default();
        match preset {
            Preset::Default => config,
            Preset::HighThroughput => config
                .with_idle_overall(200)
                .with_idle_per_host(50)
                .with_open_per_host(200)
                .with_tls_timeout(Duration::from_secs(15))
                .with_response_header_timeout(Duration::from_secs(60))
                .with_body_idle_timeout(Duration::from_secs(60))
                .with_idle_timeout(Duration::from_secs(120))
                .with_total_timeout(Duration::from_secs(60)),
            Preset::Optimized => config
                .with_idle_per_host(50)
                .with_dial_timeout(Duration::from_secs(10))
                .with_response_header_timeout(Duration::from_secs(30)),
        }
    }
}

/// DESIGN's bound on hosts with a waiting room of their own.
const MAX_HOSTS: usize = 1_024;

macro_rules! with {
    ($($with:ident $field:ident: $kind:ty),* $(,)?) => {
        impl TransportConfig {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
                #[must_use]
                pub fn $with(mut self, $field: $kind) -> Self {
                    self.$field = $field;
                    self
                }
            )*
        }
    };
}

with! {
    with_idle_overall idle_overall: usize,
    with_idle_per_host idle_per_host: usize,
    with_open_per_host open_per_host: usize,
    with_open_overall open_overall: usize,
    with_hosts hosts: usize,
    with_waiting_per_host waiting_per_host: usize,
    with_protocol protocol: Protocol,
    with_streams_per_connection streams_per_connection: usize,
    with_pool_wait_timeout pool_wait_timeout: Duration,
    with_proxy proxy: Proxy,
    with_dial_timeout dial_timeout: Duration,
    with_address_order address_order: AddressOrder,
    with_address_delay address_delay: Duration,
    with_tls_timeout tls_timeout: Duration,
    with_response_header_timeout response_header_timeout: Duration,
    with_expect_continue_above expect_continue_above: Option<usize>,
    with_expect_continue_wait expect_continue_wait: Duration,
    with_body_idle_timeout body_idle_timeout: Duration,
    with_total_timeout total_timeout: Duration,
    with_idle_timeout idle_timeout: Duration,
    with_max_age max_age: Duration,
    with_tcp_keep_alive tcp_keep_alive: Option<Duration>,
    with_drain_bytes drain_bytes: usize,
    with_max_header_bytes max_header_bytes: usize,
    with_max_body_bytes max_body_bytes: Option<usize>,
    with_max_json_bytes max_json_bytes: usize,
}

impl TransportConfig {
    /// Sets [`name`](Self::name).
    #[must_use]
    pub fn with_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets [`decoding`](Self::decoding).
    #[cfg(feature = "compression")]
    #[must_use]
    pub fn with_decoding(mut self, decoding: Option<Decoding>) -> Self {
        self.decoding = decoding;
        self
    }

    /// Sets [`tls`](Self::tls).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, tls: TlsConfig) -> Self {
        self.tls = tls;
        self
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let counts = [
            ("http_transport.idle_overall", self.idle_overall, 0, MOST),
            ("http_transport.idle_per_host", self.idle_per_host, 0, MOST),
            ("http_transport.open_overall", self.open_overall, 1, MOST),
            ("http_transport.drain_bytes", self.drain_bytes, 0, MOST),
            ("http_transport.waiting_per_host", self.waiting_per_host, 1, MOST),
            ("http_transport.streams_per_connection", self.streams_per_connection, 1, MOST),
        ];
        for (field, value, least, most) in counts {
            let allowed = if least == 0 { "0..=1000000" } else { "1..=1000000" };
            ConfigError::unless((least..=most).contains(&value), field, value, allowed)?;
        }
        ConfigError::unless(
            (1..=self.open_overall).contains(&self.open_per_host),
            "http_transport.open_per_host",
            self.open_per_host,
            "1..=`open_overall`",
        )?;
        ConfigError::unless(
            (1..=MAX_HOSTS).contains(&self.hosts),
            "http_transport.hosts",
            self.hosts,
            "1..=1024",
        )?;
        self.check_sizes()?;
        #[cfg(feature = "compression")]
        self.decoding.map_or(Ok(()), Decoding::check)?;
        self.check_times()
    }

    fn check_sizes(&self) -> Result<(), ConfigError> {
        ConfigError::unless(
            (8 << 10..=1 << 20).contains(&self.max_header_bytes),
            "http_transport.max_header_bytes",
            self.max_header_bytes,
            "8192..=1048576",
        )?;
        ConfigError::unless(
            (1..=1 << 30).contains(&self.max_json_bytes),
            "http_transport.max_json_bytes",
            self.max_json_bytes,
            "1..=1073741824",
        )
    }

    fn check_times(&self) -> Result<(), ConfigError> {
        let keep_alive = self.tcp_keep_alive.unwrap_or(Duration::from_secs(1));
        let times = [
            ("http_transport.pool_wait_timeout", self.pool_wait_timeout),
            ("http_transport.dial_timeout", self.dial_timeout),
            ("http_transport.tls_timeout", self.tls_timeout),
            ("http_transport.response_header_timeout", self.response_header_timeout),
            ("http_transport.expect_continue_wait", self.expect_continue_wait),
            ("http_transport.body_idle_timeout", self.body_idle_timeout),
            ("http_transport.total_timeout", self.total_timeout),
            ("http_transport.idle_timeout", self.idle_timeout),
            ("http_transport.max_age", self.max_age),
            ("http_transport.tcp_keep_alive", keep_alive),
        ];
        ConfigError::unless(
            (Duration::from_millis(10)..=Duration::from_secs(2)).contains(&self.address_delay),
            "http_transport.address_delay",
            format_args!("{:?}", self.address_delay),
            "10ms..=2s",
        )?;
        for (field, value) in times {
            ConfigError::unless(
                (Duration::from_millis(1)..=Duration::from_secs(86_400)).contains(&value),
                field,
                format_args!("{value:?}"),
                "1ms..=1 day",
            )?;
        }
        Ok(())
    }
}

/// Above it a count is a mistake.
const MOST: usize = 1_000_000;
