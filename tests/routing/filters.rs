//! Filters with names, filters of one cluster of a route, upgrades.

use http::{Method, StatusCode};
use tower_mesh::ErrorKind;

use super::{CLUSTERS, World, refusal, support::get, with};

const NAMED: &str = "
services:
  shop:
    filters:
      - named: {name: edit, filter: {request_headers: {set: {x-by: service}}}}
      - named: {name: mark, disabled: true, filter: {request_headers: {set: {x-mark: service}}}}
      - named:
          name: reads
          filter: {authorize: {rules: [{name: reads, action: deny, permissions: [{method: POST}]}]}}
      - named: {name: slow, disabled: true, filter: {fault: {abort: {status: 418, percent: 100}}}}
    overrides:
      mark: {filter: {request_headers: {set: {x-mark: of-all}}}}
    routes:
      - {name: plain, matches: [{path: {exact: /plain}}], clusters: [{name: a}]}
      - name: route
        matches: [{path: {exact: /route}}]
        clusters: [{name: a}]
        overrides:
          edit: {filter: {request_headers: {set: {x-by: route}}}}
          mark: {disabled: true}
          reads: {disabled: true}
      - name: split
        matches: [{path: {exact: /split}}]
        overrides: {edit: {filter: {request_headers: {set: {x-by: route}}}}}
        clusters:
          - name: a
            overrides:
              edit: {filter: {request_headers: {set: {x-by: cluster}}}}
              reads: {disabled: true}
          - {name: b, overrides: {slow: {disabled: false}}}
          - {name: c, overrides: {edit: {disabled: true}}}
      - name: fails
        matches: [{path: {exact: /fails}}]
        clusters: [{name: a}]
        overrides: {slow: {disabled: false}}
";

#[tokio::test]
async fn the_most_specific_word_about_a_filter_decides() {
    let world = World::new(&format!("{NAMED}{CLUSTERS}")).await;
    let said = world.said(get("/plain")).await;
    assert!(said.ends_with("x-by=service x-mark=of-all"), "{said}");
    let said = world.said(get("/route")).await;
    assert!(said.ends_with("host=shop x-by=route"), "{said}");
    let post = |path| {
        let mut request = get(path);
        *request.method_mut() = Method::POST;
        request
    };
    assert_eq!(world.send(post("/plain")).await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(world.send(post("/route")).await.unwrap().status(), StatusCode::OK);
    assert_eq!(world.send(get("/fails")).await.unwrap().status(), 418);
    let (mut seen, mut denied) = ([0; 3], 0);
    for _ in 0..60 {
        let response = world.send(get("/split")).await.unwrap();
        if response.status() == 418 {
            seen[1] += 1;
            continue;
        }
        let said = response.into_body().text().await.unwrap();
        match &said[..1] {
            "a" => {
                assert!(said.contains("x-by=cluster x-mark=of-all"), "{said}");
                seen[0] += 1;
            }
            "c" => {
                assert!(said.ends_with("host=shop x-mark=of-all"), "{said}");
                seen[2] += 1;
            }
            other => panic!("{other}"),
        }
        // Only the calls to `a` are not judged.
        match world.send(post("/split")).await {
            Ok(response) => {
                assert_eq!(response.headers()["server-name"], "a");
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Denied);
                denied += 1;
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 5) && denied > 10, "{seen:?} {denied}");
}

#[tokio::test]
async fn named_filters_are_told() {
    let world = World::new(&format!("{NAMED}{CLUSTERS}")).await;
    let described = world.mesh.describe();
    let shop = described.services.iter().find(|service| service.name == "shop").unwrap();
    let filters = &shop.routes[0].filters;
    let expected =
        ["request_headers (edit)", "request_headers (mark)", "authorize (reads)", "fault (slow)"];
    assert_eq!(filters, &expected);
    let client = world.mesh.client("shop").unwrap();
    let explained = client.explain(&get("/split")).unwrap();
    let [a, b, _] = &explained.clusters[..] else { panic!("{explained}") };
    assert!(b.fails.as_ref().is_some_and(|why| why.contains("418")), "{b:?}");
    assert_eq!(a.head.as_ref().unwrap().headers["x-by"], "cluster");
    assert!(a.guards.is_empty() && a.fails.is_none());
}

#[tokio::test]
async fn a_cluster_of_a_route_has_filters_of_its_own() {
    let world = World::new(&format!(
        "services:\n  shop:\n    routes:\n\
         \x20     - matches: [{{path: {{prefix: /split}}}}]\n\
         \x20       filters: [{{response_headers: {{set: {{x-way: route}}}}}}]\n\
         \x20       clusters:\n\
         \x20         - name: a\n\
         \x20           filters:\n\
         \x20             - rewrite: {{path: {{prefix: /new}}, host: {{literal: a.internal}}}}\n\
         \x20             - mirror: {{cluster: c}}\n\
         \x20         - name: b\n\
         \x20           filters:\n\
         \x20             - authorize: {{rules: [{{name: not-b, action: deny, permissions: [{{header: {{name: x-no, matcher: present}}}}]}}]}}\n\
         \x20             - direct_response: {{status: 503, body: not today}}\n{CLUSTERS}",
    ))
    .await;
    let (mut sent, mut answered) = (0, 0);
    for _ in 0..40 {
        let response = world.send(get("/split/it")).await.unwrap();
        assert_eq!(response.headers()["x-way"], "route");
        if response.status() == 503 {
            answered += 1;
            assert_eq!(response.into_body().text().await.unwrap(), "not today");
        } else {
            sent += 1;
            let said = response.into_body().text().await.unwrap();
            assert!(said.starts_with("a /new/it host=a.internal"), "{said}");
        }
    }
    assert!(sent > 5 && answered > 5, "{sent} {answered}");
    super::eventually(async || world.servers["c"].requests() == sent).await;
    assert_eq!(world.servers["b"].requests(), 0);
    let mut denied = 0;
    for _ in 0..40 {
        match world.send(with("/split", &[("x-no", "1")])).await {
            Ok(response) => assert_eq!(response.headers()["server-name"], "a"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Denied);
                denied += 1;
            }
        }
    }
    assert!((5..=35).contains(&denied), "{denied}");
}

#[tokio::test]
async fn a_route_says_what_a_connection_may_change_to() {
    let world = World::new(&format!(
        "services:\n  shop:\n    routes:\n\
         \x20     - {{matches: [{{path: {{exact: /any}}}}], clusters: [{{name: a}}]}}\n\
         \x20     - matches: [{{path: {{exact: /only}}}}]\n\
         \x20       upgrades: [{{protocol: websocket}}]\n\
         \x20       clusters: [{{name: a}}]\n\
         \x20     - matches: [{{path: {{exact: /not}}}}]\n\
         \x20       upgrades: [{{protocol: h2c, disabled: true}}]\n\
         \x20       clusters: [{{name: a}}]\n{CLUSTERS}",
    ))
    .await;
    let asks = |path, protocol| with(path, &[("upgrade", protocol), ("connection", "upgrade")]);
    for (path, protocol, is_sent) in [
        ("/any", "irc", true),
        ("/only", "WebSocket", true),
        ("/only", "h2c", false),
        ("/only", "websocket, h2c", false),
        ("/not", "websocket", true),
        ("/not", "h2c", false),
    ] {
        let result = world.send(asks(path, protocol)).await;
        let explained = world.mesh.client("shop").unwrap().explain(&asks(path, protocol)).unwrap();
        assert_eq!(explained.fails.is_none(), is_sent, "{path} {protocol}");
        match result {
            Ok(_) => assert!(is_sent, "{path} {protocol}"),
            Err(error) => {
                assert!(!is_sent, "{path} {protocol}: {error}");
                assert_eq!(error.http_status(), StatusCode::FORBIDDEN);
                assert!(error.to_string().contains("asks for an upgrade to `h2c`"), "{error}");
            }
        }
    }
    assert_eq!(world.send(get("/only")).await.unwrap().status(), StatusCode::OK);
    let told = format!("{:#}", world.mesh.describe());
    assert!(told.contains("upgrades = allowed: websocket (file "), "{told}");
}

#[tokio::test]
async fn what_cannot_be_overridden_is_refused_with_its_place() {
    let route = |fields: &str| format!("routes: [{{clusters: [{{name: a}}], {fields}}}]");
    let named = "filters: [{named: {name: n, filter: {request_headers: {}}}}], ";
    let of_cluster = |fields: &str| format!("routes: [{{clusters: [{{name: a, {fields}}}]}}]");
    for (service, expected) in [
        (route("overrides: {n: {disabled: true}}"), "routes[0].overrides.n = n: no filter has this name"),
        (format!("{named}{}", route("overrides: {n: {}}")), "overrides.n = {}: says nothing"),
        (
            format!("{named}{}", route("overrides: {n: {filter: {response_headers: {}}}}")),
            "overrides.n.filter = response_headers: must be `request_headers`",
        ),
        (
            format!("{named}{}", route("overrides: {n: {filter: {request_headers: {set: {\"a b\": x}}}}}")),
            "routes[0].overrides.n.filter.request_headers.set = a b: is not a header name",
        ),
        (
            "filters: [{named: {name: n, filter: {request_headers: {}}}}, {named: {name: n, filter: {request_headers: {}}}}]".to_owned(),
            "filters[1].named.name = n: is used twice",
        ),
        (
            "filters: [{named: {name: \"\", filter: {request_headers: {}}}}]".to_owned(),
            "filters[0].named.name",
        ),
        (
            "filters: [{named: {name: a, filter: {named: {name: b, filter: {request_headers: {}}}}}}]".to_owned(),
            "a filter has one name",
        ),
        (
            of_cluster("filters: [{session: {cookie: {name: s}}}]"),
            "clusters[0].filters[0] = session: not supported yet for one cluster of a route",
        ),
        (
            of_cluster("filters: [{fault: {per_attempt: true, abort: {status: 500}}}]"),
            "clusters[0].filters[0].fault.per_attempt = true: not supported yet for one cluster",
        ),
        (
            of_cluster("filters: [{rate_limit: {bucket: {max_tokens: 0}}}]"),
            "clusters[0].filters[0].rate_limit",
        ),
        (
            "filters: [{rewrite: {path: {full: /x}}}], routes: [{clusters: [{name: a, filters: [{rewrite: {path: {full: /y}}}]}]}]".to_owned(),
            "routes[0].clusters[0].filters[0].rewrite.path",
        ),
        (route("upgrades: [{protocol: CONNECT}]"), "upgrades[0].protocol = CONNECT: not supported yet"),
        (route("upgrades: [{protocol: \"a b\"}]"), "upgrades[0].protocol = a b: is not the name"),
        (
            route("upgrades: [{protocol: h2c}, {protocol: H2C, disabled: true}]"),
            "upgrades[1].protocol = H2C: is there twice",
        ),
    ] {
        let text = format!("services: {{shop: {{{service}}}}}\nclusters: {{a: {{}}}}\n");
        let error = refusal(&text).await;
        assert!(error.contains(expected), "{service}: {error}");
    }
}
