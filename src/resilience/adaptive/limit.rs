//! The limit in use: places under it, who gets them, and what a refusal says.

use std::sync::Arc;

use http::StatusCode;

use super::decision::{Adaptive, End};
use crate::{
    config::{self, Criticality},
    core::{Error, ErrorKind, Held, Phase, Random, Refusal},
    resilience::{
        limit::{Full, Limiter},
        outcome::Outcome,
        protect::Protect,
    },
};

/// A limit that follows the latency, with its places.
#[derive(Debug)]
pub(crate) struct Limit {
    adaptive: Adaptive,
    places: Arc<Limiter>,
    status: Option<StatusCode>,
    /// For jitter alone.
    random: Random,
}

// === impl Limit ===

impl Limit {
    pub(crate) fn new(config: &config::AdaptiveConcurrency, now: u64, random: Random) -> Self {
        let adaptive = Adaptive::new(config, now, &random);
        Self {
            places: Arc::new(Limiter::new(adaptive.limit())),
            adaptive,
            status: config.status.and_then(|status| StatusCode::from_u16(status).ok()),
            random,
        }
    }
}

impl Protect for Limit {
    fn enter(&self, now: u64, criticality: Criticality, _: &Random) -> Result<Held, Error> {
        let limit = self.adaptive.limit();
        Limiter::hold_under(&self.places, limit, criticality, now).map_err(|full| {
            let error = Error::new(ErrorKind::Overloaded, Phase::Admission)
                .detail(format!("{} (`adaptive_concurrency`)", told(full)))
                .refused(full.refusal(Refusal::AdaptiveConcurrency));
            match self.status {
                Some(status) => error.with_status(status),
                None => error,
            }
        })
    }

    fn ended(&self, span: (u64, u64), now: u64, outcome: Outcome) {
        self.adaptive.ended(End::of(outcome), span, now, self.places.taken(), &self.random);
    }

    fn left(&self, began: u64, now: u64) {
        self.adaptive.left(began, now, self.places.taken(), &self.random);
    }

    fn foretell(&self, now: u64, criticality: Criticality) -> Option<String> {
        self.places.would_refuse(self.adaptive.limit(), criticality, now).map(told)
    }

    fn level(&self) -> Option<(u32, u32)> {
        Some((self.adaptive.limit(), self.places.taken()))
    }
}

fn told(full: Full) -> String {
    let Full { limit, most, is_shed } = full;
    if is_shed {
        format!("of {limit} calls in flight, {most} are for its criticality")
    } else {
        format!("{limit} calls in flight are what the service bears now")
    }
}

impl End {
    /// What an answer or a failure says of the load.
    pub(super) fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Failed | Outcome::Status(429 | 503) | Outcome::Grpc(4 | 8 | 14) => {
                Self::Dropped
            }
            // A fault ends faster than the work.
            Outcome::Status(500..) | Outcome::Grpc(2 | 10 | 13 | 15) | Outcome::Local => {
                Self::Ignored
            }
            Outcome::Status(_) | Outcome::Grpc(_) => Self::Answered,
        }
    }
}
