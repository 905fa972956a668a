//! A retry that leaves the localities of what its call has met, where no plan says where to pick.

use super::{
    ask::Ask,
    balancer::Balancer,
    endpoint::Upstream,
    flight::InFlight,
    pick::{Drawn, Mode, Picker, Rank},
    view::View,
};

impl<X: Upstream> Balancer<X> {
    /// One that works in another locality than those that the call is to leave. None: it goes on
    /// as if it were not to.
    ///
    /// Looks at all endpoints before it finds none.
    pub(super) fn elsewhere(
        &self,
        view: &View<X>,
        ask: Ask<'_, X>,
        drawn: Drawn<'_, X>,
    ) -> Option<InFlight<X>> {
        let mode = Mode::new(&ask);
        if mode.leaves.is_empty() {
            return None;
        }
        mode.worst.set(Rank::Degraded);
        let group = &view.all;
        let picker = Picker { mode: Some(&mode), ..Picker::new(&group.set, &ask) };
        let endpoint = view.policy.ranked(group, picker, &ask, drawn)?;
        let flight = self.begin(view, endpoint, self.live(endpoint, group), ask.now);
        Some(flight.perhaps_probing(ask.now))
    }
}
