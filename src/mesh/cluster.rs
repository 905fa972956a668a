//! A cluster at run time: its balancer, its breaker, and what else a change of its settings replaces.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;

pub(crate) use super::node::{Node, NodeContext};
use super::{
    check::Checking,
    discovered::Discovered,
    gate::Gate,
    hashing::ClusterHashing,
    overriding::Overriding,
    protect::{Demand, Protector},
};
use crate::{
    balance::{Balancer, Spec},
    config::{self, CallPriority, Security, SecurityMode},
    core::{Epoch, Instant, earliest},
    observe::ClusterMeter,
    resilience::{
        breaker::Level,
        budget::{Shares, Slot},
        deadline::Bounds,
        limit::{Limiter, Name, What},
    },
};

/// One cluster: a swap cell of its own, reached by a handle in each route that names it.
pub(crate) struct Cluster {
    pub(crate) name: Arc<str>,
    pub(crate) core: ArcSwap<Core>,
    /// Its balancer reads the request: a call reads this before it looks for what.
    reads: AtomicBool,
    /// Others take over from it: the same.
    is_followed: AtomicBool,
    /// Its calls last no longer than it allows: the same.
    is_bounded: AtomicBool,
    /// A source has settings for it; one that is only named by a route has none.
    is_defined: AtomicBool,
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
    /// The same, where nobody else keeps them.
    #[expect(dead_code, reason = "it keeps what `failover` leads to")]
    kept: Arc<[Arc<Cluster>]>,
}

// === impl Cluster ===

impl Cluster {
    pub(crate) fn new(meter: Arc<ClusterMeter>, core: Core, discovered: Arc<Discovered>) -> Self {
        let name = Arc::clone(&meter.name);
        let (reads, is_followed) = (core.reads().into(), core.failover.is_some().into());
        let is_bounded = core.longest().is_some().into();
        let (core, is_defined) = (ArcSwap::from_pointee(core), false.into());
        let refused = None;
        Self { name, core, reads, is_followed, is_bounded, is_defined, meter, discovered, refused }
    }

    /// Whether a source defines it: what its calls ask without the state of the mesh, which is held
    /// while a change is compiled.
    pub(crate) fn is_defined(&self) -> bool {
        self.is_defined.load(Relaxed)
    }

    /// A source has begun to define it, or the last one has ended.
    pub(crate) fn define(&self, is_defined: bool) {
        self.is_defined.store(is_defined, Relaxed);
    }

    /// Swaps other settings in.
    pub(crate) fn set(&self, core: Core) {
        self.reads.store(core.reads(), Relaxed);
        self.is_followed.store(core.failover.is_some(), Relaxed);
        self.is_bounded.store(core.longest().is_some(), Relaxed);
        self.core.store(Arc::new(core));
    }

    /// It is there for its calls alone from now on, and so are these, which take over from it.
    pub(crate) fn set_aside(&self, stand_ins: Arc<[Arc<Self>]>) {
        let core = self.core.load();
        let (config, failover) = (core.config.clone(), core.failover.clone());
        let core = core.with_settings(config);
        self.set(Core { checking: None, failover, kept: stand_ins, ..core });
    }

    /// Whether its balancer reads requests: it hashes them, or they name an endpoint.
    #[inline]
    pub(crate) fn reads(&self) -> bool {
        self.reads.load(Relaxed)
    }

    /// Whether it bounds how long its calls last.
    #[inline]
    pub(crate) fn is_bounded(&self) -> bool {
        self.is_bounded.load(Relaxed)
    }

    /// Bounds a call that began then. Says whether it is this that bounds its body.
    #[cold]
    pub(crate) fn bind(&self, bounds: &mut Bounds, started: Instant) -> bool {
        let longest = self.core.load().longest();
        let at = longest.and_then(|longest| started.checked_add(longest));
        (bounds.head, bounds.body) = (earliest(bounds.head, at), earliest(bounds.body, at));
        at.is_some() && bounds.body == at
    }

    /// Whether a call that is hashed to nothing may still be: by settings that are on their way, or by
    /// those of a cluster that takes over.
    #[inline]
    pub(crate) fn may_read_later(&self) -> bool {
        !self.is_defined() || self.is_followed.load(Relaxed)
    }

    /// What calls meet whose cluster is refused.
    pub(crate) fn refused(mut self, reason: String) -> Self {
        self.refused = Some(reason.into());
        self
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
        let is_other = |spec: &Spec| match spec.security() {
            Some(Security::Plain) => true,
            Some(Security::Tls(own)) => own.mode.is_some(),
            None => false,
        };
        core.protector.flaw().is_some() && !core.balancer.has(is_other)
    }
}

impl Drop for Cluster {
    /// The last call is over that was routed to it: its connections close.
    fn drop(&mut self) {
        self.core.load().balancer.replace(Vec::new());
    }
}

// === impl Core ===

impl Core {
    /// A cluster without endpoints.
    pub(crate) fn new(context: NodeContext, config: config::Cluster, epoch: Epoch) -> Self {
        let protector = Arc::clone(&context.protector);
        let balancer = Arc::new(Balancer::<Node>::new(&config, context, epoch));
        balancer.context().breakers.set(config.breakers.as_ref());
        let breaker = breaker(&config, None);
        let gate = Gate::of(&config, &balancer.context().meter, None);
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
            kept: Arc::default(),
        }
    }

    /// With the count of attempts in flight of what it replaces.
    pub(crate) fn counting_on(mut self, before: &Self) -> Self {
        self.breaker = breaker(&self.config, before.breaker.as_ref());
        let meter = &self.balancer.context().meter;
        self.gate = Gate::of(&self.config, meter, before.gate.as_ref());
        self.shares = Shares::of(self.config.breakers.as_ref(), before.shares.as_ref());
        self
    }

    /// The same endpoints under other settings.
    pub(crate) fn with_settings(&self, config: config::Cluster) -> Self {
        self.balancer.settle(&config);
        let balancer = Arc::clone(&self.balancer);
        balancer.context().breakers.set(config.breakers.as_ref());
        let breaker = breaker(&config, self.breaker.as_ref());
        let gate = Gate::of(&config, &balancer.context().meter, self.gate.as_ref());
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
            kept: Arc::default(),
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

    /// How long its calls last at most, if that is said.
    pub(crate) fn longest(&self) -> Option<Duration> {
        config::bound(self.config.max_stream_duration)
    }

    fn reads(&self) -> bool {
        self.hashing.is_some() || self.overriding.reads_headers()
    }

    /// Whether connections made under these settings serve `config`, too.
    pub(crate) fn same_connections(&self, config: &config::Cluster, protector: &Protector) -> bool {
        self.config.transport == config.transport
            && self.config.protocol == config.protocol
            && self.protector.same_as(protector)
            && self.uses_same_keys(protector)
    }

    /// Whether the keys and roots are the same, as far as an endpoint is secured with them.
    fn uses_same_keys(&self, protector: &Protector) -> bool {
        let own = &self.protector;
        let (identity, trust) = own.same_keys(protector);
        let is = |so: fn(&Demand) -> bool| {
            self.balancer.has(|spec| own.demand(spec).is_some_and(|demand| so(&demand)))
        };
        (trust || !(own.is_on() || is(|_| true)))
            && (identity || !(own.is_mutual() || is(|it| it.mode == SecurityMode::Mutual)))
    }
}

/// The limit of a cluster; its count of attempts in flight survives every update that keeps one.
fn breaker(config: &config::Cluster, kept: Option<&Arc<Limiter>>) -> Option<Arc<Limiter>> {
    let breakers = config.breakers.as_ref()?;
    // A share of what is in flight needs the count, too.
    let counted = breakers.retry_budget.as_ref().map(|_| u32::MAX);
    let most = breakers.max_requests.or(counted)?;
    let name = Name::of(breakers.shared.as_deref(), What::Requests, CallPriority::Default);
    Some(Limiter::named(kept, name, most))
}
