//! One load for all who want a key, a stale value while it is renewed, and what the cache counted.
//!
//! `cargo run --example cache --features cache`

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use headworks::Cache;
use headworks::cache::{CacheConfig, LoadError};

#[derive(Debug, thiserror::Error)]
#[error("no such order")]
struct NoSuchOrder;

/// A slow backend that counts its calls.
#[derive(Default)]
struct Backend {
    calls: AtomicU32,
}

impl Backend {
    async fn order(self: Arc<Self>, id: u32) -> Result<String, NoSuchOrder> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
        if id == 0 { Err(NoSuchOrder) } else { Ok(format!("order {id}, as of call {call}")) }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = CacheConfig::default()
        .with_name("orders")
        .with_ttl(Some(Duration::from_millis(200)))
        .with_stale_for(Duration::from_secs(60));
    // An order that is not there is not asked for again for a while.
    let negative =
        |error: &LoadError| error.downcast_ref::<NoSuchOrder>().map(|_| Duration::from_millis(100));
    let orders: Cache<u32, String> = Cache::builder(config).negative(negative).build()?;
    let backend = Arc::new(Backend::default());
    let order = |id: u32| {
        let (orders, backend) = (orders.clone(), Arc::clone(&backend));
        async move { orders.get_or_load(&id, || backend.order(id)).await }
    };

    // A herd: one call.
    let herd: Vec<_> = (0..100).map(|_| tokio::spawn(order(7))).collect();
    for one in herd {
        assert_eq!(one.await??, "order 7, as of call 1");
    }
    // Its time is over: the old value at once, and a new one soon.
    tokio::time::sleep(Duration::from_millis(250)).await;
    println!("at once: {}", order(7).await?);
    tokio::time::sleep(Duration::from_millis(100)).await;
    println!("renewed: {}", order(7).await?);
    // Told twice, asked once.
    for _ in 0..2 {
        let error =
            order(0).await.err().and_then(|it| it.downcast_ref().map(NoSuchOrder::to_string));
        println!("order 0: {}", error.unwrap_or_default());
    }

    let seen = orders.snapshot();
    println!(
        "{} calls, hit ratio {:.2}",
        backend.calls.load(Ordering::Relaxed),
        seen.hit_ratio().unwrap_or(0.0)
    );
    println!("median load: {:?}", seen.load_times.quantile(0.5));
    assert_eq!(orders.shutdown(Duration::from_secs(1)).await, 0);
    Ok(())
}
