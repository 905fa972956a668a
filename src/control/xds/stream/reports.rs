//! Load reports: which clusters are reported to which server, and the streams for it.

use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Duration};

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::load_stats::v3::{
    LoadStatsRequest, LoadStatsResponse, load_reporting_service_client::LoadReportingServiceClient,
};
use futures_util::future::{Either, select};
use tokio::{runtime::Handle, sync::oneshot};
use tonic::Status;

use super::{
    dial::{self, Aborted, Connection},
    one::{self, Way},
    outbox::{Outbox, Outgoing, Replace, outbox},
};
use crate::{
    control::xds::{
        client::ServerId,
        lrs::{Act, Key, Reporter},
    },
    core::{Instant, Loads, Random, earliest},
};

/// Dropped when all has been said.
pub(super) type Said = oneshot::Sender<()>;

/// A cluster that is to be reported.
pub(crate) struct Report {
    pub(crate) cluster: Arc<str>,
    /// What its endpoints are called, if not as it is.
    pub(crate) service: Arc<str>,
    /// The metrics of its endpoints that are reported, too.
    pub(crate) metrics: Vec<String>,
    pub(crate) loads: Arc<dyn Loads>,
}

/// Of all subscribers of a client.
pub(super) struct Reports {
    reporters: BTreeMap<ServerId, One>,
    /// By cluster and subscriber.
    clusters: BTreeMap<(Arc<str>, u64), Reported>,
    random: Random,
    /// Who waits for what was said last.
    said: Vec<Said>,
    /// It is to be looked at again which server each cluster is of.
    is_stale: bool,
}

struct Reported {
    report: Report,
    since: Instant,
    /// The one that the cluster came from.
    server: Option<ServerId>,
}

/// What is told to one server.
struct One {
    reporter: Reporter,
    live: Option<Live>,
}

struct Live {
    stream: u64,
    outbox: Outbox<LoadStatsRequest>,
    /// What is dropped when all has been said.
    finish: oneshot::Sender<Arc<Vec<Said>>>,
    task: Aborted,
}

/// What becomes of a stream.
pub(super) enum Event {
    Opened,
    Received(LoadStatsResponse),
    Closed,
}

/// Tells when it is dropped that a stream is over, so that a task that panics tells it, too.
struct Ending {
    tell: Box<dyn Fn(Event) + Send + Sync>,
    /// It was meant to end: nobody waits for that, and its number may be another one's by then.
    is_finished: bool,
}

/// What it takes to do something.
pub(super) struct Means<'a> {
    pub(super) ways: &'a [Arc<Way>],
    pub(super) node: &'a Node,
    pub(super) runtime: &'a Handle,
    /// The server that a cluster has come from.
    pub(super) server_of: &'a dyn Fn(&str) -> Option<ServerId>,
    pub(super) tell: &'a dyn Fn(ServerId, u64) -> Box<dyn Fn(Event) + Send + Sync>,
}

/// For a server that does not read what is said at the end.
const FLUSH: Duration = Duration::from_secs(1);
/// Between two answers that are read: no server is told oftener what it asks for.
const APART: Duration = Duration::from_millis(100);

// === impl Reports ===

impl Reports {
    pub(super) fn new(seed: u64) -> Self {
        let (reporters, clusters, said) = Default::default();
        Self { reporters, clusters, random: Random::seeded(seed), said, is_stale: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.clusters.is_empty() && self.reporters.is_empty() && self.said.is_empty()
    }

    /// Clusters may have come from other servers.
    pub(super) fn look_again(&mut self) {
        self.is_stale = true;
    }

    pub(super) fn report(&mut self, now: Instant, subscriber: u64, report: Report) {
        let key = (Arc::clone(&report.cluster), subscriber);
        self.is_stale = true;
        if let Some(known) = self.clusters.get_mut(&key)
            && known.report.loads.id() == report.loads.id()
        {
            report.loads.begin(&report.metrics);
            known.report = Report { loads: Arc::clone(&known.report.loads), ..report };
            return;
        }
        report.loads.begin(&report.metrics);
        if let Some(before) =
            self.clusters.insert(key, Reported { report, since: now, server: None })
        {
            self.take(&before);
        }
    }

    pub(super) fn unreport(&mut self, subscriber: u64, cluster: &Arc<str>) {
        if let Some(before) = self.clusters.remove(&(Arc::clone(cluster), subscriber)) {
            self.take(&before);
            self.is_stale = true;
        }
    }

    pub(super) fn leave(&mut self, subscriber: u64, said: Option<Said>) {
        let of = self.clusters.keys().filter(|key| key.1 == subscriber);
        let of: Vec<_> = of.map(|key| Arc::clone(&key.0)).collect();
        for cluster in &of {
            self.unreport(subscriber, cluster);
        }
        self.said.extend(said);
    }

    /// What it has counted until now is told with the next report.
    fn take(&mut self, of: &Reported) {
        let load = of.report.loads.take();
        of.report.loads.end();
        if let Some(one) = of.server.and_then(|server| self.reporters.get_mut(&server)) {
            one.reporter.add(key(&of.report), of.since, load);
        }
    }

    pub(super) fn event(&mut self, now: Instant, server: ServerId, stream: u64, event: Event) {
        let Some(one) = self.reporters.get_mut(&server) else { return };
        let is_current = one.live.as_ref().is_some_and(|live| live.stream == stream);
        match event {
            Event::Opened => one.reporter.opened(stream),
            Event::Received(answer) => one.reporter.received(now, stream, answer),
            Event::Closed => {
                if is_current {
                    one.live = None;
                }
                one.reporter.closed(now, stream, &self.random);
            }
        }
    }

    /// Does all that is to be done now.
    pub(super) fn act(&mut self, now: Instant, means: &Means<'_>) {
        if std::mem::take(&mut self.is_stale) {
            self.assign(means);
        }
        let said = Arc::new(std::mem::take(&mut self.said));
        for (server, one) in &mut self.reporters {
            let is_read = one.live.as_ref().is_none_or(|live| live.outbox.waiting() == 0);
            if one.reporter.is_due(now) && !is_read {
                // What is not read is not added to; the counts wait where they are.
                one.reporter.postpone(now);
            } else if one.reporter.is_due(now) {
                let mine = self.clusters.values_mut().filter(|it| it.server == Some(*server));
                for it in mine {
                    if !one.reporter.asks(&it.report.cluster) {
                        continue;
                    }
                    let since = std::mem::replace(&mut it.since, now);
                    one.reporter.add_due(key(&it.report), since, it.report.loads.take());
                }
            }
            while let Some(act) = one.reporter.next(now) {
                match act {
                    Act::Open { stream } => one.live = open(*server, stream, means),
                    Act::Send { stream, request } => {
                        if let Some(live) = one.live.as_ref().filter(|it| it.stream == stream) {
                            live.outbox.send(request);
                        }
                    }
                    Act::Finish { stream } => {
                        if let Some(live) = one.live.take().filter(|it| it.stream == stream) {
                            live.finish(&said);
                        }
                    }
                }
            }
        }
        self.reporters.retain(|_, one| one.reporter.is_wanted() || one.live.is_some());
    }

    /// Finds out which server each cluster is of.
    fn assign(&mut self, means: &Means<'_>) {
        for it in self.clusters.values_mut() {
            it.server = (means.server_of)(&it.report.cluster).or(it.server);
            if let Some(server) = it.server {
                self.reporters.entry(server).or_insert_with(|| One {
                    reporter: Reporter::new(means.node.clone()),
                    live: None,
                });
            }
        }
        for (server, one) in &mut self.reporters {
            one.reporter.want(self.clusters.values().any(|it| it.server == Some(*server)));
        }
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        let all = self.reporters.values().filter_map(|one| one.reporter.wake_at());
        all.fold(None, |first, at| earliest(first, Some(at)))
    }
}

fn key(report: &Report) -> Key {
    Key { cluster: Arc::clone(&report.cluster), service: Arc::clone(&report.service) }
}

fn open(server: ServerId, stream: u64, means: &Means<'_>) -> Option<Live> {
    let way = Arc::clone(means.ways.get(server.0)?);
    let (outbox, outgoing) = outbox();
    let (finish, finished) = oneshot::channel();
    let ending = Ending { tell: (means.tell)(server, stream), is_finished: false };
    let run = run(way, outgoing, finished, ending);
    let task = Aborted::new(means.runtime.spawn(run).abort_handle());
    Some(Live { stream, outbox, finish, task })
}

impl Live {
    /// Says nothing more; what was said goes out.
    fn finish(self, said: &Arc<Vec<Said>>) {
        let Self { outbox, finish, task, .. } = self;
        drop(outbox);
        // It ends by itself.
        task.leave();
        drop(finish.send(Arc::clone(said)));
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.is_finished {
            (self.tell)(Event::Closed);
        }
    }
}

/// Lives a stream, until it ends or is finished. That it has ended is told, whatever its task ends by.
async fn run(
    way: Arc<Way>,
    body: Outgoing<LoadStatsRequest>,
    finished: oneshot::Receiver<Arc<Vec<Said>>>,
    mut ending: Ending,
) {
    let live = pin!(live(&way, body, &*ending.tell));
    match select(live, finished).await {
        Either::Right((Ok(said), live)) => {
            ending.is_finished = true;
            drop(tokio::time::timeout(FLUSH, live).await);
            drop(said);
        }
        Either::Left((Err(status), _)) => way.ended(status.code()),
        Either::Left((Ok(()), _)) | Either::Right((Err(_), _)) => {}
    }
}

async fn live(
    way: &Way,
    body: Outgoing<LoadStatsRequest>,
    tell: &(dyn Fn(Event) + Send + Sync),
) -> Result<(), Status> {
    let origin = dial::origin(&way.server).map_err(Status::unavailable)?;
    let metadata = way.metadata().await?;
    let mut connection = way.connect().await.map_err(Status::unavailable)?;
    let distrusted = connection.distrusted.take();
    tell(Event::Opened);
    let mut client = LoadReportingServiceClient::<Connection>::with_origin(connection, origin);
    let streamed = async {
        let mut request = tonic::Request::new(body);
        *request.metadata_mut() = metadata;
        let mut answers = client.stream_load_stats(request).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            tell(Event::Received(answer));
            tokio::time::sleep(APART).await;
        }
        Ok::<(), Status>(())
    };
    one::trusted(streamed, distrusted).await
}

impl Replace for LoadStatsRequest {
    /// Each tells of a time of its own.
    fn is_said_by(&self, _later: &mut Self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, sync::mpsc::unbounded_channel};

    use super::*;
    use crate::control::xds::bootstrap::Server;

    #[tokio::test(start_paused = true)]
    async fn that_a_stream_is_over_is_told_unless_it_was_meant_to_end() {
        // It accepts, and says nothing.
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::insecure(port.local_addr().unwrap().to_string());
        let way = Arc::new(Way::new(server, &Handle::current()));
        for is_finished in [false, true] {
            let (told, mut heard) = unbounded_channel();
            let tell = Box::new(move |event: Event| drop(told.send(event)));
            let (_outbox, outgoing) = outbox();
            let (finish, finished) = oneshot::channel();
            let ending = Ending { tell, is_finished: false };
            let task = run(Arc::clone(&way), outgoing, finished, ending);
            if is_finished {
                drop(finish.send(Arc::new(Vec::new())));
                task.await;
            } else {
                drop(task);
            }
            let is_told = matches!(heard.recv().await, Some(Event::Closed));
            assert_eq!(is_told, !is_finished);
        }
    }
}
