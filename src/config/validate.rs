//! Validation: field, value, allowed range. What the model can say and the stack cannot run yet
//! is refused by name.

use std::{collections::HashSet, time::Duration};

use super::{
    Address, Balancer, Budget, Cluster, ConfigError, ConfigErrors, Discovery, Endpoint, HeaderEdit,
    Match, PathMatch, Policy, Retry, Route, Security, Service, StringMatch, Transport, Tunnel,
};

const NOT_YET: &str = "not supported yet";

/// Collects what is wrong, so that one report names everything.
struct Checker {
    path: String,
    errors: Vec<ConfigError>,
}

impl Checker {
    fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), errors: Vec::new() }
    }

    fn done(self) -> Result<(), ConfigErrors> {
        if self.errors.is_empty() { Ok(()) } else { Err(ConfigErrors(self.errors)) }
    }

    fn refuse(&mut self, field: &str, value: impl std::fmt::Display, reason: impl Into<String>) {
        let path =
            if field.is_empty() { self.path.clone() } else { format!("{}.{field}", self.path) };
        self.errors.push(ConfigError::new(path, value, reason));
    }

    fn not_yet<T: std::fmt::Debug>(&mut self, field: &str, value: Option<&T>) {
        if let Some(value) = value {
            self.refuse(field, format!("{value:?}"), NOT_YET);
        }
    }

    fn within(&mut self, field: &str, check: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push('.');
        self.path.push_str(field);
        check(self);
        self.path.truncate(length);
    }

    fn time(&mut self, field: &str, value: Option<Duration>) {
        const DAY: Duration = Duration::from_secs(86_400 * 365);
        if let Some(value) = value
            && (value.is_zero() || value > DAY)
        {
            self.refuse(field, format!("{value:?}"), "must be over 0 and at most 365 days");
        }
    }

    fn at_least_one(&mut self, field: &str, value: Option<u32>) {
        if value == Some(0) {
            self.refuse(field, 0, "must be at least 1");
        }
    }

    fn policy(&mut self, policy: &Policy) {
        self.time("timeout", policy.timeout);
        self.time("attempt_timeout", policy.attempt_timeout);
        self.time("idle_timeout", policy.idle_timeout);
        self.at_least_one("max_requests", policy.max_requests);
        self.not_yet("hedge", policy.hedge.as_ref());
        if let (Some(attempt), Some(whole)) = (policy.attempt_timeout, policy.timeout)
            && attempt > whole
        {
            let reason = format!("must be at most timeout ({whole:?})");
            self.refuse("attempt_timeout", format!("{attempt:?}"), reason);
        }
        if let Some(retry) = &policy.retry {
            self.within("retry", |checker| checker.retry(retry));
        }
    }

    fn retry(&mut self, retry: &Retry) {
        if let Some(attempts) = retry.attempts
            && !(1..=100).contains(&attempts)
        {
            self.refuse("attempts", attempts, "must be in 1..=100");
        }
        for status in retry.on_status.iter().flatten() {
            if !(400..=599).contains(status) {
                self.refuse("on_status", status, "must be in 400..=599");
            }
        }
        for code in retry.on_grpc.iter().flatten() {
            if !(1..=16).contains(code) {
                self.refuse("on_grpc", code, "must be in 1..=16");
            }
        }
        self.time("backoff_base", retry.backoff_base);
        self.time("backoff_max", retry.backoff_max);
        self.time("retry_after_max", retry.retry_after_max);
        if retry.base() > retry.max() {
            let reason = format!("must be at most backoff_max ({:?})", retry.max());
            self.refuse("backoff_base", format!("{:?}", retry.base()), reason);
        }
        if let Some(budget) = &retry.budget {
            self.within("budget", |checker| checker.budget(budget));
        }
    }

    fn budget(&mut self, budget: &Budget) {
        // NaN is in no range.
        if !(0.0..=10.0).contains(&budget.ratio) {
            self.refuse("ratio", budget.ratio, "must be in 0..=10");
        }
        if budget.min_per_second > 1_000_000 {
            self.refuse("min_per_second", budget.min_per_second, "must be at most 1000000");
        }
        let range = Duration::from_secs(1)..=Duration::from_secs(60);
        if !range.contains(&budget.ttl) {
            self.refuse("ttl", format!("{:?}", budget.ttl), "must be in 1s..=60s");
        }
    }

    fn route(&mut self, route: &Route) {
        self.policy(&route.policy);
        for (index, rule) in route.matches.iter().enumerate() {
            self.within(&format!("matches[{index}]"), |checker| checker.rule(rule));
        }
        for (index, filter) in route.filters.iter().enumerate() {
            self.refuse(&format!("filters[{index}]"), filter.name(), NOT_YET);
        }
        if route.clusters.is_empty() {
            self.refuse("clusters", "[]", "a route needs at least one cluster");
        }
        for (index, target) in route.clusters.iter().enumerate() {
            if target.name.is_empty() {
                self.refuse(&format!("clusters[{index}].name"), "", "must not be empty");
            }
            if target.weight > 1_000_000 {
                let field = format!("clusters[{index}].weight");
                self.refuse(&field, target.weight, "must be at most 1000000");
            }
        }
        if !route.clusters.is_empty() && route.clusters.iter().all(|target| target.weight == 0) {
            self.refuse("clusters.weight", 0, "the weights must not all be 0");
        }
    }

    fn rule(&mut self, rule: &Match) {
        match &rule.path {
            Some(PathMatch::Regex(regex)) => self.refuse("path.regex", regex, NOT_YET),
            Some(PathMatch::Exact(path) | PathMatch::Prefix(path)) if !path.starts_with('/') => {
                self.refuse("path", path, "must begin with `/`");
            }
            _ => {}
        }
        if let Some(method) = &rule.method
            && http::Method::from_bytes(method.as_bytes()).is_err()
        {
            self.refuse("method", method, "is not a method");
        }
        for header in &rule.headers {
            if http::HeaderName::from_bytes(header.name.as_bytes()).is_err() {
                self.refuse("headers.name", &header.name, "is not a header name");
            }
            self.text("headers", &header.matcher);
        }
        for parameter in &rule.query {
            if parameter.name.is_empty() {
                self.refuse("query.name", "", "must not be empty");
            }
            self.text("query", &parameter.matcher);
        }
    }

    fn text(&mut self, field: &str, matcher: &StringMatch) {
        if let StringMatch::Regex(regex) = matcher {
            self.refuse(&format!("{field}.regex"), regex, NOT_YET);
        }
    }

    fn transport(&mut self, transport: &Transport) {
        self.time("connect_timeout", transport.connect_timeout);
        self.time("connect_backoff_base", transport.connect_backoff_base);
        self.time("connect_backoff_max", transport.connect_backoff_max);
        self.time("idle_timeout", transport.idle_timeout);
        self.time("max_age", transport.max_age);
        self.time("tcp_keepalive", transport.tcp_keepalive);
        self.time("http2_ping_interval", transport.http2_ping_interval);
        self.time("http2_ping_timeout", transport.http2_ping_timeout);
        self.at_least_one("max_http2_connections", transport.max_http2_connections);
        self.at_least_one("http2_streams_per_connection", transport.http2_streams_per_connection);
        self.at_least_one("http1_max_connections", transport.http1_max_connections);
        let settings = transport.settings();
        if settings.connect_backoff_base > settings.connect_backoff_max {
            let reason =
                format!("must be at most connect_backoff_max ({:?})", settings.connect_backoff_max);
            let value = format!("{:?}", settings.connect_backoff_base);
            self.refuse("connect_backoff_base", value, reason);
        }
        for (field, window) in [
            ("http2_stream_window_bytes", transport.http2_stream_window_bytes),
            ("http2_connection_window_bytes", transport.http2_connection_window_bytes),
        ] {
            if let Some(window) = window
                && !(65_535..=0x7fff_ffff).contains(&window)
            {
                self.refuse(field, window, "must be in 65535..=2147483647");
            }
        }
    }

    fn endpoint(&mut self, endpoint: &Endpoint) {
        if let Address::Socket(address) = &endpoint.address
            && address.port() == 0
        {
            self.refuse("address", address, "the port must be in 1..=65535");
        }
        if !(1..=65_535).contains(&endpoint.weight) {
            self.refuse("weight", endpoint.weight, "must be in 1..=65535");
        }
        if endpoint.priority != 0 {
            self.refuse("priority", endpoint.priority, NOT_YET);
        }
        if endpoint.security != Security::Plain {
            self.refuse("security", "tls", NOT_YET);
        }
        if endpoint.tunnel != Tunnel::None {
            self.refuse("tunnel", format!("{:?}", endpoint.tunnel), NOT_YET);
        }
        self.not_yet("http2", endpoint.http2.as_deref());
        if let Some(authority) = &endpoint.authority
            && authority.parse::<http::uri::Authority>().is_err()
        {
            self.refuse("authority", authority, "is not an authority");
        }
    }
}

impl Service {
    /// Checks every field.
    ///
    /// # Errors
    ///
    /// Every field that cannot be used, with its value and the allowed range.
    pub fn validate(&self, name: &str) -> Result<(), ConfigErrors> {
        let mut checker = Checker::new(format!("services.{name}"));
        if name.is_empty() {
            checker.refuse("", "", "the name must not be empty");
        }
        checker.within("policy", |checker| checker.policy(&self.policy));
        if self.cluster.is_some() && !self.routes.is_empty() {
            checker.refuse("cluster", "given", "a service has either `routes` or `cluster`");
        }
        let mut names = HashSet::new();
        for (index, route) in self.routes.iter().enumerate() {
            if let Some(name) = &route.name
                && !names.insert(name)
            {
                checker.refuse(&format!("routes[{index}].name"), name, "is used twice");
            }
            checker.within(&format!("routes[{index}]"), |checker| checker.route(route));
        }
        checker.done()
    }
}

impl Cluster {
    /// Checks every field, its endpoints' too.
    ///
    /// # Errors
    ///
    /// Every field that cannot be used, with its value and the allowed range.
    pub fn validate(&self, name: &str) -> Result<(), ConfigErrors> {
        let mut checker = Checker::new(format!("clusters.{name}"));
        match &self.balancer {
            Some(Balancer::PeakEwma { decay }) => {
                checker.time("balancer.peak_ewma.decay", Some(*decay));
            }
            Some(Balancer::RingHash { .. }) => checker.refuse("balancer", "ring_hash", NOT_YET),
            Some(Balancer::Maglev { .. }) => checker.refuse("balancer", "maglev", NOT_YET),
            Some(Balancer::LeastRequest | Balancer::RoundRobin | Balancer::Random) | None => {}
        }
        checker.within("transport", |checker| checker.transport(&self.transport));
        if let Some(Discovery::Dns(dns)) = &self.discovery {
            checker.refuse("discovery.dns", &dns.name, NOT_YET);
        }
        if let Some(breakers) = &self.breakers {
            checker.within("breakers", |checker| {
                checker.at_least_one("max_requests", breakers.max_requests);
                checker.not_yet("max_connections", breakers.max_connections.as_ref());
                checker.not_yet("max_pending", breakers.max_pending.as_ref());
                checker.not_yet("max_retries", breakers.max_retries.as_ref());
            });
        }
        checker.not_yet("outlier_detection", self.outlier_detection.as_ref());
        checker.not_yet("panic_threshold", self.panic_threshold.as_ref());
        checker.not_yet("slow_start", self.slow_start.as_ref());
        checker.not_yet("subset_size", self.subset_size.as_ref());
        let mut seen = HashSet::new();
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let field = format!("endpoints[{index}]");
            if !seen.insert(&endpoint.address) {
                checker.refuse(&field, &endpoint.address, "is listed twice");
            }
            checker.within(&field, |checker| checker.endpoint(endpoint));
        }
        checker.done()
    }
}

impl Endpoint {
    /// Checks every field; `path` says where the endpoint stands.
    ///
    /// # Errors
    ///
    /// Every field that cannot be used, with its value and the allowed range.
    pub fn validate(&self, path: &str) -> Result<(), ConfigErrors> {
        let mut checker = Checker::new(path);
        checker.endpoint(self);
        checker.done()
    }
}

impl HeaderEdit {
    /// Whether it edits nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}
