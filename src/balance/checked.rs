//! What active checks say of endpoints.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::{
    balancer::Balancer,
    endpoint::{Endpoint, Upstream},
    health::Checked,
    view::View,
};
use crate::core::ReturnReason;

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

    /// Begins to check, by this number; who checked before is not listened to any more.
    pub(crate) fn begin_checks(&self) -> u64 {
        let mut checks = self.checks();
        *checks += 1;
        *checks
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
        let view = self.view.load();
        let forget = |changed, endpoint: &Arc<Endpoint<X>>| {
            let live = endpoint.live();
            live.is_some_and(|live| live.load.state.set_checked(Checked::Fit)) | changed
        };
        if view.all.set.iter().fold(false, forget) {
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
