//! What active checks say of endpoints.

use std::sync::{
    Arc, MutexGuard, PoisonError,
    atomic::{
        Ordering::{Relaxed, SeqCst},
        fence,
    },
};

use super::{
    balancer::Balancer,
    endpoint::{Endpoint, Upstream},
    health::Checked,
    set::Set,
    view::View,
};
use crate::core::{Instant, ReturnReason};

impl<X: Upstream> Balancer<X> {
    /// Every endpoint that there is now.
    pub(crate) fn endpoints(&self) -> Vec<Arc<Endpoint<X>>> {
        self.view.load().all.set.iter().map(Arc::clone).collect()
    }

    /// Whether any of them was ever called.
    pub(crate) fn was_called(&self) -> bool {
        let view = self.view.load();
        view.all
            .set
            .iter()
            .any(|endpoint| endpoint.live().is_some_and(|live| live.load.was_picked()))
    }

    /// Begins to check, by this number; who checked before is not listened to any more, and nobody has
    /// been found well yet.
    pub(crate) fn begin_checks(&self) -> u64 {
        let mut checks = self.checks();
        *checks += 1;
        self.checking.store(true, Relaxed);
        let view = self.view.load();
        let all = &view.all.set;
        all.iter().for_each(|endpoint| endpoint.set_unchecked(true));
        // Beside that of who makes a state: it is not checked yet, or is seen here.
        fence(SeqCst);
        for live in all.iter().filter_map(|endpoint| endpoint.live()) {
            live.load.state.set_checked(Checked::Not);
        }
        self.count(self.epoch.nanos(Instant::now()));
        *checks
    }

    /// Whether somebody checks the endpoints.
    pub(super) fn are_checked(&self) -> bool {
        self.checking.load(Relaxed)
    }

    /// Those of a view that is made: who has joined, or is to be connected to in another way, was found
    /// well by nobody. Who checks hears of it only when it is published.
    pub(super) fn await_checks(&self, set: &Set<X>) -> bool {
        let are_checked = self.are_checked();
        if are_checked {
            let new = set.iter().filter(|endpoint| endpoint.live().is_none());
            new.for_each(|endpoint| endpoint.set_unchecked(true));
        }
        are_checked
    }

    /// The view is published. Checks may have ended since they were awaited; where they have begun, who
    /// checks has this to look at.
    pub(super) fn checked_meanwhile(&self, awaited: bool, view: &View<X>, now: u64) {
        // Beside that of who ends them.
        fence(SeqCst);
        if awaited && !self.are_checked() && forget(view) {
            self.count(now);
        }
    }

    /// What their checks say of endpoints now. One that passes ends an ejection, unless the rules
    /// say otherwise. The plan is counted once for all of them.
    pub(crate) fn set_checked<'a>(
        &self,
        by: u64,
        found: impl IntoIterator<Item = (&'a Arc<Endpoint<X>>, Checked)>,
        now: u64,
    ) {
        let checks = self.checks();
        if *checks != by {
            return;
        }
        let view = self.view.load();
        let note = |changed, (endpoint, checked): (&Arc<Endpoint<X>>, _)| {
            self.note_checked(&view, endpoint, checked, now) | changed
        };
        // At once: a panic of before must not send calls to whom the checks have found.
        if found.into_iter().fold(false, note) {
            self.level(&view, now);
            self.count(now);
        }
    }

    /// Notes what the checks say of one; whether it counts as something else by now.
    fn note_checked(
        &self,
        view: &View<X>,
        endpoint: &Endpoint<X>,
        checked: Checked,
        now: u64,
    ) -> bool {
        let live = self.live(endpoint, &view.all);
        let state = &live.load.state;
        let before = (state.is_unfit(), state.is_doubted());
        //= Envoy `setHealthActive`: a passing check begins the ramp of who failed, or has joined
        let is_new = state.is_unfit() || (state.is_unchecked() && endpoint.is_untried());
        if checked == Checked::Fit && is_new {
            live.renew(now);
            self.health.renewed(now);
        }
        state.set_checked(checked);
        if checked == Checked::Unfit && !before.0 && view.placing.close_on_failure {
            live.extra.renew();
        }
        if checked == Checked::Fit && self.health.returns_on_check() {
            live.restore(now, ReturnReason::Check);
        }
        before != (state.is_unfit(), state.is_doubted())
    }

    /// Nobody checks them any more: what was said of them is forgotten, and what a probe that is still
    /// out says is not listened to.
    pub(crate) fn forget_checks(&self, now: u64) {
        let mut checks = self.checks();
        *checks += 1;
        self.checking.store(false, Relaxed);
        fence(SeqCst);
        if forget(&self.view.load()) {
            self.count(now);
        }
    }

    /// Counts the plan that picks read: another one may have been made of what was known before.
    fn count(&self, now: u64) {
        let mut view = self.view.load();
        loop {
            view.count(&self.context, now);
            let newest = self.view.load();
            if Arc::ptr_eq(&view, &newest) {
                return;
            }
            view = newest;
        }
    }

    fn checks(&self) -> MutexGuard<'_, u64> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What checks have said of these is forgotten; whether anything was.
fn forget<X>(view: &View<X>) -> bool {
    let all = &view.all.set;
    let mut changed = all.iter().any(|endpoint| endpoint.is_unchecked());
    all.iter().for_each(|endpoint| endpoint.set_unchecked(false));
    // Beside that of who makes a state: it is not made for checks, or is seen here.
    fence(SeqCst);
    for live in all.iter().filter_map(|endpoint| endpoint.live()) {
        changed |= live.load.state.set_checked(Checked::Fit);
    }
    changed
}
