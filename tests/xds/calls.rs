//! A control plane that speaks xDS drives HTTP calls. Over real streams and servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{collections::BTreeMap, time::Duration};

use tower_mesh::{
    ErrorKind, Event, Mesh,
    control::xds::{Bootstrap, Server as Plane, Xds},
    testing::xds::{AdsServer, CDS, EDS, LDS, RDS, Resource},
};

use crate::{
    callers::{body, bootstrap, mesh, until},
    support::{Recorder, Server, failures, fetch, get, patience, storm},
};

#[tokio::test]
async fn a_name_is_looked_up_and_its_calls_arrive() {
    for delta in [false, true] {
        let server = Server::named("a").await;
        let plane = AdsServer::start().await.unwrap();
        plane.set(Resource::chain("users", [server.socket()]));
        let bootstrap = bootstrap(&[&plane], "arrives", delta);
        let mesh = Mesh::builder().source(Xds::new(bootstrap)).build().unwrap();
        let client = mesh.client("users").unwrap();
        patience(mesh.ready()).await.unwrap();
        assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "a");
        for url in [LDS, RDS, CDS, EDS] {
            plane.until(|plane| plane.acks(url).len() == 1).await;
            assert!(plane.nacks(url).is_empty());
        }
        let requests = plane.requests();
        assert_eq!(requests.iter().filter(|it| it.node.is_some()).count(), 1);
    }
}

#[tokio::test]
async fn what_changes_reaches_calls_and_none_is_lost() {
    let (a, b) = (Server::named("a").await, Server::named("b").await);
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [a.socket()]));
    let mesh = mesh(&plane, "changes");
    assert_eq!(body(&mesh, "users").await.unwrap(), "a");
    let client = mesh.client("users").unwrap();
    let calls = tokio::spawn(async move {
        let mut all = Vec::new();
        for _ in 0..40 {
            all.extend(storm(8, 40, |_| fetch(&client, get("/"))).await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        all
    });
    // Other endpoints; then another cluster, which is on its way when the routes lead to it.
    plane.set([Resource::endpoints("users-cluster", [b.socket()])]);
    patience(async {
        while body(&mesh, "users").await.unwrap() != "b" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    plane.silent_about(CDS, true);
    plane.set([
        Resource::routes("users-routes", [("users", "green")]),
        Resource::cluster("green"),
        Resource::endpoints("green", [a.socket()]),
    ]);
    plane.until(|plane| plane.acks(RDS).len() == 2).await;
    assert_eq!(body(&mesh, "users").await.unwrap(), "b");
    plane.silent_about(CDS, false);
    patience(async {
        while body(&mesh, "users").await.unwrap() != "a" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(failures(&calls.await.unwrap()), Vec::<String>::new());
}

#[tokio::test]
async fn weights_split_the_calls() {
    let (a, b) = (Server::named("a").await, Server::named("b").await);
    let plane = AdsServer::start().await.unwrap();
    plane.set([
        Resource::listener("users", "r"),
        Resource::split("r", "*", [("blue", 3), ("green", 1)]),
        Resource::cluster("blue"),
        Resource::cluster("green"),
        Resource::endpoints("blue", [a.socket()]),
        Resource::endpoints("green", [b.socket()]),
    ]);
    let mesh = mesh(&plane, "split");
    let client = mesh.client("users").unwrap();
    let mut counts = BTreeMap::<String, u32>::new();
    for answer in storm(8, 400, |_| fetch(&client, get("/"))).await {
        let body = String::from_utf8_lossy(answer.unwrap().body().as_ref()).into_owned();
        *counts.entry(body).or_default() += 1;
    }
    assert!((250..350).contains(&counts["a"]), "{counts:?}");
}

#[tokio::test]
async fn a_name_that_the_plane_does_not_know_fails_and_says_who_said_so() {
    let plane = AdsServer::start().await.unwrap();
    let bootstrap = bootstrap(&[&plane], "nobody", true);
    let mesh = Mesh::builder().source(Xds::new(bootstrap)).build().unwrap();
    let error = body(&mesh, "users").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownService, "{error}");
    let said = error.to_string();
    for word in ["LDS resource `users`", "node `nobody`", &plane.uri()] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[tokio::test]
async fn a_route_to_a_cluster_that_is_not_there_fails_at_once_and_names_it() {
    let server = Server::named("a").await;
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [server.socket()]));
    let bootstrap = bootstrap(&[&plane], "lost", true);
    let mesh = Mesh::builder().source(Xds::new(bootstrap)).build().unwrap();
    assert_eq!(body(&mesh, "users").await.unwrap(), "a");
    plane.set([Resource::routes("users-routes", [("*", "lost")])]);
    let error = patience(async {
        loop {
            match body(&mesh, "users").await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => return error,
            }
        }
    })
    .await;
    assert!(error.to_string().contains("CDS resource `lost`"), "{error}");
}

#[tokio::test]
async fn a_bad_update_is_refused_and_the_last_good_one_stays() {
    let server = Server::named("a").await;
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [server.socket()]));
    let mesh = mesh(&plane, "refuses");
    assert_eq!(body(&mesh, "users").await.unwrap(), "a");
    plane.set([Resource::split("users-routes", "*", [("users-cluster", 0)])]);
    plane.until(|plane| !plane.nacks(RDS).is_empty()).await;
    assert!(plane.nacks(RDS)[0].error.as_ref().unwrap().contains("users-routes"));
    assert_eq!(body(&mesh, "users").await.unwrap(), "a");
    let described = mesh.describe().to_string();
    assert!(described.contains("RDS resource users-routes"), "{described}");
    // It is well again.
    plane.set([Resource::routes("users-routes", [("users", "users-cluster")])]);
    patience(async {
        while mesh.describe().to_string().contains("RDS resource users-routes") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// istiod looks at no names beside a NACK: those of names that are looked up meanwhile are told apart.
#[tokio::test]
async fn names_that_are_looked_up_amid_refusals_are_found() {
    let server = Server::named("a").await;
    let plane = AdsServer::start().await.unwrap();
    plane.ignore_names_in_nacks(true);
    plane.set(Resource::chain("users", [server.socket()]));
    let names: Vec<String> = (0..40).map(|at| format!("users-{at}")).collect();
    let listeners = names.iter().map(|name| Resource::listener(name, "users-routes"));
    plane.set(listeners);
    plane.set([Resource::routes("users-routes", [("*", "users-cluster")])]);
    let mesh = mesh(&plane, "amid");
    // Its name and a prefix of statistics, and nothing that a listener needs.
    let bad = |version: usize| {
        let version = b'0' + u8::try_from(version).unwrap();
        let bytes = vec![0x0a, 3, b'b', b'a', b'd', 0xe2, 0x01, 1, version];
        Resource::encoded(LDS, "bad", bytes)
    };
    plane.set([bad(0)]);
    assert!(body(&mesh, "bad").await.is_err());
    for (version, name) in names.iter().enumerate() {
        plane.set([bad(version + 1)]);
        let answer = tokio::time::timeout(Duration::from_secs(10), body(&mesh, name)).await;
        assert_eq!(answer.expect(name).unwrap(), "a");
    }
    assert!(!plane.nacks(LDS).is_empty());
}

#[tokio::test]
async fn all_meshes_of_a_process_share_one_stream() {
    let server = Server::named("a").await;
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [server.socket()]));
    let meshes = [mesh(&plane, "shared"), mesh(&plane, "shared"), mesh(&plane, "shared")];
    for mesh in &meshes {
        assert_eq!(body(mesh, "users").await.unwrap(), "a");
    }
    assert_eq!((plane.streams(), plane.connections()), (1, 1));
    drop(meshes);
    plane.until(|plane| plane.streams() == 0 && plane.connections() == 0).await;
}

#[tokio::test]
async fn what_the_plane_is_silent_about_the_code_may_say() {
    let server = Server::named("a").await;
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [server.socket()]));
    let mesh = Mesh::builder()
        .source(Xds::new(bootstrap(&[&plane], "overlay", false)))
        .service("users", |s| s.timeout(Duration::from_millis(1234)))
        .build()
        .unwrap();
    // Not before it is called is the plane asked for it.
    patience(mesh.ready()).await.unwrap();
    assert_eq!(body(&mesh, "users").await.unwrap(), "a");
    assert!(mesh.describe().to_string().contains("timeout = 1234ms (code)"), "{}", mesh.describe());
    patience(mesh.ready()).await.unwrap();
}

/// Until calls of a name fail.
async fn failure(mesh: &Mesh, name: &str) -> tower_mesh::Error {
    patience(async {
        loop {
            match body(mesh, name).await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => return error,
            }
        }
    })
    .await
}

/// gRFC A88: with `fail_on_data_errors`, what the server denies is no longer used; what it cannot say now, is.
#[tokio::test]
async fn what_is_denied_is_used_on_or_fails_as_the_bootstrap_says() {
    for (fails, delta) in [(false, false), (false, true), (true, false), (true, true)] {
        let server = Server::named("a").await;
        let plane = AdsServer::start().await.unwrap();
        plane.set(Resource::chain("users", [server.socket()]));
        let of = Plane::insecure(plane.uri()).delta(delta).fail_on_data_errors(fails);
        let bootstrap = Bootstrap::builder().node_id("denied").server(of).build().unwrap();
        let mesh = Mesh::builder().source(Xds::new(bootstrap)).build().unwrap();
        assert_eq!(body(&mesh, "users").await.unwrap(), "a");
        for (kind, name) in [(LDS, "users"), (RDS, "users-routes"), (CDS, "users-cluster")] {
            plane.fail(kind, name, 14, "it is busy");
            patience(async {
                while !mesh.describe().to_string().contains("it is busy") {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await;
            assert_eq!(body(&mesh, "users").await.unwrap(), "a");
            plane.fail(kind, name, 7, "not for you");
            if fails {
                let error = failure(&mesh, "users").await.to_string();
                assert!(error.contains("not for you") && error.contains(name), "{error}");
            } else {
                patience(async {
                    while !mesh.describe().to_string().contains("not for you") {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                })
                .await;
                assert_eq!(body(&mesh, "users").await.unwrap(), "a");
            }
            // It may again.
            plane.set(Resource::chain("users", [server.socket()]));
            patience(async {
                while body(&mesh, "users").await.is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await;
            assert_eq!(body(&mesh, "users").await.unwrap(), "a");
        }
    }
}

/// To the mesh, case counts for nothing: the second of two such names has its turn when the first goes.
#[tokio::test]
async fn a_cluster_whose_name_was_taken_is_used_once_that_is_free() {
    let (a, b, c) = (Server::named("a").await, Server::named("b").await, Server::named("c").await);
    let plane = AdsServer::start().await.unwrap();
    plane.set([
        Resource::listener("users", "users"),
        Resource::routes("users", [("*", "c1")]),
        Resource::cluster("c1"),
        Resource::endpoints("c1", [a.socket()]),
        Resource::listener("orders", "orders"),
        Resource::routes("orders", [("*", "C1")]),
        Resource::cluster("C1"),
        Resource::endpoints("C1", [a.socket()]),
        Resource::cluster("other"),
        Resource::endpoints("other", [c.socket()]),
    ]);
    let mesh = mesh(&plane, "case");
    assert_eq!(body(&mesh, "users").await.unwrap(), "a");
    // It is refused, and what it is now counts when its turn comes.
    patience(fetch(&mesh.http(), get("http://orders/"))).await.ok();
    let described = || mesh.describe().to_string();
    patience(async {
        while !described().contains("differs from that of `c1` in case only") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    plane.set([Resource::endpoints("C1", [b.socket()])]);
    plane.set([Resource::routes("users", [("*", "other")])]);
    until(&mesh, "users", "c").await;
    // Until then its calls fail: they are nobody else's.
    patience(async {
        while body(&mesh, "orders").await.ok().as_deref() != Some("b") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    patience(async {
        while described().contains("in case only") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Endpoints come and go one by one among those that stay.
#[tokio::test]
async fn endpoints_that_change_one_by_one_are_followed() {
    let mut servers = Vec::new();
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        servers.push(Server::named(name).await);
    }
    let sets: [&[usize]; 6] =
        [&[0, 1, 2, 3], &[0, 1, 4, 3], &[5, 0, 1, 4, 3], &[0, 1, 4, 3], &[3, 1, 4, 0], &[6]];
    for delta in [false, true] {
        let plane = AdsServer::start().await.unwrap();
        let of = |set: &[usize]| set.iter().map(|at| servers[*at].socket()).collect::<Vec<_>>();
        plane.set(Resource::chain("users", of(sets[0])));
        let bootstrap = bootstrap(&[&plane], "one by one", delta);
        let mesh = Mesh::builder().source(Xds::new(bootstrap)).build().unwrap();
        assert!(body(&mesh, "users").await.is_ok());
        for set in sets {
            plane.set([Resource::endpoints("users-cluster", of(set))]);
            let all = |text: &str| {
                let known = |at: usize| text.contains(&servers[at].socket().to_string());
                (0..servers.len()).all(|at| known(at) == set.contains(&at))
            };
            patience(async {
                while !all(&mesh.describe().to_string()) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await;
            let answers = storm(4, 40, |_| body(&mesh, "users")).await;
            let answers: Vec<String> = answers.into_iter().map(Result::unwrap).collect();
            for answer in answers {
                let at = usize::from(answer.as_bytes()[0] - b'a');
                assert!(set.contains(&at), "{answer} of {set:?}");
            }
        }
    }
}

/// The first at once, those that follow soon together, and the last of them counts.
#[tokio::test]
async fn endpoints_that_change_all_the_time_are_put_to_use_together() {
    let (a, b) = (Server::named("a").await, Server::named("b").await);
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [a.socket()]));
    let mesh = mesh(&plane, "paced");
    assert_eq!(body(&mesh, "users").await.unwrap(), "a");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut events = Recorder::of(&mesh);
    let began = tokio::time::Instant::now();
    for round in 0..200_u16 {
        let other = ([10, 0, 0, 1], 1000 + round).into();
        let last = if round == 199 { b.socket() } else { other };
        plane.set([Resource::endpoints("users-cluster", [last])]);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    until(&mesh, "users", "b").await;
    let is_applied = |event: &Event| matches!(event, Event::ConfigApplied { part, .. } if part.contains("users"));
    let (applied, most) = (events.count(is_applied), began.elapsed().as_millis() / 20 + 2);
    assert!(applied >= 2 && applied as u128 <= most, "{applied} in {:?}", began.elapsed());
    assert!(plane.acks(EDS).len() > applied, "{applied}");
}
