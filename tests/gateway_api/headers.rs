//! Edits of the headers of requests and responses.

use crate::echo::{World, get, grpc, world};

/// The suite's filters, in the mesh file's words.
const FILTERS: [(&str, &str); 5] = [
    ("set", "set: {X-Header-Set: set-overwrites-values}"),
    ("add", "add: [{name: X-Header-Add, value: add-appends-values}]"),
    ("remove", "remove: [X-Header-Remove]"),
    (
        "multiple",
        "set: {X-Header-Set-1: header-set-1, X-Header-Set-2: header-set-2}, \
         add: [{name: X-Header-Add-1, value: header-add-1}, \
         {name: X-Header-Add-2, value: header-add-2}, {name: X-Header-Add-3, value: header-add-3}], \
         remove: [X-Header-Remove-1, X-Header-Remove-2]",
    ),
    (
        "case-insensitivity",
        "set: {X-Header-Set: header-set}, add: [{name: X-Header-Add, value: header-add}], \
         remove: [X-Header-Remove]",
    ),
];

/// What is sent, what must be there then, and what must not: the same for requests and responses.
type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
);

const CASES: [Case; 7] = [
    (
        "set",
        &[("Some-Other-Header", "val")],
        &[("Some-Other-Header", "val"), ("X-Header-Set", "set-overwrites-values")],
        &[],
    ),
    (
        "set",
        &[("Some-Other-Header", "val"), ("X-Header-Set", "some-other-value")],
        &[("Some-Other-Header", "val"), ("X-Header-Set", "set-overwrites-values")],
        &[],
    ),
    (
        "add",
        &[("Some-Other-Header", "val")],
        &[("Some-Other-Header", "val"), ("X-Header-Add", "add-appends-values")],
        &[],
    ),
    (
        "add",
        &[("Some-Other-Header", "val"), ("X-Header-Add", "some-other-value")],
        &[("Some-Other-Header", "val"), ("X-Header-Add", "some-other-value,add-appends-values")],
        &[],
    ),
    ("remove", &[("X-Header-Remove", "val")], &[], &["X-Header-Remove"]),
    (
        "multiple",
        &[
            ("X-Header-Set-2", "set-val-2"),
            ("X-Header-Add-2", "add-val-2"),
            ("X-Header-Remove-2", "remove-val-2"),
            ("Another-Header", "another-header-val"),
        ],
        &[
            ("X-Header-Set-1", "header-set-1"),
            ("X-Header-Set-2", "header-set-2"),
            ("X-Header-Add-1", "header-add-1"),
            ("X-Header-Add-2", "add-val-2,header-add-2"),
            ("X-Header-Add-3", "header-add-3"),
            ("Another-Header", "another-header-val"),
        ],
        &["X-Header-Remove-1", "X-Header-Remove-2"],
    ),
    (
        "case-insensitivity",
        &[
            ("x-header-set", "original-val-set"),
            ("x-header-add", "original-val-add"),
            ("x-header-remove", "original-val-remove"),
            ("Another-Header", "another-header-val"),
        ],
        &[
            ("X-Header-Set", "header-set"),
            ("X-Header-Add", "original-val-add,header-add"),
            ("Another-Header", "another-header-val"),
        ],
        &["x-header-remove"],
    ),
];

/// A route for each of the filters, of this kind; `backend` has it on the cluster of the route.
async fn edited(kind: &str, on_backend: bool, is_grpc: bool) -> World {
    let mut services = "  echo:\n    order: specificity\n    routes:\n".to_owned();
    for (name, filter) in FILTERS {
        let rule = if is_grpc {
            format!("{{grpc: {{}}, headers: [{{name: x-test-case, matcher: {{exact: {name}}}}}]}}")
        } else {
            format!("{{path: {{prefix: /{name}}}}}")
        };
        let filters = format!("filters: [{{{kind}: {{{filter}}}}}]");
        services += &format!("      - matches: [{rule}]\n");
        services += &if on_backend {
            format!("        clusters: [{{name: echo-v1, {filters}}}]\n")
        } else {
            format!("        clusters: [{{name: echo-v1}}]\n        {filters}\n")
        };
    }
    world(&services).await
}

async fn check_requests(world: &World) {
    for (name, sent, expected, absent) in CASES {
        let seen = world.ask(get(&format!("/{name}"), sent)).await.unwrap();
        assert_eq!((seen.backend(), seen.path()), ("echo-v1".to_owned(), &*format!("/{name}")));
        for (header, value) in expected {
            assert_eq!(seen.header(header), Some(*value), "{name}: {header}");
        }
        for header in absent {
            assert_eq!(seen.header(header), None, "{name}: {header}");
        }
    }
}

// MeshHTTPRouteRequestHeaderModifier.
#[tokio::test]
async fn of_requests() {
    check_requests(&edited("request_headers", false, false).await).await;
}

// MeshHTTPRouteBackendRequestHeaderModifier.
#[tokio::test]
async fn of_requests_to_one_backend() {
    check_requests(&edited("request_headers", true, false).await).await;
}

// MeshGRPCRouteRequestHeaderModifier: by a header, not by the path.
#[tokio::test]
async fn of_grpc_requests() {
    let world = edited("request_headers", false, true).await;
    for (name, sent, expected, absent) in CASES {
        let mut sent = sent.to_vec();
        sent.push(("x-test-case", name));
        let seen = world.ask(grpc("/echo.GrpcEcho/Echo", &sent)).await.unwrap();
        assert_eq!(seen.backend(), "echo-v1");
        for (header, value) in expected {
            assert_eq!(seen.header(header), Some(*value), "{name}: {header}");
        }
        for header in absent {
            assert_eq!(seen.header(header), None, "{name}: {header}");
        }
    }
}

// HTTPRouteResponseHeaderModifier, and the same of a backend.
#[tokio::test]
async fn of_responses() {
    for on_backend in [false, true] {
        let world = edited("response_headers", on_backend, false).await;
        for (name, answered, expected, absent) in CASES {
            let asked: Vec<_> =
                answered.iter().map(|(header, value)| format!("{header}:{value}")).collect();
            let asked: Vec<_> = asked.iter().map(|asked| ("x-answer", asked.as_str())).collect();
            let seen = world.ask(get(&format!("/{name}"), &asked)).await.unwrap();
            assert_eq!(seen.backend(), "echo-v1");
            for (header, value) in expected {
                assert_eq!(seen.answered(header).as_deref(), Some(*value), "{name}: {header}");
            }
            for header in absent {
                assert_eq!(seen.answered(header), None, "{name}: {header}");
            }
        }
    }
}

// MeshPorts: a route of one port, and one of every port.
#[tokio::test]
async fn a_route_may_be_of_one_port() {
    let route = |name: &str| {
        format!(
            "    routes:\n      - {{clusters: [{{name: {name}}}], \
             filters: [{{response_headers: {{set: {{x-header-set: v1}}}}}}]}}\n"
        )
    };
    let services = format!(
        "  \"echo:80\":\n{}  \"echo:8080\": {{cluster: echo-v1}}\n  other:\n{}",
        route("echo-v1"),
        route("echo-v2"),
    );
    let world = world(&services).await;
    for (service, expected) in
        [("echo:80", true), ("echo:8080", false), ("other:80", true), ("other:8080", true)]
    {
        let seen = world.call(service, get("/", &[])).await.unwrap();
        assert_eq!(seen.answered("x-header-set").is_some(), expected, "{service}");
    }
}

// The filters of the service, the route and the cluster, in that order; back, the other way round.
#[tokio::test]
async fn filters_of_three_levels() {
    let at = |level: &str| {
        format!(
            "filters: [{{request_headers: {{add: [{{name: x-way, value: {level}}}]}}}}, \
             {{response_headers: {{add: [{{name: x-back, value: {level}}}]}}}}]"
        )
    };
    let services = format!(
        "  echo:\n    {}\n    routes:\n      - clusters: [{{name: echo-v1, {}}}]\n        {}\n",
        at("service"),
        at("cluster"),
        at("route"),
    );
    let world = world(&services).await;
    let seen = world.ask(get("/", &[])).await.unwrap();
    assert_eq!(seen.header("x-way"), Some("service,route,cluster"));
    assert_eq!(seen.answered("x-back").as_deref(), Some("cluster,route,service"));
    let description = world.mesh.describe();
    let echo = description.services.iter().find(|service| service.name == "echo").unwrap();
    let told = ["request_headers", "response_headers", "request_headers", "response_headers"];
    assert_eq!(echo.routes[0].filters, told);
    assert!(description.to_string().contains("filters request_headers, "), "{description}");
}
