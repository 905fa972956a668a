//! What an explanation of a pick is made of.

use std::time::Duration;

/// Whom a cluster's balancer would pick, and why none of the others.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PickExplanation {
    /// How the policy chooses among the endpoints of a priority or locality, in words.
    pub rule: String,
    /// The shard that the call belongs to, where the policy has shards and the call a hash.
    pub shard: Option<String>,
    /// Who would be picked.
    pub choice: Choice,
    /// Endpoints of a priority or locality that gets nothing, to one of which the next call may go all the
    /// same, once, to see whether it is well again. [`choice`](Self::choice) is that of the calls after it,
    /// and of the next one if it meets none of these.
    pub trial: Vec<String>,
    /// What becomes of an endpoint that the call names: its session's, or that of an override header.
    pub named: Option<NamedExplanation>,
    /// The priorities, best first. One of all endpoints, where nothing tells them apart.
    pub priorities: Vec<PriorityExplanation>,
    /// Endpoints that are in none of them, by a subset or by their distance.
    pub outside: Vec<EndpointExplanation>,
}

/// Who would be picked.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Choice {
    /// This endpoint and no other.
    Endpoint {
        /// Its address.
        address: String,
        /// For policies that hash: where the call's retries would go, in turn.
        then: Vec<String>,
    },
    /// One of several, at random.
    OneOf {
        /// Each with its chance to get the next call, the likeliest first. In 0..=1, as found by `runs`
        /// picks that were tried out: who is not among them has less than about `3 / runs`.
        endpoints: Vec<(String, f64)>,
        /// The chance that the next call finds nobody and fails.
        fails: f64,
        /// How many picks were tried out.
        runs: u32,
    },
    /// The call would fail.
    Nothing {
        /// Why.
        reason: String,
    },
}

/// An endpoint that a call names.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NamedExplanation {
    /// The address that it names.
    pub address: String,
    /// Whether the call goes there.
    pub is_honoured: bool,
    /// Why, or why not.
    pub reason: String,
}

/// One priority of a cluster, and where localities or labels are preferred, one distance of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PriorityExplanation {
    /// As the endpoints say it; 0 is best.
    pub priority: u32,
    /// By how much of the caller's place its endpoints differ.
    pub distance: u32,
    /// Its share of the calls, in 0..=1, as counted last.
    pub share: f64,
    /// What of it is meant for its degraded endpoints.
    pub degraded_share: f64,
    /// How many of its endpoints are healthy now, of those that count.
    pub healthy: u64,
    /// How many are degraded.
    pub degraded: u64,
    /// How many count: all but those that drain.
    pub total: u64,
    /// So few of it are well that all are called.
    pub is_panicking: bool,
    /// Why it gets nothing, if it does.
    pub skipped: Option<String>,
    /// Its localities, or its rings of latency; one without a name where they do not matter.
    pub localities: Vec<LocalityExplanation>,
}

/// One locality or ring of a priority.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LocalityExplanation {
    /// `region/zone/sub_zone`, or `ring 1`.
    pub name: Option<String>,
    /// Its share of the calls of its priority, in 0..=1. None: all localities are called as one.
    pub share: Option<f64>,
    /// Its endpoints.
    pub endpoints: Vec<EndpointExplanation>,
}

/// One endpoint.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointExplanation {
    /// Its address.
    pub address: String,
    /// How it stands.
    pub standing: EndpointStanding,
    /// Whether it may be picked; if not, why.
    pub reason: PickReason,
    /// Its chance to get the next call, in 0..=1; see [`Choice::OneOf`] for how exact that is.
    pub share: f64,
    /// Its weight.
    pub weight: u16,
    /// Calls in flight to it. None: it was never called.
    pub in_flight: Option<u32>,
    /// What is known of its latency, if anything is.
    pub latency: Option<Duration>,
    /// What else the policy knows of it: its load report, its turns.
    pub note: Option<String>,
}

/// How an endpoint stands, whoever calls.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EndpointStanding {
    /// Nothing speaks against it.
    Good,
    /// It has just come, or is used by several processes: it takes this part of its calls, in 0..=1.
    Part(f64),
    /// It works and others are better, by its source's word.
    Degraded,
    /// More than half of its latest calls failed.
    Suspect {
        /// Until it gets the next single call; zero: that is due.
        probe_in: Duration,
    },
    /// By its source's word.
    Unhealthy,
    /// Its first active check is not over.
    Unchecked,
    /// Its active checks fail.
    ChecksFail,
    /// No connection could be made to it.
    Unavailable {
        /// What is left of the back-off.
        back_off: Duration,
    },
    /// No connection could be made to it. The back-off is over, and no call has found out more.
    Untried,
    /// Its failures have taken it out of use.
    Ejected {
        /// What for, in words.
        by: &'static str,
        /// Until the one call that finds out whether it is well; zero: that is due.
        probe_in: Duration,
    },
    /// It is ejected, and the call that finds out whether it is well is out.
    Probing,
    /// It takes no new calls.
    Draining,
}

/// Whether an endpoint may be picked, and if not, why.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum PickReason {
    /// The next call may go there.
    Picked,
    /// How it stands rules it out, as long as there are better ones.
    Standing,
    /// The call names another one.
    Named,
    /// Its priority gets nothing.
    Priority,
    /// Its locality, or ring, gets nothing.
    Locality,
    /// The hash belongs to another one.
    Hash,
    /// It holds no replica of the hash's shard.
    Shard,
    /// It is another one's turn.
    Turn,
    /// Another is the first of the order.
    Order,
    /// Others cost less.
    Cost,
    /// It may be picked, and is so one of many that no tried pick has met it.
    Rare,
    /// It has not the labels that are asked for.
    Labels,
    /// It is not in this process's subset.
    Subset,
    /// It is too far from the caller, and only what is near is called.
    Distance,
}

impl PickReason {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Picked => "may be picked",
            Self::Standing => "not while others are better",
            Self::Named => "the call names another",
            Self::Priority => "its priority gets nothing",
            Self::Locality => "its locality gets nothing",
            Self::Hash => "the hash belongs to another",
            Self::Shard => "no replica of the shard",
            Self::Turn => "it is another's turn",
            Self::Order => "another is the first",
            Self::Cost => "others cost less",
            Self::Rare => "one of many",
            Self::Labels => "not of the labels asked for",
            Self::Subset => "not in this process's subset",
            Self::Distance => "too far away",
        }
    }
}
