//! Every setting of a route or a cluster with its value and origin, in the words of the mesh file.

mod health;
mod hedge;
mod limits;
pub(super) mod protection;
mod retry;

use std::{borrow::Cow, collections::BTreeMap, fmt::Debug, time::Duration};

use super::{
    describe::{Setting, SettingOrigin},
    inner::Inner,
    overlay::Whose,
    protect::{Giver, Protector},
    service::Route,
};
use crate::{
    config::{
        self, Balancer, Budget, CertificateRef, ClusterSecurity, HashPolicy, IdentityMatch,
        Overlay, Policy, Retry, TlsVersion, Tracing, Transport,
    },
    core::Instant,
};

/// Whose words a layer is.
#[derive(Clone, Copy, Debug)]
pub(super) enum By<'a> {
    Call,
    Code,
    /// A source, by its name.
    Source(Option<&'a str>),
}

/// What the layers say, nearest first.
struct Layers<'a, T> {
    said: Vec<(By<'a>, &'a T)>,
}

impl<'a, T> Layers<'a, T> {
    /// What only the code says.
    fn of_code(code: &'a T) -> Self {
        Self { said: vec![(By::Code, code)] }
    }

    /// What only a source says.
    fn of_source(said: &'a T, source: Option<&'a str>) -> Self {
        Self { said: vec![(By::Source(source), said)] }
    }

    /// The setting that `of` reads: that of the nearest layer that says it, else the default.
    fn setting(
        &self,
        name: &'static str,
        default: &str,
        of: impl Fn(&T) -> Option<String>,
    ) -> Setting {
        let said = self.said.iter().find_map(|(by, layer)| Some((*by, of(layer)?)));
        match said {
            Some((by, value)) => by.says(name.into(), value),
            None => Setting {
                name: name.into(),
                value: default.to_owned(),
                origin: SettingOrigin::Default,
                source: None,
            },
        }
    }

    /// Whether any layer says it.
    fn is_said(&self) -> bool {
        !self.said.is_empty()
    }

    /// The layers of a part.
    fn within<U>(&self, of: impl Fn(&'a T) -> Option<&'a U>) -> Layers<'a, U> {
        Layers { said: self.said.iter().filter_map(|(by, it)| Some((*by, of(it)?))).collect() }
    }
}

impl<T: Overlay> Layers<'_, T> {
    /// What is said and has no line of its own in `list`.
    fn rest(&self, list: &mut Vec<Setting>) {
        for (by, layer) in &self.said {
            let mut told = Vec::new();
            layer.told("", &mut told);
            for (name, value) in told {
                let is_told = |it: &Setting| {
                    let below = it.name.strip_prefix(name.as_str());
                    below.is_some_and(|below| below.is_empty() || below.starts_with('.'))
                };
                if !list.iter().any(is_told) {
                    list.push(by.says(name.into(), value));
                }
            }
        }
    }
}

impl By<'_> {
    fn says(self, name: Cow<'static, str>, value: String) -> Setting {
        let (origin, source) = match self {
            Self::Call => (SettingOrigin::Call, None),
            Self::Code => (SettingOrigin::Code, None),
            Self::Source(source) => (SettingOrigin::ControlPlane, source.map(str::to_owned)),
        };
        Setting { name, value, origin, source }
    }
}

/// What holds for the whole mesh: only the code says that.
pub(super) fn of_mesh(inner: &Inner) -> Vec<Setting> {
    let mesh = Layers::of_code(&inner.unknown_names);
    let mut list = vec![mesh.setting("unknown_names", "refuse", chosen)];
    let keys = inner.state().runtime.told();
    list.extend(keys.into_iter().map(|(key, percent, origin, source)| Setting {
        name: format!("runtime.{key}").into(),
        value: format!("{percent} %"),
        origin,
        source: source.map(|source| inner.source_name(source).to_owned()),
    }));
    list
}

/// What the mesh tells of itself: only the code says that.
pub(super) fn of_telemetry(inner: &Inner) -> Vec<Setting> {
    let told = Layers::of_code(&inner.telemetry);
    let given = |is_given: bool| is_given.then(|| "given".to_owned());
    vec![
        told.setting("telemetry.endpoint_metrics", "true", |told| text(told.endpoint_metrics)),
        told.setting("telemetry.meter_provider", "none", |_| given(inner.hub.is_exported())),
        told.setting("telemetry.propagation", "w3c", |_| {
            inner.tracing.propagation.map(|it| name_of(&it))
        }),
        told.setting("telemetry.tracer_provider", "none", |_| {
            given(inner.tracing.tracer.is_some())
        }),
        told.setting("telemetry.tracing_spans", "false", |_| {
            text(inner.tracing.spans.as_ref().map(|_| true))
        }),
    ]
}

/// The settings of a route's policy; `call` is what a call says itself.
pub(super) fn of_route(inner: &Inner, route: &Route, call: Option<&Policy>) -> Vec<Setting> {
    let layers = route.layers.iter().map(|layer| match &layer.source {
        Some(source) => (By::Source(Some(source)), &layer.policy),
        None => (By::Code, &layer.policy),
    });
    let call = call.map(|call| (By::Call, call));
    let policy = Layers { said: call.into_iter().chain(layers).collect() };
    let resolve = Layers::of_code(&inner.code);
    let mut list = vec![
        policy.setting("timeout", "none", |p| p.timeout.map(time)),
        policy.setting("whole_response", "false", |p| text(p.whole_response)),
        policy.setting("attempt_timeout", "none", |p| p.attempt_timeout.map(time)),
        policy.setting("idle_timeout", "none", |p| p.idle_timeout.map(time)),
        policy.setting("response_timeout", "none", |p| p.response_timeout.map(time)),
        policy.setting("max_stream_duration", "none", |p| p.max_stream_duration.map(time)),
        policy.setting("grpc_timeout.max", "none", |p| p.grpc_timeout.as_ref()?.max.map(time)),
        policy.setting("grpc_timeout.offset", "0s", |p| p.grpc_timeout.as_ref()?.offset.map(time)),
        policy.setting("failures.statuses", "500..600", |p| {
            p.failures.as_ref()?.statuses.as_deref().map(retry::ranges)
        }),
        policy.setting("failures.grpc", "[4, 8, 13, 14, 15]", |p| {
            p.failures.as_ref()?.grpc.as_ref().map(debug)
        }),
        policy.setting("caller_overrides", "false", |p| text(p.caller_overrides)),
        policy.setting("send_attempt_count", "false", |p| text(p.send_attempt_count)),
        policy.setting("report_attempt_count", "false", |p| text(p.report_attempt_count)),
        policy.setting("max_requests", "none", |p| text(p.max_requests)),
        policy.setting("criticality", "critical", |p| text(p.criticality)),
        policy.setting("priority", "default", |p| p.priority.as_ref().map(name_of)),
        policy.setting("hash", "none", |p| p.hash.as_deref().and_then(hashes)),
        resolve.setting("resolve_timeout", &time(inner.resolve_timeout), |code| {
            code.resolve_timeout.map(time)
        }),
    ];
    let retry = policy.within(|policy| policy.retry.as_ref());
    list.extend(of_retry(&retry));
    list.extend(retry::of(&retry));
    let now = inner.epoch.nanos(Instant::now());
    list.extend(hedge::of(&policy, route.policy.hedging.as_deref().map(|it| (it, now))));
    list.extend(of_tracing(&policy.within(|policy| policy.tracing.as_ref())));
    policy.rest(&mut list);
    list
}

fn of_tracing(tracing: &Layers<'_, Tracing>) -> Vec<Setting> {
    let list = |map: &BTreeMap<String, String>| (!map.is_empty()).then(|| debug(map));
    vec![
        tracing.setting("tracing.client_percent", "100", |t| text(t.client_percent)),
        tracing.setting("tracing.random_percent", "100", |t| text(t.random_percent)),
        tracing.setting("tracing.overall_percent", "100", |t| text(t.overall_percent)),
        tracing.setting("tracing.tags", "none", |t| list(&t.tags)),
        tracing.setting("tracing.header_tags", "none", |t| list(&t.header_tags)),
        tracing.setting("tracing.operation", "by convention", |t| t.operation.clone()),
    ]
}

fn of_retry(retry: &Layers<'_, Retry>) -> Vec<Setting> {
    let default = Retry::default();
    let usual = Budget::default();
    let budget = retry.within(|retry| retry.budget.as_ref());
    vec![
        retry.setting("retry.attempts", &default.attempts_or_default().to_string(), |r| {
            text(r.attempts)
        }),
        retry.setting("retry.on_status", &debug(&default.statuses()), |r| {
            r.on_status.as_ref().map(debug)
        }),
        retry.setting("retry.on_grpc", &debug(&default.codes()), |r| r.on_grpc.as_ref().map(debug)),
        retry.setting("retry.on_reset", "true", |r| text(r.on_reset)),
        retry.setting("retry.on_timeout", "true", |r| text(r.on_timeout)),
        retry.setting("retry.idempotent", "by method", |r| text(r.idempotent)),
        retry.setting("retry.backoff_base", &time(default.base()), |r| r.backoff_base.map(time)),
        retry.setting("retry.backoff_max", &time(default.max()), |r| r.backoff_max.map(time)),
        budget.setting("retry.budget.ratio", &usual.ratio.to_string(), |b| text(Some(b.ratio))),
        budget.setting("retry.budget.min_per_second", &usual.min_per_second.to_string(), |b| {
            text(Some(b.min_per_second))
        }),
        budget.setting("retry.budget.ttl", &time(usual.ttl), |b| Some(time(b.ttl))),
        retry.setting("retry.max_body_bytes", &default.body_cap().to_string(), |r| {
            text(r.max_body_bytes)
        }),
        retry.setting("retry.avoid", "tried", |r| avoided(&r.avoid)),
        retry.setting("retry.respect_retry_after", "true", |r| text(r.respect_retry_after)),
        retry.setting("retry.retry_after_max", &time(default.after_max()), |r| {
            r.retry_after_max.map(time)
        }),
    ]
}

/// The settings of a cluster. `is_shown` says whether an endpoint asks for mutual TLS by itself.
pub(super) fn of_cluster(
    inner: &Inner,
    name: &str,
    protector: &Protector,
    is_shown: bool,
) -> Vec<Setting> {
    let mut layers = inner.cluster_layers(name);
    // Whom to trust is one thing, of the nearest that says it.
    let mut is_said = false;
    for (_, layer) in &mut layers {
        let Some(security) = &mut layer.security else { continue };
        let says = security.says_trust();
        if is_said {
            (security.roots, security.bundles, security.system_roots) = (None, None, None);
        }
        is_said |= says;
    }
    let by = |whose: &Whose| match *whose {
        Whose::Code => By::Code,
        Whose::Source(source) => By::Source(Some(inner.source_name(source))),
    };
    let said = layers.iter().map(|(whose, layer)| (by(whose), layer)).collect();
    let cluster = Layers { said };
    let balancer = cluster.within(|cluster| cluster.balancer.as_ref());
    let usual = Balancer::default();
    let mut list =
        vec![cluster.setting("balancer", &name_of(&usual), |c| c.balancer.as_ref().map(name_of))];
    let chosen = balancer.said.first().map(|(_, balancer)| *balancer);
    if let Balancer::PeakEwma { decay, .. } = chosen.unwrap_or(&usual) {
        let decay = balancer.setting("balancer.peak_ewma.decay", &time(*decay), |balancer| {
            matches!(balancer, Balancer::PeakEwma { .. }).then(|| time(*decay))
        });
        list.push(decay);
    }
    list.extend(of_hashing(&balancer, chosen.unwrap_or(&usual)));
    list.extend([
        cluster
            .setting("protocol", "as the request's version", |c| c.protocol.as_ref().map(name_of)),
        cluster.setting("failover", "none", |c| {
            let clusters = c.failover.as_ref().map(|failover| failover.clusters.join(", "));
            clusters.filter(|clusters| !clusters.is_empty())
        }),
    ]);
    list.push(
        cluster.setting("panic_threshold", "50", |c| c.panic_threshold.map(|it| it.to_string())),
    );
    // What is said of these is told field by field.
    let blocks: [(_, fn(&config::Cluster) -> bool); 5] = [
        ("least_request", |c| c.least_request.is_some()),
        ("balancing", |c| c.balancing.is_some()),
        ("slow_start", |c| c.slow_start.is_some()),
        ("subsetting", |c| c.subsetting.is_some()),
        ("subsets", |c| c.subsets.is_some()),
    ];
    let absent = blocks.iter().filter(|(_, says)| !cluster.said.iter().any(|(_, it)| says(it)));
    list.extend(absent.map(|(name, _)| cluster.setting(name, "none", |_| None)));
    list.extend(limits::of(&cluster));
    list.extend(health::of(&cluster));
    let discovery = cluster.within(|cluster| cluster.discovery.as_ref());
    if let Some((by, config::Discovery::Dns(dns))) = discovery.said.first() {
        list.extend(of_dns(&Layers { said: vec![(*by, dns)] }));
    }
    list.extend(of_transport(&cluster.within(|cluster| Some(&cluster.transport))));
    let security = cluster.within(|cluster| cluster.security.as_ref());
    list.extend(of_security(inner, &security, protector, is_shown));
    cluster.rest(&mut list);
    list
}

/// The settings of a balancer that hashes.
fn of_hashing(layers: &Layers<'_, Balancer>, chosen: &Balancer) -> Vec<Setting> {
    match chosen {
        Balancer::RingHash(_) => {
            let ring = layers.within(|balancer| match balancer {
                Balancer::RingHash(ring) => Some(ring),
                _ => None,
            });
            let usual = config::RingHash::default();
            vec![
                ring.setting(
                    "balancer.ring_hash.minimum_ring_size",
                    &usual.least().to_string(),
                    |ring| text(ring.minimum_ring_size),
                ),
                ring.setting(
                    "balancer.ring_hash.maximum_ring_size",
                    &usual.most().to_string(),
                    |ring| text(ring.maximum_ring_size),
                ),
                ring.setting("balancer.ring_hash.function", &name_of(&usual.function), |ring| {
                    self::chosen(&ring.function)
                }),
                ring.setting("balancer.ring_hash.use_hostname", "false", |ring| {
                    text(ring.use_hostname)
                }),
                ring.setting("balancer.ring_hash.balance_percent", "none", |ring| {
                    text(ring.balance_percent)
                }),
                ring.setting("balancer.ring_hash.request_header", "none", |ring| {
                    ring.request_header.clone()
                }),
                ring.setting("balancer.ring_hash.hash", "the route's", |ring| hashes(&ring.hash)),
            ]
        }
        Balancer::Maglev(_) => {
            let maglev = layers.within(|balancer| match balancer {
                Balancer::Maglev(maglev) => Some(maglev),
                _ => None,
            });
            let usual = config::Maglev::default();
            vec![
                maglev.setting(
                    "balancer.maglev.table_size",
                    &usual.entries().to_string(),
                    |maglev| text(maglev.table_size),
                ),
                maglev.setting("balancer.maglev.use_hostname", "false", |maglev| {
                    text(maglev.use_hostname)
                }),
                maglev.setting("balancer.maglev.balance_percent", "none", |maglev| {
                    text(maglev.balance_percent)
                }),
                maglev
                    .setting("balancer.maglev.hash", "the route's", |maglev| hashes(&maglev.hash)),
            ]
        }
        _ => Vec::new(),
    }
}

fn hashes(policies: &[HashPolicy]) -> Option<String> {
    let texts: Vec<_> = policies.iter().map(HashPolicy::text).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

/// How connections are secured; of what secures them only where anything does. The own certificate
/// may be shown to some endpoints alone.
fn of_security(
    inner: &Inner,
    security: &Layers<'_, ClusterSecurity>,
    protector: &Protector,
    is_shown: bool,
) -> Vec<Setting> {
    let mode = security
        .setting("security.mode", "off, and https is refused", |s| s.mode.as_ref().map(name_of));
    if !protector.is_on() && !is_shown {
        return vec![mode];
    }
    let (host, told) = (protector.host(), protector.told());
    let list = |list: &[String]| (!list.is_empty()).then(|| list.join(", "));
    let reference = |reference: &Option<CertificateRef>, told: &str| {
        let CertificateRef { provider, name } = reference.as_ref()?;
        let name = name.as_ref().map(|name| format!("/{name}")).unwrap_or_default();
        Some(format!("{provider}{name}: {told}"))
    };
    let [identity_by, trust_by] = inner.state().keys.givers();
    let bundles =
        security.setting("security.bundles", "none", |s| reference(&s.bundles, &told.trust));
    let system = security.setting("security.system_roots", "false", |s| text(s.system_roots));
    let mut roots =
        security.setting("security.roots", &told.trust, |s| reference(&s.roots, &told.trust));
    if roots.origin == SettingOrigin::Default {
        // The mesh's own roots vouch only where nothing else is said.
        let mut others = [&bundles, &system].into_iter();
        let other = others.find(|it| it.origin != SettingOrigin::Default && it.value != "false");
        (roots.origin, roots.source) = match other {
            Some(other) => (other.origin, other.source.clone()),
            None => given_by(inner, trust_by),
        };
    }
    let mut all = vec![
        mode,
        security.setting("security.identities", host, |s| {
            list(&s.identities.iter().map(identity).collect::<Vec<_>>())
        }),
        security.setting("security.sni", host, |s| s.sni.clone()),
        security.setting("security.alpn", "by protocol", |s| list(&s.alpn)),
        roots,
        bundles,
        system,
        security.setting("security.crypto", &told.crypto, |_| None),
        security.setting("security.min_version", "1.2", |s| s.min_version.map(version)),
        security.setting("security.max_version", "1.3", |s| s.max_version.map(version)),
        security.setting("security.ciphers", "the library's", |s| list(&s.ciphers)),
        security.setting("security.groups", "the library's", |s| list(&s.groups)),
        security.setting("security.max_verify_depth", "none", |s| text(s.max_verify_depth)),
    ];
    if protector.is_mutual() || is_shown {
        let mut certificate = security.setting("security.certificate", &told.identity, |s| {
            reference(&s.certificate, &told.identity)
        });
        if certificate.origin == SettingOrigin::Default {
            (certificate.origin, certificate.source) = given_by(inner, identity_by);
        }
        all.push(certificate);
    }
    all
}

/// Where the keys and roots come from that nobody names.
fn given_by(inner: &Inner, giver: Giver) -> (SettingOrigin, Option<String>) {
    match giver {
        Giver::Nobody => (SettingOrigin::Default, None),
        Giver::Code => (SettingOrigin::Code, None),
        Giver::Source(source) => {
            (SettingOrigin::ControlPlane, inner.sources.get(source.index()).cloned())
        }
    }
}

pub(super) fn identity(identity: &IdentityMatch) -> String {
    match identity {
        IdentityMatch::Exact(name) => name.clone(),
        IdentityMatch::Prefix(prefix) => format!("{prefix}…"),
        IdentityMatch::TrustDomain(domain) => format!("trust domain {domain}"),
        IdentityMatch::San(san) => debug(san),
    }
}

fn version(version: TlsVersion) -> String {
    match version {
        TlsVersion::V1_0 => "1.0",
        TlsVersion::V1_1 => "1.1",
        TlsVersion::V1_2 => "1.2",
        TlsVersion::V1_3 => "1.3",
    }
    .to_owned()
}

/// The settings of a cluster that DNS fills.
fn of_dns(dns: &Layers<'_, config::DnsDiscovery>) -> Vec<Setting> {
    let list = |list: &[String]| (!list.is_empty()).then(|| list.join(" "));
    let shown = |addresses: &[config::Address]| {
        list(&addresses.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    vec![
        dns.setting("discovery.dns.name", "", |dns| Some(dns.name.clone())),
        dns.setting("discovery.dns.kind", "strict", |dns| chosen(&dns.kind)),
        dns.setting("discovery.dns.family", "all", |dns| dns.family.as_ref().map(name_of)),
        dns.setting("discovery.dns.refresh", "60s", |dns| dns.refresh.map(time)),
        dns.setting("discovery.dns.respect_ttl", "true", |dns| text(dns.respect_ttl)),
        dns.setting("discovery.dns.failure_refresh", "1s", |dns| dns.failure_refresh.map(time)),
        dns.setting("discovery.dns.failure_refresh_max", "60s", |dns| {
            dns.failure_refresh_max.map(time)
        }),
        dns.setting("discovery.dns.jitter", "10 %", |dns| dns.jitter.map(time)),
        dns.setting("discovery.dns.stale_limit", "3600s", |dns| dns.stale_limit.map(time)),
        dns.setting("discovery.dns.use_tcp", "when UDP does not suffice", |dns| text(dns.use_tcp)),
        dns.setting("discovery.dns.resolvers", "the system's", |dns| shown(&dns.resolvers)),
        dns.setting("discovery.dns.search", "the resolver's", |dns| list(&dns.search)),
        dns.setting("discovery.dns.ndots", "the resolver's", |dns| text(dns.ndots)),
    ]
}

/// The name of a choice that is not the default one.
fn chosen<T: Debug + Default + PartialEq>(choice: &T) -> Option<String> {
    (*choice != T::default()).then(|| name_of(choice))
}

fn of_transport(transport: &Layers<'_, Transport>) -> Vec<Setting> {
    let usual = config::TransportSettings::default();
    let times: [(_, _, fn(&Transport) -> Option<Duration>); 9] = [
        ("transport.connect_timeout", usual.connect_timeout, |t| t.connect_timeout),
        ("transport.connect_backoff_base", usual.connect_backoff_base, |t| t.connect_backoff_base),
        ("transport.connect_backoff_max", usual.connect_backoff_max, |t| t.connect_backoff_max),
        ("transport.idle_timeout", usual.idle_timeout, |t| t.idle_timeout),
        ("transport.max_age", usual.max_age, |t| t.max_age),
        ("transport.tcp_keepalive", usual.tcp_keepalive, |t| t.tcp_keepalive),
        ("transport.http2_ping_interval", usual.http2_ping_interval, |t| t.http2_ping_interval),
        ("transport.http2_ping_timeout", usual.http2_ping_timeout, |t| t.http2_ping_timeout),
        ("transport.happy_eyeballs_delay", usual.happy_eyeballs_delay, |t| t.happy_eyeballs_delay),
    ];
    let counts: [(_, _, fn(&Transport) -> Option<u32>); 5] = [
        ("transport.max_http2_connections", usual.max_http2_connections, |t| {
            t.max_http2_connections
        }),
        ("transport.http2_streams_per_connection", usual.http2_streams_per_connection, |t| {
            t.http2_streams_per_connection
        }),
        ("transport.http1_max_connections", usual.http1_max_connections, |t| {
            t.http1_max_connections
        }),
        ("transport.http2_stream_window_bytes", usual.http2_stream_window_bytes, |t| {
            t.http2_stream_window_bytes
        }),
        ("transport.http2_connection_window_bytes", usual.http2_connection_window_bytes, |t| {
            t.http2_connection_window_bytes
        }),
    ];
    let times = times.into_iter().map(|(name, usual, of)| {
        transport.setting(name, &time(usual), |transport| of(transport).map(time))
    });
    let counts = counts.into_iter().map(|(name, usual, of)| {
        transport.setting(name, &usual.to_string(), |transport| text(of(transport)))
    });
    times.chain(counts).collect()
}

fn text(value: Option<impl ToString>) -> Option<String> {
    value.map(|value| value.to_string())
}

/// What retries avoid, as far as it is said.
fn avoided(avoid: &[config::AvoidEndpoint]) -> Option<String> {
    let names = avoid.iter().map(|it| match it {
        config::AvoidEndpoint::Tried => "tried".to_owned(),
        config::AvoidEndpoint::TriedLocalities => "tried_localities".to_owned(),
        config::AvoidEndpoint::Canaries => "canaries".to_owned(),
        config::AvoidEndpoint::Labels(labels) => format!("labels {labels:?}"),
        other => debug(other),
    });
    let names: Vec<_> = names.collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn debug(value: &impl Debug) -> String {
    format!("{value:?}")
}

/// A duration in the largest unit that tells it exactly.
fn time(time: Duration) -> String {
    let nanos = time.as_nanos();
    for (unit, name) in [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")] {
        if nanos.is_multiple_of(unit) {
            return format!("{}{name}", nanos / unit);
        }
    }
    format!("{nanos}ns")
}

/// The file's name of a variant: `RoundRobin` is `round_robin`.
pub(super) fn name_of(variant: &impl Debug) -> String {
    let mut name = String::new();
    for letter in debug(variant).chars().take_while(|letter| letter.is_alphanumeric()) {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}
