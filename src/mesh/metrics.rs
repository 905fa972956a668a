//! What the running mesh has counted: its cells, gathered from the handles that hold them.

use std::{sync::Arc, time::SystemTime};

#[cfg(feature = "xds")]
use super::planes::collect as planes;
use super::{
    CacheInUse, Mesh, cluster::Cluster, guard::Level, inner::Inner, keys::Expiries,
    service::ServiceCell,
};
use crate::{
    balance::Standing,
    config::CallPriority,
    core::Instant,
    observe::{Label, Metric, MetricFamily, MetricSample, MetricValue, Metrics, server},
};

/// Which metrics there are, as the application asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Telemetry {
    /// Samples for every endpoint; nothing if the application did not say.
    pub(crate) endpoint_metrics: Option<bool>,
}

/// What there is to read.
struct View {
    services: Vec<Arc<ServiceCell>>,
    clusters: Vec<Arc<Cluster>>,
    /// Parts that stand refused.
    bad: usize,
    /// When certificates expire.
    certificates: Expiries,
    now: Instant,
}

// === impl Telemetry ===

impl Telemetry {
    pub(crate) fn per_endpoint(self) -> bool {
        self.endpoint_metrics.unwrap_or(true)
    }
}

// === impl Mesh ===

impl Mesh {
    /// What has been counted until now.
    ///
    /// The cells are always on, whatever reads them; `docs/METRICS.md` lists them.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let view = View::of(&self.inner);
        let families = Metric::ALL.into_iter();
        let families = families
            .filter_map(|metric| MetricFamily::new(metric, view.samples(&self.inner, metric)));
        Metrics::new(families.collect())
    }

    /// The text that Prometheus scrapes: [`Metrics::to_prometheus`] of what [`Mesh::metrics`] tells.
    ///
    /// ```no_run
    /// # use tower_mesh::{Body, Mesh, observe::Metrics};
    /// # fn answer(mesh: &Mesh) -> http::Response<Body> {
    /// // In a handler of `GET /metrics`:
    /// let mut response = http::Response::new(Body::from(mesh.prometheus()));
    /// let kind = http::HeaderValue::from_static(Metrics::PROMETHEUS);
    /// response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    /// # response
    /// # }
    /// ```
    #[must_use]
    pub fn prometheus(&self) -> String {
        self.metrics().to_prometheus()
    }
}

/// The samples of one metric, for who asks for each by itself.
#[cfg(feature = "otel-033")]
pub(super) fn samples(inner: &Inner, metric: Metric) -> Vec<MetricSample> {
    View::for_one(inner, metric).samples(inner, metric)
}

// === impl View ===

impl View {
    fn of(inner: &Inner) -> Self {
        let mut view = Self::empty();
        view.add_services(inner);
        view.add_clusters(inner);
        let state = inner.state();
        view.bad = state.reports().len();
        view.certificates = state.keys.expiries();
        view
    }

    /// No more than one metric needs.
    #[cfg(feature = "otel-033")]
    fn for_one(inner: &Inner, metric: Metric) -> Self {
        let mut view = Self::empty();
        match metric {
            Metric::CallsActive
            | Metric::Verdicts
            | Metric::Faults
            | Metric::RateLimits
            | Metric::HttpCall
            | Metric::GrpcCall
            | Metric::BodiesFailed
            | Metric::Retries
            | Metric::RetriesRefused
            | Metric::Hedges
            | Metric::HedgesWon
            | Metric::HedgesRefused
            | Metric::CallsRefused
            | Metric::ConcurrencyLimit
            | Metric::ConcurrencyActive
            | Metric::BudgetBalance => view.add_services(inner),
            Metric::ConfigBad => view.bad = inner.state().reports().len(),
            Metric::CertificateExpiry => view.certificates = inner.state().keys.expiries(),
            Metric::Unresolved
            | Metric::CacheAge
            | Metric::ConfigApplied
            | Metric::ConfigRefused
            | Metric::EventsMissed
            | Metric::PlaneConnected
            | Metric::PlaneFailures
            | Metric::PlaneAccepted
            | Metric::PlaneRefused
            | Metric::PlaneResources => {}
            _ => view.add_clusters(inner),
        }
        view
    }

    fn empty() -> Self {
        Self {
            services: Vec::new(),
            clusters: Vec::new(),
            bad: 0,
            certificates: Expiries::new(),
            now: Instant::now(),
        }
    }

    fn add_services(&mut self, inner: &Inner) {
        let state = inner.state();
        self.services.extend(inner.services.load().values().map(Arc::clone));
        self.services.extend(state.absent.held());
    }

    fn add_clusters(&mut self, inner: &Inner) {
        let state = inner.state();
        self.clusters.extend(state.clusters.values().map(|entry| Arc::clone(&entry.cell)));
    }

    fn samples(&self, inner: &Inner, metric: Metric) -> Vec<MetricSample> {
        let mut samples = Vec::new();
        match metric {
            Metric::CallsActive | Metric::Verdicts | Metric::Faults | Metric::RateLimits => {
                for service in &self.services {
                    service.meter.collect(metric, &mut samples);
                }
            }
            Metric::HttpCall
            | Metric::GrpcCall
            | Metric::BodiesFailed
            | Metric::Retries
            | Metric::RetriesRefused
            | Metric::Hedges
            | Metric::HedgesWon
            | Metric::HedgesRefused
            | Metric::CallsRefused => {
                for meter in self.services.iter().flat_map(|service| service.meters()) {
                    meter.collect(metric, None, &mut samples);
                }
            }
            Metric::BudgetBalance => {
                for service in &self.services {
                    self.budgets(inner, service, &mut samples);
                }
            }
            Metric::ConcurrencyLimit | Metric::ConcurrencyActive => {
                for service in &self.services {
                    concurrency(service, metric, &mut samples);
                }
            }
            Metric::HttpAttempt
            | Metric::GrpcAttempt
            | Metric::ConnectDuration
            | Metric::ConnectionsOpen
            | Metric::ConnectionsFailed
            | Metric::ConnectionsClosed
            | Metric::Ejections
            | Metric::Suspected
            | Metric::Marked
            | Metric::AttemptsRefused
            | Metric::Drops
            | Metric::Checks
            | Metric::Weights
            | Metric::WeightFallbacks
            | Metric::WeightsNotYetUsable
            | Metric::WeightsStale => {
                for cluster in &self.clusters {
                    cluster.meter.collect(metric, &mut samples);
                }
            }
            Metric::EndpointAttempts if inner.telemetry.per_endpoint() => {
                for cluster in &self.clusters {
                    cluster.meter.collect(metric, &mut samples);
                }
            }
            Metric::BreakerTaken | Metric::BreakerLimit | Metric::QueueLength => {
                for cluster in &self.clusters {
                    limits(cluster, metric, &mut samples);
                }
            }
            Metric::AttemptsActive | Metric::Endpoints => {
                for cluster in &self.clusters {
                    self.census(inner, cluster, metric, &mut samples);
                }
            }
            Metric::EndpointActive | Metric::EndpointLatency if inner.telemetry.per_endpoint() => {
                for cluster in &self.clusters {
                    self.each(inner, cluster, metric, &mut samples);
                }
            }
            Metric::EndpointAttempts | Metric::EndpointActive | Metric::EndpointLatency => {}
            Metric::ConfigBad => {
                let bad = i64::try_from(self.bad).unwrap_or(i64::MAX);
                samples.push(MetricSample::new(Vec::new(), MetricValue::Level(bad)));
            }
            Metric::DiscoveryAge => {
                inner.hub.collect(metric, self.now, &mut samples);
                self.discoveries(inner, &mut samples);
            }
            Metric::CacheAge => {
                for CacheInUse { source, age, .. } in inner.caches() {
                    let label: Arc<str> = source.into();
                    let labels = vec![("mesh.source", (&label).into())];
                    let value = MetricValue::Number(age.as_secs_f64());
                    samples.push(MetricSample::new(labels, value));
                }
            }
            Metric::CertificateExpiry => {
                for ((label, name), at) in &self.certificates {
                    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                    let labels = vec![(*label, name.into())];
                    let value = MetricValue::Number(since.as_secs_f64());
                    samples.push(MetricSample::new(labels, value));
                }
            }
            Metric::Unresolved
            | Metric::ConfigApplied
            | Metric::ConfigRefused
            | Metric::EventsMissed => inner.hub.collect(metric, self.now, &mut samples),
            Metric::PlaneConnected
            | Metric::PlaneFailures
            | Metric::PlaneAccepted
            | Metric::PlaneRefused
            | Metric::PlaneResources => planes(inner, metric, &mut samples),
        }
        samples
    }

    /// How old the last good answer is of each cluster that DNS fills.
    fn discoveries(&self, inner: &Inner, samples: &mut Vec<MetricSample>) {
        let now = inner.epoch.nanos(self.now);
        for cluster in &self.clusters {
            if let Some(age) = cluster.discovered.age(now) {
                let labels: Vec<Label> =
                    vec![("mesh.source", "dns".into()), ("mesh.cluster", (&cluster.name).into())];
                samples.push(MetricSample::new(labels, MetricValue::Number(age.as_secs_f64())));
            }
        }
    }

    /// What is left in the budget of each route; those without a name tell of the first.
    fn budgets(&self, inner: &Inner, service: &ServiceCell, samples: &mut Vec<MetricSample>) {
        let Some(current) = service.current.load_full() else { return };
        let now = inner.epoch.nanos(self.now);
        for meter in service.meters() {
            let of = |route: &super::service::Route| Arc::ptr_eq(&route.meter, &meter);
            let route = current.table.iter().find(|route| of(route));
            let balance = route.map(|route| route.policy.budget.tokens().balance(now));
            meter.collect(Metric::BudgetBalance, balance, samples);
        }
    }

    /// How many attempts are in flight, or how many endpoints stand how.
    fn census(
        &self,
        inner: &Inner,
        cluster: &Cluster,
        metric: Metric,
        samples: &mut Vec<MetricSample>,
    ) {
        let (mut active, mut standings) = (0, [0; Standing::NAMES.len()]);
        let core = cluster.core.load();
        core.balancer.census(inner.epoch.nanos(self.now), |seen| {
            active += i64::from(seen.in_flight.unwrap_or_default());
            standings[seen.standing as usize] += 1;
        });
        let name = |label: &'static str| (label, (&cluster.name).into());
        if metric == Metric::AttemptsActive {
            let mut labels = vec![name("mesh.cluster")];
            server(&cluster.name, &mut labels);
            samples.push(MetricSample::new(labels, MetricValue::Level(active)));
            return;
        }
        for (standing, count) in Standing::NAMES.into_iter().zip(standings) {
            let labels = vec![name("mesh.cluster"), ("mesh.endpoint.state", standing.into())];
            samples.push(MetricSample::new(labels, MetricValue::Level(count)));
        }
    }

    /// What is known of each endpoint that was picked.
    fn each(
        &self,
        inner: &Inner,
        cluster: &Cluster,
        metric: Metric,
        samples: &mut Vec<MetricSample>,
    ) {
        let core = cluster.core.load();
        core.balancer.census(inner.epoch.nanos(self.now), |seen| {
            let value = match (metric, seen.in_flight, seen.latency) {
                (Metric::EndpointActive, Some(active), _) => MetricValue::Level(i64::from(active)),
                (Metric::EndpointLatency, _, Some(nanos)) if nanos > 0.0 => {
                    MetricValue::Number(f64::from(nanos) / 1e9)
                }
                _ => return,
            };
            let endpoint: Arc<str> = seen.address.to_string().into();
            let labels: Vec<Label> = vec![
                ("mesh.cluster", (&cluster.name).into()),
                ("mesh.endpoint", (&endpoint).into()),
            ];
            samples.push(MetricSample::new(labels, value));
        });
    }
}

/// Without the feature `xds` there are none.
#[cfg(not(feature = "xds"))]
fn planes(_: &Inner, _: Metric, _: &mut [MetricSample]) {}

/// What limits a cluster.
fn limits(cluster: &Cluster, metric: Metric, samples: &mut Vec<MetricSample>) {
    let core = cluster.core.load();
    let name = || -> Label { ("mesh.cluster", (&cluster.name).into()) };
    let level = |it: u32| MetricValue::Level(i64::from(it));
    match metric {
        Metric::QueueLength => {
            let queue = core.gate.as_ref().and_then(|gate| gate.queue.as_ref());
            samples.extend(queue.map(|it| MetricSample::new(vec![name()], level(it.waiting()))));
        }
        _ => {
            for it in core.levels() {
                let priority = match it.priority {
                    CallPriority::Default => "default",
                    CallPriority::High => "high",
                };
                let labels = vec![
                    name(),
                    ("mesh.breaker", it.what.into()),
                    ("mesh.call.priority", priority.into()),
                ];
                let value = match metric {
                    Metric::BreakerTaken => level(it.taken),
                    _ => MetricValue::Number(f64::from(it.most)),
                };
                samples.push(MetricSample::new(labels, value));
            }
        }
    }
}

/// The limits of calls in flight that a service and its routes have; each once.
fn concurrency(service: &ServiceCell, metric: Metric, samples: &mut Vec<MetricSample>) {
    let Some(current) = service.current.load_full() else { return };
    let value = |limit: u32, active: u32| match metric {
        Metric::ConcurrencyLimit => MetricValue::Number(f64::from(limit)),
        _ => MetricValue::Level(i64::from(active)),
    };
    if let Some(limiter) = &current.limiter {
        let value = value(limiter.limit(), limiter.taken());
        service.meter.plain.level("max_requests of the service", value, samples);
    }
    let mut told = Vec::new();
    for route in current.table.iter() {
        let guards = route.guards.iter().flat_map(|guards| guards.iter());
        let own = route.limits.as_ref().and_then(|limits| limits.of_route());
        let own = own.map(|own| {
            let (limit, active) = (own.limit(), own.taken());
            Level { name: "max_requests", limit, active, is_of_service: false }
        });
        for level in guards.filter_map(|guard| guard.level()).chain(own) {
            let Level { name, limit, active, is_of_service } = level;
            let meter = if is_of_service { &service.meter.plain } else { &route.meter };
            let key = (Arc::as_ptr(meter), name, is_of_service);
            // Routes without a name share a meter: it tells of the first.
            if !told.contains(&key) {
                told.push(key);
                meter.level(name, value(limit, active), samples);
            }
        }
    }
}
