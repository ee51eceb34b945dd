//! The stream of a ticket's phases.

use std::time::Duration;

use super::*;

/// A stream, read by hand.
struct Stream {
    body: Pin<Box<IntakeBody>>,
}

impl Stream {
    async fn of(intake: &HttpIntake, id: &str) -> Self {
        let path = format!("/intent/{id}/events");
        let response = intake.service().call(get(&path)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Self { body: Box::pin(response.into_body()) }
    }

    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Option<Vec<(String, Value)>> {
        let frame = self.body.frame().await?.unwrap().into_data().unwrap();
        let text = String::from_utf8(frame.to_vec()).unwrap();
        assert!(text.ends_with("\n\n"));
        let events = text.split_terminator("\n\n").filter(|event| !event.starts_with(':'));
        Some(
            events
                .map(|event| {
                    let mut lines = event.lines();
                    let mut field =
                        |name: &str| lines.next().unwrap().strip_prefix(name).unwrap().to_owned();
                    let kind = field("event: ");
                    field("id: ").parse::<u64>().unwrap();
                    let data = serde_json::from_str(&field("data: ")).unwrap();
                    assert_eq!(lines.next(), None);
                    (kind, data)
                })
                .collect(),
        )
    }

    fn is_waiting(&mut self) -> bool {
        let mut next = Box::pin(self.next());
        poll(&mut next).is_pending()
    }

    /// All to the end, in short.
    async fn rest(mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(events) = self.next().await {
            all.extend(events.iter().map(|(kind, data)| short(kind, data)));
        }
        all
    }
}

fn short(kind: &str, data: &Value) -> String {
    let word = |name: &str| data[name].as_str().unwrap_or("").to_owned();
    match kind {
        "phase" => format!("{} {}", word("phase"), word("state")),
        "ended" => format!("ended {}", word("ending")),
        other => other.to_owned(),
    }
}

#[tokio::test]
async fn phases_are_told_as_they_come_and_the_ending_last() {
    let (pipeline, gate) = gated(PipelineConfig::default());
    let intake = intake(&pipeline);
    pipeline.pause();
    let paused = ask(&intake, post("a")).await;
    assert_eq!(paused.problem(), "paused");
    pipeline.resume();
    let id = ask(&intake, post("a")).await.id();
    let mut stream = Stream::of(&intake, &id).await;
    let mut told = Vec::new();
    while told.last().map(String::as_str) != Some("apply running") {
        told.extend(stream.next().await.unwrap().iter().map(|(kind, data)| short(kind, data)));
    }
    assert!(stream.is_waiting(), "nothing new");
    gate.add_permits(1);
    told.extend(stream.rest().await);
    // Between two looks phases may pass; none is left out, and none is told after a later one.
    let done: Vec<_> = told.iter().filter(|event| event.ends_with(" done")).collect();
    assert_eq!(done, ["parse done", "apply done", "check done"], "{told:?}");
    assert_eq!(told.last().unwrap(), "ended completed");
}

#[tokio::test]
async fn a_slow_reader_sees_the_newest_and_keeps_nothing() {
    let (pipeline, gate) = gated(PipelineConfig::default());
    let intake = intake(&pipeline);
    let id = ask(&intake, post("a")).await.id();
    let mut stream = Stream::of(&intake, &id).await;
    stream.next().await.unwrap();
    gate.add_permits(1);
    end_of(&intake, &id).await;
    let last = stream.next().await.unwrap();
    let told: Vec<_> = last.iter().map(|(kind, data)| short(kind, data)).collect();
    assert_eq!(told.last().unwrap(), "ended completed");
    assert_eq!(last.last().unwrap().1["phases"].as_array().unwrap().len(), 3, "it has them all");
    assert!(stream.next().await.is_none());
    // Who comes after the end has all of it at once.
    let told = Stream::of(&intake, &id).await.rest().await;
    assert_eq!(told, ["parse done", "apply done", "check done", "ended completed"]);
}

#[tokio::test]
async fn one_that_fails_is_told_so_and_no_phase_is_done_that_is_not() {
    let (pipeline, gate) = gated(PipelineConfig::default());
    let intake = intake(&pipeline);
    let id = ask(&intake, post("fail")).await.id();
    gate.add_permits(1);
    end_of(&intake, &id).await;
    let told = Stream::of(&intake, &id).await.rest().await;
    assert_eq!(told, ["parse done", "ended failed"]);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_has_a_comment_now_and_then() {
    let (pipeline, _gate) = gated(PipelineConfig::default());
    let intake = intake(&pipeline);
    let id = ask(&intake, post("a")).await.id();
    let mut stream = Stream::of(&intake, &id).await;
    while stream
        .next()
        .await
        .unwrap()
        .iter()
        .all(|(kind, data)| short(kind, data) != "apply running")
    {}
    let since = tokio::time::Instant::now();
    assert_eq!(stream.next().await.unwrap(), []);
    assert_eq!(stream.next().await.unwrap(), []);
    assert!((30..31).contains(&since.elapsed().as_secs()));
}

#[tokio::test]
async fn streams_are_bounded_and_end_with_the_intake() {
    let (pipeline, _gate) = gated(PipelineConfig::default());
    let config = unlimited().with_event_streams(2);
    let intake = HttpIntake::builder(config, &pipeline, lines).build().unwrap();
    let id = ask(&intake, post("a")).await.id();
    let path = format!("/intent/{id}/events");
    let one = Stream::of(&intake, &id).await;
    let two = Stream::of(&intake, &id).await;
    let said = ask(&intake, get(&path)).await;
    assert_eq!((said.status, said.problem()), (StatusCode::SERVICE_UNAVAILABLE, "busy"));
    assert_eq!(intake.snapshot().event_streams, 2);
    drop(one);
    let three = Stream::of(&intake, &id).await;
    intake.close();
    assert!(!two.rest().await.iter().chain(&three.rest().await).any(|told| told.contains("ended")));
    assert_eq!(intake.snapshot().event_streams, 0);
    assert_eq!(intake.shutdown(Duration::ZERO).await.tickets_left, 1);
}
