//! Calls do not wait for what is compiled.

use std::time::Duration;

use http::Request;

use super::mesh;
use crate::{Body, ErrorKind, config};

/// The state of a mesh is held while a change is compiled, which takes its time where regexes do.
#[tokio::test]
async fn a_call_that_finds_no_endpoint_does_not_wait_for_what_is_being_compiled() {
    let (mesh, publish) = mesh().await;
    publish.cluster("empty", config::Cluster::default()).unwrap();
    let mut service = config::Service::default();
    for (path, cluster) in [("/empty", "empty"), ("/unknown", "unknown")] {
        let mut route = config::Route::default();
        let mut rule = config::Match::default();
        rule.path = config::PathMatch::Exact(path.into()).into();
        route.matches = vec![rule];
        route.clusters = vec![config::WeightedCluster::new(cluster)];
        service.routes.push(route);
    }
    publish.service("users", service).unwrap();
    publish.synced();
    let client = mesh.client("users").unwrap();
    drop(mesh.loaded().await);
    let state = mesh.inner.state();
    for (path, text) in [
        ("/empty", "cluster empty has no endpoints"),
        ("/unknown", "no source defines cluster unknown"),
    ] {
        let client = client.clone();
        let request = Request::get(path).body(Body::empty()).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            drop(tell.send(runtime.unwrap().block_on(client.send(request))));
        });
        let error = told.recv_timeout(Duration::from_secs(10)).expect("it waits").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoEndpoints, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
    drop(state);
}
