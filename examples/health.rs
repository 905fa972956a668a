//! Endpoints that are ill: one that fails is taken out of use and comes back by one call; one that
//! hangs is found by an active check before a call meets it.
//!
//! ```text
//! cargo run --example health
//! ```
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "an example talks and keeps short"
)]

#[path = "support/greeter.rs"]
mod greeter;
#[path = "support/replica.rs"]
mod replica;

use std::{collections::BTreeMap, time::Duration};

use http::Request;
use tower_mesh::{
    Body, BoxError, Client, Event, EventStream, Mesh,
    config::{Balancer, FailureAccrual, HealthCheck, OutlierDetection},
};

use self::replica::{REPLICA, Replica};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let replicas =
        [Replica::start("a").await?, Replica::start("b").await?, Replica::start("c").await?];
    by_its_failures(&replicas).await?;
    by_checks(&replicas).await
}

/// Outlier detection: what calls meet takes an endpoint out of use.
async fn by_its_failures(replicas: &[Replica; 3]) -> Result<(), BoxError> {
    // Two failures in a row are enough, at first for up to half a second.
    let mut accrual = FailureAccrual::default();
    accrual.consecutive_failures = Some(2);
    accrual.min_penalty = Some(Duration::from_millis(500));
    let mut outliers = OutlierDetection::default();
    outliers.accrual = Some(accrual);
    let mesh = Mesh::builder()
        .endpoints("users.prod", replicas.iter().map(Replica::address))
        .service("users.prod", |s| s.outlier_detection(outliers).balancer(Balancer::RoundRobin))
        .build()?;
    let mut events = mesh.events();
    let client = mesh.client("users.prod")?;
    println!("three replicas answer:");
    calls(&client, 60).await;

    println!("b fails, and calls go elsewhere but for one now and then:");
    replicas[1].fail(true);
    calls(&client, 300).await;
    tell(&mut events, replicas);

    println!("b is well again, and one call finds out:");
    replicas[1].fail(false);
    calls(&client, 800).await;
    tell(&mut events, replicas);
    mesh.shutdown(Duration::ZERO).await;
    Ok(())
}

/// Active checks: a probe takes an endpoint out of use before a call meets it.
async fn by_checks(replicas: &[Replica; 3]) -> Result<(), BoxError> {
    // Every endpoint is asked each 100 ms, and has as long to answer.
    let mut check = HealthCheck::http("/healthz");
    let often = Some(Duration::from_millis(100));
    (check.interval, check.no_traffic_interval, check.timeout) = (often, often, often);
    let mesh = Mesh::builder()
        .endpoints("users.prod", replicas.iter().map(Replica::address))
        .service("users.prod", |s| s.health_check(check))
        .build()?;
    let mut events = mesh.events();
    let client = mesh.client("users.prod")?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    println!("three replicas are checked:");
    tell(&mut events, replicas);

    println!("c hangs:");
    replicas[2].delay(60_000);
    tokio::time::sleep(Duration::from_millis(900)).await;
    tell(&mut events, replicas);
    println!("and calls go to the others:");
    calls(&client, 60).await;
    for line in mesh.describe().to_string().lines().filter(|line| line.contains("in flight")) {
        println!("{line}");
    }
    mesh.shutdown(Duration::ZERO).await;
    Ok(())
}

/// So many calls, one each few milliseconds; prints who has answered them.
async fn calls(client: &Client, count: usize) {
    let mut answered = BTreeMap::<String, usize>::new();
    for _ in 0..count {
        let request = Request::get("/users/1").body(Body::empty()).unwrap();
        let by = match client.send(request).await {
            Ok(answer) if answer.status().is_success() => {
                answer.headers()[REPLICA].to_str().unwrap().to_owned()
            }
            Ok(answer) => format!("failed with {}", answer.status()),
            Err(error) => format!("failed: {error}"),
        };
        *answered.entry(by).or_default() += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("  {answered:?}");
}

/// What happened to endpoints since the last look, without what only repeats itself.
fn tell(events: &mut EventStream, replicas: &[Replica]) {
    let name = |address: &str| {
        let known = replicas.iter().find(|replica| replica.address().to_string() == address);
        known.map_or("?", Replica::name).to_owned()
    };
    let mut told = Vec::new();
    while let Some(event) = events.try_recv() {
        let line = match event {
            Event::EndpointEjected { endpoint, reason, .. } => {
                format!("  {} is taken out of use: {reason}", name(&endpoint))
            }
            Event::EndpointReturned { endpoint, reason, .. } => {
                format!("  {} is used again: {reason}", name(&endpoint))
            }
            Event::CheckFailed { endpoint, cause, healthy, .. } => {
                let verdict =
                    if healthy { "and counts as healthy yet" } else { "and is unhealthy" };
                format!("  a check of {} fails, {verdict}: {cause}", name(&endpoint))
            }
            Event::CheckPassed { endpoint, healthy, .. } => {
                let verdict =
                    if healthy { "and it is healthy" } else { "and it is not trusted yet" };
                format!("  a check of {} passes, {verdict}", name(&endpoint))
            }
            _ => continue,
        };
        if !told.contains(&line) {
            println!("{line}");
            told.push(line);
        }
    }
}
