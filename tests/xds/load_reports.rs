//! The load of clusters is reported to the control plane that they came from (LRS).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{collections::BTreeMap, time::Duration};

use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{CircuitBreakers, Cluster, circuit_breakers::Thresholds, cluster},
            core::v3::{
                Address, AggregatedConfigSource, ConfigSource, Locality, SelfConfigSource,
                SocketAddress, address, config_source::ConfigSourceSpecifier, socket_address,
            },
            endpoint::v3::{
                ClusterLoadAssignment, ClusterStats, Endpoint, LbEndpoint, LocalityLbEndpoints,
                UpstreamLocalityStats,
                cluster_load_assignment::{Policy, policy::DropOverload},
                lb_endpoint,
            },
        },
        service::load_stats::v3::LoadStatsRequest,
        r#type::v3::{FractionalPercent, fractional_percent::DenominatorType},
    },
    google::protobuf::UInt32Value,
};
use http::StatusCode;
use prost::Message as _;
use tower_mesh::{
    Mesh,
    control::xds::{Bootstrap, Server as Plane, Xds},
    testing::xds::{AdsServer, CDS, EDS, LoadReport, LoadsAsked, Resource},
};

use crate::support::{Server, fetch, get, patience, reply, status, storm};

/// A server that does what the path says.
async fn server() -> Server {
    Server::start(|request| async move {
        match request.uri().path() {
            "/fail" => status(StatusCode::INTERNAL_SERVER_ERROR),
            "/hang" => std::future::pending().await,
            _ => {
                let mut reply = reply("ok");
                let report = "TEXT cpu_utilization:0.5,named_metrics.queue:3,named_metrics.rest:1";
                reply.headers_mut().insert("endpoint-load-metrics", report.parse().unwrap());
                reply
            }
        }
    })
    .await
}

const EVERY: Duration = Duration::from_millis(150);

/// A cluster whose load is reported, with these metrics.
fn cluster(name: &str, service: &str, metrics: &[&str]) -> Resource {
    let ads = ConfigSourceSpecifier::Ads(AggregatedConfigSource::default());
    let own = ConfigSourceSpecifier::Self_(SelfConfigSource::default());
    let of = |specifier| ConfigSource {
        config_source_specifier: Some(specifier),
        ..ConfigSource::default()
    };
    let cluster = Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(cluster::ClusterDiscoveryType::Type(
            cluster::DiscoveryType::Eds.into(),
        )),
        eds_cluster_config: Some(cluster::EdsClusterConfig {
            eds_config: Some(of(ads)),
            service_name: service.to_owned(),
        }),
        lrs_server: Some(of(own)),
        lrs_report_endpoint_metrics: metrics.iter().map(|&it| it.to_owned()).collect(),
        circuit_breakers: Some(CircuitBreakers {
            thresholds: vec![Thresholds {
                max_requests: Some(UInt32Value { value: 2 }),
                ..Thresholds::default()
            }],
            ..CircuitBreakers::default()
        }),
        ..Cluster::default()
    };
    Resource::encoded(CDS, name, cluster.encode_to_vec())
}

/// Endpoints by zone; so much of the calls is dropped.
fn endpoints(name: &str, zones: &[(&str, &Server)], drop_percent: u32) -> Resource {
    let endpoint = |server: &Server| {
        let socket = SocketAddress {
            address: server.socket().ip().to_string(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(
                server.socket().port().into(),
            )),
            ..SocketAddress::default()
        };
        let address = Address { address: Some(address::Address::SocketAddress(socket)) };
        let endpoint = Endpoint { address: Some(address), ..Endpoint::default() };
        LbEndpoint {
            host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(endpoint)),
            ..LbEndpoint::default()
        }
    };
    let assignment = ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: zones
            .iter()
            .map(|(zone, server)| LocalityLbEndpoints {
                locality: Some(Locality {
                    region: "eu".to_owned(),
                    zone: (*zone).to_owned(),
                    sub_zone: String::new(),
                }),
                load_balancing_weight: Some(UInt32Value { value: 1 }),
                lb_endpoints: vec![endpoint(server)],
                ..LocalityLbEndpoints::default()
            })
            .collect(),
        policy: Some(Policy {
            drop_overloads: (drop_percent > 0)
                .then(|| DropOverload {
                    category: "lb".to_owned(),
                    drop_percentage: Some(FractionalPercent {
                        numerator: drop_percent,
                        denominator: DenominatorType::Hundred.into(),
                    }),
                })
                .into_iter()
                .collect(),
            ..Policy::default()
        }),
        ..ClusterLoadAssignment::default()
    };
    Resource::encoded(EDS, name, assignment.encode_to_vec())
}

/// A plane whose service `users` is the cluster `c`.
async fn plane(resources: [Resource; 2]) -> AdsServer {
    let plane = AdsServer::start().await.unwrap();
    plane.set([Resource::listener("users", "r"), Resource::routes("r", [("users", "c")])]);
    plane.set(resources);
    plane
}

fn mesh(plane: &AdsServer, node: &str) -> Mesh {
    let server = Plane::insecure(plane.uri());
    let bootstrap = Bootstrap::builder().node_id(node).server(server).build().unwrap();
    Mesh::builder().source(Xds::new(bootstrap)).build().unwrap()
}

fn decoded(report: &LoadReport) -> Vec<ClusterStats> {
    LoadStatsRequest::decode(report.message.as_slice()).unwrap().cluster_stats
}

/// All that was told, by cluster.
fn stats(plane: &AdsServer) -> Vec<ClusterStats> {
    plane.load_reports().iter().flat_map(decoded).collect()
}

/// Sums over all reports of a cluster, by zone: issued, ok, failed.
fn sums(plane: &AdsServer, cluster: &str) -> BTreeMap<String, (u64, u64, u64)> {
    let mut sums = BTreeMap::new();
    for stats in stats(plane).iter().filter(|it| it.cluster_name == cluster) {
        for of in &stats.upstream_locality_stats {
            let sum: &mut (u64, u64, u64) =
                sums.entry(of.locality.as_ref().unwrap().zone.clone()).or_default();
            sum.0 += of.total_issued_requests;
            sum.1 += of.total_successful_requests;
            sum.2 += of.total_error_requests;
        }
    }
    sums
}

fn total(plane: &AdsServer, cluster: &str) -> (u64, u64, u64) {
    let all = sums(plane, cluster).into_values();
    all.fold((0, 0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1, sum.2 + one.2))
}

fn localities(plane: &AdsServer) -> Vec<UpstreamLocalityStats> {
    stats(plane).into_iter().flat_map(|it| it.upstream_locality_stats).collect()
}

async fn until(plane: &AdsServer, is_so: impl Fn(&AdsServer) -> bool) {
    for _ in 0..1000 {
        if is_so(plane) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:#?}", stats(plane));
}

#[tokio::test]
async fn what_was_called_where_and_how_it_ended_is_told() {
    let (a, b) = (server().await, server().await);
    let plane = AdsServer::start().await.unwrap();
    plane.set([
        Resource::listener("users", "r"),
        Resource::routes("r", [("users", "users-cluster")]),
        cluster("users-cluster", "users-endpoints", &[]),
        endpoints("users-endpoints", &[("z1", &a), ("z2", &b)], 0),
    ]);
    plane.ask_loads(LoadsAsked::all(EVERY).per_endpoint(true));
    let mesh = mesh(&plane, "lrs-1");
    let client = mesh.client("users").unwrap();
    for _ in 0..20 {
        patience(fetch(&client, get("/"))).await.unwrap();
    }
    for _ in 0..20 {
        assert_eq!(patience(fetch(&client, get("/fail"))).await.unwrap().status(), 500);
    }
    until(&plane, |plane| total(plane, "users-cluster").0 >= 40).await;

    // Who asks is told once, first, with nothing else.
    let reports = plane.load_reports();
    assert_eq!(reports[0].node.as_deref(), Some("lrs-1"));
    let can = &reports[0].client_features;
    assert!(can.iter().any(|it| it == "envoy.lrs.supports_send_all_clusters"), "{can:?}");
    assert!(decoded(&reports[0]).is_empty());
    assert!(reports[1..].iter().all(|it| it.node.is_none() && it.stream == 1));

    let sums = sums(&plane, "users-cluster");
    let (one, two) = (sums["z1"], sums["z2"]);
    assert!(one.0 > 0 && two.0 > 0, "{sums:?}");
    assert_eq!((one.0, two.0), (one.1 + one.2, two.1 + two.2), "{sums:?}");
    assert_eq!(total(&plane, "users-cluster"), (40, 20, 20));
    // No metric was asked for.
    assert!(localities(&plane).iter().all(|it| it.load_metric_stats.is_empty()));
    assert!(localities(&plane).iter().all(|it| it.cpu_utilization.is_none()));
    for stats in stats(&plane) {
        assert_eq!(&*stats.cluster_service_name, "users-endpoints");
        let interval = stats.load_report_interval.unwrap();
        assert!(interval.seconds > 0 || interval.nanos >= 100_000_000, "{interval:?}");
        for locality in &stats.upstream_locality_stats {
            let [endpoint] = locality.upstream_endpoint_stats.as_slice() else { panic!() };
            assert_eq!(endpoint.total_issued_requests, locality.total_issued_requests);
            let address = endpoint.address.clone().unwrap().address.unwrap();
            let address::Address::SocketAddress(socket) = address else { panic!() };
            let port = socket_address::PortSpecifier::PortValue(a.socket().port().into());
            let zone = &locality.locality.as_ref().unwrap().zone;
            assert_eq!(socket.port_specifier == Some(port), zone == "z1");
        }
    }

    // Nothing is said while nothing happens, after a word that says so.
    tokio::time::sleep(2 * EVERY).await;
    let count = plane.load_reports().len();
    tokio::time::sleep(4 * EVERY).await;
    assert!(plane.load_reports().len() <= count + 1);
    drop(mesh);
}

#[tokio::test]
async fn what_is_in_progress_is_told_as_long_as_it_is() {
    let a = server().await;
    let plane = plane([cluster("c", "", &[]), endpoints("c", &[("z1", &a)], 0)]).await;
    plane.ask_loads(LoadsAsked::all(EVERY));
    let mesh = mesh(&plane, "lrs-2");
    let client = mesh.client("users").unwrap();
    patience(fetch(&client, get("/"))).await.unwrap();
    let calls: Vec<_> = (0..2)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { drop(fetch(&client, get("/hang")).await) })
        })
        .collect();
    until(&plane, |plane| localities(plane).iter().any(|it| it.total_requests_in_progress == 2))
        .await;
    // A third is over the limit of the cluster: dropped, without a category.
    let third = patience(fetch(&client, get("/"))).await;
    assert!(third.is_err());
    until(&plane, |plane| stats(plane).iter().any(|it| it.total_dropped_requests == 1)).await;
    assert!(stats(&plane).iter().all(|it| it.dropped_requests.is_empty()));
    // The first one and the two that hang; what is dropped is not issued.
    assert_eq!(total(&plane, "c"), (3, 1, 0));
    for call in calls {
        call.abort();
    }
    drop(mesh);
}

#[tokio::test]
async fn what_endpoints_say_of_themselves_is_passed_on_as_the_cluster_says() {
    let a = server().await;
    let plane = plane([
        cluster("c", "", &["cpu_utilization", "named_metrics.queue", "mem_utilization"]),
        endpoints("c", &[("z1", &a)], 0),
    ])
    .await;
    plane.ask_loads(LoadsAsked::all(EVERY).per_endpoint(true));
    let mesh = mesh(&plane, "lrs-orca");
    let client = mesh.client("users").unwrap();
    for _ in 0..4 {
        patience(fetch(&client, get("/"))).await.unwrap();
    }
    until(&plane, |plane| total(plane, "c").1 == 4).await;
    let (mut cpu, mut queue) = ((0, 0.0), (0, 0.0));
    for of in localities(&plane) {
        assert!(of.mem_utilization.is_none());
        if let Some(it) = of.cpu_utilization {
            cpu.0 += it.num_requests_finished_with_metric;
            cpu.1 += it.total_metric_value;
        }
        for it in &of.load_metric_stats {
            assert_eq!(it.metric_name, "named_metrics.queue");
            queue.0 += it.num_requests_finished_with_metric;
            queue.1 += it.total_metric_value;
        }
        let [endpoint] = of.upstream_endpoint_stats.as_slice() else { panic!("{of:?}") };
        let names: Vec<&str> =
            endpoint.load_metric_stats.iter().map(|it| it.metric_name.as_str()).collect();
        assert!(names.is_empty() || names == ["cpu_utilization", "named_metrics.queue"]);
    }
    assert_eq!((cpu, queue), ((4, 2.0), (4, 12.0)));
    drop(mesh);
}

#[tokio::test]
async fn drops_are_told_by_category() {
    let a = server().await;
    let plane = plane([cluster("c", "", &[]), endpoints("c", &[("z1", &a)], 100)]).await;
    plane.ask_loads(LoadsAsked::all(EVERY));
    let mesh = mesh(&plane, "lrs-drops");
    let client = mesh.client("users").unwrap();
    let answers = storm(2, 10, |_| fetch(&client, get("/"))).await;
    assert!(answers.iter().all(Result::is_err));
    until(&plane, |plane| {
        stats(plane).iter().map(|it| it.total_dropped_requests).sum::<u64>() == 10
    })
    .await;
    let by_category = stats(&plane).into_iter().flat_map(|it| it.dropped_requests);
    let counts: Vec<_> = by_category.map(|it| (it.category, it.dropped_count)).collect();
    assert!(counts.iter().all(|(category, _)| category == "lb"), "{counts:?}");
    assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), 10);
    assert!(localities(&plane).is_empty());
    drop(mesh);
}

#[tokio::test]
async fn only_what_the_server_asks_for_is_told_and_only_of_what_says_so() {
    let a = server().await;
    let plane = AdsServer::start().await.unwrap();
    let chain = |name: &str, of: Resource| {
        [
            Resource::listener(name, format!("{name}-routes")),
            Resource::routes(format!("{name}-routes"), [(name, name)]),
            of,
            endpoints(name, &[("z1", &a)], 0),
        ]
    };
    plane.set(
        [
            chain("one", cluster("one", "", &[])),
            chain("two", cluster("two", "", &[])),
            chain("quiet", Resource::cluster("quiet")),
        ]
        .into_iter()
        .flatten(),
    );
    plane.ask_loads(LoadsAsked::of(["one", "quiet", "nobody"], EVERY));
    let mesh = mesh(&plane, "lrs-asked");
    for name in ["one", "two", "quiet"] {
        let client = mesh.client(name).unwrap();
        for _ in 0..3 {
            patience(fetch(&client, get("/"))).await.unwrap();
        }
    }
    until(&plane, |plane| total(plane, "one").0 == 3).await;
    tokio::time::sleep(2 * EVERY).await;
    let told: Vec<String> = stats(&plane).into_iter().map(|it| it.cluster_name).collect();
    assert!(told.iter().all(|name| name == "one"), "{told:?}");
    // Another wish on the same stream: what was counted meanwhile is told then.
    plane.ask_loads(LoadsAsked::of(["two"], EVERY));
    until(&plane, |plane| total(plane, "two").0 == 3).await;
    assert_eq!((total(&plane, "one").0, plane.load_streams()), (3, 1));
    drop(mesh);
}

/// As one of tens of thousands of clusters does: what gRPC's libraries read by themselves are 4 MiB.
#[tokio::test]
async fn a_server_is_heard_that_asks_for_more_clusters_than_fit_4_mib() {
    let a = server().await;
    let plane = plane([cluster("c", "", &[]), endpoints("c", &[("z1", &a)], 0)]).await;
    let others = (0..60).map(|number| format!("{number}-{}", "x".repeat(100_000)));
    plane.ask_loads(LoadsAsked::of(others.chain(["c".to_owned()]), EVERY));
    let mesh = mesh(&plane, "lrs-large");
    let client = mesh.client("users").unwrap();
    patience(fetch(&client, get("/"))).await.unwrap();
    until(&plane, |plane| total(plane, "c").0 == 1).await;
    assert_eq!(plane.load_reports().iter().map(|it| it.stream).max(), Some(1));
    drop(mesh);
}

#[tokio::test]
async fn without_such_a_cluster_no_stream_is_opened() {
    let a = server().await;
    let plane = AdsServer::start().await.unwrap();
    plane.set(Resource::chain("users", [a.socket()]));
    plane.ask_loads(LoadsAsked::all(EVERY));
    let mesh = mesh(&plane, "lrs-none");
    let client = mesh.client("users").unwrap();
    patience(fetch(&client, get("/"))).await.unwrap();
    tokio::time::sleep(2 * EVERY).await;
    assert!(plane.load_reports().is_empty() && plane.load_streams() == 0);
    drop(mesh);
}

#[tokio::test]
async fn a_stream_that_ends_is_begun_again_and_nothing_is_lost() {
    let a = server().await;
    let plane = plane([cluster("c", "", &[]), endpoints("c", &[("z1", &a)], 0)]).await;
    plane.refuse_loads(Some((14, "not yet")));
    plane.ask_loads(LoadsAsked::all(EVERY));
    let mesh = mesh(&plane, "lrs-again");
    let client = mesh.client("users").unwrap();
    for _ in 0..5 {
        patience(fetch(&client, get("/"))).await.unwrap();
    }
    tokio::time::sleep(2 * EVERY).await;
    assert!(plane.load_reports().is_empty());
    plane.refuse_loads(None);
    until(&plane, |plane| total(plane, "c").0 == 5).await;
    plane.cut_loads(0, "");
    for _ in 0..5 {
        patience(fetch(&client, get("/"))).await.unwrap();
    }
    until(&plane, |plane| total(plane, "c").0 == 10).await;
    let greetings = plane.load_reports().into_iter().filter(|it| it.node.is_some());
    assert_eq!(greetings.map(|it| it.stream).collect::<Vec<_>>(), [1, 2]);
    drop(mesh);
}

#[tokio::test]
async fn the_end_of_the_mesh_waits_for_the_last_report() {
    let a = server().await;
    let plane = plane([cluster("c", "", &[]), endpoints("c", &[("z1", &a)], 0)]).await;
    plane.ask_loads(LoadsAsked::all(Duration::from_secs(3600)));
    let mesh = mesh(&plane, "lrs-end");
    let client = mesh.client("users").unwrap();
    until(&plane, |plane| plane.load_streams() == 1).await;
    for _ in 0..7 {
        patience(fetch(&client, get("/"))).await.unwrap();
    }
    assert_eq!(total(&plane, "c").0, 0);
    patience(mesh.shutdown(Duration::from_secs(1))).await;
    assert_eq!(total(&plane, "c"), (7, 7, 0));
    until(&plane, |plane| plane.load_streams() == 0).await;
}

#[tokio::test]
async fn endpoints_that_leave_take_nothing_with_them_and_meshes_are_told_of_together() {
    let (a, b) = (server().await, server().await);
    let plane = plane([cluster("c", "", &[]), endpoints("c", &[("z1", &a)], 0)]).await;
    plane.ask_loads(LoadsAsked::all(4 * EVERY));
    let meshes = [mesh(&plane, "lrs-left"), mesh(&plane, "lrs-left")];
    let clients = [meshes[0].client("users").unwrap(), meshes[1].client("users").unwrap()];
    for client in &clients {
        patience(fetch(client, get("/"))).await.unwrap();
    }
    until(&plane, |plane| total(plane, "c").0 == 2).await;
    for client in &clients {
        for _ in 0..3 {
            patience(fetch(client, get("/"))).await.unwrap();
        }
    }
    plane.set([endpoints("c", &[("z2", &b)], 0)]);
    plane.until(|plane| plane.acks(EDS).len() == 2).await;
    for client in &clients {
        patience(fetch(client, get("/"))).await.unwrap();
    }
    until(&plane, |plane| total(plane, "c").0 == 10).await;
    assert_eq!(
        sums(&plane, "c"),
        BTreeMap::from([("z1".to_owned(), (8, 8, 0)), ("z2".to_owned(), (2, 2, 0)),])
    );
    assert_eq!(plane.load_streams(), 1);
    drop(meshes);
}
