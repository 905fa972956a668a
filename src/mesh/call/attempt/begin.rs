//! How an attempt begins: an endpoint is picked, and its request sent, or a connection waited for.

use std::sync::Arc;

use http::{Request, header::HOST, uri::Scheme};

use super::{
    Attempt, Failed, Met, State, named,
    way::{Original, Way},
};
use crate::{
    balance::{Ask, Balancer, Endpoint, InFlight, Outcome, PickError},
    config::Protocol,
    core::{Body, Error, ErrorKind, Held, Instant, Outgoing, Phase},
    mesh::{
        call::{
            Caller, Pinned,
            entrance::{self, Entered},
            failover::{self, Picked},
            first::Racers,
            head,
            refusals::{in_clear, no_endpoint},
            traced::{self, Trace},
        },
        cluster::{Cluster, Core, Node},
    },
};

/// What an attempt begins with. It is passed by value: who is called seldom gets a copy, and nobody else
/// pays for one.
#[derive(Clone, Copy)]
pub(crate) struct Beginning<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) pinned: &'a Pinned,
    /// What the call has met before.
    pub(crate) tried: &'a [Arc<Endpoint<Node>>],
    /// 1 for the first attempt.
    pub(crate) number: u32,
    pub(crate) now: Instant,
    /// The same in nanoseconds since the mesh's epoch.
    pub(crate) at: u64,
}

// === impl Attempt ===

impl Attempt {
    /// Picks an endpoint and begins to send.
    #[inline(always)]
    pub(crate) fn start(
        of: Beginning<'_>,
        way: Way<'_>,
        trace: &mut Trace,
    ) -> Result<Self, Box<Failed>> {
        let Beginning { caller, pinned, tried, at, .. } = of;
        let inner = &caller.inner;
        // Before what is read of the cluster: nobody secures that any more.
        let heard = inner.is_heard();
        let mut core = pinned.cluster.core.load();
        if core.failover.is_some() || core.gate.is_some() {
            return match entrance::enter(of, way.request.as_ref())? {
                Entered::Picked(picked) => Self::elsewhere(of, way, trace, picked, heard),
                Entered::Queued(queued) => {
                    Ok(Self::queued(of, way.request.as_mut(), trace, queued))
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
                        return Err(Failed::fatal(no_endpoint(&pinned.cluster, reason)));
                    }
                    core = newest;
                }
            }
        };
        Self::on(of, way, trace, (flight, breaker), (&pinned.cluster, &core), heard)
    }

    /// Begins to send to an endpoint that was picked with more ado.
    #[cold]
    #[inline(never)]
    pub(super) fn elsewhere(
        of: Beginning<'_>,
        way: Way<'_>,
        trace: &mut Trace,
        (flight, breaker, cluster): Picked,
        heard: bool,
    ) -> Result<Self, Box<Failed>> {
        let core = cluster.core.load();
        Self::on(of, way, trace, (flight, breaker), (&cluster, &core), heard)
    }

    /// Begins to send to the endpoint that was picked; whether every source had spoken before that.
    #[inline(always)]
    fn on(
        of: Beginning<'_>,
        way: Way<'_>,
        trace: &mut Trace,
        (flight, breaker): (InFlight<Node>, Held),
        (cluster, core): (&Cluster, &Core),
        heard: bool,
    ) -> Result<Self, Box<Failed>> {
        let Beginning { caller, pinned, number, now, at, .. } = of;
        if let Some(shares) = &core.shares
            && let Some(share) = shares.share(pinned.priority())
        {
            share.begun(at);
        }
        let endpoint = Arc::clone(flight.endpoint());
        let (Some(node), Some(request)) = (endpoint.extra(), &*way.request) else {
            return Err(Failed::fatal(no_endpoint(&pinned.cluster, PickError::Empty)));
        };
        if node.is_open {
            if caller.https || request.uri().scheme() == Some(&Scheme::HTTPS) {
                flight.finish(at, Outcome::Ignored);
                return Err(Failed::fatal(in_clear(cluster)));
            }
            if !heard && let Err(failed) = in_doubt(caller, cluster, &endpoint) {
                flight.finish(at, Outcome::Ignored);
                return Err(failed);
            }
        }
        let host = pinned.rare.as_ref().and_then(|rare| rare.host_of_endpoint());
        let is_to_leaf = caller.inner.stages.leaf.is_some();
        let original = Original::of(request, node, host.is_some(), is_to_leaf);
        if let (Some(host), Some(request)) = (host, &mut *way.request) {
            named::name(request, host, &endpoint, core);
        }
        let state = begin(of, node, way, trace, (&core.balancer, &endpoint));
        let (endpoint, flight, met) = (Some(endpoint), Some(flight), Met::Fatal);
        let (started, ended) = (now, at);
        let sending = matches!(state, State::Send | State::Stage(_)).then_some(now);
        let (moved, leads_to) = (false, None);
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
            leads_to,
            original,
        })
    }
}

/// Whether an endpoint that was picked while a source had still to speak may be called in clear.
#[cold]
fn in_doubt(
    caller: &Caller,
    cluster: &Cluster,
    endpoint: &Endpoint<Node>,
) -> Result<(), Box<Failed>> {
    if !caller.inner.is_heard()
        && let Some(withheld) = caller.inner.withheld(&cluster.name)
    {
        return Err(Failed::fatal(withheld));
    }
    // The last source may have spoken between the pick and here: what it has said is in force by now.
    if cluster.core.load().protector.is_open(endpoint.spec()) {
        return Ok(());
    }
    let error = Error::new(ErrorKind::NoEndpoints, Phase::Pick)
        .detail("the endpoint was picked before its cluster was secured");
    Err(Box::new(Failed { met: Met::NeverSent, error }))
}

/// Begins on the chosen endpoint. The request is taken unless a connection must be waited for.
#[inline(always)]
fn begin(
    of: Beginning<'_>,
    node: &Node,
    mut way: Way<'_>,
    trace: &mut Trace,
    chosen: (&Arc<Balancer<Node>>, &Arc<Endpoint<Node>>),
) -> State {
    let Beginning { caller, number, at, .. } = of;
    node.meter.attempt_started((&caller.cell.name, caller.number), number);
    let Some(request) = way.request else { return State::Done };
    traced::attempt(trace, caller, request, number, Some(node));
    if let Some(authority) = &node.authority {
        request.headers_mut().remove(HOST);
        head::set_authority(request, authority);
    }
    if let Some(stage) = &node.stage {
        return match way.request.take() {
            Some(request) => {
                let request = request.map(Body::from);
                State::Stage(stage.call_until(request, &caller.inner.hub.end))
            }
            None => State::Done,
        };
    }
    //= ARCHITECTURE "Protocol of a plaintext endpoint": hint, else the request's version; with TLS the
    //= pool knows what was agreed on
    let protocol = node.protocol.unwrap_or_else(|| Protocol::of(request.version()));
    match node.pool.try_acquire(protocol, caller.grpc, at) {
        Some(lease) => {
            traced::connection(trace, node, &lease);
            way.send(lease, &node.name)
        }
        None => connect(of, node, request, chosen),
    }
}

/// What an attempt without a connection waits for: one to the endpoint; under pick first, to the next
/// ones as well.
#[cold]
fn connect(
    of: Beginning<'_>,
    node: &Node,
    request: &Request<Outgoing>,
    (balancer, endpoint): (&Arc<Balancer<Node>>, &Arc<Endpoint<Node>>),
) -> State {
    let Beginning { caller, pinned, tried, number, at, .. } = of;
    let protocol = node.protocol.unwrap_or_else(|| Protocol::of(request.version()));
    let ask = Ask::any(at, &caller.inner.random, tried).wanting(pinned.wanted.as_deref());
    let address = endpoint.spec().address();
    let is_named = pinned.over().is_some_and(|over| over.address == *address)
        || pinned.rare.as_ref().is_some_and(|it| it.host_of_endpoint().is_some());
    let behind = if node.authority.is_none() && !is_named {
        balancer.behind(endpoint, &ask)
    } else {
        // What the request was made for this one would go to others, or it asks for this one.
        Vec::new()
    };
    let behind = behind.into_iter().filter(|it| it.spec().authority().is_none());
    let endpoints: Vec<_> = std::iter::once(Arc::clone(endpoint)).chain(behind).collect();
    if endpoints.len() == 1 {
        return State::Connect(node.pool.acquire(protocol, caller.grpc, pinned.priority()));
    }
    let inner = &caller.inner;
    let is_withheld =
        || !inner.is_heard() && inner.withheld(&balancer.context().meter.name).is_some();
    let racers = Racers {
        caller: caller.clone(),
        balancer: Arc::clone(balancer),
        endpoints,
        delay: balancer.context().settings.happy_eyeballs_delay,
        version: request.version(),
        secured: caller.https || request.uri().scheme() == Some(&Scheme::HTTPS) || is_withheld(),
        number,
        priority: pinned.priority(),
    };
    State::Race(racers.race())
}
