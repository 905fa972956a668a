//! One endpoint: what its source says, and what is known of it since its first pick.

mod leaving;
mod live;
mod spec;
mod upstream;

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
};

use self::leaving::Leaving;
pub(super) use self::live::Live;
pub(crate) use self::{
    spec::Spec,
    upstream::{Environment, Upstream},
};
use super::{atomic, bias::Bias, hash::Crowd, health::Checked, load::Load};
use crate::{
    config::{Health, Locality},
    core::Epoch,
};

/// One endpoint of a cluster.
pub(crate) struct Endpoint<X> {
    spec: Spec,
    /// It has left its cluster; in the padding of the spec.
    leaving: Leaving,
    /// Its checks have said nothing before its state is made.
    awaits_check: AtomicBool,
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

// === impl Endpoint ===

impl<X> Endpoint<X> {
    /// One that has joined at `now`.
    pub(super) fn new(spec: Spec, now: u64) -> Self {
        Self {
            spec,
            leaving: Leaving::default(),
            awaits_check: AtomicBool::new(false),
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
        let renewed = self.live().map_or(0, Live::renewed);
        self.joined.max(renewed)
    }

    /// Whether it has joined a cluster that had others, and was never found well by a check.
    pub(super) fn is_untried(&self) -> bool {
        self.joined > 0 && self.live().is_none_or(|live| live.renewed() == 0)
    }

    /// Whether its checks have yet to say something.
    pub(super) fn is_unchecked(&self) -> bool {
        let awaits = || self.awaits_check.load(Relaxed);
        self.live().map_or_else(awaits, |live| live.load.state.is_unchecked())
    }

    /// Whether its checks have yet to say something, if its state is made from now on.
    pub(super) fn set_unchecked(&self, unchecked: bool) {
        self.awaits_check.store(unchecked, Relaxed);
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
        let returns = self.spec.health() == Health::Unhealthy && spec.is_callable();
        let joined = if returns { now } else { self.joined };
        let place = AtomicU32::new(self.place());
        let listed = AtomicU32::new(self.listed());
        let (leaving, awaits_check) = (Leaving::default(), AtomicBool::new(self.is_unchecked()));
        Self { spec, leaving, awaits_check, place, listed, joined, live }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn live_or_build(
        &self,
        cx: &X::Context,
        epoch: Epoch,
        (crowd, bias): (&Arc<Crowd>, &Arc<Bias>),
    ) -> &Live<X> {
        let load = Load::of(bias.first(), self.joined);
        let make = || {
            let cluster = (Arc::clone(crowd), Arc::clone(bias));
            let live = Live::new(&self.spec, cx, epoch, cluster, load);
            if self.awaits_check.load(Relaxed) {
                live.load.state.set_checked(Checked::Not);
            }
            Arc::new(live)
        };
        let live = self.live.get_or_init(make);
        // A pick from an older set may come after the endpoint has left.
        if self.leaving.has_left_since() {
            live.retire();
        }
        live
    }

    /// Whether it has left its cluster.
    pub(super) fn is_retired(&self) -> bool {
        self.leaving.has_left()
    }

    /// The endpoint has left its cluster, whether it has been picked or is being so.
    pub(super) fn retire(&self) {
        self.leaving.leave();
        self.disbelieved();
        if let Some(live) = self.live() {
            live.retire();
        }
    }
}
