//! The way of a route's calls: what they pass, what is done to them, and where they go.

use std::{collections::HashMap, sync::Arc};

use http::{HeaderName, StatusCode};

use super::{
    lines::{Line, Told, overridden, running},
    mirror_of,
};
use crate::{
    balance::Wanted,
    config::{self, ClusterChoice, Filter},
    mesh::{
        choosing::{ByHeader, Choosing},
        guard::{OfRoute, Place, Placed},
        inner::Inner,
        overlay::Whose,
        service::{Mirror, ServiceCell, Target},
        spelled,
        state::State,
    },
    route::{Split, Steps},
};

/// What all routes of a service share.
pub(super) struct OfService<'a> {
    pub(super) cell: &'a Arc<ServiceCell>,
    /// Its filters, with what it says itself of those that have a name; and what is made of them.
    pub(super) filters: Vec<Line<'a>>,
    pub(super) steps: Steps,
    /// Who says its routes.
    pub(super) whose: Whose,
    pub(super) mirrors: Mirrors,
}

/// The mirrors of a service. One of them is one, whichever of its routes asks for it.
pub(super) struct Mirrors {
    made: HashMap<Arc<str>, Mirror>,
    before: HashMap<Arc<str>, Arc<ServiceCell>>,
}

/// The way of a route's calls.
pub(super) struct Way {
    pub(super) clusters: Split<Target>,
    pub(super) choosing: Option<Choosing>,
    pub(super) steps: Option<Steps>,
    pub(super) guards: Option<Arc<[Placed]>>,
    pub(super) faults: Option<Arc<[Placed]>>,
    pub(super) session: Option<config::Session>,
    pub(super) filters: Vec<String>,
    pub(super) told: Vec<Told>,
}

// === impl Mirrors ===

impl Mirrors {
    pub(super) fn of(cell: &ServiceCell) -> Self {
        Self { made: HashMap::new(), before: cell.mirrored() }
    }
}

// === impl Inner ===

impl Inner {
    /// Compiles the way of a route at this place of its service.
    pub(super) fn way(
        &self,
        state: &mut State,
        service: &mut OfService<'_>,
        route: &config::Route,
        place: &Place,
    ) -> Way {
        let (cell, whose) = (service.cell, service.whose);
        let mut of_service = service.filters.clone();
        overridden(&mut of_service, &route.overrides, place, whose);
        let own: Vec<_> =
            route.filters.iter().map(|filter| Line::new(filter, place, whose)).collect();
        let steps = if route.overrides.is_empty() {
            service.steps.then(running(&own))
        } else {
            Steps::default().then(running(&of_service)).then(running(&own))
        };
        // A route's own session comes first.
        let session = running(&own).chain(running(&of_service)).find_map(|filter| match filter {
            Filter::Session(session) => Some((**session).clone()),
            _ => None,
        });
        let lines: Vec<_> = of_service.into_iter().chain(own).collect();
        // One of its clusters may take an answer back.
        let answers = running(&lines).any(Filter::answers)
            && route.clusters.iter().all(|target| target.overrides.is_empty());
        let said = OfRoute { whose, upgrades: &route.upgrades };
        let mut guards = self.guards(state, cell, &lines, said);
        let faults = self.faults(state, cell, &lines);
        let filters = lines.iter().map(Line::told).collect();
        let told = told(&lines, self.code.session(&cell.name), session.as_ref());
        if answers {
            let (clusters, steps) = (Split::new([]), steps.if_any());
            return Way { clusters, choosing: None, steps, guards, faults, session, filters, told };
        }
        let mirrors = self.mirrors(state, &mut service.mirrors, running(&lines));
        let choosing = choosing(route, &steps, &mirrors);
        let makes_cookies = matches!(choosing, Some(Choosing::Hashed));
        let mut targets = Vec::with_capacity(route.clusters.len());
        for (number, said_of) in route.clusters.iter().enumerate() {
            let cluster = self.target(state, said_of);
            let is_plain = said_of.overrides.is_empty() && said_of.filters.is_empty();
            let is_invalid = said_of.invalid.is_some();
            let mut changed = Vec::new();
            let (steps, mirrors, of_target) = if is_plain {
                (steps.of_cluster([], is_invalid), Arc::clone(&mirrors), None)
            } else {
                let place = Place::Cluster(Box::new(place.clone()), number);
                let of_route = &lines;
                let mut lines = of_route.clone();
                overridden(&mut lines, &said_of.overrides, &place, whose);
                let own = said_of.filters.iter().map(|filter| Line::new(filter, &place, whose));
                let own: Vec<_> = own.collect();
                changed = changes(of_route, &lines, &own);
                let steps = if said_of.overrides.is_empty() {
                    steps.of_cluster(running(&own), is_invalid)
                } else {
                    let steps = Steps::default().then(running(&lines));
                    steps.of_cluster(running(&own), is_invalid)
                };
                lines.extend(own);
                let mirrors = self.mirrors(state, &mut service.mirrors, running(&lines));
                let guards = self.guards(state, cell, &lines, said);
                (steps, mirrors, Some(guards.unwrap_or_default()))
            };
            let steps = steps.if_any().or_else(|| makes_cookies.then(Steps::default));
            let mut target = Target::new(cluster, &route.subset, &said_of.subset, steps, &mirrors);
            target.told = changed;
            if of_target.as_deref().is_some_and(|own| !is_same(own, guards.as_deref())) {
                target.guards = of_target;
                guards.get_or_insert_default();
            }
            targets.push((said_of.weight, target));
        }
        if matches!(choosing, Some(Choosing::Header(_))) {
            // On its way past them, a call finds where it goes.
            guards.get_or_insert_default();
        }
        let clusters = Split::new(targets);
        Way { clusters, choosing, steps: None, guards, faults, session, filters, told }
    }

    fn mirrors<'a>(
        &self,
        state: &mut State,
        known: &mut Mirrors,
        filters: impl Iterator<Item = &'a Filter>,
    ) -> Arc<[Mirror]> {
        let mirrors = filters.filter_map(mirror_of).filter_map(|mirror| {
            let mut same = mirror.clone();
            if same.key.is_some() {
                // What a runtime key says now makes it no other.
                same.percent = None;
            }
            let said: Arc<str> = format!("{same:?}").into();
            if let Some(known) = known.made.get(&said) {
                return Some(Mirror::clone(known));
            }
            let made = self.mirror(state, mirror, Arc::clone(&said), known.before.get(&said))?;
            known.made.insert(said, made.clone());
            Some(made)
        });
        mirrors.collect()
    }
}

/// What is told of filters that are no guards. Of sessions it is the one that is kept: the code's, else
/// the route's own, else the service's.
fn told(
    lines: &[Line<'_>],
    of_code: Option<&config::Session>,
    session: Option<&config::Session>,
) -> Vec<Told> {
    let is_kept = |line: &&Line<'_>| match line.filter {
        Filter::Session(it) => of_code.is_none() && session == Some(&**it),
        _ => true,
    };
    let of_lines = lines.iter().filter(is_kept).filter_map(Line::says);
    let of_code = of_code.map(|session| Told {
        name: "session".to_owned(),
        value: spelled::of_session(session),
        whose: Whose::Code,
    });
    of_code.into_iter().chain(of_lines).collect()
}

/// What a cluster of a route says otherwise than its route, and beside it.
fn changes(of_route: &[Line<'_>], of_cluster: &[Line<'_>], own: &[Line<'_>]) -> Vec<Told> {
    let pairs = of_cluster.iter().map(Line::says).zip(of_route.iter().map(Line::says));
    let changed = pairs.filter(|(now, before)| now != before).filter_map(|(now, _)| now);
    changed.chain(own.iter().filter_map(Line::says)).collect()
}

/// How one of its clusters is chosen, where that is not by weight alone.
fn choosing(route: &config::Route, steps: &Steps, mirrors: &Arc<[Mirror]>) -> Option<Choosing> {
    if let Some(name) = &route.cluster_header {
        let labels = route.subset.clone();
        let missing = route.missing_cluster_status;
        return Some(Choosing::Header(Box::new(ByHeader {
            name: HeaderName::try_from(name).ok()?,
            missing: missing
                .and_then(|status| StatusCode::from_u16(status).ok())
                .unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            wanted: (!labels.is_empty()).then(|| Arc::new(Wanted::new(labels))),
            steps: steps.clone().if_any().map(Arc::new),
            mirrors: Arc::clone(mirrors),
        })));
    }
    match route.choice {
        ClusterChoice::Weighted => {
            let by = route.choice_header.as_ref()?;
            HeaderName::try_from(by).ok().map(Choosing::Number)
        }
        ClusterChoice::FirstAvailable => Some(Choosing::FirstAvailable),
        ClusterChoice::Hashed => Some(Choosing::Hashed),
    }
}

/// Whether calls pass the same guards.
fn is_same(own: &[Placed], of_route: Option<&[Placed]>) -> bool {
    let of_route = of_route.unwrap_or_default();
    own.len() == of_route.len() && own.iter().zip(of_route).all(|(own, other)| own.is(other))
}
