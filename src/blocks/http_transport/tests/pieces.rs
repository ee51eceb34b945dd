//! Answers that come in several pieces, or are decoded, lie in buffers that are used again.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::super::{Preset, Transport, TransportConfig, TransportFactory};

/// Says this to each request of one connection; requests without a body come in one piece.
async fn saying(answer: Vec<u8>) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4_096];
        while matches!(stream.read(&mut request).await, Ok(1..)) {
            stream.write_all(&answer).await.unwrap();
        }
    });
    (url, server)
}

fn over(config: impl Into<TransportConfig>) -> Transport {
    TransportFactory::new().unwrap().transport(config).unwrap()
}

/// Buffers that were made, used again, and that are out.
fn counts(transport: &Transport) -> (u64, u64, u64) {
    transport.shared().buffers.snapshot().iter().fold((0, 0, 0), |(made, again, out), class| {
        (made + class.misses, again + class.hits, out + class.outstanding)
    })
}

#[tokio::test]
async fn an_answer_of_several_pieces_lies_in_a_buffer_that_comes_home() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                  5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n";
    let (url, server) = saying(answer.into()).await;
    let transport = over(Preset::Default);
    for turn in 0..3 {
        let answer = transport.get(&url).await.unwrap().into_body().bytes(11).await.unwrap();
        assert_eq!(answer, "hello world");
        assert_eq!(counts(&transport), (1, turn, 1), "one buffer, in the answer's hands");
        let part = answer.slice(6..);
        drop(answer);
        assert_eq!((counts(&transport).2, &*part), (1, &b"world"[..]));
        drop(part);
        assert_eq!(counts(&transport), (1, turn, 0));
    }
    let too_large = transport.get(&url).await.unwrap().into_body().bytes(10).await;
    assert!(too_large.is_err());
    assert_eq!(counts(&transport).2, 0);
    drop(transport);
    server.abort();
}

#[cfg(feature = "compression")]
mod decoded {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use async_compression::Level;
    use async_compression::tokio::bufread::GzipEncoder;

    use super::super::super::{Body, Decoding};
    use super::*;

    /// A text of so many bytes, as gzip says it.
    async fn compressed(bytes: usize) -> (Vec<u8>, Vec<u8>) {
        let numbers =
            (0_u32..).flat_map(|n| n.wrapping_mul(2_654_435_761).to_string().into_bytes());
        let plain: Vec<u8> = numbers.take(bytes).collect();
        let (mut encoder, mut said) = (GzipEncoder::with_quality(&*plain, Level::Fastest), vec![]);
        encoder.read_to_end(&mut said).await.unwrap();
        (plain, said)
    }

    fn answer(length: usize, body: &[u8]) -> Vec<u8> {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {length}\r\n\r\n"
        );
        [head.as_bytes(), body].concat()
    }

    async fn get(transport: &Transport, url: &str) -> Body {
        transport.get(url).await.unwrap().into_body()
    }

    fn decoding() -> Transport {
        over(TransportConfig::default().with_decoding(Some(Decoding::default())))
    }

    #[tokio::test]
    async fn nothing_new_is_made_for_the_next_answer() {
        // Its compressed whole is there with its head, and its connection gone before it is decoded.
        let (plain, said) = compressed(5_000).await;
        let (url, server) = saying(answer(said.len(), &said)).await;
        let transport = decoding();
        for turn in 0..3 {
            let read = get(&transport, &url).await.bytes(5_000).await.unwrap();
            assert!(read == plain);
            // And one more was taken for a moment, to learn that this was all.
            assert_eq!((counts(&transport).0, counts(&transport).2), (2, 1), "{turn}");
        }
        server.abort();

        let (plain, said) = compressed(40_000).await;
        let (url, server) = saying(answer(said.len(), &said)).await;
        let transport = decoding();
        let mut made = 0;
        for turn in 0..4 {
            let mut body = get(&transport, &url).await;
            let mut read = Vec::new();
            while let Some(piece) = body.chunk().await {
                read.extend_from_slice(&piece.unwrap());
            }
            assert!(read == plain);
            assert_eq!((counts(&transport).0, counts(&transport).2), (1.max(made), 0), "{turn}");
            let read = get(&transport, &url).await.bytes(40_000).await.unwrap();
            assert!(read == plain && counts(&transport).2 == 1);
            drop(read);
            if turn == 0 {
                made = counts(&transport).0;
                assert!((2..6).contains(&made), "{made}: it grew");
            }
            let (all, again, out) = counts(&transport);
            assert_eq!((all, out), (made, 0), "{turn}");
            assert!(again >= 10 * turn, "{again}: out of this pool, whatever the connection does");
        }
        server.abort();
    }

    #[tokio::test]
    async fn a_body_that_waits_or_is_dropped_holds_none() {
        let (plain, said) = compressed(40_000).await;
        let (url, server) = saying(answer(said.len(), &said[..said.len() / 2])).await;
        let transport = decoding();
        let mut body = get(&transport, &url).await;
        let first = body.chunk().await.unwrap().unwrap();
        assert!(plain.starts_with(&first) && first.len() >= 4_096);
        assert_eq!(counts(&transport).2, 1, "what was read has it");
        let mut rest = first.len();
        // Until it has to wait for what never comes.
        loop {
            tokio::task::yield_now().await;
            let polled = pin!(body.chunk()).poll(&mut Context::from_waker(Waker::noop()));
            match polled {
                Poll::Ready(piece) => rest += piece.unwrap().unwrap().len(),
                Poll::Pending if rest > 8_192 => break,
                Poll::Pending => {}
            }
            assert_eq!(counts(&transport).2, 1);
        }
        assert_eq!(counts(&transport).2, 1);
        drop(body);
        assert_eq!(counts(&transport).2, 1);
        drop(first);
        assert_eq!(counts(&transport).2, 0);
        server.abort();
    }

    /// Pieces that hold little hold no buffer: kept by their reader, they would be a bomb of their
    /// own.
    #[tokio::test]
    async fn small_pieces_hold_no_buffer() {
        let (plain, said) = compressed(100).await;
        let (url, server) = saying(answer(said.len(), &said)).await;
        let transport = decoding();
        let mut kept = Vec::new();
        for _ in 0..50 {
            let mut body = get(&transport, &url).await;
            while let Some(piece) = body.chunk().await {
                kept.push(piece.unwrap());
            }
        }
        assert!(kept.iter().map(|it| it.len()).sum::<usize>() == 50 * plain.len());
        let (made, _, out) = counts(&transport);
        assert_eq!((made, out), (1, 0));
        server.abort();
    }
}
