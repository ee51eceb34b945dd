//! What a URL of a proxy, an environment and a `NO_PROXY` mean.

use std::ffi::OsString;

use proptest::prelude::*;

use super::super::claims::{self, VARIABLES};
use super::super::config::{Protocol, TransportConfig};
use super::super::host::{HostKey, Names, prepare};
use super::super::proxy::{
    How, InvalidNoProxy, InvalidProxyUrl, NoProxy, Proxy, ProxyRules, ProxyUrl, rules_of,
};
use crate::TransportError;
use crate::ground::config_error::ConfigError;

fn environment(set: &[(&str, &str)]) -> Result<ProxyRules, ConfigError> {
    rules_of(|name| Some(OsString::from(set.iter().find(|(known, _)| *known == name)?.1)))
}

fn shown(proxy: &Option<ProxyUrl>) -> String {
    proxy.as_ref().map_or("-".to_owned(), ToString::to_string)
}

#[test]
fn a_proxys_url_is_read() {
    for (text, url, authorization) in [
        ("http://p.example:3128", "http://p.example:3128", None),
        ("p.example:3128", "http://p.example:3128", None),
        ("HTTP://p.example/", "http://p.example", None),
        ("http://p.example:80", "http://p.example", None),
        ("http://[2001:db8::1]:8080", "http://[2001:db8::1]:8080", None),
        ("http://Aladdin:opensesame@p", "http://p", Some("Basic QWxhZGRpbjpvcGVuc2VzYW1l")),
        ("Aladdin@p:1", "http://p:1", Some("Basic QWxhZGRpbjo=")),
        ("http://a:%40%3A%2f@p", "http://p", Some("Basic YTpAOi8=")),
        ("http://:p@p", "http://p", Some("Basic OnA=")),
        ("http://@p", "http://p", None),
    ] {
        let read: ProxyUrl = text.parse().unwrap();
        assert_eq!(read.to_string(), url, "{text}");
        let value = read.authorization().map(|it| it.to_str().unwrap());
        assert_eq!(value, authorization, "{text}");
    }
    let tls = "https://p.example:443".parse::<ProxyUrl>();
    if cfg!(feature = "tls") {
        assert_eq!(tls.unwrap().to_string(), "https://p.example");
    } else {
        assert_eq!(tls, Err(InvalidProxyUrl::Scheme));
    }
}

#[test]
fn what_is_no_proxys_url_is_refused_by_its_fault() {
    let long = format!("http://{}", "a".repeat(5_000));
    for (text, fault) in [
        ("socks5://p", InvalidProxyUrl::Scheme),
        ("://p", InvalidProxyUrl::Scheme),
        ("", InvalidProxyUrl::Host),
        ("http://", InvalidProxyUrl::Host),
        ("http://u:secret@", InvalidProxyUrl::Host),
        ("http:// p", InvalidProxyUrl::Host),
        ("http://p:0", InvalidProxyUrl::Port),
        ("http://p:99999", InvalidProxyUrl::Port),
        ("http://p:", InvalidProxyUrl::Port),
        ("http://p/path", InvalidProxyUrl::Path),
        ("http://p?q", InvalidProxyUrl::Path),
        ("http://p/@q", InvalidProxyUrl::Credentials),
        ("http://u:a b@p", InvalidProxyUrl::Credentials),
        ("http://u:%0d%0aHost: x@p", InvalidProxyUrl::Credentials),
        ("http://u%3A:secret@p", InvalidProxyUrl::Credentials),
        ("http://u:%00@p", InvalidProxyUrl::Credentials),
        (long.as_str(), InvalidProxyUrl::TooLong),
    ] {
        assert_eq!(text.parse::<ProxyUrl>().unwrap_err(), fault, "{text}");
    }
}

#[test]
fn an_environment_is_read_by_its_rules() {
    type Row<'a> = (&'a [(&'a str, &'a str)], [&'a str; 2]);
    let rows: &[Row<'_>] = &[
        (&[], ["-", "-"]),
        (&[("HTTP_PROXY", "a")], ["http://a", "-"]),
        (&[("HTTP_PROXY", "a"), ("http_proxy", "b")], ["http://b", "-"]),
        (&[("HTTP_PROXY", "a"), ("http_proxy", "")], ["http://a", "-"]),
        (&[("HTTPS_PROXY", " a ")], ["-", "http://a"]),
        (&[("ALL_PROXY", "a")], ["http://a", "http://a"]),
        (&[("ALL_PROXY", "a"), ("https_proxy", "b")], ["http://a", "http://b"]),
        // In a CGI program clients name HTTP_PROXY, and nothing else.
        (&[("HTTP_PROXY", "a"), ("REQUEST_METHOD", "GET")], ["-", "-"]),
        (&[("http_proxy", "a"), ("REQUEST_METHOD", "")], ["-", "-"]),
        (
            &[("HTTP_PROXY", "a"), ("all_proxy", "b"), ("REQUEST_METHOD", "GET")],
            ["http://b", "http://b"],
        ),
    ];
    for (set, expected) in rows {
        let rules = environment(set).unwrap();
        assert_eq!([shown(&rules.http), shown(&rules.https)], *expected, "{set:?}");
    }
}

#[test]
fn an_environment_that_cant_be_understood_is_refused_by_name_and_its_secrets_are_kept() {
    for (name, value) in [
        ("HTTP_PROXY", "http://user:secret@"),
        ("https_proxy", "socks5://user:secret@p"),
        ("ALL_PROXY", "http://user:secret@p:0"),
        ("NO_PROXY", "a.example,10.0.0.0/33"),
    ] {
        let error = environment(&[(name, value)]).unwrap_err();
        assert!(matches!(&error, ConfigError::Invalid { field, .. } if *field == name), "{error}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }
    let error = environment(&[("NO_PROXY", "a.example,10.0.0.0/33")]).unwrap_err();
    assert!(error.to_string().contains("10.0.0.0/33"), "{error}");
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt;
        let binary = |name: &str| (name == "HTTP_PROXY").then(|| OsString::from_vec(vec![0xff]));
        assert!(rules_of(binary).is_err());
    }
}

#[test]
fn secrets_are_never_shown() {
    let url: ProxyUrl = "http://user:secret@p.example".parse().unwrap();
    let config = TransportConfig::default().with_proxy(ProxyRules::all(url.clone()).into());
    let key = HostKey::of(&"http://a.example/".parse().unwrap(), &config).unwrap();
    let mut request = http::Request::new(());
    *request.uri_mut() = "http://a.example/".parse().unwrap();
    prepare(&mut request, &key).unwrap();
    for told in [
        format!("{url} {url:?}"),
        format!("{config:?}"),
        format!("{key:?} {key}"),
        format!("{request:?}"),
    ] {
        assert!(!told.contains("secret") && !told.contains("dXNlcjpzZWNyZXQ"), "{told}");
    }
    assert_eq!(request.headers()["proxy-authorization"], "Basic dXNlcjpzZWNyZXQ=");
}

fn exempt(no_proxy: &str, url: &str) -> bool {
    let rules = ProxyRules::all("p".parse().unwrap()).with_no_proxy(no_proxy.parse().unwrap());
    let config = TransportConfig::default().with_proxy(rules.into());
    HostKey::of(&url.parse().unwrap(), &config).unwrap().via.is_none()
}

#[test]
fn no_proxy_exempts_whom_it_names() {
    for (no_proxy, inside, outside) in [
        (
            "a.example",
            &[
                "http://a.example/",
                "http://A.Example:8080",
                "http://b.a.example",
                "http://a.example.",
            ][..],
            &["http://ba.example", "http://example", "http://a.example.org"][..],
        ),
        ("A.example.", &["http://a.example/"], &["http://b.example"]),
        (
            ".a.example",
            &["http://b.a.example", "http://c.b.a.example"],
            &["http://a.example", "http://ba.example"],
        ),
        ("*.a.example", &["http://b.a.example"], &["http://a.example"]),
        (
            "a.example:8080",
            &["http://a.example:8080", "http://b.a.example:8080"],
            &["http://a.example", "http://a.example:80"],
        ),
        ("a.example:80", &["http://a.example", "http://a.example:80"], &["http://a.example:8080"]),
        (
            "192.0.2.1",
            &["http://192.0.2.1", "http://[::ffff:192.0.2.1]"],
            &["http://192.0.2.10", "http://a.192.0.2.1"],
        ),
        ("192.0.2.1:81", &["http://192.0.2.1:81"], &["http://192.0.2.1"]),
        ("10.0.0.0/8", &["http://10.255.0.1:5"], &["http://11.0.0.1", "http://a.example"]),
        (
            "2001:db8::1",
            &["http://[2001:db8::1]", "http://[2001:0db8::0001]:9"],
            &["http://[2001:db8::2]"],
        ),
        ("[2001:db8::1]", &["http://[2001:db8::1]"], &["http://[2001:db8::2]"]),
        ("[2001:db8::1]:81", &["http://[2001:db8::1]:81"], &["http://[2001:db8::1]"]),
        ("fd00::/8", &["http://[fd12::1]"], &["http://[fe80::1]", "http://10.0.0.1"]),
        ("*", &["http://a.example", "http://[::1]"], &[]),
        ("*:81", &["http://a.example:81"], &["http://a.example"]),
        (
            " a.example , b.example\tc.example,,",
            &["http://a.example", "http://b.example", "http://c.example"],
            &["http://d.example"],
        ),
        ("", &[], &["http://a.example"]),
        (
            "localhost,127.0.0.1",
            &["http://localhost:1", "http://127.0.0.1:2"],
            &["http://[::1]", "http://127.0.0.2"],
        ),
    ] {
        for url in inside {
            assert!(exempt(no_proxy, url), "{url} by {no_proxy:?}");
        }
        for url in outside {
            assert!(!exempt(no_proxy, url), "{url} by {no_proxy:?}");
        }
    }
}

#[test]
fn what_no_proxy_cant_mean_is_refused() {
    for entry in [
        "10.0.0.0/33",
        "10.0.0.1/8",
        "0.0.0.0/0",
        "a.example/8",
        "a.example:0",
        "a:b",
        "a:+1",
        "192.168.*",
        "a*b",
        ".",
        "*.",
        "[::1",
        "[a]",
        "[::1]x",
        "http:a",
        "ü.example",
    ] {
        let refused = entry.parse::<NoProxy>();
        assert_eq!(refused, Err(InvalidNoProxy::Entry(entry.into())), "{entry}");
    }
    let many = "a,".repeat(1_025);
    assert_eq!(many.parse::<NoProxy>(), Err(InvalidNoProxy::TooMany));
    assert!("a,".repeat(1_024).parse::<NoProxy>().is_ok());
}

#[test]
fn a_proxy_reads_plain_requests_and_tunnels_the_others() {
    let config = TransportConfig::default();
    let proxied = config.clone().with_proxy(ProxyRules::all("p".parse().unwrap()).into());
    let of =
        |url: &str, config: &TransportConfig| HostKey::of(&url.parse().unwrap(), config).unwrap();
    let key = of("http://a", &proxied);
    assert_eq!(key.via.as_ref().unwrap().how, How::AbsoluteForm);
    assert_ne!(key, of("http://a", &config), "never mixed");
    assert_eq!(of("http://a", &config), of("http://a:80/x?y", &config));
    let h2 = proxied.clone().with_protocol(Protocol::Http2);
    assert_eq!(of("http://a", &h2).via.unwrap().how, How::Tunnel);
    #[cfg(feature = "tls")]
    assert_eq!(of("https://a", &proxied).via.unwrap().how, How::Tunnel);
}

#[test]
fn a_host_header_of_ones_own_must_be_the_urls_where_a_proxy_goes_by_it() {
    let config =
        TransportConfig::default().with_proxy(ProxyRules::all("p".parse().unwrap()).into());
    let uri: http::Uri = "http://a.example/x?y=1".parse().unwrap();
    let key = HostKey::of(&uri, &config).unwrap();
    for (host, fits) in
        [("a.example", true), ("A.example:80", true), ("b.example", false), ("", false)]
    {
        let mut request =
            http::Request::builder().uri(uri.clone()).header("host", host).body(()).unwrap();
        match prepare(&mut request, &key) {
            Ok(names) => assert!(fits && names == Names::ItsHost, "{host}"),
            Err(error) => {
                assert!(!fits && matches!(error, TransportError::InvalidRequest(_)), "{host}")
            }
        }
        if fits {
            assert_eq!(request.uri().to_string(), "http://a.example/x?y=1");
        }
    }
}

fn label() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "ab", "example", "A"]).prop_map(str::to_owned)
}

fn host() -> impl Strategy<Value = String> {
    prop::collection::vec(label(), 1..4).prop_map(|labels| labels.join("."))
}

proptest! {
    #![proptest_config(crate::ground::cases::cases(2_000))]

    /// The same by lists of labels.
    #[test]
    fn names_are_exempt_by_whole_labels(
        entries in prop::collection::vec((host(), any::<bool>(), prop::option::of(1..3_u16)), 0..4),
        host in host(),
        port in 1..3_u16,
    ) {
        let text: Vec<_> = entries.iter().map(|(name, below, port)| {
            let port = port.map_or(String::new(), |port| format!(":{port}"));
            format!("{}{name}{port}", if *below { "." } else { "" })
        }).collect();
        let labels = |name: &str| -> Vec<String> {
            name.to_ascii_lowercase().split('.').rev().map(str::to_owned).collect()
        };
        let asked = labels(&host);
        let expected = entries.iter().any(|(name, below, only)| {
            let own = labels(name);
            only.is_none_or(|only| only == port)
                && asked.starts_with(&own)
                && (!below || asked.len() > own.len())
        });
        prop_assert_eq!(exempt(&text.join(","), &format!("http://{host}:{port}/")), expected);
    }

    /// Whatever the variables hold.
    #[test]
    fn no_environment_breaks_the_rules(
        set in prop::collection::vec((0..VARIABLES.len() as u8 + 2, value()), 0..6),
    ) {
        let mut data = Vec::new();
        for (variable, value) in set {
            data.push(variable);
            data.extend(value.into_bytes());
            data.push(b'\n');
        }
        claims::proxy_environment(&data);
    }
}

fn value() -> impl Strategy<Value = String> {
    let pieces = [
        "http://",
        "https://",
        "socks5://",
        "user",
        ":",
        "password",
        "@",
        "p.example",
        ":3128",
        "/",
        "10.0.0.0",
        "/8",
        "[::1]",
        "*",
        ".",
        ",",
        " ",
        "%0d%0a",
        "%",
        "ü",
    ];
    let piece = prop_oneof![
        8 => prop::sample::select(pieces.to_vec()).prop_map(str::to_owned),
        1 => "[^\n]{0,4}",
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

#[cfg(all(feature = "serde", feature = "json"))]
#[test]
fn a_proxy_loads_from_any_serde_format_and_is_written_without_its_secret() {
    let load = |json: &str| serde_json::from_str::<TransportConfig>(json);
    assert_eq!(load(r#"{"proxy":"environment"}"#).unwrap().proxy, Proxy::Environment);
    assert_eq!(load(r#"{"proxy":"direct"}"#).unwrap().proxy, Proxy::Direct);
    let json = r#"{"proxy":{"rules":{"http":"http://u:secret@p:1","no_proxy":"a,10.0.0.0/8"}}}"#;
    let config = load(json).unwrap();
    let rules = ProxyRules::default()
        .with_http("u:secret@p:1".parse().unwrap())
        .with_no_proxy("a,10.0.0.0/8".parse().unwrap());
    assert_eq!(config.proxy, Proxy::Rules(rules));
    let written = serde_json::to_string(&config).unwrap();
    assert!(written.contains("http://p:1") && !written.contains("secret"), "{written}");
    for wrong in ["socks5://u:secret@p", "http://u:secret@"] {
        let error = load(&format!(r#"{{"proxy":{{"rules":{{"https":"{wrong}"}}}}}}"#)).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
