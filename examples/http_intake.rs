//! Intents over HTTP: an intake that serves itself one request, and ends.
//!
//! `cargo run --features ingest,http --example http_intake`

use std::time::Duration;

use headworks::http_transport::TransportConfig;
use headworks::intake::http::{Bind, HttpIntake, HttpIntakeConfig};
use headworks::intake::{Origin, Rejected};
use headworks::{Intent, IntentPipeline, PhaseConfig, PhaseContext, PipelineConfig, phase_fn};

/// One text a body, `scale NAME to N`: the operator says what bytes mean.
fn decode(bytes: &[u8], _: &Origin) -> Vec<Result<Intent<u32>, Rejected>> {
    let parsed = || {
        let text = std::str::from_utf8(bytes).ok()?;
        let (name, count) = text.trim().strip_prefix("scale ")?.split_once(" to ")?;
        Some(Intent::new(format!("default/{name}"), count.parse().ok()?))
    };
    vec![parsed().ok_or_else(|| Rejected::invalid("", "scale NAME to N"))]
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scale = phase_fn(|replicas: &u32, cx: &PhaseContext| {
        println!("{} to {replicas}", cx.key());
        async { Ok(()) }
    });
    let pipeline = IntentPipeline::builder::<u32>(PipelineConfig::default())
        .phase("scale", PhaseConfig::local(), scale)
        .build()?;
    let config = HttpIntakeConfig::default().with_bind(Bind::Loopback(0));
    let intake = HttpIntake::builder(config, &pipeline, decode).bind().await?;
    let at = intake.local_addr().ok_or("it listens")?;

    let transport = headworks::TransportFactory::new()?.transport(TransportConfig::default())?;
    let post = http::Request::post(format!("http://{at}/intent"));
    let answer = transport.send(post.body(bytes::Bytes::from("scale web to 5"))?).await?;
    println!("{}", answer.status());
    let accepted = answer.into_body().bytes(1 << 16).await?;
    let accepted: serde_json::Value = serde_json::from_slice(&accepted)?;
    let ticket = accepted["href"].as_str().ok_or("a ticket")?;

    // The events end with the run.
    let events = transport.get(format!("http://{at}/{ticket}/events")).await?;
    let events = events.into_body().bytes(1 << 16).await?;
    println!("{}", String::from_utf8_lossy(&events));

    // The pipeline first: what it comes to can be read meanwhile.
    println!("{}", pipeline.shutdown(Duration::from_secs(5)).await.ledger);
    println!("{:?}", intake.shutdown(Duration::from_secs(5)).await);
    Ok(())
}
