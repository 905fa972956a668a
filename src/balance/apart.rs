//! Picks that ask for more than any endpoint, where no plan says where to pick: a retry that leaves
//! the localities of what its call has met, and a call that has other clusters to go to.

use std::sync::Arc;

use super::{
    ask::Ask,
    balancer::{Balancer, PickError},
    endpoint::{Endpoint, Upstream},
    flight::InFlight,
    pick::{Drawn, Mode, Picker, Rank},
    view::View,
};

impl<X: Upstream> Balancer<X> {
    /// Picks an endpoint that works, or one that is to be probed; none else, nor one that the
    /// call has met.
    #[cold]
    pub(crate) fn pick_well(&self, ask: Ask<'_, X>) -> Result<InFlight<X>, PickError> {
        let (view, ask) = (self.view.load(), Ask { well: true, ..ask });
        self.pick_in(&view, ask).or_else(|error| self.pick_again(&view, ask, error))
    }

    /// What such a pick comes to. None: it goes on as if nothing more were asked.
    ///
    /// Looks at all endpoints before it finds none.
    pub(super) fn chosen(
        &self,
        view: &View<X>,
        ask: Ask<'_, X>,
        drawn: Drawn<'_, X>,
    ) -> Option<Result<InFlight<X>, PickError>> {
        let mode = Mode::new(&ask);
        let elsewhere = if mode.leaves.is_empty() {
            None
        } else {
            self.among(view, &ask, drawn, (&mode, Rank::Degraded))
        };
        if elsewhere.is_some() || !ask.well {
            return elsewhere.map(Ok);
        }
        let picked = self.among(view, &ask, drawn, (&mode, Rank::Left));
        Some(picked.ok_or(PickError::Unavailable))
    }

    fn among<'a>(
        &self,
        view: &'a View<X>,
        ask: &Ask<'a, X>,
        drawn: Drawn<'a, X>,
        (mode, worst): (&'a Mode<'a, X>, Rank),
    ) -> Option<InFlight<X>> {
        let endpoint = view.among(ask, drawn, (mode, worst))?;
        let flight = self.begin(view, endpoint, self.live(endpoint, &view.all), ask.now);
        Some(flight.perhaps_probing(ask.now))
    }
}

impl<X: Upstream> View<X> {
    /// One that ranks so well at least.
    pub(super) fn among<'a>(
        &'a self,
        ask: &Ask<'a, X>,
        drawn: Drawn<'a, X>,
        (mode, worst): (&'a Mode<'a, X>, Rank),
    ) -> Option<&'a Arc<Endpoint<X>>> {
        mode.worst.set(worst);
        let group = &self.all;
        let picker = Picker { mode: Some(mode), ..Picker::new(&group.set, ask) };
        self.policy.ranked(group, picker, ask, drawn)
    }
}
