//! Eight real servers under 32 calls at a time, with the balancer and the outlier detection as they
//! are without settings: four are well, one is slow, one fails, one flaps and one drains. No call
//! fails, and whose checks fail gets none.
//!
//! Over sockets, in paused time: what they take is not counted, and a busy machine is no slower.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::support::{
    GreeterClient, HelloRequest, Server, cluster, fetch, get, hello, patience, published, reply,
    small_steps, status, storm,
};
use http::StatusCode;
use tonic::Status;
use tower_mesh::{
    Client, Event, Mesh, Publisher, Retry, SourceHealth,
    config::{Address, Cluster, Endpoint, Health, HealthCheck, OutlierDetection},
};

/// Calls at the same time.
const WIDTH: usize = 32;
/// Calls between two changes.
const PHASE: usize = 1000;
/// What a call takes: so much that what a socket takes is little beside it.
const USUAL: Duration = Duration::from_millis(40);
/// What the slow one adds.
const SLOWER: Duration = Duration::from_millis(150);

/// How a server is.
#[derive(Clone)]
enum Temper {
    Well,
    Slow,
    /// It fails at once.
    Failing,
    /// It does so while it is told to.
    Flapping(Arc<AtomicBool>),
    /// It counts what it has in hand.
    Draining(Arc<AtomicUsize>),
}

// === impl Temper ===

impl Temper {
    fn is_bad(&self) -> bool {
        match self {
            Self::Failing => true,
            Self::Flapping(bad) => bad.load(SeqCst),
            Self::Well | Self::Slow | Self::Draining(_) => false,
        }
    }

    /// Whether a call is answered well: at once if not, else when its time is over.
    async fn answers(&self) -> bool {
        if self.is_bad() {
            return false;
        }
        match self {
            Self::Slow => tokio::time::sleep(USUAL + SLOWER).await,
            Self::Draining(busy) => {
                busy.fetch_add(1, SeqCst);
                tokio::time::sleep(USUAL).await;
                busy.fetch_sub(1, SeqCst);
            }
            _ => tokio::time::sleep(USUAL).await,
        }
        true
    }
}

/// A server of HTTP; one that is bad does not answer its checks.
async fn http(temper: Temper) -> Server {
    Server::start(move |request| {
        let (temper, is_check) = (temper.clone(), request.uri().path() == "/healthz");
        async move {
            if is_check {
                if temper.is_bad() {
                    std::future::pending::<()>().await;
                }
                return reply("well");
            }
            if temper.answers().await {
                reply("hello")
            } else {
                status(StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    })
    .await
}

/// A server of gRPC.
async fn grpc(temper: Temper) -> Server {
    Server::grpc(hello(move |_| {
        let temper = temper.clone();
        async move { greeting(&temper).await }
    }))
    .await
}

async fn greeting(temper: &Temper) -> Result<String, Status> {
    if temper.answers().await {
        Ok("hello".to_owned())
    } else {
        Err(Status::unavailable("out of order"))
    }
}

async fn http_call(client: Client) -> Result<(), String> {
    match fetch(&client, get("/")).await {
        Ok(answer) if answer.status() == StatusCode::OK => Ok(()),
        Ok(answer) => Err(answer.status().to_string()),
        Err(error) => Err(error.chain()),
    }
}

async fn grpc_call(mut client: GreeterClient<Client>) -> Result<(), String> {
    let answer = client.say_hello(HelloRequest::default()).await;
    answer.map(drop).map_err(|status| status.to_string())
}

/// Makes so many calls, none of which may fail.
async fn calls<F, Fut>(count: usize, call: F)
where
    F: FnMut(usize) -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    let answers = patience(storm(WIDTH, count, call)).await;
    let failed: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{} of {count} calls failed: {}", failed.len(), failed[0]);
}

/// What is told of an endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Seen {
    /// An attempt goes to it.
    Begun,
    Answered,
    /// An attempt has ended without a good head.
    Failed,
    Suspected,
    Ejected,
    /// Its source says so.
    Draining,
    /// A check has failed, and it counts as well all the same.
    Doubted,
    /// Its checks say so.
    Ill,
    /// They say so.
    Well,
}

fn seen(event: Event) -> Option<(Arc<str>, Seen)> {
    Some(match event {
        Event::AttemptStarted { endpoint, .. } => (endpoint, Seen::Begun),
        Event::AttemptEnded { endpoint, status: Some(200), error: None, .. } => {
            (endpoint, Seen::Answered)
        }
        Event::AttemptEnded { endpoint, .. } => (endpoint, Seen::Failed),
        Event::EndpointSuspected { endpoint, .. } => (endpoint, Seen::Suspected),
        Event::EndpointEjected { endpoint, .. } => (endpoint, Seen::Ejected),
        Event::EndpointMarked { endpoint, health: SourceHealth::Draining, .. } => {
            (endpoint, Seen::Draining)
        }
        Event::CheckFailed { endpoint, healthy, .. } => {
            (endpoint, if healthy { Seen::Doubted } else { Seen::Ill })
        }
        Event::CheckPassed { endpoint, healthy: true, .. } => (endpoint, Seen::Well),
        _ => return None,
    })
}

/// All that is told of all of them.
struct Log(Arc<Mutex<Vec<(Arc<str>, Seen)>>>);

// === impl Log ===

impl Log {
    fn of(mesh: &Mesh) -> Self {
        let list = Arc::new(Mutex::new(Vec::new()));
        let (mut events, told) = (mesh.events(), Arc::clone(&list));
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                told.lock().unwrap().extend(seen(event));
            }
        });
        Self(list)
    }

    /// What was told of this one so far.
    async fn about(&self, address: &Address) -> Vec<Seen> {
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
        let name = address.to_string();
        let all = self.0.lock().unwrap();
        all.iter().filter(|(endpoint, _)| **endpoint == *name).map(|(_, seen)| *seen).collect()
    }
}

fn count(told: &[Seen], what: Seen) -> usize {
    told.iter().filter(|seen| **seen == what).count()
}

/// The servers of a test.
struct Fleet {
    well: Vec<Server>,
    slow: Server,
    failing: Server,
    flapping: Server,
    /// Whether that one fails.
    bad: Arc<AtomicBool>,
    draining: Server,
    /// How many calls that one has in hand.
    busy: Arc<AtomicUsize>,
}

// === impl Fleet ===

impl Fleet {
    async fn start(start: impl AsyncFn(Temper) -> Server) -> Self {
        let (bad, busy) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut well = Vec::new();
        for _ in 0..4 {
            well.push(start(Temper::Well).await);
        }
        Self {
            well,
            slow: start(Temper::Slow).await,
            failing: start(Temper::Failing).await,
            flapping: start(Temper::Flapping(Arc::clone(&bad))).await,
            bad,
            draining: start(Temper::Draining(Arc::clone(&busy))).await,
            busy,
        }
    }

    fn members(&self) -> Cluster {
        let others = [&self.slow, &self.failing, &self.flapping, &self.draining];
        let mut members = cluster(self.well.iter().chain(others).map(Server::address));
        members.outlier_detection = Some(OutlierDetection::default());
        members
    }
}

/// A mesh of these endpoints whose calls are sent again by the usual rules.
async fn mesh_of(members: Cluster, retry: Retry) -> (Mesh, Publisher) {
    let builder = Mesh::builder().service("users", |s| s.retry(retry)).seed(7);
    published(builder, |publish| publish.cluster("users", members).unwrap()).await
}

/// Calls go on while one endpoint is announced to drain, and closes some time later.
async fn drains<F, Fut>(server: Server, busy: &AtomicUsize, publisher: &Publisher, call: &F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    let mut draining = Endpoint::new(server.address());
    draining.health = Health::Draining;
    let (mut server, mut marked, mut closing) = (Some(server), None, None);
    calls(PHASE, |number| {
        // It has calls in hand: they are finished.
        if marked.is_none() && number >= PHASE / 4 && busy.load(SeqCst) > 0 {
            publisher.upsert_endpoints("users", vec![draining.clone()]).unwrap();
            marked = Some(number);
        }
        if marked.is_some_and(|marked| number > marked + PHASE / 4) {
            closing = closing.take().or_else(|| Some(tokio::spawn(server.take()?.close())));
        }
        call()
    })
    .await;
    patience(closing.expect("it was to close while calls go on")).await.unwrap();
}

/// What happens to the fleet, and what its callers notice: nothing.
async fn lives_on<F, Fut>(fleet: Fleet, (mesh, publisher): &(Mesh, Publisher), call: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    let Fleet { well, slow, failing, flapping, bad, draining, busy } = fleet;
    let log = Log::of(mesh);
    calls(PHASE, |_| call()).await;
    // An even share is an eighth. Whoever is drawn beside the one that fails is called, slow or not.
    let (slowly, badly) = (slow.requests(), failing.requests());
    assert!((1..=PHASE / 16).contains(&slowly), "the slow one got {slowly} of {PHASE} calls");
    assert!((1..=PHASE / 100).contains(&badly), "the failing one got {badly} of {PHASE} calls");
    let is_left = |told: &[Seen]| told.contains(&Seen::Suspected) || told.contains(&Seen::Ejected);
    let told = log.about(&failing.address()).await;
    assert!(is_left(&told), "{told:?}");

    let before = flapping.requests();
    assert!(before >= PHASE / 16, "it is well, and got {before} of {PHASE} calls");
    bad.store(true, SeqCst);
    calls(PHASE, |_| call()).await;
    let met = flapping.requests() - before;
    assert!((1..=PHASE / 33).contains(&met), "it fails, and got {met} of {PHASE} calls");
    let told = log.about(&flapping.address()).await;
    assert!(is_left(&told), "{told:?}");
    bad.store(false, SeqCst);
    // The time of an ejection, if it has come to that.
    tokio::time::sleep(Duration::from_secs(31)).await;
    let before = flapping.requests();
    calls(PHASE, |_| call()).await;
    let back = flapping.requests() - before;
    assert!(back >= PHASE / 16, "it is well again, and got {back} of {PHASE} calls");

    let gone = draining.address();
    drains(draining, &busy, publisher, &call).await;
    calls(PHASE / 2, |_| call()).await;
    let told = log.about(&gone).await;
    let marked = told.iter().position(|seen| *seen == Seen::Draining).unwrap();
    assert!(!told[marked..].contains(&Seen::Begun), "a call began when it was known to drain");
    assert!(told[marked..].contains(&Seen::Answered), "calls were in hand when it began to drain");
    assert_eq!(count(&told, Seen::Begun), count(&told, Seen::Answered), "each was finished");
    assert_eq!(busy.load(SeqCst), 0);

    let all = PHASE * 9 / 2;
    let (slowly, badly) = (slow.requests(), failing.requests());
    assert!(slowly <= all / 12, "the slow one got {slowly} of {all} calls");
    assert!(badly <= all / 100, "the failing one got {badly} of {all} calls");
    for server in &well {
        let hits = server.requests();
        assert!(hits >= all / 12, "one that is well got {hits} of {all} calls");
    }
    let missed = mesh.metrics().total("mesh.client.events.missed", &[]);
    assert!(missed < 1.0, "{missed} events were not looked at");
}

#[tokio::test(start_paused = true)]
async fn no_call_of_http_fails_whoever_is_slow_fails_flaps_or_drains() {
    small_steps();
    let fleet = Fleet::start(http).await;
    let mesh = mesh_of(fleet.members(), Retry::standard()).await;
    let client = mesh.0.client("users").unwrap();
    lives_on(fleet, &mesh, || http_call(client.clone())).await;
}

#[tokio::test(start_paused = true)]
async fn no_call_of_grpc_fails_whoever_is_slow_fails_flaps_or_drains() {
    small_steps();
    let fleet = Fleet::start(grpc).await;
    let mesh = mesh_of(fleet.members(), Retry::idempotent()).await;
    let client = GreeterClient::new(mesh.0.client("users").unwrap());
    lives_on(fleet, &mesh, || grpc_call(client.clone())).await;
}

/// At short intervals: a check is a call that the test waits for.
fn often(mut check: HealthCheck) -> HealthCheck {
    let short = Some(Duration::from_millis(100));
    (check.timeout, check.interval, check.no_traffic_interval) = (short, short, short);
    check
}

/// Makes calls until the latest word of the checks on this one is this.
async fn until<F, Fut>(log: &Log, address: &Address, word: Seen, call: &F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    for _ in 0..100 {
        let told = log.about(address).await;
        let is_word = |seen: &&Seen| matches!(seen, Seen::Ill | Seen::Well);
        if told.iter().rev().find(is_word) == Some(&word) {
            return;
        }
        calls(WIDTH, |_| call()).await;
    }
    panic!("its checks do not find it {word:?}: {:?}", log.about(address).await);
}

/// One of four falls ill, as `turn` makes it, and recovers. How many of its checks have failed before it
/// counted as ill.
async fn is_left_while_ill<F, Fut>(
    mesh: &Mesh,
    address: &Address,
    turn: impl AsyncFn(bool),
    call: F,
) -> usize
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    let log = Log::of(mesh);
    calls(PHASE / 2, |_| call()).await;
    turn(true).await;
    until(&log, address, Seen::Ill, &call).await;
    calls(PHASE / 2, |_| call()).await;
    turn(false).await;
    until(&log, address, Seen::Well, &call).await;
    // Until a call that finds out whether it is well may be sent to it.
    tokio::time::sleep(Duration::from_secs(5)).await;
    calls(PHASE / 2, |_| call()).await;
    let told = log.about(address).await;
    let (before, after) = told.split_at(told.iter().position(|seen| *seen == Seen::Ill).unwrap());
    let (ill, well) = after.split_at(after.iter().position(|seen| *seen == Seen::Well).unwrap());
    let (before_it, since) = (count(before, Seen::Begun), count(well, Seen::Begun));
    assert_eq!(count(ill, Seen::Begun), 0, "it is ill, and was called");
    assert!(before_it >= PHASE / 16, "it was well, and got {before_it} calls");
    assert!(since >= PHASE / 16, "it is well again, and got {since} calls");
    count(before, Seen::Doubted)
}

#[tokio::test(start_paused = true)]
async fn one_whose_http_checks_get_no_answer_is_called_no_more_from_the_threshold_on() {
    small_steps();
    let bad = Arc::<AtomicBool>::default();
    let failing = http(Temper::Flapping(Arc::clone(&bad))).await;
    let others = [http(Temper::Well).await, http(Temper::Well).await, http(Temper::Slow).await];
    let mut members = cluster(others.iter().chain([&failing]).map(Server::address));
    members.outlier_detection = Some(OutlierDetection::default());
    members.health_checks = vec![often(HealthCheck::http("/healthz"))];
    let (mesh, _publisher) = mesh_of(members, Retry::standard()).await;
    let client = mesh.client("users").unwrap();
    let turn = async |is_bad: bool| bad.store(is_bad, SeqCst);
    let call = || http_call(client.clone());
    let doubts = is_left_while_ill(&mesh, &failing.address(), turn, call).await;
    assert_eq!(doubts, 2, "the third one that gets no answer is believed");
}

/// A server of gRPC that speaks the health protocol, too, and what says there how it is.
#[cfg(feature = "grpc-health")]
async fn with_health(temper: Temper) -> (Server, tonic_health::server::HealthReporter) {
    use tonic::codegen::Service;

    let (reporter, health) = tonic_health::server::health_reporter();
    let greeter = crate::support::GreeterServer::new(hello(move |_| {
        let temper = temper.clone();
        async move { greeting(&temper).await }
    }));
    let server = Server::start(move |request| {
        let (mut health, mut greeter) = (health.clone(), greeter.clone());
        async move {
            let answer = if request.uri().path().starts_with("/grpc.health.v1.Health/") {
                Service::call(&mut health, request).await
            } else {
                Service::call(&mut greeter, request).await
            };
            match answer {
                Ok(reply) => reply.map(crate::support::server::body),
                Err(never) => match never {},
            }
        }
    })
    .await;
    (server, reporter)
}

#[cfg(feature = "grpc-health")]
#[tokio::test(start_paused = true)]
async fn one_that_says_by_grpc_that_it_does_not_serve_is_called_no_more() {
    use tonic_health::ServingStatus;

    small_steps();
    let bad = Arc::<AtomicBool>::default();
    let (failing, reporter) = with_health(Temper::Flapping(Arc::clone(&bad))).await;
    let (one, _) = with_health(Temper::Well).await;
    let (two, _) = with_health(Temper::Well).await;
    let (slow, _) = with_health(Temper::Slow).await;
    let mut members = cluster([&failing, &one, &two, &slow].map(Server::address));
    members.outlier_detection = Some(OutlierDetection::default());
    members.health_checks = vec![often(HealthCheck::grpc())];
    let (mesh, _publisher) = mesh_of(members, Retry::idempotent()).await;
    let client = GreeterClient::new(mesh.client("users").unwrap());
    let turn = async |is_bad: bool| {
        bad.store(is_bad, SeqCst);
        let status = if is_bad { ServingStatus::NotServing } else { ServingStatus::Serving };
        reporter.set_service_status("", status).await;
    };
    let call = || grpc_call(client.clone());
    let doubts = is_left_while_ill(&mesh, &failing.address(), turn, call).await;
    assert_eq!(doubts, 0, "an answer that says no is believed at once");
}
