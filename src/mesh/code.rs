//! What the application itself says about its services: it wins over every source.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::runtime::Runtime;
use crate::config::{
    self, AdaptiveConcurrency, AdmissionControl, Authorization, Balancer, Balancing, Breakers,
    ClusterSecurity, Criticality, Failover, Fault, Filter, HashPolicy, HealthCheck, Hedge,
    IdentityMatch, LeastRequest, OutlierDetection, Policy, Protocol, Queue, RateLimit, Retry,
    SecurityMode, Session, SlowStart, Subsets, Subsetting, Throttle, Tracing, Transport,
};

/// Settings of one service, given in code.
///
/// Every setter overrides what a source says of the same field, and is overridden by a call's own
/// [`Call`](crate::Call). Blocks are laid over those of the sources field by field: outlier detection with
/// one threshold changes that one and leaves the rest as a source has it. What contradicts the code is left
/// out of what the source says, and reported (docs/adr/0040-overlay.md).
///
/// What is said "of the cluster of the same name" is said of that cluster alone. A service whose routes lead
/// to other clusters is given such settings by their names: `.service("shop-v1", |s| s.balancer(…))`. Where
/// no such cluster is, that is reported, and [`Mesh::ready`](crate::Mesh::ready) fails.
#[derive(Clone, Debug, Default)]
pub struct ServiceSettings {
    pub(crate) policy: Policy,
    pub(crate) session: Option<Session>,
    /// Of the cluster of the same name.
    pub(crate) cluster: config::Cluster,
    /// What its calls pass before the filters that sources say.
    pub(crate) filters: Vec<Filter>,
}

/// The settings of all services that the code names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Code {
    services: BTreeMap<String, ServiceSettings>,
    pub(crate) resolve_timeout: Option<Duration>,
    /// What this process is, for routes that ask for it.
    pub(crate) labels: BTreeMap<String, String>,
    /// What the environment says of them that cannot be used.
    pub(crate) wrong_labels: Option<config::ConfigError>,
    /// Runtime keys that are set from the start.
    pub(crate) runtime: BTreeMap<String, f64>,
    /// What all calls pass first, whatever they call.
    pub(crate) filters: Vec<Filter>,
}

// === impl ServiceSettings ===

impl ServiceSettings {
    /// Bounds each call from its start to its response headers, all attempts included.
    ///
    /// It ends there, so that streams live: a body that stalls is not bounded by it, and a gRPC server is
    /// not told of it in `grpc-timeout`, which would end its whole stream. What bounds a body is
    /// [`idle_timeout`](Self::idle_timeout), which is off by default: set it as well. Where calls have no
    /// long streams, [`whole_response`](Self::whole_response) extends this bound to the end of the trailers,
    /// and gRPC servers learn of it; so does [`Call::timeout`](crate::Call::timeout) for one call.
    ///
    /// Unit: time; zero means none, whatever sources say. Default: what they say, or none.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.policy.timeout = Some(timeout);
        self
    }

    /// Lets the timeout cover the response body and trailers too. Default: no, so that streams
    /// live.
    #[must_use]
    pub fn whole_response(mut self, whole: bool) -> Self {
        self.policy.whole_response = Some(whole);
        self
    }

    /// Bounds each attempt to its response headers. Unit: time; zero means none. Default: none.
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.policy.attempt_timeout = Some(timeout);
        self
    }

    /// Bounds the wait for each frame of a response body. Unit: time; zero means none. Default: none.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.policy.idle_timeout = Some(timeout);
        self
    }

    /// Bounds each attempt's wait for its response headers, from the end of its request on. Unit:
    /// time; zero means none. Default: none.
    #[must_use]
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.policy.response_timeout = Some(timeout);
        self
    }

    /// Bounds a whole stream, both directions, from the start of its call to the end of its
    /// trailers. Unit: time; zero means none. Default: none.
    #[must_use]
    pub fn max_stream_duration(mut self, duration: Duration) -> Self {
        self.policy.max_stream_duration = Some(duration);
        self
    }

    /// The longest `grpc-timeout` of a call that is honoured, which also bounds a gRPC call that says
    /// none. Unit: time; 0: no bound. Default: none.
    #[must_use]
    pub fn max_grpc_timeout(mut self, max: Duration) -> Self {
        self.policy.grpc_timeout.get_or_insert_default().max = Some(max);
        self
    }

    /// Lets headers of a request override its timeouts and retries (`x-envoy-*`, `l5d-*`), and takes
    /// them out of it. Default: no.
    #[must_use]
    pub fn caller_overrides(mut self, allowed: bool) -> Self {
        self.policy.caller_overrides = Some(allowed);
        self
    }

    /// Tells the endpoint the number of each attempt, as `x-envoy-attempt-count`. Default: no.
    #[must_use]
    pub fn send_attempt_count(mut self, sent: bool) -> Self {
        self.policy.send_attempt_count = Some(sent);
        self
    }

    /// Tells the caller by the same header of the response how many attempts there were. Default: no.
    #[must_use]
    pub fn report_attempt_count(mut self, reported: bool) -> Self {
        self.policy.report_attempt_count = Some(reported);
        self
    }

    /// When and how often a failed attempt is repeated; fields that are not given here come from
    /// the sources. Default: [`Retry::standard`].
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.policy.retry = Some(retry);
        self
    }

    /// When a call that takes long is sent to another endpoint, too. Default: never.
    ///
    /// ```
    /// use tower_mesh::{Hedge, Mesh};
    ///
    /// // At most one call of a hundred is sent twice: those that take longest.
    /// let builder = Mesh::builder().service("users.prod", |s| s.hedge(Hedge::within(1.0)));
    /// # drop(builder);
    /// ```
    #[must_use]
    pub fn hedge(mut self, hedge: Hedge) -> Self {
        self.policy.hedge = Some(hedge);
        self
    }

    /// Calls in flight beyond which further ones fail at once. Unit: calls. Default: no limit.
    #[must_use]
    pub fn max_requests(mut self, calls: u32) -> Self {
        self.policy.max_requests = Some(calls);
        self
    }

    /// How much calls matter that do not say it themselves; the lowest are refused first.
    /// Default: critical.
    #[must_use]
    pub fn criticality(mut self, criticality: Criticality) -> Self {
        self.policy.criticality = Some(criticality);
        self
    }

    /// What a request is hashed by, where the balancer hashes and says nothing of it itself.
    /// Default: nothing; a call's own [`hash_key`](crate::Call::hash_key) needs none.
    #[must_use]
    pub fn hash(mut self, policies: impl Into<Vec<HashPolicy>>) -> Self {
        self.policy.hash = Some(policies.into());
        self
    }

    /// Keeps a caller with the endpoint that has answered it first, by a cookie or a header.
    /// Default: none.
    #[must_use]
    pub fn session(mut self, session: Session) -> Self {
        self.session = Some(session);
        self
    }

    /// Judges its calls by these rules, before those that a source says. Default: none.
    #[must_use]
    pub fn authorize(mut self, authorization: Authorization) -> Self {
        self.filters.push(Filter::Authorize(authorization));
        self
    }

    /// Injects faults into its calls, before those that a source says. Default: none.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.filters.push(Filter::Fault(Box::new(fault)));
        self
    }

    /// Limits the rate of its calls by this process, before the limits that a source says. Default: none.
    #[must_use]
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.filters.push(Filter::RateLimit(Box::new(limit)));
        self
    }

    /// Client-side throttling (Google SRE): refuses calls here, with the probability with which the service
    /// has lately refused them, before the filters that a source says. Default: none.
    #[must_use]
    pub fn throttle(mut self, throttle: Throttle) -> Self {
        self.filters.push(Filter::Throttle(Box::new(throttle)));
        self
    }

    /// Limits its calls in flight by their latency, before the filters that a source says. Default: none.
    #[must_use]
    pub fn adaptive_concurrency(mut self, limit: AdaptiveConcurrency) -> Self {
        self.filters.push(Filter::AdaptiveConcurrency(Box::new(limit)));
        self
    }

    /// Envoy's admission control: refuses a growing share of the calls as the success rate falls below its
    /// threshold, before the filters that a source says. Default: none.
    #[must_use]
    pub fn admission_control(mut self, admission: AdmissionControl) -> Self {
        self.filters.push(Filter::AdmissionControl(Box::new(admission)));
        self
    }

    /// How calls are traced, where a tracer is given to the mesh. Default: as the caller's trace
    /// says.
    #[must_use]
    pub fn tracing(mut self, tracing: Tracing) -> Self {
        self.policy.tracing = Some(tracing);
        self
    }

    /// The protocol of the cluster of the same name. Default: the endpoint's hint, else the
    /// request's version.
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.cluster.protocol = Some(protocol);
        self
    }

    /// How an endpoint of the cluster of the same name is picked. Default: P2C by peak EWMA.
    #[must_use]
    pub fn balancer(mut self, balancer: Balancer) -> Self {
        self.cluster.balancer = Some(balancer);
        self
    }

    /// Takes endpoints of the cluster of the same name out of use that fail more than they should;
    /// fields that are not given here come from the sources. Default: none.
    #[must_use]
    pub fn outlier_detection(mut self, outliers: OutlierDetection) -> Self {
        self.cluster.outlier_detection = Some(outliers);
        self
    }

    /// Probes every endpoint of the cluster of the same name, instead of the probes of the sources.
    /// Default: none.
    #[must_use]
    pub fn health_check(mut self, check: HealthCheck) -> Self {
        self.cluster.health_checks = vec![check];
        self
    }

    /// What comes before the pick in the cluster of the same name: what is near, localities, panic.
    /// Default: priorities alone.
    #[must_use]
    pub fn balancing(mut self, balancing: Balancing) -> Self {
        self.cluster.balancing = Some(balancing);
        self
    }

    /// Which endpoints of the cluster of the same name are used, when there are many. Default: all.
    #[must_use]
    pub fn subsetting(mut self, subsetting: Subsetting) -> Self {
        self.cluster.subsetting = Some(subsetting);
        self
    }

    /// How new endpoints of the cluster of the same name are warmed up. Default: not at all.
    #[must_use]
    pub fn slow_start(mut self, slow_start: SlowStart) -> Self {
        self.cluster.slow_start = Some(slow_start);
        self
    }

    /// Limits of the cluster of the same name: its circuit breakers; fields that are not given here
    /// come from the sources. Default: none.
    #[must_use]
    pub fn breakers(mut self, breakers: Breakers) -> Self {
        self.cluster.breakers = Some(breakers);
        self
    }

    /// How long attempts wait for an available endpoint of the cluster of the same name; fields that are
    /// not given here come from the sources. Default: not at all.
    #[must_use]
    pub fn queue(mut self, queue: Queue) -> Self {
        self.cluster.queue = Some(queue);
        self
    }

    /// How connections to the cluster of the same name are made and kept; fields that are not given
    /// here come from the sources. Default: those of [`Transport`].
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.cluster.transport = transport;
        self
    }

    /// Health under which all endpoints of a priority of the cluster of the same name are used. Unit:
    /// percent. Default: 50 (Envoy); 0 turns it off. Range: 0..=100.
    #[must_use]
    pub fn panic_threshold(mut self, percent: f64) -> Self {
        self.cluster.panic_threshold = Some(percent);
        self
    }

    /// Settings of least request, where the balancer of the cluster of the same name is that; fields
    /// that are not given here come from the sources. Default: the better of two.
    #[must_use]
    pub fn least_request(mut self, settings: LeastRequest) -> Self {
        self.cluster.least_request = Some(settings);
        self
    }

    /// The clusters that take over while no endpoint of the cluster of the same name works, instead of
    /// those of the sources. Default: none.
    #[must_use]
    pub fn failover(mut self, failover: Failover) -> Self {
        self.cluster.failover = Some(failover);
        self
    }

    /// Parts of the cluster of the same name by labels, which routes choose. Default: none.
    #[must_use]
    pub fn subsets(mut self, subsets: Subsets) -> Self {
        self.cluster.subsets = Some(subsets);
        self
    }

    /// Everything that the code says of calls, at once, over what the setters before it have said;
    /// fields that are not given come from the sources.
    #[must_use]
    pub fn policy(mut self, policy: &Policy) -> Self {
        self.policy = policy.over(&self.policy);
        self
    }

    /// Secures the connections to the cluster of the same name by TLS: its endpoints prove who they
    /// are. No source can take that back. Default: plaintext.
    ///
    /// Where the routes of the service lead to other clusters, say it of each of these, by its name: until
    /// then the service is refused, for its calls would go out unsecured.
    #[must_use]
    pub fn tls(self) -> Self {
        self.mode(SecurityMode::Tls)
    }

    /// Secures the connections to the cluster of the same name by mutual TLS: its endpoints prove who they
    /// are, as by [`tls`](Self::tls), and so does the mesh, by its identity. Without an identity its calls
    /// fail, and `ready()` does.
    #[must_use]
    pub fn mutual_tls(self) -> Self {
        self.mode(SecurityMode::Mutual)
    }

    /// Leaves the connections to the cluster of the same name in clear, on purpose: calls that say
    /// `https` are sent all the same.
    #[must_use]
    pub fn plaintext(self) -> Self {
        self.mode(SecurityMode::Off)
    }

    /// Adds an identity, one of which the endpoints must prove: a DNS name or a SPIFFE id.
    /// Default: the host of the service's name. No source can take that back. Needs [`tls`](Self::tls) or
    /// [`mutual_tls`](Self::mutual_tls).
    #[must_use]
    pub fn server_identity(mut self, identity: impl Into<String>) -> Self {
        let security = self.cluster.security.get_or_insert_default();
        security.identities.push(IdentityMatch::Exact(identity.into()));
        self
    }

    /// Everything that the code says of how the connections to the cluster of the same name are
    /// secured; fields that are not given here come from the sources, `roots`, `bundles` and
    /// `system_roots` only if none of them is given here. No source can take back what is.
    #[must_use]
    pub fn security(mut self, security: ClusterSecurity) -> Self {
        self.cluster.security = Some(security);
        self
    }

    fn mode(mut self, mode: SecurityMode) -> Self {
        self.cluster.security.get_or_insert_default().mode = Some(mode);
        self
    }
}

// === impl Code ===

impl Code {
    pub(crate) fn edit(
        &mut self,
        name: &str,
        edit: impl FnOnce(ServiceSettings) -> ServiceSettings,
    ) {
        let name = name.to_ascii_lowercase();
        let settings = self.services.remove(&name).unwrap_or_default();
        self.services.insert(name, edit(settings));
    }

    pub(crate) fn names(&self, name: &str) -> bool {
        self.services.contains_key(name)
    }

    /// Every name that the code speaks of.
    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(String::as_str)
    }

    /// The policy given in code; empty when the code does not name the service.
    pub(crate) fn policy(&self, name: &str) -> Policy {
        self.services.get(name).map(|settings| settings.policy.clone()).unwrap_or_default()
    }

    /// What the code says of a cluster: of that of its service's name.
    pub(crate) fn cluster(&self, name: &str) -> config::Cluster {
        self.services.get(name).map(|settings| settings.cluster.clone()).unwrap_or_default()
    }

    /// The clusters of which the code says how they are secured.
    pub(crate) fn secured(&self) -> BTreeSet<String> {
        let says =
            |(_, settings): &(&String, &ServiceSettings)| settings.cluster.security.is_some();
        self.services.iter().filter(says).map(|(name, _)| name.clone()).collect()
    }

    /// Those of them that are to be more than plaintext.
    pub(crate) fn demanding(&self) -> BTreeSet<String> {
        let open = ClusterSecurity { mode: Some(SecurityMode::Off), ..ClusterSecurity::default() };
        let mut names = self.secured();
        names.retain(|name| self.security(name).is_some_and(|security| *security != open));
        names
    }

    /// Whether the code says anything of the cluster of this name but how it is secured.
    pub(crate) fn shapes(&self, name: &str) -> bool {
        config::Cluster { security: None, ..self.cluster(name) } != config::Cluster::default()
    }

    /// The filters given in code.
    pub(crate) fn filters(&self, name: &str) -> Vec<Filter> {
        self.services.get(name).map(|settings| settings.filters.clone()).unwrap_or_default()
    }

    /// The session given in code.
    pub(crate) fn session(&self, name: &str) -> Option<&Session> {
        self.services.get(name)?.session.as_ref()
    }

    /// What the code says of how the cluster is secured.
    pub(crate) fn security(&self, name: &str) -> Option<&ClusterSecurity> {
        self.services.get(name)?.cluster.security.as_ref()
    }

    /// Checks what the code says as strictly as what a source says.
    pub(crate) fn validate(&self) -> Result<(), config::ConfigErrors> {
        if let Some(timeout) = self.resolve_timeout
            && !config::is_time(timeout)
        {
            let (value, reason) = (format!("{timeout:?}"), config::NO_TIME);
            let error = config::ConfigError::new("resolve_timeout", value, reason);
            return Err(config::ConfigErrors(vec![error]));
        }
        if let Some(error) = &self.wrong_labels {
            return Err(config::ConfigErrors(vec![error.clone()]));
        }
        if let Some(value) = self.labels.get("") {
            let error = config::ConfigError::new("label", value, "a label has a name");
            return Err(config::ConfigErrors(vec![error]));
        }
        for (key, percent) in &self.runtime {
            Runtime::check(key, *percent)?;
        }
        for filter in &self.filters {
            if let Filter::Authorize(authorization) = filter {
                authorization.validate("authorize")?;
            }
        }
        for (name, settings) in &self.services {
            let policy = settings.policy.clone();
            let session = settings.session.iter().map(|it| Filter::Session(Box::new(it.clone())));
            let filters = session.chain(settings.filters.iter().cloned()).collect();
            config::Service { policy, filters, ..config::Service::default() }.validate(name)?;
            settings.cluster.validate(name)?;
        }
        Ok(())
    }
}
