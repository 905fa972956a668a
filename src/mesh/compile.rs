//! From what the sources say to what calls read: compiled, then swapped in.

mod beside;
mod cells;
mod doubts;
mod examine;
pub(super) mod lines;
mod route;
mod settle;
mod strays;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use self::{
    lines::{Line, overridden, running},
    route::{Mirrors, OfService},
};
use super::{
    cluster::Cluster,
    guard::Place,
    inner::Inner,
    overlay::{self, Whose},
    policies::{Layered, Shared},
    service::{Route, Service, ServiceCell},
    state::{Standing, State},
};
use crate::{
    config::{self, Policy},
    discover::SourceId,
    observe::RouteMeter,
    resilience::limit::Limits,
    route::{Builder, Session, Steps},
};

impl Inner {
    /// Compiles the service and swaps it in; a reference to a cluster makes its cell.
    pub(super) fn compile(&self, state: &mut State, name: &str) {
        match state.service(name) {
            Standing::Defined => self.compile_defined(state, name),
            Standing::Refused => {
                state.runtime.forget(name);
                state.doubts.remove(name);
                self.refer(state, name, BTreeSet::new());
                // Its place is taken: no service of a similar name may stand in for it.
                self.cell_in(state, name).clear();
            }
            Standing::Absent => {
                state.runtime.forget(name);
                state.doubts.remove(name);
                self.refer(state, name, BTreeSet::new());
                self.drop_cell(state, name);
            }
        }
        self.examine(state, name);
    }

    fn compile_defined(&self, state: &mut State, name: &str) {
        let cell = self.cell_in(state, name);
        let by = state.clusters.get(name).map(|entry| &entry.settings);
        let is_dns = |source: &SourceId| matches!(*source, SourceId::DNS | SourceId::DISCOVERY);
        let sources = by.is_some_and(|by| !by.keys().all(is_dns));
        let said = state.services.get(name);
        cell.set_by_dns(
            said.is_none_or(BTreeMap::is_empty) && by.is_some_and(|by| !by.is_empty()) && !sources,
        );
        let laid = overlay::services(name, said.unwrap_or(&BTreeMap::new()));
        cell.set_by_lookup(laid.routed_by.is_some_and(|source| state.asking.has(source)));
        let (mut said, mut left_out) = (laid.service, laid.left_out);
        let of_code = self.code.filters(name);
        let whose = of_code.iter().map(|_| Whose::Code);
        let whose: Vec<_> = whose.chain(laid.filtered_by.into_iter().map(Whose::Source)).collect();
        said.filters.splice(0..0, of_code);
        let source = laid.routed_by.and_then(|source| self.sources.get(source.index()));
        let source: Option<Arc<str>> = source.map(|name| name.as_str().into());
        let layers = Layered::new(self.code.policy(name), laid.policies, laid.routed_by);
        let usual = layers.of_service(name);
        left_out.extend(usual.left_out.iter().cloned());
        let limiter = cell.limiter(&usual.merged);
        let usual = Shared::new(self, usual);
        let mut routes = routes_of(&said, name);
        state.runtime.fill(name, &mut said, &mut routes);
        let targets = routes.iter().flat_map(|route| &route.clusters);
        let targets = targets.filter(|target| target.invalid.is_none());
        let targets = targets.map(|target| &target.name);
        let filters = lines::all(&said, &routes);
        let mirrors = filters.clone().filter_map(|filter| mirror_of(filter)?.cluster.as_ref());
        let targets = targets.chain(mirrors).chain(filters.filter_map(asked_by));
        let targets = targets.map(|name| name.to_ascii_lowercase()).collect();
        self.refer(state, name, targets);
        if routes.iter().any(|route| route.cluster_header.is_some()) {
            self.directory.begin(state);
        }
        let named = |meter: Arc<RouteMeter>| Some((Arc::clone(meter.name()?), meter));
        let mut meters: HashMap<_, _> = cell.meters().into_iter().filter_map(named).collect();
        let service = name;
        // Compiled once, whichever routes and clusters they are a part of.
        let filters = said.filters.iter().zip(&whose);
        let mut filters: Vec<_> =
            filters.map(|(filter, whose)| Line::new(filter, &Place::Service, *whose)).collect();
        if let Some(filtered_by) = laid.overridden_by {
            let whose = Whose::Source(filtered_by);
            overridden(&mut filters, &said.overrides, &Place::Service, whose);
        }
        let steps = Steps::default().then(running(&filters));
        let of_routes = laid.routed_by.map_or(Whose::Code, Whose::Source);
        let routed_by = overlay::routes(&said).then_some(of_routes);
        let mut service_of = OfService {
            cell: &cell,
            filters,
            steps,
            whose: of_routes,
            mirrors: Mirrors::of(&cell),
        };
        let mut table = Builder::new(said.order, &self.code.labels);
        for (index, route) in routes.into_iter().enumerate() {
            let settings = if route.policy == Policy::default() {
                usual.clone()
            } else {
                let own = layers.of_route(service, index, &route.policy);
                let new = own.left_out.iter().filter(|it| !left_out.contains(it));
                let new: Vec<_> = new.cloned().collect();
                left_out.extend(new);
                Shared::new(self, own)
            };
            let name: Option<Arc<str>> = route.name.as_deref().map(Into::into);
            let told_by = name.clone().unwrap_or_else(|| format!("route {index}").into());
            let policy = cell.policy(&told_by, &settings.merged);
            let meter = meter_of(&cell, &mut meters, name.as_ref());
            let place = route.name.clone().map_or(Place::Numbered(index), Place::Route);
            let limit = route.policy.max_requests;
            let limit = limit.map(|calls| cell.route_limits.limiter(&place, calls));
            let limits = Limits::of(limit, limiter.as_ref());
            let way = self.way(state, &mut service_of, &route, &place);
            let session = self.code.session(service).or(way.session.as_ref());
            let session = session.and_then(Session::new).map(Arc::new);
            let (hosts, matches) = (route.hosts.clone(), route.matches.clone());
            let compiled = Route {
                name,
                meter,
                clusters: way.clusters,
                choosing: way.choosing,
                steps: way.steps,
                policy,
                limits,
                guards: way.guards,
                faults: way.faults,
                session,
                matches,
                hosts,
                filters: way.filters,
                layers: settings.layers,
                source: source.clone(),
                whose: routed_by,
                told: way.told,
            };
            // Validation has refused what cannot be compiled; what it let through is told.
            if let Err(reason) = table.add(&route.hosts, &route.matches, compiled) {
                self.report(&format!("route {index} of service {service}"), &reason);
            }
        }
        let table = table.build();
        self.doubt(state, service, laid.routed_by, &table);
        cell.set(Service::new(table, limiter));
        self.applied(format!("service {name}"));
        self.note_left_out(state, format!("settings of service {name}"), &left_out);
    }

    /// What a route calls: the cluster's cell, or for one that is refused, nothing.
    fn target(&self, state: &mut State, target: &config::WeightedCluster) -> Arc<Cluster> {
        let name = &target.name.to_ascii_lowercase();
        if let Some(reason) = &target.invalid {
            return Arc::new(self.empty(&mut state.keys, name).refused(reason.clone()));
        }
        if state.cluster(name) == Standing::Refused {
            let reason = state.reason(&format!("cluster {name}"));
            return Arc::new(self.empty(&mut state.keys, name).refused(reason));
        }
        Arc::clone(&self.entry(state, name).cell)
    }

    /// Notes which clusters a service names.
    fn refer(&self, state: &mut State, name: &str, targets: BTreeSet<String>) {
        let before = state.named.remove(name).unwrap_or_default();
        let touched: Vec<String> = before.symmetric_difference(&targets).cloned().collect();
        for target in &targets {
            self.entry(state, target).users.insert(name.to_owned());
        }
        for gone in before.difference(&targets) {
            if let Some(entry) = state.clusters.get_mut(gone) {
                entry.users.remove(name);
            }
            state.tidy(gone);
        }
        if !targets.is_empty() {
            state.named.insert(name.to_owned(), targets);
        }
        for target in touched {
            self.relist(state, &target);
            self.examine(state, &target);
        }
    }

    /// Who leads to a cluster, and through it to those that take over from it, has changed.
    fn relist(&self, state: &State, cluster: &str) {
        if !self.directory.is_used() {
            return;
        }
        self.directory.note(state, cluster);
        if let Some(entry) = state.clusters.get(cluster) {
            let others = stand_ins(&entry.cell.core.load().config);
            others.iter().for_each(|other| self.directory.note(state, other));
        }
    }

    /// Compiles the services of a cluster that has come or gone.
    pub(super) fn compile_users(&self, state: &mut State, cluster: &str) {
        self.directory.note(state, cluster);
        let users = state.clusters.get(cluster).map(|entry| entry.users.clone());
        let mut users = users.unwrap_or_default();
        users.insert(cluster.to_owned());
        for user in users {
            self.compile(state, &user);
        }
        let backed = state.clusters.get(cluster).map(|entry| entry.backs.clone());
        for backed in backed.into_iter().flatten() {
            self.examine_failover(state, &backed);
        }
    }
}

/// The names of the clusters that take over, best first.
fn stand_ins(cluster: &config::Cluster) -> Vec<String> {
    let names = cluster.failover.iter().flat_map(|failover| &failover.clusters);
    names.map(|name| name.to_ascii_lowercase()).collect()
}

/// The routes of a service; without any, one that takes everything to its cluster.
fn routes_of(service: &config::Service, name: &str) -> Vec<config::Route> {
    if !service.routes.is_empty() {
        return service.routes.clone();
    }
    let target = service.cluster.clone().unwrap_or_else(|| name.to_owned());
    let clusters = vec![config::WeightedCluster::new(target)];
    vec![config::Route { clusters, ..config::Route::default() }]
}

fn mirror_of(filter: &config::Filter) -> Option<&config::Mirror> {
    match filter {
        config::Filter::Mirror(mirror) => Some(mirror),
        _ => None,
    }
}

/// The cluster of a service that a filter asks.
fn asked_by(filter: &config::Filter) -> Option<&String> {
    match filter {
        config::Filter::GlobalRateLimit(limit) => Some(&limit.cluster),
        _ => None,
    }
}

/// The meter of a route, which survives by the route's name; routes without one share one.
fn meter_of(
    cell: &ServiceCell,
    known: &mut HashMap<Arc<str>, Arc<RouteMeter>>,
    name: Option<&Arc<str>>,
) -> Arc<RouteMeter> {
    let Some(name) = name else { return Arc::clone(&cell.meter.plain) };
    let made = || Arc::new(cell.meter.route(name));
    Arc::clone(known.entry(Arc::clone(name)).or_insert_with(made))
}
