//! Checks of faults.

use super::{Checker, is_time};
use crate::config::{ConfigErrors, Fault, FaultAbort, FaultDelay, FaultRate};

/// What a response is throttled to at least. Unit: bytes per second. Source: xDS `limit_kbps`.
const SLOWEST: u64 = 1024;

impl Checker {
    pub(super) fn fault(&mut self, fault: &Fault) {
        let Fault {
            delay,
            abort,
            response_rate,
            // None at all is a number, too: it turns the fault off.
            max_active: _,
            headers,
            cluster,
            callers,
            per_attempt: _,
        } = fault;
        if delay.is_none() && abort.is_none() && response_rate.is_none() {
            self.refuse("", "{}", "must say `delay`, `abort` or `response_rate`");
        }
        if let Some(delay) = delay {
            self.within("delay", |checker| checker.fault_delay(delay));
        }
        if let Some(abort) = abort {
            self.within("abort", |checker| checker.fault_abort(abort));
        }
        if let Some(rate) = response_rate {
            self.within("response_rate", |checker| checker.fault_rate(rate));
        }
        self.each("headers", headers, Self::header);
        if cluster.as_deref() == Some("") {
            self.refuse("cluster", "\"\"", "must not be empty");
        }
        if callers.iter().any(String::is_empty) {
            self.refuse("callers", "\"\"", "a node has a name");
        }
    }

    fn fault_delay(&mut self, delay: &FaultDelay) {
        let FaultDelay { fixed, from_header, percent } = delay;
        if let Some(fixed) = fixed.filter(|fixed| !is_time(*fixed)) {
            self.refuse("fixed", format!("{fixed:?}"), crate::config::NO_TIME);
        }
        self.one_of("fixed", fixed.is_some(), *from_header);
        self.fault_share(*percent);
    }

    fn fault_abort(&mut self, abort: &FaultAbort) {
        let FaultAbort { status, grpc, message, from_header, percent } = abort;
        if let Some(status) = status.filter(|status| !(200..=599).contains(status)) {
            self.refuse("status", status, "must be in 200..=599");
        }
        if let Some(code) = grpc.filter(|code| !(0..=16).contains(code)) {
            self.refuse("grpc", code, "must be in 0..=16");
        }
        self.one_of("status` or `grpc", status.is_some() || grpc.is_some(), *from_header);
        if message.as_deref() == Some("") {
            self.refuse("message", "\"\"", "must not be empty");
        }
        self.fault_share(*percent);
    }

    fn fault_rate(&mut self, rate: &FaultRate) {
        let FaultRate { bytes_per_second, from_header, percent } = rate;
        if let Some(rate) = bytes_per_second.filter(|rate| *rate < SLOWEST) {
            self.refuse("bytes_per_second", rate, format!("must be at least {SLOWEST}"));
        }
        self.one_of("bytes_per_second", bytes_per_second.is_some(), *from_header);
        self.fault_share(*percent);
    }

    /// A fault says what it does, or leaves it to a header: not both.
    fn one_of(&mut self, field: &str, is_said: bool, from_header: bool) {
        match (is_said, from_header) {
            (false, false) => self.refuse("", "{}", format!("must say `{field}` or `from_header`")),
            (true, true) => {
                self.refuse("from_header", "true", format!("cannot be beside `{field}`"));
            }
            _ => {}
        }
    }

    fn fault_share(&mut self, percent: Option<f64>) {
        if let Some(percent) = percent.filter(|percent| !(0.0..=100.0).contains(percent)) {
            self.refuse("percent", percent, "must be in 0..=100");
        }
    }
}

impl Fault {
    /// Checks every field; `path` says where it stands.
    pub(crate) fn validate(&self, path: &str) -> Result<(), ConfigErrors> {
        let mut checker = Checker::new(path);
        checker.fault(self);
        checker.done()
    }
}
