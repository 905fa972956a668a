//! A reporter driven by bytes, for the fuzz target and a property test: whatever a server of load reports
//! answers and its streams do, it is told who asks first and once, what it has asked for and nothing else,
//! and no count twice.

#![allow(clippy::expect_used, reason = "a finding is a panic")]

use std::{collections::BTreeMap, time::Duration};

use envoy_types::pb::envoy::{
    config::{core::v3::Node, endpoint::v3::ClusterStats},
    service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse},
};
use prost::Message as _;

use super::{Act, Key, Reporter};
use crate::core::{At, Attempts, EndpointLoad, Instant, Load, Random};

const CLUSTERS: [&str; 4] = ["a", "b", "c\u{7}\u{e9}", ""];
const ADDRESSES: [&str; 5] = ["10.0.0.1:80", "[::1]:80", "unix:/run/a", "users.prod:80", ""];
const METRICS: [&str; 2] = ["cpu_utilization", "named_metrics.q"];

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn below(&mut self, most: usize) -> usize {
        usize::from(self.next().unwrap_or(0)) % most
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn number(&mut self) -> u64 {
        self.next().unwrap_or(0).into()
    }

    /// So many bytes as the next one says, or those that are left.
    fn piece(&mut self) -> &'a [u8] {
        let length = self.below(256).min(self.0.len());
        let (piece, rest) = self.0.split_at(length);
        self.0 = rest;
        piece
    }

    fn load(&mut self) -> Load {
        let endpoint = |of: &mut Self| {
            let issued = of.number();
            let sums = [0.5, -1e300, f64::MAX, f64::NAN];
            EndpointLoad {
                at: At { zone: of.of(&["", "z"]).to_owned(), ..At::default() },
                address: of.of(&ADDRESSES).into(),
                attempts: Attempts { issued, ok: of.number(), ..Attempts::default() },
                metrics: BTreeMap::from([(of.of(&METRICS).into(), (1, of.of(&sums)))]),
            }
        };
        Load {
            endpoints: (0..self.below(4)).map(|_| endpoint(self)).collect(),
            drops: (0..self.below(3)).map(|_| (self.of(&["lb", ""]).into(), 1)).collect(),
            dropped: self.number(),
        }
    }
}

/// What the server has seen.
#[derive(Default)]
struct Seen {
    /// The stream that there is, and whether it is open.
    stream: Option<(u64, bool)>,
    /// The number of the last one.
    last: u64,
    /// The same, as the reporters have it.
    given: u64,
    is_greeted: bool,
    /// What it wants, said on this stream.
    asked: Option<LoadStatsResponse>,
    /// Attempts by cluster: counted, and told.
    counted: BTreeMap<String, u64>,
    told: BTreeMap<String, u64>,
    /// Clusters that were told of, each time.
    reports: usize,
}

impl Seen {
    fn act(&mut self, reporter: &mut Reporter, now: Instant) {
        for step in 0.. {
            assert!(step < 16, "it never ends");
            match reporter.next(now, &mut self.given) {
                None => break,
                Some(Act::Open { stream }) => {
                    assert_eq!(self.stream, None, "there is a stream already");
                    assert!(stream > self.last, "stream {stream} after {}", self.last);
                    (self.stream, self.last) = (Some((stream, false)), stream);
                }
                Some(Act::Send { stream, request }) => {
                    assert_eq!(self.stream, Some((stream, true)), "sent to no open stream");
                    self.sent(&request);
                }
                Some(Act::Finish { stream }) => {
                    assert_eq!(self.stream.map(|it| it.0), Some(stream));
                    self.is_over();
                }
            }
        }
        assert!(reporter.wake_at().is_none_or(|at| at > now), "it wakes for what is done");
    }

    fn is_over(&mut self) {
        (self.stream, self.is_greeted, self.asked) = (None, false, None);
    }

    fn sent(&mut self, request: &LoadStatsRequest) {
        assert_eq!(request.node.is_some(), !self.is_greeted, "the node, once");
        if !std::mem::replace(&mut self.is_greeted, true) {
            assert!(request.cluster_stats.is_empty(), "nobody has asked yet");
            return;
        }
        let asked = self.asked.as_ref().expect("it has asked for something");
        for stats in &request.cluster_stats {
            let ClusterStats { cluster_name, upstream_locality_stats, .. } = stats;
            self.reports += 1;
            let is_asked = asked.send_all_clusters || asked.clusters.contains(cluster_name);
            assert!(is_asked, "{cluster_name:?} was not asked for");
            let lasted = stats.load_report_interval.expect("how long it was counted");
            assert!(lasted.seconds >= 0 && (0..1_000_000_000).contains(&lasted.nanos));
            let mut localities = upstream_locality_stats.iter();
            let one_by_one = localities.any(|it| !it.upstream_endpoint_stats.is_empty());
            assert!(asked.report_endpoint_granularity || !one_by_one);
            let issued = upstream_locality_stats.iter().map(|it| it.total_issued_requests);
            let told = self.told.entry(cluster_name.clone()).or_default();
            *told += issued.sum::<u64>();
            let counted = self.counted.get(cluster_name).copied().unwrap_or(0);
            assert!(*told <= counted, "{cluster_name:?}: {told} of {counted}");
        }
        assert_eq!(request.encode_to_vec().len(), request.encoded_len());
    }
}

/// Runs what the bytes say; how often a cluster was told of.
pub(crate) fn run(script: &[u8]) -> usize {
    let mut script = Bytes(script);
    let random = Random::seeded(script.number());
    let mut reporter = Reporter::new(Node::default());
    let (mut seen, mut now) = (Seen::default(), Instant::now());
    while let Some(word) = script.next() {
        match (word % 9, seen.stream) {
            (0, _) => reporter.want(true),
            (1, _) => reporter.want(false),
            (2..=4, Some((stream, false))) => {
                seen.stream = Some((stream, true));
                reporter.opened(stream);
            }
            (2..=4, Some((stream, true))) => match LoadStatsResponse::decode(script.piece()) {
                Ok(answer) => {
                    seen.asked = Some(answer.clone());
                    reporter.received(now, stream, answer);
                }
                // What is no answer ends the stream.
                Err(_) => {
                    seen.is_over();
                    reporter.closed(now, stream, &random);
                }
            },
            (5, Some((stream, _))) => {
                seen.is_over();
                reporter.closed(now, stream, &random);
            }
            (6, _) => count(&mut script, &mut seen, &mut reporter, now, word < 128),
            (7, _) => now += Duration::from_millis(100 * script.number()),
            // What comes late, from a stream that is not there any more.
            (_, live) => {
                let stream = live.map_or(seen.last, |(stream, _)| stream - 1);
                let all = LoadStatsResponse { send_all_clusters: true, ..Default::default() };
                reporter.opened(stream);
                reporter.received(now, stream, all);
                reporter.closed(now, stream, &random);
            }
        }
        seen.act(&mut reporter, now);
    }
    reporter.want(false);
    seen.act(&mut reporter, now);
    assert_eq!((seen.stream, reporter.wake_at()), (None, None), "something stays");
    seen.reports
}

/// A cluster has counted something: one that is gone, or one whose report is due.
fn count(
    script: &mut Bytes<'_>,
    seen: &mut Seen,
    reporter: &mut Reporter,
    now: Instant,
    is_gone: bool,
) {
    let cluster = script.of(&CLUSTERS);
    let key = Key { cluster: cluster.into(), service: script.of(&["", "s"]).into() };
    let since = now.checked_sub(Duration::from_secs(script.number())).unwrap_or(now);
    let load = script.load();
    let issued: u64 = load.endpoints.iter().map(|it| it.attempts.issued).sum();
    *seen.counted.entry(cluster.to_owned()).or_default() += issued;
    if is_gone {
        reporter.add(key, 0, since, load);
    } else {
        reporter.add_due(key, 0, since, load);
    }
}
