//! A cluster at run time: its balancer, its breaker and what each of its endpoints owns.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::{
    check::Checking,
    discovered::Discovered,
    endpoint::Transport,
    gate::Gate,
    hashing::ClusterHashing,
    leaf::{Leaf, LeafEndpoint},
    overriding::Overriding,
    peers::Peers,
    protect::Protector,
    stage::{Erased, Next, Stage},
};
use crate::{
    balance::{Balancer, Callers, Shift, Spec, Upstream, health},
    config::{self, CallPriority, Protocol, Security, SecurityMode},
    core::{BodyEnd, EjectReason, Epoch, Instant, Random, ReturnReason},
    observe::{ClusterMeter, End, EndpointMeter, Verb, trace::Peer},
    resilience::{
        breaker::{Breakers, Level},
        budget::{Shares, Slot},
        limit::Limiter,
    },
    transport::{Connect, Pool, Reach, Shared},
};

/// One cluster: a swap cell of its own, reached by a handle in each route that names it.
pub(crate) struct Cluster {
    pub(crate) name: Arc<str>,
    pub(crate) core: ArcSwap<Core>,
    /// Its balancer reads the request: a call reads this before it looks for what.
    reads: AtomicBool,
    pub(crate) meter: Arc<ClusterMeter>,
    pub(crate) discovered: Arc<Discovered>,
    /// Why it is empty, when its definition was refused and there is no earlier one.
    pub(crate) refused: Option<Box<str>>,
}

/// What a change of the cluster's settings replaces; a change of endpoints does not.
pub(crate) struct Core {
    pub(crate) config: config::Cluster,
    pub(crate) protector: Arc<Protector>,
    pub(crate) balancer: Arc<Balancer<Node>>,
    pub(crate) breaker: Option<Arc<Limiter>>,
    /// What else attempts pass before the pick; mostly nothing.
    pub(crate) gate: Option<Arc<Gate>>,
    /// What limits its further attempts in flight, where that is asked for.
    pub(crate) shares: Option<Arc<Shares>>,
    /// The task that checks its endpoints, where that is asked for.
    pub(crate) checking: Option<Arc<Checking>>,
    /// What calls are hashed by, if the balancer hashes.
    pub(crate) hashing: Option<ClusterHashing>,
    /// Where calls may name an endpoint.
    pub(crate) overriding: Overriding,
    /// The clusters that take over, best first. Weak: two may take over from each other.
    pub(crate) failover: Option<Arc<[Weak<Cluster>]>>,
}

/// What an endpoint owns from its first pick on: its connections, or the user's own leaf.
pub(crate) struct Node {
    pub(crate) name: Arc<str>,
    pub(crate) meter: EndpointMeter,
    /// Its address as spans show it.
    pub(crate) peer: Peer,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) authority: Option<http::uri::Authority>,
    pub(crate) pool: Arc<Pool>,
    /// It is spoken to in clear because nobody has said anything of it: a call that says `https`
    /// is refused.
    pub(crate) is_open: bool,
    /// The user's endpoint layers and own leaf, erased; empty when there are none.
    pub(crate) stage: Option<Arc<dyn Erased>>,
}

/// What every node of a cluster is built with.
pub(crate) struct NodeContext {
    pub(crate) meter: Arc<ClusterMeter>,
    /// What endpoints without a hint of their own speak.
    pub(crate) protocol: Option<Protocol>,
    pub(crate) protector: Arc<Protector>,
    pub(crate) settings: Arc<config::TransportSettings>,
    pub(crate) connector: Arc<dyn Connect>,
    pub(crate) shared: Arc<Shared>,
    /// Notified when an endpoint cannot be connected to.
    pub(crate) unreachable: Arc<Notify>,
    /// Its connections and those who wait for one; the same as long as there is the cluster.
    pub(crate) breakers: Arc<Breakers>,
    /// Where this process runs.
    pub(crate) place: Arc<config::Place>,
    pub(crate) peers: Arc<Peers>,
    /// Wakes who keeps the balancer.
    pub(crate) woken: Arc<Notify>,
    /// Notified when an endpoint has come or gone.
    pub(crate) members: Arc<Notify>,
    /// Notified when calls owe probes.
    #[cfg(feature = "orca")]
    pub(crate) owing: Arc<Notify>,
    pub(crate) leaf: Option<Leaf>,
    pub(crate) stage: Option<Stage>,
}

// === impl Node ===

impl Upstream for Node {
    type Context = NodeContext;

    fn build(spec: &Spec, cx: &NodeContext) -> Self {
        let name: Arc<str> = spec.address().to_string().into();
        let protocol = spec.protocol().or(cx.protocol);
        let pool = Pool::new(
            Arc::clone(&name),
            Reach {
                address: spec.address().clone(),
                more_addresses: spec.more_addresses().into(),
                protection: cx.protector.of(spec),
                failed: Arc::clone(&cx.unreachable),
                breakers: Arc::clone(&cx.breakers),
            },
            Arc::clone(&cx.settings),
            Arc::clone(&cx.connector),
            Arc::clone(&cx.shared),
            Arc::clone(&cx.meter),
        );
        // An own leaf takes the place of the transport; endpoint layers wrap either.
        let mut is_open = cx.protector.is_open(spec);
        let leaf = cx.leaf.as_ref().map(|leaf| {
            is_open &= !leaf.secures();
            leaf.build(&cx.of_leaf(spec))
        });
        let stage = match (&cx.stage, leaf) {
            (None, leaf) => leaf,
            (Some(stage), Some(leaf)) => Some(stage(Next::erased(leaf))),
            (Some(stage), None) => {
                let (name, pool) = (Arc::clone(&name), Arc::clone(&pool));
                Some(stage(Next::new(Transport { name, pool, protocol })))
            }
        };
        Self {
            meter: cx.meter.endpoint(&name),
            name,
            peer: Peer::of_endpoint(spec.address()),
            protocol,
            authority: spec.authority().and_then(|text| text.parse().ok()),
            pool,
            is_open,
            stage,
        }
    }

    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn added(spec: &Spec, cx: &NodeContext) {
        cx.meter.endpoint_added(spec.address());
        cx.members.notify_one();
    }

    fn removed(spec: &Spec, cx: &NodeContext) {
        cx.meter.endpoint_removed(spec.address());
        cx.members.notify_one();
    }

    fn available(&self, now: u64) -> bool {
        self.pool.available(now)
    }

    fn random(cx: &NodeContext) -> Arc<Random> {
        Arc::clone(&cx.shared.random)
    }

    fn link(&self, now: u64) -> health::Link {
        if self.pool.is_live() {
            health::Link::Ready
        } else if !self.pool.available(now) {
            health::Link::BackingOff
        } else if self.pool.is_dialing() {
            health::Link::Connecting
        } else {
            health::Link::Idle
        }
    }

    fn ejected(&self, reason: EjectReason, nanos: u64) {
        self.meter.ejected(reason, nanos);
    }

    fn returned(&self, reason: ReturnReason) {
        self.meter.returned(reason);
    }

    fn respecified(&self, spec: &Spec) {
        self.pool.set_more_addresses(spec.more_addresses().into());
    }

    fn retire(&self) {
        self.pool.drain();
    }

    fn renew(&self) {
        self.pool.renew();
    }

    fn wake(cx: &NodeContext) {
        cx.woken.notify_one();
        cx.members.notify_one();
        #[cfg(feature = "orca")]
        cx.owing.notify_one();
    }

    #[cfg(feature = "orca")]
    fn probes_due(cx: &NodeContext) {
        cx.owing.notify_one();
    }

    fn is_failing(&self) -> bool {
        self.pool.is_failing()
    }

    fn back_off(&self, now: u64) -> u64 {
        self.pool.back_off(now)
    }

    fn round_trip(&self) -> Option<Duration> {
        self.pool.round_trip()
    }

    fn place(cx: &NodeContext) -> config::Place {
        (*cx.place).clone()
    }

    fn callers(cx: &NodeContext, cluster: &str) -> Vec<Callers> {
        cx.peers.callers(cluster, cx.shared.epoch.nanos(Instant::now()))
    }

    fn seed(cx: &NodeContext) -> u64 {
        cx.shared.random.next()
    }

    fn shifted(cx: &NodeContext, shift: Shift) {
        cx.meter.shifted(shift.priority, shift.distance, shift.percent, shift.panic);
    }

    fn streamed(&self, end: BodyEnd, nanos: u64) {
        self.meter.record(Verb::GRPC, End::of_body(end), nanos);
    }
}

// === impl NodeContext ===

impl NodeContext {
    /// The endpoint as an own leaf is told of it.
    pub(super) fn of_leaf(&self, spec: &Spec) -> LeafEndpoint {
        let (cluster, endpoint) = (&self.meter.name, spec.config());
        match self.protector.demand(spec) {
            Some(demand) => LeafEndpoint::new(
                cluster,
                endpoint,
                demand.mode,
                demand.identities,
                demand.sni.unwrap_or(demand.host),
            ),
            None => {
                LeafEndpoint::new(cluster, endpoint, SecurityMode::Off, Vec::new(), String::new())
            }
        }
    }
}

// === impl Cluster ===

impl Cluster {
    pub(crate) fn new(meter: Arc<ClusterMeter>, core: Core, discovered: Arc<Discovered>) -> Self {
        let name = Arc::clone(&meter.name);
        let reads = core.reads().into();
        Self { name, core: ArcSwap::from_pointee(core), reads, meter, discovered, refused: None }
    }

    /// Swaps other settings in.
    pub(crate) fn set(&self, core: Core) {
        self.reads.store(core.reads(), Relaxed);
        self.core.store(Arc::new(core));
    }

    /// Whether its balancer reads requests: it hashes them, or they name an endpoint.
    #[inline]
    pub(crate) fn reads(&self) -> bool {
        self.reads.load(Relaxed)
    }

    /// What calls meet whose cluster is refused.
    pub(crate) fn refused(self, reason: String) -> Self {
        Self { refused: Some(reason.into()), ..self }
    }

    /// It, and the clusters that take over from it, best first.
    pub(crate) fn line(self: &Arc<Self>) -> impl Iterator<Item = Arc<Self>> {
        std::iter::once(Arc::clone(self)).chain(self.stand_ins())
    }

    /// The clusters that take over from it, best first.
    pub(crate) fn stand_ins(&self) -> impl Iterator<Item = Arc<Self>> + use<> {
        let others = self.core.load().failover.clone();
        let count = others.as_ref().map_or(0, |others| others.len());
        let other = move |place: usize| others.as_ref()?.get(place)?.upgrade();
        (0..count).filter_map(other)
    }

    /// Whether any of its connections is to be secured.
    pub(crate) fn is_secured(&self) -> bool {
        let core = self.core.load();
        core.protector.is_on() || core.balancer.has(|spec| core.protector.demand(spec).is_some())
    }

    /// Whether that one may take over: not if it speaks in clear because nobody has said anything of
    /// it, where this one is secured.
    #[cold]
    pub(crate) fn may_be_followed_by(&self, other: &Self) -> bool {
        let core = other.core.load();
        let is_open = core.protector.is_open_itself()
            && !core.balancer.context().leaf.as_ref().is_some_and(|leaf| leaf.secures())
            && core.balancer.has(|spec| core.protector.is_open(spec));
        !(is_open && self.is_secured())
    }

    /// Whether its endpoints are to be secured and none of them can be: another is as good as any.
    pub(crate) fn secures_nothing(&self) -> bool {
        let core = self.core.load();
        // One with a mode of its own may be secured by less, or not at all.
        let is_other = |endpoint: &config::Endpoint| match &endpoint.security {
            Some(Security::Plain) => true,
            Some(Security::Tls(own)) => own.mode.is_some(),
            None => false,
        };
        core.protector.flaw().is_some() && !core.balancer.specs().iter().any(is_other)
    }
}

// === impl Core ===

impl Core {
    /// A cluster without endpoints.
    pub(crate) fn new(context: NodeContext, config: config::Cluster, epoch: Epoch) -> Self {
        let protector = Arc::clone(&context.protector);
        let balancer = Arc::new(Balancer::<Node>::new(&config, context, epoch));
        balancer.context().breakers.set(config.breakers.as_ref());
        let (breaker, gate) = (breaker(&config, None), Gate::of(&config, None));
        let shares = Shares::of(config.breakers.as_ref(), None);
        let (hashing, overriding) = (ClusterHashing::of(&config), Overriding::of(&config));
        Self {
            config,
            protector,
            balancer,
            breaker,
            gate,
            shares,
            checking: None,
            hashing,
            overriding,
            failover: None,
        }
    }

    /// With the count of attempts in flight of what it replaces.
    pub(crate) fn counting_on(mut self, before: &Self) -> Self {
        self.breaker = breaker(&self.config, before.breaker.as_ref());
        self.gate = Gate::of(&self.config, before.gate.as_ref());
        self.shares = Shares::of(self.config.breakers.as_ref(), before.shares.as_ref());
        self
    }

    /// The same endpoints under other settings.
    pub(crate) fn with_settings(&self, config: config::Cluster) -> Self {
        self.balancer.settle(&config);
        let balancer = Arc::clone(&self.balancer);
        balancer.context().breakers.set(config.breakers.as_ref());
        let breaker = breaker(&config, self.breaker.as_ref());
        let gate = Gate::of(&config, self.gate.as_ref());
        let shares = Shares::of(config.breakers.as_ref(), self.shares.as_ref());
        let protector = Arc::clone(&self.protector);
        let (hashing, overriding) = (ClusterHashing::of(&config), Overriding::of(&config));
        let (checking, failover) = (self.checking.clone(), self.failover.clone());
        Self {
            config,
            protector,
            balancer,
            breaker,
            gate,
            shares,
            checking,
            hashing,
            overriding,
            failover,
        }
    }

    /// The share for further attempts of this priority, if there is one, of what is in flight now.
    pub(crate) fn slot(&self, priority: CallPriority) -> Option<Slot<'_>> {
        let share = self.shares.as_ref()?.share(priority)?;
        let active = self.limiter(priority).map_or(0, |limiter| limiter.taken());
        Some(Slot { share, active })
    }

    /// The limit of attempts in flight of this priority, if there is one.
    pub(crate) fn limiter(&self, priority: CallPriority) -> Option<&Arc<Limiter>> {
        Gate::limiter(self.gate.as_deref(), self.breaker.as_ref(), priority)
    }

    /// Its limits, and how much of each is taken.
    pub(crate) fn levels(&self) -> impl Iterator<Item = Level> {
        let of = |priority| {
            let limiter = self.limiter(priority).filter(|it| it.limit() < u32::MAX)?;
            let (taken, most) = (limiter.taken(), limiter.limit());
            Some(Level { what: "requests", priority, taken, most })
        };
        let requests = [CallPriority::Default, CallPriority::High].into_iter().filter_map(of);
        requests.chain(self.balancer.context().breakers.levels())
    }

    fn reads(&self) -> bool {
        self.hashing.is_some() || self.overriding.reads_headers()
    }

    /// Whether connections made under these settings serve `config`, too.
    pub(crate) fn same_connections(&self, config: &config::Cluster, protector: &Protector) -> bool {
        self.config.transport == config.transport
            && self.config.protocol == config.protocol
            && self.protector.same_as(protector)
    }
}

/// The limit of a cluster; its count of attempts in flight survives every update that keeps one.
fn breaker(config: &config::Cluster, kept: Option<&Arc<Limiter>>) -> Option<Arc<Limiter>> {
    let breakers = config.breakers.as_ref()?;
    // A share of what is in flight needs the count, too.
    let counted = breakers.retry_budget.as_ref().map(|_| u32::MAX);
    Some(Limiter::resized(kept, breakers.max_requests.or(counted)?))
}
