//! The stream to one server: when it is there, what the server wants, and when it is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use envoy_types::pb::{
    envoy::{
        config::{core::v3::Node, endpoint::v3::ClusterStats},
        service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse},
    },
    google::protobuf::Duration as Interval,
};

use super::sums::Sums;
use crate::{
    control::xds::ads::Backoff,
    core::{Instant, Load, Random},
};

/// A cluster by its name, and that of its endpoints if it has another.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Key {
    pub(crate) cluster: Arc<str>,
    pub(crate) service: Arc<str>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Act {
    /// Open a stream; `opened` or `closed` with its number follows.
    Open {
        stream: u64,
    },
    Send {
        stream: u64,
        request: LoadStatsRequest,
    },
    /// Say nothing more, and let go of it when all has been said.
    Finish {
        stream: u64,
    },
}

#[derive(Debug)]
pub(crate) struct Reporter {
    node: Node,
    /// Whether there is a cluster to report.
    is_wanted: bool,
    link: Link,
    /// The number of its last stream.
    stream: u64,
    backoff: Backoff,
    not_before: Option<Instant>,
    /// What was taken, and not told yet.
    held: BTreeMap<Key, Held>,
    /// The last report said nothing.
    was_silent: bool,
}

#[derive(Debug)]
enum Link {
    Closed,
    Opening,
    /// `greets`: the first request is to be sent.
    Open {
        greets: bool,
        asked: Option<Asked>,
    },
}

/// What the server wants.
#[derive(Debug)]
struct Asked {
    answer: LoadStatsResponse,
    /// `None`: all clusters.
    clusters: Option<BTreeSet<String>>,
    every: Duration,
    due: Instant,
}

#[derive(Debug)]
struct Held {
    since: Instant,
    sums: Sums,
}

/// That a server may ask for all clusters without naming them.
const SEND_ALL: &str = "envoy.lrs.supports_send_all_clusters";
/// A server that says none, or a shorter one, is told so often.
const SHORTEST: Duration = Duration::from_millis(100);
/// Nobody waits longer than this for what a server says is its interval.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Of so many clusters that are gone something is held for a server that has not said what it asks for.
const MOST_HELD: usize = 1024;
/// And for one that has said it, until its next report: they come and go, and its interval may be long.
const MOST_GONE: usize = 65_536;

// === impl Reporter ===

impl Reporter {
    pub(crate) fn new(mut node: Node) -> Self {
        node.client_features.push(SEND_ALL.to_owned());
        Self {
            node,
            is_wanted: false,
            link: Link::Closed,
            stream: 0,
            backoff: Backoff::default(),
            not_before: None,
            held: BTreeMap::new(),
            was_silent: true,
        }
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Whether there is a cluster to report.
    pub(crate) fn want(&mut self, is_wanted: bool) {
        self.is_wanted = is_wanted;
    }

    /// Requests can be written.
    pub(crate) fn opened(&mut self, stream: u64) {
        if stream == self.stream && matches!(self.link, Link::Opening) {
            self.link = Link::Open { greets: true, asked: None };
        }
    }

    /// The server says what it wants.
    pub(crate) fn received(&mut self, now: Instant, stream: u64, answer: LoadStatsResponse) {
        if stream != self.stream {
            return;
        }
        let Link::Open { asked, .. } = &mut self.link else { return };
        self.backoff.reset();
        // It has asked for this already: the interval goes on.
        if asked.as_ref().is_some_and(|asked| asked.answer == answer) {
            return;
        }
        let every = interval(answer.load_reporting_interval.as_ref());
        let clusters = (!answer.send_all_clusters)
            .then(|| answer.clusters.iter().cloned().collect::<BTreeSet<_>>());
        *asked = Some(Asked { answer, clusters, every, due: now + every });
        self.was_silent = false;
        let keys: Vec<Key> =
            self.held.keys().filter(|key| !self.asks(&key.cluster)).cloned().collect();
        for key in keys {
            self.held.remove(&key);
        }
    }

    /// The stream ended, or could not be opened.
    pub(crate) fn closed(&mut self, now: Instant, stream: u64, random: &Random) {
        if stream == self.stream && !matches!(self.link, Link::Closed) {
            self.link = Link::Closed;
            self.not_before = now.checked_add(self.backoff.wait(random));
        }
    }

    /// Whether the server has said what it asks for.
    fn is_asked(&self) -> bool {
        matches!(&self.link, Link::Open { asked: Some(_), .. })
    }

    /// Whether the server has asked for this cluster.
    pub(crate) fn asks(&self, cluster: &str) -> bool {
        let Link::Open { asked: Some(asked), .. } = &self.link else { return false };
        asked.clusters.as_ref().is_none_or(|clusters| clusters.contains(cluster))
    }

    /// Whether a report is due: what is to be in it is added first.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        matches!(&self.link, Link::Open { asked: Some(asked), .. } if asked.due <= now)
    }

    /// Tells what is due an interval later.
    pub(crate) fn postpone(&mut self, now: Instant) {
        if let Link::Open { asked: Some(asked), .. } = &mut self.link {
            asked.due = now + asked.every;
        }
    }

    /// What a cluster that is gone has counted since then in this mesh. What a server does not ask for is told to
    /// nobody.
    /// How many are held has a bound, and while nobody has said what he asks for, a smaller one.
    pub(crate) fn add(&mut self, key: Key, mesh: u64, since: Instant, load: Load) {
        let most = if self.is_asked() { MOST_GONE } else { MOST_HELD };
        if self.is_asked() && !self.asks(&key.cluster)
            || self.held.len() >= most && !self.held.contains_key(&key)
        {
            return;
        }
        self.count(key, mesh, since, load);
    }

    /// What a cluster has counted since then in this mesh, for the report that is due.
    pub(crate) fn add_due(&mut self, key: Key, mesh: u64, since: Instant, load: Load) {
        if self.asks(&key.cluster) {
            self.count(key, mesh, since, load);
        }
    }

    fn count(&mut self, key: Key, mesh: u64, since: Instant, load: Load) {
        let Load { endpoints, drops, dropped } = &load;
        let is_nothing = endpoints.is_empty() && drops.is_empty() && *dropped == 0;
        // It tells that nothing is in progress any more of what was before.
        if is_nothing && !self.held.contains_key(&key) {
            return;
        }
        let held = self.held.entry(key).or_insert_with(|| Held { since, sums: Sums::default() });
        held.since = held.since.min(since);
        held.sums.add(mesh, load);
    }

    /// What to do now. `last` is the number of the stream that was opened last, by whichever reporter: none
    /// is given twice, so that what comes late of one is not taken for another's.
    pub(crate) fn next(&mut self, now: Instant, last: &mut u64) -> Option<Act> {
        let stream = self.stream;
        match &mut self.link {
            Link::Closed => {
                if !self.is_wanted || self.not_before.is_some_and(|at| now < at) {
                    return None;
                }
                self.link = Link::Opening;
                *last += 1;
                self.stream = *last;
                Some(Act::Open { stream: self.stream })
            }
            Link::Opening | Link::Open { .. } if !self.is_wanted => self.leave(now),
            Link::Opening => None,
            Link::Open { greets, .. } if *greets => {
                *greets = false;
                let node = Some(self.node.clone());
                let request = LoadStatsRequest { node, cluster_stats: Vec::new() };
                Some(Act::Send { stream, request })
            }
            Link::Open { .. } => {
                if !self.is_due(now) {
                    return None;
                }
                let request = self.report(now);
                self.postpone(now);
                //= gRPC: of reports that say nothing the first is sent
                let is_silent = request.cluster_stats.is_empty();
                let is_repeated = std::mem::replace(&mut self.was_silent, is_silent) && is_silent;
                (!is_repeated).then_some(Act::Send { stream, request })
            }
        }
    }

    /// The last that is said, and the end of the stream.
    fn leave(&mut self, now: Instant) -> Option<Act> {
        let stream = self.stream;
        if self.asks_for_held() {
            let request = self.report(now);
            self.was_silent = true;
            if !request.cluster_stats.is_empty() {
                return Some(Act::Send { stream, request });
            }
        }
        self.link = Link::Closed;
        self.not_before = None;
        self.held.clear();
        Some(Act::Finish { stream })
    }

    fn asks_for_held(&self) -> bool {
        self.held.keys().any(|key| self.asks(&key.cluster))
    }

    /// What was added of the clusters that the server has asked for.
    fn report(&mut self, now: Instant) -> LoadStatsRequest {
        let per_endpoint = matches!(
            &self.link,
            Link::Open { asked: Some(asked), .. } if asked.answer.report_endpoint_granularity
        );
        let keys: Vec<Key> =
            self.held.keys().filter(|key| self.asks(&key.cluster)).cloned().collect();
        let mut cluster_stats = Vec::new();
        for key in keys {
            let Some(Held { since, sums }) = self.held.remove(&key) else { continue };
            if sums.is_nothing() {
                continue;
            }
            let lasted = now.saturating_duration_since(since);
            let stats = ClusterStats {
                cluster_name: key.cluster.as_ref().to_owned(),
                cluster_service_name: key.service.as_ref().to_owned(),
                load_report_interval: Some(Interval {
                    seconds: i64::try_from(lasted.as_secs()).unwrap_or(i64::MAX),
                    nanos: lasted.subsec_nanos().cast_signed(),
                }),
                ..ClusterStats::default()
            };
            cluster_stats.push(sums.into_stats(stats, per_endpoint));
        }
        LoadStatsRequest { node: None, cluster_stats }
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// When there is something to do without an event.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        match &self.link {
            Link::Closed if self.is_wanted => self.not_before,
            Link::Open { asked: Some(asked), .. } => Some(asked.due),
            Link::Closed | Link::Opening | Link::Open { .. } => None,
        }
    }
}

fn interval(said: Option<&Interval>) -> Duration {
    let said = said.copied().unwrap_or_default();
    let seconds = u64::try_from(said.seconds).unwrap_or_default();
    let nanos = u32::try_from(said.nanos).unwrap_or_default();
    Duration::from_secs(seconds)
        .saturating_add(Duration::from_nanos(nanos.into()))
        .clamp(SHORTEST, LONGEST)
}
