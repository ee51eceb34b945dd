//! One tenant's spent quota is its own affair: in the room it is held, and the others go on.

use headworks::Scope;
use headworks::rate_limit::{Quota, TieredQuota};

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

type Pipeline = IntentPipeline<String, String>;

/// One token an hour for each tenant.
fn hourly() -> TieredQuota {
    TieredQuota::default().with_per_key(Quota::new(1, HOUR).with_burst(1))
}

fn of(tenant: &str, key: &str) -> Intent<String> {
    intent(&format!("{tenant}/{key}"), key).tenant(tenant)
}

/// Somebody in the room, and how often it was polled.
struct Submits {
    task: tokio::task::JoinHandle<Result<(), Reason>>,
    polls: Arc<AtomicUsize>,
}

impl Submits {
    async fn new(pipeline: &Pipeline, intent: Intent<String>) -> Self {
        let (pipeline, polls) = (pipeline.clone(), Arc::<AtomicUsize>::default());
        let count = Arc::clone(&polls);
        let task = tokio::spawn(async move {
            let mut submit = Box::pin(pipeline.submit(intent));
            let counted = std::future::poll_fn(|cx| {
                count.fetch_add(1, Ordering::Relaxed);
                submit.as_mut().poll(cx)
            });
            counted.await.map(drop).map_err(|refused| refused.reason())
        });
        settled().await;
        Self { task, polls }
    }

    fn polls(&self) -> usize {
        self.polls.load(Ordering::Relaxed)
    }

    fn waits(&self) -> bool {
        !self.task.is_finished()
    }

    async fn accepted(self) {
        self.task.await.unwrap().unwrap();
    }

    async fn refused(self) -> Reason {
        self.task.await.unwrap().unwrap_err()
    }
}

/// Accepted at once.
fn goes_in(pipeline: &Pipeline, intent: Intent<String>) {
    drop(pipeline.try_submit(intent).unwrap());
}

/// Each tenant's token is spent on a run that goes on.
fn spent(config: PipelineConfig, tenants: &[&str]) -> Pipeline {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, config.with_ingress(hourly()));
    for tenant in tenants {
        goes_in(&pipeline, of(tenant, "0"));
    }
    pipeline
}

#[tokio::test(start_paused = true)]
async fn one_tenants_spent_quota_locks_nobody_else_out() {
    let pipeline = spent(PipelineConfig::default(), &["a"]);
    let waits = Submits::new(&pipeline, of("a", "1")).await;
    assert_eq!(pipeline.snapshot().in_room, 1);
    for (tenant, class) in [("b", Priority::Normal), ("c", Priority::Low)] {
        goes_in(&pipeline, of(tenant, "0").priority(class));
    }
    drop(pipeline.submit(of("d", "0").priority(Priority::Low)).await.unwrap());
    // Of its own tenant nobody goes before it, whatever the class.
    tokio::time::advance(HOUR / 2).await;
    for class in Priority::ALL {
        let refused = pipeline.try_submit(of("a", "2").priority(class)).unwrap_err();
        assert_eq!(refused.reason(), Reason::RateLimited { scope: Scope::Key });
        let after = refused.retry_after().unwrap();
        assert!((HOUR / 2 - ms(1)..=HOUR / 2).contains(&after), "{after:?}");
    }
    assert!(waits.waits());
    let start = Instant::now();
    waits.accepted().await;
    assert!((HOUR / 2..HOUR / 2 + ms(10)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_token_that_is_due_is_for_who_is_held_however_late_it_looks() {
    let pipeline = spent(PipelineConfig::default(), &["a"]);
    let mut waits = Box::pin(pipeline.submit(of("a", "1")));
    assert!(poll_once(waits.as_mut()).await.is_none());
    tokio::time::advance(HOUR + ms(10)).await;
    for class in Priority::ALL {
        let refused = pipeline.try_submit(of("a", "2").priority(class)).unwrap_err();
        assert_eq!(refused.reason(), Reason::RateLimited { scope: Scope::Key });
        assert_eq!(refused.retry_after(), Some(Duration::ZERO));
    }
    assert!(poll_once(waits.as_mut()).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn when_all_are_out_of_tokens_the_head_holds_everybody() {
    let all = hourly().with_global(Quota::new(1, HOUR).with_burst(1));
    let pipeline = through(&Turnstile::default(), PipelineConfig::default().with_ingress(all));
    goes_in(&pipeline, of("a", "0"));
    let first = Submits::new(&pipeline, of("b", "0")).await;
    let second = Submits::new(&pipeline, of("c", "0")).await;
    assert_eq!(pipeline.try_submit(of("d", "0")).unwrap_err().reason(), Reason::QueueFull);
    let start = Instant::now();
    first.accepted().await;
    assert!(second.waits());
    second.accepted().await;
    assert!((2 * HOUR..2 * HOUR + ms(10)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_comes_back_wakes_its_tenant_and_no_other() {
    let pipeline = spent(one_seat(), &["runs"]);
    settled().await;
    let queued = pipeline.try_submit(of("a", "0")).unwrap();
    goes_in(&pipeline, of("b", "0"));
    let other = Submits::new(&pipeline, of("b", "1")).await;
    let [first, second] =
        [Submits::new(&pipeline, of("a", "1")).await, Submits::new(&pipeline, of("a", "2")).await];
    let polls = (other.polls(), second.polls());
    let start = Instant::now();
    queued.cancel();
    first.accepted().await;
    settled().await;
    assert!(start.elapsed() < ms(100), "{:?}", start.elapsed());
    assert!(second.waits() && other.waits());
    assert_eq!(other.polls(), polls.0, "it is not for this one");
    assert!(second.polls() <= polls.1 + 2, "the next tries once, and is held: {}", second.polls());
}

#[tokio::test(start_paused = true)]
async fn when_the_held_one_leaves_the_next_of_its_tenant_has_its_turn() {
    let pipeline = spent(PipelineConfig::default(), &["a"]);
    let start = Instant::now();
    let deadline = (start + HOUR / 4).into_std();
    let late = Submits::new(&pipeline, of("a", "late").deadline(deadline)).await;
    let dropped = Submits::new(&pipeline, of("a", "dropped")).await;
    let next = Submits::new(&pipeline, of("a", "next")).await;
    let last = Submits::new(&pipeline, of("a", "last")).await;
    assert_eq!(late.refused().await, Reason::Expired);
    settled().await;
    dropped.task.abort();
    settled().await;
    assert_eq!(pipeline.snapshot().in_room, 2);
    goes_in(&pipeline, of("b", "0"));
    next.accepted().await;
    assert!((HOUR..HOUR + ms(10)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert!(last.waits());
    last.accepted().await;
    assert!((2 * HOUR..2 * HOUR + ms(10)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_more_important_of_a_held_tenant_goes_first_when_the_time_comes() {
    let pipeline = spent(PipelineConfig::default(), &["a"]);
    let normal = Submits::new(&pipeline, of("a", "normal")).await;
    let low = Submits::new(&pipeline, of("a", "low").priority(Priority::Low)).await;
    let urgent = Submits::new(&pipeline, of("a", "urgent").priority(Priority::Urgent)).await;
    // Who is displaced from the front hears nothing of it; a place is what they wait for.
    goes_in(&pipeline, of("b", "0").priority(Priority::Low));
    for (one, hours) in [(urgent, 1), (normal, 2), (low, 3)] {
        tokio::time::sleep_until(Instant::now() + HOUR - ms(1)).await;
        assert!(one.waits(), "{hours}");
        one.accepted().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_evicted_holder_leaves_its_tenant_to_the_next() {
    // The room has two places, as the queue has.
    let pipeline = spent(PipelineConfig::default().with_queue_capacity(2), &["a", "b"]);
    settled().await;
    let holder = Submits::new(&pipeline, of("a", "1").priority(Priority::Low)).await;
    let next = Submits::new(&pipeline, of("a", "2")).await;
    let urgent = Submits::new(&pipeline, of("b", "1").priority(Priority::Urgent)).await;
    assert_eq!(holder.refused().await, Reason::Evicted);
    assert!(next.waits() && urgent.waits());
    goes_in(&pipeline, of("c", "0"));
    let start = Instant::now();
    next.accepted().await;
    urgent.accepted().await;
    assert!((HOUR - ms(1)..HOUR + ms(10)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn closing_ends_the_wait_of_all_who_are_held() {
    let pipeline = spent(PipelineConfig::default(), &["a", "b"]);
    let mut all = Vec::new();
    for (tenant, key) in [("a", "1"), ("b", "1"), ("a", "2"), ("b", "2"), ("a", "3")] {
        all.push(Submits::new(&pipeline, of(tenant, key)).await);
    }
    pipeline.close();
    for one in all {
        assert_eq!(one.refused().await, Reason::Closed);
    }
    assert_eq!(pipeline.snapshot().in_room, 0);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_the_held_one_cannot_use_goes_to_the_next_at_once() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat().with_queue_capacity(2).with_ingress(hourly()));
    for tenant in ["a", "b", "c"] {
        goes_in(&pipeline, of(tenant, "0").priority(Priority::Urgent));
        settled().await;
    }
    let held = Submits::new(&pipeline, of("a", "1").priority(Priority::Urgent)).await;
    let next = Submits::new(&pipeline, of("d", "0").priority(Priority::High)).await;
    assert!(next.waits());
    turnstile.let_through(1);
    settled().await;
    assert!(held.waits() && !next.waits());
}

#[tokio::test(start_paused = true)]
async fn who_is_not_held_comes_in_by_class_and_in_order() {
    let turnstile = Turnstile::default();
    let config = one_seat().with_queue_capacity(8).with_ingress(hourly());
    let pipeline = through(&turnstile, config);
    // One inside and eight in line; the urgent queue to the cap.
    for i in 0..9 {
        let fills = of(&format!("fill{i}"), &format!("fill{i}")).priority(Priority::Urgent);
        goes_in(&pipeline, fills);
        settled().await;
    }
    let held = Submits::new(&pipeline, of("fill0", "held").priority(Priority::Urgent)).await;
    let mut all = Vec::new();
    for (tenant, class) in [
        ("low", Priority::Low),
        ("first", Priority::Normal),
        ("second", Priority::Normal),
        ("high", Priority::High),
    ] {
        all.push(Submits::new(&pipeline, of(tenant, tenant).priority(class)).await);
    }
    assert_eq!(pipeline.snapshot().in_room, 5);
    for _ in 0..14 {
        turnstile.let_through(1);
        settled().await;
    }
    assert!(held.waits());
    assert_eq!(turnstile.seen()[9..], ["high", "first", "second", "low"]);
    for one in all {
        one.accepted().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crowd_of_held_tenants_sleeps_until_its_time() {
    let names: Vec<_> = (0..100).map(|i| format!("t{i}")).collect();
    let tenants: Vec<_> = names.iter().map(String::as_str).collect();
    let pipeline = spent(PipelineConfig::default(), &tenants);
    let mut all = Vec::new();
    for tenant in &tenants {
        all.push(Submits::new(&pipeline, of(tenant, "1")).await);
        all.push(Submits::new(&pipeline, of(tenant, "2")).await);
    }
    let polls: Vec<_> = all.iter().map(Submits::polls).collect();
    assert!(polls.iter().all(|polls| *polls <= 3), "{polls:?}");
    for i in 0..100 {
        goes_in(&pipeline, of(&format!("u{i}"), "0"));
    }
    tokio::time::sleep(HOUR / 2).await;
    assert_eq!(polls, all.iter().map(Submits::polls).collect::<Vec<_>>(), "nobody's business");
    tokio::time::sleep(HOUR / 2 + ms(10)).await;
    settled().await;
    for (i, one) in all.iter().enumerate() {
        assert_eq!(one.waits(), i % 2 == 1, "{i}: one token each");
        assert!(one.polls() <= 8, "{i}: {} polls", one.polls());
    }
}

/// What was let through though its tenant had no token gives none back.
#[tokio::test(start_paused = true)]
async fn a_token_that_was_never_taken_is_not_given_back() {
    let quota = hourly().with_enforcement(headworks::Enforcement::Share(0.5));
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat().with_ingress(quota));
    let _inside = pipeline.try_submit(intent("k/inside", "x")).unwrap();
    settled().await;
    let mut refused = 0;
    for i in 0..400 {
        match pipeline.try_submit(intent(&format!("k/{i}"), "x")) {
            Ok(ticket) => ticket.cancel(),
            Err(_) => refused += 1,
        }
    }
    assert!((130..270).contains(&refused), "one in two: {refused}");
}

/// Another quota is for those who wait, too: they look again at once, and by the new one's time.
#[tokio::test(start_paused = true)]
async fn another_quota_wakes_whom_it_is_for() {
    let pipeline = spent(PipelineConfig::default(), &["a", "b"]);
    let quick = || Quota::new(10, Duration::from_secs(1)).with_burst(1);
    let [a, b] =
        [Submits::new(&pipeline, of("a", "1")).await, Submits::new(&pipeline, of("b", "1")).await];
    let polls = b.polls();
    let start = Instant::now();
    let ingress = pipeline.ingress().unwrap();
    ingress.set_tenant_quota("a", quick()).unwrap();
    a.accepted().await;
    assert!(start.elapsed() <= ms(110), "{:?}", start.elapsed());
    assert!(b.waits() && b.polls() == polls, "nobody else's business");
    ingress.clear_tenant_quota("a");
    let again = Submits::new(&pipeline, of("a", "2")).await;
    tokio::time::advance(ms(500)).await;
    assert!(again.waits(), "it lives by everybody's quota again");
    ingress.set_per_tenant_quota(quick()).unwrap();
    b.accepted().await;
    again.accepted().await;
    assert!(start.elapsed() <= ms(800), "{:?}", start.elapsed());
    let faulty = ingress.set_global_quota(Quota::new(0, HOUR)).unwrap_err();
    assert!(faulty.to_string().contains("global"), "{faulty}");
}

#[tokio::test(start_paused = true)]
async fn another_global_quota_wakes_the_head() {
    let all = hourly().with_global(Quota::new(1, HOUR).with_burst(1));
    let pipeline = through(&Turnstile::default(), PipelineConfig::default().with_ingress(all));
    goes_in(&pipeline, of("a", "0"));
    let waits = Submits::new(&pipeline, of("b", "0")).await;
    let start = Instant::now();
    let quick = Quota::new(10, Duration::from_secs(1)).with_burst(1);
    pipeline.ingress().unwrap().set_global_quota(quick).unwrap();
    waits.accepted().await;
    assert!(start.elapsed() <= ms(110), "{:?}", start.elapsed());
    let none = through(&Turnstile::default(), PipelineConfig::default());
    assert!(none.ingress().is_none(), "built without one");
}
