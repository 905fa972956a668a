//! DNS as a source: one without a name is for those that no source defines; settings that change.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{net::SocketAddr, pin::pin, time::Duration};

use futures_util::FutureExt;
use tower_mesh::{
    ErrorKind, Mesh, MeshBuilder, Phase, SettingOrigin, UnknownNames,
    config::{Cluster, Discovery, DnsDiscovery},
    discover::dns::{Dns, Kubernetes},
};

use crate::support::{Server, fetch, get, patience, published, rogue::Rogue, zone::Zone};

/// A zone in which `users.test.` and `a.users.test.` are this machine.
async fn zone() -> Zone {
    let zone = Zone::serve("users.test.").await;
    for name in ["users.test.", "a.users.test."] {
        zone.set(name, "A", 60, &["127.0.0.1"]).await;
    }
    zone
}

/// Why no mesh is built.
fn refused(builder: MeshBuilder) -> String {
    let error = builder.build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_source_without_a_name_is_for_those_that_no_source_defines() {
    let (server, zone) = (Server::named("a").await, zone().await);
    let port = server.socket().port();
    // The servers and search domains are those of the source.
    let dns = Dns::servers([zone.address]).search(["users.test"]).refresh(Duration::from_secs(7));
    let source = format!("dns {}", zone.address);
    for builder in [Mesh::builder(), Mesh::builder().unknown_names(UnknownNames::Dns)] {
        let mesh = builder.source(dns.clone()).build().unwrap();
        patience(mesh.ready()).await.unwrap();
        let client = mesh.client(&format!("a:{port}")).unwrap();
        assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "a");
        let uri = format!("http://a.users.test:{port}/");
        assert_eq!(patience(fetch(&mesh.http(), get(&uri))).await.unwrap().body(), "a");
        let description = mesh.describe();
        let unknown = description.mesh.iter().find(|it| it.name == "unknown_names").unwrap();
        assert_eq!((unknown.value.as_str(), unknown.source.as_ref()), ("dns", Some(&source)));
        let cluster = &description.services[0].routes[0].clusters[0];
        let refresh = cluster.settings.iter().find(|it| it.name == "discovery.dns.refresh");
        let refresh = refresh.unwrap();
        assert_eq!((refresh.value.as_str(), refresh.origin), ("7s", SettingOrigin::ControlPlane));
        assert_eq!(refresh.source.as_ref(), Some(&source));
    }
}

#[tokio::test]
async fn by_https_such_a_name_proves_itself_to_the_systems_roots() {
    let (server, zone) = (Server::named("plain").await, zone().await);
    let mesh = Mesh::builder().source(Dns::servers([zone.address])).build().unwrap();
    let uri = format!("https://a.users.test:{}/", server.socket().port());
    let error = patience(fetch(&mesh.http(), get(&uri))).await.unwrap_err();
    assert_eq!(error.phase(), Phase::Tls, "{error}");
    assert!(server.connections() > 0 && server.requests() == 0);
    assert!(mesh.describe().to_string().contains("security.system_roots = true"));
}

#[tokio::test]
async fn it_is_not_asked_for_what_another_source_defines_or_tried_to() {
    let (server, zone) = (Server::named("a").await, zone().await);
    let other = Rogue::start(|_| Vec::new()).await;
    let port = server.socket().port();
    let named = Dns::servers([zone.address])
        .service("users.test", format!("dns:///users.test.:{port}"))
        .service("bad.test", "dns:///a b:80");
    let mesh = Mesh::builder().source(named).source(Dns::servers([other.address])).build().unwrap();
    assert!(patience(mesh.ready()).await.unwrap_err().to_string().contains("bad.test"));
    let get_of = |name: &str| get(&format!("http://{name}/"));
    let answer = patience(fetch(&mesh.http(), get_of("users.test"))).await.unwrap();
    assert_eq!(answer.body(), "a");
    let error = patience(fetch(&mesh.http(), get_of("bad.test"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert_eq!(other.asked(), Vec::<String>::new());
    // What nobody defines is asked of the other one.
    let client = mesh.client("orders.test").unwrap();
    let mut call = pin!(fetch(&client, get("/")));
    assert!((&mut call).now_or_never().is_none());
    patience(async {
        while !other.asked().iter().any(|asked| asked.ends_with("orders.test. A")) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn it_is_asked_for_nothing_while_another_source_is_lost() {
    let other = Rogue::start(|_| Vec::new()).await;
    let builder = Mesh::builder().source(Dns::servers([other.address]));
    let (mesh, publisher) = published(builder, |_| ()).await;
    publisher.refused("held by the test", "it cannot be read");
    let error = patience(fetch(&mesh.http(), get("http://orders.test/"))).await.unwrap_err();
    assert!(error.to_string().contains("it cannot be read"), "{error}");
    assert_eq!(other.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn sources_without_a_name_that_contradict_something_are_refused() {
    let server: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let both = || Mesh::builder().source(Dns::system());
    let text = refused(both().source(Dns::servers([server])));
    assert!(text.contains("`dns` and source `dns 127.0.0.1:1` (numbers 1 and 2)"), "{text}");
    let text = refused(both().source(Dns::system().ndots(2)));
    assert!(text.contains("(numbers 1 and 2)"), "{text}");
    let text = refused(both().unknown_names(UnknownNames::Refuse));
    assert!(text.contains("source `dns`") && text.contains("UnknownNames::Refuse"), "{text}");
    let text = refused(Mesh::builder().source(Dns::system().ndots(16)));
    assert!(text.contains("ndots") && text.contains("must be in 0..=15"), "{text}");
    // The same twice is no contradiction, nor are names of its own.
    assert!(both().source(Dns::system()).build().is_ok());
    let named = Dns::servers([server]).service("users", Kubernetes::headless("users", "prod"));
    assert!(both().source(named.clone()).build().is_ok());
    let mesh = Mesh::builder().source(named).unknown_names(UnknownNames::Refuse).build().unwrap();
    let error = patience(fetch(&mesh.http(), get("http://other.test/"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownService, "{error}");
}

#[tokio::test]
async fn who_waits_for_a_first_answer_goes_on_to_when_the_settings_change() {
    let (server, zone) = (Server::named("a").await, zone().await);
    let silent = Rogue::start(|_| Vec::new()).await;
    let asking = |address: SocketAddr| {
        let mut dns = DnsDiscovery::default();
        dns.name = format!("dns:///users.test.:{}", server.socket().port());
        dns.resolvers = vec![address.into()];
        let mut cluster = Cluster::default();
        cluster.discovery = Some(Discovery::Dns(dns));
        cluster
    };
    let (mesh, publisher) = published(Mesh::builder(), |_| ()).await;
    publisher.cluster("users", asking(silent.address)).unwrap();
    let client = mesh.client("users").unwrap();
    let (mut call, mut ready) = (pin!(fetch(&client, get("/"))), pin!(mesh.ready()));
    assert!((&mut call).now_or_never().is_none() && (&mut ready).now_or_never().is_none());
    publisher.cluster("users", asking(zone.address)).unwrap();
    assert!((&mut ready).now_or_never().is_none(), "nothing has come yet");
    assert_eq!(patience(call).await.unwrap().body(), "a");
    patience(ready).await.unwrap();
    // Settings that change later take no call their endpoints, and are not waited for.
    publisher.cluster("users", asking(silent.address)).unwrap();
    assert!(mesh.ready().now_or_never().is_some());
    assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "a");
    // Where none is asked any more, nobody waits for it.
    publisher.cluster("orders", asking(silent.address)).unwrap();
    assert!(mesh.ready().now_or_never().is_none());
    publisher.remove_cluster("orders");
    assert!(mesh.ready().now_or_never().is_some());
}
