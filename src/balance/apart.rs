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
