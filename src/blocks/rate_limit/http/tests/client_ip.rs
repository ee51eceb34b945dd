use std::net::{IpAddr, SocketAddr};

use http::Request;
use proptest::prelude::*;

use super::super::*;
use super::headers;
use crate::ConfigError;
use crate::ground::network::Network;

const XFF: &str = "x-forwarded-for";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Trusts `10.0.0.0/8`, `192.0.2.7` and `fd00::/8`.
fn proxies(header: ForwardingHeader) -> TrustedProxies {
    TrustedProxies::new(["10.0.0.0/8", "192.0.2.7", "fd00::/8"], header).unwrap()
}

/// The client by these lines, for a request that came from `peer`.
fn by_xff<const N: usize>(peer: &str, lines: [&str; N]) -> IpAddr {
    let headers = headers(lines.map(|line| (XFF, line)));
    proxies(ForwardingHeader::XForwardedFor).client(Some(ip(peer)), &headers).unwrap()
}

fn by_forwarded<const N: usize>(peer: &str, lines: [&str; N]) -> IpAddr {
    let headers = headers(lines.map(|line| ("forwarded", line)));
    proxies(ForwardingHeader::Forwarded).client(Some(ip(peer)), &headers).unwrap()
}

#[test]
fn whom_a_translator_speaks_for_has_a_bucket_of_his_own() {
    let key = |text| ClientIp::from(ip(text));
    assert_eq!(key("64:ff9b::192.0.2.1"), key("192.0.2.1"));
    assert_ne!(key("64:ff9b::192.0.2.1"), key("64:ff9b::192.0.2.2"));
    for beside in ["64:ff9b:0:0:0:1:c000:201", "64:ff9b:1::c000:201", "64:ff9c::c000:201"] {
        assert!(matches!(key(beside), ClientIp::V6(_)), "{beside}");
    }
}

#[test]
fn the_first_untrusted_address_from_the_right_is_the_client() {
    for (peer, lines, client) in [
        ("198.51.100.1", ["1.2.3.4"].as_slice(), "198.51.100.1"),
        ("10.0.0.1", &[], "10.0.0.1"),
        ("10.0.0.1", &["1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", &["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", &["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", &["6.6.6.6, 1.2.3.4,10.1.2.3 ,\t192.0.2.7"], "1.2.3.4"),
        ("10.0.0.1", &["1.2.3.4", "10.1.2.3", "192.0.2.7"], "1.2.3.4"),
        ("10.0.0.1", &["10.9.9.9, 10.1.2.3"], "10.9.9.9"),
        ("::ffff:10.0.0.1", &["::ffff:1.2.3.4"], "1.2.3.4"),
        ("fd00::1", &["1.2.3.4:5678"], "1.2.3.4"),
        ("fd00::1", &["[2001:db8::1]:5678"], "2001:db8::1"),
        ("fd00::1", &["[2001:db8::1]"], "2001:db8::1"),
        ("fd00::1", &["2001:db8::1"], "2001:db8::1"),
        ("192.0.2.8", &["1.2.3.4"], "192.0.2.8"),
    ] {
        let headers = headers(lines.iter().map(|line| (XFF, line)));
        let found = proxies(ForwardingHeader::XForwardedFor).client(Some(ip(peer)), &headers);
        assert_eq!(found, Some(ip(client)), "{peer} {lines:?}");
    }
}

#[test]
fn an_element_that_is_no_address_stops_at_the_proxy_that_wrote_it() {
    for bad in [
        "unknown",
        "_hidden",
        "",
        " ",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.4 5.6.7.8",
        "1.2.3.4:",
        "1.2.3.4:123456",
        "1.2.3.4:x",
        "01.2.3.4",
        "[2001:db8::1",
        "2001:db8::1]",
        "[2001:db8::1]5",
        "[1.2.3.4]",
        "fe80::1%eth0",
        "unix:",
        "for=1.2.3.4",
        "\"1.2.3.4\"",
    ] {
        assert_eq!(by_xff("10.0.0.1", [bad]), ip("10.0.0.1"), "{bad:?}");
        let line = format!("6.6.6.6, {bad}, 10.0.0.2");
        assert_eq!(by_xff("10.0.0.1", [&line]), ip("10.0.0.2"), "{bad:?}");
    }
}

#[test]
fn forwarded_is_read_as_its_rfc_says() {
    for (line, client) in [
        ("for=192.0.2.43", "192.0.2.43"),
        ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
        ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
        ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17"),
        ("by=10.0.0.9;host=\"a,b;for=6.6.6.6\";for=1.2.3.4", "1.2.3.4"),
        ("for=1.2.3.4;host=\"a\\\",for=6.6.6.6\"", "1.2.3.4"),
        ("for=1.2.3.4;host=\"a\\\\\"", "1.2.3.4"),
        ("for=6.6.6.6, for=1.2.3.4; proto=https;", "1.2.3.4"),
        ("for=\"1.2.3.4:_hidden\"", "1.2.3.4"),
        ("for=1.2.3.4:80", "1.2.3.4"),
        ("for=1.2.3.4, for=10.0.0.2;by=10.0.0.1", "1.2.3.4"),
        // From here on the proxy stands for whoever it was.
        ("for=unknown", "10.0.0.1"),
        ("for=_SEVKISEK", "10.0.0.1"),
        ("for=1.2.3.4, proto=http", "10.0.0.1"),
        ("for=1.2.3.4;for=5.6.7.8", "10.0.0.1"),
        ("for=\"1.2.3.4", "10.0.0.1"),
        ("for=1.2.3.4\"", "10.0.0.1"),
        ("for=\"1.2.3.\\4\"", "10.0.0.1"),
        ("for 1.2.3.4", "10.0.0.1"),
        ("1.2.3.4", "10.0.0.1"),
        ("for=1.2.3.4, ", "10.0.0.1"),
        ("for=1.2.3.4;x", "10.0.0.1"),
    ] {
        assert_eq!(by_forwarded("10.0.0.1", [line]), ip(client), "{line}");
    }
    assert_eq!(by_forwarded("10.0.0.1", ["for=6.6.6.6", "for=1.2.3.4"]), ip("1.2.3.4"));
}

#[test]
fn a_quote_that_a_client_left_open_swallows_nothing_to_its_right() {
    for open in ["for=\"", "\"", "for=\"6.6.6.6\\", "x=\"\\\"", "for=6.6.6.6;\"\\\\\""] {
        let line = format!("{open}, for=1.2.3.4;host=\"x\"");
        assert_eq!(by_forwarded("10.0.0.1", [&line]), ip("1.2.3.4"), "{line}");
    }
}

#[test]
fn only_the_named_header_is_believed() {
    let lines = [(XFF, "1.2.3.4"), ("forwarded", "for=6.6.6.6"), ("x-real-ip", "6.6.6.6")];
    let peer = Some(ip("10.0.0.1"));
    let client = |header| proxies(header).client(peer, &headers(lines));
    assert_eq!(client(ForwardingHeader::XForwardedFor), Some(ip("1.2.3.4")));
    assert_eq!(client(ForwardingHeader::Forwarded), Some(ip("6.6.6.6")));
}

#[test]
fn a_row_of_trusted_ones_is_read_so_far() {
    let line = |count| vec!["10.0.0.3"; count].join(", ");
    let client = |count| by_xff("10.0.0.1", [&format!("1.2.3.4, 10.0.0.2, {}", line(count))]);
    assert_eq!(client(30), ip("1.2.3.4"), "the word of 32");
    assert_eq!(client(31), ip("10.0.0.2"));
    assert_eq!(client(10_000), ip("10.0.0.3"));
}

#[test]
fn networks_hold_what_they_say() {
    let trusted = |network: &str, address: &str| {
        let proxies = TrustedProxies::new([network], ForwardingHeader::default()).unwrap();
        let headers = headers([(XFF, "1.2.3.4")]);
        proxies.client(Some(ip(address)), &headers) == Some(ip("1.2.3.4"))
    };
    for (network, inside, outside) in [
        ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
        ("128.0.0.0/1", "128.0.0.0", "127.255.255.255"),
        ("192.0.2.4/30", "192.0.2.7", "192.0.2.8"),
        ("192.0.2.4/32", "192.0.2.4", "192.0.2.5"),
        ("192.0.2.4", "::ffff:192.0.2.4", "192.0.2.3"),
        ("::ffff:192.0.2.0/120", "192.0.2.200", "192.0.3.1"),
        ("fd00::/8", "fdff::1", "fe00::1"),
        ("2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"),
        ("8000::/1", "ffff::", "7fff::"),
        ("2001:db8::1", "2001:db8::1", "2001:db8::"),
        ("c000::/2", "c000::1", "192.0.2.1"),
    ] {
        assert!(trusted(network, inside), "{inside} in {network}");
        assert!(!trusted(network, outside), "{outside} in {network}");
    }
}

#[test]
fn what_is_no_network_is_told() {
    for bad in [
        "",
        "/",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.1/8",
        "10.0.0.0/+8",
        "10.0.0.0/ 8",
        "10/8",
        "0.0.0.0/0",
        "::/0",
        "::/129",
        "fd00::1/8",
        "::ffff:0.0.0.0/96",
        "::ffff:0:0/90",
        "example.com",
        "10.0.0.0/8/8",
        "10.0.0.0/0008",
    ] {
        let error = TrustedProxies::new([bad], ForwardingHeader::default()).unwrap_err();
        let ConfigError::Invalid { field, value, .. } = &error else { panic!("{error}") };
        assert_eq!(*field, "rate_limit.http.trusted_proxies");
        assert_eq!(*value, format!("{bad:?}"));
    }
    let many = |count: usize| vec!["10.0.0.0/8"; count];
    TrustedProxies::new(many(1_024), ForwardingHeader::default()).unwrap();
    TrustedProxies::new(many(1_025), ForwardingHeader::default()).unwrap_err();
}

#[test]
fn the_peer_comes_from_the_extensions() {
    let key = |request: &Request<()>| TrustedProxies::none().key(request);
    let mut request = Request::new(());
    request.headers_mut().insert(XFF, "1.2.3.4".parse().unwrap());
    assert_eq!(key(&request), ClientIp::Unknown, "whatever headers say");
    let plain: SocketAddr = "192.0.2.1:80".parse().unwrap();
    request.extensions_mut().insert(plain);
    assert_eq!(key(&request).to_string(), "192.0.2.1");
    request.extensions_mut().insert(PeerAddr("[2001:db8::5]:80".parse().unwrap()));
    assert_eq!(key(&request).to_string(), "2001:db8::/64", "ours before the plain one");
}

#[test]
fn keys_are_small() {
    assert_eq!(size_of::<ClientIp>(), 9);
    assert_eq!(ClientIp::from(None).to_string(), "unknown");
}

fn any_ip() -> impl Strategy<Value = IpAddr> {
    let trusted = (0..=255_u8).prop_map(|last| IpAddr::from([10, 0, 0, last]));
    let v6 = any::<u128>().prop_map(|bits| IpAddr::from(bits.to_be_bytes()));
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), v6, trusted]
}

/// What a client may write: any bytes that HTTP lets through, often ones that mean something.
fn forged() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any_ip().prop_map(|ip| ip.to_string().into_bytes()),
        prop::sample::select(vec![
            "for=",
            "for=\"",
            "\"",
            "\\",
            ",",
            ";",
            "=",
            " ",
            "\t",
            "[",
            "]",
            ":80",
            "unknown",
            "_x",
            "by=",
            "host=\"a,b\"",
        ])
        .prop_map(|piece| piece.as_bytes().to_vec()),
        prop::collection::vec(prop_oneof![Just(b'\t'), b' '..=b'~', 0x80..=0xff_u8], 0..6),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Nobody in front of these.
fn clients() -> impl Strategy<Value = IpAddr> {
    let is_client = |ip: &IpAddr| {
        let headers = headers([(XFF, "1.2.3.4"), ("forwarded", "for=1.2.3.4")]);
        proxies(ForwardingHeader::default()).client(Some(*ip), &headers) == Some(ip.to_canonical())
    };
    any_ip().prop_filter("in a trusted network", is_client)
}

/// How a proxy writes an address down.
fn written(header: ForwardingHeader, ip: IpAddr, form: u8) -> String {
    match (header, ip, form % 3) {
        (ForwardingHeader::XForwardedFor, IpAddr::V4(v4), 1) => format!("{v4}:80"),
        (ForwardingHeader::XForwardedFor, IpAddr::V6(v6), 1) => format!("[{v6}]:80"),
        (ForwardingHeader::XForwardedFor, ..) => ip.to_string(),
        (_, IpAddr::V4(v4), 1) => format!("by=x;for=\"{v4}:80\";host=\"a,\\\"b\""),
        (_, IpAddr::V6(v6), 1) => format!("by=x;for=\"[{v6}]:80\";host=\"a,\\\\\""),
        (_, IpAddr::V4(v4), _) => format!("for={v4};proto=https"),
        (_, IpAddr::V6(v6), _) => format!("for=\"[{v6}]\""),
    }
}

proptest! {
    #![proptest_config(crate::ground::cases::cases(256))]

    /// Straight to us: what it writes means nothing.
    #[test]
    fn a_client_can_not_choose_its_key(client in clients(), forged in forged()) {
        let headers = headers([(XFF, &forged), ("forwarded", &forged)]);
        for header in [ForwardingHeader::XForwardedFor, ForwardingHeader::Forwarded] {
            let found = proxies(header).client(Some(client), &headers);
            prop_assert_eq!(found, Some(client.to_canonical()));
            prop_assert_eq!(proxies(header).client(None, &headers), None);
        }
    }

    /// Through trusted proxies, each of which appends, in the same line or in one of its own: it
    /// is always the address that the first of them saw.
    #[test]
    fn nor_through_a_trusted_proxy(
        client in clients(),
        forged in prop::collection::vec(forged(), 0..3),
        others in prop::collection::vec((0..=255_u8, any::<u8>(), any::<bool>()), 0..4),
        form in any::<u8>(),
        is_own_line in any::<bool>(),
    ) {
        for (name, header) in
            [(XFF, ForwardingHeader::XForwardedFor), ("forwarded", ForwardingHeader::Forwarded)]
        {
            let mut lines = forged.clone();
            let mut append = |ip, form, is_own_line: bool| {
                let element = written(header, ip, form);
                match lines.last_mut() {
                    Some(line) if !is_own_line => line.extend(format!(", {element}").bytes()),
                    _ => lines.push(element.into_bytes()),
                }
            };
            append(client, form, is_own_line);
            for (last, form, is_own_line) in &others {
                append(IpAddr::from([10, 0, 0, *last]), *form, *is_own_line);
            }
            let headers = headers(lines.iter().map(|line| (name, line)));
            let found = proxies(header).client(Some(ip("fd00::1")), &headers);
            prop_assert_eq!(found, Some(client.to_canonical()), "{:?}", headers);
        }
    }

    #[test]
    fn a_network_holds_just_those_with_its_bits(
        bits in any::<u128>(),
        length in 1..=128_u32,
        flip in 0..128_u32,
        is_v4 in any::<bool>(),
    ) {
        let all = if is_v4 { 32 } else { 128 };
        let (length, flip) = ((length - 1) % all + 1, flip % all);
        let bits = if is_v4 { bits & 0xffff_ffff } else { bits };
        let ip = |bits: u128| match is_v4 {
            true => IpAddr::from((bits as u32).to_be_bytes()),
            false => IpAddr::from(bits.to_be_bytes()),
        };
        // IPv4 in the dress of IPv6 is another case, with its own lines above.
        prop_assume!(is_v4 || bits >> 32 != 0xffff);
        let network = bits >> (all - length) << (all - length);
        let network = Network::parse(&format!("{}/{length}", ip(network))).unwrap();
        prop_assert!(network.contains(ip(bits)));
        let other = bits ^ (1 << (all - 1 - flip));
        prop_assert_eq!(network.contains(ip(other)), flip >= length);
    }
}
