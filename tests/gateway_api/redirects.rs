//! Redirects and direct responses: returned to the caller, who follows or not.

use crate::echo::{get, grpc, world};

/// A prefix, the filter of its route, a request, and what it is answered.
type Case = (&'static str, &'static str, &'static str, u16, &'static str);

async fn check(cases: &[Case]) {
    let mut services = "  echo:\n    order: specificity\n    routes:\n".to_owned();
    for (prefix, filter, ..) in cases {
        services += &format!(
            "      - {{matches: [{{path: {{prefix: {prefix}}}}}], filters: [{{redirect: {{{filter}}}}}]}}\n"
        );
    }
    let world = world(&services).await;
    for (prefix, _, path, status, location) in cases {
        let seen = world.ask(get(path, &[])).await.unwrap();
        assert_eq!(seen.status().as_u16(), *status, "{prefix}");
        assert_eq!(seen.answered("location").as_deref(), Some(*location), "{prefix}");
    }
}

// MeshHTTPRouteRedirectHostAndStatus.
#[tokio::test]
async fn host_and_status() {
    check(&[
        (
            "/hostname-redirect",
            "host: example.org",
            "/hostname-redirect",
            302,
            "http://example.org/hostname-redirect",
        ),
        (
            "/host-and-status",
            "host: example.org, status: 301",
            "/host-and-status",
            301,
            "http://example.org/host-and-status",
        ),
    ])
    .await;
}

// What Envoy allows beside: a substitution with a query.
#[tokio::test]
async fn a_substitution_may_bring_a_query() {
    let by_id = "path: {regex: {pattern: \"^/item/([0-9]+)$\", substitution: '/items?id=\\1'}}";
    let stripped = "path: {regex: {pattern: \"^/bare/(.+)$\", substitution: '/new?of=\\1'}}, strip_query: true";
    check(&[
        ("/item", by_id, "/item/7", 302, "http://echo/items?id=7"),
        ("/item/8", by_id, "/item/8?a=b", 302, "http://echo/items?id=8&a=b"),
        ("/bare", stripped, "/bare/x?a=b", 302, "http://echo/new?of=x"),
    ])
    .await;
}

// MeshHTTPRouteRedirectPath.
#[tokio::test]
async fn paths() {
    check(&[
        (
            "/original-prefix",
            "path: {prefix: /replacement-prefix}",
            "/original-prefix/lemon",
            302,
            "http://echo/replacement-prefix/lemon",
        ),
        (
            "/full",
            "path: {full: /full-path-replacement}",
            "/full/path/original",
            302,
            "http://echo/full-path-replacement",
        ),
        (
            "/path-and-host",
            "host: example.org, path: {prefix: /replacement-prefix}",
            "/path-and-host",
            302,
            "http://example.org/replacement-prefix",
        ),
        (
            "/path-and-status",
            "path: {prefix: /replacement-prefix}, status: 301",
            "/path-and-status",
            301,
            "http://echo/replacement-prefix",
        ),
        (
            "/full-path-and-host",
            "host: example.org, path: {full: /replacement-full}",
            "/full-path-and-host",
            302,
            "http://example.org/replacement-full",
        ),
        (
            "/full-path-and-status",
            "path: {full: /replacement-full}, status: 301",
            "/full-path-and-status",
            301,
            "http://echo/replacement-full",
        ),
    ])
    .await;
}

// MeshHTTPRouteRedirectPort.
#[tokio::test]
async fn ports() {
    check(&[
        ("/port", "port: 8083", "/port", 302, "http://echo:8083/port"),
        (
            "/port-and-host",
            "port: 8083, host: example.org",
            "/port-and-host",
            302,
            "http://example.org:8083/port-and-host",
        ),
        (
            "/port-and-status",
            "port: 8083, status: 301",
            "/port-and-status",
            301,
            "http://echo:8083/port-and-status",
        ),
        (
            "/port-and-host-and-status",
            "port: 8083, host: example.org, status: 302",
            "/port-and-host-and-status",
            302,
            "http://example.org:8083/port-and-host-and-status",
        ),
        // The port that the scheme has anyway is not told.
        ("/usual", "port: 80", "/usual", 302, "http://echo/usual"),
    ])
    .await;
}

//= Gateway API HTTPRequestRedirectFilter.port: the request's, unless the scheme is given
#[tokio::test]
async fn ports_of_a_service_that_is_called_by_one() {
    let world = world(
        "  echo:
    order: specificity
    routes:
      - {matches: [{path: {prefix: /host}}], filters: [{redirect: {host: example.org}}]}
      - {matches: [{path: {prefix: /path}}], filters: [{redirect: {path: {full: /}}}]}
      - {matches: [{path: {prefix: /scheme}}], filters: [{redirect: {scheme: https}}]}
      - {matches: [{path: {prefix: /same}}], filters: [{redirect: {scheme: http}}]}
      - {matches: [{path: {prefix: /port}}], filters: [{redirect: {port: 80}}]}
",
    )
    .await;
    for (host, path, location) in [
        ("echo:8080", "/host", "http://example.org:8080/host"),
        ("echo:8080", "/path", "http://echo:8080/"),
        ("[::1]:8080", "/path", "http://[::1]:8080/"),
        ("[::1]", "/path", "http://[::1]/"),
        ("echo:80", "/path", "http://echo/"),
        ("echo:8080", "/scheme", "https://echo/scheme"),
        ("echo:8080", "/same", "http://echo/same"),
        ("echo:8080", "/port", "http://echo/port"),
    ] {
        let seen = world.ask(get(path, &[("host", host)])).await.unwrap();
        assert_eq!(seen.answered("location").as_deref(), Some(location), "{host} {path}");
    }
}

// MeshHTTPRouteSchemeRedirect.
#[tokio::test]
async fn schemes() {
    check(&[
        ("/scheme", "scheme: https", "/scheme", 302, "https://echo/scheme"),
        (
            "/scheme-and-host",
            "scheme: https, host: example.org",
            "/scheme-and-host",
            302,
            "https://example.org/scheme-and-host",
        ),
        (
            "/scheme-and-status",
            "scheme: https, status: 301",
            "/scheme-and-status",
            301,
            "https://echo/scheme-and-status",
        ),
        (
            "/scheme-and-host-and-status",
            "scheme: https, host: example.org, status: 302",
            "/scheme-and-host-and-status",
            302,
            "https://example.org/scheme-and-host-and-status",
        ),
    ])
    .await;
}

// MeshHTTPRoute303Redirect, -307, -308.
#[tokio::test]
async fn other_statuses() {
    check(&[
        ("/303", "status: 303, path: {full: /new}", "/303?a=b", 303, "http://echo/new?a=b"),
        (
            "/307",
            "status: 307, path: {prefix: /new}, strip_query: true",
            "/307/x?a=b",
            307,
            "http://echo/new/x",
        ),
        ("/308", "status: 308, host: example.org", "/308", 308, "http://example.org/308"),
    ])
    .await;
}

#[tokio::test]
async fn direct_responses() {
    let world = world(
        "  echo:
    routes:
      - matches: [{path: {prefix: /gone}}]
        filters:
          - direct_response: {status: 410, body: moved away, headers: {x-reason: moved}}
          - response_headers: {set: {x-edited: \"yes\"}}
      - matches: [{grpc: {service: {exact: a.B}}}]
        filters: [{direct_response: {status: 404, body: no such thing}}]
      - matches: [{grpc: {service: {exact: a.C}}}]
        filters: [{direct_response: {status: 200, grpc: 9}}]
",
    )
    .await;
    let answer = world.mesh.client("echo").unwrap().send(get("/gone/x", &[])).await.unwrap();
    assert_eq!(answer.status(), 410);
    for (name, value) in
        [("x-reason", "moved"), ("x-edited", "yes"), ("content-type", "text/plain")]
    {
        assert_eq!(answer.headers()[name], value);
    }
    assert_eq!(answer.into_body().text().await.unwrap(), "moved away");
    let head = crate::echo::with("HEAD", "/gone/x", &[]);
    let answer = world.mesh.client("echo").unwrap().send(head).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.into_body().text().await.unwrap()),
        (410, String::new())
    );
    // A gRPC caller gets a status: by the HTTP status, or the one that is said.
    let seen = world.ask(grpc("/a.B/Get", &[])).await.unwrap();
    assert_eq!(seen.answered("grpc-status").as_deref(), Some("12"));
    assert_eq!(seen.answered("grpc-message").as_deref(), Some("no such thing"));
    let seen = world.ask(grpc("/a.C/Get", &[])).await.unwrap();
    assert_eq!(seen.answered("grpc-status").as_deref(), Some("9"));
}
