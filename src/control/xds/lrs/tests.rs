use std::{collections::BTreeMap, sync::Arc, time::Duration};

use envoy_types::pb::{
    envoy::{
        config::core::v3::Node,
        service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse},
    },
    google::protobuf,
};

use super::*;
use crate::core::{At, Attempts, EndpointLoad, Instant, Load, Random};

fn answer(seconds: i64, clusters: &[&str]) -> LoadStatsResponse {
    LoadStatsResponse {
        clusters: clusters.iter().map(|&name| name.to_owned()).collect(),
        send_all_clusters: clusters.is_empty(),
        load_reporting_interval: Some(protobuf::Duration { seconds, nanos: 0 }),
        report_endpoint_granularity: false,
    }
}

fn key(name: &str) -> Key {
    Key { cluster: name.into(), service: "".into() }
}

fn load(zone: &str, address: &str, ok: u64) -> Load {
    let at = At { zone: zone.to_owned(), ..At::default() };
    let attempts = Attempts { issued: ok, ok, ..Attempts::default() };
    let metrics = BTreeMap::from([("named_metrics.a".into(), (ok, 0.5))]);
    let endpoint = EndpointLoad { at, address: address.into(), attempts, metrics };
    Load { endpoints: vec![endpoint], ..Load::default() }
}

struct Bed {
    now: Instant,
    random: Random,
    reporter: Reporter,
    /// The number of the last stream.
    last: u64,
}

impl Bed {
    fn new() -> Self {
        let node = Node { id: "n".to_owned(), ..Node::default() };
        let mut reporter = Reporter::new(node);
        reporter.want(true);
        Self { now: Instant::now(), random: Random::seeded(1), reporter, last: 0 }
    }

    fn next(&mut self) -> Option<Act> {
        self.reporter.next(self.now, &mut self.last)
    }

    fn open(&mut self) -> u64 {
        let Some(Act::Open { stream }) = self.next() else { panic!("no stream") };
        assert_eq!(self.next(), None);
        self.reporter.opened(stream);
        let request = self.sent();
        assert_eq!(request.node.unwrap().client_features, ["envoy.lrs.supports_send_all_clusters"]);
        assert!(request.cluster_stats.is_empty());
        assert_eq!(self.next(), None);
        stream
    }

    fn sent(&mut self) -> LoadStatsRequest {
        match self.next() {
            Some(Act::Send { request, .. }) => request,
            other => panic!("{other:?}"),
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn add(&mut self, name: &str, since: Instant, load: Load) {
        self.reporter.add(key(name), 0, since, load);
    }
}

#[test]
fn a_server_is_told_what_it_asks_for_as_often_as_it_says() {
    let mut bed = Bed::new();
    let (start, stream) = (bed.now, bed.open());
    assert_eq!(bed.reporter.wake_at(), None, "the server has said nothing");
    bed.reporter.received(bed.now, stream, answer(10, &["a"]));
    assert!(bed.reporter.asks("a") && !bed.reporter.asks("b"));
    assert_eq!(bed.reporter.wake_at(), Some(start + Duration::from_secs(10)));
    bed.pass(9);
    assert_eq!(bed.next(), None);
    bed.pass(1);
    assert!(bed.reporter.is_due(bed.now));
    bed.add("a", start, load("z", "1.1.1.1:1", 3));
    bed.add("b", start, load("z", "1.1.1.1:1", 3));
    let request = bed.sent();
    assert_eq!(request.node, None);
    let [stats] = request.cluster_stats.as_slice() else { panic!("{request:?}") };
    assert_eq!((&*stats.cluster_name, stats.load_report_interval.unwrap().seconds), ("a", 10));
    let [locality] = stats.upstream_locality_stats.as_slice() else { panic!("{stats:?}") };
    assert_eq!((locality.total_issued_requests, locality.total_successful_requests), (3, 3));
    assert!(locality.upstream_endpoint_stats.is_empty());
    assert_eq!(locality.load_metric_stats[0].metric_name, "named_metrics.a");
    // The same wish again does not begin the interval anew; another does.
    bed.pass(5);
    bed.reporter.received(bed.now, stream, answer(10, &["a"]));
    assert_eq!(bed.reporter.wake_at(), Some(start + Duration::from_secs(20)));
    bed.reporter.received(bed.now, stream, answer(1, &[]));
    bed.pass(1);
    assert!(bed.reporter.asks("b"));
    assert_eq!(bed.sent().cluster_stats, [], "what was not asked for is not held");
    bed.add("b", start, load("z", "1.1.1.1:1", 3));
    bed.pass(1);
    let request = bed.sent();
    assert_eq!(request.cluster_stats[0].cluster_name, "b");
}

#[test]
fn reports_that_say_nothing_are_not_repeated() {
    let mut bed = Bed::new();
    let stream = bed.open();
    bed.reporter.received(bed.now, stream, answer(1, &[]));
    bed.pass(1);
    assert!(bed.sent().cluster_stats.is_empty());
    for _ in 0..3 {
        bed.pass(1);
        assert_eq!(bed.next(), None);
        assert!(bed.reporter.wake_at() > Some(bed.now));
    }
    bed.add("a", bed.now, load("z", "1.1.1.1:1", 1));
    bed.pass(1);
    assert_eq!(bed.sent().cluster_stats.len(), 1);
    bed.pass(1);
    assert!(bed.sent().cluster_stats.is_empty());
}

#[test]
fn a_stream_that_ends_is_begun_again_after_a_backoff_that_an_answer_resets() {
    let mut bed = Bed::new();
    let mut waits = Vec::new();
    for _ in 0..4 {
        let stream = bed.open();
        bed.reporter.closed(bed.now, stream, &bed.random);
        bed.reporter.opened(stream);
        assert_eq!(bed.next(), None, "not at once");
        let at = bed.reporter.wake_at().unwrap();
        waits.push((at - bed.now).as_secs_f64());
        bed.now = at;
    }
    let plain = [1.0, 1.6, 2.56, 4.096];
    assert!(waits.iter().zip(plain).all(|(wait, plain)| (wait / plain - 1.0).abs() <= 0.2));
    let stream = bed.open();
    bed.reporter.received(bed.now, stream, answer(1, &[]));
    bed.reporter.closed(bed.now, stream, &bed.random);
    assert!(bed.reporter.wake_at().unwrap() - bed.now <= Duration::from_millis(1200));
    // What an older stream does counts for nothing.
    bed.pass(2);
    let newer = bed.open();
    bed.reporter.received(bed.now, stream, answer(1, &[]));
    bed.reporter.closed(bed.now, stream, &bed.random);
    assert!(newer > stream && !bed.reporter.asks("a"));
}

#[test]
fn the_last_is_said_before_the_stream_is_let_go() {
    let mut bed = Bed::new();
    let stream = bed.open();
    bed.reporter.received(bed.now, stream, answer(3600, &[]));
    bed.add("a", bed.now, load("z", "1.1.1.1:1", 2));
    bed.reporter.want(false);
    assert_eq!(bed.sent().cluster_stats.len(), 1);
    assert_eq!(bed.next(), Some(Act::Finish { stream }));
    assert_eq!((bed.next(), bed.reporter.wake_at()), (None, None));
    // And a server that has asked for nothing is told nothing.
    bed.reporter.want(true);
    let stream = bed.open();
    bed.add("a", bed.now, load("z", "1.1.1.1:1", 2));
    bed.reporter.want(false);
    assert_eq!(bed.next(), Some(Act::Finish { stream }));
}

#[test]
fn intervals_that_make_no_sense_are_bounded() {
    for (said, least, most) in [(-5, 0.1, 0.1), (0, 0.1, 0.1), (i64::MAX, 86400.0, 86400.0)] {
        let mut bed = Bed::new();
        let stream = bed.open();
        bed.reporter.received(bed.now, stream, answer(said, &[]));
        let wait = (bed.reporter.wake_at().unwrap() - bed.now).as_secs_f64();
        assert!((least..=most).contains(&wait), "{said}: {wait}");
    }
}

#[test]
fn endpoints_are_told_apart_where_that_is_asked_for_and_metrics_have_their_places() {
    let mut bed = Bed::new();
    let stream = bed.open();
    let wish = LoadStatsResponse { report_endpoint_granularity: true, ..answer(1, &[]) };
    bed.reporter.received(bed.now, stream, wish);
    let since = bed.now;
    bed.pass(1);
    let mut first = load("z", "[::1]:80", 1);
    let cpu: Arc<str> = "cpu_utilization".into();
    first.endpoints[0].metrics.insert(cpu, (2, 1.5));
    first.drops.insert("lb".into(), 4);
    first.dropped = 1;
    bed.add("a", since, first);
    bed.add("a", since, load("z", "unix:/run/a.sock", 2));
    // Of another mesh, which has begun later.
    bed.add("a", bed.now, load("y", "1.1.1.1:1", 4));
    let request = bed.sent();
    let stats = &request.cluster_stats[0];
    assert_eq!(stats.load_report_interval.unwrap().seconds, 1);
    assert_eq!((stats.total_dropped_requests, stats.dropped_requests[0].dropped_count), (5, 4));
    let of = |zone: &str| {
        let is_of = |it: &&_| -> bool {
            let it: &envoy_types::pb::envoy::config::endpoint::v3::UpstreamLocalityStats = it;
            it.locality.as_ref().unwrap().zone == zone
        };
        stats.upstream_locality_stats.iter().find(is_of).unwrap()
    };
    assert_eq!((of("z").total_issued_requests, of("y").total_issued_requests), (3, 4));
    assert_eq!(of("z").upstream_endpoint_stats.len(), 2);
    let cpu = of("z").cpu_utilization.unwrap();
    assert_eq!((cpu.num_requests_finished_with_metric, cpu.total_metric_value), (2, 1.5));
    let named = &of("z").load_metric_stats;
    assert_eq!((named.len(), named[0].num_requests_finished_with_metric), (1, 3));
}

/// What is in progress is a level: that of now, not the sum of all that were read.
#[test]
fn what_is_in_progress_is_not_told_twice_of_a_cluster_that_goes_and_comes_back() {
    let mut bed = Bed::new();
    let (since, stream) = (bed.now, bed.open());
    let wish = LoadStatsResponse { report_endpoint_granularity: true, ..answer(1, &[]) };
    bed.reporter.received(bed.now, stream, wish);
    let busy = |address: &str, in_progress: u64| {
        let mut load = load("z", address, 1);
        load.endpoints[0].attempts.in_progress = in_progress;
        load
    };
    let (ours, theirs) = (1, 2);
    let mut report = |gone: Vec<(u64, Load)>, due: Vec<(u64, Load)>| {
        for (mesh, load) in gone {
            bed.reporter.add(key("c"), mesh, since, load);
        }
        bed.pass(1);
        for (mesh, load) in due {
            bed.reporter.add_due(key("c"), mesh, since, load);
        }
        let stats = bed.sent().cluster_stats;
        stats.into_iter().flat_map(|it| it.upstream_locality_stats).collect::<Vec<_>>()
    };
    // It was gone twice, and is there again; and another mesh has such a cluster, too.
    let gone = vec![(ours, busy("a:1", 5)), (ours, busy("a:1", 4))];
    let told = report(gone, vec![(ours, busy("a:1", 2)), (theirs, busy("a:1", 3))]);
    let [locality] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((locality.total_requests_in_progress, locality.total_issued_requests), (5, 4));
    let [endpoint] = locality.upstream_endpoint_stats.as_slice() else { panic!("{locality:?}") };
    assert_eq!((endpoint.total_requests_in_progress, endpoint.total_issued_requests), (5, 4));
    // What was in progress has ended, or is at another endpoint.
    let told = report(vec![(ours, busy("a:1", 5))], vec![(ours, Load::default())]);
    assert_eq!((told[0].total_requests_in_progress, told[0].total_issued_requests), (0, 1));
    let told = report(vec![(ours, busy("a:1", 5))], vec![(ours, busy("b:1", 1))]);
    assert_eq!((told[0].total_requests_in_progress, told[0].total_issued_requests), (1, 2));
    // Of one that stays away it is the last word; nothing else is told of it.
    let mut idle = busy("a:1", 5);
    (idle.endpoints[0].attempts.issued, idle.endpoints[0].attempts.ok) = (0, 0);
    idle.endpoints[0].metrics.clear();
    let told = report(vec![(ours, idle.clone())], vec![]);
    assert_eq!((told[0].total_requests_in_progress, told[0].total_issued_requests), (5, 0));
    assert_eq!(report(vec![(ours, idle)], vec![(ours, Load::default())]), []);
}

/// Clusters come and go with each release; what nobody asks for does not pile up.
#[test]
fn what_is_not_asked_for_is_not_held() {
    let mut bed = Bed::new();
    let since = bed.now;
    bed.add("early", since, load("a", "1", 1));
    let stream = bed.open();
    bed.reporter.received(bed.now, stream, answer(10, &["x"]));
    for release in 0..100 {
        bed.add(&format!("y-{release}"), since, load("a", "1", 1));
    }
    bed.add("x", since, load("a", "1", 1));
    assert_eq!(bed.reporter.held(), 1);
    bed.pass(10);
    assert_eq!(bed.sent().cluster_stats.len(), 1);
    // It asks for others now.
    bed.add("x", since, load("a", "1", 1));
    bed.reporter.received(bed.now, stream, answer(10, &["z"]));
    assert_eq!(bed.reporter.held(), 0);
}

#[test]
fn what_is_held_for_a_server_that_is_away_has_a_bound() {
    let mut bed = Bed::new();
    let since = bed.now;
    for release in 0..5000 {
        bed.add(&format!("y-{release}"), since, load("a", "1", 1));
    }
    assert_eq!(bed.reporter.held(), 1024);
    // Of those that are held all is counted.
    bed.add("y-0", since, load("a", "1", 1));
    let stream = bed.open();
    bed.reporter.received(bed.now, stream, answer(10, &["y-0"]));
    bed.pass(10);
    let sent = bed.sent();
    assert_eq!(sent.cluster_stats[0].upstream_locality_stats[0].total_issued_requests, 2);
}

#[test]
fn all_clusters_are_told_of_however_many_they_are() {
    let mut bed = Bed::new();
    let (since, stream) = (bed.now, bed.open());
    bed.reporter.received(bed.now, stream, answer(10, &[]));
    // Many that are gone since, and those that are there.
    for release in 0..2000 {
        bed.add(&format!("gone-{release}"), since, load("a", "1", 1));
    }
    bed.pass(10);
    for at in 0..3000 {
        bed.reporter.add_due(key(&format!("idle-{at}")), 0, since, Load::default());
        bed.reporter.add_due(key(&format!("live-{at}")), 0, since, load("a", "1", 1));
    }
    assert_eq!(bed.reporter.held(), 5000, "an idle one takes no place");
    assert_eq!(bed.sent().cluster_stats.len(), 5000);
    assert_eq!(bed.reporter.held(), 0);
}

#[test]
fn endpoints_beyond_a_bound_are_told_of_by_their_place_alone() {
    let mut bed = Bed::new();
    let since = bed.now;
    for endpoint in 0..5000 {
        bed.add("c", since, load("a", &format!("10.0.0.1:{endpoint}"), 1));
    }
    let stream = bed.open();
    let mut asked = answer(10, &[]);
    asked.report_endpoint_granularity = true;
    bed.reporter.received(bed.now, stream, asked);
    bed.pass(10);
    let sent = bed.sent();
    let locality = &sent.cluster_stats[0].upstream_locality_stats[0];
    assert_eq!(locality.total_issued_requests, 5000);
    assert_eq!(locality.upstream_endpoint_stats.len(), 4096);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_a_server_of_load_reports_answers(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400),
    ) {
        let _told: usize = script::run(&bytes);
    }
}

/// From these the fuzz target begins: each has a cluster told of.
#[test]
fn seeds_of_the_fuzz_target_run() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus-seeds/xds_reports");
    let mut seeds = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        assert!(script::run(&std::fs::read(&path).unwrap()) > 0, "{}", path.display());
        seeds += 1;
    }
    assert!(seeds > 0);
}
