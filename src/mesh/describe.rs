//! The assembled stack in order, and every setting with its origin.

use std::{borrow::Cow, collections::BTreeSet, fmt, sync::Arc, time::Duration};

use super::{
    choosing::Choosing,
    cluster::Cluster,
    compile::lines::Told,
    guard,
    inner::Inner,
    remark::{CacheInUse, Remark},
    service::{Route, Service},
    settings::{self, By},
    spelled, stack,
};
use crate::{
    config::{Policy, Security},
    core::legible::{line, part},
};

/// Where a setting comes from; each wins over those after it.
///
/// A [`Description`] is of a mesh and of no call: it has `Code`, `ControlPlane` and `Default` alone. An
/// [`Explanation`](super::Explanation) is of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SettingOrigin {
    /// The call's own extension. No description has it.
    Call,
    /// The application's code.
    Code,
    /// A source: file, xDS, own discovery, or the addresses that the code gives
    /// ([`MeshBuilder::endpoints`](crate::MeshBuilder::endpoints)). [`Setting::source`] names it.
    ControlPlane,
    /// Nobody set it.
    Default,
}

/// One setting of a route or a cluster.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Setting {
    /// `timeout`, `retry.attempts`, `transport.max_age`, …: its path in the file.
    pub name: Cow<'static, str>,
    /// Its value as the file spells it, or what the default comes to.
    pub value: String,
    /// Where it comes from.
    pub origin: SettingOrigin,
    /// Which source, when a source said it.
    pub source: Option<String>,
}

/// What a mesh is made of, at one moment; print it.
///
/// `{}` prints every setting, `{:#}` only those that somebody has set.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Description {
    /// The positions of the stack, outermost first: what calls of any route meet. Those of one route are
    /// [its own](RouteDescription::stack).
    pub stack: Vec<String>,
    /// The sources, in order of precedence.
    pub sources: Vec<String>,
    /// What holds for the mesh as a whole.
    pub mesh: Vec<Setting>,
    /// What the mesh tells of itself, to whom, and what endpoints are told of the trace.
    pub telemetry: Vec<Setting>,
    /// Each service with its routes.
    pub services: Vec<ServiceDescription>,
    /// Parts that are refused now, with the reason.
    pub refused: Vec<Remark>,
    /// The sources that use what an earlier process has left on disk.
    pub caches: Vec<CacheInUse>,
    /// What is wrong with the files where sources keep what they know for a later process.
    pub cache_troubles: Vec<Remark>,
    /// What sources say of parts that is no failure: what of them the mesh does not do, or does
    /// otherwise.
    pub notes: Vec<Remark>,
    /// Parts that are in force and of which something does nothing, with what it is: a route that no
    /// request comes to, since one before it takes all of them, or its match contradicts itself.
    pub doubtful: Vec<Remark>,
}

/// One service of a [`Description`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServiceDescription {
    /// The name that the application calls.
    pub name: String,
    /// Its routes, in order.
    pub routes: Vec<RouteDescription>,
}

/// One route of a [`ServiceDescription`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RouteDescription {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Where its matches, its hosts, its clusters with their weights and labels, and the choice among
    /// them come from: they are one value, which is of one layer. `Default`: nobody says where calls go,
    /// and all go to the cluster of the service's name.
    pub origin: SettingOrigin,
    /// Which source that is, when a source said it.
    pub source: Option<String>,
    /// What requests it takes, in words, one of which must hold. None: it takes every request.
    pub matches: Vec<String>,
    /// The hosts that its requests have, one of which must be theirs. None: any.
    pub hosts: Vec<String>,
    /// The filters of its service and its own, in order, by their names in the mesh file.
    pub filters: Vec<String>,
    /// How one of its clusters is chosen, where that is not by weight at random.
    pub choice: Option<String>,
    /// What its calls meet, outermost first: only what is there, filters by their names in the mesh file.
    pub stack: Vec<String>,
    /// Its settings with their origins, and what each of its filters does; of headers that are edited the
    /// names.
    pub settings: Vec<Setting>,
    /// Its clusters with what each endpoint is at.
    pub clusters: Vec<ClusterDescription>,
}

/// One cluster of a [`RouteDescription`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClusterDescription {
    /// The cluster's name.
    pub name: String,
    /// Its share of the route's requests, relative to its siblings.
    pub weight: u32,
    /// The picking policy, as the file spells it.
    pub balancer: String,
    /// Its settings with their origins, and what the route says of the filters of this cluster alone.
    pub settings: Vec<Setting>,
    /// The age of the last good answer, where the endpoints are discovered (DNS) and there was one.
    pub answer_age: Option<Duration>,
    /// Why the endpoints are not, or not all, what discovery says now.
    pub trouble: Option<String>,
    /// One line per priority, and one for each of its localities or rings: what it gets. Empty where
    /// there is only one of everything.
    pub places: Vec<String>,
    /// One line per endpoint: address, weight, calls in flight, latency, how it stands, and what its
    /// source says of it: health, authority, protocol, security, labels.
    pub endpoints: Vec<String>,
}

// === impl Description ===

impl Description {
    pub(super) fn of(inner: &Arc<Inner>) -> Self {
        let services: Vec<_> = inner
            .defined()
            .iter()
            .map(|(name, service)| ServiceDescription {
                name: name.to_string(),
                routes: routes(inner, service),
            })
            .collect();
        let routes = services.iter().flat_map(|service| &service.routes);
        let stack = stack::merged(routes.map(|route| &route.stack));
        Self {
            stack: if stack.is_empty() { stack::of_mesh(&inner.stages) } else { stack },
            sources: inner.sources.clone(),
            mesh: settings::of_mesh(inner),
            telemetry: settings::of_telemetry(inner),
            services,
            refused: inner.refused_parts(),
            caches: inner.caches(),
            cache_troubles: inner.cache_troubles(),
            notes: inner.noted_parts(),
            doubtful: inner.doubtful_parts(),
        }
    }
}

fn routes(inner: &Arc<Inner>, service: &Service) -> Vec<RouteDescription> {
    service.table.iter().map(|route| describe_route(inner, route)).collect()
}

fn describe_route(inner: &Arc<Inner>, route: &Route) -> RouteDescription {
    let by = route.whose.map(|whose| By::of(inner, whose));
    let (origin, source) = by.map_or((SettingOrigin::Default, None), By::origin);
    let mut settings = route_settings(inner, route, None);
    settings.extend(filters(inner, &route.told));
    RouteDescription {
        stack: stack::of_route(inner, route),
        settings,
        name: route.name.as_deref().map(str::to_owned),
        origin,
        source,
        matches: route.matches.iter().map(spelled::of_match).collect(),
        hosts: route.hosts.clone(),
        filters: route.filters.clone(),
        choice: route.choosing.as_ref().map(Choosing::told),
        clusters: route
            .clusters
            .iter()
            .map(|(weight, target)| {
                let mut told = describe(inner, target, weight);
                let own = target.guards.iter();
                let own = own.flat_map(|guards| guard::settings_of(inner, guards));
                told.settings.extend(own);
                told.settings.extend(filters(inner, &target.told));
                told
            })
            .collect(),
    }
}

/// What filters do that are no guards.
fn filters(inner: &Inner, told: &[Told]) -> impl Iterator<Item = Setting> {
    told.iter().map(move |Told { name, value, whose }| {
        By::of(inner, *whose).says(name.clone().into(), value.clone())
    })
}

/// Those of its policy, `call`'s own words before them, then those of its guards.
pub(super) fn route_settings(inner: &Inner, route: &Route, call: Option<&Policy>) -> Vec<Setting> {
    let mut settings = settings::of_route(inner, route, call);
    settings.extend(guard::settings(inner, route));
    settings
}

fn describe(inner: &Arc<Inner>, cluster: &Cluster, weight: u64) -> ClusterDescription {
    let core = cluster.core.load();
    let now = inner.epoch.nanos(crate::core::Instant::now());
    let is_shown = core.balancer.has(|spec| spec.security().is_some_and(Security::is_mutual));
    ClusterDescription {
        name: cluster.name.to_string(),
        weight: u32::try_from(weight).unwrap_or(u32::MAX),
        balancer: settings::name_of(&core.config.balancer.clone().unwrap_or_default()),
        settings: settings::of_cluster(inner, &cluster.name, &core.protector, is_shown),
        answer_age: cluster.discovered.age(now),
        trouble: cluster.discovered.trouble().map(|trouble| trouble.to_string()),
        places: core.balancer.places(now),
        endpoints: core.balancer.report(now, |spec| spelled::of_endpoint(&spec.config())),
    }
}

impl fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Call => "call",
            Self::Code => "code",
            Self::ControlPlane => "source",
            Self::Default => "default",
        })
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, origin, source } = self;
        match source {
            Some(source) => part(f, format_args!("{name} = {value} ({source})")),
            None => part(f, format_args!("{name} = {value} ({origin})")),
        }
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_short = f.alternate();
        if is_short {
            line(f, format_args!("stack: {}", self.stack.join(" > ")))?;
        } else {
            line(f, format_args!("stack, outermost first"))?;
            for (number, position) in self.stack.iter().enumerate() {
                line(f, format_args!("  {:2} {position}", number + 1))?;
            }
        }
        line(f, format_args!("sources: {}", self.sources.join(", ")))?;
        for cache in &self.caches {
            line(f, format_args!("from the cache, {cache}"))?;
        }
        for trouble in &self.cache_troubles {
            line(f, format_args!("not used: {trouble}"))?;
        }
        list(f, "", &self.mesh)?;
        if !is_short || self.telemetry.iter().any(Setting::is_said) {
            line(f, format_args!("telemetry"))?;
        }
        list(f, "  ", &self.telemetry)?;
        let mut told = BTreeSet::new();
        for service in &self.services {
            line(f, format_args!("service {}", service.name))?;
            for route in &service.routes {
                route.tell(f, &self.stack, &mut told)?;
            }
        }
        for reason in &self.refused {
            line(f, format_args!("refused: {reason}"))?;
        }
        for note in &self.notes {
            line(f, format_args!("note: {note}"))?;
        }
        for doubt in &self.doubtful {
            line(f, format_args!("doubtful: {doubt}"))?;
        }
        Ok(())
    }
}

impl RouteDescription {
    /// A cluster that several routes call is told once, and a stack where it is not all of the mesh's.
    fn tell<'a>(
        &'a self,
        f: &mut fmt::Formatter<'_>,
        stack: &[String],
        told: &mut BTreeSet<&'a str>,
    ) -> fmt::Result {
        let all = if self.matches.is_empty() { "(all)" } else { "(no name)" };
        line(f, format_args!("  route {}", self.name.as_deref().unwrap_or(all)))?;
        for (number, matched) in self.matches.iter().enumerate() {
            line(f, format_args!("    {} {matched}", if number == 0 { "if" } else { "or" }))?;
        }
        for (word, list) in [("of host", &self.hosts), ("filters", &self.filters)] {
            if !list.is_empty() {
                line(f, format_args!("    {word} {}", list.join(", ")))?;
            }
        }
        if self.stack != stack {
            line(f, format_args!("    calls meet: {}", self.stack.join(" > ")))?;
        }
        if let Some(choice) = &self.choice {
            line(f, format_args!("    to {choice}"))?;
        }
        // They are one value, and so one line says whose it is.
        match &self.source {
            Some(source) => line(f, format_args!("    {ROUTING} ({source})"))?,
            None if !f.alternate() => line(f, format_args!("    {ROUTING} ({})", self.origin))?,
            None => {}
        }
        list(f, "    ", &self.settings)?;
        for cluster in &self.clusters {
            part(f, format_args!("    cluster {} by {}", cluster.name, cluster.balancer))?;
            if self.clusters.len() > 1 {
                write!(f, ", weight {}", cluster.weight)?;
            }
            if told.insert(&cluster.name) {
                writeln!(f)?;
                cluster.tell(f)?;
            } else {
                line(f, format_args!(", as above"))?;
            }
        }
        Ok(())
    }
}

impl ClusterDescription {
    fn tell(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, "      ", &self.settings)?;
        if let Some(age) = self.answer_age {
            line(f, format_args!("      last good answer: {:.1} s ago", age.as_secs_f64()))?;
        }
        if self.answer_age.is_some() && self.endpoints.len() == 1 {
            line(f, format_args!("      one address: if it is virtual, nothing is balanced here"))?;
        }
        if let Some(trouble) = &self.trouble {
            line(f, format_args!("      {trouble}"))?;
        }
        for place in &self.places {
            line(f, format_args!("      {place}"))?;
        }
        for endpoint in &self.endpoints {
            line(f, format_args!("      {endpoint}"))?;
        }
        Ok(())
    }
}

/// What of a route is one value.
const ROUTING: &str = "matches, hosts and clusters";

/// The settings, in the short form those that somebody has set.
fn list(f: &mut fmt::Formatter<'_>, indent: &str, settings: &[Setting]) -> fmt::Result {
    let is_short = f.alternate();
    for setting in settings.iter().filter(|setting| !is_short || setting.is_said()) {
        line(f, format_args!("{indent}{setting}"))?;
    }
    Ok(())
}

impl Setting {
    pub(super) fn is_said(&self) -> bool {
        self.origin != SettingOrigin::Default
    }
}
