//! What a subject's upstream does to requests.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering::Relaxed},
};

/// Shared by every connection, or every service, of one subject.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script(Arc<AtomicU8>);

/// What is done to one request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Told {
    Answer,
    /// It is answered with 503.
    Fail,
    Silence,
}

const ANSWER: u8 = 0;
const FAIL_ONCE: u8 = 1;
const SILENCE: u8 = 2;
const FAIL: u8 = 3;

impl Script {
    /// Answers the next request with 503.
    pub(crate) fn fail_once(&self) {
        self.0.store(FAIL_ONCE, Relaxed);
    }

    /// Answers every request with 503 from now on.
    pub(crate) fn fail(&self) {
        self.0.store(FAIL, Relaxed);
    }

    /// Never answers again.
    pub(crate) fn silence(&self) {
        self.0.store(SILENCE, Relaxed);
    }

    /// Whether the failure that was asked for has been delivered.
    pub(crate) fn is_plain(&self) -> bool {
        self.0.load(Relaxed) == ANSWER
    }

    pub(crate) fn next(&self) -> Told {
        match self.0.load(Relaxed) {
            ANSWER => Told::Answer,
            FAIL_ONCE => {
                self.0.store(ANSWER, Relaxed);
                Told::Fail
            }
            FAIL => Told::Fail,
            _ => Told::Silence,
        }
    }
}
