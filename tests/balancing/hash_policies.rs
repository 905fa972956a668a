//! What a request is hashed by decides who answers it: headers, cookies, query, path, the call's key.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use http::{Request, header::SET_COOKIE};
use tower_mesh::{
    Body, Call, Client, Discover, Mesh, MeshBuilder, Publisher, Retry,
    config::{
        Address, Balancer, Cluster, Failover, Filter, HashCookie, HashOn, HashPolicy, HeaderEdit,
        Maglev, RingHash, Service,
    },
    discover::Static,
};

use crate::support::{
    GreeterClient, HelloRequest, Leaves, SERVICE, get,
    leaf::{answer, ok},
};

fn both() -> [Balancer; 2] {
    [Balancer::RingHash(RingHash::default()), Balancer::Maglev(Maglev::default())]
}

/// Ten endpoints that say who they are.
fn named(leaves: &Leaves) -> MeshBuilder {
    leaves.mesh(|number, _| async move { Ok(ok(number.to_string())) })
}

/// A service of these hash policies over a cluster of this balancer.
fn hashed(balancer: &Balancer, hash: Vec<HashPolicy>) -> Mesh {
    let balancer = balancer.clone();
    let mesh = named(&Leaves::new(10)).service(SERVICE, |s| s.balancer(balancer).hash(hash));
    mesh.build().unwrap()
}

fn header(name: &str) -> HashPolicy {
    HashPolicy::header(name)
}

fn cookie(name: &str) -> HashCookie {
    let mut cookie = HashCookie::default();
    cookie.name = name.into();
    cookie
}

async fn who(client: &Client, request: Request<Body>) -> usize {
    let response = client.send(request).await.unwrap();
    response.into_body().text().await.unwrap().parse().unwrap()
}

fn with(headers: &[(&str, &str)]) -> Request<Body> {
    let request =
        headers.iter().fold(Request::get("/"), |it, (name, value)| it.header(*name, *value));
    request.body(Body::empty()).unwrap()
}

/// Asks five times each: always the same, and of 40 values not all the same.
async fn sticks(client: &Client, request: impl Fn(u32) -> Request<Body>, what: &str) {
    let mut seen = BTreeSet::new();
    for value in 0..40 {
        let first = who(client, request(value)).await;
        for _ in 0..4 {
            assert_eq!(who(client, request(value)).await, first, "{what}: {value}");
        }
        seen.insert(first);
    }
    assert!(seen.len() > 5, "{what}: {seen:?}");
}

#[tokio::test(start_paused = true)]
async fn equal_values_meet_the_same_endpoint() {
    for balancer in both() {
        let mesh = hashed(&balancer, vec![header("x-user")]);
        let client = mesh.client(SERVICE).unwrap();
        sticks(&client, |n| with(&[("x-user", &n.to_string())]), "header").await;
        let several = |n: u32| with(&[("x-user", &n.to_string()), ("x-user", "a")]);
        sticks(&client, several, "two values").await;
        let one = who(&client, with(&[("x-user", "a"), ("x-user", "b")])).await;
        assert_eq!(who(&client, with(&[("x-user", "b"), ("x-user", "a")])).await, one);

        let mesh = hashed(&balancer, vec![HashPolicy::new(HashOn::Query("user".into()))]);
        sticks(&mesh.client(SERVICE).unwrap(), |n| get(&format!("/?a=1&user={n}")), "query").await;

        let mesh = hashed(&balancer, vec![HashPolicy::new(HashOn::PathSegment(1))]);
        sticks(&mesh.client(SERVICE).unwrap(), |n| get(&format!("/users/{n}/x")), "path").await;

        let mesh = hashed(&balancer, vec![HashPolicy::new(HashOn::Cookie(cookie("user")))]);
        let request = |n| with(&[("cookie", &format!("a=1; user={n}"))]);
        sticks(&mesh.client(SERVICE).unwrap(), request, "cookie").await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_parts_are_both_hashed_and_a_terminal_one_is_the_last() {
    let first = header("x-tenant").terminal();
    let [ring, _] = both();
    let mesh = hashed(&ring, vec![first, header("x-user")]);
    let client = mesh.client(SERVICE).unwrap();
    let one = who(&client, with(&[("x-tenant", "t"), ("x-user", "0")])).await;
    for user in 0..20 {
        let request = with(&[("x-tenant", "t"), ("x-user", &user.to_string())]);
        assert_eq!(who(&client, request).await, one);
    }
    sticks(&client, |n| with(&[("x-user", &n.to_string())]), "without a tenant").await;
    let mesh = hashed(&ring, vec![header("x-tenant"), header("x-user")]);
    let request = |n: u32| with(&[("x-tenant", "t"), ("x-user", &n.to_string())]);
    sticks(&mesh.client(SERVICE).unwrap(), request, "both").await;
}

#[tokio::test(start_paused = true)]
async fn a_cookie_is_made_once_and_brings_its_caller_back() {
    let mut made = cookie("session");
    made.generate = true;
    made.ttl = Some(Duration::from_secs(3600));
    made.path = Some("/".into());
    made.attributes.insert("SameSite".into(), "Lax".into());
    for balancer in both() {
        let mesh = hashed(&balancer, vec![HashPolicy::new(HashOn::Cookie(made.clone()))]);
        let client = mesh.client(SERVICE).unwrap();
        let mut seen = BTreeMap::new();
        for _ in 0..20 {
            let response = client.send(get("/")).await.unwrap();
            let set = response.headers()[SET_COOKIE].to_str().unwrap().to_owned();
            let first = response.into_body().text().await.unwrap();
            let (pair, rest) = set.split_once("; ").unwrap();
            assert_eq!(rest, "Max-Age=3600; Path=/; SameSite=Lax; HttpOnly");
            assert_eq!(pair.len(), "session=".len() + 16, "{pair}");
            for _ in 0..5 {
                let response = client.send(with(&[("cookie", pair)])).await.unwrap();
                assert!(!response.headers().contains_key(SET_COOKIE));
                assert_eq!(response.into_body().text().await.unwrap(), first);
            }
            seen.insert(set, first);
        }
        assert_eq!(seen.len(), 20, "every caller has a cookie of its own");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_may_set_cookies_beside_ours() {
    let mut made = cookie("session");
    made.generate = true;
    let leaves = Leaves::new(3);
    let hash = [HashPolicy::new(HashOn::Cookie(made))];
    let mesh = leaves
        .mesh(|_, _| async {
            let mut response = answer(200);
            response.headers_mut().append(SET_COOKIE, "its=own".parse().unwrap());
            Ok(response)
        })
        .service(SERVICE, |s| s.balancer(both()[0].clone()).hash(hash))
        .build()
        .unwrap();
    let response = mesh.client(SERVICE).unwrap().send(get("/")).await.unwrap();
    let cookies: Vec<_> = response.headers().get_all(SET_COOKIE).iter().collect();
    assert_eq!(cookies.len(), 2);
    assert_eq!(cookies[0], "its=own");
    assert!(cookies[1].to_str().unwrap().starts_with("session="));
}

#[tokio::test(start_paused = true)]
async fn the_calls_own_key_chooses_without_any_policy() {
    for balancer in both() {
        let leaves = Leaves::new(10);
        let balancer = balancer.clone();
        let mesh = named(&leaves).service(SERVICE, move |s| s.balancer(balancer)).build().unwrap();
        let client = mesh.client(SERVICE).unwrap();
        let request = |key: u32| {
            let mut request = get("/");
            request.extensions_mut().insert(Call::new().hash_key(key.into()));
            request
        };
        sticks(&client, request, "key").await;
        // As if a header said it.
        let by_header = hashed(&both()[0], vec![header("x-user")]);
        let by_header = by_header.client(SERVICE).unwrap();
        if mesh.describe().services[0].routes[0].clusters[0].balancer == "ring_hash" {
            for key in 0..20 {
                let value = with(&[("x-user", &key.to_string())]);
                assert_eq!(who(&client, request(key)).await, who(&by_header, value).await);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_calls_own_key_passes_through_tonic() {
    let leaves = Leaves::new(10);
    let mesh = leaves
        .mesh(|_, _| async { Ok(crate::support::leaf::grpc(5)) })
        .service(SERVICE, |s| s.balancer(Balancer::RingHash(RingHash::default())))
        .build()
        .unwrap();
    let mut client = GreeterClient::new(mesh.client(SERVICE).unwrap());
    let mut seen = BTreeSet::new();
    for key in 0..30 {
        leaves.reset();
        for _ in 0..5 {
            let mut request = tonic::Request::new(HelloRequest::default());
            request.extensions_mut().insert(Call::new().hash_key(key));
            client.say_hello(request).await.unwrap_err();
        }
        let hits = leaves.all_hits();
        assert!(hits.contains(&5), "{key}: {hits:?}");
        seen.insert(hits);
    }
    assert!(seen.len() > 4);
}

#[tokio::test(start_paused = true)]
async fn calls_without_a_hash_go_anywhere() {
    for balancer in both() {
        let mesh = hashed(&balancer, vec![header("x-user")]);
        let client = mesh.client(SERVICE).unwrap();
        let mut seen = BTreeSet::new();
        for _ in 0..100 {
            seen.insert(who(&client, get("/")).await);
        }
        assert_eq!(seen.len(), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn the_channel_is_one_of_each_mesh() {
    let [ring, _] = both();
    let channel = || [HashPolicy::new(HashOn::FilterState("io.grpc.channel_id".into()))];
    let mut seen = BTreeSet::new();
    for seed in 0..20 {
        let leaves = Leaves::new(10);
        let ring = ring.clone();
        let mesh = named(&leaves)
            .seed(seed)
            .service(SERVICE, |s| s.balancer(ring).hash(channel()))
            .build()
            .unwrap();
        let client = mesh.client(SERVICE).unwrap();
        let first = who(&client, get("/")).await;
        for _ in 0..10 {
            assert_eq!(who(&client, get("/")).await, first);
        }
        seen.insert(first);
    }
    assert!(seen.len() > 4, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_clusters_own_policy_comes_before_its_routes_and_one_header_after_it() {
    let mut ring = RingHash::default();
    ring.request_header = Some("x-last".into());
    let mesh = hashed(&Balancer::RingHash(ring.clone()), Vec::new());
    let client = mesh.client(SERVICE).unwrap();
    sticks(&client, |n| with(&[("x-last", &n.to_string())]), "request_header").await;

    let mesh = hashed(&Balancer::RingHash(ring.clone()), vec![header("x-user")]);
    let client = mesh.client(SERVICE).unwrap();
    let request = |n: u32| with(&[("x-last", "a"), ("x-user", &n.to_string())]);
    sticks(&client, request, "the route's").await;

    ring.hash = vec![header("x-own")];
    let mesh = hashed(&Balancer::RingHash(ring), vec![header("x-user")]);
    let client = mesh.client(SERVICE).unwrap();
    let one = who(&client, with(&[("x-own", "a"), ("x-user", "0")])).await;
    for user in 0..20 {
        let request = with(&[("x-own", "a"), ("x-user", &user.to_string())]);
        assert_eq!(who(&client, request).await, one);
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_goes_to_the_next_and_always_the_same_next() {
    for balancer in both() {
        let leaves = Leaves::new(10);
        let bad = Arc::new(std::sync::atomic::AtomicUsize::new(usize::MAX));
        let (balancer, sick) = (balancer.clone(), Arc::clone(&bad));
        let mesh = leaves
            .mesh(move |number, _| {
                let sick = sick.load(std::sync::atomic::Ordering::SeqCst) == number;
                async move { Ok(if sick { answer(503) } else { ok(number.to_string()) }) }
            })
            .service(SERVICE, |s| {
                let millisecond = Duration::from_millis(1);
                let retry = Retry::standard().backoff(millisecond, millisecond);
                s.balancer(balancer).hash([header("x-user")]).retry(retry)
            })
            .build()
            .unwrap();
        let client = mesh.client(SERVICE).unwrap();
        let request = || with(&[("x-user", "7")]);
        let own = who(&client, request()).await;
        bad.store(own, std::sync::atomic::Ordering::SeqCst);
        let next = who(&client, request()).await;
        assert_ne!(next, own);
        for _ in 0..10 {
            assert_eq!(who(&client, request()).await, next);
        }
        // Long after it is well again, all are back.
        bad.store(usize::MAX, std::sync::atomic::Ordering::SeqCst);
        for _ in 0..20 {
            tokio::time::advance(Duration::from_secs(10)).await;
            who(&client, request()).await;
        }
        assert_eq!(who(&client, request()).await, own);
    }
}

#[tokio::test(start_paused = true)]
async fn a_bounded_load_keeps_one_key_from_flooding_one_endpoint() {
    let mut ring = RingHash::default();
    ring.balance_percent = Some(150);
    let leaves = Leaves::new(10);
    let mesh = leaves
        .mesh(|number, _| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(ok(number.to_string()))
        })
        .service(SERVICE, |s| s.balancer(Balancer::RingHash(ring)).hash([header("x-user")]))
        .build()
        .unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let calls = (0..100).map(|_| client.send(with(&[("x-user", "7")])));
    for answer in futures_util::future::join_all(calls).await {
        answer.unwrap().into_body().text().await.unwrap();
    }
    let hits = leaves.all_hits();
    // 1.5 times a tenth of 100.
    assert!(hits.iter().all(|hits| *hits <= 17), "{hits:?}");
    leaves.reset();
    for _ in 0..50 {
        who(&client, with(&[("x-user", "7")])).await;
    }
    assert!(leaves.all_hits().contains(&50), "{:?}", leaves.all_hits());
}

/// An edit of the header that requests are hashed by: all of them get the same value.
fn edited() -> Filter {
    let mut edit = HeaderEdit::default();
    edit.set.insert("x-user".into(), "edited".into());
    Filter::RequestHeaders(edit)
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_takes_over_hashes_what_the_caller_sent_and_not_what_filters_made_of_it() {
    let leaves = Leaves::new(10);
    let bad = Arc::new(std::sync::atomic::AtomicUsize::new(usize::MAX));
    let sick = Arc::clone(&bad);
    let answers = move |number: usize, _| {
        let sick = sick.load(std::sync::atomic::Ordering::SeqCst) == number;
        async move { Ok(if sick { answer(503) } else { ok(number.to_string()) }) }
    };
    let mut ring = RingHash::default();
    ring.hash = vec![header("x-user")];
    let mut second = crate::support::cluster(leaves.addresses());
    second.balancer = Some(Balancer::RingHash(ring));
    let (mut first, mut failover) = (Cluster::default(), Failover::default());
    failover.clusters = vec!["second".into()];
    first.failover = Some(failover);
    let service = |cluster: &str, filters: Vec<Filter>| {
        let mut service = Service::default();
        service.cluster = Some(cluster.into());
        service.filters = filters;
        let millisecond = Duration::from_millis(1);
        service.policy.retry = Some(Retry::standard().backoff(millisecond, millisecond));
        service
    };
    let source = Static::default()
        .cluster("first", first)
        .cluster("second", second)
        .service("direct", service("second", Vec::new()))
        .service("edited", service("first", vec![edited()]));
    let mesh = leaves.leaves(Mesh::builder().source(source), answers).seed(7).build().unwrap();
    mesh.ready().await.unwrap();
    let (direct, edited) = (mesh.client("direct").unwrap(), mesh.client("edited").unwrap());
    for user in 0..20 {
        let request = || with(&[("x-user", &user.to_string())]);
        let own = who(&direct, request()).await;
        assert_eq!(who(&edited, request()).await, own, "{user}");
        // Another attempt goes to the next of the same hash.
        bad.store(own, std::sync::atomic::Ordering::SeqCst);
        let next = who(&direct, request()).await;
        assert_eq!(who(&edited, request()).await, next, "another attempt of {user}");
        bad.store(usize::MAX, std::sync::atomic::Ordering::SeqCst);
        // All are well again.
        for _ in 0..20 {
            tokio::time::advance(Duration::from_secs(10)).await;
            who(&direct, request()).await;
        }
    }
}

/// Says its service first and its cluster later.
struct Slow(Vec<Address>, Vec<Filter>);

impl Discover for Slow {
    fn name(&self) -> String {
        "slow".into()
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let mut service = Service::default();
            service.policy.hash = Some(vec![header("x-user")]);
            service.filters = self.1;
            publish.service(SERVICE, service).unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut cluster = crate::support::cluster(self.0);
            cluster.balancer = Some(both()[0].clone());
            publish.cluster(SERVICE, cluster).unwrap();
            publish.synced();
            std::future::pending::<()>().await;
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_cluster_is_hashed_too() {
    let leaves = Leaves::new(10);
    let answers = |number: usize, _| async move { Ok(ok(number.to_string())) };
    let mesh = leaves.leaves(Mesh::builder().source(Slow(leaves.addresses(), Vec::new())), answers);
    let mesh = mesh.build().unwrap();
    let client = mesh.client(SERVICE).unwrap();
    tokio::task::yield_now().await;
    let calls = (0..20).map(|_| who(&client, with(&[("x-user", "7")])));
    let waited = futures_util::future::join_all(calls).await;
    let one = who(&client, with(&[("x-user", "7")])).await;
    assert_eq!(waited, [one; 20]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_cluster_is_hashed_by_what_its_caller_sent() {
    let leaves = Leaves::new(10);
    let answers = |number: usize, _| async move { Ok(ok(number.to_string())) };
    let source = Slow(leaves.addresses(), vec![edited()]);
    let mesh = leaves.leaves(Mesh::builder().source(source), answers).build().unwrap();
    let client = mesh.client(SERVICE).unwrap();
    tokio::task::yield_now().await;
    let request = |user: i32| with(&[("x-user", &user.to_string())]);
    let waited = futures_util::future::join_all((0..20).map(|n| who(&client, request(n)))).await;
    let mut later = Vec::new();
    for user in 0..20 {
        later.push(who(&client, request(user)).await);
    }
    assert_eq!(waited, later);
    assert!(later.iter().collect::<BTreeSet<_>>().len() > 4, "{later:?}");
}

#[tokio::test(start_paused = true)]
async fn describe_tells_the_table() {
    let mut ring = RingHash::default();
    ring.minimum_ring_size = Some(4096);
    let mesh = hashed(&Balancer::RingHash(ring), vec![header("x-user")]);
    mesh.ready().await.unwrap();
    let route = &mesh.describe().services[0].routes[0];
    let value = |name: &str| {
        let all = route.settings.iter().chain(&route.clusters[0].settings);
        let mut all = all.filter(|setting| setting.name == name);
        all.next().map(|setting| setting.value.clone()).unwrap_or_default()
    };
    assert_eq!(value("balancer"), "ring_hash");
    assert_eq!(value("balancer.ring_hash.minimum_ring_size"), "4096");
    assert_eq!(value("balancer.ring_hash.maximum_ring_size"), "8388608");
    assert_eq!(value("balancer.ring_hash.function"), "xx_hash");
    assert_eq!(value("balancer.ring_hash.balance_percent"), "none");
    assert_eq!(value("hash"), "header x-user");
    let mesh = hashed(&Balancer::Maglev(Maglev::default()), Vec::new());
    mesh.ready().await.unwrap();
    let route = &mesh.describe().services[0].routes[0];
    let size = route.clusters[0].settings.iter().find(|it| it.name == "balancer.maglev.table_size");
    assert_eq!(size.unwrap().value, "65537");
}
