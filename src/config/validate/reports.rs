//! Checks of the policies that follow load reports.

use std::{fmt::Display, ops::RangeInclusive};

use super::Checker;
use crate::config::{ClientWeighted, Prequal};

/// What stands where load reports are not compiled in.
const WITHOUT_ORCA: &str =
    "needs load reports, which are not compiled in: turn on the feature `orca`";

impl Checker {
    pub(super) fn needs_orca(&mut self, policy: &str) {
        if !cfg!(feature = "orca") {
            self.refuse(policy, "chosen", WITHOUT_ORCA);
        }
    }

    pub(super) fn weighted(&mut self, weighted: &ClientWeighted) {
        let ClientWeighted {
            blackout,
            expiration,
            update,
            out_of_band: _,
            out_of_band_period,
            error_penalty,
            metrics,
        } = weighted;
        // Without a blackout a weight counts at once.
        self.time("blackout", blackout.filter(|blackout| !blackout.is_zero()));
        self.time("expiration", *expiration);
        self.time("update", update.filter(|update| !update.is_zero()));
        self.time("out_of_band_period", *out_of_band_period);
        self.number("error_penalty", *error_penalty, 0.0..=1000.0);
        for (index, name) in metrics.iter().enumerate() {
            if !is_utilization(name) {
                let reason = "must be `named_metrics.KEY`, `utilization.KEY`, `mem_utilization`, \
                              `cpu_utilization` or `application_utilization`";
                self.refuse(&format!("metrics[{index}]"), name, reason);
            }
        }
    }

    pub(super) fn prequal(&mut self, prequal: &Prequal) {
        let Prequal {
            pool_size,
            max_age,
            probe_rate,
            remove_rate,
            delta,
            hot_quantile,
            probe_timeout,
            probe_path,
        } = prequal;
        self.number("pool_size", *pool_size, 2..=64);
        self.time("max_age", *max_age);
        self.number("probe_rate", *probe_rate, 0.0..=16.0);
        self.time("probe_timeout", *probe_timeout);
        if let Some(path) = probe_path
            && (!path.starts_with('/') || http::uri::PathAndQuery::try_from(path.as_str()).is_err())
        {
            self.refuse("probe_path", path, "must be a path from `/` on, perhaps with a query");
        }
        self.number("remove_rate", *remove_rate, 0.0..=16.0);
        self.number("delta", *delta, 0.0..=1000.0);
        self.number("hot_quantile", *hot_quantile, 0.0..=1.0);
    }

    pub(super) fn number<T: Copy + Display + PartialOrd + std::fmt::Debug>(
        &mut self,
        field: &str,
        value: Option<T>,
        range: RangeInclusive<T>,
    ) {
        if let Some(value) = value.filter(|value| !range.contains(value)) {
            self.refuse(field, value, format!("must be in {range:?}"));
        }
    }
}

/// Whether a metric of this name may stand for utilisation.
//= gRFC A114 §"Weight Calculation Logic"; Envoy knows `utilization.` besides
fn is_utilization(name: &str) -> bool {
    let keyed = ["named_metrics.", "utilization."];
    matches!(name, "application_utilization" | "cpu_utilization" | "mem_utilization")
        || keyed.iter().any(|map| name.strip_prefix(map).is_some_and(|key| !key.is_empty()))
}
