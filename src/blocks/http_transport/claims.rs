//! What must hold whatever bytes come in: for the fuzz targets, whose seeds run with the tests.

#[cfg(feature = "compression")]
pub(crate) mod decoder;

use std::ffi::OsString;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use http::header::{HOST, HeaderName, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, DuplexStream, ReadBuf};

use super::config::{Protocol, TransportConfig};
use super::dial::tunnel;
use super::host::{HostKey, Names, prepare};
use super::proxy::{How, NoProxy, Proxy, ProxyRules, rules_of};
use super::request_body::TransportBody;

/// What a proxy's environment is read from.
pub(super) const VARIABLES: [&str; 9] = [
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "REQUEST_METHOD",
];

const SECRET: &str = "s3cret-c4nary";

/// The lines of `data` and the first byte of each. What is no text is left out.
fn lines(data: &[u8]) -> impl Iterator<Item = (usize, &str)> {
    data.split(|b| *b == b'\n').filter_map(|line| {
        let (first, rest) = line.split_first()?;
        Some((usize::from(*first), std::str::from_utf8(rest).ok()?))
    })
}

/// Lines of an environment, whose first bytes tell the variable, or that it is a URL to ask for.
pub(crate) fn proxy_environment(data: &[u8]) {
    let (mut set, mut urls) = (Vec::new(), vec!["http://a.example", "https://10.1.2.3:8443"]);
    for (kind, text) in lines(data) {
        match VARIABLES.get(kind % (VARIABLES.len() + 2)) {
            Some(name) => set.push((*name, text.to_owned())),
            None => urls.push(text),
        }
    }
    let rules = read(&set, |_, value| value.into());
    the_secret_is_never_told(&set);
    cgi_takes_no_proxy_from_clients(&set);
    let Ok(rules) = rules else { return };
    the_rules_are_read_again(&rules);
    for url in urls {
        let Ok(uri) = Uri::try_from(url) else { continue };
        for protocol in [Protocol::Negotiated, Protocol::Http2] {
            let config = TransportConfig::default().with_protocol(protocol);
            asked(&rules, &uri, &config);
        }
    }
}

fn read(
    set: &[(&str, String)],
    change: impl Fn(&str, &str) -> String,
) -> Result<ProxyRules, crate::ConfigError> {
    rules_of(|name| {
        let (name, value) = set.iter().find(|(known, _)| *known == name)?;
        Some(OsString::from(change(name, value)))
    })
}

fn the_secret_is_never_told(set: &[(&str, String)]) {
    for before in ["http://", "https://", "socks5://", ""] {
        for middle in [":", "%3a", ""] {
            let with_secret = |name: &str, value: &str| match name.to_ascii_lowercase().as_str() {
                "no_proxy" | "request_method" => value.to_owned(),
                _ => format!("{before}u{middle}{SECRET}@{value}"),
            };
            let told = match read(set, with_secret) {
                Ok(rules) => format!("{rules:?} {:?}", Proxy::from(rules.clone())),
                Err(error) => format!("{error:?} {error}"),
            };
            assert!(!told.contains(SECRET), "{told}");
        }
    }
}

fn cgi_takes_no_proxy_from_clients(set: &[(&str, String)]) {
    let mut cgi: Vec<_> = set.to_vec();
    cgi.push(("REQUEST_METHOD", "GET".to_owned()));
    let mut without = cgi.clone();
    without.retain(|(name, _)| !name.eq_ignore_ascii_case("http_proxy"));
    let [cgi, without] = [cgi, without].map(|set| read(&set, |_, value| value.into()));
    assert_eq!(cgi.ok(), without.ok());
}

fn the_rules_are_read_again(rules: &ProxyRules) {
    let again: Result<NoProxy, _> = rules.no_proxy.to_string().parse();
    assert_eq!(again.as_ref(), Ok(&rules.no_proxy));
    for url in rules.http.iter().chain(&rules.https) {
        let shown = url.to_string();
        assert!(!shown.contains('@'), "{shown}");
        let again: super::ProxyUrl = shown.parse().expect("what is shown is a url");
        assert_eq!((again.at(), again.authorization()), (url.at(), None));
        if let Some(value) = url.authorization() {
            let token = value.as_bytes().strip_prefix(b"Basic ").expect("the scheme");
            let is_base64 = |b: &u8| b.is_ascii_alphanumeric() || b"+/=".contains(b);
            assert!(value.is_sensitive() && token.iter().all(is_base64));
        }
    }
}

fn asked(rules: &ProxyRules, uri: &Uri, config: &TransportConfig) {
    let by =
        |rules: &ProxyRules| HostKey::of(uri, &config.clone().with_proxy(rules.clone().into()));
    let Ok(key) = by(rules) else { return };
    let own = if key.tls { &rules.https } else { &rules.http };
    if let Some(via) = &key.via {
        assert_eq!(Some(&via.proxy), own.as_ref());
        let tunnelled = key.tls || config.protocol == Protocol::Http2;
        assert_eq!(via.how == How::Tunnel, tunnelled);
    }
    // Nobody is exempt but by `no_proxy`, and by `*` all are.
    let via = |no_proxy: &str| {
        let no_proxy = no_proxy.parse().expect("it is one");
        by(&rules.clone().with_no_proxy(no_proxy)).expect("as before").via
    };
    assert_eq!(via("").is_some(), own.is_some());
    assert_eq!(via("*"), None);
    let exact = format!("{}:{}", key.authority.host(), key.port());
    // A name may hold what separates entries.
    if let (false, Ok(no_proxy)) = (exact.contains(','), exact.parse()) {
        let exempt = by(&rules.clone().with_no_proxy(no_proxy)).expect("as before");
        assert_eq!(exempt.via, None, "{exact}");
    }
}

/// Lines of a user's: a URL, a method, headers, a body; told apart by their first bytes.
pub(crate) fn http_input(data: &[u8]) {
    let (mut url, mut method, mut body) = ("http://a.example/", "GET", "");
    let mut headers = Vec::new();
    for (kind, text) in lines(data) {
        match kind % 5 {
            0 => url = text,
            1 => method = text,
            2 => body = text,
            _ => headers.push(text.split_once(':').unwrap_or((text, ""))),
        }
    }
    one_request_or_none(url, method, &headers, body);
}

/// What comes onto the wire is one request, to whom the URL names; or nothing at all.
pub(super) fn one_request_or_none(url: &str, method: &str, headers: &[(&str, &str)], body: &str) {
    let Ok(uri) = Uri::try_from(url) else { return };
    let proxy = "http://user:password@proxy.example:3128".parse().expect("it is a url");
    for proxy in [Proxy::Direct, ProxyRules::all(proxy).into()] {
        let config = TransportConfig::default().with_proxy(proxy);
        let Ok(key) = HostKey::of(&uri, &config) else { return };
        assert!(!key.authority.as_str().contains(['@', '/', ' ', '\\', '?', '#']));
        if let Some(via) = key.via.as_ref().filter(|via| via.how == How::Tunnel) {
            let written = connect(&key, via.proxy.authorization());
            a_tunnel_is_asked_for(&written, &key);
        }
        let mut request = Request::new(TransportBody::from(body.to_owned()));
        *request.uri_mut() = uri.clone();
        if let Ok(method) = Method::from_bytes(method.as_bytes()) {
            *request.method_mut() = method;
        }
        for (name, value) in headers {
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
            {
                request.headers_mut().append(name, value);
            }
        }
        let Ok(names) = prepare(&mut request, &key) else { continue };
        if names == Names::NoHost {
            // As it is done for each sending.
            let name = HeaderValue::from_str(key.authority.as_str()).expect("a name");
            request.headers_mut().insert(HOST, name);
        }
        if request.body().check_length(request.method()).is_err() {
            continue;
        }
        let own = request.headers().clone();
        is_one(&exchange(request), &own, body.as_bytes(), &key);
    }
}

/// A header's name and value.
type Line<'a> = (&'a str, &'a [u8]);

/// The request line's parts and the header lines, each checked; and what follows the head.
fn taken_apart(written: &[u8]) -> (Vec<&str>, Vec<Line<'_>>, &[u8]) {
    let end = written.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let (head, rest) = (&written[..end], &written[end + 4..]);
    let mut lines =
        head.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = std::str::from_utf8(lines.next().expect("a line")).expect("text");
    let headers = lines.map(|line| {
        assert!(!line.contains(&b'\r') && !line.starts_with(b" ") && !line.starts_with(b"\t"));
        let colon = line.iter().position(|b| *b == b':').expect("a header");
        let name = std::str::from_utf8(&line[..colon]).expect("a name");
        assert!(HeaderName::from_bytes(name.as_bytes()).is_ok(), "{name:?}");
        (name, line[colon + 1..].trim_ascii())
    });
    let line_ends = head.iter().filter(|b| **b == b'\n').count();
    assert_eq!(line_ends, head.iter().filter(|b| **b == b'\r').count(), "no lone ends of lines");
    (first.split(' ').collect(), headers.collect(), rest)
}

fn is_one(written: &[u8], own: &HeaderMap, body: &[u8], key: &HostKey) {
    let (line, headers, rest) = taken_apart(written);
    let [_, target, "HTTP/1.1"] = line[..] else { panic!("{line:?}") };
    let all = |name: &str| headers.iter().filter(|it| it.0.eq_ignore_ascii_case(name)).count();
    match &key.via {
        Some(via) if via.how == How::AbsoluteForm => {
            let authority = target.strip_prefix("http://").expect("absolute form");
            let authority = authority.split(['/', '?']).next().unwrap_or_default();
            assert_eq!(authority, key.authority.as_str());
            assert_eq!(own.get(PROXY_AUTHORIZATION), via.proxy.authorization());
            assert_eq!(all("proxy-authorization"), 1);
        }
        via => {
            assert!(target.starts_with('/'), "{target:?}");
            assert!(via.is_none() || all("proxy-authorization") == 0, "the host is told nothing");
        }
    }
    assert_eq!((all("host"), all("transfer-encoding"), all("upgrade")), (1, 0, 0));
    let lengths = all("content-length");
    assert_eq!(headers.len(), own.len() + lengths, "what was given, and a length");
    assert!(lengths == 1 || lengths == 0 && body.is_empty());
    for (name, value) in &headers {
        if name.eq_ignore_ascii_case("content-length") {
            assert_eq!(*value, body.len().to_string().as_bytes());
        }
    }
    assert_eq!(rest, body, "nothing follows it");
}

fn a_tunnel_is_asked_for(written: &[u8], key: &HostKey) {
    let (line, headers, rest) = taken_apart(written);
    let target = format!("{}:{}", key.authority.host(), key.port());
    assert_eq!(line, ["CONNECT", target.as_str(), "HTTP/1.1"]);
    let names: Vec<_> = headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    assert_eq!(names, ["host", "proxy-authorization"]);
    assert_eq!((headers[0].1, rest), (target.as_bytes(), &b""[..]));
}

/// What hyper writes of it.
fn exchange(request: Request<TransportBody>) -> Vec<u8> {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let sent = async {
        let begun = http1::handshake::<_, TransportBody>(TokioIo::new(ours)).await;
        let (mut sender, connection) = begun.expect("it begins at once");
        let (mut connection, mut answer) = (pin!(connection), pin!(sender.send_request(request)));
        let mut is_answered = false;
        std::future::poll_fn(|cx| {
            is_answered = is_answered || answer.as_mut().poll(cx).is_ready();
            connection.as_mut().poll(cx).map(drop)
        })
        .await;
    };
    written(sent, theirs)
}

fn connect(key: &HostKey, authorization: Option<&HeaderValue>) -> Vec<u8> {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    written(tunnel::open(ours, key, authorization, 1 << 16), theirs)
}

/// What a future writes before it has to wait for an answer.
fn written<F: Future>(writing: F, mut theirs: DuplexStream) -> Vec<u8> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut writing = pin!(writing);
    // Each part of it gets its turn to see what the others did.
    let _ = (0..8).any(|_| writing.as_mut().poll(&mut cx).is_ready());
    let (mut all, mut piece) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        let mut buf = ReadBuf::new(&mut piece);
        let read = Pin::new(&mut theirs).poll_read(&mut cx, &mut buf);
        if !matches!(read, Poll::Ready(Ok(()))) || buf.filled().is_empty() {
            return all;
        }
        all.extend_from_slice(buf.filled());
    }
}
