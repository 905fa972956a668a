//! `explain()` says where a call would go and why nowhere else, sends nothing, and is right: over real
//! servers of which one drains, one is ejected and one cannot be reached.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    reason = "a test fails by panicking, and some shares are whole"
)]

use std::{fs, time::Duration};

use crate::support::{
    Leaves, Recorder, SERVICE, Server, cluster, dead_address, fetch, get, leaf::ok, published,
    reply, status,
};
use http::{HeaderValue, Method, Request, StatusCode};
use tower_mesh::{
    Body, Call, Choice, ClusterExplanation, EndpointExplanation, EndpointStanding, ErrorKind, Mesh,
    PickReason,
    config::{
        Balancer, Breakers, Cluster, Endpoint, HashCookie, HashOn, HashPolicy, Health,
        OutlierDetection, RingHash, Session, SessionCookie, Transport,
    },
};

fn endpoints(cluster: &ClusterExplanation) -> Vec<&EndpointExplanation> {
    let places = cluster.pick.priorities.iter().flat_map(|priority| &priority.localities);
    places.flat_map(|locality| &locality.endpoints).chain(&cluster.pick.outside).collect()
}

fn of<'a>(cluster: &'a ClusterExplanation, address: &str) -> &'a EndpointExplanation {
    endpoints(cluster).into_iter().find(|endpoint| endpoint.address == address).unwrap()
}

fn ring(policies: Vec<HashPolicy>) -> Balancer {
    let mut ring = RingHash::default();
    ring.hash = policies;
    Balancer::RingHash(ring)
}

/// A request of this service with a header.
fn with(name: &'static str, value: &str) -> Request<Body> {
    let uri = format!("http://{SERVICE}/a/b");
    Request::get(uri).header(name, value).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_call_by_its_hash_goes_where_it_is_said_over_real_servers() {
    let mut servers = Vec::new();
    for _ in 0..5 {
        servers.push(
            Server::start(|request| async move {
                // Where it was sent to.
                reply(request.headers()["x-user"].as_bytes().to_vec())
            })
            .await,
        );
    }
    let mesh = Mesh::builder()
        .endpoints(SERVICE, servers.iter().map(Server::address))
        .service(SERVICE, |s| s.balancer(ring(vec![HashPolicy::header("x-user")])))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    for user in 0..40 {
        let request = || with("x-user", &user.to_string());
        let said = mesh.explain(&request()).unwrap();
        let Choice::Endpoint { address, then } = &said.clusters[0].pick.choice else {
            panic!("{said}");
        };
        assert_eq!(then.len(), 3, "{said}");
        let key = &said.clusters[0].hash.as_ref().unwrap().keys[0];
        assert_eq!((&*key.on, key.value.as_deref()), ("header x-user", Some(&*user.to_string())));
        let before: Vec<_> = servers.iter().map(Server::requests).collect();
        fetch(&mesh.http(), request()).await.unwrap();
        let met: Vec<_> = servers
            .iter()
            .zip(before)
            .filter(|(server, before)| server.requests() > *before)
            .map(|(server, _)| server.address().to_string())
            .collect();
        assert_eq!(met.join(" "), *address, "{said}");
    }
}

/// Nothing that anybody could see has changed.
#[tokio::test]
async fn nothing_is_sent_counted_or_connected() {
    let server = Server::named("a").await;
    let mesh = Mesh::builder().endpoints(SERVICE, [server.address()]).build().unwrap();
    mesh.ready().await.unwrap();
    let mut events = Recorder::of(&mesh);
    let seen = |mesh: &Mesh| (mesh.metrics().to_prometheus(), mesh.describe().to_string());
    let before = seen(&mesh);
    for _ in 0..100 {
        mesh.explain(&with("x-user", "1")).unwrap();
    }
    assert_eq!(before, seen(&mesh));
    assert_eq!((server.requests(), server.connections()), (0, 0));
    assert!(events.events().is_empty(), "{:?}", events.events());
    let secured = get(&format!("https://{SERVICE}/"));
    let said = mesh.explain(&secured).unwrap();
    let fails = said.clusters[0].fails.as_ref().unwrap();
    let met = mesh.http().send(secured).await.unwrap_err().to_string();
    let what = fails.split(" (").next().unwrap();
    assert!(what.contains("plaintext by default") && met.contains(what), "{fails}\n{met}");
}

/// The three that are not good are named with what is wrong with them.
#[tokio::test]
async fn why_the_others_are_not_picked_is_said_over_real_servers() {
    let (good, drains) = (Server::named("good").await, Server::named("drains").await);
    let fails = Server::start(|_| async { status(StatusCode::INTERNAL_SERVER_ERROR) }).await;
    let ill = Server::named("ill").await;
    let mut outliers = OutlierDetection::default();
    (outliers.consecutive_5xx, outliers.max_ejection_percent) = (Some(1), Some(100.0));
    let mut rules = Cluster::default();
    (rules.outlier_detection, rules.panic_threshold) = (Some(outliers), Some(0.0));
    rules.balancer = Some(Balancer::RoundRobin);
    rules.endpoints = vec![
        Endpoint::from(good.address()),
        Endpoint::from(drains.address()).health(Health::Draining),
        Endpoint::from(fails.address()),
        Endpoint::from(ill.address()).health(Health::Unhealthy),
    ];
    let (mesh, _publisher) = published(Mesh::builder(), |publisher| {
        publisher.cluster(SERVICE, rules).unwrap();
    })
    .await;
    let client = mesh.client(SERVICE).unwrap();
    for _ in 0..20 {
        drop(fetch(&client, get("/")).await);
    }
    let said = mesh.explain(&with("x-user", "1")).unwrap();
    let cluster = &said.clusters[0];
    let standing = |server: &Server| &of(cluster, &server.address().to_string()).standing;
    assert_eq!(*standing(&good), EndpointStanding::Good, "{said}");
    assert_eq!(*standing(&drains), EndpointStanding::Draining, "{said}");
    assert_eq!(*standing(&ill), EndpointStanding::Unhealthy, "{said}");
    let EndpointStanding::Ejected { by, probe_in } = standing(&fails) else { panic!("{said}") };
    assert_eq!(*by, "consecutive failures");
    assert!((20..=30).contains(&probe_in.as_secs()), "{said}");
    for endpoint in endpoints(cluster) {
        let is_good = endpoint.address == good.address().to_string();
        let reason = if is_good { PickReason::Picked } else { PickReason::Standing };
        assert_eq!(endpoint.reason, reason, "{said}");
    }
    let text = said.to_string();
    for words in ["no: draining", "ejected by consecutive failures, probed in", "unhealthy by"] {
        assert!(text.contains(words), "{words} in {text}");
    }
}

#[tokio::test]
async fn one_that_cannot_be_reached_is_told_with_its_back_off() {
    let (good, (dead, _socket)) = (Server::named("good").await, dead_address());
    let mut transport = Transport::default();
    transport.connect_backoff_base = Some(Duration::from_secs(60));
    transport.connect_backoff_max = Some(Duration::from_secs(60));
    let mesh = Mesh::builder()
        .endpoints(SERVICE, [Endpoint::from(good.address()), Endpoint::new(dead.clone())])
        .service(SERVICE, |s| s.balancer(Balancer::RoundRobin).transport(transport))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client(SERVICE).unwrap();
    for _ in 0..4 {
        fetch(&client, get("/")).await.unwrap();
    }
    let said = mesh.explain(&with("x-user", "1")).unwrap();
    let unreachable = of(&said.clusters[0], &dead.to_string());
    let EndpointStanding::Unavailable { back_off } = unreachable.standing else { panic!("{said}") };
    assert!(back_off > Duration::ZERO, "{said}");
    assert_eq!(unreachable.reason, PickReason::Standing);
    let Choice::Endpoint { address, .. } = &said.clusters[0].pick.choice else { panic!("{said}") };
    assert_eq!(*address, good.address().to_string());
}

/// A mesh of this file.
async fn of_file(text: &str) -> Mesh {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, text).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    mesh.ready().await.unwrap();
    mesh
}

const SPLIT: &str = "
services:
  users:
    routes:
      - name: beta
        matches: [{headers: [{name: x-beta, matcher: present}]}]
        clusters: [{name: green, subset: {version: v2}}]
      - name: rest
        clusters: [{name: blue, weight: 9}, {name: green}]
clusters:
  blue:
    balancing: {overprovisioning_percent: 140}
    endpoints:
      - {address: \"127.0.0.1:1\"}
      - {address: \"127.0.0.1:2\", weight: 3}
      - {address: \"127.0.0.1:3\", priority: 1}
  green:
    balancer: random
    subsets: {selectors: [{keys: [version]}]}
    endpoints:
      - {address: \"127.0.0.1:4\", labels: {version: v1}}
      - {address: \"127.0.0.1:5\", labels: {version: v2}}
";

#[tokio::test]
async fn the_split_the_priorities_and_the_labels_are_told() {
    let mesh = of_file(SPLIT).await;
    let request =
        |header: &str| Request::get("http://users/").header(header, "1").body(()).unwrap();
    let said = mesh.explain(&request("x-a")).unwrap();
    assert_eq!((said.route.index, said.route.name.as_deref()), (1, Some("rest")));
    let shares: Vec<_> = said.clusters.iter().map(|it| (&*it.name, it.share)).collect();
    assert_eq!(shares, [("blue", 0.9), ("green", 0.1)]);
    let priorities = &said.clusters[0].pick.priorities;
    assert_eq!((priorities[0].share, priorities[1].share), (1.0, 0.0));
    assert!(priorities[1].skipped.is_some() && priorities[0].skipped.is_none());
    assert_eq!(of(&said.clusters[0], "127.0.0.1:3").reason, PickReason::Priority);

    let said = mesh.explain(&request("x-beta")).unwrap();
    let green = &said.clusters[0];
    assert_eq!(green.labels, [("version".to_owned(), "v2".to_owned())]);
    assert_eq!(of(green, "127.0.0.1:5").reason, PickReason::Picked);
    assert_eq!(of(green, "127.0.0.1:4").reason, PickReason::Labels);
    let text = said.to_string();
    for words in ["route beta\n", "of the endpoints labelled version=v2", "not of the labels"] {
        assert!(text.contains(words), "{words} in {text}");
    }
}

const SHARES: &str = "
services:
  users:
    routes:
      - name: canary
        matches: [{fraction: {percent: 40}}]
        clusters: [{name: green}]
      - name: most
        matches: [{fraction: {percent: 60}}]
        clusters: [{name: blue, weight: 9}, {name: green}]
      - name: rest
        clusters: [{name: blue}]
clusters:
  blue: {endpoints: [{address: \"127.0.0.1:1\"}]}
  green: {endpoints: [{address: \"127.0.0.1:2\"}]}
";

#[tokio::test]
async fn a_share_of_the_calls_is_no_mismatch_and_the_larger_part_is_followed() {
    let mesh = of_file(SHARES).await;
    let said = mesh.explain(&Request::get("http://users/").body(()).unwrap()).unwrap();
    assert_eq!(said.route.name.as_deref(), Some("most"), "{said}");
    let text = said.to_string();
    for words in [
        "not route canary, if 40 % of them: those are drawn call by call, and this follows the others\n",
        "route most\n  takes 60 % of the calls like this one, drawn call by call: this follows them\n",
        "cluster blue, 90 % of the route's calls",
        "cluster green, 10 % of the route's calls",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
    assert!(said.route.passed[0].is_drawn && said.route.share == Some(0.6), "{said:?}");
}

const LINE: &str = "
clusters:
  users:
    failover: {clusters: [west, east]}
    endpoints: [{address: \"127.0.0.1:1\", health: draining}]
  west: {endpoints: [{address: \"127.0.0.1:2\", health: draining}]}
  east: {endpoints: [{address: \"127.0.0.1:3\"}]}
";

#[tokio::test]
async fn which_cluster_takes_over_is_told() {
    let mesh = of_file(LINE).await;
    let said = mesh.explain(&Request::get("http://users/").body(()).unwrap()).unwrap();
    let own = &said.clusters[0];
    assert_eq!(own.taken_by.as_deref(), Some("east"), "{said}");
    let names: Vec<_> = own.failover.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["west", "east"]);
    assert!(matches!(own.pick.choice, Choice::Nothing { .. }), "{said}");
    assert_eq!(of(&own.failover[1], "127.0.0.1:3").reason, PickReason::Picked);
    assert!(said.to_string().contains("east gets the call"), "{said}");
}

#[tokio::test]
async fn rules_that_were_asked_before_say_what_was_not_met() {
    let mesh = of_file(
        "
services:
  users:
    routes:
      - name: canary
        matches: [{path: {prefix: /a}, headers: [{name: x-beta, matcher: present}]}, {method: PUT}]
        clusters: [{name: one}]
      - {hosts: [other], clusters: [{name: one}]}
      - {name: reads, matches: [{method: GET, path: {prefix: /a}}], clusters: [{name: one}]}
clusters:
  one: {endpoints: [{address: \"127.0.0.1:1\"}]}
",
    )
    .await;
    let said = mesh.explain(&get("http://users/a/b")).unwrap();
    assert_eq!(said.route.name.as_deref(), Some("reads"));
    let passed: Vec<_> =
        said.route.passed.iter().map(|rule| (rule.route, rule.unmet.as_str())).collect();
    assert_eq!(passed, [(0, "header x-beta"), (0, "method"), (1, "host")]);
    let text = said.to_string();
    let words =
        "not route canary, if path is under /a, header x-beta is there: header x-beta is another";
    assert!(text.contains(words), "{text}");
    let error = mesh.explain(&get("http://users/c")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoRoute);
    assert!(error.to_string().contains("route reads, if path is under /a"), "{error}");
}

/// The authority is what the hosts of routes are matched with, and the name the service.
#[tokio::test]
async fn a_client_explains_a_request_of_another_authority_as_it_calls() {
    let servers = [Server::named("one").await, Server::named("two").await];
    let mesh = of_file(&format!(
        "
services:
  shop:
    routes:
      - {{name: outside, hosts: [www.example.com], clusters: [{{name: two}}]}}
      - {{name: inside, clusters: [{{name: one}}]}}
clusters:
  one: {{endpoints: [{{address: \"{}\"}}]}}
  two: {{endpoints: [{{address: \"{}\"}}]}}
",
        servers[0].address(),
        servers[1].address()
    ))
    .await;
    let client = mesh.client("shop").unwrap();
    let by_host = Request::get("/a").header("host", "www.example.com");
    for (request, route, server) in [
        (get("http://www.example.com/a"), "outside", "two"),
        (by_host.body(Body::empty()).unwrap(), "outside", "two"),
        (get("http://elsewhere/a"), "inside", "one"),
        (get("/a"), "inside", "one"),
    ] {
        let said = client.explain(&request).unwrap();
        assert_eq!((&*said.service, said.route.name.as_deref()), ("shop", Some(route)), "{said}");
        assert_eq!(fetch(&client, request).await.unwrap().body(), server);
    }
    let error = mesh.explain(&get("http://www.example.com/a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownService);
    // That of all services asks the authority, as the mesh does.
    let said = mesh.http().explain(&get("http://shop/a")).unwrap();
    assert_eq!(said.route.name.as_deref(), Some("inside"));
    mesh.shutdown(Duration::ZERO).await;
    assert_eq!(client.explain(&get("/a")).unwrap_err().kind(), ErrorKind::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn what_is_hashed_is_told_and_no_secret() {
    let mut cookie = HashCookie::default();
    (cookie.name, cookie.generate) = ("at".into(), true);
    let policies =
        vec![HashPolicy::header("x-user").terminal(), HashPolicy::new(HashOn::Cookie(cookie))];
    let mesh = Leaves::new(5)
        .mesh(|_, _| async { Ok(ok("")) })
        .service(SERVICE, |s| s.balancer(ring(policies)))
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let hash = |request: &Request<Body>| {
        let said = mesh.explain(request).unwrap();
        (said.clusters[0].hash.clone().unwrap(), said.to_string())
    };

    let mut secret = with("x-user", "sesame");
    secret.headers_mut().get_mut("x-user").unwrap().set_sensitive(true);
    let (found, text) = hash(&secret);
    assert!(found.keys[0].is_used && found.keys[0].value.is_none() && !found.keys[1].is_used);
    assert!(found.hash.is_some() && !text.contains("sesame"), "{text}");
    assert!(text.contains("by header x-user, which is not shown"), "{text}");

    let (found, text) = hash(&with("cookie", "at=sesame"));
    assert!(found.hash.is_some() && found.keys[1].is_used && !text.contains("sesame"), "{text}");

    // A cookie that is made is as random as the endpoint.
    let (found, text) = hash(&with("x-a", "1"));
    assert!(found.hash.is_none() && text.contains("one is made, at random"), "{text}");

    // What a call says itself stands for all of them.
    let mut own = with("x-a", "1");
    own.extensions_mut().insert(Call::new().hash_key(7));
    let same = mesh.explain(&with("x-user", "7")).unwrap();
    let said = mesh.explain(&own).unwrap();
    assert_eq!(said.clusters[0].pick.choice, same.clusters[0].pick.choice, "{said}");
}

#[tokio::test(start_paused = true)]
async fn whether_a_session_is_honoured_is_told() {
    let mut cookie = SessionCookie::default();
    cookie.name = "at".into();
    let mut session = Session::default();
    session.cookie = Some(cookie);
    let leaves = Leaves::new(3);
    let builder = leaves.leaves(Mesh::builder(), |_, _| async { Ok(ok("")) });
    let builder = builder.service(SERVICE, |s| s.session(session));
    let (mesh, publisher) = published(builder, |publisher| {
        publisher.cluster(SERVICE, cluster(leaves.addresses())).unwrap();
    })
    .await;
    let response = mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap();
    let set = response.headers()[http::header::SET_COOKIE].to_str().unwrap().to_owned();
    let mut request = with("x-a", "1");
    let pair = HeaderValue::from_str(set.split(';').next().unwrap()).unwrap();
    request.headers_mut().insert("cookie", pair);

    let said = mesh.explain(&request).unwrap();
    let named = said.clusters[0].pick.named.clone().unwrap();
    assert!(named.is_honoured, "{said}");
    let Choice::Endpoint { address, .. } = &said.clusters[0].pick.choice else { panic!("{said}") };
    assert_eq!(*address, named.address);

    let left = leaves.addresses().into_iter().filter(|it| it.to_string() != named.address);
    publisher.cluster(SERVICE, cluster(left)).unwrap();
    tokio::task::yield_now().await;
    let said = mesh.explain(&request).unwrap();
    let named = said.clusters[0].pick.named.clone().unwrap();
    assert!(!named.is_honoured && named.reason.contains("no such endpoint"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn errors_are_those_of_a_call() {
    let leaves = Leaves::new(1);
    let mesh = leaves.mesh(|_, _| async { Ok(ok("")) }).build().unwrap();
    mesh.ready().await.unwrap();
    let said = mesh.explain(&get(&format!("https://{SERVICE}/"))).unwrap();
    assert!(said.clusters[0].fails.is_none(), "an own leaf may secure it: {said}");
    for uri in ["http://nobody/", "ftp://nobody/", "/"] {
        let said = mesh.explain(&get(uri)).unwrap_err();
        let met = mesh.http().send(get(uri)).await.unwrap_err();
        assert_eq!((said.kind(), said.phase()), (met.kind(), met.phase()), "{uri}");
        assert!(met.to_string().starts_with(&said.to_string()), "{said}\n{met}");
    }
    mesh.shutdown(Duration::ZERO).await;
    assert_eq!(mesh.explain(&with("x-a", "1")).unwrap_err().kind(), ErrorKind::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_is_refused_as_a_call_refuses_it() {
    let leaves = Leaves::new(1);
    let mesh = leaves.mesh(|_, _| async { Ok(ok("")) }).build().unwrap();
    mesh.ready().await.unwrap();
    let tunnel = || {
        let mut request = get(&format!("http://{SERVICE}/"));
        *request.method_mut() = Method::CONNECT;
        request
    };
    let said = mesh.explain(&tunnel()).unwrap_err();
    let met = mesh.http().send(tunnel()).await.unwrap_err();
    assert_eq!((said.kind(), said.phase()), (met.kind(), met.phase()));
    assert!(said.to_string().contains("CONNECT asks for a tunnel"), "{said}");
    assert!(met.to_string().contains("CONNECT asks for a tunnel"), "{met}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_would_fail_is_told_why() {
    let mesh = of_leaves(Leaves::new(0), 5).await;
    let said = mesh.explain(&with("x-a", "1")).unwrap();
    let Choice::Nothing { reason } = &said.clusters[0].pick.choice else { panic!("{said}") };
    assert!(reason.contains("has no endpoints"), "{reason}");
    let mesh = of_leaves(Leaves::new(1), 1).await;
    let client = mesh.client(SERVICE).unwrap();
    let held = tokio::spawn(client.send(get("/")));
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
    let said = mesh.explain(&with("x-a", "1")).unwrap();
    let overload = said.clusters[0].fails.as_ref().unwrap();
    assert!(overload.contains("maximum of 1 requests"), "{overload}");
    held.abort();
    assert!(held.await.is_err());
    assert!(mesh.explain(&with("x-a", "1")).unwrap().clusters[0].fails.is_none());
}

async fn of_leaves(leaves: Leaves, limit: u32) -> Mesh {
    let builder = leaves.leaves(Mesh::builder(), |_, _| std::future::pending());
    let (mesh, _publisher) = published(builder, |publisher| {
        let mut breakers = Breakers::default();
        breakers.max_requests = Some(limit);
        let mut cluster = cluster(leaves.addresses());
        cluster.breakers = Some(breakers);
        publisher.cluster(SERVICE, cluster).unwrap();
    })
    .await;
    mesh
}
