//! Which rule takes a request.

use crate::echo::{get, grpc, with, world, world_of};

// MeshHTTPRouteSimpleSameNamespace, MeshBasic.
#[tokio::test]
async fn a_simple_route_and_none_at_all() {
    let world = world("  echo: {routes: [{clusters: [{name: echo-v1}]}]}\n").await;
    assert_eq!(world.backend(get("/", &[])).await, "echo-v1");
    let plain = world.call("echo-v2", get("/", &[])).await.unwrap();
    assert_eq!((plain.status().as_u16(), plain.backend()), (200, "echo-v2".to_owned()));
}

// MeshTrafficSplit.
#[tokio::test]
async fn exact_paths_split_the_traffic() {
    let world = world(
        "  echo:
    order: specificity
    routes:
      - {matches: [{path: {exact: /v1}}], clusters: [{name: echo-v1}]}
      - {matches: [{path: {exact: /v2}}], clusters: [{name: echo-v2}]}
",
    )
    .await;
    for (path, expected) in
        [("/v1", "echo-v1"), ("/v2", "echo-v2"), ("/v3", "404"), ("/v1/", "404")]
    {
        assert_eq!(world.backend(get(path, &[])).await, expected, "{path}");
    }
}

// MeshFrontend, MeshFrontendHostname: the service that is called decides, not the host.
#[tokio::test]
async fn the_route_is_that_of_the_service_that_is_called() {
    let world = world(
        "  echo-v2:
    routes:
      - {clusters: [{name: echo-v2}], filters: [{response_headers: {set: {x-header-set: set}}}]}
",
    )
    .await;
    for (service, host, expected) in
        [("echo-v2", "echo-v2", true), ("echo-v2", "echo-v1", true), ("echo-v1", "echo-v2", false)]
    {
        let seen = world.call(service, get("/", &[("host", host)])).await.unwrap();
        assert_eq!(seen.backend(), service);
        assert_eq!(seen.answered("x-header-set").is_some(), expected, "{service} {host}");
    }
    // Who calls a pod by its address calls no service, whatever the request's host.
    for host in ["echo-v2", &world.pods["echo-v2"]] {
        let seen = world.call(&world.pods["echo-v2"], get("/", &[("host", host)])).await.unwrap();
        assert_eq!((seen.status().as_u16(), seen.backend().as_str()), (200, "echo-v2"));
        assert_eq!(seen.answered("x-header-set"), None, "{host}");
    }
}

// MeshHTTPRouteMatching, HTTPRouteMatching.
#[tokio::test]
async fn paths_and_headers() {
    let world = world(
        "  echo:
    order: specificity
    routes:
      - matches: [{path: {prefix: /}}, {headers: [{name: version, matcher: {exact: one}}]}]
        clusters: [{name: echo-v1}]
      - matches: [{path: {prefix: /v2}}, {headers: [{name: version, matcher: {exact: two}}]}]
        clusters: [{name: echo-v2}]
",
    )
    .await;
    for (path, version, expected) in [
        ("/", None, "echo-v1"),
        ("/example", None, "echo-v1"),
        ("/", Some("one"), "echo-v1"),
        ("/v2", None, "echo-v2"),
        ("/v2/", None, "echo-v2"),
        ("/v2/example", None, "echo-v2"),
        ("/", Some("two"), "echo-v2"),
        ("/v2example", None, "echo-v1"),
        ("/foo/v2/example", None, "echo-v1"),
    ] {
        let headers: Vec<_> = version.map(|version| ("Version", version)).into_iter().collect();
        assert_eq!(world.backend(get(path, &headers)).await, expected, "{path} {version:?}");
    }
}

// MeshHTTPRouteQueryParamMatching, HTTPRouteQueryParamMatching.
#[tokio::test]
async fn query_parameters() {
    let q =
        |name: &str, value: &str| format!("query: [{{name: {name}, matcher: {{exact: {value}}}}}]");
    let h = |value: &str| format!("headers: [{{name: version, matcher: {{exact: {value}}}}}]");
    let services = format!(
        "  echo:
    order: specificity
    routes:
      - {{matches: [{{{whale}}}], clusters: [{{name: echo-v1}}]}}
      - {{matches: [{{{dolphin}}}], clusters: [{{name: echo-v2}}]}}
      - {{matches: [{{path: {{prefix: /path1}}, {whale}}}], clusters: [{{name: echo-v1}}]}}
      - {{matches: [{{{one}, {whale}}}], clusters: [{{name: echo-v2}}]}}
      - matches:
          - {{path: {{prefix: /path3}}, {shark}}}
          - {{path: {{prefix: /path4}}, {three}, {kraken}}}
        clusters: [{{name: echo-v1}}]
      - {{matches: [{{path: {{prefix: /path5}}}}], clusters: [{{name: echo-v1}}]}}
      - {{matches: [{{{hydra}}}], clusters: [{{name: echo-v2}}]}}
",
        whale = q("animal", "whale"),
        dolphin = q("animal", "dolphin"),
        shark = q("animal", "shark"),
        kraken = q("animal", "kraken"),
        hydra = q("animal", "hydra"),
        one = h("one"),
        three = h("three"),
    );
    let world = world(&services).await;
    for (path, version, expected) in [
        ("/?animal=whale", None, "echo-v1"),
        ("/?animal=dolphin", None, "echo-v2"),
        ("/?animal=whale&otherparam=irrelevant", None, "echo-v1"),
        ("/?animal=dolphin&color=yellow", None, "echo-v2"),
        ("/?color=blue", None, "404"),
        ("/?animal=dog", None, "404"),
        ("/?animal=whaledolphin", None, "404"),
        ("/", None, "404"),
        ("/path1?animal=whale", None, "echo-v1"),
        ("/?animal=whale", Some("one"), "echo-v2"),
        ("/path3?animal=shark", None, "echo-v1"),
        ("/path4?animal=kraken", Some("three"), "echo-v1"),
        ("/?animal=shark", None, "404"),
        ("/path4?animal=kraken", None, "404"),
        ("/path5?animal=hydra", None, "echo-v1"),
    ] {
        let headers: Vec<_> = version.map(|version| ("version", version)).into_iter().collect();
        assert_eq!(world.backend(get(path, &headers)).await, expected, "{path} {version:?}");
    }
}

// HTTPRouteMethodMatching.
#[tokio::test]
async fn methods() {
    let h = |value: &str| format!("headers: [{{name: version, matcher: {{exact: {value}}}}}]");
    let services = format!(
        "  echo:
    order: specificity
    routes:
      - {{matches: [{{method: POST}}], clusters: [{{name: echo-v1}}]}}
      - {{matches: [{{method: GET}}], clusters: [{{name: echo-v2}}]}}
      - {{matches: [{{path: {{prefix: /path1}}, method: GET}}], clusters: [{{name: echo-v1}}]}}
      - {{matches: [{{{one}, method: PUT}}], clusters: [{{name: echo-v2}}]}}
      - matches: [{{path: {{prefix: /path2}}, {two}, method: POST}}]
        clusters: [{{name: echo-v3}}]
      - matches:
          - {{path: {{prefix: /path3}}, method: PATCH}}
          - {{path: {{prefix: /path4}}, {three}, method: DELETE}}
        clusters: [{{name: echo-v1}}]
      - {{matches: [{{path: {{prefix: /path5}}}}], clusters: [{{name: echo-v1}}]}}
      - {{matches: [{{method: PATCH}}], clusters: [{{name: echo-v2}}]}}
      - {{matches: [{{{four}}}], clusters: [{{name: echo-v1}}]}}
",
        one = h("one"),
        two = h("two"),
        three = h("three"),
        four = h("four"),
    );
    let world = world(&services).await;
    for (method, path, version, expected) in [
        ("POST", "/", None, "echo-v1"),
        ("GET", "/", None, "echo-v2"),
        ("HEAD", "/", None, "404"),
        ("GET", "/path1", None, "echo-v1"),
        ("PUT", "/", Some("one"), "echo-v2"),
        ("POST", "/path2", Some("two"), "echo-v3"),
        ("PATCH", "/path3", None, "echo-v1"),
        ("DELETE", "/path4", Some("three"), "echo-v1"),
        ("PUT", "/", None, "404"),
        ("DELETE", "/path4", None, "404"),
        ("PATCH", "/path5", None, "echo-v1"),
        ("PATCH", "/", Some("four"), "echo-v2"),
    ] {
        let headers: Vec<_> = version.map(|version| ("version", version)).into_iter().collect();
        let backend = world.backend(with(method, path, &headers)).await;
        assert_eq!(backend, expected, "{method} {path} {version:?}");
    }
}

// HTTPRouteHeaderMatching.
#[tokio::test]
async fn headers() {
    let h = |name: &str, value: &str| format!("{{name: {name}, matcher: {{exact: {value}}}}}");
    let services = format!(
        "  echo:
    order: specificity
    routes:
      - {{matches: [{{headers: [{one}]}}], clusters: [{{name: echo-v1}}]}}
      - {{matches: [{{headers: [{two}]}}], clusters: [{{name: echo-v2}}]}}
      - {{matches: [{{headers: [{two}, {orange}]}}], clusters: [{{name: echo-v1}}]}}
      - matches: [{{headers: [{blue}]}}, {{headers: [{green}]}}]
        clusters: [{{name: echo-v1}}]
      - matches: [{{headers: [{red}]}}, {{headers: [{yellow}]}}]
        clusters: [{{name: echo-v2}}]
",
        one = h("version", "one"),
        two = h("version", "two"),
        orange = h("color", "orange"),
        blue = h("color", "blue"),
        green = h("color", "green"),
        red = h("color", "red"),
        yellow = h("color", "yellow"),
    );
    let world = world(&services).await;
    let cases: [(&[(&str, &str)], &str); 11] = [
        (&[("Version", "one")], "echo-v1"),
        (&[("Version", "two")], "echo-v2"),
        (&[("Version", "two"), ("Color", "orange")], "echo-v1"),
        (&[("Version", "two"), ("Color", "blue")], "echo-v2"),
        (&[("Color", "orange")], "404"),
        (&[("Some-Other-Header", "one")], "404"),
        (&[("Color", "blue")], "echo-v1"),
        (&[("Color", "green")], "echo-v1"),
        (&[("Color", "red")], "echo-v2"),
        (&[("Color", "yellow")], "echo-v2"),
        (&[("Color", "purple")], "404"),
    ];
    for (headers, expected) in cases {
        assert_eq!(world.backend(get("/", headers)).await, expected, "{headers:?}");
    }
}

// HTTPRouteMatchingAcrossRoutes: two routes share a host, and the better match of both takes the request.
#[tokio::test]
async fn across_routes_of_hosts() {
    let world = world(
        "  echo:
    order: specificity
    routes:
      - hosts: [example.com, example.net]
        matches: [{path: {prefix: /}}, {headers: [{name: version, matcher: {exact: one}}]}]
        clusters: [{name: echo-v1}]
      - hosts: [example.com]
        matches: [{path: {prefix: /v2}}, {headers: [{name: version, matcher: {exact: two}}]}]
        clusters: [{name: echo-v2}]
",
    )
    .await;
    for (host, path, version, expected) in [
        ("example.com", "/", None, "echo-v1"),
        ("example.com", "/example", None, "echo-v1"),
        ("example.net", "/example", None, "echo-v1"),
        ("example.com", "/example", Some("one"), "echo-v1"),
        ("example.com", "/v2", None, "echo-v2"),
        // The second is not for this host.
        ("example.net", "/v2", None, "echo-v1"),
        ("example.com", "/v2/example", None, "echo-v2"),
        ("example.com", "/", Some("two"), "echo-v2"),
        ("example.net", "/", Some("two"), "echo-v1"),
        ("example.org", "/", None, "404"),
    ] {
        let headers: Vec<_> =
            version.map(|it| ("version", it)).into_iter().chain([("host", host)]).collect();
        assert_eq!(world.backend(get(path, &headers)).await, expected, "{host}{path} {version:?}");
    }
}

// HTTPRoutePathMatchOrder, HTTPRouteExactPathMatching.
#[tokio::test]
async fn the_order_of_paths() {
    let world = world(
        "  echo:
    order: specificity
    routes:
      - matches: [{path: {exact: /match/exact/one}}, {path: {prefix: /match}}]
        clusters: [{name: echo-v3}]
      - matches: [{path: {exact: /match/exact}}, {path: {prefix: /match/prefix/one}}]
        clusters: [{name: echo-v2}]
      - matches: [{path: {exact: /match}}, {path: {prefix: /match/prefix/}}]
        clusters: [{name: echo-v1}]
",
    )
    .await;
    for (path, expected) in [
        ("/match/exact/one", "echo-v3"),
        ("/match/exact", "echo-v2"),
        ("/match", "echo-v1"),
        ("/match/prefix/one/any", "echo-v2"),
        ("/match/prefix/any", "echo-v1"),
        ("/match/any", "echo-v3"),
        ("/else", "404"),
    ] {
        assert_eq!(world.backend(get(path, &[])).await, expected, "{path}");
    }
}

// MeshHTTPRouteNamedRule: a name changes nothing.
#[tokio::test]
async fn named_rules() {
    let world = world(
        "  echo:
    order: specificity
    routes:
      - {name: named-rule, matches: [{path: {prefix: /named}}], clusters: [{name: echo-v1}]}
      - {matches: [{path: {prefix: /unnamed}}], clusters: [{name: echo-v2}]}
",
    )
    .await;
    assert_eq!(world.backend(get("/named", &[])).await, "echo-v1");
    assert_eq!(world.backend(get("/unnamed", &[])).await, "echo-v2");
}

// GRPCRouteHeaderMatching. Where the suite's gateway says `UNIMPLEMENTED`, a client says `UNAVAILABLE`.
#[tokio::test]
async fn grpc_headers() {
    let rule = |headers: &[(&str, &str)]| {
        let headers = headers
            .iter()
            .map(|(name, value)| format!("{{name: {name}, matcher: {{exact: {value}}}}}"));
        format!("{{grpc: {{}}, headers: [{}]}}", headers.collect::<Vec<_>>().join(", "))
    };
    let route = |matches: &[String], backend: &str| {
        let matches = matches.join(", ");
        format!("      - {{matches: [{matches}], clusters: [{{name: {backend}}}]}}\n")
    };
    let services = [
        "  echo:\n    order: specificity\n    routes:\n".to_owned(),
        route(&[rule(&[("version", "one")])], "echo-v1"),
        route(&[rule(&[("version", "two")])], "echo-v2"),
        route(&[rule(&[("version", "two"), ("color", "orange")])], "echo-v1"),
        route(&[rule(&[("color", "blue")]), rule(&[("color", "green")])], "echo-v1"),
        route(&[rule(&[("color", "red")]), rule(&[("color", "yellow")])], "echo-v2"),
    ]
    .concat();
    let world = world(&services).await;
    let cases: [(&[(&str, &str)], Option<&str>); 11] = [
        (&[("version", "one")], Some("echo-v1")),
        (&[("version", "two")], Some("echo-v2")),
        (&[("version", "two"), ("color", "orange")], Some("echo-v1")),
        (&[("version", "two"), ("color", "blue")], Some("echo-v2")),
        (&[("color", "orange")], None),
        (&[("some-other-header", "one")], None),
        (&[("color", "blue")], Some("echo-v1")),
        (&[("color", "green")], Some("echo-v1")),
        (&[("color", "red")], Some("echo-v2")),
        (&[("color", "yellow")], Some("echo-v2")),
        (&[("color", "purple")], None),
    ];
    for (headers, expected) in cases {
        let seen = world.ask(grpc("/echo.GrpcEcho/Echo", headers)).await.unwrap();
        let status = seen.answered("grpc-status").unwrap();
        match expected {
            Some(backend) => {
                assert_eq!((seen.backend(), &*status), (backend.to_owned(), "0"), "{headers:?}");
            }
            None => assert_eq!(status, "14", "{headers:?}"),
        }
    }
}

// GRPCRouteExactMethodMatching, and a header beside it.
#[tokio::test]
async fn grpc_services_methods_and_headers() {
    let world = world(
        "  echo:
    order: specificity
    routes:
      - matches: [{grpc: {service: {exact: echo.GrpcEcho}, method: {exact: Echo}}}]
        clusters: [{name: echo-v1}]
      - matches: [{grpc: {service: {exact: echo.GrpcEcho}, method: {exact: EchoTwo}}}]
        clusters: [{name: echo-v2}]
      - matches: [{grpc: {}, headers: [{name: version, matcher: {exact: three}}]}]
        clusters: [{name: echo-v3}]
",
    )
    .await;
    for (path, version, expected) in [
        ("/echo.GrpcEcho/Echo", None, Some("echo-v1")),
        ("/echo.GrpcEcho/EchoTwo", None, Some("echo-v2")),
        ("/echo.GrpcEcho/EchoThree", None, None),
        ("/echo.GrpcEcho/EchoThree", Some("three"), Some("echo-v3")),
        ("/echo.GrpcEcho/Echo", Some("three"), Some("echo-v1")),
    ] {
        let headers: Vec<_> = version.map(|version| ("version", version)).into_iter().collect();
        let seen = world.ask(grpc(path, &headers)).await.unwrap();
        let status = seen.answered("grpc-status").unwrap();
        match expected {
            Some(backend) => assert_eq!((seen.backend(), &*status), (backend.to_owned(), "0")),
            // No route: a status, since it is a gRPC caller.
            None => assert_eq!(status, "14", "{path}"),
        }
    }
    assert_eq!(world.backend(with("POST", "/echo.GrpcEcho/Echo", &[])).await, "404");
}

// MeshConsumerRoute: a route of the consumers' namespace is for callers of that namespace alone.
#[tokio::test]
async fn a_consumers_route_is_for_its_own_namespace() {
    let services = r"  echo:
    routes:
      - matches: [{caller: {namespace: gateway-conformance-mesh-consumer}}]
        clusters: [{name: echo-v1}]
        filters: [{response_headers: {set: {x-header-set: set}}}]
      - {clusters: [{name: echo-v1}]}
";
    for (namespace, expected) in
        [("gateway-conformance-mesh-consumer", Some("set")), ("gateway-conformance-mesh", None)]
    {
        let world = world_of("namespace", namespace, services).await;
        let seen = world.ask(get("/", &[])).await.unwrap();
        assert_eq!(seen.backend(), "echo-v1");
        let header = seen.head.headers().get("x-header-set");
        assert_eq!(header.map(|it| it.to_str().unwrap()), expected, "{namespace}");
    }
}

// What Gateway API does not say: hosts in a list, callers by their labels, cookies, shares, schemes.
#[tokio::test]
async fn the_rest_of_what_a_rule_can_ask_for() {
    let world = world(
        r#"  echo:
    routes:
      - {hosts: ["*.example.org"], clusters: [{name: echo-v3}]}
      - {matches: [{caller: {app: batch}}], clusters: [{name: dead}]}
      - {matches: [{fraction: {percent: 0}}], clusters: [{name: dead}]}
      - {matches: [{scheme: https}], clusters: [{name: dead}]}
      - {matches: [{cookies: [{name: tier, matcher: {regex: "gold|silver"}}]}], clusters: [{name: echo-v2}]}
      - {matches: [{caller: {app: web}, path: {template: "/users/{id}"}}], clusters: [{name: echo-v2}]}
      - {matches: [{headers: [{name: n, matcher: {range: {start: 1, end: 5}}}]}], clusters: [{name: echo-v2}]}
      - {clusters: [{name: echo-v1}]}
"#,
    )
    .await;
    let cases: [(&str, &[(&str, &str)], &str); 8] = [
        ("/", &[], "echo-v1"),
        ("/", &[("host", "a.example.org:8080")], "echo-v3"),
        ("/", &[("host", "example.org")], "echo-v1"),
        ("/", &[("cookie", "a=b; tier=gold")], "echo-v2"),
        ("/", &[("cookie", "tier=golden")], "echo-v1"),
        ("/users/7", &[], "echo-v2"),
        ("/users/7/orders", &[], "echo-v1"),
        ("/", &[("n", "4")], "echo-v2"),
    ];
    for (path, headers, expected) in cases {
        assert_eq!(world.backend(get(path, headers)).await, expected, "{path} {headers:?}");
    }
    let description = world.mesh.describe().to_string();
    assert!(description.contains("of host *.example.org"), "{description}");
    assert!(description.contains("cookie tier matches gold|silver"), "{description}");
}

/// Browsers send back what any script has set, in any bytes.
#[tokio::test]
async fn a_browsers_cookie_in_other_bytes_hides_none_of_the_others() {
    let world = world(
        "  echo:
    routes:
      - matches: [{cookies: [{name: tier, matcher: {exact: gold}}]}]
        clusters: [{name: echo-v1}]
      - matches: [{cookies: [{name: name, matcher: {exact: Jos\u{e9}}}]}]
        clusters: [{name: echo-v2}]
      - {clusters: [{name: echo-v3}]}
",
    )
    .await;
    for (line, backend) in [
        (&b"name=Jos\xc3\xa9; tier=gold"[..], "echo-v1"),
        (b"tier=gold; name=Jos\xe9", "echo-v1"),
        (b"name=Jos\xc3\xa9", "echo-v2"),
        (b"name=Jos\xe9", "echo-v3"),
    ] {
        let mut request = get("/", &[]);
        request.headers_mut().insert("cookie", http::HeaderValue::from_bytes(line).unwrap());
        assert_eq!(world.backend(request).await, backend, "{line:?}");
    }
}
