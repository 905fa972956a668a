//! The way of a call through user layers: what stands behind them, and the context that travels
//! in the request's extensions while they are there.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use http::{
    Request, Response,
    uri::{Authority, Scheme},
};

use super::{
    Caller, Path, Pinned,
    attempt::{Attempt, Beginning, Met, Way},
    head::Head,
    termed,
    words::{self, ITS_OWN, length},
};
use crate::{
    balance::Endpoint,
    config::bound,
    core::{Body, BoxError, BoxFuture, Call, Error, ErrorKind, Instant, Outgoing, Phase},
    mesh::{
        cluster::Node,
        service::ServiceCell,
        stage::{Erased, called_twice, context_lost},
    },
    resilience::deadline::{Extent, Scope},
    route::{Asked, Roll},
    transport::SendFuture,
};

/// What stands behind the call layers: the rest of the call.
pub(crate) struct CallRest;

/// What stands behind the attempt layers: pick, connect, send.
pub(crate) struct AttemptRest;

/// The call's context, as an extension while a call layer is there. Extensions are shared: the
/// mutex lets the one that stands behind the layers take it out, once.
#[derive(Clone)]
struct CallContext {
    path: Arc<Mutex<Option<Box<Path>>>>,
    /// From when its bounds count, whatever the layers take; nothing, where no call begins any more.
    started: Option<Instant>,
}

/// The attempt's context, as an extension while an attempt layer is there.
#[derive(Clone)]
struct AttemptContext(Arc<Shared>);

/// What bounds the call layers.
struct Limit {
    at: Instant,
    /// The setting that it is; nothing, where the call said it.
    name: Option<&'static str>,
}

struct Shared {
    caller: Caller,
    pinned: Pinned,
    tried: Vec<Arc<Endpoint<Node>>>,
    number: u32,
    /// The attempt was ended by our own timeout, not by the caller.
    expired: AtomicBool,
    /// Told by the attempt to the call, in front of the layers; locked for a move. Only calls
    /// through a user's layers come here, which pay a box each besides.
    endpoint: Mutex<Option<Arc<Endpoint<Node>>>>,
    met: Mutex<Option<Met>>,
}

/// Sends a call through the user's call layers. One box, documented at the stage.
pub(crate) fn call(
    caller: Caller,
    request: Request<Outgoing>,
) -> BoxFuture<Result<Response<Body>, Error>> {
    Box::pin(async move {
        let Some(stage) = caller.inner.stages.call.clone() else {
            return Path::new(caller, request).await;
        };
        // It is routed twice: here for its bound, and behind the layers. One roll for both.
        let mut request = request.map(Body::from);
        request.extensions_mut().insert(Roll(caller.inner.random.next()));
        let started = Instant::now();
        let limit = deadline_of(&caller, &request, started);
        let (cell, end) = (Arc::clone(&caller.cell), Arc::clone(&caller.inner.hub.end));
        // It has begun, though what is counted and told of calls is what comes through the layers.
        let begun = Begun::new(&cell);
        let path = Some(Box::new(Path::new(caller, Request::default())));
        let may_go_on = begun.may_go_on.then_some(started);
        let context = CallContext { path: Arc::new(Mutex::new(path)), started: may_go_on };
        request.extensions_mut().insert(context);
        let future = end.until(stage.call(request));
        let result = match limit {
            None => future.await,
            Some(limit) => tokio::time::timeout_at(limit.at, future).await.unwrap_or_else(|_| {
                let allowed = length(limit.at.saturating_duration_since(started));
                let whose = match limit.name {
                    Some(name) => format!("`{name}` by its policy"),
                    None => ITS_OWN.to_owned(),
                };
                Err(Error::new(ErrorKind::Timeout, Phase::Headers)
                    .detail(format!(
                        "the deadline of the call passed in or behind a call layer: {allowed}, {whose}"
                    ))
                    .into())
            }),
        };
        let result = result
            .map_err(|error| Error::from_layer(error, "one of `call_layer`").service(&cell.name));
        drop(begun);
        result
    })
}

/// A call in the call layers.
struct Begun<'a> {
    cell: &'a ServiceCell,
    may_go_on: bool,
}

impl<'a> Begun<'a> {
    fn new(cell: &'a ServiceCell) -> Self {
        let may_go_on = cell.meter.layers_entered();
        if !may_go_on {
            cell.meter.layers_left();
        }
        Self { cell, may_go_on }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if self.may_go_on {
            self.cell.meter.layers_left();
        }
    }
}

/// What bounds the call layers too: the caller's own bound, and those of the route that the
/// request would take as it is, or of the code.
fn deadline_of(caller: &Caller, request: &Request<Body>, started: Instant) -> Option<Limit> {
    let service = caller.cell.current.load();
    let named = caller.cell.authority.as_ref().map(Authority::as_str);
    let asked = Asked::new(request, &caller.inner.random).named(named);
    let route = service.as_ref().and_then(|service| service.table.find_for(&asked));
    let (bounds, timeout, extent) = match route.map(|found| &found.route.policy) {
        Some(policy) => (
            termed::early_bounds(policy, request, caller.grpc, started),
            termed::scope(policy, request.headers()).timeout,
            policy.terms.as_ref().map(|terms| terms.extent),
        ),
        None => {
            // What the code says of the service is known before any source has spoken.
            let said = caller.inner.code.policy(&caller.cell.name);
            let (timeout, stream) = (bound(said.timeout), bound(said.max_stream_duration));
            let extent = Extent::new(stream, said.grpc_timeout.as_ref());
            let scope = Scope { timeout, whole_response: false };
            let rpc = caller.grpc.then(|| request.headers());
            let call = request.extensions().get::<Call>();
            (extent.bounds(rpc, call, scope, started), timeout, Some(extent))
        }
    };
    let at = bounds.head?;
    Some(Limit { at, name: words::bound(timeout, extent, started, at) })
}

impl Erased for CallRest {
    fn call(&self, mut request: Request<Body>) -> BoxFuture<Result<Response<Body>, BoxError>> {
        let context = request.extensions_mut().remove::<CallContext>();
        let began = context.ok_or_else(|| context_lost("call")).and_then(|context| {
            let path = lock(&context.path).take().ok_or_else(called_twice)?;
            Ok((path, context.started))
        });
        Box::pin(async move {
            let (mut path, started) = began?;
            // Otherwise it sees as it begins that it comes too late.
            if let Some(started) = started {
                path.begun(started);
            }
            // A layer may ask for it; none takes it back.
            path.caller.https |= request.uri().scheme() == Some(&Scheme::HTTPS);
            path.request = Some(request.map(Outgoing::from));
            Ok(Box::into_pin(path).await?)
        })
    }
}

impl Erased for AttemptRest {
    fn call(&self, mut request: Request<Body>) -> BoxFuture<Result<Response<Body>, BoxError>> {
        let Some(context) = request.extensions_mut().remove::<AttemptContext>() else {
            return Box::pin(async { Err(context_lost("attempt")) });
        };
        Box::pin(run(context.0, request))
    }
}

/// One attempt behind the attempt layers.
async fn run(shared: Arc<Shared>, request: Request<Body>) -> Result<Response<Body>, BoxError> {
    let Shared { caller, pinned, tried, number, .. } = &*shared;
    let mut expiring = std::pin::pin!(Expiring {
        attempt: None,
        request: Some(request.map(Outgoing::from)),
        sent: None,
        shared: &shared,
    });
    let now = Instant::now();
    let mut begun = expiring.as_mut().project();
    let way = Way { request: begun.request, sent: begun.sent.as_mut() };
    let at = caller.inner.epoch.nanos(now);
    let of = Beginning { caller, pinned, tried, number: *number, now, at };
    // Its span has begun before the layers.
    let error = match Attempt::start(of, way, &mut None) {
        Ok(attempt) => {
            *lock(&shared.endpoint) = attempt.endpoint().cloned();
            *begun.attempt = Some(attempt);
            match std::future::poll_fn(|cx| expiring.as_mut().poll(cx)).await {
                Ok(response) => return Ok(response),
                Err(error) => {
                    *lock(&shared.met) = expiring.attempt.as_ref().map(Attempt::met);
                    error
                }
            }
        }
        Err(failed) => {
            *lock(&shared.met) = Some(failed.met);
            failed.error
        }
    };
    let unsent = expiring.project().request.take().map(Box::new);
    Err(error.unsent(unsent).into())
}

fn lock<T>(value: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An attempt that learns from its context, when dropped, whether our timeout ended it.
#[pin_project::pin_project(PinnedDrop)]
struct Expiring<'a> {
    attempt: Option<Attempt>,
    request: Option<Request<Outgoing>>,
    #[pin]
    sent: Option<SendFuture>,
    shared: &'a Shared,
}

impl Expiring<'_> {
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Response<Body>, Error>> {
        let this = self.project();
        let Some(attempt) = this.attempt else { return Poll::Pending };
        let way = Way { request: this.request, sent: this.sent };
        let polled = attempt.poll(cx, &this.shared.caller, &this.shared.pinned, way);
        if attempt.is_moved() {
            *lock(&this.shared.endpoint) = attempt.endpoint().cloned();
        }
        polled
    }
}

#[pin_project::pinned_drop]
impl PinnedDrop for Expiring<'_> {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        let Some(attempt) = this.attempt else { return };
        if this.shared.expired.load(Ordering::Relaxed) {
            let way = Way { request: this.request, sent: this.sent };
            attempt.expire(&this.shared.caller, way, Instant::now());
        } else {
            attempt.left(&this.shared.caller);
        }
    }
}

/// An attempt on its way through the user's attempt layers.
pub(super) struct StagedAttempt {
    future: Option<BoxFuture<Result<Response<Body>, BoxError>>>,
    /// What the request was before the layers changed it.
    head: Head,
    shared: Arc<Shared>,
    started: Instant,
    /// Why it gave no response, if it gave none.
    met: Met,
}

impl StagedAttempt {
    pub(super) fn new(
        stage: &Arc<dyn Erased>,
        caller: &Caller,
        pinned: &Pinned,
        request: Request<Outgoing>,
        tried: &[Arc<Endpoint<Node>>],
        number: u32,
    ) -> Self {
        let shared = Arc::new(Shared {
            caller: caller.clone(),
            pinned: pinned.clone(),
            tried: tried.to_vec(),
            number,
            expired: AtomicBool::new(false),
            endpoint: Mutex::new(None),
            met: Mutex::new(None),
        });
        let head = Head::of(&request);
        let mut request = request.map(Body::from);
        request.extensions_mut().insert(AttemptContext(Arc::clone(&shared)));
        let future = Some(stage.call_until(request, &caller.inner.hub.end));
        Self { future, head, shared, started: Instant::now(), met: Met::Reset }
    }

    pub(super) fn endpoint(&self) -> Option<Arc<Endpoint<Node>>> {
        lock(&self.shared.endpoint).clone()
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Why it gave no response.
    pub(super) fn met(&self) -> Met {
        self.met
    }

    /// Ends it by our own timeout. What is in the layers' hands does not come back.
    pub(super) fn expire(&mut self) {
        self.shared.expired.store(true, Ordering::Relaxed);
        self.future = None;
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        given: &mut Option<Request<Outgoing>>,
    ) -> Poll<Result<Response<Body>, Error>> {
        let Some(future) = &mut self.future else { return Poll::Pending };
        future.as_mut().poll(cx).map_err(|error| {
            // Without the attempt's own word, a layer's failure may have reached the endpoint.
            self.met = lock(&self.shared.met).take().unwrap_or(Met::Reset);
            let mut error = Error::from_layer(error, "one of `attempt_layer`");
            let unsent = error.take_unsent();
            *given = unsent.map(|mut unsent| self.head.request(std::mem::take(unsent.body_mut())));
            error
        })
    }
}
