//! The policy path above a service that does nothing: ours as layers and fused in the mesh,
//! tower's equivalent, and tower-resilience's.

use std::{
    fmt::Debug,
    hint::black_box,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use gungraun::LibraryBenchmarkConfig;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::runtime::Runtime;
use tower::{
    ServiceBuilder,
    balance::p2c::Balance,
    discover::ServiceList,
    load::{CompleteOnResponse, PeakEwmaDiscover},
    retry::{
        Policy,
        budget::{Budget, TpsBudget},
    },
};
use tower_mesh::{
    Body, BoxError, Mesh, Retry,
    balance::bench::Bench,
    config::Balancer,
    discover::Static,
    resilience::{ConcurrencyLimitLayer, DeadlineLayer, RetryLayer},
};
use tower_resilience::prelude::{BulkheadLayer, CircuitBreakerLayer, TimeLimiterLayer};
use tower_service::Service;

use super::{
    calls::{self, roomy},
    script::{Script, Told},
    subjects::{ENDPOINTS, LIMIT, TIMEOUT, Work, config},
    valgrind,
};

/// Bytes of the header map of a call.
const HEADERS: usize = 1248;

/// What stands above the service that does nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Above {
    /// Nothing.
    Nothing,
    /// Nothing; the request carries the header that a deadline writes.
    Header,
    /// The same, one boxed future and one copy of the head: what an own leaf costs by contract,
    /// since it gives no request back.
    Leaf,
    /// Our public layers (deadline, concurrency limit, retry) and a pick.
    Layers,
    /// The mesh itself: routes, deadline, limits, budget, breaker and pick, over an own leaf.
    Mesh,
    /// tower's timeout, retry, load shed and concurrency limit.
    Tower,
    /// The same, its buffer and its p2c by peak EWMA: "the tower mesh".
    TowerMesh,
    /// tower-resilience's time limiter, circuit breaker and bulkhead; armed: its retry too.
    Resilience,
}

/// A stack that can be driven.
pub(crate) trait Run {
    /// Makes calls, one after the other.
    fn run(&mut self, calls: u32);
    /// Makes one call: its status, or that it failed.
    fn probe(&mut self) -> Result<StatusCode, String>;
}

struct Stack<S, B> {
    runtime: Runtime,
    service: S,
    request: fn() -> Request<B>,
}

impl<S, B, R> Run for Stack<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Debug,
{
    fn run(&mut self, calls: u32) {
        let (service, request) = (&mut self.service, self.request);
        self.runtime.block_on(async {
            for _ in 0..calls {
                std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
                let response = service.call(request()).await.unwrap();
                assert_eq!(response.status(), StatusCode::OK);
            }
        });
    }

    fn probe(&mut self) -> Result<StatusCode, String> {
        let (service, request) = (&mut self.service, self.request);
        self.runtime.block_on(async {
            std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
            let response = calls::patiently(service.call(request())).await;
            response.map(|response| response.status()).map_err(|error| format!("{error:?}"))
        })
    }
}

/// A stack that has proved that it does what is measured.
pub(crate) fn stack(above: Above, armed: bool) -> Box<dyn Run> {
    if !matches!(above, Above::Nothing | Above::Header | Above::Leaf) {
        let (mut stack, script) = build(above, armed, Duration::from_secs(1));
        stack.run(9);
        script.silence();
        assert!(stack.probe().is_err(), "{above:?} does not time out");

        let (mut stack, script) = build(above, armed, TIMEOUT);
        stack.run(9);
        script.fail_once();
        let status = stack.probe().unwrap();
        assert!(script.is_plain(), "the failure was not delivered");
        assert_eq!(status.is_success(), armed, "{above:?}: {status}");
    }
    let (mut stack, _) = build(above, armed, TIMEOUT);
    stack.run(calls::WARM_UP);
    stack
}

/// How its instructions are counted: glibc's allocator keeps all that is given back at hand, in place of seven
/// chunks of each size.
pub(crate) fn steady() -> LibraryBenchmarkConfig {
    let mut config = valgrind::config();
    config.env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=65535");
    config
}

/// Leaves chunks of the size of a header map, each between two that stay.
///
/// glibc's allocator keeps chunks of up to 1,032 bytes at hand. The headers of these calls are 1,248, with the
/// mesh or without: what is given back is merged with its neighbours, if those are free, and searched for
/// again. That is up to 600 instructions of a call, by the luck of a run.
fn settle_heap() {
    let mut chunks: Vec<Vec<u8>> =
        (0..512).map(|_| black_box(Vec::with_capacity(HEADERS))).collect();
    for pair in chunks.chunks_exact_mut(2) {
        pair[0] = Vec::new();
    }
    let _stay: &mut [Vec<u8>] = chunks.leak();
}

fn build(above: Above, armed: bool, timeout: Duration) -> (Box<dyn Run>, Script) {
    settle_heap();
    let runtime = calls::runtime();
    let handle = runtime.handle().clone();
    let _entered = handle.enter();
    let script = Script::default();
    let ours = Idle::<Body>::new(&script);
    let theirs = Idle::<Full<Bytes>>::new(&script);
    let retry = if armed { Retry::idempotent() } else { Retry::standard() };
    let limit = usize::try_from(LIMIT).unwrap();
    let stack: Box<dyn Run> = match above {
        Above::Nothing => {
            Box::new(Stack { runtime, service: theirs, request: post::<Full<Bytes>> })
        }
        Above::Header => Box::new(Stack { runtime, service: ours, request: post_with_header }),
        Above::Leaf => {
            let service = Erased(Arc::new(move |request| Box::pin(ours.clone().call(request))));
            Box::new(Stack { runtime, service, request: post_with_header })
        }
        Above::Layers => {
            let bench = Bench::new(&Balancer::default(), u32::try_from(ENDPOINTS).unwrap());
            let service = ServiceBuilder::new()
                .layer(DeadlineLayer::new(timeout))
                .layer(ConcurrencyLimitLayer::new(LIMIT))
                .layer(RetryLayer::new(&retry).unwrap())
                .service(Picking { bench: Arc::new(bench), inner: ours });
            Box::new(Stack { runtime, service, request: post::<Body> })
        }
        Above::Mesh => {
            let work = if armed { Work::Armed } else { Work::Full };
            let service = runtime.block_on(async {
                let mesh = Mesh::builder()
                    .source(Static::new(config(work, timeout)))
                    .leaf(move |_| ours.clone())
                    .seed(7)
                    .build()
                    .unwrap();
                mesh.ready().await.unwrap();
                mesh.client("users.prod").unwrap()
            });
            Box::new(Stack { runtime, service, request: post::<Body> })
        }
        Above::Tower => {
            let service = ServiceBuilder::new()
                .timeout(timeout)
                .retry(Twice::new(armed))
                .load_shed()
                .concurrency_limit(limit)
                .service(theirs);
            Box::new(Stack { runtime, service, request: post::<Full<Bytes>> })
        }
        Above::TowerMesh => {
            let list = ServiceList::new::<Request<Full<Bytes>>>(vec![theirs; ENDPOINTS]);
            let (rtt, decay) = (Duration::from_millis(30), Duration::from_secs(10));
            let list = PeakEwmaDiscover::new::<Request<Full<Bytes>>>(
                list,
                rtt,
                decay,
                CompleteOnResponse::default(),
            );
            let service = ServiceBuilder::new()
                .timeout(timeout)
                .retry(Twice::new(armed))
                .load_shed()
                .concurrency_limit(limit)
                .buffer(1024)
                .service(Balance::new(list));
            Box::new(Stack { runtime, service, request: post::<Full<Bytes>> })
        }
        Above::Resilience => {
            let bulkhead = BulkheadLayer::builder().max_concurrent_calls(limit).build().unwrap();
            let service = ServiceBuilder::new()
                .layer(TimeLimiterLayer::builder().timeout_duration(timeout).build())
                .layer(CircuitBreakerLayer::builder().build().unwrap())
                .layer(bulkhead);
            if armed {
                let retry = tower_resilience::retry::RetryLayer::builder()
                    .max_attempts(3)
                    .fixed_backoff(Duration::from_millis(1))
                    .retry_on_response(|response: &Response<Full<Bytes>>| {
                        response.status().is_server_error()
                    })
                    .build();
                let service = service.layer(retry).service(theirs);
                Box::new(Stack { runtime, service, request: post::<Full<Bytes>> })
            } else {
                let service = service.service(theirs);
                Box::new(Stack { runtime, service, request: post::<Full<Bytes>> })
            }
        }
    };
    (stack, script)
}

fn post<B: From<Vec<u8>>>() -> Request<B> {
    roomy(Method::POST)
}

fn post_with_header() -> Request<Body> {
    let mut request = post();
    calls::write_timeout(&mut request);
    request
}

// === the service that does nothing ===

/// Answers at once, with an empty body, unless its script says otherwise.
struct Idle<R> {
    script: Script,
    body: PhantomData<fn() -> R>,
}

impl<R> Idle<R> {
    fn new(script: &Script) -> Self {
        Self { script: script.clone(), body: PhantomData }
    }
}

impl<R> Clone for Idle<R> {
    fn clone(&self) -> Self {
        Self::new(&self.script)
    }
}

impl<B, R: Default> Service<Request<B>> for Idle<R> {
    type Response = Response<R>;
    type Error = BoxError;
    type Future = Answered<R>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answered<R> {
        drop(request);
        let mut response = Response::new(R::default());
        match self.script.next() {
            Told::Answer => {}
            Told::Fail => *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE,
            Told::Silence => return Answered(None),
        }
        Answered(Some(response))
    }
}

struct Answered<R>(Option<Response<R>>);

impl<R> Unpin for Answered<R> {}

impl<R> Future for Answered<R> {
    type Output = Result<Response<R>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response)))
    }
}

type Boxed = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

/// A service behind one dynamic call and one boxed future.
struct Erased(Arc<dyn Fn(Request<Body>) -> Boxed + Send + Sync>);

impl Service<Request<Body>> for Erased {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Boxed;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Boxed {
        (self.0)(request)
    }
}

/// A pick, and its end, before each call.
struct Picking<S> {
    bench: Arc<Bench>,
    inner: S,
}

impl<S: Clone> Clone for Picking<S> {
    fn clone(&self) -> Self {
        Self { bench: Arc::clone(&self.bench), inner: self.inner.clone() }
    }
}

impl<R, S: Service<R>> Service<R> for Picking<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.bench.pick();
        self.inner.call(request)
    }
}

// === tower's retry ===

/// Retries 5xx within a budget, as tower's documentation does it.
#[derive(Clone)]
struct Twice {
    armed: bool,
    budget: Arc<TpsBudget>,
}

impl Twice {
    fn new(armed: bool) -> Self {
        Self { armed, budget: Arc::new(TpsBudget::default()) }
    }
}

impl<R> Policy<Request<Full<Bytes>>, Response<R>, BoxError> for Twice {
    type Future = std::future::Ready<()>;

    fn retry(
        &mut self,
        _request: &mut Request<Full<Bytes>>,
        result: &mut Result<Response<R>, BoxError>,
    ) -> Option<Self::Future> {
        match result {
            Ok(response) if !response.status().is_server_error() => {
                self.budget.deposit();
                None
            }
            _ => self.budget.withdraw().then(|| std::future::ready(())),
        }
    }

    fn clone_request(&mut self, request: &Request<Full<Bytes>>) -> Option<Request<Full<Bytes>>> {
        self.armed.then(|| request.clone())
    }
}
