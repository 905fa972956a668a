//! Control planes that end, refuse, are silent, say what is wrong, or disagree.

use super::*;

#[tokio::test]
async fn a_stream_that_ends_is_opened_again_and_resumed() {
    for delta in [false, true] {
        let plane = AdsServer::start().await.unwrap();
        plane.set([Resource::cluster("a")]);
        let mut mesh = Mesh::to([plain(&plane).delta(delta)]);
        mesh.watch(Kind::Cluster, "a");
        mesh.gets(Kind::Cluster, "a").await;
        within(plane.until(|plane| !plane.acks(CDS).is_empty())).await;
        plane.cut(0, "");
        within(plane.until(|plane| plane.requests().iter().any(|it| it.stream == 2))).await;
        let again = plane.requests().into_iter().find(|it| it.stream == 2).unwrap();
        assert_eq!(again.names, ["a"]);
        assert_eq!(again.node.as_deref(), Some("orders-1"));
        assert!(again.nonce.is_empty());
        if delta {
            assert_eq!(again.initial_versions["a"], "1");
        } else {
            assert_eq!(again.version, "1");
        }
        plane.set([Resource::cluster("a"), Resource::cluster("b")]);
        mesh.watch(Kind::Cluster, "b");
        mesh.gets(Kind::Cluster, "b").await;
        // It ended well, and nothing was lost: nobody is told.
        assert!(mesh.heard.is_empty(), "{:?}", mesh.heard);
    }
}

#[tokio::test]
async fn a_control_plane_that_goes_away_takes_nothing_with_it() {
    let plane = AdsServer::start().await.unwrap();
    plane.set([Resource::cluster("a")]);
    let mut mesh = Mesh::to([plain(&plane)]);
    mesh.watch(Kind::Cluster, "a");
    mesh.gets(Kind::Cluster, "a").await;
    plane.stop();
    let why = mesh.is_warned_of(Kind::Cluster, "a").await;
    for part in [&*plane.uri(), "orders-1", "CDS", "`a`", "refused"] {
        assert!(why.contains(part), "{part}: {why}");
    }
    plane.set([Resource::cluster("b")]);
    plane.resume().await.unwrap();
    mesh.watch(Kind::Cluster, "b");
    within(async {
        while !matches!(mesh.hears(Kind::Cluster, "b").await, Watched::Resource { .. }) {}
    })
    .await;
}

#[tokio::test]
async fn whoever_cannot_be_asked_is_named_at_once() {
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let began = std::time::SystemTime::now();
    let mut mesh = Mesh::to([Server::insecure(address.to_string())]);
    mesh.watch(Kind::Listener, "orders");
    let why = mesh.misses(Kind::Listener, "orders").await;
    assert!(why.contains(&address.to_string()) && why.contains("orders-1"), "{why}");
    assert!(began.elapsed().unwrap() < Duration::from_secs(5));

    // Somebody listens who speaks something else.
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = port.local_addr().unwrap();
    let other = tokio::spawn(async move {
        while let Ok(accepted) = port.accept().await {
            drop(accepted);
        }
    });
    let mut mesh = Mesh::to([Server::insecure(address.to_string())]);
    mesh.watch(Kind::Listener, "orders");
    let why = mesh.misses(Kind::Listener, "orders").await;
    assert!(why.contains("HTTP/2"), "{why}");
    other.abort();

    let mut mesh = Mesh::to([Server::insecure("does-not-exist.invalid:1")]);
    mesh.watch(Kind::Listener, "orders");
    let why = mesh.misses(Kind::Listener, "orders").await;
    assert!(why.contains("does-not-exist.invalid"), "{why}");
}

#[tokio::test]
async fn a_stream_that_is_refused_is_told_with_its_status() {
    let plane = AdsServer::start().await.unwrap();
    plane.refuse(Some((7, "not you")));
    let mut mesh = Mesh::to([plain(&plane)]);
    mesh.watch(Kind::Listener, "orders");
    let why = mesh.misses(Kind::Listener, "orders").await;
    assert!(why.contains("code 7") && why.contains("not you"), "{why}");
}

#[tokio::test]
async fn the_next_control_plane_is_asked_and_the_first_again_when_it_is_back() {
    let (first, second) = (AdsServer::start().await.unwrap(), AdsServer::start().await.unwrap());
    // They do not agree.
    first.set_version("first", [Resource::cluster("a")]);
    second.set_version("second", [Resource::endpoints("x", []), Resource::cluster("a")]);
    first.stop();
    let began = std::time::SystemTime::now();
    let mut mesh = Mesh::to([plain(&first), plain(&second)]);
    mesh.watch(Kind::Cluster, "a");
    within(async {
        while !matches!(mesh.hears(Kind::Cluster, "a").await, Watched::Resource { .. }) {}
    })
    .await;
    assert!(began.elapsed().unwrap() < Duration::from_secs(5));
    assert_eq!(second.streams(), 1);
    first.set_version("first-2", [Resource::cluster("a"), Resource::cluster("b")]);
    first.resume().await.unwrap();
    within(first.until(|first| !first.acks(CDS).is_empty())).await;
    within(second.until(|second| second.streams() == 0 && second.connections() == 0)).await;
    mesh.watch(Kind::Cluster, "b");
    within(async {
        while !matches!(mesh.hears(Kind::Cluster, "b").await, Watched::Resource { .. }) {}
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_is_told_with_its_reason_and_what_was_good_stays() {
    for delta in [false, true] {
        let plane = AdsServer::start().await.unwrap();
        plane.set([Resource::cluster("a"), Resource::cluster("bad")]);
        let mut mesh = Mesh::to([plain(&plane).delta(delta)]);
        mesh.watch(Kind::Cluster, "a");
        mesh.watch(Kind::Cluster, "bad");
        mesh.gets(Kind::Cluster, "a").await;
        let why = mesh.misses(Kind::Cluster, "bad").await;
        assert!(why.contains("its name is bad"), "{why}");
        within(plane.until(|plane| !plane.nacks(CDS).is_empty())).await;
        let nack = plane.nacks(CDS)[0].clone();
        assert!(nack.error.as_ref().unwrap().contains("its name is bad"), "{nack:?}");
        assert!(nack.error.as_ref().unwrap().starts_with("3:"), "{nack:?}");
        assert!(!nack.nonce.is_empty() && nack.version.is_empty(), "{nack:?}");
    }
}

/// go-control-plane sends at once what was refused: the others answer at once, for ever.
#[tokio::test]
async fn what_is_sent_again_and_again_is_not_refused_as_often() {
    let plane = AdsServer::start().await.unwrap();
    plane.resend_refused(true);
    plane.set([Resource::cluster("bad")]);
    let mut mesh = Mesh::to([plain(&plane)]);
    mesh.watch(Kind::Cluster, "bad");
    mesh.misses(Kind::Cluster, "bad").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let nacks = plane.nacks(CDS).len();
    assert!((1..10).contains(&nacks), "{nacks}");
}

#[tokio::test]
async fn an_error_of_a_resource_is_told_as_the_servers() {
    let plane = AdsServer::start().await.unwrap();
    plane.fail(CDS, "a", 5, "no such service");
    let mut mesh = Mesh::to([plain(&plane).delta(true)]);
    mesh.watch(Kind::Cluster, "a");
    let why = mesh.misses(Kind::Cluster, "a").await;
    assert!(why.contains("no such service"), "{why}");
}

#[tokio::test]
async fn what_is_stale_after_a_restart_deletes_nothing() {
    let plane = AdsServer::start().await.unwrap();
    plane.set([Resource::cluster("a")]);
    let before = plane.snapshot();
    plane.set([Resource::cluster("b")]);
    let mut mesh = Mesh::to([plain(&plane)]);
    mesh.watch(Kind::Cluster, "a");
    mesh.watch(Kind::Cluster, "b");
    mesh.gets(Kind::Cluster, "a").await;
    mesh.gets(Kind::Cluster, "b").await;
    plane.restore(before);
    plane.cut(14, "restarting");
    within(plane.until(|plane| plane.acks(CDS).iter().any(|it| it.stream == 2))).await;
    a_while().await;
    for told in &mesh.heard {
        assert!(!matches!(told.watched, Watched::Missing(_)), "{told:?}");
    }
}

#[tokio::test]
async fn silence_is_ended_by_an_answer() {
    let plane = AdsServer::start().await.unwrap();
    plane.set([Resource::cluster("a"), Resource::endpoints("a", [])]);
    plane.silent_about(CDS, true);
    let mut mesh = Mesh::to([plain(&plane)]);
    mesh.watch(Kind::Cluster, "a");
    mesh.watch(Kind::Endpoints, "a");
    mesh.gets(Kind::Endpoints, "a").await;
    assert!(mesh.heard.is_empty());
    plane.silent_about(CDS, false);
    mesh.gets(Kind::Cluster, "a").await;
}

#[tokio::test]
async fn the_next_control_plane_is_asked_for_what_cannot_be_read_of_the_first() {
    for delta in [false, true] {
        let (first, second) =
            (AdsServer::start().await.unwrap(), AdsServer::start().await.unwrap());
        first.set([Resource::endpoints("a", [])]);
        first.silent_about(CDS, true);
        second.set([Resource::cluster("a"), Resource::endpoints("a", [])]);
        let mut mesh = Mesh::to([plain(&first).delta(delta), plain(&second).delta(delta)]);
        mesh.watch(Kind::Cluster, "a");
        mesh.watch(Kind::Endpoints, "a");
        mesh.gets(Kind::Endpoints, "a").await;
        within(first.until(|plane| !plane.requests_of(CDS).is_empty())).await;
        let endless = Answer::new(CDS, "2").nonce("n".repeat(1 << 20));
        first.send(&endless.resource(Resource::cluster("a")));
        mesh.gets(Kind::Cluster, "a").await;
        assert!(!second.requests_of(CDS).is_empty());
    }
}
