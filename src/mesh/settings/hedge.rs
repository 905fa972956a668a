//! The settings of hedging, and the wait that they come to now.

use super::{Layers, text, time};
use crate::{
    config::{Hedge, Policy},
    mesh::describe::Setting,
    resilience::hedge::Hedging,
};

/// Nothing but that it is off, where nobody speaks of it.
pub(super) fn of(policy: &Layers<'_, Policy>, hedging: Option<(&Hedging, u64)>) -> Vec<Setting> {
    let mut hedge = policy.within(|policy| policy.hedge.as_ref());
    if hedge.code.is_some() {
        // The nearer one replaces the farther one as a whole.
        hedge.plane = None;
    }
    let Some(said) = hedge.code.or(hedge.plane) else {
        return vec![hedge.setting("hedge", "off", |_| None)];
    };
    let codes = |hedge: &Hedge| {
        let codes: Vec<_> = hedge.non_fatal_grpc.iter().map(ToString::to_string).collect();
        (!codes.is_empty()).then(|| codes.join(", "))
    };
    let wait = hedging.map_or_else(|| "off".to_owned(), |(hedging, now)| hedging.told(now));
    vec![
        hedge.setting("hedge.max_extra_percent", "none", |h| text(h.max_extra_percent)),
        hedge.setting("hedge.delay", "by percentile", |h| h.delay.map(time)),
        hedge.setting("hedge.max_attempts", &said.attempts().to_string(), |h| text(h.max_attempts)),
        hedge.setting("hedge.non_fatal_grpc", "what is retried", codes),
        hedge.setting("hedge.initial_attempts", "1", |h| text(h.initial_attempts)),
        hedge.setting("hedge.additional_percent", "0", |h| text(h.additional_percent)),
        hedge.setting("hedge.on_attempt_timeout", "false", |h| text(h.on_attempt_timeout)),
        // What it does now is nobody's word.
        hedge.setting("hedge.now", &wait, |_| None),
    ]
}
