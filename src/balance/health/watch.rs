//! One endpoint: outcomes in, ejections and returns out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    Fault, accrual,
    cluster::{Health, Settings},
    outlier,
};
use crate::{
    balance::endpoint::{Live, Upstream},
    core::{EjectReason, ReturnReason, nanos},
};

/// The longest that a `Retry-After` keeps an endpoint out. Source: Linkerd `max_retry_after`.
const MAX_HINT: u64 = 300 * 1_000_000_000;

/// What is counted of one endpoint.
#[derive(Debug)]
pub(in crate::balance) struct Watch {
    health: Arc<Health>,
    outlier: outlier::Tally,
    accrual: accrual::Tally,
    /// Until when it has asked to be left alone.
    hint: AtomicU64,
    /// What has ejected it, by its index.
    by: AtomicU8,
}

// === impl Watch ===

impl Watch {
    /// Of an endpoint of this cluster, whose outcomes are counted from now on.
    pub(in crate::balance) fn new(health: &Arc<Health>) -> Self {
        Self {
            health: Arc::clone(health),
            outlier: outlier::Tally::default(),
            accrual: accrual::Tally::default(),
            hint: AtomicU64::new(0),
            by: AtomicU8::new(0),
        }
    }

    /// Takes a window that is over.
    pub(super) fn take(&self, origin: outlier::Origin) -> outlier::Counts {
        self.outlier.take(origin)
    }

    /// Looks at the head of an answer: whether its status is a failure, where that was said. `after`
    /// reads how long the endpoint asks to be left alone, where that is of use.
    #[inline]
    pub(in crate::balance) fn answered(
        &self,
        now: u64,
        status: u16,
        after: impl Fn() -> Option<Duration>,
    ) -> Option<bool> {
        let settings = self.health.settings.load();
        let rules = &settings.as_ref()?.rules;
        if rules.respect_retry_after
            && let Some(after) = after()
        {
            self.hint.fetch_max(now.saturating_add(nanos(after).min(MAX_HINT)), Relaxed);
        }
        rules.is_failure(status)
    }

    /// Counts an outcome: nothing if it succeeded. `is_probe` if it was the one call that finds out
    /// whether the endpoint is well again.
    #[cold]
    #[inline(never)]
    pub(in crate::balance) fn outcome<X: Upstream>(
        &self,
        live: &Live<X>,
        now: u64,
        fault: Option<Fault>,
        is_probe: bool,
    ) {
        let settings = self.health.settings.load();
        let Some(settings) = &*settings else { return };
        if is_probe {
            return self.probed(live, settings, now, fault);
        }
        if settings.rules.compares() {
            self.health.touch();
        }
        if live.load.state.is_ejected() {
            // What was sent before, or because nothing better was there, decides nothing.
            return;
        }
        self.outlier.count(&settings.rules, fault, |fault| {
            let (_, enforcing) = settings.rules.consecutive[fault as usize];
            self.eject(live, now, fault.reason(), enforcing);
        });
        if let Some(rules) = &settings.rules.accrual
            && let Some(reason) = self.accrual.count(rules, now, fault.is_none())
        {
            self.eject(live, now, reason, 100);
        }
    }

    /// The one call has ended.
    fn probed<X: Upstream>(
        &self,
        live: &Live<X>,
        settings: &Settings,
        now: u64,
        fault: Option<Fault>,
    ) {
        if fault.is_none() {
            live.restore(now, ReturnReason::Probe);
            return;
        }
        let mut lasts = 0;
        let is_out = live.load.state.probe_failed(|| {
            lasts = self.time(settings, now);
            now.saturating_add(lasts)
        });
        if is_out {
            live.extra.ejected(EjectReason::ProbeFailed, lasts);
        }
    }

    /// It is ejected once more: for how long, by what had ejected it.
    fn time(&self, settings: &Settings, now: u64) -> u64 {
        let Settings { rules, random } = settings;
        let accrued = [EjectReason::AccruedFailures, EjectReason::AccruedSuccessRatio]
            .iter()
            .any(|reason| reason.index() == usize::from(self.by.load(Relaxed)));
        let lasts = match &rules.accrual {
            Some(accrual) if accrued => self.accrual.ejected(accrual, random.ratio()),
            _ => self.outlier.ejected(now, rules.time, random.next()),
        };
        lasts.max(self.hint.load(Relaxed).saturating_sub(now))
    }

    /// Ejects the endpoint, if it is not out already and so many may be; `enforcing` percent of the
    /// time.
    pub(super) fn eject<X: Upstream>(
        &self,
        live: &Live<X>,
        now: u64,
        reason: EjectReason,
        enforcing: u32,
    ) {
        let settings = self.health.settings.load();
        let Some(settings) = &*settings else { return };
        let state = &live.load.state;
        let unready = || self.health.unready(now, state);
        //= Envoy `ejectHost`: the draw comes when the cluster's limit allows it
        let enforced = || enforcing >= 100 || settings.random.next() % 100 < u64::from(enforcing);
        let (floor, mut lasts) = (&settings.rules.floor, 0);
        let is_out = self.health.ejected.eject(state, floor, unready, enforced, || {
            self.by.store(u8::try_from(reason.index()).unwrap_or_default(), Relaxed);
            lasts = self.time(settings, now);
            now.saturating_add(lasts)
        });
        if is_out {
            live.extra.ejected(reason, lasts);
        }
    }

    /// What has ejected it.
    pub(in crate::balance) fn ejected_by(&self) -> Option<EjectReason> {
        EjectReason::ALL.get(usize::from(self.by.load(Relaxed))).copied()
    }

    /// Its ejection is over; whether it gets its share by and by.
    pub(in crate::balance) fn returned(&self, now: u64) -> bool {
        self.health.ejected.release();
        self.outlier.returned(now);
        self.accrual.returned();
        let ramps = self.health.ramps.load(Relaxed);
        if ramps {
            self.health.renewed(now);
        }
        ramps
    }

    /// It has left while it was out.
    pub(in crate::balance) fn removed(&self) {
        self.health.ejected.release();
    }
}
