//! What every cache is asked to do.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use headworks::cache::{Cache, CacheConfig};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

const TTL: Duration = Duration::from_secs(300);

pub trait Shelf: Clone + Send + Sync + 'static {
    const NAME: &'static str;

    fn new(capacity: u64) -> Self;
    fn get(&self, key: u64) -> Option<u64>;
    fn put(&self, key: u64, value: u64);
    /// One load for all who want it meanwhile.
    fn get_or_load(
        &self,
        key: u64,
        load: impl Future<Output = u64> + Send + 'static,
    ) -> impl Future<Output = u64> + Send;
    /// What was put off is done.
    fn settle(&self) {}
}

#[derive(Clone)]
pub struct Ours(Cache<u64, u64>);

impl Shelf for Ours {
    const NAME: &'static str = "headworks";

    fn new(capacity: u64) -> Self {
        let config = CacheConfig::default().with_capacity(capacity).with_ttl(Some(TTL));
        let config = config.with_expected_entries(capacity as usize);
        Self(Cache::new(config).expect("in range"))
    }

    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key)
    }

    fn put(&self, key: u64, value: u64) {
        self.0.set(key, value);
    }

    async fn get_or_load(&self, key: u64, load: impl Future<Output = u64> + Send + 'static) -> u64 {
        let load = || async { Ok::<_, Infallible>(load.await) };
        self.0.get_or_load(&key, load).await.expect("it never fails")
    }
}

/// With the single flight that it brings.
#[derive(Clone)]
pub struct Moka(moka::future::Cache<u64, u64>, tokio::runtime::Handle);

impl Shelf for Moka {
    const NAME: &'static str = "moka future, get_with";

    fn new(capacity: u64) -> Self {
        Self(
            moka::future::Cache::builder().max_capacity(capacity).time_to_live(TTL).build(),
            runtime(),
        )
    }

    fn get(&self, key: u64) -> Option<u64> {
        super::at_once(self.0.get(&key))
    }

    fn put(&self, key: u64, value: u64) {
        self.1.block_on(self.0.insert(key, value));
    }

    async fn get_or_load(&self, key: u64, load: impl Future<Output = u64> + Send + 'static) -> u64 {
        self.0.get_with(key, load).await
    }

    fn settle(&self) {
        self.1.block_on(self.0.run_pending_tasks());
    }
}

/// For what waits before anything is measured.
fn runtime() -> tokio::runtime::Handle {
    use std::sync::OnceLock;
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let make = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
    RUNTIME.get_or_init(|| make().expect("a runtime")).handle().clone()
}

/// A table without a single flight that is used here.
pub trait Table: Clone + Send + Sync + 'static {
    const NAME: &'static str;

    fn new(capacity: u64) -> Self;
    fn get(&self, key: u64) -> Option<u64>;
    fn put(&self, key: u64, value: u64);
    fn settle(&self) {}
}

#[derive(Clone)]
pub struct MokaTable(moka::sync::Cache<u64, u64>);

impl Table for MokaTable {
    const NAME: &'static str = "moka, OnceCells by hand";

    fn new(capacity: u64) -> Self {
        Self(moka::sync::Cache::builder().max_capacity(capacity).time_to_live(TTL).build())
    }

    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key)
    }

    fn put(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    fn settle(&self) {
        self.0.run_pending_tasks();
    }
}

#[derive(Clone)]
pub struct QuickTable(Arc<quick_cache::sync::Cache<u64, u64>>);

impl Table for QuickTable {
    const NAME: &'static str = "quick_cache (no expiry), OnceCells by hand";

    fn new(capacity: u64) -> Self {
        Self(Arc::new(quick_cache::sync::Cache::new(capacity as usize)))
    }

    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key)
    }

    fn put(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }
}

/// The single flight that everybody writes: who finds nothing waits for the key's cell, and whoever
/// comes first fills it. One that is cancelled leaves it to the next.
#[derive(Clone)]
pub struct ByHand<T> {
    table: T,
    cells: Arc<Mutex<HashMap<u64, Arc<OnceCell<u64>>>>>,
}

impl<T: Table> Shelf for ByHand<T> {
    const NAME: &'static str = T::NAME;

    fn new(capacity: u64) -> Self {
        Self { table: T::new(capacity), cells: Arc::default() }
    }

    fn get(&self, key: u64) -> Option<u64> {
        self.table.get(key)
    }

    fn put(&self, key: u64, value: u64) {
        self.table.put(key, value);
    }

    async fn get_or_load(&self, key: u64, load: impl Future<Output = u64> + Send + 'static) -> u64 {
        if let Some(value) = self.table.get(key) {
            return value;
        }
        let cell = Arc::clone(self.cells.lock().entry(key).or_default());
        let load = async {
            let value = load.await;
            self.table.put(key, value);
            self.cells.lock().remove(&key);
            value
        };
        *cell.get_or_init(|| load).await
    }

    fn settle(&self) {
        self.table.settle();
    }
}
