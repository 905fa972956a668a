//! Clusters that DNS fills: real calls, by names of a real server whose addresses change.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{net::SocketAddr, time::Duration};

use tower_mesh::{
    ErrorKind, Mesh, SettingOrigin,
    config::{Cluster, Discovery, DnsDiscovery, DnsKind},
    discover::{
        Static,
        dns::{Dns, Kubernetes, Lookup},
    },
};

use crate::{
    callers::{in_turn, until, who},
    support::{Recorder, Server, fetch, get, patience, server::full, zone::Zone},
};

/// Three servers at one port of three addresses.
async fn three() -> Vec<Server> {
    let first =
        Server::start_at("127.0.0.1:0".parse().unwrap(), |_| async { crate::support::reply("1") });
    let first = first.await;
    let mut servers = vec![first];
    for (last, name) in [(2, "2"), (3, "3")] {
        let address = SocketAddr::from(([127, 0, 0, last], servers[0].socket().port()));
        servers.push(
            Server::start_at(address, move |_| async move { crate::support::reply(name) }).await,
        );
    }
    servers
}

#[tokio::test]
async fn an_answer_that_shrinks_to_nothing_keeps_traffic_flowing_until_the_stale_limit() {
    let servers = three().await;
    let zone = Zone::serve("users.test.").await;
    zone.set("users.test.", "A", 1, &["127.0.0.1", "127.0.0.2", "127.0.0.3"]).await;
    let port = servers[0].socket().port();
    let dns = Dns::servers([zone.address])
        .stale_limit(Duration::from_secs(3))
        .service("users", format!("dns:///users.test.:{port}"));
    let mesh = in_turn(Mesh::builder().source(dns));
    let mut events = Recorder::of(&mesh);
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    assert_eq!(who(&client, 60).await.len(), 3);
    zone.set("users.test.", "A", 1, &[]).await;
    let emptied = tokio::time::Instant::now();
    events.until(|event| matches!(event, tower_mesh::Event::ConfigRefused { .. })).await;
    let refused = events.refused();
    assert!(refused[0].starts_with("endpoints of cluster users: DNS: users.test."), "{refused:?}");
    assert!(refused[0].ends_with("the last good answer stays"), "{refused:?}");
    assert!(mesh.ready().await.is_err(), "what DNS says now is reported");
    while emptied.elapsed() < Duration::from_millis(1500) {
        assert_eq!(who(&client, 30).await.len(), 3);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Then it is believed.
    let error = patience(async {
        loop {
            match fetch(&client, get("/")).await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => return error,
            }
        }
    })
    .await;
    let lasted = emptied.elapsed();
    assert_eq!(error.kind(), ErrorKind::NoEndpoints);
    assert!(error.to_string().contains("users.test. has no address"), "{error}");
    assert!((3.0..12.0).contains(&lasted.as_secs_f64()), "{lasted:?}");
    // And it comes back.
    zone.set("users.test.", "A", 1, &["127.0.0.2"]).await;
    patience(async {
        while fetch(&client, get("/")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    mesh.ready().await.unwrap();
}

#[tokio::test]
async fn a_host_of_two_families_is_one_endpoint_and_the_family_that_answers_is_used() {
    let server = Server::named("both").await;
    let zone = Zone::serve("users.test.").await;
    zone.set("users.test.", "A", 60, &["127.0.0.1"]).await;
    // Nobody is there: it is a documentation address.
    zone.set("users.test.", "AAAA", 60, &["2001:db8::1"]).await;
    let port = server.socket().port();
    let dns = Dns::servers([zone.address]).service("users", format!("dns:///users.test.:{port}"));
    let mesh = Mesh::builder().source(dns).build().unwrap();
    mesh.ready().await.unwrap();
    assert_eq!(who(&mesh.client("users").unwrap(), 20).await["both"], 20);
    let description = mesh.describe();
    let cluster = &description.services[0].routes[0].clusters[0];
    assert_eq!(cluster.endpoints.len(), 1, "{description}");
    assert!(cluster.endpoints[0].starts_with("[2001:db8::1]"), "{description}");
}

#[tokio::test]
async fn an_address_that_has_left_is_called_no_more_though_its_endpoint_is_still_there() {
    let servers = three().await;
    let zone = Zone::serve("users.test.").await;
    // Nobody is at those of IPv6, and which belongs to which host DNS does not say: they are paired in
    // order, and the hosts are not.
    zone.set("users.test.", "A", 1, &["127.0.0.1", "127.0.0.2"]).await;
    zone.set("users.test.", "AAAA", 1, &["2001:db8::1", "2001:db8::2"]).await;
    let port = servers[0].socket().port();
    let dns = Dns::servers([zone.address]).service("users", format!("dns:///users.test.:{port}"));
    let mesh = in_turn(Mesh::builder().source(dns));
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    until(&client, &["1", "2"]).await;
    zone.set("users.test.", "A", 1, &["127.0.0.2"]).await;
    zone.set("users.test.", "AAAA", 1, &["2001:db8::1"]).await;
    until(&client, &["2"]).await;
    let description = mesh.describe();
    let cluster = &description.services[0].routes[0].clusters[0];
    assert_eq!(cluster.endpoints.len(), 1, "{description}");
    assert!(cluster.endpoints[0].starts_with("[2001:db8::1]"), "{description}");
    assert_eq!(who(&client, 40).await["2"], 40);
}

/// Whether this machine has IPv6 at all.
async fn has_ipv6() -> bool {
    tokio::net::TcpListener::bind("[::1]:0").await.is_ok()
}

#[tokio::test]
async fn a_host_of_ipv6_alone_is_called() {
    if !has_ipv6().await {
        return;
    }
    let server =
        Server::start_at("[::1]:0".parse().unwrap(), |_| async { crate::support::reply("six") });
    let server = server.await;
    let zone = Zone::serve("users.test.").await;
    zone.set("users.test.", "AAAA", 60, &["::1"]).await;
    let port = server.socket().port();
    let dns = Dns::servers([zone.address]).service("users", format!("dns:///users.test.:{port}"));
    let mesh = Mesh::builder().source(dns).build().unwrap();
    mesh.ready().await.unwrap();
    assert_eq!(who(&mesh.client("users").unwrap(), 20).await["six"], 20);
    let description = mesh.describe();
    let cluster = &description.services[0].routes[0].clusters[0];
    assert!(cluster.endpoints[0].starts_with("[::1]"), "{description}");
}

#[tokio::test]
async fn a_family_that_hangs_costs_a_quarter_of_a_second_once() {
    if !has_ipv6().await {
        return;
    }
    let server = Server::named("four").await;
    let port = server.socket().port();
    // The same port of IPv6 answers no connection attempt.
    let (_, _full) = full(format!("[::1]:{port}").parse().unwrap()).await;
    let zone = Zone::serve("users.test.").await;
    zone.set("users.test.", "A", 60, &["127.0.0.1"]).await;
    zone.set("users.test.", "AAAA", 60, &["::1"]).await;
    let dns = Dns::servers([zone.address]).service("users", format!("dns:///users.test.:{port}"));
    let mesh = Mesh::builder().source(dns).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(who(&client, 1).await["four"], 1);
    let took = began.elapsed().as_millis();
    //= RFC 8305 §5: the connection attempt delay, 250 ms
    assert!((245..5000).contains(&took), "{took} ms");
    let began = tokio::time::Instant::now();
    assert_eq!(who(&client, 20).await["four"], 20);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn aliases_search_domains_and_answers_over_512_bytes() {
    let servers = three().await;
    let port = servers[0].socket().port();
    let zone = Zone::serve("prod.test.").await;
    let many: Vec<String> = (1..=200).map(|n| format!("127.0.0.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    zone.set("pods.prod.test.", "A", 60, &many).await;
    zone.set("users.prod.test.", "CNAME", 60, &["pods.prod.test."]).await;
    zone.set("one.prod.test.", "A", 60, &["127.0.0.3"]).await;
    let dns = Dns::servers([zone.address])
        .search(["nowhere.prod.test", "prod.test"])
        .ndots(2)
        .service("users", format!("users:{port}"))
        .service("one", format!("dns:///one:{port}"));
    let mesh = Mesh::builder().source(dns).build().unwrap();
    mesh.ready().await.unwrap();
    let of = |name: &str| {
        let description = mesh.describe();
        let service = description.services.iter().find(|it| it.name == name).unwrap();
        service.routes[0].clusters[0].endpoints.len()
    };
    assert_eq!(of("users"), 200, "more than a UDP datagram of 1232 bytes holds");
    assert_eq!(who(&mesh.client("one").unwrap(), 10).await["3"], 10);
}

#[tokio::test]
async fn presets_ask_for_what_their_systems_have() {
    let server = Server::named("pod").await;
    let port = server.socket().port();
    let zone = Zone::serve("cluster.local.").await;
    zone.set("users.prod.svc.cluster.local.", "A", 60, &["127.0.0.1"]).await;
    let srv = "_http._tcp.orders.prod.svc.cluster.local.";
    zone.set(srv, "SRV", 60, &[&format!("0 50 {port} a.users.prod.svc.cluster.local.")]).await;
    zone.set("a.users.prod.svc.cluster.local.", "A", 60, &["127.0.0.1"]).await;
    let dns = Dns::servers([zone.address])
        .service("users", Kubernetes::headless("users", "prod").port(port))
        .service("orders", Kubernetes::headless("orders", "prod").port_name("http"));
    let mesh = Mesh::builder().source(dns).build().unwrap();
    mesh.ready().await.unwrap();
    for name in ["users", "orders"] {
        assert_eq!(who(&mesh.client(name).unwrap(), 5).await["pod"], 5);
    }
}

#[tokio::test]
async fn any_source_may_leave_endpoints_to_dns_and_list_others_beside() {
    let (listed, found) = (Server::named("listed").await, Server::named("found").await);
    let zone = Zone::serve("users.test.").await;
    zone.set("users.test.", "A", 60, &["127.0.0.1"]).await;
    let mut dns = DnsDiscovery::default();
    dns.name = format!("dns://{}/users.test.:{}", zone.address, found.socket().port());
    dns.kind = DnsKind::Logical;
    let mut cluster = Cluster::default();
    cluster.endpoints = vec![listed.address().into()];
    cluster.discovery = Some(Discovery::Dns(dns));
    let mesh = in_turn(Mesh::builder().source(Static::default().cluster("users", cluster)));
    mesh.ready().await.unwrap();
    until(&mesh.client("users").unwrap(), &["found", "listed"]).await;
}

#[cfg(feature = "tls-aws-lc-rs")]
#[tokio::test]
async fn what_dns_finds_does_not_make_plaintext_of_an_endpoint_that_is_listed_as_secured() {
    let ca = crate::support::Ca::new("ca");
    let server = crate::support::Tls::new(ca.issue(&["users"])).start().await;
    let zone = Zone::serve("users.test.").await;
    zone.set("users.test.", "A", 60, &["127.0.0.1"]).await;
    let mut dns = DnsDiscovery::default();
    dns.name = format!("dns://{}/users.test.:{}", zone.address, server.socket().port());
    let mut secured = tower_mesh::config::Endpoint::new(server.address());
    secured.security = Some(tower_mesh::config::Security::Tls(Box::default()));
    let mut cluster = Cluster::default();
    cluster.endpoints = vec![secured];
    cluster.discovery = Some(Discovery::Dns(dns));
    let builder = Mesh::builder().trust(tower_mesh::security::Trust::pem(ca.pem()));
    let mesh = in_turn(builder.source(Static::default().cluster("users", cluster)));
    mesh.ready().await.unwrap();
    let answer = patience(fetch(&mesh.client("users").unwrap(), get("/"))).await;
    assert!(server.in_clear().is_empty());
    assert!(answer.is_ok());
}

#[cfg(feature = "file")]
#[tokio::test]
async fn the_mesh_file_says_it_too_and_may_change_its_mind() {
    let (a, b) = (Server::named("a").await, Server::named("b").await);
    let zone = Zone::serve("users.test.").await;
    zone.set("users.test.", "A", 60, &["127.0.0.1"]).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let by_dns = |server: &Server| {
        format!(
            "clusters:\n  users:\n    discovery:\n      dns:\n        name: dns:///users.test.:{}\n        resolvers: [\"{}\"]\n        stale_limit: 5m\n",
            server.socket().port(),
            zone.address
        )
    };
    let write = |text: String| {
        let next = dir.path().join("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(&next, &path).unwrap();
    };
    write(by_dns(&a));
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    until(&client, &["a"]).await;
    let text = mesh.describe().to_string();
    let limit = format!("discovery.dns.stale_limit = 300s (file {})", path.display());
    assert!(text.contains(&limit), "{text}");
    assert!(text.contains("discovery.dns.refresh = 60s (default)"), "{text}");
    assert!(text.contains("last good answer: "), "{text}");
    // Another name, then a list, then DNS again.
    write(by_dns(&b));
    until(&client, &["b"]).await;
    write(format!("clusters:\n  users:\n    endpoints: [{{address: \"{}\"}}]\n", a.socket()));
    until(&client, &["a"]).await;
    assert!(!mesh.describe().to_string().contains("discovery.dns"));
    write(by_dns(&b));
    until(&client, &["b"]).await;
    // And gone.
    write("clusters: {}\n".into());
    patience(async {
        while fetch(&client, get("/")).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(fetch(&client, get("/")).await.unwrap_err().kind(), ErrorKind::UnknownService);
}

#[tokio::test]
async fn a_name_that_cannot_be_one_is_refused_and_fails_its_calls() {
    let mesh = Mesh::builder()
        .source(Dns::servers(["127.0.0.1:1".parse().unwrap()]).service("users", "dns:///a b:80"))
        .build()
        .unwrap();
    let error = mesh.ready().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("`a b` is not a label"), "{error}");
    let error = mesh.client("users").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
}

#[tokio::test]
async fn a_lookup_that_hangs_makes_nobody_else_wait() {
    let silent = crate::support::rogue::Rogue::start(|_| Vec::new()).await;
    let zone = Zone::serve("users.test.").await;
    let mesh = Mesh::builder()
        .source(Dns::servers([silent.address]).service("hangs", "hangs.test."))
        .source(Dns::servers([zone.address]).service("empty", "empty.users.test."))
        .source(Static::default().endpoints("listed", Vec::<SocketAddr>::new()))
        .build()
        .unwrap();
    let hangs = mesh.client("hangs").unwrap();
    let waiting = tokio::spawn(async move { fetch(&hangs, get("/")).await });
    let start = tokio::time::Instant::now();
    for name in ["empty", "listed"] {
        let error = patience(fetch(&mesh.client(name).unwrap(), get("/"))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoEndpoints, "{error}");
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(!waiting.is_finished(), "its own calls wait for it");
    let error = patience(waiting).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoEndpoints, "{error}");
}

#[tokio::test]
async fn settings_of_dns_are_described_with_their_origin() {
    let zone = Zone::serve("users.test.").await;
    zone.set("users.test.", "A", 60, &["127.0.0.1"]).await;
    let lookup = Lookup::new("users.test.").refresh(Duration::from_secs(7));
    let dns = Dns::servers([zone.address]).service("users", lookup);
    let mesh = Mesh::builder().source(dns).build().unwrap();
    mesh.ready().await.unwrap();
    let description = mesh.describe();
    let cluster = &description.services[0].routes[0].clusters[0];
    let setting = |name: &str| cluster.settings.iter().find(|it| it.name == name).unwrap();
    let refresh = setting("discovery.dns.refresh");
    assert_eq!((refresh.value.as_str(), refresh.origin), ("7s", SettingOrigin::ControlPlane));
    assert_eq!(refresh.source.as_deref(), Some(&*format!("dns {}", zone.address)));
    assert_eq!(setting("discovery.dns.jitter").origin, SettingOrigin::Default);
    let metrics = mesh.prometheus();
    let age = metrics.lines().find(|line| line.starts_with("mesh_client_discovery_age"));
    assert!(metrics.contains("mesh_cluster=\"users\""), "{age:?}");
    assert!(cluster.answer_age.is_some_and(|age| age < Duration::from_secs(5)));
    assert_eq!(cluster.trouble, None);
}
