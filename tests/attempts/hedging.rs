//! Calls that are sent beside themselves: when, to whom, how often at most, and what becomes of the
//! one that loses.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small counts")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use tower_mesh::{
    Body, Call, ErrorKind, Event, EventStream, Hedge, HedgeRefusal, Mesh, MeshBuilder, Retry,
    config::Budget,
};

use crate::support::{
    BoxError, Leaves, SERVICE,
    leaf::{answer, grpc, ok},
};

const MS: Duration = Duration::from_millis(1);

/// What the endpoints saw: number, headers and body of each attempt.
type Seen = Arc<Mutex<Vec<(usize, HeaderMap, Bytes)>>>;

/// The attempts of a call are answered in turn: after so long, with this.
fn in_turn(
    leaves: &Leaves,
    hedge: Hedge,
    script: impl Fn(usize) -> (Duration, Response<Body>) + Clone + Send + Sync + 'static,
) -> (MeshBuilder, Seen) {
    let seen: Seen = Arc::default();
    let sink = Arc::clone(&seen);
    let builder = leaves.mesh(move |number, request: Request<Body>| {
        let (sink, script) = (Arc::clone(&sink), script.clone());
        async move {
            let (head, body) = request.into_parts();
            let turn = {
                let mut seen = sink.lock().unwrap();
                seen.push((number, head.headers, Bytes::new()));
                seen.len() - 1
            };
            let bytes = body.collect().await?.to_bytes();
            sink.lock().unwrap()[turn].2 = bytes;
            let (wait, answer) = script(turn);
            tokio::time::sleep(wait).await;
            Ok::<_, BoxError>(answer)
        }
    });
    let builder = builder.service(SERVICE, |s| s.hedge(hedge).retry(rich()));
    (builder, seen)
}

/// A retry policy whose budget is not what these tests are about.
fn rich() -> Retry {
    Retry::standard().attempts(1).budget(Budget::new(10.0))
}

fn get() -> Request<Body> {
    Request::get("/").body(Body::empty()).unwrap()
}

async fn send(mesh: &Mesh, request: Request<Body>) -> Result<Response<Body>, tower_mesh::Error> {
    mesh.client(SERVICE).unwrap().send(request).await
}

fn all(events: &mut EventStream) -> Vec<Event> {
    std::iter::from_fn(|| events.try_recv()).collect()
}

fn refusals(events: &[Event]) -> Vec<HedgeRefusal> {
    let refusal = |event: &Event| match event {
        Event::HedgeRefused { reason, .. } => Some(*reason),
        _ => None,
    };
    events.iter().filter_map(refusal).collect()
}

/// The endpoints of attempts.
fn endpoints(seen: &Seen) -> Vec<usize> {
    seen.lock().unwrap().iter().map(|(number, ..)| *number).collect()
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_long_is_answered_by_another_endpoint() {
    let leaves = Leaves::new(2);
    let (builder, seen) = in_turn(&leaves, Hedge::after(10 * MS), |turn| match turn {
        0 => (1_000 * MS, ok("late")),
        _ => (5 * MS, ok("early")),
    });
    let mesh = builder.build().unwrap();
    let mut events = mesh.events();
    let began = tokio::time::Instant::now();
    let answer = send(&mesh, get()).await.unwrap();
    assert_eq!(began.elapsed(), 15 * MS);
    assert_eq!(answer.into_body().text().await.unwrap(), "early");
    let endpoints = endpoints(&seen);
    assert_eq!(endpoints.len(), 2);
    assert_ne!(endpoints[0], endpoints[1], "another endpoint");
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0].1.get("x-mesh-attempt"), None);
    assert_eq!(seen[1].1["x-mesh-attempt"], "1", "it says that it is not the first");
    let events = all(&mut events);
    let told = |event: &&Event| matches!(event, Event::Hedge { number: 2, after, .. } if *after == 10 * MS);
    assert_eq!(events.iter().filter(told).count(), 1, "{events:?}");
    let ended: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::AttemptEnded { number, status, error, .. } => Some((*number, *status, *error)),
            _ => None,
        })
        .collect();
    assert_eq!(ended, [(2, Some(200), None), (1, None, None)], "the loser is cancelled");
    let ends =
        |event: &&Event| matches!(event, Event::CallEnded { attempts: 2, status: Some(200), .. });
    assert_eq!(events.iter().filter(ends).count(), 1);
    let metrics = mesh.metrics();
    for name in ["mesh.client.hedges", "mesh.client.hedges.won"] {
        assert_eq!(metrics.total(name, &[]) as u64, 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_fast_is_sent_once() {
    let leaves = Leaves::new(2);
    let (builder, seen) = in_turn(&leaves, Hedge::after(10 * MS), |_| (9 * MS, ok("first")));
    let mesh = builder.build().unwrap();
    for _ in 0..20 {
        send(&mesh, get()).await.unwrap();
    }
    assert_eq!(seen.lock().unwrap().len(), 20);
}

#[tokio::test(start_paused = true)]
async fn the_first_wins_if_it_is_faster_after_all() {
    let leaves = Leaves::new(2);
    let (builder, seen) = in_turn(&leaves, Hedge::after(10 * MS), |turn| match turn {
        0 => (15 * MS, ok("first")),
        _ => (1_000 * MS, ok("second")),
    });
    let mesh = builder.build().unwrap();
    let answer = send(&mesh, get()).await.unwrap();
    assert_eq!(answer.into_body().text().await.unwrap(), "first");
    assert_eq!(seen.lock().unwrap().len(), 2);
    assert_eq!(mesh.metrics().total("mesh.client.hedges.won", &[]) as u64, 0);
}

#[tokio::test(start_paused = true)]
async fn only_what_may_be_repeated_is_hedged() {
    for (request, times) in [
        (Request::post("/").body(Body::empty()).unwrap(), 1),
        (Request::put("/").body(Body::empty()).unwrap(), 2),
        (
            Request::post("/").extension(Call::new().idempotent(true)).body(Body::empty()).unwrap(),
            2,
        ),
        (Request::get("/").extension(Call::new().no_retry()).body(Body::empty()).unwrap(), 1),
        (
            Request::get("/")
                .extension(Call::new().inherit(&inbound()))
                .body(Body::empty())
                .unwrap(),
            1,
        ),
    ] {
        let leaves = Leaves::new(2);
        let (builder, seen) = in_turn(&leaves, Hedge::after(10 * MS), |_| (50 * MS, ok("answer")));
        let mesh = builder.build().unwrap();
        let what = format!("{request:?}");
        send(&mesh, request).await.unwrap();
        assert_eq!(seen.lock().unwrap().len(), times, "{what}");
    }
}

/// The headers of a call that is a retry itself.
fn inbound() -> HeaderMap {
    HeaderMap::from_iter([("x-mesh-attempt".parse().unwrap(), "1".parse().unwrap())])
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_other_endpoint_nothing_is_sent() {
    let leaves = Leaves::new(1);
    let (builder, seen) = in_turn(&leaves, Hedge::after(10 * MS), |_| (50 * MS, ok("answer")));
    let mesh = builder.build().unwrap();
    let mut events = mesh.events();
    send(&mesh, get()).await.unwrap();
    assert_eq!(seen.lock().unwrap().len(), 1);
    assert_eq!(refusals(&all(&mut events)), [HedgeRefusal::NoEndpoint]);
    let why = [("mesh.hedge.refusal", "no_endpoint")];
    assert_eq!(mesh.metrics().total("mesh.client.hedges.refused", &why) as u64, 1);
}

#[tokio::test(start_paused = true)]
async fn no_more_attempts_than_allowed_each_on_another_endpoint() {
    let leaves = Leaves::new(5);
    let hedge = Hedge::after(10 * MS).max_attempts(4);
    let (builder, seen) = in_turn(&leaves, hedge, |turn| match turn {
        3 => (5 * MS, ok("fourth")),
        _ => (1_000 * MS, ok("late")),
    });
    let mesh = builder.build().unwrap();
    let began = tokio::time::Instant::now();
    send(&mesh, get()).await.unwrap();
    assert_eq!(began.elapsed(), 35 * MS);
    let mut endpoints = endpoints(&seen);
    endpoints.sort_unstable();
    endpoints.dedup();
    assert_eq!(endpoints.len(), 4);
    let began = tokio::time::Instant::now();
    seen.lock().unwrap().clear();
    let leaves = Leaves::new(5);
    let (builder, seen) =
        in_turn(&leaves, Hedge::after(10 * MS).max_attempts(4), |_| (100 * MS, ok("late")));
    let mesh = builder.build().unwrap();
    send(&mesh, get()).await.unwrap();
    assert_eq!((seen.lock().unwrap().len(), began.elapsed()), (4, 100 * MS));
}

#[tokio::test(start_paused = true)]
async fn an_empty_budget_pays_for_none() {
    let leaves = Leaves::new(2);
    let (builder, seen) = in_turn(&leaves, Hedge::after(10 * MS), |_| (50 * MS, ok("answer")));
    let retry = Retry::standard().attempts(1).budget(Budget::new(0.0).min_per_second(0));
    let mesh = builder.service(SERVICE, |s| s.retry(retry)).build().unwrap();
    let mut events = mesh.events();
    send(&mesh, get()).await.unwrap();
    assert_eq!(seen.lock().unwrap().len(), 1);
    assert_eq!(refusals(&all(&mut events)), [HedgeRefusal::Budget]);
}

#[tokio::test(start_paused = true)]
async fn hedges_and_retries_are_paid_for_by_one_budget() {
    let leaves = Leaves::new(3);
    let (builder, seen) = in_turn(&leaves, Hedge::after(10 * MS), |_| (50 * MS, answer(503)));
    // Two calls earn one token: the first hedge takes it.
    let budget = Budget::new(0.5).min_per_second(0);
    let retry = Retry::standard().attempts(5).budget(budget).backoff(MS, MS);
    let mesh = builder.service(SERVICE, |s| s.retry(retry)).build().unwrap();
    for sent in [1, 3] {
        assert_eq!(send(&mesh, get()).await.unwrap().status(), 503);
        assert_eq!(seen.lock().unwrap().len(), sent);
    }
}

/// Sends so many calls, one each `pause`, and gives their times.
async fn storm(mesh: &Mesh, calls: usize, pause: Duration) -> Vec<Duration> {
    let mut tasks = Vec::new();
    for _ in 0..calls {
        let mesh = mesh.clone();
        tasks.push(tokio::spawn(async move {
            let began = tokio::time::Instant::now();
            assert_eq!(send(&mesh, get()).await.unwrap().status(), 200);
            began.elapsed()
        }));
        tokio::time::sleep(pause).await;
    }
    let mut times = Vec::new();
    for task in tasks {
        times.push(task.await.unwrap());
    }
    times.sort_unstable();
    times
}

/// One attempt of fifty takes 500 ms, and all as long as that while `all` is set.
fn stragglers(leaves: &Leaves, hedge: Option<Hedge>, all: &Arc<Mutex<bool>>) -> Mesh {
    let (count, all) = (Arc::new(Mutex::new(0_u64)), Arc::clone(all));
    let builder = leaves.mesh(move |_, _| {
        let (count, all) = (Arc::clone(&count), Arc::clone(&all));
        async move {
            let number = {
                let mut count = count.lock().unwrap();
                *count += 1;
                *count
            };
            let is_slow = *all.lock().unwrap() || number % 50 == 0;
            let wait = if is_slow { 500 } else { 5 + number % 10 };
            tokio::time::sleep(Duration::from_millis(wait)).await;
            Ok(ok("answer"))
        }
    });
    let builder = builder.service(SERVICE, |s| {
        let s = s.retry(Retry::standard().budget(Budget::new(1.0)));
        match hedge {
            Some(hedge) => s.hedge(hedge),
            None => s,
        }
    });
    builder.build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn one_number_is_the_extra_load_and_the_tail_falls() {
    const CALLS: usize = 5_000;
    let mut tails = Vec::new();
    for hedge in [None, Some(Hedge::within(3.0))] {
        let leaves = Leaves::new(4);
        let mesh = stragglers(&leaves, hedge, &Arc::default());
        storm(&mesh, 500, MS).await;
        leaves.reset();
        let times = storm(&mesh, CALLS, 2 * MS).await;
        let extra = leaves.total() - CALLS;
        assert!(extra <= CALLS * 3 / 100 + 15, "{extra}, with what the 500 before have left");
        tails.push((times[CALLS * 99 / 100], extra));
    }
    let [(without, none), (with, extra)] = tails[..] else { panic!() };
    assert_eq!(none, 0);
    assert!(extra > CALLS / 100, "{extra}");
    assert_eq!(without, 500 * MS);
    assert!(with < 50 * MS, "{with:?}");
}

#[tokio::test(start_paused = true)]
async fn when_everything_degrades_at_once_the_extra_load_stays_at_the_number() {
    let (leaves, all) = (Leaves::new(4), Arc::new(Mutex::new(false)));
    let mesh = stragglers(&leaves, Some(Hedge::within(2.0)), &all);
    storm(&mesh, 2_000, MS).await;
    *all.lock().unwrap() = true;
    leaves.reset();
    // At a fixed delay, or at the percentile alone, each of these would be sent twice.
    storm(&mesh, 2_000, MS).await;
    let extra = leaves.total() - 2_000;
    assert!(extra <= 2 * 2_000 * 2 / 100, "{extra}: the share of these, and what was left before");
}

#[tokio::test(start_paused = true)]
async fn a_fatal_answer_ends_it_and_another_does_not() {
    let request = || {
        Request::post("/users.Users/Get")
            .header("content-type", "application/grpc")
            .extension(Call::new().idempotent(true))
            .body(Body::empty())
            .unwrap()
    };
    // UNAVAILABLE after 20 ms, while the second takes 40: INTERNAL is fatal, it is not.
    for (code, attempts, expected) in [(14, 3, "0"), (13, 2, "13")] {
        let leaves = Leaves::new(4);
        let hedge = Hedge::after(10 * MS).max_attempts(3).non_fatal_grpc([14]);
        let (builder, seen) = in_turn(&leaves, hedge, move |turn| match turn {
            0 => (12 * MS, grpc(code)),
            1 => (1_000 * MS, grpc(0)),
            _ => (5 * MS, grpc(0)),
        });
        let mesh = builder.build().unwrap();
        let began = tokio::time::Instant::now();
        let answer = send(&mesh, request()).await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], expected);
        assert_eq!(seen.lock().unwrap().len(), attempts);
        // The next is sent at once, not after the delay.
        let times = if code == 14 { 17 * MS } else { 12 * MS };
        assert_eq!(began.elapsed(), times);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_puts_the_next_attempt_off_or_stops_it() {
    for (pushback, attempts, elapsed) in [("-1", 1, 5), ("40", 2, 50)] {
        let leaves = Leaves::new(3);
        let hedge = Hedge::after(10 * MS).max_attempts(3);
        let (builder, seen) = in_turn(&leaves, hedge, move |turn| {
            let mut first = grpc(14);
            first.headers_mut().insert("grpc-retry-pushback-ms", pushback.parse().unwrap());
            if turn == 0 { (5 * MS, first) } else { (5 * MS, grpc(0)) }
        });
        let mesh = builder.build().unwrap();
        let request = Request::post("/users.Users/Get")
            .header("content-type", "application/grpc")
            .extension(Call::new().idempotent(true))
            .body(Body::empty())
            .unwrap();
        let began = tokio::time::Instant::now();
        let answer = send(&mesh, request).await.unwrap();
        let code = if attempts == 1 { "14" } else { "0" };
        assert_eq!(answer.headers()["grpc-status"], code);
        assert_eq!(seen.lock().unwrap().len(), attempts);
        assert_eq!(began.elapsed(), elapsed * MS);
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_begin_together_where_the_policy_says_so() {
    let leaves = Leaves::new(4);
    let hedge = Hedge::default().initial_attempts(3);
    let (builder, seen) = in_turn(&leaves, hedge, |turn| (10 * MS, ok(turn.to_string())));
    let mesh = builder.build().unwrap();
    let began = tokio::time::Instant::now();
    send(&mesh, get()).await.unwrap();
    assert_eq!((seen.lock().unwrap().len(), began.elapsed()), (3, 10 * MS));
    let leaves = Leaves::new(4);
    let hedge = Hedge::default().additional_percent(30.0);
    let (builder, seen) = in_turn(&leaves, hedge, |_| (10 * MS, ok("answer")));
    let mesh = builder.build().unwrap();
    for _ in 0..500 {
        send(&mesh, get()).await.unwrap();
    }
    let extra = seen.lock().unwrap().len() - 500;
    assert!((100..200).contains(&extra), "{extra} of 150");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_outlives_its_timeout_may_still_win() {
    let leaves = Leaves::new(3);
    let hedge = Hedge::default().on_attempt_timeout(true);
    let (builder, seen) = in_turn(&leaves, hedge, |turn| match turn {
        0 => (150 * MS, ok("first")),
        _ => (1_000 * MS, ok("second")),
    });
    let mesh = builder.service(SERVICE, |s| s.attempt_timeout(100 * MS)).build().unwrap();
    let answer = send(&mesh, get()).await.unwrap();
    assert_eq!(answer.into_body().text().await.unwrap(), "first");
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_timeout_of_the_last_attempt_ends_them_all() {
    let leaves = Leaves::new(3);
    let hedge = Hedge::default().on_attempt_timeout(true);
    let (builder, seen) = in_turn(&leaves, hedge, |_| (1_000 * MS, ok("late")));
    let mesh = builder.service(SERVICE, |s| s.attempt_timeout(100 * MS)).build().unwrap();
    let began = tokio::time::Instant::now();
    let error = send(&mesh, get()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!((seen.lock().unwrap().len(), began.elapsed()), (2, 200 * MS));
    assert_eq!(error.attempts().len(), 2, "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn each_attempt_has_its_own_timeout_and_the_call_one_deadline() {
    let leaves = Leaves::new(3);
    let script = |_| (1_000 * MS, ok("late"));
    let (builder, seen) = in_turn(&leaves, Hedge::after(40 * MS), script);
    let mesh = builder.service(SERVICE, |s| s.attempt_timeout(100 * MS)).build().unwrap();
    let began = tokio::time::Instant::now();
    let error = send(&mesh, get()).await.unwrap_err();
    assert_eq!((error.kind(), began.elapsed()), (ErrorKind::Timeout, 140 * MS));
    assert_eq!(seen.lock().unwrap().len(), 2);
    assert_eq!(error.attempts().len(), 2);
    let (builder, _) = in_turn(&leaves, Hedge::after(40 * MS), script);
    let mesh = builder.service(SERVICE, |s| s.timeout(90 * MS)).build().unwrap();
    let began = tokio::time::Instant::now();
    let error = send(&mesh, get()).await.unwrap_err();
    assert_eq!((error.kind(), began.elapsed()), (ErrorKind::Timeout, 90 * MS));
    assert_eq!(error.attempts().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_one_is_not_the_calls_while_another_is_under_way() {
    let leaves = Leaves::new(3);
    let (builder, seen) = in_turn(&leaves, Hedge::within(50.0).initial_attempts(2), |turn| {
        if turn == 0 { (5 * MS, answer(503)) } else { (20 * MS, ok("second")) }
    });
    let mesh = builder.build().unwrap();
    // What the share is earned by.
    for _ in 0..3 {
        seen.lock().unwrap().clear();
        let answer = send(&mesh, get()).await.unwrap();
        if seen.lock().unwrap().len() == 2 {
            assert_eq!(answer.into_body().text().await.unwrap(), "second");
            return;
        }
    }
    panic!("it was never hedged");
}

#[tokio::test(start_paused = true)]
async fn what_all_of_them_failed_with_is_retried_as_one_attempt_would_be() {
    let leaves = Leaves::new(3);
    let (builder, seen) = in_turn(&leaves, Hedge::after(10 * MS), |turn| match turn {
        0 => (15 * MS, answer(503)),
        1 => (20 * MS, answer(503)),
        _ => (MS, ok("third")),
    });
    let retry = Retry::standard().attempts(4).backoff(MS, MS).budget(Budget::new(10.0));
    let mesh = builder.service(SERVICE, |s| s.retry(retry)).build().unwrap();
    let answer = send(&mesh, get()).await.unwrap();
    assert_eq!(answer.into_body().text().await.unwrap(), "third");
    let endpoints = endpoints(&seen);
    assert_eq!(endpoints.len(), 3);
    assert!(endpoints[2] != endpoints[0] && endpoints[2] != endpoints[1], "{endpoints:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_takes_both_with_it_and_nobody_is_blamed() {
    let leaves = Leaves::new(2);
    let (builder, seen) = in_turn(&leaves, Hedge::after(10 * MS), |_| (1_000 * MS, ok("late")));
    let mesh = builder.build().unwrap();
    let mut events = mesh.events();
    let call = send(&mesh, get());
    assert!(tokio::time::timeout(50 * MS, call).await.is_err());
    assert_eq!(seen.lock().unwrap().len(), 2);
    let events = all(&mut events);
    let left =
        |event: &&Event| matches!(event, Event::AttemptEnded { status: None, error: None, .. });
    assert_eq!(events.iter().filter(left).count(), 2, "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_cap_is_not_hedged_and_says_why() {
    let leaves = Leaves::new(2);
    let (builder, seen) = in_turn(&leaves, Hedge::after(10 * MS), |_| (50 * MS, ok("answer")));
    let retry = rich().max_body_bytes(8);
    let mesh = builder.service(SERVICE, |s| s.retry(retry)).build().unwrap();
    let mut events = mesh.events();
    let frames = ["12345", "67890"]
        .map(|part| Ok::<_, BoxError>(http_body::Frame::data(Bytes::from_static(part.as_bytes()))));
    let body = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
    let request = Request::put("/").body(Body::new(body)).unwrap();
    send(&mesh, request).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!((seen.len(), &*seen[0].2), (1, &b"1234567890"[..]));
    assert_eq!(refusals(&all(&mut events)), [HedgeRefusal::BodyTooLarge]);
}

/// A PUT whose parts come one after the other.
fn trickling(parts: &'static [&'static str], pause: Duration) -> Request<Body> {
    let frames = futures_util::stream::iter(parts);
    let frames = futures_util::StreamExt::then(frames, move |part| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, BoxError>(http_body::Frame::data(Bytes::from_static(part.as_bytes())))
    });
    let body = http_body_util::StreamBody::new(Box::pin(frames));
    Request::put("/").body(Body::new(body)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_body_that_outgrows_what_is_kept_is_finished_by_the_attempt_that_is_ahead() {
    let (leaves, seen) = (Leaves::new(2), Seen::default());
    let sink = Arc::clone(&seen);
    let builder = leaves.mesh(move |number, request: Request<Body>| {
        let sink = Arc::clone(&sink);
        async move {
            let (head, body) = request.into_parts();
            let is_first = head.headers.get("x-mesh-attempt").is_none();
            // The second is slow to read.
            tokio::time::sleep(if is_first { Duration::ZERO } else { 200 * MS }).await;
            let bytes = body.collect().await?.to_bytes();
            sink.lock().unwrap().push((number, head.headers, bytes.clone()));
            tokio::time::sleep(500 * MS).await;
            Ok::<_, BoxError>(ok(bytes))
        }
    });
    let retry = rich().max_body_bytes(8);
    let mesh =
        builder.service(SERVICE, |s| s.retry(retry).hedge(Hedge::after(10 * MS))).build().unwrap();
    let mut events = mesh.events();
    let answer = send(&mesh, trickling(&["1234", "5678", "9"], 20 * MS)).await.unwrap();
    assert_eq!(answer.into_body().text().await.unwrap(), "123456789");
    assert_eq!(seen.lock().unwrap().len(), 1, "the other could not read all of it");
    let events = all(&mut events);
    let hedges = events.iter().filter(|event| matches!(event, Event::Hedge { .. })).count();
    assert_eq!(hedges, 1, "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_the_cluster_counts_each_attempt() {
    let leaves = Leaves::new(2);
    let builder = leaves.leaves(Mesh::builder(), |_, _| async {
        tokio::time::sleep(50 * MS).await;
        Ok(ok("answer"))
    });
    let mut cluster = crate::support::cluster(leaves.addresses());
    let mut breakers = tower_mesh::config::Breakers::default();
    breakers.max_requests = Some(1);
    cluster.breakers = Some(breakers);
    let source = tower_mesh::discover::Static::default().cluster(SERVICE, cluster);
    let mesh = builder
        .source(source)
        .service(SERVICE, |s| {
            let budget = Budget::new(1.0).min_per_second(0);
            s.hedge(Hedge::after(10 * MS)).retry(Retry::standard().budget(budget))
        })
        .build()
        .unwrap();
    let mut events = mesh.events();
    assert_eq!(send(&mesh, get()).await.unwrap().status(), 200);
    assert_eq!(leaves.total(), 1);
    assert_eq!(refusals(&all(&mut events)), [HedgeRefusal::Limit]);
    let left = mesh.metrics().total("mesh.client.retry_budget.balance", &[]);
    assert_eq!(left as u64, 1, "what was not sent costs nothing");
}
