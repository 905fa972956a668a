//! What is wrong is refused by the piece, with its place; the rest runs on.

use std::fs;

use http::HeaderValue;
use tower_mesh::{ErrorKind, Mesh};

use crate::{
    echo::{get, world},
    support::Server,
};

/// The report of a route of these words.
async fn refused(route: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let text = format!(
        "services:\n  bad: {{routes: [{route}]}}\n  good: {{cluster: c}}\n\
         clusters:\n  c: {{endpoints: [{{address: \"127.0.0.1:1\"}}]}}\n"
    );
    fs::write(&path, &text).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    drop(mesh.ready().await);
    let description = mesh.describe();
    assert!(description.services.iter().any(|service| service.name == "good"), "{description}");
    let error = mesh.client("bad").err().unwrap_or_else(|| panic!("accepted: {route}"));
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    description.refused.first().unwrap().text.clone()
}

#[tokio::test]
async fn each_piece_names_its_place() {
    let to = "clusters: [{name: c}]";
    for (route, place) in [
        (
            format!("{{{to}, matches: [{{path: {{regex: \"(a\"}}}}]}}"),
            "matches[0].path.regex = (a: is not a regular expression",
        ),
        (
            format!("{{{to}, matches: [{{path: {{regex: \"(((a{{100}}){{100}}){{100}})\"}}}}]}}"),
            "is too large",
        ),
        (
            format!("{{{to}, matches: [{{path: {{regex: '(.)\\1'}}}}]}}"),
            "backreferences are not supported",
        ),
        (
            format!("{{{to}, matches: [{{path: {{template: \"/**/a\"}}}}]}}"),
            "matches[0].path.template",
        ),
        (format!("{{{to}, matches: [{{path: {{prefix: \"a\"}}}}]}}"), "must begin with `/`"),
        (format!("{{{to}, matches: [{{path: {{exact: \"/a?b\"}}}}]}}"), "it would never match"),
        (
            format!(
                "{{{to}, matches: [{{headers: [{{name: n, matcher: {{range: {{start: 5, end: 5}}}}}}]}}]}}"
            ),
            "headers[0].matcher.range = 5..5: holds no number",
        ),
        (
            format!("{{{to}, matches: [{{fraction: {{percent: 100.5}}}}]}}"),
            "fraction.percent = 100.5: must be in 0..=100",
        ),
        (format!("{{{to}, matches: [{{fraction: {{percent: .nan}}}}]}}"), "expected a number"),
        (format!("{{{to}, matches: [{{fraction: {{percent: 5, key: \"\"}}}}]}}"), "fraction.key"),
        (format!("{{{to}, hosts: [\"a.*.b\"]}}"), "hosts[0] = a.*.b"),
        (
            format!("{{{to}, matches: [{{path: {{exact: /a}}, grpc: {{}}}}]}}"),
            "either `path` or `grpc`",
        ),
        (
            "{clusters: [{name: c, weight: 0}, {name: d, weight: 0}]}".to_owned(),
            "the weights must not all be 0",
        ),
        ("{clusters: [{name: c, weight: 1000001}]}".to_owned(), "must be at most 1000000"),
        (
            format!(
                "{{{to}, filters: [{{request_headers: {{set: {{x-a: \"b\\r\\nx-c: d\"}}}}}}]}}"
            ),
            "filters[0].request_headers.set.x-a = b\\r\\nx-c: d: is not the value of a header",
        ),
        (
            format!("{{{to}, filters: [{{request_headers: {{set: {{\"x a\": b}}}}}}]}}"),
            "is not a header name",
        ),
        (
            format!("{{{to}, filters: [{{request_headers: {{remove: [content-length]}}}}]}}"),
            "not to be edited",
        ),
        (
            format!(
                "{{{to}, filters: [{{response_headers: {{add: [{{name: transfer-encoding, value: chunked}}]}}}}]}}"
            ),
            "add[0].name = transfer-encoding",
        ),
        (
            format!(
                "{{{to}, filters: [{{request_headers: {{set: {{x-a: \"%DOWNSTREAM_REMOTE_ADDRESS%\"}}}}}}]}}"
            ),
            "`%DOWNSTREAM_REMOTE_ADDRESS%` is not supported yet",
        ),
        (
            format!("{{{to}, filters: [{{rewrite: {{path: {{full: \"a b\"}}}}}}]}}"),
            "filters[0].rewrite.path.full = a b: is not a path",
        ),
        (
            format!("{{{to}, filters: [{{rewrite: {{host: {{literal: \"a b\"}}}}}}]}}"),
            "is not an authority",
        ),
        (
            format!(
                "{{{to}, filters: [{{rewrite: {{path: {{regex: {{pattern: \"a\", substitution: '\\1'}}}}}}}}]}}"
            ),
            "path.regex.substitution = \\1: the expression has no group 1",
        ),
        (
            format!("{{{to}, filters: [{{rewrite: {{path: {{template: \"/{{x}}\"}}}}}}]}}"),
            "no match with a template",
        ),
        (
            format!("{{{to}, filters: [{{rewrite: {{}}}}, {{redirect: {{}}}}]}}"),
            "filters[1] = redirect: cannot be beside `rewrite`",
        ),
        (
            format!("{{{to}, filters: [{{redirect: {{status: 304}}}}]}}"),
            "must be 301, 302, 303, 307 or 308",
        ),
        (
            format!("{{{to}, filters: [{{redirect: {{host: \"a:80\"}}}}]}}"),
            "is not a host without a port",
        ),
        (
            format!("{{{to}, filters: [{{direct_response: {{status: 99}}}}]}}"),
            "must be in 200..=599",
        ),
        (format!("{{{to}, filters: [{{direct_response: {{status: 204, body: x}}}}]}}"), "has none"),
        (format!("{{{to}, filters: [{{fault: {{}}}}]}}"), "filters[0].fault"),
    ] {
        let reason = refused(&route).await;
        assert!(reason.contains(place), "{route}\n{reason}\ndoes not contain {place}");
        assert!(reason.contains("services.bad.routes[0]"), "{reason}");
    }
}

#[tokio::test]
async fn a_rewrite_that_makes_no_uri_fails_its_call_alone() {
    let world = world(
        r#"  echo:
    routes:
      - matches: [{path: {prefix: /bad}}]
        clusters: [{name: echo-v1}]
        filters: [{rewrite: {path: {regex: {pattern: "/bad", substitution: "a?b"}}}}]
      - matches: [{path: {prefix: /host}}]
        clusters: [{name: echo-v1}]
        filters: [{rewrite: {host: {header: x-host}}}]
      - {clusters: [{name: echo-v2}]}
"#,
    )
    .await;
    for request in [get("/bad", &[]), get("/host", &[("x-host", "a b")])] {
        let error = world.ask(request).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error}");
        assert!(error.to_string().contains("of its route made no valid"), "{error}");
    }
    assert_eq!(world.backend(get("/", &[])).await, "echo-v2");
}

/// What a request makes of its path would be read as a part of the host, or as a query.
#[tokio::test]
async fn a_redirect_whose_path_would_change_its_host_fails_its_call_alone() {
    let world = world(
        r#"  echo:
    routes:
      - matches: [{path: {string_prefix: /go}}]
        filters: [{redirect: {path: {regex: {pattern: "^/go(.*)", substitution: '\1'}}}}]
      - matches: [{path: {string_prefix: /cut}}]
        filters: [{redirect: {path: {prefix: ""}}}]
      - matches: [{path: {prefix: /part}}]
        filters: [{redirect: {path: {regex: {pattern: "^/part/(.*)", substitution: '/x#\1'}}}}]
      - {clusters: [{name: echo-v2}]}
"#,
    )
    .await;
    for path in [
        "/go@evil.example/",
        "/go.evil.example",
        "/go:8080",
        "/go",
        "/cut",
        "/cut@evil.example/",
        "/cut.evil.example",
        "/part/a=b",
    ] {
        let error = world.ask(get(path, &[])).await.err();
        let error = error.unwrap_or_else(|| panic!("{path} is answered"));
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error}");
        assert!(error.to_string().contains("no valid path"), "{error}");
    }
    for (path, location) in [("/go/on?a=b", "http://echo/on?a=b"), ("/cut/on", "http://echo/on")] {
        let seen = world.ask(get(path, &[])).await.unwrap();
        assert_eq!(seen.answered("location").as_deref(), Some(location), "{path}");
    }
    assert_eq!(world.backend(get("/", &[])).await, "echo-v2");
}

#[tokio::test]
async fn a_redirect_of_a_request_whose_host_is_no_text_fails_its_call_alone() {
    let world = world(
        r#"  echo:
    routes:
      - matches: [{path: {prefix: /elsewhere}}]
        filters: [{redirect: {host: example.org}}]
      - {filters: [{redirect: {scheme: https}}]}
"#,
    )
    .await;
    for host in [&b"caf\xe9.example"[..], b""] {
        let asked = |path: &str| {
            let mut request = get(path, &[]);
            request.headers_mut().insert("host", HeaderValue::from_bytes(host).unwrap());
            request
        };
        let error = world.ask(asked("/")).await.err();
        let error = error.unwrap_or_else(|| panic!("{host:?} is answered"));
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error}");
        assert!(error.to_string().contains("no valid host"), "{error}");
        let seen = world.ask(asked("/elsewhere")).await.unwrap();
        assert_eq!(seen.answered("location").as_deref(), Some("http://example.org/elsewhere"));
    }
}

#[tokio::test]
async fn a_cluster_that_nobody_defines_fails_fast_by_its_name() {
    let server = Server::named("c").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let text = format!(
        "services:\n  s: {{routes: [{{matches: [{{path: {{prefix: /a}}}}], clusters: [{{name: nowhere}}]}}, \
         {{clusters: [{{name: c}}]}}]}}\nclusters:\n  c: {{endpoints: [{{address: \"{}\"}}]}}\n",
        server.address()
    );
    fs::write(&path, &text).unwrap();
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    drop(mesh.ready().await);
    let client = mesh.client("s").unwrap();
    let began = tokio::time::Instant::now();
    let error = client.send(get("/a", &[])).await.unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    assert!(began.elapsed().as_secs() < 2);
    assert!(client.send(get("/", &[])).await.is_ok());
}
