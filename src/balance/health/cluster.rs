//! The health of a cluster's endpoints together: its rules, how many are out, and the windows that are
//! compared.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use arc_swap::ArcSwapOption;

use super::{floor::Ejected, outlier, rules::Rules, state::State};
use crate::{
    balance::endpoint::{Live, Upstream},
    core::{Random, ReturnReason},
};

/// The health of a cluster's endpoints together.
#[derive(Debug, Default)]
pub(crate) struct Health {
    pub(super) settings: ArcSwapOption<Settings>,
    pub(super) ejected: Ejected,
    /// Who is there.
    roll: ArcSwapOption<Weak<dyn Roll>>,
    /// An outcome has come since the window began.
    seen: AtomicBool,
    /// When it began; 0 while there is none, for want of calls.
    begun: AtomicU64,
    /// Whether who comes back gets its share by and by.
    pub(super) ramps: AtomicBool,
    /// When somebody was well again last.
    renewed: AtomicU64,
}

/// Knows the endpoints of a cluster.
pub(in crate::balance) trait Roll: Send + Sync {
    /// How many are not ready, of those that are not ejected; that of this state is not counted.
    fn unready(&self, now: u64, but: &State) -> u32;
}

/// The rules, and who draws where they ask for it.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) rules: Rules,
    pub(super) random: Arc<Random>,
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

    /// Whether a passing check ends an ejection.
    pub(in crate::balance) fn returns_on_check(&self) -> bool {
        self.settings.load().as_ref().is_some_and(|settings| settings.rules.uneject_on_check)
    }

    /// Endpoints that are out.
    #[cfg(any(test, fuzzing))]
    pub(in crate::balance) fn ejected(&self) -> u32 {
        self.ejected.count()
    }

    /// Whether windows are compared at times.
    pub(in crate::balance) fn is_kept(&self) -> bool {
        self.settings.load().as_ref().is_some_and(|settings| settings.rules.compares())
    }

    /// An outcome has come: there will be something to compare.
    pub(super) fn touch(&self) {
        if !self.seen.load(Relaxed) {
            self.seen.store(true, Relaxed);
        }
    }

    /// Who knows from now on who is there.
    pub(in crate::balance) fn called_by(&self, roll: Weak<dyn Roll>) {
        self.roll.store(Some(Arc::new(roll)));
    }

    /// How many are not ready, of those that are not ejected, that of this state apart. All are looked at.
    #[cold]
    pub(super) fn unready(&self, now: u64, but: &State) -> u32 {
        let roll = self.roll.load().as_ref().and_then(|roll| roll.upgrade());
        roll.map_or(0, |roll| roll.unready(now, but))
    }

    /// Notes how many there are by now.
    pub(in crate::balance) fn set_members(&self, all: usize) {
        self.ejected.set_members(all);
    }

    /// If too few are ready, some that are out come back. `members` are told with whether they would be
    /// ready, `unready` of those that are not ejected are not.
    pub(in crate::balance) fn level<'a, X: Upstream, I: Iterator<Item = (&'a Live<X>, bool)>>(
        &self,
        now: u64,
        members: impl Fn() -> I,
        mut unready: u32,
    ) {
        let settings = self.settings.load();
        let over = |unready| match &*settings {
            Some(settings) => self.ejected.exceed(&settings.rules.floor, unready),
            None => self.ejected.count() > 0,
        };
        let reason = if settings.is_some() { ReturnReason::Floor } else { ReturnReason::Rules };
        // Those that are ready then come first.
        for wanted in [true, false] {
            for (live, ready) in members() {
                if !over(unready) {
                    return;
                }
                let is_next = ready == wanted && live.load.state.is_ejected();
                if is_next && live.restore(now, reason) && !ready {
                    unready = unready.saturating_add(1);
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
                    let window = watch.take(*origin);
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
