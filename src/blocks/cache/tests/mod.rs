mod ages;
mod crowd;
#[cfg(feature = "test-util")]
mod model;
#[cfg(feature = "test-util")]
mod renewing;
mod sharing;
mod table;
#[cfg(feature = "test-util")]
mod tier;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::*;

/// How a load fails here.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("no such thing")]
struct NoSuchThing;

type Boxed<T> = Pin<Box<dyn Future<Output = T>>>;

/// Counts its wake-ups.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Woken {
    fn take(&self) -> bool {
        self.0.swap(0, Ordering::Relaxed) > 0
    }
}

fn poll<T>(future: &mut Pin<Box<impl Future<Output = T> + ?Sized>>) -> Poll<T> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// What is ready when it is first polled.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match poll(&mut Box::pin(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

fn cache(config: CacheConfig) -> Cache<u32, u32> {
    Cache::new(config).unwrap()
}

async fn ok(value: u32) -> Result<u32, NoSuchThing> {
    Ok(value)
}
