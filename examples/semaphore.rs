//! A semaphore by itself: a backend that takes two calls at a time, callers that differ in
//! importance, and one that will not wait for long.
//!
//! `cargo run --example semaphore`

use std::sync::Arc;
use std::time::Duration;

use headworks::semaphore::{AcquireError, SemaphoreConfig, Want};
use headworks::{CoDel, Overload, Priority, PrioritySemaphore};
use tokio::task::JoinSet;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = SemaphoreConfig::default()
        .with_name("backend")
        .with_queue_capacity(8)
        // Should the batch jobs' line not go away, the old ones are shed.
        .with_overload(Overload::default().with(Priority::Low, CoDel::default()));
    let backend = Arc::new(PrioritySemaphore::new(2, config)?);

    // Both permits are out: everybody else waits.
    let first = Arc::clone(&backend).acquire_owned(Priority::Normal).await?;
    let second = backend.try_acquire().ok_or("a permit is free")?;
    assert!(backend.try_acquire().is_none());

    let mut callers = JoinSet::new();
    for (name, priority) in
        [("batch 1", Priority::Low), ("batch 2", Priority::Low), ("user", Priority::Urgent)]
    {
        let backend = Arc::clone(&backend);
        callers.spawn(async move {
            let want = Want::new(priority).with_tenant("team-a");
            let _permit = backend.acquire(want).await?;
            println!("{name} has a permit");
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok::<_, AcquireError>(name)
        });
    }
    tokio::task::yield_now().await;
    println!("{} wait", backend.snapshot().waiting());

    let impatient = Want::new(Priority::Low).within(Duration::from_millis(5));
    let late = backend.acquire(impatient).await.err();
    println!("the impatient one: {}", late.ok_or("no permit came back in time")?);

    drop((first, second));
    let mut order = Vec::new();
    while let Some(ended) = callers.join_next().await {
        order.push(ended??);
    }
    assert!(order.contains(&"user"), "{order:?}");

    // From here on one call at a time; and in the end none.
    backend.resize(1);
    assert_eq!(backend.snapshot().available, 1);
    backend.close();
    assert_eq!(backend.acquire(Priority::Urgent).await.err(), Some(AcquireError::Closed));
    println!("{:?}", backend.snapshot());
    Ok(())
}
