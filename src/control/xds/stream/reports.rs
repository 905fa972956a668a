//! Load reports: which clusters are reported to which server, and the streams for it.

use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Duration};

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse};
use futures_util::future::{Either, select};
use http::uri::PathAndQuery;
use tokio::{runtime::Handle, sync::oneshot};
use tonic::{Status, client::Grpc};

use super::{
    codec::Looking,
    dial::{self, Aborted},
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

/// Dropped by all who have it when all has been said.
pub(super) type Said = Arc<oneshot::Sender<()>>;

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
    /// [`Means::origins`] when that was looked at.
    origins: u64,
    /// The number of the stream that was opened last. One that was meant to end may say something still, when
    /// its server is reported to again: no number is given twice.
    last: u64,
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
    /// It was meant to end: nobody waits for that.
    is_finished: bool,
}

/// What it takes to do something.
pub(super) struct Means<'a> {
    pub(super) ways: &'a [Arc<Way>],
    pub(super) node: &'a Node,
    pub(super) runtime: &'a Handle,
    /// The server that a cluster has come from.
    pub(super) server_of: &'a dyn Fn(&str) -> Option<ServerId>,
    /// How often that has become another one for any cluster.
    pub(super) origins: u64,
    pub(super) tell: &'a dyn Fn(ServerId, u64) -> Box<dyn Fn(Event) + Send + Sync>,
}

/// For a server that does not read what is said at the end.
const FLUSH: Duration = Duration::from_secs(1);
/// The method of its stream.
const STREAM: &str = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats";
/// Between two answers that are read: no server is told oftener what it asks for.
const APART: Duration = Duration::from_millis(100);

// === impl Reports ===

impl Reports {
    pub(super) fn new(seed: u64) -> Self {
        let (reporters, clusters, said) = Default::default();
        let (random, is_stale) = (Random::seeded(seed), false);
        Self { reporters, clusters, random, said, is_stale, origins: 0, last: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.clusters.is_empty() && self.reporters.is_empty() && self.said.is_empty()
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
        // First, for both may count in the same cells.
        if let Some(before) = self.clusters.remove(&key) {
            self.take(subscriber, &before);
        }
        report.loads.begin(&report.metrics);
        self.clusters.insert(key, Reported { report, since: now, server: None });
    }

    pub(super) fn unreport(&mut self, subscriber: u64, cluster: &Arc<str>) {
        if let Some(before) = self.clusters.remove(&(Arc::clone(cluster), subscriber)) {
            self.take(subscriber, &before);
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
    fn take(&mut self, subscriber: u64, of: &Reported) {
        let load = of.report.loads.take();
        of.report.loads.end();
        if let Some(one) = of.server.and_then(|server| self.reporters.get_mut(&server)) {
            one.reporter.add(key(&of.report), subscriber, of.since, load);
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
        self.is_stale |= std::mem::replace(&mut self.origins, means.origins) != means.origins;
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
                let mine = self.clusters.iter_mut().filter(|(_, it)| it.server == Some(*server));
                for ((_, subscriber), it) in mine {
                    if !one.reporter.asks(&it.report.cluster) {
                        continue;
                    }
                    let since = std::mem::replace(&mut it.since, now);
                    let load = it.report.loads.take();
                    one.reporter.add_due(key(&it.report), *subscriber, since, load);
                }
            }
            while let Some(act) = one.reporter.next(now, &mut self.last) {
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
    let client = Grpc::with_origin(connection, origin);
    let mut client = client.max_decoding_message_size(one::MAX_MESSAGE_BYTES);
    let streamed = async {
        let mut request = tonic::Request::new(body);
        *request.metadata_mut() = metadata;
        client.ready().await.map_err(|error| one::unready(&error))?;
        let codec = Looking::<LoadStatsRequest, LoadStatsResponse>::new();
        let answers = client.streaming(request, PathAndQuery::from_static(STREAM), codec);
        let mut answers = answers.await?.into_inner();
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
    use std::cell::{Cell, RefCell};

    use tokio::{net::TcpListener, sync::mpsc::unbounded_channel};

    use super::*;
    use crate::{control::xds::bootstrap::Server, core::Load};

    const SERVER: ServerId = ServerId(0);

    /// Nothing is called.
    struct Idle;

    impl Loads for Idle {
        fn id(&self) -> usize {
            0
        }

        fn begin(&self, _metrics: &[String]) {}

        fn end(&self) {}

        fn take(&self) -> Load {
            Load::default()
        }
    }

    fn report(cluster: &str) -> Report {
        let service = "".into();
        Report { cluster: cluster.into(), service, metrics: Vec::new(), loads: Arc::new(Idle) }
    }

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

    /// Its task reads what the server says until that is all said, and its server may be reported to again
    /// meanwhile.
    #[tokio::test]
    async fn what_a_stream_says_that_was_meant_to_end_is_not_taken_for_the_next_ones() {
        let (runtime, node) = (Handle::current(), Node::default());
        let ways = [Arc::new(Way::new(Server::insecure("127.0.0.1:1"), &runtime))];
        let opened = RefCell::new(Vec::new());
        let tell = |_: ServerId, stream: u64| -> Box<dyn Fn(Event) + Send + Sync> {
            opened.borrow_mut().push(stream);
            Box::new(|_: Event| {})
        };
        let server_of = |_: &str| Some(SERVER);
        let means = Means {
            ways: &ways,
            node: &node,
            runtime: &runtime,
            server_of: &server_of,
            origins: 0,
            tell: &tell,
        };
        let (mut reports, now) = (Reports::new(1), Instant::now());
        reports.report(now, 1, report("c"));
        reports.act(now, &means);
        reports.unreport(1, &"c".into());
        reports.act(now, &means);
        reports.report(now, 1, report("c"));
        reports.act(now, &means);
        let [finished, current] = opened.take()[..] else { panic!("two streams") };
        // Once it is open, it is said who asks.
        for (stream, said) in [(finished, 0), (current, 1)] {
            reports.event(now, SERVER, stream, Event::Opened);
            reports.act(now, &means);
            let live = reports.reporters[&SERVER].live.as_ref().unwrap();
            assert_eq!(live.outbox.waiting(), said, "stream {stream}");
        }
    }

    /// Of ten thousand clusters whose endpoints change all the time, each would be looked for each time.
    #[tokio::test]
    async fn no_cluster_is_looked_for_while_none_has_come_from_another_server() {
        let (runtime, node, looks) = (Handle::current(), Node::default(), Cell::new(0));
        let server_of = |_: &str| {
            looks.set(looks.get() + 1);
            None::<ServerId>
        };
        let tell =
            |_: ServerId, _: u64| -> Box<dyn Fn(Event) + Send + Sync> { Box::new(|_: Event| {}) };
        let (mut reports, now) = (Reports::new(1), Instant::now());
        let looked = |reports: &mut Reports, origins: u64| {
            let (node, runtime, server_of, tell) = (&node, &runtime, &server_of, &tell);
            reports.act(now, &Means { ways: &[], node, runtime, server_of, origins, tell });
            looks.take()
        };
        for number in 0..100 {
            reports.report(now, 1, report(&number.to_string()));
        }
        assert_eq!(looked(&mut reports, 1), 100);
        assert_eq!(looked(&mut reports, 1), 0);
        assert_eq!(looked(&mut reports, 2), 100);
        assert_eq!(looked(&mut reports, 2), 0);
        reports.report(now, 1, report("another"));
        assert_eq!(looked(&mut reports, 2), 101);
    }
}
