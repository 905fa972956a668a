//! Endpoints and settings that change while a call is on its way to them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{pin::Pin, time::Duration};

use http::Request;
use tower_mesh::{
    Body, Discover, ErrorKind, Mesh, Publisher,
    config::{
        Address, Balancer, Balancing, Breakers, Cluster, Endpoint, Health, Protocol, Service,
    },
    testing::{EventLog, Fault, Network},
};

use crate::support::{Leaves, SERVICE, cluster, fetch, get, leaf::ok, post, published};

/// Publishes one set of endpoints, and another two hundred milliseconds later.
struct Swap(Address, Address);

impl Discover for Swap {
    fn name(&self) -> String {
        "swap".into()
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            publish.endpoints(SERVICE, [self.0]).unwrap();
            publish.synced();
            tokio::time::sleep(Duration::from_millis(200)).await;
            publish.endpoints(SERVICE, [self.1]).unwrap();
            std::future::pending::<()>().await;
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_connects_to_a_replaced_endpoint_goes_to_its_successor() {
    let network = Network::new();
    let old = network.endpoint("10.0.0.1:80").fault(Fault::Blackhole);
    let new = network.endpoint("10.0.0.2:80");
    let mesh = Mesh::builder()
        .source(Swap(old.address(), new.address()))
        .connect_layer(network)
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    // Begun at the old endpoint, whose connection attempt outlasts it.
    let reply = fetch(&mesh.client(SERVICE).unwrap(), post("/", "once")).await.unwrap();
    assert_eq!(reply.body(), "10.0.0.2:80");
    assert_eq!(new.calls(), 1);
}

/// Publishes a cluster, and once more under another balancer when it is told.
struct Rebalanced(Address, std::sync::Arc<tokio::sync::Notify>);

impl Discover for Rebalanced {
    fn name(&self) -> String {
        "rebalanced".into()
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let mut cluster = Cluster::default();
            cluster.endpoints = vec![self.0.into()];
            publish.cluster(SERVICE, cluster.clone()).unwrap();
            publish.synced();
            self.1.notified().await;
            cluster.balancer = Some(Balancer::RoundRobin);
            publish.cluster(SERVICE, cluster).unwrap();
            std::future::pending::<()>().await;
        })
    }
}

#[tokio::test(start_paused = true)]
async fn another_balancer_keeps_the_connections() {
    let network = Network::new();
    let endpoint = network.endpoint("10.0.0.1:80");
    let change = std::sync::Arc::new(tokio::sync::Notify::new());
    let mesh = Mesh::builder()
        .source(Rebalanced(endpoint.address(), std::sync::Arc::clone(&change)))
        .connect_layer(network)
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client(SERVICE).unwrap();
    let mut events = EventLog::of(&mesh);
    let call = || fetch(&client, Request::get("/").body(Body::empty()).unwrap());
    call().await.unwrap();
    change.notify_one();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(mesh.describe().to_string().contains("round_robin"), "{}", mesh.describe());
    call().await.unwrap();
    assert_eq!(endpoint.connections(), 1);
    let gone = events.count(|event| matches!(event, tower_mesh::Event::EndpointRemoved { .. }));
    assert_eq!(gone, 0);
}

/// A source that hands its publisher out.
struct Own(tokio::sync::oneshot::Sender<Publisher>);

impl Discover for Own {
    fn name(&self) -> String {
        "own".into()
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            publish.synced();
            drop(self.0.send(publish));
        })
    }
}

/// Limits the service, or its cluster, to so many.
fn limit(publish: &Publisher, of_service: bool, max: u32) {
    let mut cluster = Cluster::default();
    cluster.endpoints = vec![Leaves::address(0).into()];
    if of_service {
        let mut service = Service::default();
        service.policy.max_requests = Some(max);
        publish.service(SERVICE, service).unwrap();
    } else {
        let mut breakers = Breakers::default();
        breakers.max_requests = Some(max);
        cluster.breakers = Some(breakers);
        // Another transport, too: new connections, the same count.
        cluster.transport.connect_timeout = Some(Duration::from_secs(u64::from(max)));
    }
    publish.cluster(SERVICE, cluster).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_resized_limit_counts_what_is_in_flight_already() {
    for of_service in [true, false] {
        let (give, take) = tokio::sync::oneshot::channel();
        let answer = |_, _| async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok(ok("late"))
        };
        let mesh =
            Leaves::new(1).leaves(Mesh::builder(), answer).source(Own(give)).build().unwrap();
        let publish = take.await.unwrap();
        limit(&publish, of_service, 2);
        let client = mesh.client(SERVICE).unwrap();
        let call = || {
            let call = client.send(get("/"));
            async {
                let ended = tokio::time::timeout(Duration::from_secs(1), call).await;
                ended.err().map_or("refused", |_| "in flight")
            }
        };
        let held: Vec<_> = (0..2).map(|_| tokio::spawn(client.send(get("/")))).collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        for (max, wanted) in [(2, "refused"), (3, "in flight"), (1, "refused"), (2, "refused")] {
            limit(&publish, of_service, max);
            assert_eq!(call().await, wanted, "of service {of_service}, {max}");
        }
        drop(held);
        let error = client.send(get("/")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_endpoints_closes_connections_where_that_is_asked_for() {
    for (protocol, closes) in
        [(Protocol::Http1, true), (Protocol::Http2, true), (Protocol::Http2, false)]
    {
        let network = Network::new();
        let endpoint = network.endpoint("10.0.0.1:80");
        let other = network.endpoint("10.0.0.2:80");
        let mut members = cluster([endpoint.address()]);
        members.protocol = Some(protocol);
        let mut balancing = Balancing::default();
        balancing.close_on_change = Some(closes);
        members.balancing = Some(balancing);
        let builder = Mesh::builder().connect_layer(network);
        let (mesh, publisher) =
            published(builder, |it| it.cluster(SERVICE, members).unwrap()).await;
        let client = mesh.client(SERVICE).unwrap();
        for _ in 0..3 {
            fetch(&client, get("/")).await.unwrap();
        }
        assert_eq!(endpoint.connections(), 1);
        let mut second = Endpoint::from(other.address());
        second.health = Health::Draining;
        publisher.upsert_endpoints(SERVICE, [second]).unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        for _ in 0..3 {
            fetch(&client, get("/")).await.unwrap();
        }
        assert_eq!(endpoint.connections(), 1 + usize::from(closes), "{protocol:?}, {closes}");
    }
}
