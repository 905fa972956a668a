//! How a policy chooses, in words.

use std::time::Duration;

use crate::balance::{policy::Policy, view::View};

/// How the policy of a view chooses among the endpoints of a group.
#[cfg_attr(not(feature = "orca"), expect(unused_variables, reason = "reports have an age"))]
pub(super) fn rule<X>(view: &View<X>, now: u64) -> String {
    let set = &view.all.set;
    let by_weight = if set.uniform { "" } else { ", by weight" };
    match &view.policy {
        Policy::PeakEwma { decay, .. } => format!(
            "of two at random{by_weight} the one that costs less: latency (a peak forgotten within {:?}) × \
             calls in flight / success",
            Duration::from_nanos(*decay)
        ),
        Policy::LeastRequest => {
            format!("of two at random{by_weight} the one with fewer calls in flight")
        }
        Policy::Choices(choices) => choices.rule(set.len(), set.uniform),
        Policy::First(_) => {
            "the first of an order that can be connected to, and then that one alone".to_owned()
        }
        Policy::RoundRobin => format!("one after the other{by_weight}"),
        Policy::Random => format!("any one at random{by_weight}"),
        #[cfg(feature = "orca")]
        Policy::Weighted(weighted) if weighted.is_plain() => {
            "one after the other; there are no weights from load reports yet".to_owned()
        }
        #[cfg(feature = "orca")]
        Policy::Weighted(_) => "one after the other, by weights from load reports".to_owned(),
        #[cfg(feature = "orca")]
        Policy::Prequal(prequal) => {
            let reports = prequal.pool.reports(now, &prequal.settings, set.len());
            let hot = reports.iter().filter(|report| report.hot).count();
            format!(
                "of {} load reports (of {} at most, {hot} hot) the cold one of the least latency, else the \
                 hot one of the fewest calls in flight{}",
                reports.len(),
                prequal.settings.pool_size,
                if reports.len() < 2 { "; of fewer than two: as peak_ewma" } else { "" }
            )
        }
        Policy::Hashed(kind) => format!(
            "the one that the hash belongs to{}",
            if kind.is_bounded() { ", while it is not full" } else { "" }
        ),
        Policy::Sharded(_) => {
            "of two replicas of the hash's shard the one with fewer calls in flight".to_owned()
        }
    }
}
