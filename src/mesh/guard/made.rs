//! The guards of a route, from what is said of it, of its service and of the mesh.

use std::sync::Arc;

#[cfg(feature = "rls")]
use super::global_rate_limit::GlobalRateLimit;
use super::{
    Guard, Place, Placed, authorize::Authorize, fault::Fault, protect::Protecting,
    rate_limit::RateLimit, upgrade::Upgrades,
};
use crate::{
    config::{self, Filter},
    mesh::{
        compile::lines::{Line, running_lines},
        inner::Inner,
        overlay::{Whose, is_authorization},
        service::ServiceCell,
        state::State,
    },
};

/// What a route says that its guards are made of, beside filters.
#[derive(Clone, Copy)]
pub(in crate::mesh) struct OfRoute<'a> {
    pub(in crate::mesh) whose: Whose,
    pub(in crate::mesh) upgrades: &'a [config::Upgrade],
}

// === impl Inner ===

impl Inner {
    /// The guards of a route, or of one of its clusters: rules of authorisation, what the route says of
    /// upgrades, then the others, each of the mesh, then of its service, then its own; most routes have
    /// none.
    pub(in crate::mesh) fn guards(
        &self,
        state: &mut State,
        cell: &ServiceCell,
        lines: &[Line<'_>],
        route: OfRoute<'_>,
    ) -> Option<Arc<[Placed]>> {
        let mut guards = self.made(state, cell, lines, false);
        let OfRoute { whose, upgrades } = route;
        if let Some(guard) = Upgrades::of(upgrades) {
            let rules = guards.iter().take_while(|placed| placed.authorizes).count();
            let name = "upgrades";
            guards.insert(rules, Placed { guard, whose, authorizes: false, name, place: None });
        }
        (!guards.is_empty()).then(|| guards.into())
    }

    /// The same of each attempt: the faults that are for those.
    pub(in crate::mesh) fn faults(
        &self,
        state: &mut State,
        cell: &ServiceCell,
        lines: &[Line<'_>],
    ) -> Option<Arc<[Placed]>> {
        let faults = self.made(state, cell, lines, true);
        (!faults.is_empty()).then(|| faults.into())
    }

    fn made(
        &self,
        state: &mut State,
        cell: &ServiceCell,
        lines: &[Line<'_>],
        of_attempts: bool,
    ) -> Vec<Placed> {
        let of_mesh = self.code.filters.iter();
        let of_mesh = of_mesh.map(|filter| Line::new(filter, &Place::Mesh, Whose::Code));
        let by_sources: Vec<_> = state
            .rules
            .iter()
            .map(|((source, _), it)| (Whose::Source(*source), it.clone()))
            .collect();
        let by_sources =
            by_sources.iter().map(|(whose, filter)| Line::new(filter, &Place::Mesh, *whose));
        let all = of_mesh.chain(by_sources).chain(running_lines(lines));
        let all = all.filter(|line| is_of_attempts(line.filter) == of_attempts);
        // Others take tokens, ask, wait and edit headers: who is denied has done none of it.
        let (rules, others): (Vec<_>, Vec<_>) = all.partition(|line| is_authorization(line.filter));
        let guards = rules.into_iter().chain(others).filter_map(|line| {
            let Line { place, whose, filter, .. } = line;
            let make = || self.make_guard(state, cell, place, filter);
            let guard = cell.guards.guard(place, filter, make)?;
            #[cfg(feature = "rls")]
            if let (Filter::GlobalRateLimit(limit), Some(asked)) = (filter, guard.asks()) {
                self.lead_beside(state, asked, &limit.cluster)?;
            }
            let (authorizes, name) = (is_authorization(filter), filter.name());
            let place = Some(place.clone());
            Some(Placed { guard, whose, authorizes, name, place })
        });
        guards.collect()
    }

    fn make_guard(
        &self,
        state: &mut State,
        cell: &ServiceCell,
        place: &Place,
        filter: &Filter,
    ) -> Option<Arc<dyn Guard>> {
        let labels = &self.code.labels;
        match filter {
            Filter::Fault(said) => Some(Arc::new(Fault::new(said)?)),
            Filter::Authorize(said) => Some(Arc::new(Authorize::new(&cell.name, said))),
            Filter::RateLimit(limit) => {
                Some(Arc::new(RateLimit::new(limit, labels, |key| state.runtime.of_limit(key))))
            }
            #[cfg(feature = "rls")]
            Filter::GlobalRateLimit(limit) => {
                let cell = self.cell_beside(state, "rate limits", &limit.cluster)?;
                let switch = |key: &str| state.runtime.of_limit(key);
                Some(Arc::new(GlobalRateLimit::new(limit, labels, switch, cell)))
            }
            #[cfg(all(test, feature = "testing"))]
            Filter::Extension(extension) => super::tests::made(extension),
            filter => Protecting::of(place, filter, self.epoch, &self.random),
        }
    }
}

/// Whether a filter is met by each attempt instead of by the call.
fn is_of_attempts(filter: &Filter) -> bool {
    matches!(filter, Filter::Fault(fault) if fault.per_attempt == Some(true))
}
