//! Picks that ask for more than any endpoint, where no plan says where to pick: a retry that leaves
//! the localities of what its call has met or avoids others, and a call that has other clusters to go to.

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
        let elsewhere = if mode.leaves_nothing() {
            None
        } else {
            let picked = view.among(&ask, drawn, (&mode, Rank::Degraded));
            picked.map(|it| self.probing(view, it, ask.now))
        };
        if elsewhere.is_some() || !ask.well {
            return elsewhere.map(Ok);
        }
        let picked = view.among_well(&ask, drawn, &mode).map(|it| self.probing(view, it, ask.now));
        Some(picked.ok_or(PickError::Unavailable))
    }

    fn probing(&self, view: &View<X>, endpoint: &Arc<Endpoint<X>>, now: u64) -> InFlight<X> {
        let flight = self.begin(view, endpoint, self.live(endpoint, &view.all), now);
        flight.perhaps_probing(now)
    }
}

impl<X: Upstream> View<X> {
    /// One that works; and when there is none, one that could not be connected to and whose back-off
    /// is over, or nobody would find out that it can be.
    pub(super) fn among_well<'a>(
        &'a self,
        ask: &Ask<'a, X>,
        drawn: Drawn<'a, X>,
        mode: &'a Mode<'a, X>,
    ) -> Option<&'a Arc<Endpoint<X>>> {
        self.among(ask, drawn, (mode, Rank::Left)).or_else(|| {
            mode.trial.set(true);
            let picked = self.among(ask, drawn, (mode, Rank::Left));
            mode.trial.set(false);
            picked
        })
    }

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
