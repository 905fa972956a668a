//! The throttle in use: what an answer says, and what a refusal says.

use super::decision::{Sent, Throttle};
use crate::{
    config::{self, Criticality},
    core::{Error, ErrorKind, Held, Phase, Random, Refusal},
    resilience::{
        outcome::{Named, Outcome},
        protect::Protect,
    },
};

#[derive(Debug)]
pub(crate) struct Shield {
    throttle: Throttle,
    rejected: Named,
}

// === impl Shield ===

impl Shield {
    pub(crate) fn new(config: &config::Throttle) -> Self {
        let config::Throttle { rejected_statuses, rejected_grpc, .. } = config;
        let rejected = Named::new(
            rejected_statuses.as_deref(),
            &[(429, 430), (503, 504)],
            rejected_grpc.as_deref(),
            &[8, 14],
        );
        Self { throttle: Throttle::new(config), rejected }
    }
}

impl Protect for Shield {
    fn enter(&self, now: u64, criticality: Criticality, random: &Random) -> Result<Held, Error> {
        match self.throttle.enter(now, criticality, random) {
            Ok(_) => Ok(Held::Nothing),
            Err(share) => Err(Error::new(ErrorKind::Overloaded, Phase::Admission)
                .detail(format!(
                    "the service accepts so few that {:.0} % of these calls are not sent (`throttle`)",
                    share * 100.0
                ))
                .refused(Refusal::Throttled)),
        }
    }

    fn ended(&self, (began, _): (u64, u64), now: u64, outcome: Outcome) {
        let sent = Sent::at(began);
        match (outcome, self.rejected.has(outcome)) {
            (Outcome::Local, _) => self.throttle.withdrawn(sent, now),
            (_, is_rejected) => self.throttle.ended(sent, now, is_rejected == Some(false)),
        }
    }

    fn left(&self, began: u64, now: u64) {
        self.throttle.left(Sent::at(began), now);
    }

    fn foretell(&self, now: u64, criticality: Criticality) -> Option<String> {
        let share = self.throttle.share(now, criticality);
        (share > 0.0).then(|| format!("{:.0} % of these calls are not sent", share * 100.0))
    }
}
