//! One endpoint: what its source says, and what is known of it since its first pick.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

#[cfg(feature = "orca")]
use super::told::Told;
use super::{
    hash::Crowd,
    health::{Health as Cluster, Link, Phase, Said, Watch},
    load::Load,
    place::{Callers, Shift},
};
use crate::{
    config::{self, Address, Health, Locality, Place, Protocol, Security},
    core::{BodyEnd, EjectReason, Epoch, Random, ReturnReason},
};

/// What an endpoint owns from its first pick on: its connections.
pub(crate) trait Upstream: Send + Sync + 'static {
    /// What every endpoint of a cluster is built with.
    type Context: Send + Sync;

    fn build(spec: &Spec, cx: &Self::Context) -> Self;

    /// The endpoint's address.
    fn name(&self) -> &Arc<str>;

    /// An endpoint has joined the cluster.
    fn added(spec: &Spec, cx: &Self::Context);

    /// An endpoint has left the cluster.
    fn removed(spec: &Spec, cx: &Self::Context);

    /// False while it is known that a call could not be sent.
    fn available(&self, now: u64) -> bool;

    /// What the whole mesh draws its random words from.
    fn random(_cx: &Self::Context) -> Arc<Random> {
        Arc::default()
    }

    /// What its connections are at.
    fn link(&self, _now: u64) -> Link {
        Link::Idle
    }

    /// It is out of use for so many nanoseconds.
    fn ejected(&self, _reason: EjectReason, _nanos: u64) {}

    /// It is in use again.
    fn returned(&self, _reason: ReturnReason) {}

    /// Its source says something else of it, under which its connections stay.
    fn respecified(&self, spec: &Spec);

    /// The endpoint has left the cluster; what is in flight goes on.
    fn retire(&self);

    /// Its connections are replaced: idle ones close now, busy ones when they are done.
    fn renew(&self) {}

    /// Who keeps the balancer looks again.
    fn wake(_cx: &Self::Context) {}

    /// Whole probes are owed.
    #[cfg(feature = "orca")]
    fn probes_due(_cx: &Self::Context) {}

    /// Whether it could not be connected to, and has not answered since: the next call is a trial.
    fn is_failing(&self) -> bool {
        false
    }

    /// How much of the back-off is left after a connection that could not be made. Nanoseconds.
    fn back_off(&self, _now: u64) -> u64 {
        0
    }

    /// The shortest time that a connection to it took to be made.
    fn round_trip(&self) -> Option<Duration> {
        None
    }

    /// Where the caller runs.
    fn place(_cx: &Self::Context) -> Place {
        Place::default()
    }

    /// Where the callers of the own service are: the endpoints of this cluster.
    fn callers(_cx: &Self::Context, _cluster: &str) -> Vec<Callers> {
        Vec::new()
    }

    /// A random word that the cluster keeps.
    fn seed(_cx: &Self::Context) -> u64 {
        0
    }

    /// Calls go from one priority to another, or health is not asked for any more.
    fn shifted(_cx: &Self::Context, _shift: Shift) {}

    /// An attempt on a gRPC call has ended so long after its start, and only now its outcome is known.
    fn streamed(&self, _end: BodyEnd, _nanos: u64) {}
}

/// What its source says. Small: a cluster may know 100,000 of these.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Spec {
    address: Address,
    weight: u16,
    health: Health,
    protocol: Option<Protocol>,
    /// The whole of it, when more than these few fields was said.
    rest: Option<Box<config::Endpoint>>,
}

/// One endpoint of a cluster.
pub(crate) struct Endpoint<X> {
    spec: Spec,
    /// It has left its cluster; in the padding of the spec.
    retired: AtomicBool,
    /// Where it is in the set that was made last with it.
    place: AtomicU32,
    /// Its number in the order in which its sources list endpoints.
    listed: AtomicU32,
    /// When it joined a cluster that had others, or became healthy by its source's word. Nanoseconds
    /// since the mesh's epoch; 0: it is not new.
    joined: u64,
    /// Made at the first pick; survives changes of the spec that do not concern it.
    live: OnceLock<Arc<Live<X>>>,
}

/// The run-time state of an endpoint that has been picked.
pub(crate) struct Live<X> {
    pub(super) load: Load,
    /// What it tells of its load, where that is asked for.
    #[cfg(feature = "orca")]
    pub(super) told: OnceLock<Box<Told>>,
    /// Its turns by what it tells, against 65535; 0 while it has no weight.
    #[cfg(feature = "orca")]
    pub(super) turns: AtomicU32,
    pub(super) epoch: Epoch,
    /// What is counted of its outcomes, where the cluster asks for it.
    pub(super) watch: OnceLock<Box<Watch>>,
    /// When it was well again. Nanoseconds since the mesh's epoch; 0: it was never anything else.
    renewed: AtomicU64,
    /// The calls in flight to its whole cluster.
    pub(super) crowd: Arc<Crowd>,
    pub(super) extra: X,
}

// === impl Spec ===

impl Spec {
    pub(crate) fn new(endpoint: config::Endpoint) -> Self {
        Self {
            address: endpoint.address.clone(),
            weight: u16::try_from(endpoint.weight).unwrap_or(u16::MAX).max(1),
            health: endpoint.health,
            protocol: endpoint.protocol,
            rest: (!endpoint.is_plain()).then(|| Box::new(endpoint)),
        }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn weight(&self) -> u16 {
        self.weight
    }

    pub(crate) fn health(&self) -> Health {
        self.health
    }

    /// Its source says nothing against it.
    pub(super) fn is_callable(&self) -> bool {
        matches!(self.health, Health::Unknown | Health::Healthy)
    }

    /// What the source says of its health, as its state has it.
    fn standing(&self) -> Said {
        Said {
            unhealthy: self.health == Health::Unhealthy,
            draining: self.health == Health::Draining,
            degraded: self.health == Health::Degraded,
        }
    }

    pub(crate) fn protocol(&self) -> Option<Protocol> {
        self.protocol
    }

    pub(crate) fn authority(&self) -> Option<&str> {
        self.rest.as_ref()?.authority.as_deref()
    }

    /// How it is secured, if that was said of itself.
    pub(crate) fn security(&self) -> Option<&Security> {
        self.rest.as_ref()?.security.as_ref()
    }

    /// What was said of it, where that is more than these few fields.
    pub(super) fn said(&self) -> Option<&config::Endpoint> {
        self.rest.as_deref()
    }

    /// Whether it makes a plan of the pick necessary.
    pub(super) fn is_placed(&self) -> bool {
        matches!(self.health, Health::Unhealthy | Health::Degraded)
            || self.rest.as_ref().is_some_and(|rest| rest.priority > 0)
    }

    pub(crate) fn more_addresses(&self) -> &[Address] {
        self.rest.as_ref().map_or(&[], |rest| &rest.more_addresses)
    }

    /// Its own key, for policies that hash.
    pub(super) fn hash_key(&self) -> Option<&str> {
        self.rest.as_ref()?.hash_key.as_deref()
    }

    /// Where it runs, if that was said.
    pub(super) fn locality(&self) -> Option<&Locality> {
        self.rest.as_ref()?.locality.as_deref()
    }

    /// 0 is the best.
    pub(super) fn priority(&self) -> u32 {
        self.rest.as_ref().map_or(0, |rest| rest.priority)
    }

    pub(super) fn label(&self, name: &str) -> Option<&str> {
        Some(self.rest.as_ref()?.labels.get(name)?.as_str())
    }

    pub(crate) fn hostname(&self) -> Option<&str> {
        self.rest.as_ref()?.hostname.as_deref()
    }

    /// What the source said.
    pub(crate) fn config(&self) -> config::Endpoint {
        if let Some(rest) = &self.rest {
            return (**rest).clone();
        }
        let mut endpoint = config::Endpoint::new(self.address.clone());
        endpoint.weight = u32::from(self.weight);
        endpoint.health = self.health;
        endpoint.protocol = self.protocol;
        endpoint
    }

    /// Whether connections made for one serve the other.
    fn same_connections(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.authority() == other.authority()
            && self.security() == other.security()
    }
}

// === impl Endpoint ===

impl<X> Endpoint<X> {
    /// One that has joined at `now`.
    pub(super) fn new(spec: Spec, now: u64) -> Self {
        Self {
            spec,
            retired: AtomicBool::new(false),
            place: AtomicU32::new(u32::MAX),
            listed: AtomicU32::new(u32::MAX),
            joined: now,
            live: OnceLock::new(),
        }
    }

    /// When it joined a cluster that had others; 0: it is not new.
    #[inline]
    pub(super) fn joined(&self) -> u64 {
        self.joined
    }

    /// When its ramp began; 0: it has none.
    pub(super) fn young_since(&self) -> u64 {
        let renewed = self.live().map_or(0, |live| live.renewed.load(Relaxed));
        self.joined.max(renewed)
    }

    /// Whether it has joined a cluster that had others, and was never found well by a check.
    pub(super) fn is_untried(&self) -> bool {
        self.joined > 0 && self.live().is_none_or(|live| live.renewed.load(Relaxed) == 0)
    }

    pub(crate) fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Where it runs, if that was said.
    pub(super) fn locality(&self) -> Option<&Locality> {
        self.spec.locality()
    }

    /// Where it is in the set that was made last with it.
    #[inline]
    pub(super) fn place(&self) -> u32 {
        self.place.load(Relaxed)
    }

    pub(super) fn placed(&self, place: usize) {
        self.place.store(u32::try_from(place).unwrap_or(u32::MAX), Relaxed);
    }

    /// Its number in the order of the lists.
    pub(super) fn listed(&self) -> u32 {
        self.listed.load(Relaxed)
    }

    /// Numbers it; whether it had another number.
    pub(super) fn list(&self, number: u32) -> bool {
        let is_other = self.listed() != number;
        if is_other {
            self.listed.store(number, Relaxed);
        }
        is_other
    }

    /// Load reports are not read without the feature `orca`.
    #[cfg(not(feature = "orca"))]
    #[expect(clippy::unused_self, reason = "it is, with the feature `orca`")]
    #[inline]
    pub(crate) fn heard(&self, _headers: &http::HeaderMap) {}

    #[cfg(not(feature = "orca"))]
    #[expect(clippy::unused_self, reason = "it is, with the feature `orca`")]
    pub(super) fn disbelieved(&self) {}

    pub(crate) fn extra(&self) -> Option<&X> {
        self.live.get().map(|live| &live.extra)
    }

    #[inline]
    pub(super) fn live(&self) -> Option<&Live<X>> {
        self.live.get().map(|live| &**live)
    }

    /// Whether both are the same endpoint, whatever its source says of it by now.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self.live.get(), other.live.get()) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => std::ptr::eq(self, other),
        }
    }
}

impl<X: Upstream> Endpoint<X> {
    /// The same endpoint after its source changed what it says.
    pub(super) fn changed(&self, spec: Spec, now: u64) -> Self {
        let live = OnceLock::new();
        if self.spec.same_connections(&spec)
            && let Some(state) = self.live.get()
        {
            state.extra.respecified(&spec);
            state.load.state.set_said(spec.standing());
            // A new cell is empty: setting it cannot fail.
            drop(live.set(Arc::clone(state)));
        }
        let returns = self.spec.health == Health::Unhealthy && spec.is_callable();
        let joined = if returns { now } else { self.joined };
        let place = AtomicU32::new(self.place());
        let listed = AtomicU32::new(self.listed());
        Self { spec, retired: AtomicBool::new(false), place, listed, joined, live }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn live_or_build(
        &self,
        cx: &X::Context,
        epoch: Epoch,
        crowd: &Arc<Crowd>,
        health: &Arc<Cluster>,
    ) -> &Live<X> {
        let live = self.live.get_or_init(|| {
            let (crowd, extra) = (Arc::clone(crowd), X::build(&self.spec, cx));
            let (load, watch) = (Load::default(), OnceLock::new());
            let live = Live {
                load,
                #[cfg(feature = "orca")]
                told: OnceLock::new(),
                #[cfg(feature = "orca")]
                turns: AtomicU32::new(0),
                epoch,
                watch,
                renewed: AtomicU64::new(0),
                crowd,
                extra,
            };
            live.load.state.set_said(self.spec.standing());
            if health.is_on() {
                live.watched(health);
            }
            Arc::new(live)
        });
        // A pick from an older set may come after the endpoint has left.
        if self.is_retired() {
            live.retire();
        }
        live
    }

    /// Whether it has left its cluster.
    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(SeqCst)
    }

    /// The endpoint has left its cluster, whether it has been picked or is being so.
    pub(super) fn retire(&self) {
        self.retired.store(true, SeqCst);
        self.disbelieved();
        if let Some(live) = self.live() {
            live.retire();
        }
    }
}

// === impl Live ===

impl<X: Upstream> Live<X> {
    /// Counts its outcomes from now on.
    pub(super) fn watched(&self, health: &Arc<Cluster>) -> &Watch {
        self.watch.get_or_init(|| health.watch())
    }

    /// Ends an ejection, if there is one.
    pub(super) fn restore(&self, now: u64, reason: ReturnReason) -> bool {
        let restored = self.load.state.restore();
        if restored {
            if let Some(watch) = self.watch.get()
                && watch.returned(now)
            {
                self.renew(now);
            }
            self.extra.returned(reason);
        }
        restored
    }

    /// Its ramp begins.
    pub(super) fn renew(&self, now: u64) {
        self.renewed.fetch_max(now, Relaxed);
    }

    /// Where it stands, in words.
    pub(super) fn told(&self, now: u64) -> String {
        let state = &self.load.state;
        let phase = match state.phase(self.extra.link(now)) {
            Phase::Idle => "idle",
            Phase::Connecting => "connecting",
            Phase::Ready => "ready",
            Phase::BackingOff => "connect back-off",
            Phase::Ejected => {
                let left = state.until().saturating_sub(now);
                #[expect(clippy::cast_precision_loss, reason = "for reading")]
                let left = left as f64 / 1e9;
                return format!("ejected, probed in {left:.1} s");
            }
            Phase::Probing => "ejected, a probe is out",
            Phase::Draining => "draining",
            Phase::Removed => "removed",
        };
        let also = if state.is_unfit() {
            ", its checks fail"
        } else if state.is_doubted() {
            ", not known to be healthy"
        } else {
            ""
        };
        format!("{phase}{also}")
    }

    /// It has left; what is in flight goes on.
    fn retire(&self) {
        if self.load.state.remove()
            && let Some(watch) = self.watch.get()
        {
            watch.removed();
        }
        self.extra.retire();
    }
}
