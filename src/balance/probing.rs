//! Active probes of Prequal: calls owe so many each, and a task of the mesh makes them.
//!
//! A pick adds to a counter and tells the task when a whole probe is owed; it waits for nothing.
//! Without calls nothing is owed, and nothing is sent.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64,
            Ordering::{AcqRel, Relaxed},
        },
    },
    time::Duration,
};

use super::{
    balancer::Balancer,
    endpoint::{Endpoint, Upstream},
    pick::{self, Rank},
    policy::Policy,
};
use crate::{config, core::Random};

/// One probe, as it is counted: a rate may be a part of one.
const WHOLE: u64 = 1 << 16;
/// So often another endpoint is drawn for a probe before it is left out.
const EFFORT: usize = 4;

/// How probes are made.
#[derive(Debug)]
pub(crate) struct Probes {
    /// Of a call, in parts of [`WHOLE`].
    rate: u32,
    pub(crate) timeout: Duration,
    pub(crate) path: Box<str>,
}

/// What is owed.
#[derive(Debug, Default)]
pub(super) struct Probing {
    /// A task makes them.
    present: AtomicBool,
    /// By a call; 0: there are none.
    rate: AtomicU32,
    owed: AtomicU64,
}

// === impl Probes ===

impl Probes {
    /// Of a validated configuration.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "validated: at most 16"
    )]
    pub(super) fn of(config: &config::Prequal) -> Option<Arc<Self>> {
        let rate = config.probe_rate();
        (rate > 0.0).then(|| {
            Arc::new(Self {
                rate: ((rate * WHOLE as f64).round() as u32).max(1),
                timeout: config.probe_timeout(),
                path: config.probe_path().into(),
            })
        })
    }
}

// === impl Probing ===

impl Probing {
    pub(super) fn set(&self, probes: Option<&Arc<Probes>>) {
        self.rate.store(probes.map_or(0, |probes| probes.rate), Relaxed);
        self.owed.store(0, Relaxed);
    }

    fn is_on(&self) -> bool {
        self.rate.load(Relaxed) > 0
    }

    /// A call has come; whether a whole probe is owed.
    //= NSDI '24 §4.1: a rate that is no whole number leaves a remainder to the calls after
    pub(super) fn owe(&self) -> bool {
        let rate = u64::from(self.rate.load(Relaxed));
        self.owed.fetch_add(rate, AcqRel).saturating_add(rate) >= WHOLE
    }

    /// Takes all whole ones. One task alone does.
    fn take(&self) -> u64 {
        // Settings that come between may have set it to nothing.
        let taken = self.owed.fetch_update(AcqRel, Relaxed, |owed| Some(owed % WHOLE));
        taken.unwrap_or(0) / WHOLE
    }
}

// === impl Balancer ===

impl<X: Upstream> Balancer<X> {
    /// Whether a task is to be started that makes probes: once, when they are asked for.
    pub(crate) fn takes_prober(&self) -> bool {
        let probing = &self.keeper.probing;
        probing.is_on() && !probing.present.swap(true, Relaxed)
    }

    /// How probes are made, if they are.
    pub(crate) fn probes(&self) -> Option<Arc<Probes>> {
        match &self.view.load().policy {
            Policy::Prequal(prequal) => prequal.probes.clone(),
            _ => None,
        }
    }

    /// Whom to probe now, each with what names its state: as many as are owed, but no more than
    /// `most`, each once, and none that has a probe `out`. What is not made is not made later.
    pub(crate) fn take_probes(
        &self,
        now: u64,
        random: &Random,
        most: usize,
        out: impl Fn(usize) -> bool,
    ) -> Vec<(usize, Arc<Endpoint<X>>)> {
        let owed = usize::try_from(self.keeper.probing.take()).unwrap_or(usize::MAX);
        let view = self.view.load();
        let set = &view.all.set;
        let mut chosen: Vec<(usize, Arc<Endpoint<X>>)> = Vec::new();
        for _ in 0..owed.min(most) {
            let found = (0..EFFORT).find_map(|_| {
                let endpoint = set.get(pick::scale(random.next(), set.len()))?;
                // A plan keeps away from whom it does not call: nobody is connected to for a probe.
                if pick::standing(endpoint, now) != Rank::Good
                    || view.placed.is_some() && endpoint.live().is_none()
                {
                    return None;
                }
                let who = self.live(endpoint, &view.all).who();
                let is_new = !out(who) && chosen.iter().all(|(known, _)| *known != who);
                is_new.then(|| (who, Arc::clone(endpoint)))
            });
            chosen.extend(found);
        }
        chosen
    }
}
