//! What a request with JSON allocates: bytes counted by the allocator, for each thread by itself.
#![allow(unsafe_code, reason = "an allocator is unsafe; this one passes everything on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use headworks::TransportFactory;
use headworks::http_transport::TransportConfig;
use serde::de::IgnoredAny;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local!(static BYTES: Cell<usize> = const { Cell::new(0) });

struct Counting;

// SAFETY: every call goes to `System` unchanged; the count touches no memory of the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.set(BYTES.get() + layout.size());
        // SAFETY: the caller keeps the contract, which is passed on whole.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Answers `{}` to whatever comes over one connection, on a thread of its own.
fn server() -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move || {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        loop {
            let mut length = 0;
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                if stream.read_line(&mut line).unwrap() == 0 {
                    return;
                }
                let header = line.to_ascii_lowercase();
                if let Some(value) = header.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            stream.read_exact(&mut vec![0; length]).unwrap();
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            stream.get_mut().write_all(answer).unwrap();
        }
    };
    (address, thread::spawn(serve))
}

#[tokio::test]
async fn json_is_written_into_buffers_that_come_home() {
    let (address, server) = server();
    let transport = TransportFactory::new().unwrap().transport(TransportConfig::default()).unwrap();
    let (url, text) = (format!("http://{address}/"), "x".repeat(40_000));
    let post = async |requests: usize| {
        for _ in 0..requests {
            let _: IgnoredAny = transport.post_json(&*url, &text).await.unwrap();
        }
    };
    post(10).await;
    let before = BYTES.get();
    post(100).await;
    let each = (BYTES.get() - before) / 100;
    assert!(each < 10_000, "{each} bytes for each request of 40,000");
    drop(transport);
    // Its connection ends when this thread's runtime runs again.
    tokio::task::spawn_blocking(|| server.join()).await.unwrap().unwrap();
}
