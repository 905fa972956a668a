//! Both protocols, on a good day and on a slow one.

use super::*;

#[tokio::test]
async fn a_chain_comes_by_either_protocol_and_is_acknowledged() {
    for delta in [false, true] {
        let plane = AdsServer::start().await.unwrap();
        plane.set(Resource::chain("orders", [address()]));
        let began = std::time::SystemTime::now();
        let mut mesh = Mesh::to([plain(&plane).delta(delta)]);
        let chain = [
            (Kind::Listener, "orders"),
            (Kind::Routes, "orders-routes"),
            (Kind::Cluster, "orders-cluster"),
            (Kind::Endpoints, "orders-cluster"),
        ];
        for (kind, name) in chain {
            mesh.watch(kind, name);
            assert_eq!(mesh.gets(kind, name).await, "1", "{kind} {delta}");
        }
        assert!(began.elapsed().unwrap() < Duration::from_secs(5), "connecting takes no timeout");
        for (type_url, (_, name)) in [LDS, RDS, CDS, EDS].into_iter().zip(chain) {
            within(plane.until(|plane| !plane.acks(type_url).is_empty())).await;
            let requests = plane.requests_of(type_url);
            assert_eq!(requests[0].names, [name]);
            assert!(plane.nacks(type_url).is_empty());
        }
        let requests = plane.requests();
        assert!(requests.iter().all(|request| request.delta == delta && request.stream == 1));
        // The node is told once.
        assert_eq!(requests[0].node.as_deref(), Some("orders-1"));
        assert!(requests[1..].iter().all(|request| request.node.is_none()), "{requests:?}");
        let features =
            ["envoy.lb.does_not_support_overprovisioning", "xds.config.resource-in-sotw"];
        assert_eq!(requests[0].client_features, features);

        // What changes is told, and what does not is not.
        plane.set([Resource::endpoints(
            "orders-cluster",
            [address(), "127.0.0.1:2".parse().unwrap()],
        )]);
        assert_eq!(mesh.gets(Kind::Endpoints, "orders-cluster").await, "2");
        plane.set([Resource::cluster("orders-cluster")]);
        within(plane.until(|plane| plane.acks(CDS).len() > 1)).await;
        plane.remove(LDS, "orders");
        mesh.misses_or_is_warned_of(Kind::Listener, "orders").await;
        assert!(mesh.heard.is_empty(), "{:?}", mesh.heard);
    }
}

impl Mesh {
    async fn misses_or_is_warned_of(&mut self, kind: Kind, name: &str) {
        match self.hears(kind, name).await {
            Watched::Missing(_) | Watched::Ambient(_) => {}
            other @ (Watched::Resource { .. } | Watched::Cached { .. }) => {
                panic!("{kind} {name}: {other:?}")
            }
        }
    }
}

#[tokio::test]
async fn resources_in_wrappers_are_unwrapped() {
    let plane = AdsServer::start().await.unwrap();
    plane.wrapped(true);
    plane.set([Resource::cluster("a")]);
    let mut mesh = Mesh::to([plain(&plane)]);
    mesh.watch(Kind::Cluster, "a");
    mesh.gets(Kind::Cluster, "a").await;
}

/// A server that begins its response with its first answer must not keep what is asked next (T2).
#[tokio::test]
async fn requests_go_out_before_the_response_begins() {
    for delta in [false, true] {
        let plane = AdsServer::start().await.unwrap();
        plane.hold_headers(true);
        plane.quiet_about_missing(true);
        plane.set([Resource::cluster("there")]);
        let mut mesh = Mesh::to([plain(&plane).delta(delta)]);
        mesh.watch(Kind::Endpoints, "nowhere");
        within(plane.until(|plane| !plane.requests_of(EDS).is_empty())).await;
        mesh.watch(Kind::Cluster, "there");
        mesh.gets(Kind::Cluster, "there").await;
        assert_eq!(plane.streams(), 1);
    }
}

#[tokio::test]
async fn a_message_is_read_when_the_one_before_was_worked_off() {
    for delta in [false, true] {
        let plane = AdsServer::start().await.unwrap();
        plane.quiet_about_missing(true);
        plane.set([Resource::cluster("a")]);
        let mut mesh = Mesh::to([plain(&plane).delta(delta)]);
        mesh.watch(Kind::Cluster, "a");
        let first = within(mesh.subscriber.next()).await;
        // Requests go out meanwhile: the answer's, and what follows from it.
        mesh.watch(Kind::Endpoints, "a");
        within(
            plane.until(|plane| !plane.acks(CDS).is_empty() && !plane.requests_of(EDS).is_empty()),
        )
        .await;
        plane.set([Resource::endpoints("a", [address()])]);
        a_while().await;
        assert!(plane.acks(EDS).is_empty(), "it was read");
        drop(first);
        mesh.gets(Kind::Endpoints, "a").await;
    }
}

#[tokio::test]
async fn a_mesh_that_hangs_keeps_nothing_from_the_others_for_ever() {
    let plane = AdsServer::start().await.unwrap();
    plane.set([Resource::cluster("a"), Resource::cluster("b")]);
    let (mut hangs, mut works) = (Mesh::to([plain(&plane)]), Mesh::to([plain(&plane)]));
    hangs.watch(Kind::Cluster, "a");
    let kept = within(hangs.subscriber.next()).await;
    works.watch(Kind::Cluster, "b");
    works.gets(Kind::Cluster, "b").await;
    drop(kept);
}

/// It costs the others one wait, however much comes, and what waits for it is the last word alone.
#[tokio::test]
async fn a_mesh_that_hangs_slows_the_others_down_once() {
    const ROUNDS: u16 = 20;
    for delta in [false, true] {
        let plane = AdsServer::start().await.unwrap();
        let set = |port: u16| {
            plane.set([Resource::endpoints("a", [([127, 0, 0, 1], port).into()])]);
        };
        set(1);
        let server = || plain(&plane).delta(delta);
        let (mut hangs, mut works) = (Mesh::to([server()]), Mesh::to([server()]));
        for mesh in [&mut hangs, &mut works] {
            mesh.watch(Kind::Endpoints, "a");
            mesh.gets(Kind::Endpoints, "a").await;
        }
        let began = tokio::time::Instant::now();
        let mut last = String::new();
        for port in 2..2 + ROUNDS {
            set(port);
            last = works.gets(Kind::Endpoints, "a").await;
        }
        // One of 5 s, not one each.
        let took = began.elapsed();
        assert!(took < Duration::from_secs(15), "{took:?}");
        let batch = within(hangs.subscriber.next()).await;
        let [told] = &batch.told[..] else { panic!("{:?}", batch.told) };
        assert!(
            matches!(&told.watched, Watched::Resource { version, .. } if **version == *last),
            "{told:?}"
        );
        // It keeps up again, and is waited for.
        drop(batch);
        set(1000);
        let kept = within(hangs.subscriber.next()).await;
        works.gets(Kind::Endpoints, "a").await;
        let acked = |plane: &AdsServer| plane.acks(EDS).len() > usize::from(ROUNDS) + 1;
        within(plane.until(acked)).await;
        set(1001);
        a_while().await;
        assert_eq!(plane.acks(EDS).len(), usize::from(ROUNDS) + 2, "it was read");
        drop(kept);
        works.gets(Kind::Endpoints, "a").await;
    }
}

#[tokio::test]
async fn messages_of_more_than_four_mebibytes_are_read() {
    for delta in [false, true] {
        let plane = AdsServer::start().await.unwrap();
        let addresses = (0..200_000_u32).map(|at| (std::net::Ipv4Addr::from(at), 80).into());
        let large = Resource::endpoints("a", addresses);
        plane.set([large]);
        let mut mesh = Mesh::to([plain(&plane).delta(delta)]);
        mesh.watch(Kind::Endpoints, "a");
        let Watched::Resource { resource, .. } = mesh.hears(Kind::Endpoints, "a").await else {
            panic!("nothing")
        };
        assert!(resource.len() > 4 * 1024 * 1024, "{}", resource.len());
    }
}

#[tokio::test]
async fn far_too_large_messages_are_refused_with_their_size_and_the_last_good_stays() {
    let plane = AdsServer::start().await.unwrap();
    plane.set([Resource::cluster("a")]);
    let mut mesh = Mesh::to([plain(&plane)]);
    mesh.watch(Kind::Cluster, "a");
    mesh.gets(Kind::Cluster, "a").await;
    within(plane.until(|plane| !plane.acks(CDS).is_empty())).await;
    let large = Resource::encoded(CDS, "a", vec![0; MAX_MESSAGE_BYTES + 1]);
    plane.send(&Answer::new(CDS, "2").resource(large.clone()));
    // The stream is begun again, and what was good is asked for.
    within(plane.until(|plane| plane.requests_of(CDS).iter().any(|it| it.stream == 2))).await;
    plane.set([Resource::cluster("b")]);
    mesh.watch(Kind::Cluster, "b");
    mesh.gets(Kind::Cluster, "b").await;
    assert!(!mesh.heard.iter().any(|told| matches!(told.watched, Watched::Missing(_))));

    // Where nothing was good, it is told why.
    let plane = AdsServer::start().await.unwrap();
    plane.set([large]);
    let mut mesh = Mesh::to([plain(&plane)]);
    mesh.watch(Kind::Cluster, "a");
    let why = mesh.misses(Kind::Cluster, "a").await;
    assert!(why.contains("too large") && why.contains(&MAX_MESSAGE_BYTES.to_string()), "{why}");
    // It is known for an end that was made here, by whatever words.
    assert!(why.contains("its message is refused"), "{why}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_is_reached_with_headers_and_the_token_of_the_moment() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, token) = (dir.path().join("XDS"), dir.path().join("token"));
    let jwt = |subject: &str| {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let claims = format!(r#"{{"sub": "{subject}", "exp": 99999999999}}"#);
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    };
    std::fs::write(&token, jwt("one")).unwrap();
    let plane = AdsServer::start_unix(&socket).await.unwrap();
    plane.set([Resource::cluster("a")]);
    let server = plain(&plane).token_file(&token).header("clusterid", "east");
    let mut mesh = Mesh::to([server]);
    mesh.watch(Kind::Cluster, "a");
    mesh.gets(Kind::Cluster, "a").await;
    let headers = |at: usize| plane.requests()[at].headers.clone();
    assert_eq!(headers(0)["clusterid"], "east");
    assert_eq!(headers(0)["authorization"], format!("Bearer {}", jwt("one")));
    std::fs::write(&token, jwt("two")).unwrap();
    plane.forget_requests();
    plane.cut(0, "");
    within(plane.until(|plane| !plane.requests().is_empty())).await;
    assert_eq!(headers(0)["authorization"], format!("Bearer {}", jwt("two")));
    // One that is not renewed is not shown.
    std::fs::write(&token, "secret").unwrap();
    plane.forget_requests();
    plane.cut(0, "");
    let why = mesh.is_warned_of(Kind::Cluster, "a").await;
    assert!(why.contains("token") && !why.contains("secret"), "{why}");
    assert!(plane.requests().is_empty());
}

#[tokio::test]
async fn answers_out_of_order_end_with_what_came_last() {
    let plane = AdsServer::start().await.unwrap();
    plane.set([Resource::endpoints("a", [])]);
    let mut mesh = Mesh::to([plain(&plane)]);
    mesh.watch(Kind::Endpoints, "a");
    mesh.gets(Kind::Endpoints, "a").await;
    within(plane.until(|plane| !plane.acks(EDS).is_empty())).await;
    plane.hold();
    plane.set([Resource::endpoints("a", [address()])]);
    plane.set([Resource::endpoints("a", [address(), "127.0.0.1:2".parse().unwrap()])]);
    assert_eq!(plane.held(), 2);
    plane.release(Order::Reversed);
    assert_eq!(mesh.gets(Kind::Endpoints, "a").await, "3");
    assert_eq!(mesh.gets(Kind::Endpoints, "a").await, "2");
    let acked = within(async {
        loop {
            let acks = plane.acks(EDS);
            if acks.len() > 2 {
                return acks;
            }
            a_while().await;
        }
    })
    .await;
    assert_eq!(acked.last().unwrap().version, "2");
}
