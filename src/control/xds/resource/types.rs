//! What resources are decoded into.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

pub(crate) use super::cluster::{Recipe, Secret};
use super::{cluster::Sockets, endpoints::List};
use crate::config::{
    self, DropOverload, Filter, IdentityFiles, LocalityWeight, RateDescriptor, Role,
};

/// A decoded resource.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Resource {
    Listener(Arc<Listener>),
    Routes(Arc<Routes>),
    Cluster(Arc<Cluster>),
    Endpoints(Arc<Endpoints>),
    Secret(Arc<Secret>),
}

/// What decoding needs to know of the bootstrap.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Context {
    pub(crate) dialect: Dialect,
    /// Whose calls listeners and routes are read for: those that are made, or those that come in.
    pub(crate) role: Role,
    /// Whether the control plane is trusted to change authorities (gRFC A81).
    pub(crate) trusted: bool,
    /// The instances of certificate providers of the bootstrap, and under which name of
    /// `identities` the mesh knows each.
    pub(crate) providers: BTreeMap<String, String>,
    /// The same of secrets (SDS): what the bootstrap says, and Istio's `default` and `ROOTCA`.
    pub(crate) secrets: BTreeMap<String, String>,
    /// The trust domain of the mesh, where the bootstrap says it.
    pub(crate) trust_domain: Option<Arc<str>>,
    /// What tells the secrets and counts of this control plane from those of others of these names.
    pub(crate) realm: String,
    /// The secrets that are resources (SDS), as far as they are known.
    pub(crate) given: BTreeMap<Arc<str>, Arc<Secret>>,
}

/// Whose reading of what a resource leaves out is meant.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Dialect {
    /// gRPC's: localities by weight, no panic, no overprovisioning, no timeout.
    Proxyless,
    /// Envoy's: its defaults.
    #[default]
    Sidecar,
}

/// A listener (LDS): where the routes of a name are, and what every call passes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listener {
    pub(crate) name: Arc<str>,
    pub(crate) routes: RoutesFrom,
    /// In order, without the router.
    pub(crate) filters: Vec<HttpFilter>,
    /// Filters that are off and not known here, by their names, and what each is.
    pub(crate) unknown: BTreeMap<String, String>,
    pub(crate) policy: config::Policy,
    /// Where a listener of a sidecar listens.
    pub(crate) address: Option<SocketAddr>,
    /// Whether the port of an authority counts for nothing.
    pub(crate) ignore_port: bool,
    /// Protocols that connections may change to, where the route says nothing of them.
    pub(crate) upgrades: Vec<config::Upgrade>,
    /// What is said and not done.
    pub(crate) notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RoutesFrom {
    /// A resource (RDS) of this name.
    Named(Arc<str>),
    Inline(Arc<Routes>),
}

/// A filter of a listener.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HttpFilter {
    /// What routes override it by.
    pub(crate) name: String,
    /// Whether it is off unless a route turns it on.
    pub(crate) disabled: bool,
    pub(crate) steps: Vec<Step>,
    /// Whether what the nearest level adds comes last; else first.
    pub(crate) nearest_last: bool,
}

/// What a filter does to a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// This, whatever the route.
    Filter(Filter),
    /// This limit, described as the route says.
    Limited(Filter),
}

/// What a virtual host, a route or one of its clusters makes of a filter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Override {
    Disabled,
    /// It takes the filter's place.
    Steps(Vec<Step>),
    /// It adds to the filter, as each level does that says something: from the farthest to the nearest.
    More(Vec<Vec<Step>>),
    /// It says nothing of its own, and turns the filter on.
    Enabled,
    /// It says something that is not known here: it says nothing, unless that turns the filter on.
    Unknown,
}

/// A route configuration (RDS).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Routes {
    pub(crate) name: Arc<str>,
    pub(crate) hosts: Vec<VirtualHost>,
    /// What is said and not done.
    pub(crate) notes: Vec<String>,
    /// Whether the port of an authority counts for nothing.
    pub(crate) ignore_port: bool,
}

/// The routes of some authorities.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VirtualHost {
    pub(crate) name: String,
    pub(crate) domains: Vec<String>,
    pub(crate) routes: Vec<Route>,
    /// Why it cannot be used: it is valid, and something of it is not done here. It has no routes then.
    pub(crate) refused: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Route {
    /// Without what filters of the listener do.
    pub(crate) config: config::Route,
    /// By the filter's name, those of the virtual host too.
    pub(crate) overrides: BTreeMap<String, Override>,
    /// The same of its clusters, in their order; empty where none says anything.
    pub(crate) of_clusters: Vec<BTreeMap<String, Override>>,
    /// What describes its requests to filters that limit rates.
    pub(crate) describe: Vec<RateDescriptor>,
}

/// A cluster (CDS).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cluster {
    pub(crate) name: Arc<str>,
    /// Without what comes from [`Endpoints`]: put together by [`Cluster::with`].
    pub(crate) config: config::Cluster,
    pub(crate) endpoints: EndpointsFrom,
    /// Whether its load is reported to the server that it came from (LRS), and which metrics of
    /// ORCA reports are.
    pub(crate) load_report: Option<Vec<String>>,
    /// How endpoints are secured, by what their metadata says.
    pub(crate) sockets: Sockets,
    /// Files of keys and roots that it names, by the name that its settings have for them: to be
    /// added to the identities of the mesh.
    pub(crate) identities: BTreeMap<String, IdentityFiles>,
    /// The secrets that it names, if they are resources (SDS), and how it is read with them: until then it
    /// is not whole.
    pub(crate) secrets: Option<Arc<Recipe>>,
    /// Whether it says nothing of how its connections are secured, and so is plaintext.
    pub(crate) is_silent_on_tls: bool,
    /// Whether localities count by their weights as soon as any has one (gRPC).
    pub(crate) weighs_localities: bool,
    /// What is said and not done.
    pub(crate) notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum EndpointsFrom {
    /// A resource (EDS) of this name; none: of the cluster's.
    Eds { service_name: Option<Arc<str>> },
    /// The configuration has them.
    Inline,
    /// DNS, which the configuration tells of.
    Dns,
    /// The clusters of these names, the first that works (gRFC A37).
    Aggregate(Vec<Arc<str>>),
}

/// The endpoints of a cluster (EDS).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Endpoints {
    pub(crate) name: Arc<str>,
    pub(crate) endpoints: List,
    pub(crate) localities: Vec<LocalityWeight>,
    pub(crate) drops: Vec<DropOverload>,
    /// Unit: percent.
    pub(crate) overprovisioning: Option<u32>,
    pub(crate) weighted_health: bool,
    /// How long it is good without news.
    pub(crate) stale_after: Option<Duration>,
    /// What is said and not done.
    pub(crate) notes: Vec<String>,
}

// === impl Resource ===

impl Resource {
    /// What it says and nothing here does.
    pub(crate) fn notes(&self) -> &[String] {
        match self {
            Self::Listener(it) => &it.notes,
            Self::Routes(it) => &it.notes,
            Self::Cluster(it) => &it.notes,
            Self::Endpoints(it) => &it.notes,
            Self::Secret(it) => &it.notes,
        }
    }
}

// === impl Endpoints ===

impl Endpoints {
    /// Whether all that counts for a cluster is the same, but for the endpoints themselves.
    pub(crate) fn differs_in_list_alone(&self, other: &Self) -> bool {
        let Self {
            name: _,
            endpoints: _,
            localities,
            drops,
            overprovisioning,
            weighted_health,
            stale_after: _,
            notes: _,
        } = self;
        *localities == other.localities
            && *drops == other.drops
            && *overprovisioning == other.overprovisioning
            && *weighted_health == other.weighted_health
    }
}

// === impl Cluster ===

impl Cluster {
    /// The resource of endpoints that fills it.
    pub(crate) fn filled_from(&self) -> Option<&Arc<str>> {
        match &self.endpoints {
            EndpointsFrom::Eds { service_name } => {
                Some(service_name.as_ref().unwrap_or(&self.name))
            }
            EndpointsFrom::Inline | EndpointsFrom::Dns | EndpointsFrom::Aggregate(_) => None,
        }
    }
}

// === impl Listener ===

impl Listener {
    /// The clusters that its filters ask, beside those of the routes.
    pub(crate) fn clusters(&self) -> BTreeSet<&str> {
        self.filters.iter().flat_map(|filter| &filter.steps).filter_map(Step::asks).collect()
    }
}

// === impl Step ===

impl Step {
    fn asks(&self) -> Option<&str> {
        match self {
            Self::Limited(Filter::GlobalRateLimit(limit)) => Some(&limit.cluster),
            _ => None,
        }
    }
}

// === impl VirtualHost ===

impl VirtualHost {
    /// The clusters that its routes lead to, mirrors too.
    pub(crate) fn clusters(&self) -> BTreeSet<&str> {
        self.routes.iter().flat_map(Route::clusters).collect()
    }
}

// === impl Route ===

impl Route {
    /// The filters that its clusters say something of.
    pub(crate) fn names_of_clusters(&self) -> impl Iterator<Item = &String> {
        let said = self.of_clusters.iter().flatten();
        said.filter(|(_, it)| **it != Override::Unknown).map(|(name, _)| name)
    }

    fn clusters(&self) -> impl Iterator<Item = &str> {
        let targets = self.config.clusters.iter().map(|target| target.name.as_str());
        let copies = self.config.filters.iter().filter_map(|filter| match filter {
            Filter::Mirror(mirror) => mirror.cluster.as_deref(),
            _ => None,
        });
        let overrides = self.overrides.values();
        let overrides = overrides.chain(self.of_clusters.iter().flat_map(BTreeMap::values));
        let steps = overrides.flat_map(Override::steps);
        targets.chain(copies).chain(steps.filter_map(Step::asks))
    }
}

// === impl Override ===

impl Override {
    /// What it says is to be done.
    fn steps(&self) -> impl Iterator<Item = &Step> {
        let (own, more) = match self {
            Self::Steps(steps) => (steps.as_slice(), &[][..]),
            Self::More(levels) => (&[][..], levels.as_slice()),
            Self::Disabled | Self::Enabled | Self::Unknown => (&[][..], &[][..]),
        };
        own.iter().chain(more.iter().flatten())
    }

    /// The nearer level says this, and the farther one said that before.
    pub(crate) fn over(&self, above: Option<&Self>) -> Self {
        match (self, above) {
            // What is not known takes nothing away.
            (Self::Unknown, Some(above @ (Self::Steps(_) | Self::More(_) | Self::Enabled)))
            | (Self::Enabled, Some(above @ Self::More(_))) => above.clone(),
            (Self::More(own), Some(Self::More(above))) => {
                Self::More(above.iter().chain(own).cloned().collect())
            }
            _ => self.clone(),
        }
    }
}

// === impl HttpFilter ===

impl HttpFilter {
    /// What it does, and what levels add to it: from the farthest to the nearest.
    pub(crate) fn with(&self, levels: &[Vec<Step>]) -> Vec<Step> {
        let mut steps = self.steps.clone();
        if self.nearest_last {
            steps.extend(levels.iter().flatten().cloned());
        } else {
            steps.extend(levels.iter().rev().flatten().cloned());
        }
        steps
    }
}
