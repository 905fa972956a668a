//! Which cluster of its route a call goes to.

use std::collections::BTreeMap;

use tower_mesh::{
    Call, ErrorKind,
    config::{CallMetadata, Value},
};

use super::{CLUSTERS, World, eventually, refusal, support::get, with};

const BY_HEADER: &str = "
services:
  shop:
    routes:
      - matches: [{path: {prefix: /other}}]
        cluster_header: x-to
        missing_cluster_status: 404
        filters: [{request_headers: {set: {x-sent: to-%UPSTREAM_CLUSTER%}}}]
      - cluster_header: x-to
  other:
    cluster: b
    filters:
      - authorize: {rules: [{name: only-reads, action: deny, permissions: [{method: POST}]}]}
  c:
    routes:
      - matches: [{path: {exact: /open}}]
        clusters: [{name: c}]
        filters: [{authorize: {rules: [{name: none, action: deny, permissions: [{header: {name: x-bad, matcher: present}}]}]}}]
";

#[tokio::test]
async fn a_header_names_the_cluster() {
    let world = World::new(&format!("{BY_HEADER}{CLUSTERS}")).await;
    for name in ["a", "b", "A"] {
        let who = world.who(with("/", &[("x-to", name)])).await;
        assert_eq!(who, name.to_lowercase());
    }
    let said = world.said(with("/other", &[("x-to", "a")])).await;
    assert!(said.ends_with("x-sent=to-a x-to=a"), "{said}");
    for (request, status, expected) in [
        (with("/", &[("x-to", "nobody")]), 503, "names cluster `nobody`, which no source defines"),
        (get("/"), 503, "the header `x-to`, which names the cluster, is not there"),
        (with("/other", &[("x-to", "nobody")]), 404, "names cluster `nobody`"),
    ] {
        let error = world.send(request).await.unwrap_err();
        assert_eq!(error.http_status(), status, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let explained = world.mesh.client("shop").unwrap();
    let explained = explained.explain(&with("/", &[("x-to", "a")])).unwrap();
    assert_eq!((&*explained.clusters[0].name, explained.clusters[0].share), ("a", 1.0));
    let choice = explained.route.choice.unwrap();
    assert_eq!(choice, "the one that the header `x-to` names, else 503");
    let told = format!("{:#}", world.mesh.describe());
    assert!(told.contains("to the one that the header `x-to` names, else 404"), "{told}");
}

#[tokio::test]
async fn a_header_is_no_way_around_the_rules_of_a_service() {
    let world = World::new(&format!("{BY_HEADER}{CLUSTERS}")).await;
    let client = world.mesh.client("shop").unwrap();
    let post = |to| {
        let mut request = with("/", &[("x-to", to)]);
        *request.method_mut() = http::Method::POST;
        request
    };
    assert_eq!(world.who(post("a")).await, "a");
    let error = world.send(post("b")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("only-reads"), "{error}");
    let explained = client.explain(&post("b")).unwrap();
    assert!(explained.fails.is_some_and(|why| why.contains("only-reads")));
    // No route of the service takes it, and its rules are those of routes.
    let error = world.send(with("/secret", &[("x-to", "c")])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert_eq!(world.who(with("/open", &[("x-to", "c")])).await, "c");
    let error = world.send(with("/open", &[("x-to", "c"), ("x-bad", "1")])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let counts: Vec<_> = world.servers.values().map(|server| server.requests()).collect();
    assert_eq!(counts, [1, 0, 1], "who is denied is not sent");
    // Rules of a service that leads there through a cluster that it takes over from.
    let world = World::new(
        "services:\n  shop: {routes: [{cluster_header: x-to}]}\n  other:\n    cluster: a\n\
         \x20   filters: [{authorize: {rules: [{name: only-reads, action: deny, permissions: [{method: POST}]}]}}]\n\
         clusters:\n  a: {endpoints: [{address: \"<A>\"}], failover: {clusters: [b]}}\n\
         \x20 b: {endpoints: [{address: \"<B>\"}]}\n  c: {endpoints: [{address: \"<C>\"}]}\n",
    )
    .await;
    for (cluster, is_allowed) in [("a", false), ("b", false), ("c", true)] {
        assert_eq!(world.send(post(cluster)).await.is_ok(), is_allowed, "{cluster}");
    }
}

#[tokio::test]
async fn a_cluster_that_comes_and_goes_can_and_cannot_be_named() {
    let mut world = World::new(
        "services: {shop: {routes: [{cluster_header: x-to}]}}\n\
         clusters:\n  a: {endpoints: [{address: \"<A>\"}]}\n  #b: {endpoints: [{address: \"<B>\"}]}\n",
    )
    .await;
    assert!(world.send(with("/", &[("x-to", "b")])).await.is_err());
    world.edit("#b:", "b:");
    eventually(async || world.send(with("/", &[("x-to", "b")])).await.is_ok()).await;
    world.edit("b:", "#b:");
    let is_gone = |error: tower_mesh::Error| error.to_string().contains("no source defines");
    eventually(async || world.send(with("/", &[("x-to", "b")])).await.is_err_and(is_gone)).await;
    assert_eq!(world.who(with("/", &[("x-to", "a")])).await, "a");
}

#[tokio::test]
async fn the_first_cluster_with_an_endpoint_that_works_gets_all() {
    let mut world = World::new(
        "services:\n  shop:\n    routes:\n\
         \x20     - {choice: first_available, clusters: [{name: none}, {name: a}, {name: b}]}\n\
         clusters:\n  none: {endpoints: []}\n\
         \x20 a: {endpoints: [{address: \"<A>\", health: healthy}]}\n\
         \x20 b: {endpoints: [{address: \"<B>\"}]}\n",
    )
    .await;
    for _ in 0..20 {
        assert_eq!(world.who(get("/")).await, "a");
    }
    let explained = world.mesh.client("shop").unwrap().explain(&get("/")).unwrap();
    let shares: Vec<_> = explained.clusters.iter().map(|it| (&*it.name, it.share)).collect();
    assert_eq!(shares, [("none", 0.0), ("a", 1.0), ("b", 0.0)]);
    assert_eq!(explained.route.choice.as_deref(), Some("the first that is available"));
    world.edit("health: healthy", "health: unhealthy");
    world.until("b", || get("/")).await;
    world.edit("health: unhealthy", "health: healthy");
    world.until("a", || get("/")).await;
}

/// As an Envoy on the way that asks for the same header.
#[tokio::test]
async fn a_number_in_a_header_chooses_among_clusters_by_their_weights() {
    let world = World::new(&format!(
        "services:\n  shop:\n    routes:\n\
         \x20     - {{choice_header: x-share, clusters: [{{name: a, weight: 2}}, {{name: b}}]}}\n{CLUSTERS}"
    ))
    .await;
    for (number, expected) in
        [("0", "a"), ("1", "a"), ("2", "b"), ("5", "b"), ("18446744073709551615", "a")]
    {
        for _ in 0..5 {
            assert_eq!(world.who(with("/", &[("x-share", number)])).await, expected, "{number}");
        }
    }
    let client = world.mesh.client("shop").unwrap();
    let shares = |request| {
        let explained = client.explain(&request).unwrap();
        let shares: Vec<_> = explained.clusters.iter().map(|it| it.share).collect();
        (shares, explained.route.choice.unwrap())
    };
    let (of, choice) = shares(with("/", &[("x-share", "2")]));
    assert_eq!((of, &*choice), (vec![0.0, 1.0], "by the number in the header `x-share`"));
    // What is no number leaves it to chance.
    for headers in [
        &[][..],
        &[("x-share", "-1")],
        &[("x-share", "one")],
        &[("x-share", "18446744073709551616")],
        &[("x-share", "2"), ("x-share", "2")],
    ] {
        let (of, choice) = shares(with("/", headers));
        assert!(of.iter().all(|share| *share > 0.3), "{headers:?} {of:?}");
        assert!(choice.ends_with("which has none: by weight"), "{choice}");
    }
}

#[tokio::test]
async fn a_hash_chooses_among_clusters_by_their_weights() {
    let world = World::new(&format!(
        "services:\n  shop:\n    routes:\n\
         \x20     - matches: [{{path: {{exact: /cookie}}}}]\n\
         \x20       choice: hashed\n\
         \x20       policy: {{hash: [{{on: {{cookie: {{name: s, generate: true}}}}}}]}}\n\
         \x20       clusters: [{{name: a}}, {{name: b}}]\n\
         \x20     - choice: hashed\n\
         \x20       policy: {{hash: [{{on: {{header: {{name: x-user}}}}}}]}}\n\
         \x20       clusters: [{{name: a, weight: 2}}, {{name: b, weight: 1}}]\n{}",
        CLUSTERS.replace(": {endpoints", ": {balancer: {ring_hash: {}}, endpoints"),
    ))
    .await;
    let early = world.mesh.client("shop").unwrap();
    let early = early.explain(&with("/", &[("x-user", "0")])).unwrap();
    let early = early.clusters.into_iter().find(|cluster| cluster.share > 0.99).unwrap();
    let mut counts = BTreeMap::<String, usize>::new();
    for user in 0..300 {
        let request = || {
            let mut request = get("/");
            request.headers_mut().insert("x-user", user.to_string().parse().unwrap());
            request
        };
        let first = world.who(request()).await;
        assert_eq!(world.who(request()).await, first, "the same user, the same cluster");
        let explained = world.mesh.client("shop").unwrap().explain(&request()).unwrap();
        let told = explained.clusters.iter().find(|cluster| cluster.share > 0.5).unwrap();
        assert_eq!(told.name, first);
        assert!(user > 0 || early.name == first, "it is told before any call");
        *counts.entry(first).or_default() += 1;
    }
    assert!((170..=230).contains(&counts["a"]), "{counts:?}");
    // Without one, at random; by the key of the call, if that is all there is.
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..50 {
        seen.insert(world.who(get("/")).await);
    }
    assert_eq!(seen.len(), 2);
    let keyed = |key| {
        let mut request = get("/");
        request.extensions_mut().insert(Call::new().hash_key(key));
        request
    };
    let first = world.who(keyed(7)).await;
    for _ in 0..10 {
        assert_eq!(world.who(keyed(7)).await, first);
    }
    // A cookie that is made is told once, and keeps its caller where it was.
    for _ in 0..20 {
        let response = world.send(get("/cookie")).await.unwrap();
        let made: Vec<_> = response.headers().get_all("set-cookie").iter().cloned().collect();
        assert_eq!(made.len(), 1, "{made:?}");
        let cookie = made[0].to_str().unwrap().split(';').next().unwrap().to_owned();
        let first = response.into_body().text().await.unwrap();
        for _ in 0..3 {
            let mut request = get("/cookie");
            request.headers_mut().insert("cookie", cookie.parse().unwrap());
            let again = world.send(request).await.unwrap();
            assert!(!again.headers().contains_key("set-cookie"));
            let again = again.into_body().text().await.unwrap();
            assert_eq!(again[..1], first[..1]);
        }
    }
}

#[tokio::test]
async fn what_was_noted_about_a_call_is_matched() {
    let world = World::new(&format!(
        "services:\n  shop:\n    routes:\n\
         \x20     - matches: [{{metadata: [{{namespace: shop, path: [tier], value: {{text: {{exact: gold}}}}}}]}}]\n\
         \x20       clusters: [{{name: b}}]\n\
         \x20     - clusters: [{{name: a}}]\n{CLUSTERS}",
    ))
    .await;
    let noted = |tier: &str| {
        let mut request = get("/");
        let tier = Value::Text(tier.to_owned());
        request.extensions_mut().insert(CallMetadata::new().with("shop", "tier", tier));
        request
    };
    assert_eq!(world.who(noted("gold")).await, "b");
    assert_eq!(world.who(noted("lead")).await, "a");
    assert_eq!(world.who(get("/")).await, "a");
    let explained = world.mesh.client("shop").unwrap().explain(&get("/")).unwrap();
    let passed = &explained.route.passed[0];
    assert_eq!((&*passed.asks, &*passed.unmet), ("metadata shop.tier is gold", "metadata shop"));
}

#[tokio::test]
async fn what_cannot_be_chosen_is_refused_with_its_place() {
    for (route, expected) in [
        ("{cluster_header: \"a b\"}", "routes[0].cluster_header = a b: is not a header name"),
        (
            "{cluster_header: x, clusters: [{name: a}]}",
            "a route has either `clusters` or `cluster_header`",
        ),
        ("{cluster_header: x, choice: hashed}", "there is no `choice`"),
        (
            "{choice_header: \"a b\", clusters: [{name: a}]}",
            "routes[0].choice_header = a b: is not a header name",
        ),
        (
            "{choice_header: x, choice: hashed, clusters: [{name: a}]}",
            "routes[0].choice_header = x: means nothing beside",
        ),
        ("{choice_header: x, cluster_header: y}", "routes[0].choice_header = x: means nothing"),
        (
            "{cluster_header: x, missing_cluster_status: 200}",
            "routes[0].missing_cluster_status = 200: must be in 400..=599",
        ),
        (
            "{missing_cluster_status: 503, clusters: [{name: a}]}",
            "routes[0].missing_cluster_status = 503: means nothing here",
        ),
        (
            "{choice: first_available, clusters: [{name: a}, {name: b, weight: 3}]}",
            "routes[0].clusters[1].weight = 3: means nothing beside `choice: first_available`",
        ),
        (
            "{cluster_header: x, filters: [{direct_response: {status: 200}}]}",
            "means nothing where a filter answers",
        ),
        (
            "{clusters: [{name: a}], matches: [{metadata: [{namespace: \"\"}]}]}",
            "matches[0].metadata[0].namespace",
        ),
        (
            "{clusters: [{name: a}], matches: [{metadata: [{namespace: n, value: {range: {start: 2, end: 1}}}]}]}",
            "matches[0].metadata[0].value.range = 2..1: holds no number",
        ),
        ("{cluster_plugin: {name: x}}", "cluster_plugin"),
    ] {
        let text =
            format!("services: {{shop: {{routes: [{route}]}}}}\nclusters: {{a: {{}}, b: {{}}}}\n");
        let error = refusal(&text).await;
        assert!(error.contains(expected), "{route}: {error}");
    }
}
