//! Turns by weights that follow from load reports (gRFC A58): when they are computed, and what they are.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed};

use super::{
    endpoint::{Endpoint, Environment, Live, Upstream},
    report::{Metric, Report, Rules, Scale, Unusable},
    set::Set,
    sink::Told,
};
use crate::{
    config,
    core::{Weighed, nanos},
};

/// The weights of a cluster, and when they are computed.
#[derive(Debug)]
pub(super) struct Weighted {
    rules: Rules,
    /// How often. Nanoseconds.
    period: u64,
    /// How often reports are asked for beside the traffic, if they are. Nanoseconds.
    pub(super) out_of_band: Option<u64>,
    computed: AtomicU64,
    /// A report has come since.
    told: AtomicBool,
    /// The turns of an endpoint without a weight; 0: all are equal.
    mean: AtomicU16,
}

impl Weighted {
    pub(super) fn new(config: &config::ClientWeighted) -> Self {
        let metrics = config.metrics.iter().filter_map(|name| Metric::parse(name));
        Self {
            rules: Rules {
                blackout: nanos(config.blackout()),
                expiration: nanos(config.expiration()),
                penalty: config.error_penalty(),
                metrics: metrics.collect(),
            },
            period: nanos(config.update()),
            out_of_band: config.is_out_of_band().then(|| nanos(config.out_of_band_period())),
            computed: AtomicU64::new(0),
            told: AtomicBool::new(false),
            mean: AtomicU16::new(0),
        }
    }

    pub(super) fn report<X: Upstream>(
        &self,
        live: &Live<X>,
        told: &Told,
        now: u64,
        report: &Report,
    ) {
        if let Some(weight) = self.rules.weight(report) {
            told.since_return(live.extra.returns()).report(now, weight);
            self.told.store(true, Relaxed);
        }
    }

    /// Whether all take turns alike.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.mean.load(Relaxed) == 0
    }

    /// The turns of an endpoint against 65535.
    #[inline]
    pub(super) fn turns<X>(&self, endpoint: &Endpoint<X>) -> u16 {
        let turns = match endpoint.live().map_or(0, |live| live.turns.load(Relaxed)) {
            0 => self.mean.load(Relaxed),
            turns => turns,
        };
        // 0 only while the weights go: then anybody may have the turn.
        if turns == 0 { u16::MAX } else { turns }
    }

    /// Computes the weights anew, once a period at most, and tells what they are. While calls are made it
    /// is asked again; while none are, no weight is needed.
    pub(super) fn keep<X: Upstream>(
        &self,
        now: u64,
        set: &Set<X>,
        context: &X::Context,
    ) -> Option<u64> {
        let due = self.computed.load(Relaxed).saturating_add(self.period);
        if now < due && self.computed.load(Relaxed) > 0 {
            return Some(due);
        }
        self.computed.store(now.max(1), Relaxed);
        let told = self.told.swap(false, Relaxed);
        let weighed = self.weigh(now, set);
        if !weighed.weights.is_empty() {
            context.weighed(&weighed);
        }
        told.then(|| now.saturating_add(self.period))
    }

    /// Each weight is asked for once: turns and counts are of the same.
    fn weigh<X: Upstream>(&self, now: u64, set: &Set<X>) -> Weighed {
        let mut weighed = Weighed::default();
        for endpoint in set.iter() {
            let weight = self.weight(now, endpoint).unwrap_or_else(|why| {
                match why {
                    Unusable::NotYet => weighed.not_yet_usable += 1,
                    Unusable::Stale => weighed.stale += 1,
                }
                0.0
            });
            weighed.weights.push(weight);
        }
        let known = |weight: f64| (weight > 0.0).then_some(weight);
        match Scale::of(weighed.weights.iter().copied().filter_map(known)) {
            None => {
                weighed.is_fallback = true;
                self.mean.store(0, Relaxed);
            }
            Some(scale) => {
                for (endpoint, weight) in set.iter().zip(&weighed.weights) {
                    if let Some(live) = endpoint.live() {
                        let turns = known(*weight).map_or(0, |weight| scale.turns(Some(weight)));
                        live.turns.store(turns, Relaxed);
                    }
                }
                self.mean.store(scale.mean, Relaxed);
            }
        }
        weighed
    }

    /// That of an endpoint as it counts now. One that was never called has not reported.
    fn weight<X: Upstream>(&self, now: u64, endpoint: &Endpoint<X>) -> Result<f64, Unusable> {
        let live = endpoint.live().ok_or(Unusable::NotYet)?;
        let told = live.told.get().ok_or(Unusable::NotYet)?;
        told.since_return(live.extra.returns()).get(now, &self.rules)
    }
}
