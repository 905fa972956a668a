//! How an endpoint is picked.

use std::time::Duration;

use super::{Extension, HashPolicy, Sharded};

/// How an endpoint is picked.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum Balancer {
    /// The better of two random choices, by latency (peak EWMA), success and calls in flight.
    #[non_exhaustive]
    PeakEwma {
        /// How fast a peak is forgotten. Default: 10 s (Finagle, Linkerd).
        #[cfg_attr(
            feature = "serde",
            serde(default = "ten_seconds", with = "super::serde_support::Time")
        )]
        decay: Duration,
        /// The latency that an endpoint without measurements is taken to have, less and less as it
        /// stays without. Default: one call at a time finds out (Finagle; Linkerd: 30 ms).
        #[cfg_attr(feature = "serde", serde(default, with = "super::serde_support::OptionalTime"))]
        default_rtt: Option<Duration>,
        /// The latency that a failure, or an answer of 429, counts as at least. Default: the success
        /// factor says enough (Linkerd: 5 s).
        #[cfg_attr(feature = "serde", serde(default, with = "super::serde_support::OptionalTime"))]
        penalty: Option<Duration>,
        /// The longest `Retry-After`, or `grpc-retry-pushback-ms`, of such an answer that counts as
        /// its latency; a longer one counts as this. Default: none counts (Linkerd: 300 s).
        #[cfg_attr(feature = "serde", serde(default, with = "super::serde_support::OptionalTime"))]
        max_retry_after: Option<Duration>,
    },
    /// The better of two random choices, by calls in flight; `least_request` of the cluster asks for
    /// more than two.
    LeastRequest,
    /// One after the other, by weight.
    RoundRobin,
    /// Any, by weight.
    Random,
    /// Consistent hashing on a ring.
    RingHash(RingHash),
    /// Consistent hashing by a table.
    Maglev(Maglev),
    /// By the load that endpoints report (gRFC A58). Needs the feature `orca`.
    ClientWeighted(ClientWeighted),
    /// By what endpoints say of their load and latency (Prequal). Needs the feature `orca`.
    Prequal(Prequal),
    /// The first that can be connected to, and then that one alone (gRFC A62).
    PickFirst(PickFirst),
    /// A replica of the shard that the request's key belongs to, and no other endpoint.
    Sharded(Sharded),
    /// The one that the call names, else by another policy (xDS `override_host`).
    OverrideHost(OverrideHost),
    /// A balancer of another system. Not supported yet.
    Extension(Extension),
}

/// The default decay of peak EWMA.
fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

impl Balancer {
    /// Peak EWMA that forgets a peak in this time.
    #[must_use]
    pub fn peak_ewma(decay: Duration) -> Self {
        Self::PeakEwma { decay, default_rtt: None, penalty: None, max_retry_after: None }
    }

    /// Sets the latency that peak EWMA takes an endpoint without measurements to have. Default: none,
    /// that is one call at a time finds out. Does nothing to any other policy.
    #[must_use]
    pub fn default_rtt(mut self, latency: Duration) -> Self {
        if let Self::PeakEwma { default_rtt, .. } = &mut self {
            *default_rtt = Some(latency);
        }
        self
    }

    /// Sets what a failure, or an answer of 429, counts as at least by peak EWMA. Default: none, that
    /// is the success factor says enough. Does nothing to any other policy.
    #[must_use]
    pub fn penalty(mut self, latency: Duration) -> Self {
        if let Self::PeakEwma { penalty, .. } = &mut self {
            *penalty = Some(latency);
        }
        self
    }

    /// Sets the longest `Retry-After` of such an answer that counts as its latency by peak EWMA.
    /// Default: none counts. Does nothing to any other policy.
    #[must_use]
    pub fn max_retry_after(mut self, longest: Duration) -> Self {
        if let Self::PeakEwma { max_retry_after, .. } = &mut self {
            *max_retry_after = Some(longest);
        }
        self
    }
}

impl Default for Balancer {
    fn default() -> Self {
        Self::peak_ewma(ten_seconds())
    }
}

/// Settings of least request (xDS `LeastRequestLbConfig`).
///
/// An endpoint is compared by its calls in flight, by its weight; of those that are alike it is any,
/// by weight.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct LeastRequest {
    /// Random choices that are compared; as many as there are endpoints, or more: all. Default: 2.
    /// Range: from 2. Source: xDS `choice_count`.
    pub choices: Option<u32>,
    /// How much calls in flight weigh against unequal weights: endpoints take turns by
    /// `weight / (calls in flight + 1)^active_bias`, and neither `choices` nor `full_scan` count; 0 is
    /// round robin. Where weights are equal it says nothing. Default: none, that is choices are drawn
    /// by weight (xDS `active_request_bias`: 1). Range: 0..=100.
    pub active_bias: Option<f64>,
    /// Whether all endpoints are compared: the fewest calls in flight there are, at the cost of a look
    /// at each. Default: false. Source: xDS `selection_method: FULL_SCAN`.
    pub full_scan: Option<bool>,
}

impl LeastRequest {
    pub(crate) fn choices(&self) -> u32 {
        self.choices.unwrap_or(2)
    }

    pub(crate) fn is_full_scan(&self) -> bool {
        self.full_scan.unwrap_or(false)
    }
}

/// Consistent hashing on a ring (xDS `RingHashLbConfig`): the same choice as Envoy and gRPC.
///
/// A call without a hash goes to a random endpoint (Envoy).
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct RingHash {
    /// Entries at least: each of `n` endpoints of one weight has `ceil(minimum_ring_size / n)`. Where that
    /// grows as one leaves, some keys move between those that stay, too. Default: 1024. Range: 1..=8388608.
    pub minimum_ring_size: Option<u32>,
    /// Entries at most. Default: 8388608 (gRPC caps it at 4096). Range: 1..=8388608.
    pub maximum_ring_size: Option<u32>,
    /// The hash. Default: xxHash64.
    pub function: HashFunction,
    /// Whether the endpoints' host names are hashed instead of their addresses. Default: false. An
    /// endpoint's own `hash_key` comes before either.
    pub use_hostname: Option<bool>,
    /// The most calls in flight to one endpoint. Unit: percent of the mean, by weight. Default: no
    /// bound. Range: from 100. Source: xDS `hash_balance_factor`.
    pub balance_percent: Option<u32>,
    /// The request header that is hashed where no route says more. Default: none. Source: gRFC
    /// A76.
    pub request_header: Option<String>,
    /// What a request is hashed by, over the route's. Default: the route's.
    pub hash: Vec<HashPolicy>,
}

impl RingHash {
    pub(crate) fn least(&self) -> u32 {
        self.minimum_ring_size.unwrap_or(1_024)
    }

    pub(crate) fn most(&self) -> u32 {
        self.maximum_ring_size.unwrap_or(8_388_608)
    }
}

impl Maglev {
    pub(crate) fn entries(&self) -> u32 {
        self.table_size.unwrap_or(65_537)
    }
}

/// The hash of a ring.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum HashFunction {
    /// xxHash64 with seed 0.
    #[default]
    XxHash,
    /// `MurmurHash2` as `std::hash` of GNU C++ has it.
    MurmurHash2,
}

/// Consistent hashing by a table (xDS `MaglevLbConfig`): the same choice as Envoy.
///
/// A call without a hash goes to a random endpoint (Envoy).
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Maglev {
    /// Entries; a prime. Default: 65537. Range: 2..=5000011.
    pub table_size: Option<u32>,
    /// Whether the endpoints' host names are hashed instead of their addresses. Default: false. An
    /// endpoint's own `hash_key` comes before either.
    pub use_hostname: Option<bool>,
    /// The most calls in flight to one endpoint. Unit: percent of the mean, by weight. Default: no
    /// bound. Range: from 100. Source: xDS `hash_balance_factor`.
    pub balance_percent: Option<u32>,
    /// What a request is hashed by, over the route's. Default: the route's.
    pub hash: Vec<HashPolicy>,
}

/// By the load that endpoints report (gRFC A58, A51, A114).
///
/// The weight of an endpoint is its queries per second over its utilisation; its own weight
/// (`endpoints[].weight`) does not count. Needs the feature `orca`.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct ClientWeighted {
    /// How long a new endpoint must report before its weight counts. Default: 10 s. Range: from 0.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub blackout: Option<Duration>,
    /// How long a report counts. Default: 3 min.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub expiration: Option<Duration>,
    /// How often weights are computed. Default: 1 s. What is under 100 ms counts as 100 ms.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub update: Option<Duration>,
    /// Whether reports come beside the traffic (`xds.service.orca.v3.OpenRcaService`): one stream per
    /// endpoint that is called, over its own connections; those of responses are not read then. An
    /// own leaf has no such connections. Default: false.
    pub out_of_band: Option<bool>,
    /// How often such reports come. Default: 10 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub out_of_band_period: Option<Duration>,
    /// What errors cost: what a share of errors of 1 adds to the utilisation. Default: 1. Range:
    /// 0..=1000.
    pub error_penalty: Option<f64>,
    /// Metrics of which the largest stands for the utilisation where the application gives none:
    /// `named_metrics.KEY`, `utilization.KEY`, `mem_utilization`, `cpu_utilization`. Default: none,
    /// that is `cpu_utilization`.
    pub metrics: Vec<String>,
}

#[cfg(feature = "orca")]
impl ClientWeighted {
    /// The default blackout.
    pub(crate) fn blackout(&self) -> Duration {
        self.blackout.unwrap_or(Duration::from_secs(10))
    }

    pub(crate) fn expiration(&self) -> Duration {
        self.expiration.unwrap_or(Duration::from_secs(180))
    }

    pub(crate) fn update(&self) -> Duration {
        self.update.unwrap_or(Duration::from_secs(1)).max(Duration::from_millis(100))
    }

    pub(crate) fn is_out_of_band(&self) -> bool {
        self.out_of_band.unwrap_or(false)
    }

    pub(crate) fn out_of_band_period(&self) -> Duration {
        self.out_of_band_period.unwrap_or(Duration::from_secs(10))
    }

    pub(crate) fn error_penalty(&self) -> f64 {
        self.error_penalty.unwrap_or(1.0)
    }
}

/// By what endpoints say of their load and latency (Prequal, NSDI '24).
///
/// The reports come with the responses: the named metrics `prequal_rif` and
/// `prequal_latency_us` of an ORCA report, or the headers `x-prequal-rif` and
/// `x-prequal-latency-us`. With fewer than two reports at hand it picks as `peak_ewma` does. Needs
/// the feature `orca`.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct Prequal {
    /// Reports that are kept. Default: 16. Range: 2..=64.
    pub pool_size: Option<u32>,
    /// How long a report counts. Default: 1 s.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub max_age: Option<Duration>,
    /// Probes per call, of random endpoints, besides the report that its response carries; they are
    /// sent beside the call, which waits for none. Default: 0 (NSDI '24: 3). Range: 0..=16.
    pub probe_rate: Option<f64>,
    /// Reports removed per call that brings one, the oldest and the worst in turn. Default: 0;
    /// they go by age and use. Range: 0..=16.
    pub remove_rate: Option<f64>,
    /// The surplus of the pool: the more, the more often a report is used. Default: 1. Range:
    /// 0..=1000.
    pub delta: Option<f64>,
    /// The quantile of calls in flight above which an endpoint is hot. Default: 0.35; 0 with up to
    /// 4 endpoints. Range: 0..=1.
    pub hot_quantile: Option<f64>,
    /// How old a probe's answer may be: one that comes later is not believed. Default: 3 ms.
    #[cfg_attr(feature = "serde", serde(with = "super::serde_support::OptionalTime"))]
    pub probe_timeout: Option<Duration>,
    /// What a probe asks for, by `GET`: a path, perhaps with a query, whose answer is cheap and
    /// carries a report. Default: `/.well-known/load-report`, where `server::LoadReportLayer`
    /// answers by its `probes()`.
    pub probe_path: Option<String>,
}

/// Where probes are answered by default.
#[cfg(feature = "orca")]
pub(crate) const PROBE_PATH: &str = "/.well-known/load-report";

#[cfg(feature = "orca")]
impl Prequal {
    pub(crate) fn pool_size(&self) -> u32 {
        self.pool_size.unwrap_or(16)
    }

    pub(crate) fn max_age(&self) -> Duration {
        self.max_age.unwrap_or(Duration::from_secs(1))
    }

    pub(crate) fn probe_rate(&self) -> f64 {
        self.probe_rate.unwrap_or(0.0)
    }

    pub(crate) fn probe_timeout(&self) -> Duration {
        self.probe_timeout.unwrap_or(Duration::from_millis(3))
    }

    pub(crate) fn probe_path(&self) -> &str {
        self.probe_path.as_deref().unwrap_or(PROBE_PATH)
    }

    pub(crate) fn delta(&self) -> f64 {
        self.delta.unwrap_or(1.0)
    }

    pub(crate) fn hot_quantile(&self) -> f64 {
        self.hot_quantile.unwrap_or(0.35)
    }
}

/// The first that can be connected to, and then that one alone (gRFC A61, A62, A113).
///
/// It stays until it is lost: its connections are all closed, one cannot be made, it fails more often
/// than not, is ejected or leaves. Then the order is gone through from its beginning. While an endpoint
/// is being connected to, the next is tried every `transport.happy_eyeballs_delay`, and the first
/// connection wins. Where a cluster has priorities or localities, each has an order of its own.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields, default))]
#[non_exhaustive]
pub struct PickFirst {
    /// Whether the order is not that of the source but shuffled, by weight, once per mesh and cluster.
    /// Default: false. Source: gRFC A62, A113.
    pub shuffle: Option<bool>,
}

impl PickFirst {
    pub(crate) fn is_shuffled(&self) -> bool {
        self.shuffle.unwrap_or(false)
    }
}

/// The endpoint that the call names, else by another policy.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct OverrideHost {
    /// Where the name is looked for, in order. Default: the session.
    #[cfg_attr(feature = "serde", serde(default))]
    pub sources: Vec<OverrideSource>,
    /// The policy when none is named or it cannot be used. Any but `override_host`.
    pub fallback: Box<Balancer>,
    /// In which health it may be used; in none, where the list is empty: nobody's word is asked for.
    /// Default: unknown, healthy, degraded, draining: an endpoint that drains keeps its sessions.
    /// Source: xDS `override_host_status`, without draining.
    #[cfg_attr(feature = "serde", serde(default))]
    pub health: Option<Vec<super::Health>>,
}

/// Where the name of an endpoint is looked for.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum OverrideSource {
    /// The session of the route or service.
    Session,
    /// A request header: an address in clear.
    Header(String),
    /// What earlier filters have noted: namespace, then the way to the value. Not supported yet.
    Metadata(Vec<String>),
}
