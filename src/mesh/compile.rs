//! From what the sources say to what calls read: compiled, then swapped in.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Weak},
    time::Duration,
};

use super::{
    call::mirrored,
    cluster::{Cluster, Core, NodeContext},
    discovered::Discovered,
    guard::{OfService, Place},
    inner::Inner,
    keys::Keys,
    overlay::{self, LeftOut, LostRules, Whose},
    policies::{Layered, Shared},
    protect::Protector,
    service::{Mirror, Route, Service, ServiceCell, Target},
    state::{Entry, Standing, State},
};
use crate::{
    config::{self, Policy},
    discover::SourceId,
    observe::{ClusterMeter, RouteMeter},
    resilience::{breaker::Breakers, limit::Limiter},
    route::{Builder, Session, Split, Steps},
};

impl Inner {
    /// The entry of a cluster, made empty when nothing has named it yet.
    pub(super) fn entry<'a>(&self, state: &'a mut State, name: &str) -> &'a mut Entry {
        let State { clusters, keys, .. } = state;
        clusters.entry(name.to_owned()).or_insert_with(|| {
            let entry = Entry::new(self.empty(keys, name));
            self.peers.note(name, &entry.cell);
            entry
        })
    }

    /// A cluster without endpoints.
    fn empty(&self, keys: &mut Keys, name: &str) -> Cluster {
        let meter = ClusterMeter::new(&name.into(), &self.hub);
        let settings = self.code.cluster(name);
        let protector = self.protector(keys, name, &settings);
        let discovered = Arc::<Discovered>::default();
        let limits = Arc::default();
        let context = self.node_context(&meter, &settings, protector, &discovered, limits);
        let mut core = Core::new(context, settings, self.epoch);
        self.keep(&core.balancer);
        core.checking = self.check(&core.balancer, &core.config.health_checks);
        Cluster::new(meter, core, discovered)
    }

    /// How a cluster of these settings, the code's among them, is secured.
    pub(super) fn protector(
        &self,
        keys: &mut Keys,
        name: &str,
        config: &config::Cluster,
    ) -> Protector {
        if config.security.as_ref().is_some_and(|security| security.system_roots == Some(true)) {
            keys.need_system(self);
        }
        Protector::new(name, config, self.code.security(name), keys)
    }

    fn node_context(
        &self,
        meter: &Arc<ClusterMeter>,
        config: &config::Cluster,
        protector: Protector,
        discovered: &Discovered,
        breakers: Arc<Breakers>,
    ) -> NodeContext {
        NodeContext {
            meter: Arc::clone(meter),
            protocol: config.protocol,
            protector: Arc::new(protector),
            settings: Arc::new(config.transport.settings()),
            connector: Arc::clone(&self.stages.connector),
            shared: Arc::clone(&self.transport),
            unreachable: Arc::clone(&discovered.unreachable),
            breakers,
            place: Arc::clone(&self.place),
            peers: Arc::clone(&self.peers),
            woken: Arc::default(),
            members: Arc::default(),
            #[cfg(feature = "orca")]
            owing: Arc::default(),
            leaf: self.stages.leaf.clone(),
            stage: self.stages.endpoint.clone(),
        }
    }

    /// Compiles the service and swaps it in; a reference to a cluster makes its cell.
    pub(super) fn compile(&self, state: &mut State, name: &str) {
        match state.service(name) {
            Standing::Defined => self.compile_defined(state, name),
            Standing::Refused => {
                self.refer(state, name, BTreeSet::new());
                // Its place is taken: no service of a similar name may stand in for it.
                self.cell_in(state, name).clear();
            }
            Standing::Absent => {
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
        let limiter = limiter(&cell, &usual.merged);
        let usual = Shared::new(self, usual);
        let routes = routes_of(&said, name);
        let targets = routes.iter().flat_map(|route| &route.clusters);
        let targets = targets.filter(|target| target.invalid.is_none());
        let targets = targets.map(|target| &target.name);
        let filters = said.filters.iter().chain(routes.iter().flat_map(|route| &route.filters));
        let mirrors = filters.filter_map(|filter| mirror_of(filter)?.cluster.as_ref());
        let filters = said.filters.iter().chain(routes.iter().flat_map(|route| &route.filters));
        let targets = targets.chain(mirrors).chain(filters.filter_map(asked_by));
        let targets = targets.map(|name| name.to_ascii_lowercase()).collect();
        self.refer(state, name, targets);
        let named = |meter: Arc<RouteMeter>| Some((Arc::clone(meter.name()?), meter));
        let mut meters: HashMap<_, _> = cell.meters().into_iter().filter_map(named).collect();
        let service = name;
        // One mirror of one service, whichever of its routes asks for it.
        let (mut copied, before) = (HashMap::new(), cell.mirrored());
        // Compiled once, whichever routes and clusters they are a part of.
        let of_service = Steps::default().then(&said.filters);
        let mut table = Builder::new(said.order, &self.code.labels);
        for (index, route) in routes.into_iter().enumerate() {
            let filters = || said.filters.iter().chain(&route.filters);
            let answers = filters().any(config::Filter::answers);
            let of_route = of_service.then(&route.filters);
            let mirrors = filters().filter_map(mirror_of);
            let mirrors = mirrors.filter_map(|mirror| {
                let said: Arc<str> = format!("{mirror:?}").into();
                if let Some(known) = copied.get(&said) {
                    return Some(Mirror::clone(known));
                }
                let made = self.mirror(state, mirror, Arc::clone(&said), before.get(&said))?;
                copied.insert(said, made.clone());
                Some(made)
            });
            let mirrors = mirrors.collect();
            let clusters = route.clusters.iter().filter(|_| !answers).map(|target| {
                let steps = of_route.of_cluster(target).if_any();
                let cluster = self.target(state, target);
                (
                    target.weight,
                    Target::new(cluster, &route.subset, &target.subset, steps, &mirrors),
                )
            });
            let clusters = Split::new(clusters.collect::<Vec<_>>());
            let steps = if answers { of_route.if_any() } else { None };
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
            let source = source.clone();
            let session = session_of(route.filters.iter().chain(&said.filters));
            let session = self.code.session(service).or(session).and_then(Session::new);
            let session = session.map(Arc::new);
            let place = route.name.clone().map_or(Place::Numbered(index), Place::Route);
            let of_service =
                OfService { filters: &said.filters, whose: &whose, routed_by: laid.routed_by };
            let guards = self.guards(state, &cell, &place, of_service, &route);
            let faults = self.faults(state, &cell, &place, of_service, &route);
            let filters = filters().map(config::Filter::name).collect();
            let (hosts, matches) = (route.hosts.clone(), route.matches.clone());
            let compiled = Route {
                name,
                meter,
                clusters,
                steps,
                policy,
                guards,
                faults,
                session,
                matches,
                hosts,
                filters,
                layers: settings.layers,
                source,
            };
            // Validation has refused what cannot be compiled; what it let through is told.
            if let Err(reason) = table.add(&route.hosts, &route.matches, compiled) {
                self.report(&format!("route {index} of service {service}"), &reason);
            }
        }
        let table = table.build();
        cell.set(Service { table, limiter });
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

    /// Who gets copies: a service of one cluster, which tries once, and has limits of its own.
    fn mirror(
        &self,
        state: &mut State,
        mirror: &config::Mirror,
        said: Arc<str>,
        kept: Option<&Arc<ServiceCell>>,
    ) -> Option<Mirror> {
        let target = config::WeightedCluster::new(mirror.cluster.as_ref()?.to_ascii_lowercase());
        let cluster = self.target(state, &target);
        // The one of before goes on: what it has counted, its limit and its budget.
        let made = || Arc::new(ServiceCell::beside("mirror", &target.name, &self.hub));
        let cell = kept.map_or_else(made, Arc::clone);
        let before = cell.current.load();
        let kept = before.as_ref().and_then(|service| service.limiter.as_ref());
        let limiter = Limiter::resized(kept, mirrored::IN_FLIGHT);
        drop(before);
        self.set_beside(&cell, cluster, Some(mirrored::TIMEOUT), Some(limiter))?;
        let how = Arc::new(crate::route::Mirror::new(mirror));
        Some(Mirror { said, how, cell })
    }

    /// A service of one cluster alone, for what is asked beside calls: it tries once.
    #[cfg(feature = "rls")]
    pub(super) fn cell_beside(
        &self,
        state: &mut State,
        what: &str,
        cluster: &str,
    ) -> Option<Arc<ServiceCell>> {
        let name = cluster.to_ascii_lowercase();
        // The cell of whatever stands in its place: it outlives updates of the cluster.
        let cluster = Arc::clone(&self.entry(state, &name).cell);
        let cell = ServiceCell::beside(what, &name, &self.hub);
        self.set_beside(&cell, cluster, None, None)?;
        Some(Arc::new(cell))
    }

    /// Defines a service of one cluster, which tries once.
    fn set_beside(
        &self,
        cell: &ServiceCell,
        cluster: Arc<Cluster>,
        timeout: Option<Duration>,
        limiter: Option<Arc<Limiter>>,
    ) -> Option<()> {
        let mut plane = Policy::default();
        plane.timeout = timeout;
        plane.retry = Some(config::Retry::standard().attempts(1));
        let nothing = BTreeMap::new();
        let target = Target::new(cluster, &nothing, &nothing, None, &Arc::from([]));
        let route = Route {
            name: None,
            meter: Arc::clone(&cell.meter.plain),
            clusters: Split::new([(1, target)]),
            steps: None,
            policy: cell.policy(&cell.name, &plane),
            guards: None,
            faults: None,
            session: None,
            matches: Vec::new(),
            hosts: Vec::new(),
            filters: Vec::new(),
            layers: Arc::from([]),
            source: None,
        };
        let mut table = Builder::new(config::RouteOrder::Listed, &self.code.labels);
        table.add(&[], &[], route).ok()?;
        cell.set(Service { table: table.build(), limiter });
        Some(())
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
            self.examine(state, &target);
        }
    }

    /// Compiles the services of a cluster that has come or gone.
    pub(super) fn compile_users(&self, state: &mut State, cluster: &str) {
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

    /// Reports a service that points nowhere, once every source has spoken.
    fn examine(&self, state: &mut State, name: &str) {
        let lost = state.services.get(name).and_then(|said| overlay::lost_rules(name, said));
        if lost.is_none() && !self.is_synced() {
            return;
        }
        let part = format!("service {name}");
        let targets = state.named.get(name).into_iter().flatten();
        let missing = targets.filter(|target| state.cluster(target) == Standing::Absent);
        let missing: Vec<&String> = missing.collect();
        let reason = if let Some(lost) = lost {
            let by = self.sources.get(lost.routed_by.index()).map_or("dns", String::as_str);
            let LostRules { source, path, .. } = lost;
            let place = state.place(source, &path);
            let place = place.or_else(|| self.sources.get(source.index()).cloned());
            let place = place.map(|place| format!(" ({place})")).unwrap_or_default();
            format!(
                "no call would meet {path}{place}, for the routes are those of {by}; the service \
                 does not run without it: say it as a filter of the service, or all routes in one \
                 source"
            )
        } else if !missing.is_empty() {
            let noun = if missing.len() == 1 { "cluster" } else { "clusters" };
            let names: Vec<_> = missing.iter().map(|target| format!("`{target}`")).collect();
            let places = missing.iter().take(SHOWN);
            let places: Vec<_> = places.filter_map(|it| named_at(state, name, it)).collect();
            let reason = format!("names {noun} {}, which no source defines", names.join(", "));
            if places.is_empty() { reason } else { format!("{reason} ({})", places.join(", ")) }
        } else if self.code.names(name)
            && self.unknown_names == super::UnknownNames::Refuse
            && state.service(name) == Standing::Absent
        {
            "is given settings in code, but no source defines it".to_owned()
        } else if let Err(reason) = state.reachable(name) {
            format!(
                "only the cluster defines it, which no service names, and no client can call it: \
                 {reason}"
            )
        } else {
            state.flaws.remove(&part);
            return;
        };
        if state.flaws.get(&part) != Some(&reason) {
            self.report(&part, &reason);
            state.flaws.insert(part, reason);
        }
    }

    /// The same for all of them, when the last source has spoken.
    pub(super) fn examine_all(&self, state: &mut State) {
        let mut names: BTreeSet<String> = state.named.keys().cloned().collect();
        names.extend(self.code.all().map(str::to_owned));
        let clusters: Vec<String> = state.clusters.keys().cloned().collect();
        for cluster in clusters {
            self.examine_cluster(state, &cluster);
        }
        for name in names {
            self.examine(state, &name);
        }
    }

    /// Swaps a cluster's settings in; endpoints keep their state, and unless the way to them has
    /// changed, their connections.
    pub(super) fn settle(&self, state: &mut State, name: &str) {
        #[cfg(feature = "dns")]
        self.discover(state, name);
        let Some(entry) = state.clusters.get(name) else { return };
        let cell = Arc::clone(&entry.cell);
        let (name, meter) = (Arc::clone(&cell.name), &cell.meter);
        let laid = overlay::clusters(&name, self.code.cluster(&name), entry.said());
        let wanted = laid.merged;
        self.note_left_out(state, format!("settings of cluster {name}"), &laid.left_out);
        let current = cell.core.load_full();
        let failover = if current.config.failover == wanted.failover {
            current.failover.clone()
        } else {
            self.line_up(state, &name, &current.config, &wanted)
        };
        let protector = self.protector(&mut state.keys, &name, &wanted);
        if current.same_connections(&wanted, &protector) {
            if current.config != wanted {
                let mut core = current.with_settings(wanted);
                core.failover = failover;
                if core.config.health_checks != current.config.health_checks {
                    core.checking = self.check(&core.balancer, &core.config.health_checks);
                }
                cell.set(core);
                self.keep(&current.balancer);
            }
            return;
        }
        // What is open still is counted still.
        let limits = Arc::clone(&current.balancer.context().breakers);
        let context = self.node_context(meter, &wanted, protector, &cell.discovered, limits);
        let core = Core::new(context, wanted, self.epoch);
        let mut core = core.counting_on(&current);
        core.failover = failover;
        core.balancer.replace(current.balancer.specs());
        self.keep(&core.balancer);
        core.checking = self.check(&core.balancer, &core.config.health_checks);
        cell.set(core);
        // The old endpoints finish what they have in flight and close.
        current.balancer.replace(Vec::new());
    }

    /// Reports what of some settings was left out, since it contradicts what is nearer.
    fn note_left_out(&self, state: &mut State, part: String, left_out: &[LeftOut]) {
        if left_out.is_empty() {
            state.flaws.remove(&part);
            return;
        }
        let told = left_out.iter().take(SHOWN).map(|LeftOut { whose, error }| {
            let whose = match whose {
                Whose::Code => "the code".to_owned(),
                Whose::Source(source) => {
                    let place = state.place(*source, &error.path);
                    let name = || self.sources.get(source.index()).cloned();
                    place.or_else(name).unwrap_or_else(|| "dns".to_owned())
                }
            };
            format!("{error}; of {whose}, it is left out")
        });
        let reason = told.collect::<Vec<_>>().join("; ");
        if state.flaws.get(&part) != Some(&reason) {
            self.report(&part, &reason);
            state.flaws.insert(part, reason);
        }
    }

    /// The clusters that take over from one by its new settings: their cells are made where nothing
    /// has named them yet.
    fn line_up(
        &self,
        state: &mut State,
        name: &str,
        before: &config::Cluster,
        wanted: &config::Cluster,
    ) -> Option<Arc<[Weak<Cluster>]>> {
        let (before, after) = (stand_ins(before), stand_ins(wanted));
        let handles = after.iter().map(|other| {
            let entry = self.entry(state, other);
            entry.backs.insert(name.to_owned());
            Arc::downgrade(&entry.cell)
        });
        let handles: Vec<_> = handles.collect();
        for gone in before.iter().filter(|it| !after.contains(it)) {
            if let Some(entry) = state.clusters.get_mut(gone) {
                entry.backs.remove(name);
            }
            state.tidy(gone);
        }
        (!handles.is_empty()).then(|| handles.into())
    }

    /// The same for every cluster, when keys or roots of another name have come.
    pub(super) fn settle_all(&self, state: &mut State) {
        let names: Vec<String> = state.clusters.keys().cloned().collect();
        for name in names {
            self.settle(state, &name);
            self.examine_cluster(state, &name);
        }
    }

    /// Reports a cluster that cannot be secured as it asks to be, or that names others which are not
    /// there, once every source has spoken.
    pub(super) fn examine_cluster(&self, state: &mut State, name: &str) {
        if !self.is_synced() {
            return;
        }
        self.examine_failover(state, name);
        let part = format!("security of cluster {name}");
        let entry = state.clusters.get(name).filter(|entry| !entry.settings.is_empty());
        match entry.and_then(|entry| entry.cell.core.load().protector.flaw()) {
            None => {
                state.flaws.remove(&part);
            }
            Some(reason) if state.flaws.get(&part) == Some(&reason) => {}
            Some(reason) => {
                self.report(&part, &reason);
                state.flaws.insert(part, reason);
            }
        }
    }

    /// Reports the clusters that are to take over from one and that no source defines.
    fn examine_failover(&self, state: &mut State, name: &str) {
        if !self.is_synced() {
            return;
        }
        let part = format!("failover of cluster {name}");
        let entry = state.clusters.get(name).filter(|entry| !entry.settings.is_empty());
        let named = entry.map(|entry| stand_ins(&entry.cell.core.load().config));
        let missing =
            named.into_iter().flatten().filter(|it| state.cluster(it) == Standing::Absent);
        let missing: Vec<_> = missing.map(|name| format!("`{name}`")).collect();
        if missing.is_empty() {
            state.flaws.remove(&part);
            return;
        }
        let noun = if missing.len() == 1 { "cluster" } else { "clusters" };
        let reason = format!("names {noun} {}, which no source defines", missing.join(", "));
        if state.flaws.get(&part) != Some(&reason) {
            self.report(&part, &reason);
            state.flaws.insert(part, reason);
        }
    }
}

/// So many fields that were left out are told of one part.
const SHOWN: usize = 20;

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

/// Where a service names a cluster, as far as its source knows.
fn named_at(state: &State, service: &str, cluster: &str) -> Option<String> {
    let is_meant = |name: &str| name.eq_ignore_ascii_case(cluster);
    let in_filters = |filters: &[config::Filter]| {
        filters.iter().enumerate().find_map(|(place, filter)| {
            let mirror = mirror_of(filter).and_then(|it| it.cluster.as_ref());
            let named = mirror.or_else(|| asked_by(filter)).filter(|it| is_meant(it));
            named.map(|_| format!("filters[{place}].{}.cluster", filter.name()))
        })
    };
    let said = state.services.get(service).into_iter().flatten();
    let paths = said.filter_map(|(source, said)| {
        if said.cluster.as_deref().is_some_and(is_meant) {
            return Some((source, format!("services.{service}.cluster")));
        }
        if let Some(place) = in_filters(&said.filters) {
            return Some((source, format!("services.{service}.{place}")));
        }
        said.routes.iter().enumerate().find_map(|(route, it)| {
            let path = format!("services.{service}.routes[{route}]");
            let target = it.clusters.iter().position(|it| is_meant(&it.name));
            let path = match target {
                Some(target) => format!("{path}.clusters[{target}].name"),
                None => format!("{path}.{}", in_filters(&it.filters)?),
            };
            Some((source, path))
        })
    });
    let mut places = paths.filter_map(|(source, path)| state.place(*source, &path));
    places.next()
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

/// The session of a route, else of its service.
fn session_of<'a>(
    mut filters: impl Iterator<Item = &'a config::Filter>,
) -> Option<&'a config::Session> {
    filters.find_map(|filter| match filter {
        config::Filter::Session(session) => Some(&**session),
        _ => None,
    })
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

/// The limit of a service; its count of calls in flight survives every update that keeps a limit.
fn limiter(cell: &ServiceCell, merged: &Policy) -> Option<Arc<Limiter>> {
    let limit = merged.max_requests?;
    let before = cell.current.load();
    let kept = before.as_ref().and_then(|service| service.limiter.as_ref());
    Some(Limiter::resized(kept, limit))
}
