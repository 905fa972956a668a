//! Control planes that mean harm, or have gone mad: what they send costs no more memory than is said in
//! docs/XDS.md, however long they go on, what they are told is short, and calls go on by the last good.
//!
//! The whole process is measured, the control plane included, which remembers nothing longer than a round.
#![cfg(feature = "xds")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod memory;
#[path = "../support/mod.rs"]
mod support;

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use envoy_types::pb::envoy::config::{
    cluster::v3::{Cluster, cluster},
    core::v3::{
        Address, AggregatedConfigSource, ConfigSource, SelfConfigSource, SocketAddress, address,
        config_source::ConfigSourceSpecifier, socket_address,
    },
    endpoint::v3::{ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint},
};
use prost::Message as _;
use tower_mesh::{
    Client, Event, Mesh,
    control::xds::{Bootstrap, Server as Plane, Xds},
    testing::xds::{AdsServer, Answer, CDS, EDS, LDS, LoadsAsked, RDS, Request, Resource},
};

use support::{Recorder, Server, fetch, get, patience};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

const MODES: [bool; 2] = [false, true];
const KIB: i64 = 1024;
const MIB: i64 = 1024 * KIB;
/// What the second half of a storm may leave behind: less than what one in a hundred of its messages would.
const FLAT: i64 = 768 * KIB;

/// One at a time: the memory of the whole process is measured.
fn alone<F: Future<Output = ()>>(case: impl FnOnce() -> F) {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { patience(Box::pin(case())).await });
    drop(runtime);
    drop(alone);
}

/// A mesh that calls `users`, which its plane leads to a server.
struct Bed {
    plane: AdsServer,
    server: Server,
    xds: Xds,
    mesh: Mesh,
    client: Client,
    /// The number of the last good word.
    good: usize,
    /// Why answers were refused so far.
    refused: Vec<String>,
}

impl Bed {
    async fn new(node: &str, delta: bool) -> Self {
        let (plane, server) = (AdsServer::start().await.unwrap(), Server::named("a").await);
        plane.set(Resource::chain("users", [server.socket()]));
        let bootstrap = Bootstrap::builder()
            .server(Plane::insecure(plane.uri()).delta(delta))
            .node_id(format!("{node}-{delta}"))
            .build()
            .unwrap();
        let xds = Xds::new(bootstrap);
        let mesh = Mesh::builder().source(xds.clone()).build().unwrap();
        let client = mesh.client("users").unwrap();
        mesh.ready().await.unwrap();
        let bed = Self { plane, server, xds, mesh, client, good: 0, refused: Vec::new() };
        bed.calls().await;
        bed
    }

    /// Calls succeed.
    async fn calls(&self) {
        for _ in 0..3 {
            let response = fetch(&self.client, get("/")).await.unwrap();
            assert_eq!(&response.body()[..], b"a");
        }
    }

    /// All that was sent has been worked off: something good behind it is accepted.
    async fn settles(&mut self) {
        self.good += 1;
        self.forget();
        let extra = format!("extra-{}.example", self.good);
        let hosts = [("users", "users-cluster"), (&*extra, "users-cluster")];
        self.plane.set([Resource::routes("users-routes", hosts)]);
        self.plane.until(|plane| !plane.acks(RDS).is_empty()).await;
        self.forget();
    }

    /// Of the requests so far, only why answers were refused is kept.
    fn forget(&mut self) {
        let requests = self.plane.requests();
        self.plane.forget_requests();
        self.refused.extend(requests.into_iter().filter_map(|it| it.error));
    }

    /// Why answers about a type were refused since then.
    fn reasons(&self, kind: &str) -> Vec<String> {
        self.plane.nacks(kind).into_iter().filter_map(|it| it.error).collect()
    }

    /// How many names of a type are asked for.
    fn asked(&self, kind: &str) -> usize {
        self.plane.subscriptions(kind).iter().map(std::collections::BTreeSet::len).sum()
    }
}

/// How much more is in use than before, and by the second half of the rounds.
struct Growth {
    from: i64,
    half: i64,
}

impl Growth {
    fn begin() -> Self {
        Self { from: memory::live(), half: 0 }
    }

    fn half(&mut self) {
        self.half = memory::live();
    }

    fn ends(&self, most: i64, flat: i64) {
        let now = memory::live();
        let (all, second) = (now - self.from, now - self.half);
        assert!(all <= most, "{all} bytes more are in use than before, and {most} are allowed");
        assert!(second <= flat, "{second} bytes of {all} are left by the second half");
    }
}

fn socket(address: SocketAddr) -> Address {
    let socket = SocketAddress {
        address: address.ip().to_string(),
        port_specifier: Some(socket_address::PortSpecifier::PortValue(address.port().into())),
        ..SocketAddress::default()
    };
    Address { address: Some(address::Address::SocketAddress(socket)) }
}

/// An assignment of these; one without an address is wrong.
fn assignment(cluster: &str, addresses: &[Option<SocketAddr>]) -> Vec<u8> {
    let endpoint = |address: &Option<SocketAddr>| LbEndpoint {
        host_identifier: address.map(|address| {
            let address = Some(socket(address));
            lb_endpoint::HostIdentifier::Endpoint(Endpoint { address, ..Endpoint::default() })
        }),
        ..LbEndpoint::default()
    };
    let group = LocalityLbEndpoints {
        lb_endpoints: addresses.iter().map(endpoint).collect(),
        ..LocalityLbEndpoints::default()
    };
    let assignment = ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: vec![group],
        ..ClusterLoadAssignment::default()
    };
    assignment.encode_to_vec()
}

/// The same with a field that is not known here, of so many bytes.
fn padded(mut value: Vec<u8>, bytes: usize) -> Vec<u8> {
    prost::encode_length_delimiter((5000 << 3) | 2, &mut value).unwrap();
    prost::encode_length_delimiter(bytes, &mut value).unwrap();
    value.resize(value.len() + bytes, 0xff);
    value
}

fn is_one_line(text: &str) -> bool {
    !text.contains(char::is_control)
}

#[test]
fn a_valid_message_of_100_megabytes_is_read_and_kept_once() {
    alone(|| async {
        let before = memory::live();
        let mut bed = Bed::new("large", false).await;
        bed.settles().await;
        let from = memory::live();
        memory::peak();
        let large = padded(assignment("users-cluster", &[Some(bed.server.socket())]), 100 << 20);
        bed.plane.send(&Answer::new(EDS, "large").resource(Resource::encoded(
            EDS,
            "users-cluster",
            large,
        )));
        let acked = |it: &Request| it.version == "large" && it.is_ack();
        bed.plane.until(|plane| plane.requests_of(EDS).iter().any(acked)).await;
        bed.calls().await;
        let peak = memory::peak() - from;
        // Beside what is kept: the copies of the plane, of its stream, and of ours.
        assert!(peak <= 1024 * MIB, "{peak}");
        bed.plane.set([Resource::endpoints("users-cluster", [bed.server.socket()])]);
        bed.settles().await;
        bed.calls().await;
        // The buffers of the stream go with it.
        bed.plane.drop_connections();
        bed.plane.until(|plane| plane.streams_begun() > 1 && plane.streams() == 1).await;
        bed.settles().await;
        let left = memory::live() - before;
        assert!(left <= 16 * MIB, "{left}");
        bed.calls().await;
    });
}

#[test]
fn what_nobody_asked_for_is_not_kept_whatever_its_type_and_name() {
    alone(|| async {
        for delta in MODES {
            let mut bed = Bed::new("unasked", delta).await;
            bed.settles().await;
            let mut growth = Growth::begin();
            for round in 0..60 {
                let unknown = format!("type.googleapis.com/harm.v{round}.Harm");
                let much = vec![0xff; 512 << 10];
                let resource = Resource::encoded(&*unknown, format!("r{round}"), much);
                bed.plane.send(&Answer::new(unknown, "1").resource(resource));
                let mut answer = Answer::new(EDS, format!("e{round}"));
                for n in 0..8 {
                    let name = format!("nobody-{round}-{n}");
                    let value = padded(assignment(&name, &[None]), 64 << 10);
                    answer = answer.resource(Resource::encoded(EDS, name, value));
                }
                // It has these names in any number.
                for n in 0..500 {
                    answer = answer.removed(format!("gone-{round}-{n}"));
                }
                bed.plane.send(&answer);
                bed.settles().await;
                if round == 30 {
                    growth.half();
                }
            }
            growth.ends(8 * MIB, FLAT);
            bed.calls().await;
            assert_eq!(bed.refused, [""; 0]);
        }
    });
}

#[test]
fn what_is_not_of_its_type_or_badly_named_is_refused_in_a_line_and_the_last_good_stays() {
    alone(|| async {
        let nasty = "\u{0}\nINJECTED\r\u{1b}[2J\u{202e}日本\u{7}";
        for delta in MODES {
            let mut bed = Bed::new("named", delta).await;
            let mut events = Recorder::of(&bed.mesh);
            bed.settles().await;
            bed.plane.wrapped(true);
            let good = assignment("users-cluster", &[Some(bed.server.socket())]);
            let cases = [
                // Of another type, with a name for it.
                (nasty.repeat(1_000), "users-cluster", good.clone(), "its type is"),
                // Another name inside than outside.
                (EDS.to_owned(), "users-cluster", assignment(nasty, &[]), "it is named"),
                (EDS.to_owned(), "users-cluster", assignment("users-cluster", &[None]), "endpoint"),
                // Cut off.
                (EDS.to_owned(), "users-cluster", good[..good.len() - 3].to_vec(), "read"),
            ];
            for (at, (type_url, name, value, reason)) in cases.into_iter().enumerate() {
                bed.plane.forget_requests();
                let resource = Resource::encoded(type_url, name, value);
                bed.plane.send(&Answer::new(EDS, format!("{nasty}{at}")).resource(resource));
                bed.plane.until(|plane| !plane.nacks(EDS).is_empty()).await;
                let why = bed.reasons(EDS).join("; ");
                assert!(why.contains(name) && why.contains(reason), "{reason}: {why}");
                assert!(is_one_line(&why) && why.len() <= 4096, "{why}");
                bed.calls().await;
            }
            // What leads to a thing of such a name is followed, and told on one line.
            let address = [bed.server.socket()];
            bed.plane.set([
                Resource::cluster(nasty),
                Resource::endpoints(nasty, address),
                Resource::routes("users-routes", [("users", nasty)]),
            ]);
            bed.plane.until(|plane| !plane.acks(RDS).is_empty()).await;
            bed.calls().await;
            let told = events.events();
            let lines: Vec<String> = told.iter().map(ToString::to_string).collect();
            assert!(lines.iter().all(|line| is_one_line(line)), "{lines:#?}");
            assert!(told.iter().any(|it| matches!(it, Event::ConfigRefused { .. })), "{lines:#?}");
            let status = bed.xds.status().await.to_json();
            assert!(!status.contains('\u{1b}') && !status.contains('\u{0}'), "{status}");
            assert!(!status.lines().any(|line| line.starts_with("INJECTED")), "{status}");
        }
    });
}

#[test]
fn versions_without_end_leave_nothing_behind() {
    alone(|| async {
        for delta in MODES {
            let mut bed = Bed::new("versions", delta).await;
            let address = bed.server.socket();
            bed.settles().await;
            let mut growth = Growth::begin();
            for round in 0..200_usize {
                // As long as they may be.
                let long = format!("{round}-{}", "v".repeat(16_000));
                let value = padded(assignment("users-cluster", &[Some(address)]), 1 + round);
                let resource = Resource::encoded(EDS, "users-cluster", value);
                bed.plane.send(&Answer::new(EDS, &*long).nonce(&*long).resource(resource));
                bed.plane.until(|plane| !plane.acks(EDS).is_empty()).await;
                bed.plane.forget_requests();
                if round == 100 {
                    growth.half();
                }
            }
            growth.ends(4 * MIB, FLAT);
            bed.calls().await;
            // One that is longer cannot be kept: its stream ends, and nothing else.
            let begun = bed.plane.streams_begun();
            bed.plane.send(&Answer::new(EDS, "1").nonce("n".repeat(1 << 20)));
            bed.plane.until(|plane| plane.streams_begun() > begun && plane.streams() == 1).await;
            bed.settles().await;
            bed.calls().await;
        }
    });
}

#[test]
fn what_is_refused_again_and_again_is_refused_seldom_and_leaves_nothing_behind() {
    alone(|| async {
        for delta in MODES {
            let mut bed = Bed::new("refused", delta).await;
            bed.settles().await;
            // A plane that sends again what was refused, as soon as it is.
            bed.plane.resend_refused(true);
            bed.plane.forget_requests();
            let bad = padded(assignment("users-cluster", &[None]), 64 << 10);
            let bad = Resource::encoded(EDS, "users-cluster", bad);
            bed.plane.set_version("bad", [bad.clone()]);
            tokio::time::sleep(Duration::from_secs(3)).await;
            let reasons = bed.reasons(EDS);
            assert!((1..=6).contains(&reasons.len()), "{} in 3 s", reasons.len());
            bed.plane.resend_refused(false);
            bed.calls().await;

            // And one that waits for nothing: the same, and ever others.
            let mut growth = Growth::begin();
            bed.refused.clear();
            for round in 0..40 {
                let other = padded(assignment("users-cluster", &[None]), (64 << 10) + round);
                let other = Resource::encoded(EDS, "users-cluster", other);
                for _ in 0..8 {
                    bed.plane.send(&Answer::new(EDS, "same").resource(bad.clone()));
                    bed.plane.send(&Answer::new(EDS, "new").resource(other.clone()));
                }
                bed.settles().await;
                if round == 20 {
                    growth.half();
                }
            }
            for reason in bed.refused.iter().chain(&reasons) {
                assert!(
                    reason.contains("`users-cluster`: ") && reason.contains("endpoint"),
                    "{reason}"
                );
                assert!(reason.len() <= 16 << 10, "{}", reason.len());
            }
            growth.ends(8 * MIB, FLAT);
            // 640 answers in a few seconds.
            let refused = bed.refused.len();
            assert!((1..=60).contains(&refused), "{refused}");
            bed.calls().await;
        }
    });
}

#[test]
fn clusters_without_end_come_and_go_and_a_name_that_leads_to_too_many_is_refused() {
    alone(|| async {
        let mut bed = Bed::new("clusters", true).await;
        let address = bed.server.socket();
        let mut growth = Growth::begin();
        for round in 0..400_usize {
            let name = format!("cluster-{round}");
            bed.plane.set([
                Resource::cluster(&*name),
                Resource::endpoints(&*name, [address]),
                Resource::routes("users-routes", [("users", &*name)]),
            ]);
            let is_asked = |plane: &AdsServer| {
                plane.subscriptions(EDS).iter().any(|names| names.contains(&name))
            };
            bed.plane.until(is_asked).await;
            bed.plane.until(|plane| !plane.acks(EDS).is_empty()).await;
            if let Some(old) = round.checked_sub(2) {
                bed.plane.remove(EDS, &format!("cluster-{old}"));
                bed.plane.remove(CDS, &format!("cluster-{old}"));
            }
            bed.plane.forget_requests();
            // By then as many are kept for a while as there may be.
            if round == 260 {
                growth.half();
            }
        }
        bed.calls().await;
        growth.ends(16 * MIB, MIB);
        let asked = (bed.asked(CDS), bed.asked(EDS));
        assert!(asked.0 <= 300 && asked.1 <= 300, "{asked:?}");

        bed.settles().await;
        let many = (0..8_001_u32).map(|n| (format!("many-{n}"), 1));
        bed.plane.set([Resource::split("users-routes", "users", many)]);
        bed.plane.until(|plane| !plane.nacks(RDS).is_empty()).await;
        let why = bed.reasons(RDS).join("; ");
        assert!(why.contains("`users-routes`") && why.contains("8000"), "{why}");
        bed.plane.forget_requests();
        // And to one whose name is as long as a letter.
        let long = "n".repeat(100_000);
        bed.plane.set([Resource::routes("users-routes", [("users", &*long)])]);
        bed.plane.until(|plane| !plane.nacks(RDS).is_empty()).await;
        let why = bed.reasons(RDS).join("; ");
        assert!(why.contains("100000 bytes") && why.len() <= 4096, "{why}");
        assert!(bed.asked(CDS) <= 300, "{}", bed.asked(CDS));
        bed.calls().await;
    });
}

#[test]
fn a_message_or_a_resource_of_millions_of_parts_is_refused_before_it_is_decoded() {
    alone(|| async {
        let mut bed = Bed::new("parts", false).await;
        bed.settles().await;
        let from = memory::live();
        memory::peak();
        // Two bytes each, which decoded take some hundred.
        let mut value = vec![0x0a, 13];
        value.extend(b"users-cluster");
        value.push(0x12);
        prost::encode_length_delimiter(2 * 1_100_000, &mut value).unwrap();
        value.extend([0x12_u8, 0].repeat(1_100_000));
        let resource = Resource::encoded(EDS, "users-cluster", value);
        bed.plane.send(&Answer::new(EDS, "parts").resource(resource));
        bed.plane.until(|plane| !plane.nacks(EDS).is_empty()).await;
        let why = bed.reasons(EDS).join("; ");
        assert!(why.contains("`users-cluster`") && why.contains("1048576"), "{why}");
        let peak = memory::peak() - from;
        assert!(peak <= 128 * MIB, "{peak}");
        bed.calls().await;
        // An answer of more resources than any plane has ends its stream.
        let begun = bed.plane.streams_begun();
        let mut answer = Answer::new(EDS, "many");
        let empty = Resource::encoded("", "", "");
        for _ in 0..262_200 {
            answer = answer.resource(empty.clone());
        }
        bed.plane.send(&answer);
        bed.plane.until(|plane| plane.streams_begun() > begun && plane.streams() == 1).await;
        bed.settles().await;
        bed.calls().await;
    });
}

#[test]
fn a_plane_that_cuts_its_streams_without_end_is_asked_once_a_second() {
    alone(|| async {
        for delta in MODES {
            let bed = Bed::new("cuts", delta).await;
            let mut growth = Growth::begin();
            let begun = bed.plane.streams_begun();
            for round in 0..300 {
                if round % 2 == 0 {
                    bed.plane.cut(13, &"x".repeat(4096));
                } else {
                    bed.plane.drop_connections();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
                bed.plane.forget_requests();
                if round % 50 == 0 {
                    bed.calls().await;
                }
                if round == 150 {
                    growth.half();
                }
            }
            let begun = bed.plane.streams_begun() - begun;
            assert!((1..=8).contains(&begun), "{begun} streams in some 3 s");
            growth.ends(4 * MIB, FLAT);
            bed.calls().await;
        }
    });
}

#[test]
fn a_plane_that_sends_and_does_not_read_is_left_and_asked_anew() {
    alone(|| async {
        let mut bed = Bed::new("deaf", true).await;
        bed.settles().await;
        let from = memory::live();
        bed.plane.deaf(true);
        let address = bed.server.socket();
        for round in 0..3_000 {
            let value = padded(assignment("users-cluster", &[Some(address)]), 1 + round);
            let resource = Resource::encoded(EDS, "users-cluster", value);
            let nonce = format!("{round}-{}", "n".repeat(8_000));
            bed.plane.send(&Answer::new(EDS, "deaf").nonce(nonce).resource(resource));
            if round % 50 == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if bed.plane.streams_begun() > 1 {
                break;
            }
        }
        bed.plane.until(|plane| plane.streams_begun() > 1).await;
        let grown = memory::live() - from;
        assert!(grown <= 64 * MIB, "{grown}");
        bed.plane.deaf(false);
        bed.plane.until(|plane| plane.requests_of(LDS).iter().any(|it| it.stream > 1)).await;
        bed.settles().await;
        bed.calls().await;
    });
}

/// A cluster whose load is reported.
fn reported(name: &str) -> Resource {
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
            eds_config: Some(of(ConfigSourceSpecifier::Ads(AggregatedConfigSource::default()))),
            ..cluster::EdsClusterConfig::default()
        }),
        lrs_server: Some(of(ConfigSourceSpecifier::Self_(SelfConfigSource::default()))),
        ..Cluster::default()
    };
    Resource::encoded(CDS, name, cluster.encode_to_vec())
}

#[test]
fn who_asks_for_loads_without_end_is_told_at_its_interval_and_is_kept_once() {
    alone(|| async {
        let bed = Bed::new("loads", false).await;
        let every = Duration::from_millis(100);
        bed.plane.ask_loads(LoadsAsked::all(every));
        bed.plane.set([reported("users-cluster")]);
        bed.plane.until(|plane| plane.load_streams() == 1).await;
        bed.calls().await;
        bed.plane.until(|plane| !plane.load_reports().is_empty()).await;
        // Each a list of names of some MB, and another one each time.
        let ask = |round: usize| {
            let names = (0..20_000).map(|n| format!("users-cluster-{round}-{n:0100}"));
            bed.plane.ask_loads(LoadsAsked::of(names, every));
        };
        ask(0);
        tokio::time::sleep(3 * every).await;
        let mut growth = Growth::begin();
        for round in 1..=6 {
            ask(round);
            tokio::time::sleep(3 * every).await;
            if round == 3 {
                growth.half();
            }
        }
        growth.ends(8 * MIB, 4 * MIB);
        // And a flood of small ones.
        for round in 0..1_000 {
            bed.plane.ask_loads(LoadsAsked::of([format!("c{round}")], every));
        }
        bed.calls().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let reports = bed.plane.load_reports().len();
        assert!(reports <= 100, "{reports}");
        assert_eq!(bed.plane.load_streams(), 1);
        bed.calls().await;
    });
}
