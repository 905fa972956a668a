//! Checks of policies that need no hash and no reports.

use super::Checker;
use crate::config::LeastRequest;

impl Checker {
    pub(super) fn least_request(&mut self, settings: &LeastRequest) {
        let LeastRequest { choices, active_bias, full_scan: _ } = settings;
        if let Some(choices) = choices.filter(|choices| *choices < 2) {
            self.refuse("choices", choices, "must be at least 2");
        }
        self.number("active_bias", *active_bias, 0.0..=100.0);
    }
}
