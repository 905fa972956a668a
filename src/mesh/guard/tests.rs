//! The way past guards, with guards that do what their names say.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request, Response, StatusCode};

use super::{Asked, Dry, Ended, Entry, Foretold, Guard, Holding, Pass};
use crate::{
    Body, Call, Refusal,
    config::{self, Address, Extension, Filter, Value},
    core::{Error, ErrorKind, Held, Instant, Phase},
    discover::{Discover, Publisher},
    mesh::{Mesh, Setting, service::ServiceCell, settings::By},
    testing::{Endpoint, Network},
};

#[derive(Debug)]
struct Doing {
    what: String,
    log: Log,
}

/// What the guards of one test have done: shared by name, for a guard is made from settings alone.
type Log = Arc<Mutex<Vec<String>>>;

static LOGS: Mutex<Vec<(String, Log)>> = Mutex::new(Vec::new());

struct Kept(Log, String);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(format!("{} left", self.1));
    }
}

impl Pass for Kept {
    fn ended(self: Box<Self>, ended: Ended<'_>) -> Held {
        let result = match ended.result {
            Ok(response) => response.status().as_str().to_owned(),
            Err(error) => error.kind().what().to_owned(),
        };
        self.0.lock().unwrap().push(format!("{} ended {result}", self.1));
        Held::Nothing
    }
}

pub(super) fn made(extension: &Extension) -> Option<Arc<dyn Guard>> {
    let what = extension.name.strip_prefix("test.")?.to_owned();
    let Some(Value::Text(of)) = extension.settings.get("log") else { return None };
    let mut logs = LOGS.lock().unwrap();
    let log = match logs.iter().find(|(name, _)| name == of) {
        Some((_, log)) => Arc::clone(log),
        None => {
            logs.push((of.clone(), Log::default()));
            Arc::clone(&logs.last()?.1)
        }
    };
    log.lock().unwrap().push(format!("{what} made"));
    Some(Arc::new(Doing { what, log }))
}

impl Guard for Doing {
    fn enter(self: Arc<Self>, _: Asked<'_>) -> Entry {
        self.log.lock().unwrap().push(format!("{} asked", self.what));
        match &*self.what {
            "refuse" => Entry::Refuse(
                Error::new(ErrorKind::Overloaded, Phase::Admission)
                    .refused(Refusal::RateLimited)
                    .with_status(StatusCode::TOO_MANY_REQUESTS),
            ),
            "answer" => Entry::Answer(Box::new(Response::new(Body::from("here")))),
            "wait" => Entry::Wait(Box::pin(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let then: super::Then = Box::new(|request| {
                    request.headers_mut().insert("x-waited", http::HeaderValue::from_static("1"));
                    Entry::Pass
                });
                then
            })),
            _ => Entry::Hold(Holding::of(Kept(Arc::clone(&self.log), self.what.clone()))),
        }
    }

    fn explain(&self, _: &Dry<'_>) -> Foretold {
        Foretold::default()
    }

    fn settings(&self, _: By<'_>) -> Vec<Setting> {
        Vec::new()
    }
}

/// A source that hands its publisher out.
struct Own(tokio::sync::oneshot::Sender<Publisher>);

impl Discover for Own {
    fn name(&self) -> String {
        "own".into()
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            drop(self.0.send(publish));
            std::future::pending::<()>().await;
        })
    }
}

struct Stage {
    mesh: Mesh,
    publish: Publisher,
    endpoint: Endpoint,
    log: &'static str,
}

impl Stage {
    async fn new(log: &'static str, guards: &[&str]) -> Self {
        let network = Network::new();
        let endpoint = network.endpoint("10.0.0.1:80");
        let (give, take) = tokio::sync::oneshot::channel();
        let mesh = Mesh::builder().source(Own(give)).connect_layer(network).build().unwrap();
        let publish = take.await.unwrap();
        let address: Address = "10.0.0.1:80".parse().unwrap();
        publish.endpoints("users", [address]).unwrap();
        let stage = Self { mesh, publish, endpoint, log };
        stage.say(guards, None);
        stage.publish.synced();
        stage
    }

    fn say(&self, guards: &[&str], timeout: Option<Duration>) {
        let mut service = config::Service::default();
        service.filters = guards.iter().map(|name| self.filter(name)).collect();
        service.policy.timeout = timeout;
        self.publish.service("users", service).unwrap();
    }

    fn filter(&self, name: &str) -> Filter {
        let mut extension = Extension::new(format!("test.{name}"));
        extension.settings.insert("log".into(), Value::Text(self.log.into()));
        Filter::Extension(extension)
    }

    async fn call(&self) -> Result<Response<Body>, Error> {
        let request = Request::get("http://users/").body(Body::empty()).unwrap();
        self.mesh.http().send(request).await
    }

    /// What has been done since this was asked last.
    fn done(&self) -> Vec<String> {
        let logs = LOGS.lock().unwrap();
        let log = logs.iter().find(|(name, _)| name == self.log).map(|(_, log)| Arc::clone(log));
        std::mem::take(&mut *log.unwrap().lock().unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn guards_are_asked_in_their_order_and_told_the_end_the_other_way_round() {
    let stage = Stage::new("order", &["a", "wait", "b"]).await;
    let response = stage.call().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(stage.endpoint.received()[0].headers["x-waited"], "1");
    let made = ["a made", "wait made", "b made"];
    let asked = ["a asked", "wait asked", "b asked"];
    let ended = ["b ended 200", "b left", "a ended 200", "a left"];
    assert_eq!(stage.done(), [&made[..], &asked, &ended].concat());
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_is_not_sent_and_says_why() {
    let stage = Stage::new("refused", &["a", "refuse", "b"]).await;
    let error = stage.call().await.unwrap_err();
    assert_eq!((error.refusal(), error.response_flag()), (Some(Refusal::RateLimited), "RL"));
    assert_eq!(error.http_status(), 429);
    assert_eq!(error.service_name(), Some("users"));
    assert_eq!(stage.endpoint.calls(), 0);
    assert_eq!(stage.done()[3..], ["a asked", "refuse asked", "a ended limit reached", "a left"]);
}

#[tokio::test(start_paused = true)]
async fn a_guard_may_answer() {
    let stage = Stage::new("answered", &["answer"]).await;
    assert!(stage.call().await.is_ok());
    assert_eq!(stage.endpoint.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_the_deadline_of_the_call() {
    let stage = Stage::new("late", &["a", "wait"]).await;
    stage.say(&["a", "wait"], Some(Duration::from_millis(300)));
    let began = Instant::now();
    let error = stage.call().await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Admission), "{error}");
    assert!(error.to_string().contains("300ms"), "{error}");
    assert_eq!(began.elapsed(), Duration::from_millis(300));
    let mut request = Request::get("http://users/").body(Body::empty()).unwrap();
    request.extensions_mut().insert(Call::new().timeout(Duration::from_millis(20)));
    assert!(stage.mesh.http().send(request).await.is_err());
    assert_eq!(began.elapsed(), Duration::from_millis(320));
    assert_eq!(stage.endpoint.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_in_a_wait_is_told_to_the_guards_before_it() {
    let stage = Stage::new("told", &["a", "wait"]).await;
    stage.say(&["a", "wait"], Some(Duration::from_millis(300)));
    drop(stage.done());
    let error = stage.call().await.unwrap_err();
    let ended = format!("a ended {}", error.kind().what());
    assert_eq!(stage.done(), ["a asked", "wait asked", &ended, "a left"]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_what_the_policy_allows_a_stream_and_a_grpc_call() {
    let stage = Stage::new("terms", &["wait"]).await;
    let mut service = config::Service::default();
    service.filters = vec![stage.filter("wait")];
    service.policy.max_stream_duration = Some(Duration::from_millis(300));
    stage.publish.service("users", service.clone()).unwrap();
    let began = Instant::now();
    let error = stage.call().await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Admission), "{error}");
    assert_eq!(began.elapsed(), Duration::from_millis(300));
    let mut grpc = config::GrpcTimeout::default();
    grpc.max = Some(Duration::from_millis(200));
    (service.policy.max_stream_duration, service.policy.grpc_timeout) = (None, Some(grpc));
    stage.publish.service("users", service).unwrap();
    let request = Request::post("http://users/a.B/Get").header("content-type", "application/grpc");
    let request = request.header("grpc-timeout", "5S").body(Body::empty()).unwrap();
    let response = stage.mesh.http().send(request).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "4");
    assert_eq!(began.elapsed(), Duration::from_millis(500));
    assert_eq!(stage.endpoint.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_while_it_waits_leaves_its_guards() {
    let stage = Stage::new("leaves", &["a", "wait"]).await;
    drop(stage.done());
    assert!(tokio::time::timeout(Duration::from_millis(5), stage.call()).await.is_err());
    assert_eq!(stage.done(), ["a asked", "wait asked", "a left"]);
}

#[tokio::test(start_paused = true)]
async fn a_guard_lives_on_where_nothing_of_it_is_changed() {
    let stage = Stage::new("kept", &["a", "b"]).await;
    stage.say(&["a"], Some(Duration::from_secs(9)));
    stage.say(&["a", "b"], None);
    assert_eq!(stage.done(), ["a made", "b made", "b made"]);
}

/// Each route asks for its own alone: what others keep is not gone through.
#[tokio::test]
async fn what_many_routes_keep_is_found_without_a_search_through_all_of_them() {
    const ROUTES: usize = 30_000;
    let stage = Stage::new("many", &[]).await;
    let cell = ServiceCell::new("users", &stage.mesh.inner.hub);
    let filter = Filter::Extension(Extension::new("test.a"));
    let mut hedged = config::Policy::default();
    hedged.hedge = Some(config::Hedge::after(Duration::from_millis(1)));
    let guard = |made: bool| {
        let doing = Doing { what: "a".into(), log: Log::default() };
        made.then(|| Arc::new(doing) as Arc<dyn Guard>)
    };
    let began = Instant::now();
    let keep = |first: bool| {
        let of_route = |route: usize| {
            let place = super::Place::Route(format!("route-of-many-{route}"));
            let guard = cell.guards.guard(&place, &filter, || guard(first)).unwrap();
            let limiter = cell.route_limits.limiter(&place, 9);
            let hedging = cell.policy(&format!("route-of-many-{route}").into(), &hedged).hedging;
            (guard, limiter, hedging.unwrap())
        };
        (0..ROUTES).map(of_route).collect::<Vec<_>>()
    };
    let (before, after) = (keep(true), keep(false));
    // By a search it was minutes.
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    for (before, after) in before.iter().zip(&after) {
        assert!(Arc::ptr_eq(&before.0, &after.0));
        assert!(Arc::ptr_eq(&before.1, &after.1) && Arc::ptr_eq(&before.2, &after.2));
    }
}
