//! The metrics: names, types, units and meanings, in the order in which they are told.

use std::{fmt, sync::Arc};

use super::trace::Peer;

/// What kind of metric it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum MetricKind {
    /// A sum that only grows.
    Counter,
    /// A sum that goes up and down: what is there now.
    UpDownCounter,
    /// A value at this moment, which is not to be summed up over processes.
    Gauge,
    /// What was measured, by how much it was: durations, weights.
    Histogram,
}

/// One attribute of a sample.
pub(crate) type Label = (&'static str, LabelValue);

/// The value of an attribute.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum LabelValue {
    Static(&'static str),
    Shared(Arc<str>),
    Number(i64),
}

/// Adds a name that was asked for, its port apart if it has one.
pub(crate) fn server(name: &Arc<str>, labels: &mut Vec<Label>) {
    let peer = Peer::of_service(name);
    labels.push(("server.address", (&peer.address).into()));
    if let Some(port) = peer.port {
        labels.push(("server.port", LabelValue::Number(port.into())));
    }
}

/// A metric. `docs/METRICS.md` has the same list, with attributes and sources.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Metric {
    HttpCall,
    GrpcCall,
    CallsActive,
    BodiesFailed,
    Verdicts,
    Faults,
    RateLimits,
    Unresolved,
    Retries,
    RetriesRefused,
    Hedges,
    HedgesWon,
    HedgesRefused,
    BudgetBalance,
    CallsRefused,
    ConcurrencyLimit,
    ConcurrencyActive,
    HttpAttempt,
    GrpcAttempt,
    AttemptsActive,
    AttemptsRefused,
    Drops,
    BreakerTaken,
    BreakerLimit,
    QueueLength,
    Endpoints,
    EndpointAttempts,
    EndpointActive,
    EndpointLatency,
    Ejections,
    Suspected,
    Marked,
    Checks,
    Weights,
    WeightFallbacks,
    WeightsNotYetUsable,
    WeightsStale,
    ConnectDuration,
    ConnectionsOpen,
    ConnectionsFailed,
    ConnectionsClosed,
    DiscoveryAge,
    CacheAge,
    ConfigApplied,
    ConfigRefused,
    ConfigBad,
    CertificateExpiry,
    EventsMissed,
    PlaneConnected,
    PlaneFailures,
    PlaneAccepted,
    PlaneRefused,
    PlaneResources,
}

/// How a metric is told.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) kind: MetricKind,
    pub(crate) unit: &'static str,
    pub(crate) help: &'static str,
}

impl Metric {
    pub(crate) const ALL: [Self; 53] = [
        Self::HttpCall,
        Self::GrpcCall,
        Self::CallsActive,
        Self::BodiesFailed,
        Self::Verdicts,
        Self::Faults,
        Self::RateLimits,
        Self::Unresolved,
        Self::Retries,
        Self::RetriesRefused,
        Self::Hedges,
        Self::HedgesWon,
        Self::HedgesRefused,
        Self::BudgetBalance,
        Self::CallsRefused,
        Self::ConcurrencyLimit,
        Self::ConcurrencyActive,
        Self::HttpAttempt,
        Self::GrpcAttempt,
        Self::AttemptsActive,
        Self::AttemptsRefused,
        Self::Drops,
        Self::BreakerTaken,
        Self::BreakerLimit,
        Self::QueueLength,
        Self::Endpoints,
        Self::EndpointAttempts,
        Self::EndpointActive,
        Self::EndpointLatency,
        Self::Ejections,
        Self::Suspected,
        Self::Marked,
        Self::Checks,
        Self::Weights,
        Self::WeightFallbacks,
        Self::WeightsNotYetUsable,
        Self::WeightsStale,
        Self::ConnectDuration,
        Self::ConnectionsOpen,
        Self::ConnectionsFailed,
        Self::ConnectionsClosed,
        Self::DiscoveryAge,
        Self::CacheAge,
        Self::ConfigApplied,
        Self::ConfigRefused,
        Self::ConfigBad,
        Self::CertificateExpiry,
        Self::EventsMissed,
        Self::PlaneConnected,
        Self::PlaneFailures,
        Self::PlaneAccepted,
        Self::PlaneRefused,
        Self::PlaneResources,
    ];

    #[expect(clippy::too_many_lines, reason = "a table")]
    pub(crate) const fn family(self) -> Family {
        use MetricKind::{Counter, Gauge, Histogram, UpDownCounter};
        let (name, kind, unit, help) = match self {
            Self::HttpCall => (
                "mesh.client.call.duration",
                Histogram,
                "s",
                "HTTP calls, from their start to the response head that the caller got",
            ),
            Self::GrpcCall => (
                "rpc.client.call.duration",
                Histogram,
                "s",
                "gRPC calls, from their start to their status",
            ),
            Self::CallsActive => (
                "mesh.client.calls.active",
                UpDownCounter,
                "{call}",
                "Calls that have no response head yet",
            ),
            Self::BodiesFailed => (
                "mesh.client.bodies.failed",
                Counter,
                "{call}",
                "Response bodies that failed after their head",
            ),
            Self::Verdicts => (
                "mesh.client.authorization.verdicts",
                Counter,
                "{verdict}",
                "Calls that rules of authorisation have denied, or noted",
            ),
            Self::Faults => (
                "mesh.client.faults",
                Counter,
                "{fault}",
                "Faults that were injected, or were due while too many were active",
            ),
            Self::RateLimits => (
                "mesh.client.rate_limits",
                Counter,
                "{call}",
                "Calls over the rate limit of this process, and calls that a shared limit was asked about",
            ),
            Self::Unresolved => (
                "mesh.client.calls.unresolved",
                Counter,
                "{call}",
                "Calls that came to no service: their name is unknown, refused, or no name",
            ),
            Self::Retries => {
                ("mesh.client.retries", Counter, "{retry}", "Attempts that were made after another")
            }
            Self::RetriesRefused => (
                "mesh.client.retries.refused",
                Counter,
                "{retry}",
                "Retries that were wanted and not made",
            ),
            Self::Hedges => (
                "mesh.client.hedges",
                Counter,
                "{hedge}",
                "Attempts that were sent beside others of their calls",
            ),
            Self::HedgesWon => (
                "mesh.client.hedges.won",
                Counter,
                "{hedge}",
                "Those of them that gave their calls their answers",
            ),
            Self::HedgesRefused => (
                "mesh.client.hedges.refused",
                Counter,
                "{hedge}",
                "Hedges that were due and not sent",
            ),
            Self::BudgetBalance => (
                "mesh.client.retry_budget.balance",
                Gauge,
                "{retry}",
                "Retries that the budget would grant now",
            ),
            Self::CallsRefused => (
                "mesh.client.calls.refused",
                Counter,
                "{call}",
                "Calls that this client refused on purpose: a rule, a limit, an injected fault",
            ),
            Self::ConcurrencyLimit => (
                "mesh.client.concurrency.limit",
                Gauge,
                "{call}",
                "Calls that may be in flight under a limit of a service or a route",
            ),
            Self::ConcurrencyActive => (
                "mesh.client.concurrency.active",
                UpDownCounter,
                "{call}",
                "Calls that are in flight under such a limit",
            ),
            Self::HttpAttempt => (
                "http.client.request.duration",
                Histogram,
                "s",
                "Attempts of HTTP calls, from their start to their response head",
            ),
            Self::GrpcAttempt => (
                "grpc.client.attempt.duration",
                Histogram,
                "s",
                "Attempts of gRPC calls, from their start to their status",
            ),
            Self::AttemptsActive => (
                "http.client.active_requests",
                UpDownCounter,
                "{request}",
                "Attempts in flight, HTTP and gRPC, to the end of their bodies",
            ),
            Self::AttemptsRefused => (
                "mesh.client.attempts.refused",
                Counter,
                "{attempt}",
                "Attempts that a limit of the cluster, its queue or a drop refused",
            ),
            Self::Drops => (
                "mesh.client.drops",
                Counter,
                "{call}",
                "Calls that a category of the cluster's drops has dropped",
            ),
            Self::BreakerTaken => (
                "mesh.client.breaker.taken",
                UpDownCounter,
                "{place}",
                "Places under a limit of the cluster that are taken",
            ),
            Self::BreakerLimit => (
                "mesh.client.breaker.limit",
                Gauge,
                "{place}",
                "Places that a limit of the cluster has",
            ),
            Self::QueueLength => (
                "mesh.client.queue.length",
                UpDownCounter,
                "{attempt}",
                "Attempts that wait for an available endpoint",
            ),
            Self::Endpoints => (
                "mesh.client.endpoints",
                UpDownCounter,
                "{endpoint}",
                "Endpoints by how the balancer ranks them",
            ),
            Self::EndpointAttempts => (
                "mesh.client.endpoint.attempts",
                Counter,
                "{attempt}",
                "Attempts that an endpoint had",
            ),
            Self::EndpointActive => (
                "mesh.client.endpoint.active",
                UpDownCounter,
                "{attempt}",
                "Attempts in flight to an endpoint",
            ),
            Self::EndpointLatency => (
                "mesh.client.endpoint.latency",
                Gauge,
                "s",
                "The latency that the balancer expects of an endpoint",
            ),
            Self::Ejections => (
                "mesh.client.ejections",
                Counter,
                "{ejection}",
                "Times that an endpoint was taken out of use, or kept out of it",
            ),
            Self::Suspected => (
                "mesh.client.endpoints.suspected",
                Counter,
                "{endpoint}",
                "Times that an endpoint became suspect: so many of its latest calls had failed",
            ),
            Self::Marked => (
                "mesh.client.endpoints.marked",
                Counter,
                "{endpoint}",
                "Times that a source said something else of an endpoint's health than before",
            ),
            Self::Checks => (
                "mesh.client.checks",
                Counter,
                "{check}",
                "Active checks of endpoints, by whether they passed",
            ),
            Self::Weights => (
                "mesh.client.weights",
                Histogram,
                "{weight}",
                "Weights of endpoints by what they report, each time that they are computed; 0 without a usable one",
            ),
            Self::WeightFallbacks => (
                "mesh.client.weights.fallbacks",
                Counter,
                "{update}",
                "Times that weights were computed and fewer than two endpoints had one: all take turns alike",
            ),
            Self::WeightsNotYetUsable => (
                "mesh.client.weights.not_yet_usable",
                Counter,
                "{endpoint}",
                "Endpoints, each time that weights were computed, that had not reported, or not for long enough",
            ),
            Self::WeightsStale => (
                "mesh.client.weights.stale",
                Counter,
                "{endpoint}",
                "Endpoints, each time that weights were computed, whose last report was too old",
            ),
            Self::ConnectDuration => (
                "mesh.client.connect.duration",
                Histogram,
                "s",
                "Connections that were made, by how long that took",
            ),
            Self::ConnectionsOpen => (
                "mesh.client.connections.open",
                UpDownCounter,
                "{connection}",
                "Connections that are open",
            ),
            Self::ConnectionsFailed => (
                "mesh.client.connections.failed",
                Counter,
                "{connection}",
                "Connections that could not be made, or were closed before their first answer",
            ),
            Self::ConnectionsClosed => (
                "mesh.client.connections.closed",
                Counter,
                "{connection}",
                "Connections that have ended",
            ),
            Self::DiscoveryAge => (
                "mesh.client.discovery.age",
                Gauge,
                "s",
                "Time since a source, or the DNS of a cluster, last said, or confirmed, what it knows",
            ),
            Self::CacheAge => (
                "mesh.client.discovery.cache.age",
                Gauge,
                "s",
                "Time since what a source uses of its cache on disk was last known to be so, while it does",
            ),
            Self::ConfigApplied => (
                "mesh.client.config.applied",
                Counter,
                "{part}",
                "Parts of the configuration that took effect",
            ),
            Self::ConfigRefused => (
                "mesh.client.config.refused",
                Counter,
                "{part}",
                "Parts of the configuration that were refused",
            ),
            Self::ConfigBad => (
                "mesh.client.config.bad",
                UpDownCounter,
                "{part}",
                "Parts of the configuration that stand refused now",
            ),
            Self::CertificateExpiry => (
                "mesh.client.certificate.not_after",
                Gauge,
                "s",
                "Unix time at which a certificate of this process expires",
            ),
            Self::EventsMissed => (
                "mesh.client.events.missed",
                Counter,
                "{event}",
                "Events that listeners were too slow to see",
            ),
            Self::PlaneConnected => (
                "mesh.xds.connected",
                Gauge,
                "1",
                "Whether there is a stream to a control plane that it has answered on",
            ),
            Self::PlaneFailures => (
                "mesh.xds.server.failures",
                Counter,
                "{failure}",
                "Streams to a control plane that ended before it had answered",
            ),
            Self::PlaneAccepted => (
                "mesh.xds.updates.accepted",
                Counter,
                "{resource}",
                "Resources of a control plane that were accepted",
            ),
            Self::PlaneRefused => (
                "mesh.xds.updates.refused",
                Counter,
                "{resource}",
                "Resources of a control plane that were refused",
            ),
            Self::PlaneResources => (
                "mesh.xds.resources",
                UpDownCounter,
                "{resource}",
                "Resources that are asked for, by how they stand",
            ),
        };
        Family { name, kind, unit, help }
    }
}

// === impl LabelValue ===

impl From<&'static str> for LabelValue {
    fn from(text: &'static str) -> Self {
        Self::Static(text)
    }
}

impl From<&Arc<str>> for LabelValue {
    fn from(text: &Arc<str>) -> Self {
        Self::Shared(Arc::clone(text))
    }
}

impl fmt::Display for LabelValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Static(text) => f.write_str(text),
            Self::Shared(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_metric_is_listed_once() {
        for (place, metric) in Metric::ALL.iter().enumerate() {
            assert_eq!(*metric as usize, place);
        }
        let names: BTreeSet<_> = Metric::ALL.iter().map(|metric| metric.family().name).collect();
        assert_eq!(names.len(), Metric::ALL.len());
    }
}
