//! What is known of an endpoint since its first pick.

#[cfg(feature = "orca")]
use std::sync::atomic::AtomicU16;
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{Spec, Upstream};
#[cfg(feature = "orca")]
use crate::balance::sink::Told;
use crate::{
    balance::{
        bias::Bias,
        hash::Crowd,
        health::{Health as Cluster, Watch},
        load::Load,
    },
    core::{Epoch, ReturnReason},
};

/// The run-time state of an endpoint that has been picked.
///
/// What a pick writes is on both sides further than a line from whatever lies beside it in memory, so that
/// no other endpoint's pick writes a line of it. It is not aligned to a line: glibc serves what is aligned from none of its
/// lists of free memory, and sorts them all first, which keeps a pick waiting where thousands of endpoints have just left.
#[repr(C)]
pub(in crate::balance) struct Live<X> {
    before: [u64; BEFORE],
    pub(in crate::balance) load: Load,
    /// What it tells of its load, where that is asked for.
    #[cfg(feature = "orca")]
    pub(in crate::balance) told: OnceLock<Box<Told>>,
    /// Its turns by what it tells, against 65535; 0 while it has no weight.
    #[cfg(feature = "orca")]
    pub(in crate::balance) turns: AtomicU16,
    pub(in crate::balance) epoch: Epoch,
    /// What is counted of its outcomes, where the cluster asks for it.
    pub(in crate::balance) watch: OnceLock<Box<Watch>>,
    /// When it was well again. Nanoseconds since the mesh's epoch; 0: it was never anything else.
    renewed: AtomicU64,
    /// The calls in flight to its whole cluster.
    pub(in crate::balance) crowd: Arc<Crowd>,
    /// What is reckoned with unmeasured in its whole cluster.
    pub(in crate::balance) bias: Arc<Bias>,
    after: [u64; AFTER],
    pub(in crate::balance) extra: X,
}

/// With the two counts of its reference, a line of 64 bytes.
const BEFORE: usize = 6;
/// With what is seldom written, another one.
const AFTER: usize = 2;

// === impl Live ===

impl<X> Live<X> {
    /// When it was well again; 0: it was never anything else.
    pub(super) fn renewed(&self) -> u64 {
        self.renewed.load(Relaxed)
    }
}

impl<X: Upstream> Live<X> {
    /// That of an endpoint that is picked for the first time.
    pub(super) fn new(
        spec: &Spec,
        cx: &X::Context,
        epoch: Epoch,
        (crowd, bias): (Arc<Crowd>, Arc<Bias>),
        load: Load,
    ) -> Self {
        let live = Self {
            before: [0; BEFORE],
            load,
            #[cfg(feature = "orca")]
            told: OnceLock::new(),
            #[cfg(feature = "orca")]
            turns: AtomicU16::new(0),
            epoch,
            watch: OnceLock::new(),
            renewed: AtomicU64::new(0),
            crowd,
            bias,
            after: [0; AFTER],
            extra: X::build(spec, cx),
        };
        live.load.state.set_said(spec.standing());
        live
    }

    /// Counts its outcomes from now on.
    pub(in crate::balance) fn watched(&self, health: &Arc<Cluster>) -> &Watch {
        self.watch.get_or_init(|| Box::new(Watch::new(health)))
    }

    /// Ends an ejection, if there is one.
    pub(in crate::balance) fn restore(&self, now: u64, reason: ReturnReason) -> bool {
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
    pub(in crate::balance) fn renew(&self, now: u64) {
        self.renewed.fetch_max(now, Relaxed);
    }

    /// It has left; what is in flight goes on.
    pub(super) fn retire(&self) {
        if self.load.state.remove()
            && let Some(watch) = self.watch.get()
        {
            watch.removed();
        }
        self.extra.retire();
    }
}
