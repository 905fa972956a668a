//! Rewrites of path and host.

use crate::echo::{get, world};

const EDIT: &str = "{request_headers: {set: {X-Header-Set: set-overwrites-values}, \
    add: [{name: X-Header-Add, value: header-val-1}, \
    {name: X-Header-Add-Append, value: header-val-2}], remove: [X-Header-Remove]}}";

// MeshHTTPRouteRewritePath, HTTPRouteRewritePath.
#[tokio::test]
async fn paths() {
    let route = |prefix: &str, rewrite: &str, more: &str| {
        format!(
            "      - {{matches: [{{path: {{prefix: {prefix}}}}}], clusters: [{{name: echo-v1}}], \
             filters: [{{rewrite: {{path: {{{rewrite}}}}}}}{more}]}}\n"
        )
    };
    let edit = format!(", {EDIT}");
    let services = [
        "  echo:\n    order: specificity\n    routes:\n".to_owned(),
        route("/prefix/one", "prefix: /one", ""),
        route("/strip-prefix", "prefix: /", ""),
        route("/full/one", "full: /one", ""),
        route("/full/rewrite-path-and-modify-headers", "full: /test", &edit),
        route("/prefix/rewrite-path-and-modify-headers", "prefix: /prefix", &edit),
    ]
    .concat();
    let world = world(&services).await;
    let sent = [
        ("X-Header-Remove", "remove-val"),
        ("X-Header-Add-Append", "append-val-1"),
        ("X-Header-Set", "set-val"),
    ];
    for (path, expected, edits) in [
        ("/prefix/one/two", "/one/two", false),
        ("/strip-prefix/three", "/three", false),
        ("/strip-prefix", "/", false),
        ("/full/one/two", "/one", false),
        ("/full/rewrite-path-and-modify-headers/test", "/test", true),
        ("/prefix/rewrite-path-and-modify-headers/one", "/prefix/one", true),
    ] {
        let headers = if edits { &sent[..] } else { &[] };
        let seen = world.ask(get(&format!("{path}?q=1"), headers)).await.unwrap();
        assert_eq!((seen.backend(), seen.path()), ("echo-v1".to_owned(), expected), "{path}");
        assert_eq!(seen.query(), Some("q=1"), "the query stays");
        if edits {
            assert_eq!(seen.header("X-Header-Add"), Some("header-val-1"));
            assert_eq!(seen.header("X-Header-Add-Append"), Some("append-val-1,header-val-2"));
            assert_eq!(seen.header("X-Header-Set"), Some("set-overwrites-values"));
            assert_eq!(seen.header("X-Header-Remove"), None);
        }
    }
}

// HTTPRouteBackendURLRewrite: the rewrite is of one cluster of the route, and the others are sent what came.
#[tokio::test]
async fn paths_and_hosts_of_one_backend() {
    let route = |prefix: &str, rewrite: &str, others: &str| {
        format!(
            "      - {{matches: [{{path: {{prefix: {prefix}}}}}], clusters: [{{name: echo-v1, \
             filters: [{{rewrite: {{{rewrite}}}}}]}}{others}]}}\n"
        )
    };
    let services = [
        "  echo:\n    order: specificity\n    routes:\n".to_owned(),
        route("/full", "path: {full: /rewritten-full}", ""),
        route("/prefix", "path: {prefix: /rewritten-prefix}", ""),
        route(
            "/both",
            "path: {prefix: /new}, host: {literal: v1.example.org}",
            ", {name: echo-v2}",
        ),
    ]
    .concat();
    let world = world(&services).await;
    for (path, expected) in
        [("/full/original", "/rewritten-full"), ("/prefix/original", "/rewritten-prefix/original")]
    {
        let seen = world.ask(get(path, &[])).await.unwrap();
        assert_eq!((seen.backend(), seen.path()), ("echo-v1".to_owned(), expected), "{path}");
    }
    let mut met = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let seen = world.ask(get("/both/a", &[])).await.unwrap();
        let (backend, sent) = (seen.backend(), (seen.path(), seen.host()));
        let expected = match &*backend {
            "echo-v1" => ("/new/a", "v1.example.org"),
            _ => ("/both/a", "echo"),
        };
        assert_eq!(sent, expected, "{backend}");
        met.insert(backend);
    }
    assert_eq!(met.len(), 2, "{met:?}");
}

// HTTPRouteRewriteHost.
#[tokio::test]
async fn hosts() {
    let world = world(
        "  echo:
    order: specificity
    routes:
      - {matches: [{path: {prefix: /one}}], clusters: [{name: echo-v1}], filters: [{rewrite: {host: {literal: one.example.org}}}]}
      - {matches: [{path: {prefix: /told}}], clusters: [{name: echo-v1}], filters: [{rewrite: {host: {literal: \"two.example.org:81\"}, forwarded_host: true}}]}
      - {matches: [{path: {prefix: /by}}], clusters: [{name: echo-v1}], filters: [{rewrite: {host: {header: x-host}}}]}
      - {matches: [{path: {prefix: /}}], clusters: [{name: echo-v2}]}
",
    )
    .await;
    for version in crate::support::VERSIONS {
        let ask = async |path: &str, headers: &[(&str, &str)]| {
            let request = crate::support::over(version, get(path, headers));
            world.ask(request).await.unwrap()
        };
        assert_eq!(ask("/one", &[]).await.host(), "one.example.org");
        assert_eq!(ask("/one", &[("host", "old")]).await.host(), "one.example.org");
        let told = ask("/told", &[]).await;
        assert_eq!(
            (told.host(), told.header("x-forwarded-host")),
            ("two.example.org:81", Some("echo"))
        );
        assert_eq!(
            ask("/by", &[("x-host", "three.example.org")]).await.host(),
            "three.example.org"
        );
        assert_eq!(ask("/by", &[]).await.host(), "echo");
        assert_eq!(ask("/else", &[]).await.host(), "echo");
    }
}

#[tokio::test]
async fn by_regular_expression_and_template() {
    let world = world(
        r#"  echo:
    routes:
      - matches: [{path: {regex: "/users/[0-9]+"}}]
        clusters: [{name: echo-v1}]
        filters: [{rewrite: {path: {regex: {pattern: "/users/([0-9]+)", substitution: "/people/\\1/card"}}}}]
      - matches: [{path: {template: "/{lang}/docs/{rest=**}"}}]
        clusters: [{name: echo-v2}]
        filters: [{rewrite: {path: {template: "/docs/{rest}/{lang}"}}}]
"#,
    )
    .await;
    let seen = world.ask(get("/users/12?a=b", &[])).await.unwrap();
    assert_eq!((seen.path(), seen.query()), ("/people/12/card", Some("a=b")));
    let seen = world.ask(get("/en/docs/a/b", &[])).await.unwrap();
    assert_eq!((seen.backend(), seen.path()), ("echo-v2".to_owned(), "/docs/a/b/en"));
}

#[tokio::test]
async fn every_attempt_has_the_rewritten_head() {
    let world = world(
        "  echo:
    routes:
      - clusters: [{name: echo-v1}]
        policy: {retry: {attempts: 3, on_status: [503], backoff_base: 1ms}}
        filters: [{rewrite: {path: {full: /new}}}, {request_headers: {add: [{name: x-a, value: b}]}}]
",
    )
    .await;
    let seen = world.ask(get("/old", &[("x-fail-first", "yes")])).await.unwrap();
    assert_eq!((seen.path(), seen.header("x-a")), ("/new", Some("b")));
    assert_eq!(seen.header("x-mesh-attempt"), Some("1"));
}
