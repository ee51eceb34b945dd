//! Answers that come compressed: whole, cut, damaged, and larger than they look.

use async_compression::Level;
use async_compression::tokio::write::{BrotliEncoder, GzipEncoder, ZstdEncoder};
use headworks::Transport;
use headworks::http_transport::{Body, Decoding, TransportConfig, TransportError};
use http::{Method, Request, Response};
use tokio::io::AsyncWriteExt;

use crate::server::{Peer, Server, at_rest, counts, patiently, transport};

pub(crate) const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];

/// What `plain` is in this coding.
pub(crate) async fn compressed(coding: &str, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match coding {
        "gzip" => {
            let mut encoder = GzipEncoder::with_quality(&mut out, Level::Fastest);
            encoder.write_all(plain).await.unwrap();
            encoder.shutdown().await.unwrap();
        }
        "br" => {
            let mut encoder = BrotliEncoder::with_quality(&mut out, Level::Fastest);
            encoder.write_all(plain).await.unwrap();
            encoder.shutdown().await.unwrap();
        }
        _ => {
            let mut encoder = ZstdEncoder::with_quality(&mut out, Level::Fastest);
            encoder.write_all(plain).await.unwrap();
            encoder.shutdown().await.unwrap();
        }
    }
    out
}

/// A text that is neither short nor all the same.
pub(crate) fn text() -> Vec<u8> {
    (0..40_000_u32)
        .flat_map(|n| format!("{} ", n.wrapping_mul(2_654_435_761)).into_bytes())
        .collect()
}

/// Says the same to everybody, byte for byte, in pieces of this size.
async fn saying(headers: &str, body: Vec<u8>, piece: usize) -> Server {
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{headers}\r\n\r\n");
    Server::running(move |mut peer: Peer| {
        let (head, body) = (head.clone(), body.clone());
        async move {
            while let Some(request) = peer.request().await {
                peer.write(&head).await;
                if request.starts_with("HEAD") {
                    continue;
                }
                for piece in body.chunks(piece) {
                    peer.write(piece).await;
                    tokio::task::yield_now().await;
                }
            }
        }
    })
    .await
}

fn decoding() -> Transport {
    transport(TransportConfig::default().with_decoding(Some(Decoding::default())))
}

async fn ask(transport: &Transport, server: &Server) -> Response<Body> {
    patiently(transport.get(server.url("/"))).await.unwrap()
}

async fn fails(transport: &Transport, server: &Server) -> TransportError {
    patiently(ask(transport, server).await.into_body().bytes(1 << 30)).await.unwrap_err()
}

#[tokio::test]
async fn each_coding_is_decoded_and_its_connection_used_again() {
    let plain = text();
    for coding in CODINGS {
        let body = compressed(coding, &plain).await;
        assert!(body.len() < plain.len());
        let server = saying(&format!("Content-Encoding: {coding}"), body, 1_000).await;
        let transport = decoding();
        for _ in 0..2 {
            let answer = ask(&transport, &server).await;
            assert!(!answer.headers().contains_key("content-encoding"), "{coding}");
            assert!(!answer.headers().contains_key("content-length"), "{coding}");
            let bytes = patiently(answer.into_body().bytes(1 << 20)).await.unwrap();
            assert!(bytes == plain, "{coding}");
            at_rest(&transport).await;
        }
        assert_eq!(counts(&transport).opened, 1, "{coding}");
    }
}

#[tokio::test]
async fn two_gzip_members_are_one_answer() {
    let mut body = compressed("gzip", b"one, ").await;
    body.extend(compressed("gzip", b"two").await);
    for piece in [1, 1_000] {
        let server = saying("Content-Encoding: x-gzip", body.clone(), piece).await;
        let bytes = patiently(ask(&decoding(), &server).await.into_body().bytes(100)).await;
        assert_eq!(bytes.unwrap(), "one, two");
    }
}

#[tokio::test]
async fn a_coding_is_asked_for_unless_the_caller_says_what_it_takes() {
    let server = Server::by_hand().await;
    let transport = decoding();
    let plain = "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Encoding: gzip\r\n\r\nok";
    let get = || Request::get(server.url("/"));
    let requests = [
        (get(), Some("accept-encoding: gzip, br, zstd")),
        (get().header("accept-encoding", "gzip;q=0.5"), Some("accept-encoding: gzip;q=0.5")),
        (get().header("range", "bytes=0-1"), None),
    ];
    let mut peer = None;
    for (request, header) in requests {
        let request = request.body("").unwrap();
        let by_caller = !request.headers().is_empty();
        let serve = async {
            let mut peer = match peer.take() {
                Some(peer) => peer,
                None => server.accept().await,
            };
            let asked = peer.request().await.unwrap().to_ascii_lowercase();
            peer.write(plain.trim_start()).await;
            (asked, peer)
        };
        let (answer, (asked, kept)) =
            patiently(async { tokio::join!(transport.send(request), serve) }).await;
        peer = Some(kept);
        let line = asked.lines().find(|line| line.starts_with("accept-encoding"));
        assert_eq!(line, header);
        let read = answer.unwrap();
        assert_eq!(read.headers().contains_key("content-encoding"), by_caller);
        let read = patiently(read.into_body().bytes(10)).await;
        match by_caller {
            true => assert_eq!(read.unwrap(), "ok", "left as it is"),
            false => assert!(matches!(read, Err(TransportError::Undecodable { .. })), "{read:?}"),
        }
        if !by_caller {
            // "ok" is no gzip; all of it had been read, though.
            at_rest(&transport).await;
        }
    }
}

#[tokio::test]
async fn without_the_setting_nothing_is_asked_for_and_nothing_decoded() {
    let body = compressed("gzip", b"plain").await;
    let server = saying("Content-Encoding: gzip", body.clone(), 1_000).await;
    let answer = ask(&transport(TransportConfig::default()), &server).await;
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    assert_eq!(patiently(answer.into_body().bytes(1_000)).await.unwrap(), body);
}

#[tokio::test]
async fn an_answer_that_ends_in_the_midst_is_told_in_every_coding() {
    for coding in CODINGS {
        let whole = compressed(coding, &text()).await;
        for left_out in [1, 4, whole.len() / 2, whole.len() - 1] {
            let cut = whole[..whole.len() - left_out].to_vec();
            let server = saying(&format!("Content-Encoding: {coding}"), cut, 1 << 20).await;
            let error = fails(&decoding(), &server).await;
            let truncated = matches!(error, TransportError::Undecodable { truncated: true, .. });
            assert!(truncated, "{coding} without {left_out}: {error:?}");
            assert!(error.is_retryable());
        }
    }
}

#[tokio::test]
async fn what_is_damaged_or_has_more_behind_its_end_is_told() {
    for coding in CODINGS {
        let whole = compressed(coding, &text()).await;
        let damaged_at = |at: usize| {
            let mut damaged = whole.clone();
            damaged[at..at + 64].fill(0xff);
            damaged
        };
        let longer = [&whole[..], b"and more"].concat();
        let mut bodies = vec![damaged_at(0), longer];
        if coding == "gzip" {
            // The others carry no checksum of what is in them.
            bodies.push(damaged_at(whole.len() / 2));
        }
        for body in bodies {
            let server = saying(&format!("Content-Encoding: {coding}"), body, 1 << 20).await;
            let transport = decoding();
            let error = fails(&transport, &server).await;
            let told = matches!(error, TransportError::Undecodable { .. });
            assert!(told, "{coding}: {error:?}");
            at_rest(&transport).await;
        }
    }
}

/// 16 MiB of zeros.
#[tokio::test]
async fn a_bomb_goes_off_neither_by_its_ratio_nor_by_its_size() {
    let bomb = vec![0; 16 << 20];
    for coding in CODINGS {
        let body = compressed(coding, &bomb).await;
        let header = format!("Content-Encoding: {coding}");
        let server = saying(&header, body, 1 << 20).await;
        let with = |decoding| transport(TransportConfig::default().with_decoding(Some(decoding)));
        let error = fails(&with(Decoding::default()), &server).await;
        let told = matches!(error, TransportError::ExpandsTooMuch { max_expansion: 100 });
        assert!(told && !error.is_retryable(), "{coding}: {error:?}");

        let wide = Decoding::default().with_max_expansion(1_000_000).with_max_bytes(2 << 20);
        let mut body = ask(&with(wide), &server).await.into_body();
        let mut came = 0;
        let error = patiently(async {
            loop {
                match body.chunk().await.unwrap() {
                    Ok(chunk) => came += chunk.len(),
                    Err(error) => break error,
                }
            }
        })
        .await;
        let told = matches!(error, TransportError::DecodedTooLarge { limit_bytes: 0x20_0000 });
        assert!(told, "{coding}: {error:?}");
        assert!(came > 1 << 20 && came <= 2 << 20, "{came}");
        assert!(body.chunk().await.is_none());
    }
}

#[tokio::test]
async fn a_small_answer_may_be_as_dense_as_it_likes_and_none_at_all_is_no_error() {
    let body = compressed("gzip", &vec![0; 1 << 20]).await;
    let server = saying("Content-Encoding: gzip", body, 1 << 20).await;
    let transport = decoding();
    let read = patiently(ask(&transport, &server).await.into_body().bytes(1 << 20)).await;
    assert_eq!(read.unwrap().len(), 1 << 20);
    let request = Request::builder().method(Method::HEAD).uri(server.url("/"));
    let answer = patiently(transport.send(request.body("").unwrap())).await.unwrap();
    assert_eq!(answer.headers()["content-encoding"], "gzip", "that of a HEAD stays");
    assert_eq!(patiently(answer.into_body().bytes(1)).await.unwrap(), "");

    let empty = "Content-Encoding: gzip\r\nTransfer-Encoding: chunked";
    let server = Server::running(move |mut peer: Peer| async move {
        while peer.request().await.is_some() {
            peer.write(format!("HTTP/1.1 200 OK\r\n{empty}\r\n\r\n0\r\n\r\n")).await;
        }
    })
    .await;
    let read = patiently(ask(&transport, &server).await.into_body().bytes(1)).await;
    assert_eq!(read.unwrap(), "");
    at_rest(&transport).await;
}

#[tokio::test]
async fn unknown_and_several_codings_are_left_as_they_are() {
    for header in ["Content-Encoding: deflate", "Content-Encoding: gzip\r\nContent-Encoding: br"] {
        let server = saying(header, b"whatever".to_vec(), 100).await;
        let answer = ask(&decoding(), &server).await;
        assert!(answer.headers().contains_key("content-encoding"));
        assert_eq!(patiently(answer.into_body().bytes(100)).await.unwrap(), "whatever");
    }
}

#[test]
fn limits_that_cannot_work_are_refused() {
    let factory = headworks::TransportFactory::new().unwrap();
    for wrong in [Decoding::default().with_max_bytes(0), Decoding::default().with_max_expansion(0)]
    {
        let error = factory.transport(TransportConfig::default().with_decoding(Some(wrong)));
        assert!(error.unwrap_err().to_string().contains("http_transport.decoding."));
    }
}

/// All that is decoded is there at once, and comes out of one piece.
#[tokio::test]
async fn decoding_leaves_the_thread_to_others_in_between() {
    let body = compressed("zstd", &vec![b'x'; 16 << 20]).await;
    assert!(body.len() < 16 << 10, "one piece");
    let server = saying("Content-Encoding: zstd", body, 1 << 20).await;
    let free = Decoding::default().with_max_expansion(1_000_000);
    let transport = transport(TransportConfig::default().with_decoding(Some(free)));
    let mut body = ask(&transport, &server).await.into_body();
    patiently(body.chunk()).await.unwrap().unwrap();
    let mut turns = 0;
    let others = async {
        loop {
            tokio::task::yield_now().await;
            turns += 1;
        }
    };
    let read = patiently(async {
        tokio::select! {
            biased;
            read = body.bytes(16 << 20) => read.unwrap().len(),
            () = others => unreachable!(),
        }
    });
    assert_eq!(read.await, (16 << 20) - (8 << 10));
    // 8 KiB a piece, 128 pieces a turn.
    assert!(turns >= 10, "{turns}");
}
