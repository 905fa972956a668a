//! What is tried beside the endpoint that pick first has chosen, while that is being connected to.

use std::sync::Arc;

use super::{
    ask::Ask,
    balancer::Balancer,
    endpoint::{Endpoint, Upstream},
    flight::InFlight,
    pick::{Picker, Rank},
    planned::plan_of,
    subset::labels::Wanted,
    view::{Group, View},
};

/// So many are tried at most, with the one that was picked.
const MOST: usize = 64;

impl<X: Upstream> Balancer<X> {
    /// Whether the order in which endpoints are listed counts.
    pub(crate) fn is_ordered(&self) -> bool {
        self.view.load().policy.first().is_some()
    }

    /// Those that are tried next while `endpoint` is being connected to, in their order: of its
    /// priority and locality, those that may be called. None where the policy has no order.
    #[cold]
    pub(crate) fn behind(
        &self,
        endpoint: &Arc<Endpoint<X>>,
        ask: &Ask<'_, X>,
    ) -> Vec<Arc<Endpoint<X>>> {
        let view = self.view.load();
        let Some(group) = view.group_of(endpoint, ask.wanted) else { return Vec::new() };
        let Some(sequence) = &group.sequence else { return Vec::new() };
        let picker = Picker::new(&group.set, ask);
        let behind = sequence.behind(&group.set, endpoint);
        behind.filter(|it| picker.rank(it) == Rank::Good).take(MOST - 1).cloned().collect()
    }

    /// Counts a call in flight to this endpoint.
    pub(crate) fn begin_at(&self, endpoint: &Arc<Endpoint<X>>, now: u64) -> InFlight<X> {
        let view = self.view.load();
        self.take(&view, (endpoint, None), now)
    }
}

impl<X: Upstream> View<X> {
    /// The endpoints that a pick of this one has chosen among.
    fn group_of(&self, endpoint: &Endpoint<X>, wanted: Option<&Wanted>) -> Option<&Group<X>> {
        let has = |group: &&Group<X>| group.set.iter().any(|it| it.is(endpoint));
        let Some(placed) = &self.placed else { return Some(&self.all) };
        let plan = plan_of(self, placed, wanted).ok()?;
        let levels = || plan.levels.iter();
        let parts = levels().flat_map(|level| level.parts.iter().map(|part| &part.group));
        let wholes = levels().filter_map(|level| level.whole.as_ref());
        // Of labels that are asked for, those that the others carry are not known to be the same.
        parts.chain(wholes).find(has).or_else(|| (plan.id == 0).then_some(&self.all))
    }
}
