//! Pick first over real servers: one takes all calls until it is lost, and nobody waits for one that
//! does not answer; least request of more than two.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use http::Version;
use tokio::time::Instant;
use tower_mesh::{
    Body, Client, Event, Mesh, MeshBuilder,
    config::{Address, Balancer, Cluster, LeastRequest, PickFirst, Session},
    discover::Static,
};

use crate::support::{
    Leaves, RawServer, Recorder, SERVICE, Server, cluster, dead_address, get, leaf::ok,
    one_cluster, over, post, reply, storm,
};

fn ordered(addresses: impl IntoIterator<Item = Address>, shuffle: bool) -> Cluster {
    let mut first = PickFirst::default();
    first.shuffle = Some(shuffle);
    let mut cluster = cluster(addresses);
    cluster.balancer = Some(Balancer::PickFirst(first));
    cluster
}

fn client(mesh: MeshBuilder) -> (Mesh, Client) {
    let mesh = mesh.build().unwrap();
    let client = mesh.client("users").unwrap();
    (mesh, client)
}

async fn text(client: &Client, version: Version) -> String {
    let answer = client.send(over(version, get("/"))).await.unwrap();
    answer.into_body().text().await.unwrap()
}

#[tokio::test]
async fn calls_go_on_at_the_second_when_the_first_is_killed_and_stay_there() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let (first, second) = (Server::named("first").await, Server::named("second").await);
        let at = first.socket();
        let cluster = ordered([first.address(), second.address()], false);
        let (_mesh, client) = client(one_cluster(cluster));
        for _ in 0..200 {
            assert_eq!(text(&client, version).await, "first");
        }
        assert_eq!(second.requests(), 0, "{version:?}");
        first.kill().await;
        for n in 0..200 {
            let request = if n % 2 == 0 { get("/") } else { post("/", "x") };
            let answer = client.send(over(version, request)).await.unwrap();
            assert_eq!(answer.into_body().text().await.unwrap(), "second", "{version:?}");
        }
        // The first is back, and nobody leaves the second for it, until that is lost.
        let first = Server::start_at(at, |_| async { reply("first again") }).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        for _ in 0..50 {
            assert_eq!(text(&client, version).await, "second");
        }
        second.kill().await;
        for _ in 0..50 {
            assert_eq!(text(&client, version).await, "first again");
        }
        drop(first);
    }
}

#[tokio::test]
async fn a_first_that_dies_under_load_fails_no_call() {
    let slow = |name: &'static str| {
        Server::start(move |_| async move {
            tokio::time::sleep(Duration::from_millis(3)).await;
            reply(name)
        })
    };
    let (first, second) = (slow("first").await, slow("second").await);
    let mut cluster = ordered([first.address(), second.address()], false);
    cluster.protocol = Some(tower_mesh::config::Protocol::Http2);
    let builder = Mesh::builder()
        .service("users", |s| s.retry(tower_mesh::Retry::standard()))
        .source(Static::default().cluster("users", cluster));
    let (_mesh, client) = client(builder);
    let calls = storm(8, 600, |_| async { client.send(get("/")).await?.into_body().text().await });
    let kill = async {
        tokio::time::sleep(Duration::from_millis(80)).await;
        first.kill().await;
    };
    let (answers, ()) = tokio::join!(calls, kill);
    let failed: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(second.requests() > 0);
}

#[tokio::test]
async fn who_does_not_answer_costs_the_delay_of_happy_eyeballs() {
    // It takes connections and says nothing: HTTP/2 waits for its SETTINGS.
    let silent = || {
        RawServer::start(|stream, _| async move {
            let _held = stream;
            std::future::pending::<()>().await;
        })
    };
    let (one, other, alive) = (silent().await, silent().await, Server::named("alive").await);
    let (dead, _socket) = dead_address();
    let mut cluster = ordered([one.address(), dead, other.address(), alive.address()], false);
    cluster.transport.connect_timeout = Some(Duration::from_secs(30));
    cluster.transport.happy_eyeballs_delay = Some(Duration::from_millis(50));
    let (mesh, client) = client(one_cluster(cluster));
    let mut events = Recorder::of(&mesh);
    let started = Instant::now();
    assert_eq!(text(&client, Version::HTTP_2).await, "alive");
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(100), "{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    // One attempt, which was begun at four endpoints and has ended at each.
    let attempts = |events: &mut Recorder, number| {
        let begun = events.count(
            |event| matches!(event, Event::AttemptStarted { number: it, .. } if *it == number),
        );
        let ended = events.count(
            |event| matches!(event, Event::AttemptEnded { number: it, .. } if *it == number),
        );
        (begun, ended)
    };
    assert_eq!(attempts(&mut events, 1), (4, 4));
    assert_eq!(attempts(&mut events, 2), (0, 0));
    // Whoever comes next goes where there is a connection.
    for _ in 0..20 {
        assert_eq!(text(&client, Version::HTTP_2).await, "alive");
    }
    assert_eq!(one.connections(), 1);
}

#[tokio::test]
async fn when_nobody_can_be_connected_to_the_call_says_so() {
    let ((one, _held), (other, _too)) = (dead_address(), dead_address());
    let (_mesh, client) = client(one_cluster(ordered([one, other], false)));
    let error = client.send(get("/")).await.unwrap_err();
    assert!(error.is_connect(), "{error}");
}

/// Who takes the calls of a mesh of this seed.
async fn chosen(seed: u64) -> usize {
    let leaves = Leaves::new(8);
    let builder = leaves.leaves(Mesh::builder().seed(seed), |_, _| async { Ok(ok("")) });
    let source = Static::default().cluster(SERVICE, ordered(leaves.addresses(), true));
    let mesh = builder.source(source).build().unwrap();
    let client = mesh.client(SERVICE).unwrap();
    for _ in 0..20 {
        client.send(get("/")).await.unwrap();
    }
    let hits = leaves.all_hits();
    hits.iter().position(|hits| *hits == 20).expect("one takes all calls")
}

#[tokio::test(start_paused = true)]
async fn a_shuffled_order_is_the_meshs_own_and_its_seed_repeats_it() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..24 {
        let one = chosen(seed).await;
        assert_eq!(chosen(seed).await, one);
        seen.insert(one);
    }
    assert!(seen.len() >= 5, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_full_scan_leaves_the_busy_ones_alone() {
    let leaves = Leaves::new(6);
    let builder = leaves.leaves(Mesh::builder().seed(7), |number, _| async move {
        let millis = if number < 4 { 60_000 } else { 1 };
        tokio::time::sleep(Duration::from_millis(millis)).await;
        Ok(ok(""))
    });
    let mut cluster = cluster(leaves.addresses());
    cluster.balancer = Some(Balancer::LeastRequest);
    let mut settings = LeastRequest::default();
    settings.full_scan = Some(true);
    cluster.least_request = Some(settings);
    let mesh = builder.source(Static::default().cluster(SERVICE, cluster)).build().unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let mut waiting = Vec::new();
    for _ in 0..200 {
        let call = tokio::spawn({
            let client = client.clone();
            async move { client.send(get("/")).await.map(|it| it.map(|_| Body::empty())) }
        });
        tokio::time::sleep(Duration::from_millis(2)).await;
        waiting.push(call);
    }
    // The slow ones have had one call each, and nobody looked at them again.
    assert_eq!(&leaves.all_hits()[..4], [1; 4]);
    assert_eq!(leaves.total(), 200);
}

/// An HTTP/2 server that takes connections and says nothing: who connects waits for its SETTINGS.
async fn silent() -> RawServer {
    RawServer::start(|stream, _| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    })
    .await
}

/// A silent endpoint first, and one that answers behind it; a session tells who has answered.
fn raced(first: Address, then: Address) -> MeshBuilder {
    let mut cluster = ordered([first, then], false);
    cluster.transport.connect_timeout = Some(Duration::from_secs(30));
    cluster.transport.happy_eyeballs_delay = Some(Duration::from_millis(100));
    let mut session = Session::default();
    session.header = Some("x-session".into());
    one_cluster(cluster).service("users", |s| s.session(session))
}

/// Who has begun and ended attempts: the number of the attempt, whether with an error, for how long.
fn attempts(events: &mut Recorder, of: &Address) -> (usize, Vec<(u32, bool, Duration)>) {
    let of = of.to_string();
    let begun = events.count(
        |event| matches!(event, Event::AttemptStarted { endpoint, .. } if **endpoint == *of),
    );
    let ended = events.events().iter().filter_map(|event| match event {
        Event::AttemptEnded { endpoint, number, error, elapsed, .. } if **endpoint == *of => {
            Some((*number, error.is_some(), *elapsed))
        }
        _ => None,
    });
    (begun, ended.collect())
}

#[tokio::test]
async fn a_call_that_names_its_endpoint_tries_no_other_beside_it() {
    let (one, alive) = (silent().await, Server::named("alive").await);
    let (mesh, client) = client(raced(one.address(), alive.address()));
    let mut events = Recorder::of(&mesh);
    // Who has answered is known from a first call.
    let answer = client.send(over(Version::HTTP_2, get("/"))).await.unwrap();
    let alive_is = answer.headers().get("x-session").unwrap().clone();
    drop(answer);
    // The silent one, as a session spells it.
    let named = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(one.address().to_string())
    };
    let mut request = over(Version::HTTP_2, get("/"));
    request.headers_mut().insert("x-session", named.parse().unwrap());
    let before = attempts(&mut events, &alive.address()).0;
    let call = client.send(request);
    let waits = tokio::time::timeout(Duration::from_millis(600), call).await;
    // For longer than the delay of happy eyeballs it waits for the one that it has named.
    assert!(waits.is_err(), "{waits:?}");
    assert_eq!(attempts(&mut events, &alive.address()).0, before);
    drop(alive_is);
}

#[tokio::test]
async fn behind_attempt_layers_it_is_known_who_has_won() {
    let (one, alive) = (silent().await, Server::named("alive").await);
    let builder = raced(one.address(), alive.address());
    let layer = tower::util::MapRequestLayer::new(|request: http::Request<Body>| request);
    let (_mesh, layered) = client(builder.attempt_layer(layer));
    let answer = layered.send(over(Version::HTTP_2, get("/"))).await.unwrap();
    let layered = answer.headers().get("x-session").unwrap().clone();
    assert_eq!(answer.into_body().text().await.unwrap(), "alive");
    let (_mesh, plain) = client(raced(one.address(), alive.address()));
    let answer = plain.send(over(Version::HTTP_2, get("/"))).await.unwrap();
    assert_eq!(answer.headers().get("x-session").unwrap(), &layered);
}

#[tokio::test]
async fn who_could_not_be_connected_to_is_blamed_who_was_slower_is_not_and_each_has_its_own_time() {
    let (one, alive) = (silent().await, Server::named("alive").await);
    let (dead, _socket) = dead_address();
    let mut cluster = ordered([one.address(), dead.clone(), alive.address()], false);
    cluster.transport.happy_eyeballs_delay = Some(Duration::from_millis(200));
    cluster.transport.connect_timeout = Some(Duration::from_secs(30));
    let (mesh, client) = client(one_cluster(cluster));
    let mut events = Recorder::of(&mesh);
    let started = Instant::now();
    assert_eq!(text(&client, Version::HTTP_2).await, "alive");
    let took = started.elapsed();
    let (begun, ended) = attempts(&mut events, &dead);
    assert!(begun == 1 && ended.len() == 1 && ended[0].1, "{ended:?}");
    // It has done nothing wrong: another was faster.
    let (begun, ended) = attempts(&mut events, &one.address());
    assert!(begun == 1 && ended.len() == 1 && !ended[0].1, "{ended:?}");
    // Its time begins when it was asked, after the delay of the first.
    let (_, ended) = attempts(&mut events, &alive.address());
    let [(1, false, time)] = ended[..] else { panic!("{ended:?}") };
    assert!(time + Duration::from_millis(150) < took, "{time:?} of {took:?}");
}
