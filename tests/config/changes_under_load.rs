//! Endpoints and settings that change again and again while calls go on: none is lost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{future::Future, time::Duration};

use futures_util::StreamExt;
use tower_mesh::{
    Client, ErrorKind, Mesh, Publisher,
    config::{Address, Balancer, Breakers, Cluster, Service},
};

use crate::support::{
    GreeterClient, HelloReply, HelloRequest, Leaves, Server, VERSIONS, cluster, failures, fetch,
    get, greeters::counting, h2, leaf::ok, over, patience, post, published, reply, storm,
};

/// Makes calls of both protocols, so many, while `edit` is called with 0, 1, 2, … ; what failed.
async fn calls_during(client: &Client, total: usize, edit: impl Fn(usize)) -> Vec<String> {
    let edits = async {
        for n in 0.. {
            edit(n);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let calls = storm(16, total, |n| {
        let request = if n % 3 == 0 { post("/", "x") } else { get("/") };
        let call = fetch(client, over(VERSIONS[n % 2], request));
        async move { tokio::spawn(call).await.unwrap() }
    });
    tokio::select! {
        answers = patience(calls) => failures(&answers),
        () = edits => unreachable!(),
    }
}

async fn users(server: &Server) -> (Mesh, Publisher) {
    let address = server.address();
    published(Mesh::builder(), |publish| publish.cluster("users", cluster([address])).unwrap())
        .await
}

/// A cluster whose connections are idle for another time than those of the number before.
fn idle_after(addresses: impl IntoIterator<Item = Address>, n: usize) -> Cluster {
    let mut cluster = cluster(addresses);
    cluster.transport.idle_timeout = Some(Duration::from_secs(60 + n as u64 % 2));
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_endpoint_is_replaced_again_and_again() {
    let servers = [Server::named("one").await, Server::named("two").await];
    let (mesh, publish) = users(&servers[0]).await;
    let client = mesh.client("users").unwrap();
    let failed = calls_during(&client, 3000, |n| {
        publish.endpoints("users", [servers[n % 2].address()]).unwrap();
    })
    .await;
    assert_eq!(failed, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_a_cluster_change_again_and_again() {
    let server = Server::named("hello").await;
    let (mesh, publish) = users(&server).await;
    let client = mesh.client("users").unwrap();
    let failed = calls_during(&client, 3000, |n| {
        let mut cluster = cluster([server.address()]);
        let mut breakers = Breakers::default();
        breakers.max_requests = Some(10_000 + u32::try_from(n % 2).unwrap());
        cluster.breakers = Some(breakers);
        publish.cluster("users", cluster).unwrap();
    })
    .await;
    assert_eq!(failed, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_connections_change_again_and_again() {
    let server = Server::named("hello").await;
    let (mesh, publish) = users(&server).await;
    let client = mesh.client("users").unwrap();
    let failed = calls_during(&client, 3000, |n| {
        publish.cluster("users", idle_after([server.address()], n)).unwrap();
    })
    .await;
    assert_eq!(failed, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_pick_while_such_settings_change_finds_an_endpoint() {
    let leaves = Leaves::new(2);
    let addresses = leaves.addresses();
    let builder = leaves.leaves(Mesh::builder(), |_, _| async { Ok(ok("hello")) });
    let (mesh, publish) = published(builder, |publish| {
        publish.cluster("users", cluster(leaves.addresses())).unwrap();
    })
    .await;
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let client = mesh.client("users").unwrap();
            tokio::spawn(async move { storm(1, 20_000, |_| fetch(&client, get("/"))).await })
        })
        .collect();
    let edits = tokio::spawn(async move {
        for n in 1.. {
            publish.cluster("users", idle_after(addresses.clone(), n)).unwrap();
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
    });
    for caller in callers {
        assert_eq!(failures(&patience(caller).await.unwrap()), [""; 0]);
    }
    edits.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_switched_between_clusters() {
    let (blue, green) = (Server::named("blue").await, Server::named("green").await);
    let service = |name: &str| {
        let mut service = Service::default();
        service.cluster = Some(name.into());
        service
    };
    let (mesh, publish) = published(Mesh::builder(), |publish| {
        publish.cluster("blue", cluster([blue.address()])).unwrap();
        publish.cluster("green", cluster([green.address()])).unwrap();
        publish.service("users", service("blue")).unwrap();
    })
    .await;
    let client = mesh.client("users").unwrap();
    let failed = calls_during(&client, 2000, |n| {
        publish.service("users", service(["green", "blue"][n % 2])).unwrap();
    })
    .await;
    assert_eq!(failed, [""; 0]);
    assert!(blue.requests() > 0 && green.requests() > 0);
}

#[tokio::test]
async fn a_live_stream_outlives_a_change_of_settings_and_its_cluster() {
    let stream = || {
        futures_util::stream::iter(0..10)
            .then(|_| async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(HelloReply::default())
            })
            .boxed()
    };
    let server = Server::grpc(counting(stream)).await;
    let (mesh, publish) = users(&server).await;
    let mut greeter = GreeterClient::new(mesh.client("users").unwrap());
    let mut stream = greeter.count(HelloRequest::default()).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    let mut other = cluster([server.address()]);
    other.balancer = Some(Balancer::RoundRobin);
    publish.cluster("users", other).unwrap();
    tokio::time::sleep(Duration::from_millis(40)).await;
    publish.remove_cluster("users");
    let mut messages = 1;
    while patience(stream.message()).await.unwrap().is_some() {
        messages += 1;
    }
    assert_eq!(messages, 10);
    let error = fetch(&mesh.http(), h2("http://users/")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownService);
}

/// Two calls in flight under a limit of two; then `change`, and one more call, which is refused.
async fn one_too_many<Fut>(
    first: impl FnOnce(&Publisher, Address),
    change: impl FnOnce(Publisher, Address) -> Fut,
) where
    Fut: Future<Output = ()>,
{
    let server = Server::start(|_| async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        reply("hello")
    })
    .await;
    let address = server.address();
    let (mesh, publish) =
        published(Mesh::builder(), |publish| first(publish, address.clone())).await;
    let client = mesh.client("users").unwrap();
    let _flight: Vec<_> = (0..2).map(|_| tokio::spawn(fetch(&client, get("/")))).collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    change(publish, address).await;
    let error = patience(fetch(&client, get("/"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
}

#[tokio::test]
async fn a_breaker_does_not_forget_its_calls_when_another_setting_changes() {
    let cluster = |address, connections| {
        let mut cluster = cluster([address]);
        let mut breakers = Breakers::default();
        breakers.max_requests = Some(2);
        cluster.breakers = Some(breakers);
        cluster.transport.http1_max_connections = Some(connections);
        cluster
    };
    one_too_many(
        |publish, address| publish.cluster("users", cluster(address, 10)).unwrap(),
        |publish, address| async move { publish.cluster("users", cluster(address, 11)).unwrap() },
    )
    .await;
}

#[tokio::test]
async fn a_limit_does_not_forget_its_calls_when_its_number_changes() {
    let service = |calls| {
        let mut service = Service::default();
        service.policy.max_requests = Some(calls);
        service
    };
    one_too_many(
        |publish, address| {
            publish.endpoints("users", [address]).unwrap();
            publish.service("users", service(3)).unwrap();
        },
        |publish, _| async move { publish.service("users", service(2)).unwrap() },
    )
    .await;
}
