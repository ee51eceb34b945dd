//! The tasks of a pool: one per connection, and those that dial ahead of need.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use tokio::task::JoinHandle;

use crate::ground::primitives::Mutex;
use crate::ground::quiet::drop_quietly;

/// Below this, the handles of tasks that have ended are not looked for.
const FEW: usize = 16;

/// Ends its tasks when dropped. No task is spawned or dropped, and no payload of a panic, while its
/// lock is held: all of them may run code of a user's, which may call the transport again.
#[derive(Debug, Default)]
pub(super) struct Drivers(Mutex<Tasks>);

#[derive(Debug, Default)]
struct Tasks {
    handles: Vec<JoinHandle<()>>,
    /// How many handles there may be before those of tasks that have ended are taken out.
    sweep_at: usize,
    /// Nothing is run any more.
    over: bool,
}

impl Drivers {
    /// Runs `task` on the current runtime, as long as that and the pool last. Never more handles
    /// are kept than twice the tasks that run, and a few.
    ///
    /// # Panics
    ///
    /// Outside a runtime.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // A runtime that is ending drops it at once.
        let handle = tokio::spawn(task);
        let mut ended = Vec::new();
        let mut tasks = self.0.lock();
        if tasks.over {
            handle.abort();
        }
        if tasks.handles.len() >= tasks.sweep_at.max(FEW) {
            ended.extend(tasks.handles.extract_if(.., |handle| handle.is_finished()));
            tasks.sweep_at = 2 * tasks.handles.len();
        }
        tasks.handles.push(handle);
        drop(tasks);
        ended.into_iter().for_each(drop_quietly);
    }

    /// Tells all tasks to end, and those that are spawned from now on.
    pub(super) fn end_all(&self) {
        let mut tasks = self.0.lock();
        tasks.over = true;
        let handles = std::mem::take(&mut tasks.handles);
        drop(tasks);
        handles.iter().for_each(JoinHandle::abort);
        self.0.lock().handles.extend(handles);
    }

    /// How many tasks have not ended.
    pub(super) fn running(&self) -> usize {
        self.0.lock().handles.iter().filter(|handle| !handle.is_finished()).count()
    }

    /// Ready when no task is left. One may wait for that at a time.
    ///
    /// # Cancel safety
    ///
    /// It only watches.
    pub(super) async fn all_ended(&self) {
        poll_fn(|cx| {
            loop {
                let last = self.0.lock().handles.pop();
                let Some(mut handle) = last else { return Poll::Ready(()) };
                match Pin::new(&mut handle).poll(cx) {
                    Poll::Ready(ended) => drop_quietly(ended),
                    Poll::Pending => {
                        let mut tasks = self.0.lock();
                        let is_over = tasks.over;
                        tasks.handles.push(handle);
                        drop(tasks);
                        if is_over {
                            // It may have been told while this one was in hand.
                            self.end_all();
                        }
                        return Poll::Pending;
                    }
                }
            }
        })
        .await;
    }
}

impl Drop for Drivers {
    fn drop(&mut self) {
        self.end_all();
        let handles = std::mem::take(&mut self.0.lock().handles);
        handles.into_iter().for_each(drop_quietly);
    }
}

#[cfg(all(test, not(headworks_loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ground::primitives::atomic::{AtomicUsize, Ordering};

    /// Calls the pool's tasks again when it is dropped, as a user's body might.
    struct CallsBack(Arc<Drivers>, Arc<AtomicUsize>);

    impl Drop for CallsBack {
        fn drop(&mut self) {
            let drivers = self.0.0.try_lock();
            assert!(drivers.is_some(), "dropped under the lock");
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn nothing_of_a_users_is_dropped_under_the_lock() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (drivers, dropped) = (Arc::new(Drivers::default()), Arc::new(AtomicUsize::new(0)));
        let calls_back = || CallsBack(Arc::clone(&drivers), Arc::clone(&dropped));
        runtime.block_on(async {
            for _ in 0..10 * FEW {
                let payload = calls_back();
                drivers.spawn(async move { std::panic::resume_unwind(Box::new(payload)) });
                tokio::task::yield_now().await;
            }
        });
        assert!(dropped.load(Ordering::SeqCst) >= 8 * FEW, "those that ended are let go");
        // The task that is dropped with its runtime spawns another one, on a runtime that ends.
        struct Spawns(Option<CallsBack>);
        impl Drop for Spawns {
            fn drop(&mut self) {
                if let Some(inner) = self.0.take() {
                    let drivers = Arc::clone(&inner.0);
                    drivers.spawn(async move { drop(inner) });
                }
            }
        }
        let last = Spawns(Some(calls_back()));
        runtime.block_on(async {
            drivers.spawn(async move {
                let _last = last;
                std::future::pending().await
            });
            tokio::task::yield_now().await;
        });
        drop(runtime);
        drivers.end_all();
        assert_eq!(dropped.load(Ordering::SeqCst), 10 * FEW + 1);
    }

    #[test]
    fn as_many_handles_are_kept_as_twice_the_tasks_that_run() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let drivers = Drivers::default();
        runtime.block_on(async {
            for _ in 0..20 {
                drivers.spawn(std::future::pending());
            }
            for _ in 0..1_000 {
                drivers.spawn(async {});
                tokio::task::yield_now().await;
                assert!(drivers.0.lock().handles.len() <= 2 * 21);
            }
        });
    }

    #[test]
    fn the_tasks_end_with_the_pool() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (drivers, here) = (Drivers::default(), Arc::new(()));
        runtime.block_on(async {
            let there = Arc::clone(&here);
            drivers.spawn(async move {
                let _there = there;
                std::future::pending().await
            });
            tokio::task::yield_now().await;
            assert_eq!(Arc::strong_count(&here), 2);
            drop(drivers);
            tokio::task::yield_now().await;
            assert_eq!(Arc::strong_count(&here), 1);
        });
    }
}
