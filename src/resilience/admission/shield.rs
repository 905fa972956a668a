//! Admission control in use: what an answer says, and what a refusal says.

use super::decision::Admission;
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
    admission: Admission,
    succeeded: Named,
}

// === impl Shield ===

impl Shield {
    pub(crate) fn new(config: &config::AdmissionControl) -> Self {
        let config::AdmissionControl { success_statuses, success_grpc, .. } = config;
        let succeeded = Named::new(
            success_statuses.as_deref(),
            &[(100, 500)],
            success_grpc.as_deref(),
            &[0, 1, 2, 3, 5, 6, 7, 9, 11, 12, 16],
        );
        Self { admission: Admission::new(config), succeeded }
    }
}

impl Protect for Shield {
    fn enter(&self, now: u64, criticality: Criticality, random: &Random) -> Result<Held, Error> {
        match self.admission.enter(now, criticality, random) {
            Ok(()) => Ok(Held::Nothing),
            Err(share) => Err(Error::new(ErrorKind::Overloaded, Phase::Admission)
                .detail(format!(
                    "so few calls succeed that {:.0} % of these are not sent (`admission_control`)",
                    share * 100.0
                ))
                .refused(Refusal::AdmissionControl)),
        }
    }

    fn ended(&self, _: (u64, u64), now: u64, outcome: Outcome) {
        if outcome != Outcome::Local {
            self.admission.ended(now, self.succeeded.has(outcome) == Some(true));
        }
    }

    fn left(&self, _: u64, _: u64) {}

    fn foretell(&self, now: u64, criticality: Criticality) -> Option<String> {
        let share = self.admission.share(now, criticality);
        (share > 0.0).then(|| format!("{:.0} % of these calls are not sent", share * 100.0))
    }
}
