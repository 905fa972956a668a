//! A service at run time: its swap cell and the compiled, immutable form of its configuration.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use http::uri::Authority;

use super::{
    choosing::{ByHeader, Choosing},
    cluster::Cluster,
    compile::lines::Told,
    guard::{Kept, Placed},
    limits::RouteLimits,
    overlay::Whose,
    resolve::HTTPS,
    terms::Terms,
};
use crate::{
    balance::{Avoid, Wanted},
    config::{self, bound},
    core::Instant,
    observe::{
        Hub, RouteMeter, ServiceMeter,
        trace::{Peer, Rules},
    },
    resilience::{
        Budget,
        budget::{Purse, Throttled},
        deadline,
        hedge::Hedging,
        limit::{Limiter, Limits},
        retry,
    },
    route::{self, Hashing, Session, Split, Steps, Table},
};

/// One service: a swap cell of its own, held by every client of the service.
pub(crate) struct ServiceCell {
    pub(crate) name: Arc<str>,
    pub(crate) meter: ServiceMeter,
    /// What HTTP calls it when the request names no authority.
    pub(crate) authority: Option<Authority>,
    /// Its name as spans show it.
    pub(crate) server: Peer,
    /// Nobody but plain DNS, where that is asked for unknown names.
    by_dns: AtomicBool,
    /// Its routes are those of a source that looks names up: of this name, and of no port of it.
    by_lookup: AtomicBool,
    /// Empty until a source has delivered it.
    pub(crate) current: ArcSwapOption<Service>,
    /// Budgets survive updates that do not change them. Locked by the updater only.
    budgets: Mutex<Vec<(config::Budget, Arc<Budget>)>>,
    /// The same of gRPC's throttles.
    throttles: Mutex<Vec<(config::RetryThrottle, Throttled)>>,
    /// The same of what hedging knows, by the place of the route and its settings.
    hedging: Mutex<HedgedRoutes>,
    /// The same of guards.
    pub(super) guards: Kept,
    pub(super) route_limits: RouteLimits,
}

/// Routes, by their name or else their place, and what is said of the hedging of each.
type HedgedRoutes = HashMap<Arc<str>, Vec<(config::Hedge, Arc<Hedging>)>>;

/// The compiled service: a call pins it from start to end.
pub(crate) struct Service {
    pub(crate) table: Table<Route>,
    /// Its limit, which that of each of its routes is inside of.
    pub(crate) limiter: Option<Arc<Limiter>>,
    /// When a call of it was last answered before any cluster was asked; the others are known from their
    /// budgets.
    pub(crate) answered: AtomicU64,
}

/// One compiled route.
pub(crate) struct Route {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) meter: Arc<RouteMeter>,
    /// Empty where the route answers by itself, and where a header names the cluster.
    pub(crate) clusters: Split<Target>,
    /// How one of them is chosen, where that is not by weight alone. A route whose cluster a header
    /// names has guards, be they none.
    pub(crate) choosing: Option<Choosing>,
    /// What it does without a cluster.
    pub(crate) steps: Option<Steps>,
    pub(crate) policy: Policy,
    /// The limits of calls in flight: its own, and its service's.
    pub(crate) limits: Option<Arc<Limits>>,
    /// What a call passes before its first attempt; mostly nothing.
    pub(crate) guards: Option<Arc<[Placed]>>,
    /// What each of its attempts may meet; mostly nothing.
    pub(crate) faults: Option<Arc<[Placed]>>,
    /// What keeps a caller with an endpoint.
    pub(crate) session: Option<Arc<Session>>,
    /// What it matches, in its source's words, for `describe()`.
    pub(crate) matches: Vec<config::Match>,
    /// The same of its hosts, and the names of what is done on the way.
    pub(crate) hosts: Vec<String>,
    pub(crate) filters: Vec<String>,
    /// The layers that the policy was merged from, nearest first, for `describe()` and errors.
    pub(crate) layers: Arc<[PolicyLayer]>,
    /// The source that defines it.
    pub(crate) source: Option<Arc<str>>,
    /// Who says what it matches and where its calls go; nobody, where they go to the cluster of the
    /// service's name by default.
    pub(super) whose: Option<Whose>,
    /// What is done on the way, for `describe()`.
    pub(super) told: Vec<Told>,
}

/// What one layer says of a route's policy.
#[derive(Debug)]
pub(crate) struct PolicyLayer {
    /// Whose it is; nothing: the code's.
    pub(crate) source: Option<Arc<str>>,
    pub(crate) policy: config::Policy,
}

/// A cluster that a route calls, and which part of it.
pub(crate) struct Target {
    cluster: Arc<Cluster>,
    /// The labels that the endpoint must carry, if any.
    pub(crate) wanted: Option<Arc<Wanted>>,
    /// What filters do on the way there and back; mostly nothing.
    pub(crate) steps: Option<Arc<Steps>>,
    /// Who gets copies; asked only where there are steps.
    pub(crate) mirrors: Arc<[Mirror]>,
    /// What its calls pass in place of the route's guards; none: those. The route has guards then, be
    /// they none.
    pub(crate) guards: Option<Arc<[Placed]>>,
    /// What it says itself of what is done on the way there, for `describe()`.
    pub(super) told: Vec<Told>,
}

/// Who gets a copy of a request.
#[derive(Clone)]
pub(crate) struct Mirror {
    /// What is said of it, which makes it the same one on every route and after an update.
    pub(crate) said: Arc<str>,
    pub(crate) how: Arc<route::Mirror>,
    /// A service of its own, of the one cluster: its calls are no calls of the one that is copied.
    pub(crate) cell: Arc<ServiceCell>,
}

/// The settings that a call on a route obeys.
#[derive(Clone)]
pub(crate) struct Policy {
    pub(crate) scope: deadline::Scope,
    pub(crate) attempt_timeout: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) retry: retry::Policy,
    /// What further attempts avoid beside what they have met.
    pub(crate) avoid: Option<Box<Avoid>>,
    /// What it asks for beyond what most do.
    pub(crate) terms: Option<Box<Terms>>,
    pub(crate) budget: Purse,
    pub(crate) max_body_bytes: usize,
    /// When a call is sent again beside the first, if it is.
    pub(crate) hedging: Option<Arc<Hedging>>,
    /// Which limits of a cluster count its calls.
    pub(crate) priority: config::CallPriority,
    /// How its calls are traced, if anything is said of it.
    pub(crate) tracing: Option<Arc<Rules>>,
    /// What its calls are hashed by, where the balancer hashes and its cluster says nothing.
    pub(crate) hash: Option<Arc<Hashing>>,
    /// How much its calls matter that do not say it themselves.
    pub(crate) criticality: config::Criticality,
}

// === impl Service ===

impl Service {
    pub(crate) fn new(table: Table<Route>, limiter: Option<Arc<Limiter>>) -> Self {
        Self { table, limiter, answered: AtomicU64::new(0) }
    }

    /// A call is answered before any cluster was asked: it is used all the same.
    pub(crate) fn note_answered(&self, now: u64) {
        self.answered.store(now, Relaxed);
    }

    /// When it was last called, to about a second.
    pub(crate) fn used(&self) -> u64 {
        let routes = self.table.iter().map(|route| route.policy.budget.tokens().used());
        routes.max().unwrap_or(0).max(self.answered.load(Relaxed))
    }
}

// === impl Mirror ===

impl Mirror {
    /// The cluster that gets the copies.
    pub(crate) fn cluster(&self) -> &str {
        self.cell.name.split_once(" of ").map_or(&*self.cell.name, |(_, cluster)| cluster)
    }
}

// === impl Around ===

impl<'a> route::Around<'a> {
    /// A call of this route, to this cluster, which began then.
    pub(crate) fn of(route: &'a Route, cluster: Option<&'a Cluster>, started: Instant) -> Self {
        Self {
            route: route.name.as_deref(),
            cluster: cluster.map(|cluster| &*cluster.name),
            started: Some(started),
        }
    }
}

// === impl Policy ===

impl Policy {
    /// Whether attempts may go on beside each other: a bound from the end of a request is kept of one
    /// alone.
    pub(crate) fn may_hedge(&self) -> bool {
        self.terms.as_ref().is_none_or(|terms| terms.wait().is_none())
    }
}

// === impl Target ===

impl fmt::Debug for ServiceCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceCell").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Target {
    /// The labels are those of the route, and over them those of its cluster.
    pub(crate) fn new(
        cluster: Arc<Cluster>,
        of_route: &BTreeMap<String, String>,
        of_cluster: &BTreeMap<String, String>,
        steps: Option<Steps>,
        mirrors: &Arc<[Mirror]>,
    ) -> Self {
        let mut labels = of_route.clone();
        labels.extend(of_cluster.clone());
        let wanted = (!labels.is_empty()).then(|| Arc::new(Wanted::new(labels)));
        let (steps, mirrors) = (steps.map(Arc::new), Arc::clone(mirrors));
        Self { cluster, wanted, steps, mirrors, guards: None, told: Vec::new() }
    }

    /// A cluster that a header names.
    pub(crate) fn like(by: &ByHeader, cluster: Arc<Cluster>) -> Self {
        let ByHeader { wanted, steps, mirrors, .. } = by;
        let (wanted, steps) = (wanted.clone(), steps.clone());
        let (mirrors, told) = (Arc::clone(mirrors), Vec::new());
        Self { cluster, wanted, steps, mirrors, guards: None, told }
    }
}

impl std::ops::Deref for Target {
    type Target = Arc<Cluster>;

    fn deref(&self) -> &Arc<Cluster> {
        &self.cluster
    }
}

// === impl ServiceCell ===

impl ServiceCell {
    pub(crate) fn new(name: &str, hub: &Arc<Hub>) -> Self {
        let name: Arc<str> = name.into();
        Self {
            meter: ServiceMeter::new(&name, hub),
            authority: name.strip_prefix(HTTPS).unwrap_or(&name).parse().ok(),
            by_dns: AtomicBool::new(false),
            by_lookup: AtomicBool::new(false),
            server: Peer::of_service(&name),
            name,
            current: ArcSwapOption::empty(),
            budgets: Mutex::new(Vec::new()),
            throttles: Mutex::new(Vec::new()),
            hedging: Mutex::default(),
            guards: Kept::default(),
            route_limits: RouteLimits::default(),
        }
    }

    /// The cell of what is called beside the calls of others, such as a mirror of a cluster: no
    /// service has its name.
    pub(crate) fn beside(what: &str, cluster: &str, hub: &Arc<Hub>) -> Self {
        let mut cell = Self::new(&format!("{what} of {cluster}"), hub);
        cell.authority = cluster.parse().ok();
        cell.server = Peer::of_service(&cluster.into());
        cell
    }

    /// Its mirrors, by what is said of them.
    pub(crate) fn mirrored(&self) -> HashMap<Arc<str>, Arc<Self>> {
        let current = self.current.load();
        let routes = current.iter().flat_map(|service| service.table.iter());
        let targets = routes.flat_map(|route| route.clusters.iter());
        let of_headers = current.iter().flat_map(|service| service.table.iter());
        let of_headers = of_headers.filter_map(|route| match &route.choosing {
            Some(Choosing::Header(by)) => Some(&by.mirrors),
            _ => None,
        });
        let mirrors = targets.map(|(_, target)| &target.mirrors).chain(of_headers);
        let mirrors = mirrors.flat_map(|mirrors| mirrors.iter());
        mirrors.map(|mirror| (Arc::clone(&mirror.said), Arc::clone(&mirror.cell))).collect()
    }

    /// Whether plain DNS alone defines it.
    pub(crate) fn by_dns(&self) -> bool {
        self.by_dns.load(Relaxed)
    }

    /// Whether it stands for its name with any port, too.
    pub(crate) fn has_any_port(&self) -> bool {
        !self.by_lookup.load(Relaxed) && !self.by_dns()
    }

    pub(super) fn set_by_dns(&self, by_dns: bool) {
        self.by_dns.store(by_dns, Relaxed);
    }

    pub(super) fn set_by_lookup(&self, by_lookup: bool) {
        self.by_lookup.store(by_lookup, Relaxed);
    }

    /// Swaps a definition in, and forgets the budgets that no call can draw on any more.
    pub(crate) fn set(&self, service: Service) {
        if let Some(before) = &*self.current.load() {
            service.note_answered(before.answered.load(Relaxed));
        }
        self.current.store(Some(Arc::new(service)));
        self.budgets().retain(|(_, budget)| Arc::strong_count(budget) > 1);
        self.throttles().retain(|(_, throttle)| throttle.is_used());
        self.known_hedging().retain(|_, said| {
            said.retain(|(_, hedging)| Arc::strong_count(hedging) > 1);
            !said.is_empty()
        });
        self.guards.tidy();
        self.route_limits.tidy();
    }

    /// Takes the definition away.
    pub(crate) fn clear(&self) {
        self.current.store(None);
        self.budgets().clear();
        self.throttles().clear();
        self.known_hedging().clear();
        self.guards.clear();
        self.route_limits.tidy();
    }

    /// The meters of its routes: the shared one, and one for each name.
    pub(crate) fn meters(&self) -> Vec<Arc<RouteMeter>> {
        let mut meters = vec![Arc::clone(&self.meter.plain)];
        if let Some(service) = &*self.current.load() {
            let mut known = HashSet::from([Arc::as_ptr(&self.meter.plain)]);
            for route in service.table.iter() {
                if known.insert(Arc::as_ptr(&route.meter)) {
                    meters.push(Arc::clone(&route.meter));
                }
            }
        }
        meters
    }

    #[cfg(test)]
    pub(super) fn budget_count(&self) -> usize {
        self.budgets().len()
    }

    fn budgets(&self) -> MutexGuard<'_, Vec<(config::Budget, Arc<Budget>)>> {
        self.budgets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn budget(&self, config: &config::Budget) -> Arc<Budget> {
        let mut budgets = self.budgets();
        if let Some((_, budget)) = budgets.iter().find(|(known, _)| known == config) {
            return Arc::clone(budget);
        }
        let budget = Arc::new(Budget::new(config));
        budgets.push((config.clone(), Arc::clone(&budget)));
        budget
    }

    fn throttles(&self) -> MutexGuard<'_, Vec<(config::RetryThrottle, Throttled)>> {
        self.throttles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The throttle of these settings: one of the service, whatever its routes.
    fn throttle(&self, config: &config::RetryThrottle) -> Throttled {
        let mut throttles = self.throttles();
        if let Some((_, throttle)) = throttles.iter().find(|(known, _)| known == config) {
            return throttle.clone();
        }
        let throttle = Throttled::new(config);
        throttles.push((config.clone(), throttle.clone()));
        throttle
    }

    /// What pays for further attempts by these settings.
    fn purse(&self, retry: &config::Retry) -> Purse {
        let tokens = self.budget(&retry.budget.clone().unwrap_or_default());
        let throttle = retry.throttle.as_ref().map(|throttle| self.throttle(throttle));
        Purse::new(tokens, retry.budget.is_some(), throttle)
    }

    fn known_hedging(&self) -> MutexGuard<'_, HedgedRoutes> {
        self.hedging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known for the hedging of a route survives every update that leaves its settings.
    fn hedging(&self, route: &Arc<str>, config: &config::Hedge) -> Option<Arc<Hedging>> {
        let mut all = self.known_hedging();
        let known = all.get(route).into_iter().flatten().find(|(said, _)| said == config);
        if let Some((_, hedging)) = known {
            return Some(Arc::clone(hedging));
        }
        let hedging = Arc::new(Hedging::new(config)?);
        let said = all.entry(Arc::clone(route)).or_default();
        said.push((config.clone(), Arc::clone(&hedging)));
        Some(hedging)
    }

    /// The run-time form of a merged policy, of a route that is told from others by this.
    pub(crate) fn policy(&self, route: &Arc<str>, merged: &config::Policy) -> Policy {
        let retry = merged.retry.clone().unwrap_or_default();
        let budget = self.purse(&retry);
        Policy {
            terms: Terms::of(merged, budget.listens()),
            scope: deadline::Scope {
                timeout: bound(merged.timeout),
                whole_response: merged.whole_response.unwrap_or(false),
            },
            attempt_timeout: bound(merged.attempt_timeout),
            idle_timeout: bound(merged.idle_timeout),
            budget,
            max_body_bytes: retry.body_cap(),
            hedging: merged.hedge.as_ref().and_then(|hedge| self.hedging(route, hedge)),
            priority: merged.priority.unwrap_or_default(),
            tracing: merged.tracing.as_ref().and_then(Rules::of),
            hash: merged.hash.as_deref().map(|hash| Arc::new(Hashing::new(hash))),
            avoid: Avoid::new(&retry).map(Box::new),
            criticality: merged.criticality.unwrap_or_default(),
            retry: retry::Policy::new(&retry),
        }
    }
}
