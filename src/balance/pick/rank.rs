//! How well an endpoint may be called.

use crate::{
    balance::endpoint::{Endpoint, Upstream},
    config::Health,
};

/// How well an endpoint may be called; the better rank wins before any load is compared.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(in crate::balance) enum Rank {
    Good,
    /// It is well, and takes a part of its calls alone, of which this one is none.
    Young,
    /// It works, and others are better, by its source's word.
    Degraded,
    /// It works, and is in a locality or a priority that this call is to leave, or is one that it avoids.
    Left,
    /// Failing lately, or unhealthy by its source's word.
    Suspect,
    /// It could not be connected to, and the back-off lasts.
    Unavailable,
    /// Its failures, or its checks, have taken it out of use.
    Ejected,
    /// This call has met it already.
    Tried,
    /// It takes no new calls.
    Never,
}

/// How an endpoint stands, whoever asks.
pub(in crate::balance) fn standing<X: Upstream>(endpoint: &Endpoint<X>, now: u64) -> Rank {
    let said = match endpoint.spec().health() {
        Health::Draining => return Rank::Never,
        Health::Unhealthy => Rank::Suspect,
        Health::Degraded => Rank::Degraded,
        Health::Unknown | Health::Healthy => Rank::Good,
    };
    let Some(live) = endpoint.live() else {
        return if endpoint.is_unchecked() { said.max(Rank::Suspect) } else { said };
    };
    let state = &live.load.state;
    if state.is_leaving() {
        Rank::Never
    } else if state.is_ejected() || state.is_unfit() {
        Rank::Ejected
    } else if !live.extra.available(now) {
        Rank::Unavailable
    } else if state.is_suspect() || state.is_doubted() {
        Rank::Suspect
    } else {
        said
    }
}

/// Whether an endpoint is known to be bad, by what is said or seen of its health.
pub(in crate::balance) fn is_bad<X: Upstream>(endpoint: &Endpoint<X>, now: u64) -> bool {
    matches!(standing(endpoint, now), Rank::Suspect | Rank::Ejected)
}

/// Whether it takes calls, but for an ejection: neither its source nor its checks speak against it, and
/// nothing is known that keeps it from being connected to. How it answers is not asked.
pub(in crate::balance) fn is_ready<X: Upstream>(endpoint: &Endpoint<X>, now: u64) -> bool {
    if matches!(endpoint.spec().health(), Health::Draining | Health::Unhealthy) {
        return false;
    }
    let Some(live) = endpoint.live() else { return !endpoint.is_unchecked() };
    let state = &live.load.state;
    let is_out = state.is_leaving() || state.is_unfit() || state.is_doubted();
    !is_out && live.extra.available(now) && !live.extra.is_failing()
}

/// Whether a connection may be made to it, or is there.
pub(super) fn is_available<X: Upstream>(endpoint: &Endpoint<X>, now: u64) -> bool {
    endpoint.extra().is_none_or(|extra| extra.available(now))
}

/// Whether its next call is a trial.
pub(in crate::balance) fn is_failing<X: Upstream>(endpoint: &Endpoint<X>) -> bool {
    endpoint.extra().is_some_and(Upstream::is_failing)
}
