//! One attempt: pick an endpoint, take a connection, send, and report the outcome to the
//! endpoint. No decision about retries is made here.

mod failing;
mod judged;
mod named;
mod queued;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{
    Request, Response, Version,
    header::{HOST, UPGRADE},
    uri::Scheme,
};

use super::{
    Caller, Pinned,
    entrance::{self, Entered, Queued},
    failover::{self, Picked},
    first::{Racers, Won},
    head::Head,
    refusals::{in_clear, no_endpoint},
    traced::{self, Trace},
};
use crate::{
    balance::{Ask, Balancer, Endpoint, InFlight, Outcome, PickError},
    config::Protocol,
    core::{
        Awaited, Body, BoxError, BoxFuture, Error, ErrorKind, Held, Instant, Outgoing, Phase,
        Report, Reporter, Watch, grpc,
    },
    mesh::cluster::{Cluster, Core, Node},
    observe::{AttemptEnd, End},
    resilience::retry,
    transport::{ConnectError, Lease, SendFuture, Sent},
};

/// The state machine of one attempt; the call polls it with what it has pinned, and keeps the
/// request and hyper's future for it, which are large and are moved as seldom as can be.
pub(crate) struct Attempt {
    state: State,
    /// The endpoint in use, kept to exclude it from a retry and to name it.
    endpoint: Option<Arc<Endpoint<Node>>>,
    flight: Option<InFlight<Node>>,
    breaker: Held,
    /// 1 for the first attempt.
    number: u32,
    started: Instant,
    /// When its request began to be sent, if it has.
    sending: Option<Instant>,
    /// The same as its start, and when its head or its failure came, in nanoseconds since the mesh's epoch.
    at: u64,
    ended: u64,
    /// Why it gave no response, if it gave none.
    met: Met,
    /// Its endpoint is another than was known when it began: one that was connected to first, or that it
    /// has waited for.
    moved: bool,
    original: Original,
}

/// What a request was before its endpoint changed it: one that is given back becomes it again.
struct Original {
    version: Version,
    /// Kept only where layers or an authority of the endpoint's own change it.
    head: Option<Box<Head>>,
}

/// What an attempt is made with and on, in the call's hands.
pub(crate) struct Way<'a> {
    /// The request, until it is sent.
    pub(crate) request: &'a mut Option<Request<Outgoing>>,
    /// hyper's future, from then on.
    pub(crate) sent: Pin<&'a mut Option<SendFuture>>,
}

enum State {
    /// Waiting for an available endpoint.
    Queue(Box<Queued>),
    /// Waiting for a connection. Boxed: only an attempt that finds none waits.
    Connect(BoxFuture<Result<Lease, ConnectError>>),
    /// The same, between endpoints.
    Race(BoxFuture<Result<Won, ConnectError>>),
    Send,
    /// Through the user's endpoint layers or own leaf: their one box.
    Stage(BoxFuture<Result<Response<Body>, BoxError>>),
    /// The protocol of its endpoint cannot carry it.
    Unfit,
    Done,
}

/// Why an attempt gave no response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Met {
    /// The request never left this process.
    NeverSent,
    /// The endpoint said that it did not work on it.
    Refused,
    /// It may have been worked on.
    Reset,
    /// Nothing that another attempt would change.
    Fatal,
}

/// An attempt that did not begin. The request is still in the call's hands.
pub(crate) struct Failed {
    pub(crate) met: Met,
    pub(crate) error: Error,
}

impl Failed {
    pub(super) fn fatal(error: Error) -> Box<Self> {
        Box::new(Self { met: Met::Fatal, error })
    }
}

// === impl Attempt ===

impl Attempt {
    /// Picks an endpoint and begins to send.
    #[inline(always)]
    pub(crate) fn start(
        caller: &Caller,
        pinned: &Pinned,
        way: Way<'_>,
        tried: &[Arc<Endpoint<Node>>],
        number: u32,
        (now, at): (Instant, u64),
        trace: &mut Trace,
    ) -> Result<Self, Box<Failed>> {
        let inner = &caller.inner;
        let mut core = pinned.cluster.core.load();
        if core.failover.is_some() || core.gate.is_some() {
            let request = way.request.as_ref();
            return match entrance::enter(caller, pinned, request, tried, (number, at))? {
                Entered::Picked(picked) => {
                    Self::elsewhere(caller, pinned, way, tried, number, (now, at), trace, picked)
                }
                Entered::Queued(queued) => {
                    let request = way.request.as_mut();
                    Ok(Self::queued(caller, request, queued, number, (now, at), trace))
                }
            };
        }
        let breaker = match &core.breaker {
            None => Held::Nothing,
            Some(_) => failover::place(&pinned.cluster, &core, pinned.priority())?,
        };
        let flight = loop {
            let mut ask = Ask::any(at, &inner.random, tried).hashed(pinned.hash);
            ask.over = pinned.over();
            ask.apart = pinned.leaves_localities(tried);
            ask.avoid = pinned.avoid(tried);
            match core.balancer.pick(ask.wanting(pinned.wanted.as_deref())) {
                Ok(flight) => break flight,
                Err(reason) => {
                    // The way to the endpoints has been swapped meanwhile, and with it their
                    // set.
                    let newest = pinned.cluster.core.load();
                    if Arc::ptr_eq(&core, &newest) {
                        return Err(Failed::fatal(no_endpoint(inner, &pinned.cluster, reason)));
                    }
                    core = newest;
                }
            }
        };
        let of = (&*pinned.cluster, &**core);
        Self::on(caller, pinned, way, tried, number, (now, at), trace, (flight, breaker), of)
    }

    /// Begins to send to an endpoint that was picked with more ado.
    #[cold]
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "what an attempt begins with")]
    fn elsewhere(
        caller: &Caller,
        pinned: &Pinned,
        way: Way<'_>,
        tried: &[Arc<Endpoint<Node>>],
        number: u32,
        now: (Instant, u64),
        trace: &mut Trace,
        (flight, breaker, cluster): Picked,
    ) -> Result<Self, Box<Failed>> {
        let (picked, core) = ((flight, breaker), cluster.core.load());
        Self::on(caller, pinned, way, tried, number, now, trace, picked, (&cluster, &core))
    }

    /// Begins to send to the endpoint that was picked.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "what an attempt begins with")]
    fn on(
        caller: &Caller,
        pinned: &Pinned,
        way: Way<'_>,
        tried: &[Arc<Endpoint<Node>>],
        number: u32,
        (now, at): (Instant, u64),
        trace: &mut Trace,
        (flight, breaker): (InFlight<Node>, Held),
        (cluster, core): (&Cluster, &Core),
    ) -> Result<Self, Box<Failed>> {
        let inner = &caller.inner;
        if let Some(shares) = &core.shares
            && let Some(share) = shares.share(pinned.priority())
        {
            share.begun(at);
        }
        let endpoint = Arc::clone(flight.endpoint());
        let (Some(node), Some(request)) = (endpoint.extra(), &*way.request) else {
            return Err(Failed::fatal(no_endpoint(inner, &pinned.cluster, PickError::Empty)));
        };
        if node.is_open && (caller.https || request.uri().scheme() == Some(&Scheme::HTTPS)) {
            flight.finish(at, Outcome::Ignored);
            return Err(Failed::fatal(in_clear(cluster)));
        }
        let host = pinned.sticky.as_ref().and_then(|sticky| sticky.host_of_endpoint());
        let original = Original::of(request, node, host.is_some());
        if let (Some(host), Some(request)) = (host, &mut *way.request) {
            named::name(request, host, &endpoint, core);
        }
        let waiting = Waiting { balancer: &core.balancer, endpoint: &endpoint, tried, pinned };
        let state = begin(caller, node, way, &waiting, number, at, trace);
        let (endpoint, flight, met) = (Some(endpoint), Some(flight), Met::Fatal);
        let (started, ended) = (now, at);
        let sending = matches!(state, State::Send | State::Stage(_)).then_some(now);
        let moved = false;
        Ok(Self {
            state,
            endpoint,
            flight,
            breaker,
            number,
            started,
            sending,
            at,
            ended,
            met,
            moved,
            original,
        })
    }

    pub(crate) fn endpoint(&self) -> Option<&Arc<Endpoint<Node>>> {
        self.endpoint.as_ref()
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// When its request began to be sent, if it has.
    pub(crate) fn sending_since(&self) -> Option<Instant> {
        self.sending
    }

    /// Whether its endpoint is another than was known when it began.
    pub(crate) fn is_moved(&self) -> bool {
        self.moved
    }

    /// When its head or its failure came, in nanoseconds since the mesh's epoch.
    pub(crate) fn ended(&self) -> u64 {
        self.ended
    }

    /// Why it gave no response. The request is in the call's hands again, if it was given back.
    pub(crate) fn met(&self) -> Met {
        self.met
    }

    /// What it waits for.
    pub(crate) fn phase(&self) -> Phase {
        match self.state {
            State::Queue(_) => Phase::Pick,
            State::Connect(_) | State::Race(_) => Phase::Connect,
            State::Send | State::Stage(_) | State::Unfit | State::Done => Phase::Headers,
        }
    }

    /// Ends it by our own timeout, which is a failure of its endpoint. The request is still there
    /// if it waited for a connection.
    pub(crate) fn expire(&mut self, caller: &Caller, mut way: Way<'_>, now: Instant) {
        if let Some(flight) = self.flight.take() {
            let now = caller.inner.epoch.nanos(now);
            flight.finish(now, Outcome::Timeout);
            self.failed(caller, now, ErrorKind::Timeout);
        }
        self.breaker = Held::Nothing;
        self.state = State::Done;
        way.sent.set(None);
        self.original.restore(way.request, caller.https);
    }

    /// The caller leaves, whether it is under way or over.
    pub(crate) fn left(&mut self, caller: &Caller) {
        if self.flight.is_some() {
            let now = caller.inner.epoch.nanos(Instant::now());
            self.tell_end(caller, now, None, None, Some(End::Left));
        }
    }

    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        caller: &Caller,
        pinned: &Pinned,
        mut way: Way<'_>,
    ) -> Poll<Result<Response<Body>, Error>> {
        loop {
            match &mut self.state {
                State::Queue(queued) => {
                    let picked = ready!(queued.poll(cx, caller, pinned, way.request.as_ref()));
                    if let Err(error) = self.leave_queue(caller, pinned, &mut way, picked) {
                        return Poll::Ready(Err(error));
                    }
                }
                State::Send => {
                    let Some(send) = way.sent.as_mut().as_pin_mut() else { return Poll::Pending };
                    let sent = ready!(send.poll(cx));
                    self.state = State::Done;
                    way.sent.set(None);
                    return Poll::Ready(match sent {
                        Ok(Sent { response, held, first }) => {
                            let node = self.endpoint.as_ref().and_then(|to| to.extra());
                            if let Some(node) = node.filter(|_| first) {
                                node.pool.answered();
                            }
                            let watch = self.watch(caller, pinned, &response, held);
                            Ok(response.map(|body| Body::watched(body, watch)))
                        }
                        Err(error) => Err(self.send_failed(caller, &mut way, error)),
                    });
                }
                State::Connect(lease) => match ready!(lease.as_mut().poll(cx)) {
                    Ok(lease) => {
                        let node = self.endpoint.as_ref().and_then(|to| to.extra());
                        self.state = way.send(lease, node.map_or("", |node| &node.name));
                        self.sending = Some(Instant::now());
                    }
                    Err(error) => {
                        return Poll::Ready(Err(self.connect_failed(caller, &mut way, error)));
                    }
                },
                State::Race(won) => match ready!(won.as_mut().poll(cx)) {
                    Ok(Won { lease, endpoint, flight, failed, at }) => {
                        if let Some(flight) = flight {
                            self.move_to(caller, endpoint, flight, failed);
                            self.at = at;
                        }
                        let node = self.endpoint.as_ref().and_then(|to| to.extra());
                        self.state = way.send(lease, node.map_or("", |node| &node.name));
                        self.sending = Some(Instant::now());
                    }
                    Err(error) => {
                        return Poll::Ready(Err(self.connect_failed(caller, &mut way, error)));
                    }
                },
                State::Stage(future) => {
                    let response = ready!(future.as_mut().poll(cx));
                    self.state = State::Done;
                    return Poll::Ready(match response {
                        Ok(response) => {
                            let watch = self.watch(caller, pinned, &response, Held::Nothing);
                            Ok(response.map(|body| Body::wrapped(body, watch)))
                        }
                        Err(error) => Err(self.stage_failed(caller, &mut way, error)),
                    });
                }
                State::Unfit => return Poll::Ready(Err(self.unfit(caller))),
                State::Done => return Poll::Pending,
            }
        }
    }
}

/// Begins on the chosen endpoint. The request is taken unless a connection must be waited for.
#[inline(always)]
fn begin(
    caller: &Caller,
    node: &Node,
    mut way: Way<'_>,
    waiting: &Waiting<'_>,
    number: u32,
    now: u64,
    trace: &mut Trace,
) -> State {
    node.meter.attempt_started((&caller.cell.name, caller.number), number);
    let Some(request) = way.request else { return State::Done };
    traced::attempt(trace, caller, request, number, Some(node));
    if let Some(authority) = &node.authority {
        request.headers_mut().remove(HOST);
        super::head::set_authority(request, authority);
    }
    if let Some(stage) = &node.stage {
        return match way.request.take() {
            Some(request) => State::Stage(stage.call(request.map(Body::from))),
            None => State::Done,
        };
    }
    //= ARCHITECTURE "Protocol of a plaintext endpoint": hint, else the request's version; with TLS the
    //= pool knows what was agreed on
    let protocol = node.protocol.unwrap_or_else(|| Protocol::of(request.version()));
    match node.pool.try_acquire(protocol, caller.grpc, now) {
        Some(lease) => way.send(lease, &node.name),
        None => waiting.connect(caller, node, request, number, now),
    }
}

/// What an attempt without a connection waits for.
struct Waiting<'a> {
    balancer: &'a Arc<Balancer<Node>>,
    endpoint: &'a Arc<Endpoint<Node>>,
    tried: &'a [Arc<Endpoint<Node>>],
    pinned: &'a Pinned,
}

impl Waiting<'_> {
    /// A connection to the endpoint; under pick first, to the next ones as well.
    #[cold]
    fn connect(
        &self,
        caller: &Caller,
        node: &Node,
        request: &Request<Outgoing>,
        number: u32,
        now: u64,
    ) -> State {
        let protocol = node.protocol.unwrap_or_else(|| Protocol::of(request.version()));
        let ask =
            Ask::any(now, &caller.inner.random, self.tried).wanting(self.pinned.wanted.as_deref());
        let address = self.endpoint.spec().address();
        let is_named = self.pinned.over().is_some_and(|over| over.address == *address)
            || self.pinned.sticky.as_ref().is_some_and(|it| it.host_of_endpoint().is_some());
        let behind = if node.authority.is_none() && !is_named {
            self.balancer.behind(self.endpoint, &ask)
        } else {
            // What the request was made for this one would go to others, or it asks for this one.
            Vec::new()
        };
        let behind = behind.into_iter().filter(|it| it.spec().authority().is_none());
        let endpoints: Vec<_> = std::iter::once(Arc::clone(self.endpoint)).chain(behind).collect();
        if endpoints.len() == 1 {
            return State::Connect(node.pool.acquire(
                protocol,
                caller.grpc,
                self.pinned.priority(),
            ));
        }
        let racers = Racers {
            caller: caller.clone(),
            balancer: Arc::clone(self.balancer),
            endpoints,
            delay: self.balancer.context().settings.happy_eyeballs_delay,
            version: request.version(),
            https: caller.https || request.uri().scheme() == Some(&Scheme::HTTPS),
            number,
            priority: self.pinned.priority(),
        };
        State::Race(racers.race())
    }
}

impl Way<'_> {
    #[inline(always)]
    fn send(&mut self, lease: Lease, endpoint: &str) -> State {
        if let Some(request) = &mut self.request {
            if lease.is_http2() && request.headers().contains_key(UPGRADE) {
                return State::Unfit;
            }
            lease.prepare(request, endpoint);
        }
        self.sent.set(self.request.take().map(|request| lease.send(request)));
        State::Send
    }
}

impl Original {
    fn of(request: &Request<Outgoing>, node: &Node, is_named: bool) -> Self {
        let changes = is_named || node.authority.is_some() || node.stage.is_some();
        let head = changes.then(|| Box::new(Head::of(request)));
        Self { version: request.version(), head }
    }

    /// What was given back, if anything was, becomes what it was.
    #[cold]
    fn restore(&mut self, given: &mut Option<Request<Outgoing>>, https: bool) {
        let Some(given) = given else { return };
        *given.version_mut() = self.version;
        match self.head.take() {
            Some(head) => *given = head.request(std::mem::take(given.body_mut())),
            // Its protocol has taken or set them.
            None => super::head::restore_scheme(given, https),
        }
    }
}

impl Attempt {
    /// Ends it without a response.
    fn finish(&mut self, caller: &Caller, outcome: Outcome, error: ErrorKind) {
        if let Some(flight) = self.flight.take() {
            let now = caller.inner.epoch.nanos(Instant::now());
            flight.finish(now, outcome);
            self.failed(caller, now, error);
        }
        self.breaker = Held::Nothing;
    }

    fn failed(&mut self, caller: &Caller, now: u64, error: ErrorKind) {
        self.tell_end(caller, now, None, Some(error), Some(End::Error(error)));
    }

    /// The one place where the end of an attempt is counted and told.
    #[inline]
    fn tell_end(
        &mut self,
        caller: &Caller,
        now: u64,
        status: Option<u16>,
        error: Option<ErrorKind>,
        end: Option<End>,
    ) {
        self.ended = now;
        let (verb, number) = (caller.verb, self.number);
        let nanos = now.saturating_sub(self.at);
        if let Some(node) = self.endpoint.as_ref().and_then(|endpoint| endpoint.extra()) {
            let call = caller.number;
            let ended = AttemptEnd { call, verb, number, status, error, end, nanos };
            node.meter.attempt_ended(&caller.cell.name, ended);
        }
    }

    /// Records what the head already tells, and hands the rest to the end of the body.
    fn watch<B>(
        &mut self,
        caller: &Caller,
        pinned: &Pinned,
        response: &Response<B>,
        held: Held,
    ) -> Watch {
        let now = caller.inner.epoch.nanos(Instant::now());
        let status = response.status();
        // A gRPC call's status may be here, and may come in trailers.
        let code = if caller.grpc && status.is_success() {
            grpc::status_of(response.headers())
        } else {
            None
        };
        let end = End::of_head(caller.verb, status.as_u16(), code);
        self.tell_end(caller, now, Some(status.as_u16()), None, end);
        let said = pinned.failures();
        let outcome = judged::outcome(said, caller.grpc, status, code);
        let watcher = self.flight.take().map(|mut flight| {
            flight.answered(now, status.as_u16(), || retry::wait_asked(response.headers()));
            flight.endpoint().heard(response.headers());
            if let Some(outcome) = outcome {
                flight.record(now, outcome);
            }
            let (watcher, mut ticket) = flight.into_ticket(now);
            ticket.codes = said.and_then(|said| said.codes().0);
            (watcher, ticket)
        });
        let (idle, idle_of_attempt) = pinned.idle();
        Watch {
            watcher,
            held,
            limits: [Held::Nothing, std::mem::replace(&mut self.breaker, Held::Nothing)],
            deadline: pinned.bounds.body,
            idle,
            idle_of_attempt,
            is_stream_bound: pinned.is_stream_bound(),
            grpc: caller.grpc,
            report: Some(Report {
                to: Arc::clone(caller.meter(Some(pinned))) as Arc<dyn Reporter>,
                awaited: Awaited::Nothing,
            }),
            timer: None,
            awaiting: false,
            over: false,
        }
    }

    /// Goes on at another endpoint, which was the first to be connected to.
    #[cold]
    fn move_to(
        &mut self,
        caller: &Caller,
        endpoint: Arc<Endpoint<Node>>,
        flight: InFlight<Node>,
        failed: Option<(Outcome, ErrorKind)>,
    ) {
        let now = caller.inner.epoch.nanos(Instant::now());
        if let Some(flight) = self.flight.replace(flight) {
            match failed {
                Some((outcome, error)) => {
                    flight.finish(now, outcome);
                    self.failed(caller, now, error);
                }
                None => {
                    drop(flight);
                    self.tell_end(caller, now, None, None, Some(End::Left));
                }
            }
        }
        self.endpoint = Some(endpoint);
        self.moved = true;
    }
}
