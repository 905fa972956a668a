//! Load reports (LRS), as a server on gRPC C-core gets and reads them: ours, and beside those of others.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tower_mesh::{
    Error, Mesh, Refusal,
    control::xds::{Bootstrap, Xds},
};

use super::{
    bed::{self, Bed, bootstrap},
    peer::{Calls, everybody},
    plane::{Kind, Plane},
    resources::{cluster, cluster_with, endpoint, listener, localities, routes, to},
};
use crate::{
    load_reports::answers,
    reporter::Reporter,
    support::{Server, fetch, h2, patience, reply, status, storm, swap},
};

/// What the server has written down: a request of a stream, or its end.
#[derive(Clone, Debug, Deserialize)]
struct Line {
    stream: u64,
    /// When. Seconds.
    at: f64,
    /// `LoadStatsRequest`.
    #[serde(default)]
    told: Value,
    #[serde(default)]
    ended: bool,
}

/// A control plane that takes load reports.
struct Loads(Plane);

// === impl Loads ===

impl Loads {
    /// One that says these resources, and wants this `LoadStatsResponse`.
    async fn start(resources: &[Value], wish: &Value) -> Self {
        let loads = Self(Plane::start(Kind::Scripted, resources).await);
        loads.want(wish);
        loads
    }

    /// Wants this from now on.
    fn want(&self, wish: &Value) {
        want(&self.0, wish);
    }

    /// A mesh that asks it.
    fn mesh(&self) -> Mesh {
        let bootstrap = bootstrap(&[self.0.port], &[]).replace("NODE", "loads");
        let bootstrap = Bootstrap::from_json(&bootstrap).unwrap();
        Mesh::builder().source(Xds::new(bootstrap)).build().unwrap()
    }

    fn lines(&self) -> Vec<Line> {
        lines(&self.0)
    }

    /// What was told of clusters, in one report after the other.
    fn clusters(&self) -> Vec<Value> {
        let lines = self.lines();
        lines.iter().flat_map(|line| list(&line.told, "clusterStats")).cloned().collect()
    }

    /// When this cluster was told of, and what.
    fn of(&self, cluster: &str) -> Vec<(f64, Value)> {
        let mut all = Vec::new();
        for line in self.lines() {
            let told = list(&line.told, "clusterStats").iter();
            let told = told.filter(|stats| stats["clusterName"] == cluster);
            all.extend(told.map(|stats| (line.at, stats.clone())));
        }
        all
    }

    /// The sums of all reports of a cluster: issued, went well, failed.
    fn sums(&self, cluster: &str) -> [u64; 3] {
        let mut sums = [0; 3];
        for (_, stats) in self.of(cluster) {
            for locality in list(&stats, "upstreamLocalityStats") {
                let [issued, ok, failed, _] = counts(locality);
                sums = [sums[0] + issued, sums[1] + ok, sums[2] + failed];
            }
        }
        sums
    }

    /// Waits until it is so, for at most ten seconds.
    async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        for _ in 0..500 {
            if so(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not in 10 s: {what}; told: {:#?}", self.lines());
    }
}

/// This plane wants this from now on.
fn want(plane: &Plane, wish: &Value) {
    swap(&plane.folder().join("loads.json"), &wish.to_string());
}

/// What this plane was told so far.
fn lines(plane: &Plane) -> Vec<Line> {
    let text = fs::read_to_string(plane.folder().join("loads.jsonl")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// What this node has told of a cluster, by zone: issued, went well, failed.
fn by_zone(lines: &[Line], node: &str, cluster: &str) -> BTreeMap<String, [u64; 3]> {
    // The first request of a stream says whose it is.
    let own = lines.iter().filter(|line| line.told["node"]["id"] == node);
    let own: BTreeSet<u64> = own.map(|line| line.stream).collect();
    let own = lines.iter().filter(|line| own.contains(&line.stream));
    let told = own.flat_map(|line| list(&line.told, "clusterStats"));
    let mut sums = BTreeMap::<String, [u64; 3]>::new();
    for stats in told.filter(|stats| stats["clusterName"] == cluster) {
        for locality in list(stats, "upstreamLocalityStats") {
            let zone = locality["locality"]["zone"].as_str().unwrap();
            let [issued, ok, failed, _] = counts(locality);
            let sums = sums.entry(zone.to_owned()).or_default();
            *sums = [sums[0] + issued, sums[1] + ok, sums[2] + failed];
        }
    }
    sums
}

/// The entries of a list, which protobuf leaves out when it is empty.
fn list<'a>(of: &'a Value, field: &str) -> &'a [Value] {
    of[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A number of 64 bits: in protobuf's JSON a text, and nothing when it is 0.
fn number(of: &Value, field: &str) -> u64 {
    of[field].as_str().map_or(0, |text| text.parse().unwrap())
}

/// Issued, went well, failed, in progress: of a locality or an endpoint.
fn counts(of: &Value) -> [u64; 4] {
    [
        "totalIssuedRequests",
        "totalSuccessfulRequests",
        "totalErrorRequests",
        "totalRequestsInProgress",
    ]
    .map(|field| number(of, field))
}

/// A time, in seconds.
fn seconds(of: &Value, field: &str) -> f64 {
    of[field].as_str().unwrap().strip_suffix('s').unwrap().parse().unwrap()
}

/// A wish for all clusters.
fn all(interval: &str, per_endpoint: bool) -> Value {
    json!({
        "sendAllClusters": true,
        "loadReportingInterval": interval,
        "reportEndpointGranularity": per_endpoint,
    })
}

/// A service of this name, and a cluster whose load is reported with these metrics, in these zones.
fn reported(name: &str, metrics: &[&str], zones: &[(&str, SocketAddr)]) -> Vec<Value> {
    let service = format!("{name}-endpoints");
    let cluster = cluster_with(
        name,
        json!({
            "lrsServer": {"self": {}},
            "lrsReportEndpointMetrics": metrics,
            "edsClusterConfig": {
                "edsConfig": {"ads": {}, "resourceApiVersion": "V3"},
                "serviceName": service,
            },
        }),
    );
    let each: Vec<(u32, Vec<Value>)> =
        zones.iter().map(|(_, socket)| (0, vec![endpoint(*socket, "HEALTHY")])).collect();
    let mut endpoints = localities(&service, &each);
    for (place, (zone, _)) in zones.iter().enumerate() {
        endpoints["endpoints"][place]["locality"] = json!({"region": "eu", "zone": zone});
    }
    vec![listener(name, name, &[]), routes(name, &[to(name)]), cluster, endpoints]
}

/// A server that does what the path says.
async fn server() -> Server {
    Server::start(|request| async move {
        match request.uri().path() {
            "/fail" => status(StatusCode::INTERNAL_SERVER_ERROR),
            "/hang" => std::future::pending().await,
            _ => reply("ok"),
        }
    })
    .await
}

/// That what is told of a locality is told of its only endpoint, too.
fn told_twice(locality: &Value, ports: &[(&str, u16)]) {
    assert_eq!(locality["locality"]["region"], "eu", "{locality}");
    let [endpoint] = list(locality, "upstreamEndpointStats") else { panic!("{locality}") };
    assert_eq!(counts(endpoint), counts(locality), "{locality}");
    let socket = &endpoint["address"]["socketAddress"];
    let zone = locality["locality"]["zone"].as_str().unwrap();
    let port = ports.iter().find(|(name, _)| *name == zone).unwrap().1;
    assert_eq!((&socket["address"], &socket["portValue"]), (&"127.0.0.1".into(), &port.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_called_where_and_how_it_ended_is_read_as_it_was() {
    let (a, b) = (server().await, server().await);
    let resources = reported("users", &[], &[("z1", a.socket()), ("z2", b.socket())]);
    let loads = Loads::start(&resources, &all("0.150s", true)).await;
    let mesh = loads.mesh();
    let client = mesh.client("users").unwrap();
    for _ in 0..20 {
        assert_eq!(patience(fetch(&client, h2("/"))).await.unwrap().status(), 200);
    }
    for _ in 0..10 {
        assert_eq!(patience(fetch(&client, h2("/fail"))).await.unwrap().status(), 500);
    }
    let hanging: Vec<_> = (0..2)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { drop(fetch(&client, h2("/hang")).await) })
        })
        .collect();
    let in_progress = |stats: &Value| {
        let localities = list(stats, "upstreamLocalityStats");
        localities.iter().map(|locality| counts(locality)[3]).sum::<u64>()
    };
    loads
        .until("all are told of", |loads| {
            loads.sums("users")[0] >= 32
                && loads.clusters().iter().any(|stats| in_progress(stats) == 2)
        })
        .await;
    println!("C-core has read of our load: {:?}", loads.clusters());

    // The two that hang were issued, and have not ended.
    assert_eq!(loads.sums("users"), [32, 20, 10]);
    let ports = [("z1", a.socket().port()), ("z2", b.socket().port())];
    let mut zones = BTreeMap::<String, u64>::new();
    for stats in loads.clusters() {
        assert_eq!(stats["clusterName"], "users", "{stats}");
        assert_eq!(stats["clusterServiceName"], "users-endpoints", "{stats}");
        assert!(stats.get("totalDroppedRequests").is_none(), "{stats}");
        for locality in list(&stats, "upstreamLocalityStats") {
            told_twice(locality, &ports);
            // No metric was asked for.
            assert!(list(locality, "loadMetricStats").is_empty(), "{locality}");
            let zone = locality["locality"]["zone"].as_str().unwrap().to_owned();
            *zones.entry(zone).or_default() += counts(locality)[0];
        }
    }
    assert!(zones.len() == 2 && zones.values().all(|issued| *issued > 0), "{zones:?}");

    // Who asks is told once, first, with nothing else.
    let lines = loads.lines();
    let node = &lines[0].told["node"];
    assert_eq!((&node["id"], &node["userAgentName"]), (&"loads".into(), &"tower-mesh".into()));
    let can = list(node, "clientFeatures");
    assert!(can.iter().any(|it| it == "envoy.lrs.supports_send_all_clusters"), "{can:?}");
    assert!(list(&lines[0].told, "clusterStats").is_empty(), "{:?}", lines[0]);
    assert!(lines[1..].iter().all(|line| line.told.get("node").is_none() && line.stream == 1));

    // The end of the mesh ends the stream in order.
    for call in hanging {
        call.abort();
    }
    patience(mesh.shutdown(Duration::from_secs(1))).await;
    loads.until("the stream ends", |loads| loads.lines().iter().any(|line| line.ended)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drops_are_read_by_their_category() {
    let a = server().await;
    let mut resources = reported("users", &[], &[("z1", a.socket())]);
    resources[3]["policy"] = json!({"dropOverloads": [
        {"category": "lb", "dropPercentage": {"numerator": 100, "denominator": "HUNDRED"}},
    ]});
    let loads = Loads::start(&resources, &all("0.150s", false)).await;
    let mesh = loads.mesh();
    let client = mesh.client("users").unwrap();
    let answers = storm(2, 10, |_| fetch(&client, h2("/"))).await;
    let is_dropped = |answer: &Result<_, Error>| {
        let refusal = answer.as_ref().err().and_then(Error::refusal);
        matches!(refusal, Some(Refusal::Dropped))
    };
    assert!(answers.iter().all(is_dropped), "{answers:?}");
    let dropped = |loads: &Loads| {
        loads.clusters().iter().map(|stats| number(stats, "totalDroppedRequests")).sum::<u64>()
    };
    loads.until("all are told of", |loads| dropped(loads) >= 10).await;
    assert_eq!(dropped(&loads), 10);
    let told = loads.clusters();
    let by_category: Vec<&Value> =
        told.iter().flat_map(|stats| list(stats, "droppedRequests")).collect();
    assert!(by_category.iter().all(|it| it["category"] == "lb"), "{by_category:?}");
    assert_eq!(by_category.iter().map(|it| number(it, "droppedCount")).sum::<u64>(), 10);
    // What is dropped is issued nowhere.
    assert!(told.iter().all(|stats| list(stats, "upstreamLocalityStats").is_empty()), "{told:?}");
}

/// How many answers had a metric, and the sum of it: of all entries that are such a metric.
fn metric<'a>(all: impl Iterator<Item = &'a Value>) -> (u64, f64) {
    let one = |it: &Value| {
        let sum = it["totalMetricValue"].as_f64().unwrap_or_default();
        (number(it, "numRequestsFinishedWithMetric"), sum)
    };
    all.map(one).fold((0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_c_cores_servers_report_is_passed_on_to_c_core() {
    let server = Reporter::start("a", "0.25", "100", "3").await;
    let metrics = [
        "cpu_utilization",
        "application_utilization",
        "mem_utilization",
        "named_metrics.other",
        "rps_fractional",
    ];
    let resources = reported("users", &metrics, &[("z1", server.socket())]);
    let loads = Loads::start(&resources, &all("0.150s", true)).await;
    let mesh = loads.mesh();
    answers(&mesh.client("users").unwrap(), 6).await;
    let localities = |loads: &Loads| -> Vec<Value> {
        let told = loads.clusters();
        told.iter().flat_map(|stats| list(stats, "upstreamLocalityStats")).cloned().collect()
    };
    // Those with fields of their own by these, the others by the name that the cluster gives them.
    let own = |loads: &Loads, field: &str| {
        metric(localities(loads).iter().map(|locality| &locality[field]))
    };
    let named = |loads: &Loads, name: &str| {
        let localities = localities(loads);
        let all = localities.iter().flat_map(|locality| list(locality, "loadMetricStats"));
        metric(all.filter(|it| it["metricName"] == name))
    };
    let told = |loads: &Loads| {
        [
            own(loads, "cpuUtilization"),
            own(loads, "applicationUtilization"),
            named(loads, "named_metrics.other"),
            named(loads, "rps_fractional"),
        ]
    };
    loads
        .until("all are told of", |loads| {
            loads.sums("users")[1] >= 6 && told(loads).iter().all(|metric| metric.0 >= 6)
        })
        .await;
    println!("C-core has read of what C-core has reported: {:?}", told(&loads));
    for ((count, sum), expected) in told(&loads).into_iter().zip([0.99, 0.25, 7.0, 100.0]) {
        assert!(count == 6 && (sum - 6.0 * expected).abs() < 1e-6, "{count}, {sum}: {expected}");
    }
    for locality in localities(&loads) {
        // It is not told, and this one was not asked for.
        assert!(locality.get("memUtilization").is_none(), "{locality}");
        assert!(!locality.to_string().contains("prequal_rif"), "{locality}");
        for it in list(&locality, "upstreamEndpointStats") {
            let of = list(it, "loadMetricStats").iter();
            let names: Vec<_> = of.map(|it| it["metricName"].as_str().unwrap()).collect();
            assert!(names.is_empty() || names.contains(&"named_metrics.other"), "{locality}");
        }
    }
}

/// The times between the reports of a cluster: as it arrives (the one in the middle), and as each says itself.
fn intervals(told: &[(f64, Value)]) -> (f64, Vec<f64>) {
    let mut gaps: Vec<f64> = told.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    gaps.sort_by(f64::total_cmp);
    // The first one may be of a cluster that is younger than the interval.
    let said = told[1..].iter().map(|(_, stats)| seconds(stats, "loadReportInterval")).collect();
    (gaps[gaps.len() / 2], said)
}

fn is_per_endpoint(stats: &Value) -> bool {
    let localities = list(stats, "upstreamLocalityStats");
    localities.iter().all(|it| !list(it, "upstreamEndpointStats").is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_gets_the_clusters_that_it_wants_as_often_and_as_finely_as_it_says() {
    let a = server().await;
    let mut resources = reported("one", &[], &[("z1", a.socket())]);
    resources.extend(reported("two", &[], &[("z1", a.socket())]));
    // Its load is reported to nobody.
    resources.extend(reported("quiet", &[], &[("z1", a.socket())]));
    resources[10] = cluster("quiet");
    resources[11] = localities("quiet", &[(0, vec![endpoint(a.socket(), "HEALTHY")])]);
    let some = json!({"clusters": ["one", "quiet", "nobody"], "loadReportingInterval": "0.200s"});
    let loads = Loads::start(&resources, &some).await;
    let mesh = loads.mesh();
    let clients = ["one", "two", "quiet"].map(|name| mesh.client(name).unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    // What is called before its cluster is reported is counted by nobody.
    for client in &clients {
        patience(fetch(client, h2("/"))).await.unwrap();
    }
    let calling = tokio::spawn(async move {
        let mut made: u64 = 0;
        while !stopped.load(SeqCst) {
            for client in &clients {
                patience(fetch(client, h2("/"))).await.unwrap();
            }
            made += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        made
    });
    loads.until("six reports", |loads| loads.of("one").len() >= 6).await;
    let told = loads.clusters();
    assert!(told.iter().all(|stats| stats["clusterName"] == "one"), "{told:?}");
    assert!(!told.iter().any(is_per_endpoint), "{told:?}");
    let (gap, said) = intervals(&loads.of("one"));
    println!("of 0.2 s: {gap:.3}, {said:?}");
    assert!((0.15..0.5).contains(&gap) && said.iter().all(|it| *it > 0.19), "{gap} {said:?}");

    // Another wish on the same stream.
    loads.want(&all("0.700s", true));
    loads.until("three reports", |loads| loads.of("two").len() >= 3).await;
    let (gap, said) = intervals(&loads.of("two"));
    println!("of 0.7 s: {gap:.3}, {said:?}");
    assert!((0.6..1.6).contains(&gap) && said.iter().all(|it| *it > 0.69), "{gap} {said:?}");
    assert!(loads.of("two").iter().all(|(_, stats)| is_per_endpoint(stats)));
    assert!(loads.of("quiet").is_empty());

    // Every call is told of, and once.
    stop.store(true, SeqCst);
    let made = calling.await.unwrap();
    patience(mesh.shutdown(Duration::from_secs(1))).await;
    let issued = |loads: &Loads| ["one", "two"].map(|name| loads.sums(name)[0]);
    loads.until("the last ones", |loads| issued(loads).iter().all(|it| *it >= made)).await;
    let issued = issued(&loads);
    assert!(issued.iter().all(|it| (made..=made + 1).contains(it)), "{issued:?} of {made}");
    assert!(loads.lines().iter().all(|line| line.stream == 1));
}

/// Equal calls of all: what each reports of a locality is what became of its calls there.
#[tokio::test(flavor = "multi_thread")]
async fn each_reports_by_locality_what_became_of_its_calls() {
    const CALLS: usize = 3_000;
    let (good, bad) = (bed::named("a").await, bed::failing("b", |_| true).await);
    let resources = reported("greeter", &[], &[("z1", good.socket()), ("z2", bad.socket())]);
    let mut bed = Bed::start(&everybody(), &resources).await;
    // C-core reports no more often than that.
    want(&bed.plane, &all("1s", false));
    // Envoy counts from the interval on that begins after it was asked.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    for (who, outcomes) in bed.call(Calls::of(CALLS)).await {
        let answered = bed::counts(&outcomes).get("a").copied().unwrap_or_default() as u64;
        let failed = bed::failed(&outcomes, 14) as u64;
        let all = u64::try_from(CALLS).unwrap();
        assert!(
            answered + failed == all && answered.min(failed) > 0,
            "{who:?}: {answered} {failed}"
        );
        let expected = BTreeMap::from([
            ("z1".to_owned(), [answered, answered, 0]),
            ("z2".to_owned(), [failed, 0, failed]),
        ]);
        let told = || by_zone(&lines(&bed.plane), who.node(), "greeter");
        for _ in 0..500 {
            if told() == expected {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("{who:?}: {:?}", told());
        assert_eq!(told(), expected, "{who:?}");
    }
}
