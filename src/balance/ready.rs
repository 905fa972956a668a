//! Who is ready: what must stay when endpoints are ejected.

use super::{
    balancer::Balancer,
    endpoint::{Endpoint, Upstream},
    health::{Roll, State},
    pick::is_ready,
    view::View,
};

impl<X: Upstream> Roll for View<X> {
    fn unready(&self, now: u64, but: &State) -> u32 {
        count(self, now, |state| std::ptr::eq(state, but))
    }
}

impl<X: Upstream> Balancer<X> {
    /// If too few of these are ready, some that are out come back.
    pub(super) fn level(&self, view: &View<X>, now: u64) {
        if self.health.is_quiet() {
            return;
        }
        let all = || view.all.set.iter();
        let members = || all().filter_map(|it| Some((it.live()?, is_ready(it, now))));
        self.health.level(now, members, count(view, now, |_| false));
    }
}

/// How many are not ready, of those that are neither ejected nor left out.
fn count<X: Upstream>(view: &View<X>, now: u64, is_left_out: impl Fn(&State) -> bool) -> u32 {
    let is_counted = |endpoint: &Endpoint<X>| {
        let state = endpoint.live().map(|live| &live.load.state);
        let is_out = state.is_some_and(|state| state.is_ejected() || is_left_out(state));
        !is_out && !is_ready(endpoint, now)
    };
    let unready = view.all.set.iter().filter(|endpoint| is_counted(endpoint)).count();
    u32::try_from(unready).unwrap_or(u32::MAX)
}
