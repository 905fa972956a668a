//! The guards of a route, from what is said of it, of its service and of the mesh.

use std::sync::Arc;

#[cfg(feature = "rls")]
use super::global_rate_limit::GlobalRateLimit;
use super::{
    Guard, Place, Placed, authorize::Authorize, fault::Fault, protect::Protecting,
    rate_limit::RateLimit,
};
use crate::{
    config::{self, Filter},
    discover::SourceId,
    mesh::{
        inner::Inner,
        overlay::{Whose, is_authorization},
        service::ServiceCell,
        state::State,
    },
};

/// The filters of a service, each with who says it, and who says those of its routes.
#[derive(Clone, Copy)]
pub(in crate::mesh) struct OfService<'a> {
    pub(in crate::mesh) filters: &'a [Filter],
    pub(in crate::mesh) whose: &'a [Whose],
    pub(in crate::mesh) routed_by: Option<SourceId>,
}

// === impl OfService ===

impl OfService<'_> {
    /// Without a source, nobody has said any.
    fn of_routes(self) -> Whose {
        self.routed_by.map_or(Whose::Code, Whose::Source)
    }
}

// === impl Inner ===

impl Inner {
    /// The guards of a route: rules of authorisation, then the others, each of the mesh, then of its
    /// service, then its own; most routes have none.
    pub(in crate::mesh) fn guards(
        &self,
        state: &mut State,
        cell: &ServiceCell,
        place: &Place,
        of_service: OfService<'_>,
        of_route: &config::Route,
    ) -> Option<Arc<[Placed]>> {
        let guards = self.made(state, cell, (place, &of_route.filters), of_service, false);
        (!guards.is_empty()).then(|| guards.into())
    }

    /// The same of each attempt: the faults that are for those.
    pub(in crate::mesh) fn faults(
        &self,
        state: &mut State,
        cell: &ServiceCell,
        place: &Place,
        of_service: OfService<'_>,
        of_route: &config::Route,
    ) -> Option<Arc<[Placed]>> {
        let faults = self.made(state, cell, (place, &of_route.filters), of_service, true);
        (!faults.is_empty()).then(|| faults.into())
    }

    fn made(
        &self,
        state: &mut State,
        cell: &ServiceCell,
        (place, of_route): (&Place, &[Filter]),
        said: OfService<'_>,
        of_attempts: bool,
    ) -> Vec<Placed> {
        let of_mesh = self.code.filters.iter().map(|filter| (&Place::Mesh, Whose::Code, filter));
        let of_service = said.filters.iter().zip(said.whose);
        let of_service = of_service.map(|(filter, whose)| (&Place::Service, *whose, filter));
        let of_route = of_route.iter().map(|filter| (place, said.of_routes(), filter));
        let all = of_mesh.chain(of_service).chain(of_route);
        let all = all.filter(|(_, _, filter)| is_of_attempts(filter) == of_attempts);
        // Others take tokens, ask, wait and edit headers: who is denied has done none of it.
        let (rules, others): (Vec<_>, Vec<_>) =
            all.partition(|(_, _, filter)| is_authorization(filter));
        let guards = rules.into_iter().chain(others).filter_map(|(place, whose, filter)| {
            let make = || self.make_guard(state, cell, place, filter);
            Some(Placed { guard: cell.guards.guard(place, filter, make)?, whose })
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
            Filter::RateLimit(limit) => Some(Arc::new(RateLimit::new(limit, labels))),
            #[cfg(feature = "rls")]
            Filter::GlobalRateLimit(limit) => {
                let cell = self.cell_beside(state, "rate limits", &limit.cluster)?;
                Some(Arc::new(GlobalRateLimit::new(limit, labels, cell)))
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
