//! Local and shared rate limits of Envoy and of the mesh: `traffic/limits.envoy.yaml` and
//! `traffic/limits.mesh.yaml`. The shared ones are kept by a server on gRPC C-core for each.

use std::time::Duration;

use crate::{
    limiter::Limiter,
    program::free_port,
    twin::{Ask, Otherwise, Seen, Twin, alike, otherwise},
};

/// Both, each with a server of limits of its own; or with nobody at its port.
async fn twin(closed: bool, limiters: Option<&[Limiter; 2]>) -> Twin {
    let (mut theirs, mut ours) = (
        include_str!("traffic/limits.envoy.yaml").to_owned(),
        include_str!("traffic/limits.mesh.yaml").to_owned(),
    );
    if closed {
        theirs = theirs.replace("failure_mode_deny: false", "failure_mode_deny: true");
        ours = ours.replace("fail_closed: false", "fail_closed: true");
    }
    let ports = match limiters {
        Some([one, other]) => [one.port, other.port],
        None => [free_port(), free_port()],
    };
    Twin::new(&theirs, &ours, &[("L", ports)]).await
}

async fn limiters() -> [Limiter; 2] {
    [Limiter::start(free_port()).await, Limiter::start(free_port()).await]
}

fn times(ask: impl Fn() -> Ask, times: usize) -> impl Iterator<Item = Ask> {
    (0..times).map(move |time| ask().time(time))
}

#[tokio::test]
async fn a_burst_and_what_is_over_it_are_those_of_envoy() {
    let twin = twin(false, None).await;
    let tenant = |name| move || Ask::get("/tenants").with("x-tenant", name);
    let asks = times(|| Ask::get("/status"), 3)
        .chain(times(|| Ask::get("/watched"), 3))
        .chain(times(|| Ask::get("/off"), 3))
        // A tenant with a bucket of its own, two that have one each by a wildcard, and nobody's.
        .chain(times(tenant("acme"), 5))
        .chain(times(tenant("one"), 4))
        .chain(times(tenant("two"), 4))
        .chain(times(|| Ask::get("/tenants"), 3))
        .chain(times(|| Ask::grpc("/exhausted"), 3).skip(1));
    // The first of a kind takes the token.
    twin.ask(&Ask::get("/exhausted")).await;
    alike(&twin, asks.map(Ask::without_flag)).await;
    let burst = |time| Ask::get("/burst").time(time);
    for time in 0..5 {
        let [envoy, mesh] = twin.ask(&burst(time)).await;
        let expected = if time < 3 { 200 } else { 429 };
        assert_eq!([envoy.status, mesh.status], [expected; 2], "{time}");
        if expected == 429 {
            assert_eq!(envoy.headers, mesh.headers);
            assert_eq!(mesh.headers["x-limited"], "yes");
            assert_eq!(mesh.headers["x-ratelimit-remaining"], "0");
        }
        assert_eq!(twin.tries(&burst(time)), [usize::from(time < 3); 2]);
    }
}

#[tokio::test]
async fn tokens_come_back_as_in_envoy() {
    let twin = twin(false, None).await;
    let mut seen = [Vec::new(), Vec::new()];
    for time in 0..5 {
        if time == 3 {
            // A token each four seconds, so one now.
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        let asked = twin.ask(&Ask::get("/refill").time(time)).await;
        for (all, seen) in seen.iter_mut().zip(asked) {
            all.push(seen.status);
        }
    }
    assert_eq!(seen, [[200, 200, 429, 200, 429], [200, 200, 429, 200, 429]]);
}

#[tokio::test]
async fn a_service_of_limits_is_asked_the_same_and_obeyed_the_same_as_by_envoy() {
    let limiters = limiters().await;
    let twin = twin(false, Some(&limiters)).await;
    let many = || Ask::get("/many");
    let tenant = |name| move || Ask::get("/tenant").with("x-tenant", name);
    let asks = [
        many(),
        many().with("x-plan", "gold"),
        many().with("x-beta", "1"),
        Ask::get("/many?dry=1&q=a%20b%2Bc+d%zz"),
        Ask::get("/many?dry=0&q="),
        Ask::get("/staged"),
        // Nothing describes it.
        Ask::get("/tenant"),
        Ask::grpc("/many"),
    ];
    let asks = asks.into_iter().chain(times(tenant("shadow"), 8)).chain(times(tenant("a"), 23));
    alike(&twin, asks.map(Ask::without_wait)).await;
    let [theirs, ours] = [0, 1].map(|side| limiters[side].asked());
    assert_eq!(theirs, ours);
    assert_eq!(theirs.len(), 7 + 8 + 23);
    assert!(theirs[3].contains("a b+c+d%zz"), "{}", theirs[3]);
    // A value that is matched is not decoded, as in routes.
    twin.ask(&Ask::get("/many?dry=%31")).await;
    let asked = [0, 1].map(|side| limiters[side].asked().last().unwrap().contains("query_match"));
    assert_eq!(asked, [true, false]);
    let over = [twin.tries(&tenant("a")().time(19)), twin.tries(&tenant("a")().time(20))];
    assert_eq!(over, [[1, 1], [0, 0]]);
}

#[tokio::test]
async fn a_service_of_limits_that_does_not_answer_lets_in_or_refuses_as_in_envoy() {
    let tenant = || Ask::get("/tenant").with("x-tenant", "a");
    alike(&twin(false, None).await, times(tenant, 3)).await;
    alike(&twin(true, None).await, times(tenant, 3)).await;
}

#[tokio::test]
async fn what_limits_do_otherwise_than_in_envoy_is_what_the_document_says() {
    let twin = twin(false, None).await;
    let code = |seen: &Seen| format!("{:?}", seen.grpc);
    let headers = |seen: &Seen| {
        let headers = seen.headers.keys().filter(|name| name.starts_with("x-ratelimit"));
        format!("{} {}", seen.status, headers.count())
    };
    twin.ask(&Ask::get("/status")).await;
    let flag = |seen: &Seen| format!("{} {}", seen.status, seen.flag);
    let rows: [Otherwise; 3] = [
        // A local limit has a flag.
        (Ask::get("/status").time(1), flag, ["503 ", "503 RL"]),
        // Who waits for a limit is not told that it may try again at once.
        (Ask::grpc("/status"), code, ["Some(14)", "Some(8)"]),
        // Answers of endpoints say nothing of a local limit.
        (Ask::get("/burst"), headers, ["200 3", "200 0"]),
    ];
    otherwise(&twin, rows).await;
}
