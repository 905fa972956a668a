//! What active checks say of endpoints.

use std::sync::Arc;

use super::{
    balancer::Balancer,
    endpoint::{Endpoint, Upstream},
    health::Checked,
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

    /// What its checks say of an endpoint now. One that passes ends an ejection, unless the rules
    /// say otherwise.
    pub(crate) fn set_checked(&self, endpoint: &Endpoint<X>, checked: Checked, now: u64) {
        let view = self.view.load();
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
        // At once: a panic of before must not send calls to whom the checks have found.
        if before != (state.is_unfit(), state.is_doubted()) {
            view.count(&self.context, now);
        }
    }

    /// Nobody checks them any more.
    pub(crate) fn forget_checks(&self) {
        for endpoint in self.view.load().all.set.iter() {
            if let Some(live) = endpoint.live() {
                live.load.state.set_checked(Checked::Fit);
            }
        }
    }
}
