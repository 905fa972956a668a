//! Outcomes in, ejections and returns out.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed},
};

use arc_swap::ArcSwapOption;

use super::{Fault, accrual, floor::Ejected, outlier, rules::Rules};
use crate::{
    balance::endpoint::{Live, Upstream},
    core::{EjectReason, Random, ReturnReason},
};

/// The longest that a `Retry-After` keeps an endpoint out. Source: Linkerd `max_retry_after`.
const MAX_HINT: u64 = 300 * 1_000_000_000;

/// The health of a cluster's endpoints together.
#[derive(Debug, Default)]
pub(crate) struct Health {
    settings: ArcSwapOption<Settings>,
    ejected: Ejected,
    /// An outcome has come since the window began.
    seen: AtomicBool,
    /// When it began; 0 while there is none, for want of calls.
    begun: AtomicU64,
    /// Whether who comes back gets its share by and by.
    ramps: AtomicBool,
    /// When somebody was well again last.
    renewed: AtomicU64,
}

#[derive(Debug)]
struct Settings {
    rules: Rules,
    random: Arc<Random>,
}

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

// === impl Health ===

impl Health {
    /// Rules from now on, or none. What is counted stays.
    pub(in crate::balance) fn set(&self, rules: Option<Rules>, random: &Arc<Random>) {
        let settings = |rules| Arc::new(Settings { rules, random: Arc::clone(random) });
        self.settings.store(rules.map(settings));
    }

    /// Whether who comes back gets its share by and by.
    pub(in crate::balance) fn set_ramps(&self, ramps: bool) {
        self.ramps.store(ramps, Relaxed);
    }

    /// Somebody is well again.
    pub(in crate::balance) fn renewed(&self, now: u64) {
        self.renewed.fetch_max(now, Relaxed);
    }

    /// Whether that is so long ago at most.
    pub(in crate::balance) fn is_renewing(&self, now: u64, window: u64) -> bool {
        let renewed = self.renewed.load(Relaxed);
        renewed > 0 && now < renewed.saturating_add(window)
    }

    pub(in crate::balance) fn is_on(&self) -> bool {
        self.settings.load().is_some()
    }

    /// Whether nobody is out.
    pub(in crate::balance) fn is_quiet(&self) -> bool {
        self.ejected.count() == 0
    }

    pub(in crate::balance) fn watch(self: &Arc<Self>) -> Box<Watch> {
        Box::new(Watch {
            health: Arc::clone(self),
            outlier: outlier::Tally::default(),
            accrual: accrual::Tally::default(),
            hint: AtomicU64::new(0),
            by: AtomicU8::new(0),
        })
    }

    /// Whether a passing check ends an ejection.
    pub(in crate::balance) fn returns_on_check(&self) -> bool {
        self.settings.load().as_ref().is_some_and(|settings| settings.rules.uneject_on_check)
    }

    /// Endpoints that are out.
    #[cfg(test)]
    pub(in crate::balance) fn ejected(&self) -> u32 {
        self.ejected.count()
    }

    /// Whether windows are compared at times.
    pub(in crate::balance) fn is_kept(&self) -> bool {
        self.settings.load().as_ref().is_some_and(|settings| settings.rules.compares())
    }

    /// An outcome has come: there will be something to compare.
    fn touch(&self) {
        if !self.seen.load(Relaxed) {
            self.seen.store(true, Relaxed);
        }
    }

    /// Notes who is there by now. If so many have left that too few are well, some that are out
    /// come back.
    pub(in crate::balance) fn settle<'a, X: Upstream, I: Iterator<Item = (&'a Live<X>, bool)>>(
        &self,
        now: u64,
        members: impl Fn() -> I,
        all: usize,
        unready: usize,
    ) {
        self.ejected.set_members(all, unready);
        let settings = self.settings.load();
        let over = || match &*settings {
            Some(settings) => self.ejected.exceed(&settings.rules.floor),
            None => self.ejected.count() > 0,
        };
        let reason = if settings.is_some() { ReturnReason::Floor } else { ReturnReason::Rules };
        // Those that may be called first.
        for wanted in [true, false] {
            for (live, callable) in members() {
                if !over() {
                    return;
                }
                if callable == wanted && live.load.state.is_ejected() {
                    live.restore(now, reason);
                }
            }
        }
    }

    /// Compares the windows that are over. When it is due next, if anything has come.
    pub(in crate::balance) fn keep<'a, X: Upstream>(
        &self,
        now: u64,
        members: impl Iterator<Item = &'a Live<X>>,
    ) -> Option<u64> {
        let settings = self.settings.load();
        let rules = &settings.as_ref().filter(|settings| settings.rules.compares())?.rules;
        let begun = self.begun.load(Relaxed);
        if begun == 0 && !self.seen.load(Relaxed) {
            return None;
        }
        // A window begins now, or is not over.
        let next = now.saturating_add(rules.time.interval);
        let due = begun.saturating_add(rules.time.interval);
        if begun == 0 || now < due {
            if begun == 0 {
                self.begun.store(now.max(1), Relaxed);
            }
            return Some(if begun == 0 { next } else { due });
        }
        let watched: Vec<_> = members.filter_map(|live| Some((live, live.watch.get()?))).collect();
        let origins =
            if rules.split { &outlier::Origin::ALL[..] } else { &[outlier::Origin::External] };
        for origin in origins {
            let windows: Vec<_> = watched
                .iter()
                .map(|(live, watch)| {
                    let window = watch.outlier.take(*origin);
                    let out = live.load.state.is_ejected();
                    if out { outlier::Counts::default() } else { window }
                })
                .collect();
            outlier::compare(rules, *origin, &windows, |place, reason, enforcing| {
                if let Some((live, watch)) = watched.get(place) {
                    watch.eject(live, now, reason, enforcing);
                }
            });
        }
        // Without outcomes there is none to begin until the next call.
        let goes_on = self.seen.swap(false, Relaxed);
        self.begun.store(if goes_on { now.max(1) } else { 0 }, Relaxed);
        goes_on.then_some(next)
    }
}

// === impl Watch ===

impl Watch {
    /// Whether a response of this status is a failure, where that was said.
    pub(in crate::balance) fn is_failure(&self, status: u16) -> Option<bool> {
        self.health.settings.load().as_ref()?.rules.is_failure(status)
    }

    /// The endpoint asks to be left alone for so long.
    pub(in crate::balance) fn hint(&self, now: u64, after: u64) {
        let settings = self.health.settings.load();
        if settings.as_ref().is_some_and(|settings| settings.rules.respect_retry_after) {
            let until = now.saturating_add(after.min(MAX_HINT));
            self.hint.fetch_max(until, Relaxed);
        }
    }

    /// Whether hints are of use.
    pub(in crate::balance) fn wants_hints(&self) -> bool {
        let settings = self.health.settings.load();
        settings.as_ref().is_some_and(|settings| settings.rules.respect_retry_after)
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
            self.outlier.reset(fault);
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
    fn eject<X: Upstream>(&self, live: &Live<X>, now: u64, reason: EjectReason, enforcing: u32) {
        let settings = self.health.settings.load();
        let Some(settings) = &*settings else { return };
        let state = &live.load.state;
        if state.is_ejected() || !self.health.ejected.claim(&settings.rules.floor) {
            return;
        }
        //= Envoy `ejectHost`: the draw comes when the cluster's limit allows it
        let drawn = enforcing >= 100 || settings.random.next() % 100 < u64::from(enforcing);
        if !drawn {
            return self.health.ejected.release();
        }
        let mut lasts = 0;
        let is_out = state.eject(|| {
            self.by.store(u8::try_from(reason.index()).unwrap_or_default(), Relaxed);
            lasts = self.time(settings, now);
            now.saturating_add(lasts)
        });
        if is_out {
            live.extra.ejected(reason, lasts);
        } else {
            // Another outcome was faster, or it has just left.
            self.health.ejected.release();
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
