//! Behind a call layer each route has its own timeout.

use std::{pin::Pin, time::Duration};

use super::{super::Mesh, address};
use crate::{
    Body, config,
    discover::{Discover, Publisher},
};

/// A mesh with a call layer that does nothing, and a leaf that takes as long as its route allows.
fn layered(service: config::Service) -> Mesh {
    let leaf = |request: http::Request<Body>| async move {
        let is_long = request.headers()["x-route"] == "long";
        tokio::time::sleep(Duration::from_millis(if is_long { 1000 } else { 1 })).await;
        Ok::<_, crate::BoxError>(http::Response::new(Body::empty()))
    };
    Mesh::builder()
        .endpoints("users", [address()])
        .source(Said(service))
        .call_layer(tower::layer::layer_fn(|next| next))
        .leaf(move |_: &crate::LeafEndpoint| tower::service_fn(leaf))
        .seed(7)
        .build()
        .unwrap()
}

/// A source of one service.
struct Said(config::Service);

impl Discover for Said {
    fn name(&self) -> String {
        "said".into()
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            publish.service("users", self.0).unwrap();
            publish.synced();
            std::future::pending::<()>().await;
        })
    }
}

/// A route with a timeout that marks its requests.
fn marked(name: &str, timeout: Duration) -> config::Route {
    let mut route = config::Route::default();
    route.clusters = vec![config::WeightedCluster::new("users")];
    route.policy.timeout = Some(timeout);
    let mut edit = config::HeaderEdit::default();
    edit.set.insert("x-route".into(), name.into());
    route.filters = vec![config::Filter::RequestHeaders(edit)];
    route
}

async fn all_are_in_time(mesh: Mesh) {
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    for _ in 0..50 {
        client.send(http::Request::get("/x").body(Body::empty()).unwrap()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn behind_a_call_layer_a_share_has_the_timeout_of_the_route_that_takes_it() {
    let mut half = config::RuntimeFraction::default();
    half.percent = 50.0;
    let mut rule = config::Match::default();
    rule.fraction = Some(half);
    let mut service = config::Service::default();
    service.routes =
        vec![marked("short", Duration::from_millis(10)), marked("long", Duration::from_secs(10))];
    service.routes[0].matches = vec![rule];
    all_are_in_time(layered(service)).await;
}

#[tokio::test(start_paused = true)]
async fn behind_a_call_layer_a_host_has_the_timeout_of_its_route() {
    let mut service = config::Service::default();
    service.routes =
        vec![marked("long", Duration::from_secs(10)), marked("short", Duration::from_millis(10))];
    service.routes[0].hosts = vec!["users".into()];
    all_are_in_time(layered(service)).await;
}
