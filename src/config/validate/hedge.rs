//! Checks of hedging.

use super::{Checker, NO_TIME, is_time};
use crate::config::{ConfigErrors, Hedge, hedge::MOST};

impl Hedge {
    /// Checks it alone, for the layer that is made of it.
    pub(crate) fn validate(&self, path: &str) -> Result<(), ConfigErrors> {
        let mut checker = Checker::new(path);
        checker.hedge(self);
        if self.on_attempt_timeout == Some(true) {
            let reason = "a layer has no attempt timeout that an attempt could outlive";
            checker.refuse("on_attempt_timeout", true, reason);
        }
        checker.done()
    }
}

impl Checker {
    pub(super) fn hedge(&mut self, hedge: &Hedge) {
        let Hedge {
            max_extra_percent,
            delay,
            max_attempts,
            non_fatal_grpc,
            initial_attempts,
            additional_percent,
            on_attempt_timeout: _,
        } = hedge;
        for (field, percent) in
            [("max_extra_percent", max_extra_percent), ("additional_percent", additional_percent)]
        {
            if let Some(percent) = percent.filter(|percent| !(0.0..=100.0).contains(percent)) {
                self.refuse(field, percent, "must be in 0..=100");
            }
        }
        // All at once is a delay, too.
        if let Some(delay) = delay.filter(|delay| !delay.is_zero() && !is_time(*delay)) {
            self.refuse("delay", format!("{delay:?}"), NO_TIME);
        }
        if let Some(attempts) = max_attempts.filter(|attempts| !(2..=MOST).contains(attempts)) {
            self.refuse("max_attempts", attempts, "must be in 2..=5");
        }
        for code in non_fatal_grpc {
            if !(1..=16).contains(code) {
                self.refuse("non_fatal_grpc", code, "must be in 1..=16");
            }
        }
        match (*initial_attempts, *max_attempts) {
            (Some(initial), _) if !(1..=MOST).contains(&initial) => {
                self.refuse("initial_attempts", initial, "must be in 1..=5");
            }
            (Some(initial), Some(most)) if initial > most => {
                let reason = format!("must be at most max_attempts ({most})");
                self.refuse("initial_attempts", initial, reason);
            }
            _ => {}
        }
        if !hedge.says_when() {
            self.refuse(
                "",
                "hedge",
                "must say when: max_extra_percent, delay, initial_attempts over 1, \
                 additional_percent or on_attempt_timeout",
            );
        }
    }
}
