//! The order in which a pick decides that asks for more than any good endpoint: whom the call names,
//! then the plan, then the policy. Calls go by it, and so do the picks that an explanation tries out.

use std::sync::Arc;

use super::{
    ask::Ask,
    balancer::PickError,
    endpoint::{Endpoint, Live, Upstream},
    pick::{Drawn, Mode, Picker, Pinned, Rank},
    subset::labels::Wanted,
    view::View,
};

/// An endpoint, with its state where that was found plainly good.
pub(super) type Chosen<'a, X> = (&'a Arc<Endpoint<X>>, Option<&'a Live<X>>);

impl<X: Upstream> View<X> {
    /// What becomes of the endpoint of a pick; `wakes` who counts when the plan's shares are not right
    /// any more.
    #[inline]
    pub(super) fn decide<T>(
        &self,
        ask: &Ask<'_, X>,
        wakes: &dyn Fn(),
        then: impl FnOnce(Chosen<'_, X>) -> T,
    ) -> Result<T, PickError> {
        if ask.over.is_some() {
            match self.named(ask) {
                Pinned::To(endpoint) => return Ok(then((endpoint, None))),
                Pinned::Nowhere => return Err(PickError::Unavailable),
                Pinned::Free => {}
            }
        }
        if self.placed.is_some() {
            return self.choose(ask, wakes, then);
        }
        if is_of_labels(ask.wanted) {
            return Err(PickError::NoPart);
        }
        match self.policy.plain_elsewhere(&self.all, Picker::new(&self.all.set, ask), ask.hash) {
            Ok((endpoint, live)) => Ok(then((endpoint, Some(live)))),
            Err(drawn) => self.decide_drawn(ask, drawn, then),
        }
    }

    /// The same of what was drawn and is not plainly good, where there is no plan.
    #[inline]
    pub(super) fn decide_drawn<T>(
        &self,
        ask: &Ask<'_, X>,
        drawn: Option<Drawn<'_, X>>,
        then: impl FnOnce(Chosen<'_, X>) -> T,
    ) -> Result<T, PickError> {
        let drawn = drawn.ok_or(PickError::Empty)?;
        if ask.apart || ask.avoid.is_some() || ask.well {
            let mode = Mode::new(ask);
            if !mode.leaves_nothing()
                && let Some(elsewhere) = self.among(ask, drawn, (&mode, Rank::Degraded))
            {
                return Ok(then((elsewhere, None)));
            }
            if ask.well {
                let picked = self.among_well(ask, drawn, &mode);
                return picked.map(|it| then((it, None))).ok_or(PickError::Unavailable);
            }
        }
        let group = &self.all;
        let picked = self.policy.ranked(group, Picker::new(&group.set, ask), ask, drawn);
        picked.map(|it| then((it, None))).ok_or(PickError::Unavailable)
    }

    /// Whether the call goes to the endpoint that it names.
    #[cold]
    #[inline(never)]
    fn named<'a>(&'a self, ask: &Ask<'a, X>) -> Pinned<'a, X> {
        match ask.over {
            Some(over) => Picker::new(&self.all.set, ask).pinned(&self.pins, over),
            None => Pinned::Free,
        }
    }
}

/// Whether labels are asked for: where there is no plan, nobody is known to carry them.
pub(super) fn is_of_labels(wanted: Option<&Wanted>) -> bool {
    wanted.is_some_and(|wanted| !wanted.is_empty())
}
