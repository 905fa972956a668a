//! What attempts on a cluster pass before the pick, beside its one limit: the limit of calls of high
//! priority, drops, and the queue. Most clusters have none of it.

use std::sync::Arc;

use crate::{
    config::{self, CallPriority},
    observe::ClusterMeter,
    resilience::{
        drops::Drops,
        limit::{Limiter, Name, What},
        queue::Queue,
    },
};

/// The counts in it live as long as what they count is asked for; those of drops as long as the cluster.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Attempts in flight of calls of high priority.
    pub(crate) high: Option<Arc<Limiter>>,
    pub(crate) drops: Drops,
    pub(crate) queue: Option<Arc<Queue>>,
}

impl Gate {
    /// What a cluster asks for; what `kept` has counted goes on.
    pub(crate) fn of(
        config: &config::Cluster,
        meter: &ClusterMeter,
        kept: Option<&Arc<Self>>,
    ) -> Option<Arc<Self>> {
        let breakers = config.breakers.as_ref();
        // A share of what is in flight needs the count, too.
        let counted = |high: &config::Thresholds| high.retry_budget.as_ref().map(|_| u32::MAX);
        let most = breakers.and_then(|breakers| breakers.high.as_ref());
        let most = most.and_then(|high| high.max_requests.or_else(|| counted(high)));
        let high = most.map(|most| {
            let name = breakers.and_then(|breakers| breakers.shared.as_deref());
            let name = Name::of(name, What::Requests, CallPriority::High);
            Limiter::named(kept.and_then(|it| it.high.as_ref()), name, most)
        });
        let queue = config.queue.as_ref();
        let queue = queue.map(|it| Queue::resized(kept.and_then(|kept| kept.queue.as_ref()), it));
        let drops = if config.drops.is_empty() {
            Drops::default()
        } else {
            let mut counts = meter.drops();
            let drops = Drops::new(&config.drops, |category| counts.of(category));
            counts.tidy();
            drops
        };
        let is_there = high.is_some() || queue.is_some() || !drops.is_empty();
        is_there.then(|| Arc::new(Self { high, drops, queue }))
    }

    /// The limit of attempts in flight of this priority.
    pub(crate) fn limiter<'a>(
        gate: Option<&'a Self>,
        usual: Option<&'a Arc<Limiter>>,
        priority: CallPriority,
    ) -> Option<&'a Arc<Limiter>> {
        match priority {
            CallPriority::Default => usual,
            CallPriority::High => gate.and_then(|gate| gate.high.as_ref()),
        }
    }
}
