//! What to ask DNS next, when, and what the answers come to; without I/O.
//!
//! A name is resolved in rounds. A round asks what is due and nothing else: the name in its search
//! domains until one has records, for SRV the targets of all priorities at once. Each answer is relied
//! on for its own TTL. A round ends with the endpoints that its answers come to, and the moment of
//! the next.
//!
//! - A question that fails keeps its last good answer for the stale limit, and is asked again
//!   after a back-off.
//! - An answer that leaves no endpoint at all is not believed before the stale limit; one that
//!   leaves some is.
//! - The search domain that has records is asked alone for as long as they are kept: no denial makes
//!   another's records take their place before the stale limit.
//! - A failed connection asks ahead of time, but not what has failed or was denied; and for as long
//!   as that changes no endpoint, each time after twice the wait, from 1 s to 60 s.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use super::{
    answer::{self, Answer, Question},
    endpoints::Pairs,
    timing::{LONGEST, SHORTEST, Timing},
    walk::{Known, Trouble},
};
use crate::{
    config::{DnsDiscovery, DnsFamily, DnsKind, Endpoint},
    core::{Instant, earliest},
};

/// Reasons that are told of a round.
const MAX_REASONS: usize = 3;

/// One name on its way to endpoints.
pub(crate) struct Machine {
    pub(super) plan: Plan,
    timing: Timing,
    pub(super) known: BTreeMap<Question, Known>,
    /// The name that has records, among those that the name may stand for.
    pub(super) found: Option<usize>,
    pub(super) round: Round,
    haste: Haste,
    pairs: Pairs,
    /// What was published; nothing before the first time.
    pub(super) set: Option<Vec<Endpoint>>,
    /// The set is one of earlier settings: whatever is said now replaces it.
    inherited: bool,
    /// Until when a set is kept that no answer confirms.
    pub(super) kept_until: Option<Instant>,
    last_good: Option<Instant>,
}

/// Endpoints that are there when a name begins to be asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inherited {
    /// Until when they are kept while no answer comes.
    pub(crate) until: Instant,
    /// They are of other settings: whatever is said replaces them. Else they are a last good answer.
    pub(crate) of_others: bool,
}

/// What is to be resolved.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) names: Vec<Arc<str>>,
    pub(super) kind: DnsKind,
    pub(super) family: DnsFamily,
    pub(super) port: u16,
}

/// One round of questions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub(super) number: u64,
    began: Option<Instant>,
    /// Every good answer is asked for again, whatever its TTL.
    pub(super) forced: bool,
    /// One for all waits of a round, so that what was said together is asked together.
    ratio: f64,
}

/// Rounds that failed connections ask for ahead of time.
#[derive(Clone, Copy, Debug)]
struct Haste {
    /// When the last of them began.
    last: Option<Instant>,
    /// The shortest time until the next.
    wait: Duration,
}

/// What a round comes to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The round is over; else these are the endpoints that its first answers gave.
    pub(crate) is_over: bool,
    /// The new set, if it is another.
    pub(crate) endpoints: Option<Vec<Endpoint>>,
    /// Why it is not, or not all of it, what DNS says now.
    pub(crate) failure: Option<String>,
    /// The name was answered and has endpoints: the failure, if there is one, is that of a part.
    pub(crate) is_partial: bool,
    /// When the last good answer was given.
    pub(crate) last_good: Option<Instant>,
    /// The next round.
    pub(crate) wake: Option<Instant>,
    /// What is to be told of the system's settings, empty for none.
    pub(crate) note: Option<String>,
}

// === impl Machine ===

impl Machine {
    pub(super) fn new(plan: Plan, dns: &DnsDiscovery, inherited: Option<Inherited>) -> Self {
        Self {
            plan,
            timing: Timing::new(dns),
            known: BTreeMap::new(),
            found: None,
            round: Round { number: 0, began: None, forced: false, ratio: 0.0 },
            haste: Haste { last: None, wait: SHORTEST },
            pairs: Pairs::new(),
            set: None,
            inherited: inherited.is_some_and(|it| it.of_others),
            kept_until: inherited.map(|it| it.until),
            last_good: None,
        }
    }

    /// Begins a round; `ratio` is its share of the jitter.
    pub(super) fn begin(&mut self, now: Instant, ratio: f64, forced: bool) {
        self.round = Round { number: self.round.number + 1, began: Some(now), forced, ratio };
        if forced {
            if self.haste.is_forgotten(now) {
                self.haste.wait = SHORTEST;
            }
            self.haste.last = Some(now);
        }
    }

    /// What to ask now; nothing when the round is over.
    pub(super) fn need(&self, now: Instant) -> Vec<Question> {
        // What is not all known yet pairs nothing.
        self.walk(now, &mut Pairs::new()).need
    }

    /// Notes an answer.
    pub(super) fn answered(&mut self, question: Question, answer: Answer, now: Instant) {
        let Round { number, ratio, .. } = self.round;
        let said = match answer {
            Answer::Message { answers, additionals } => {
                let found = answer::read(&question, &answers, &additionals);
                found.ok_or((Trouble::Nothing { exists: true }, None))
            }
            Answer::Nothing { exists, ttl } => Err((Trouble::Nothing { exists }, ttl)),
            Answer::Failed(reason) => Err((Trouble::Failed(reason), None)),
        };
        let known = self.known.entry(question).or_insert_with(|| Known::new(now));
        known.round = number;
        known.asked = now;
        let wait = match said {
            Ok(found) => {
                let wait = self.timing.after(found.ttl, ratio);
                known.kept_until = later(now, wait.saturating_add(self.timing.stale));
                known.found = Some(found);
                known.at = now;
                known.trouble = None;
                known.failures = 0;
                wait
            }
            Err((trouble, ttl)) => {
                if matches!(trouble, Trouble::Nothing { .. }) {
                    known.found = None;
                }
                known.trouble = Some(trouble);
                if let Some(ttl) = ttl {
                    //= RFC 2308 §5: a negative answer is kept for the TTL that its SOA says
                    known.failures = 0;
                    self.timing.after(ttl, ratio)
                } else {
                    known.failures = known.failures.saturating_add(1);
                    self.timing.after_failures(known.failures, ratio)
                }
            }
        };
        known.next = later(now, wait);
    }

    /// The endpoints that the answers so far come to, if there are none yet and now are some.
    pub(super) fn preview(&mut self, now: Instant) -> Option<Vec<Endpoint>> {
        if !self.is_silent() {
            return None;
        }
        let mut pairs = Pairs::new();
        let walk = self.walk(now, &mut pairs);
        let (_, kept_until) = walk.good?;
        if walk.endpoints.is_empty() {
            return None;
        }
        self.pairs = pairs;
        self.inherited = false;
        self.kept_until = Some(kept_until);
        self.set = Some(walk.endpoints.clone());
        Some(walk.endpoints)
    }

    /// Ends the round.
    pub(super) fn finish(&mut self, now: Instant) -> Outcome {
        let mut pairs = std::mem::take(&mut self.pairs);
        let walk = self.walk(now, &mut pairs);
        self.pairs = pairs;
        let was_forced = std::mem::take(&mut self.round.forced);
        let mut failure = (!walk.failures.is_empty()).then(|| summary(&walk.failures));
        let is_partial = walk.is_answered && !walk.endpoints.is_empty();
        // Something came due while the others were waited for.
        let mut wake = if walk.need.is_empty() { walk.next } else { Some(now) };
        let endpoints = if walk.endpoints.is_empty() {
            let denied = walk.failures.is_empty();
            if denied {
                failure = Some(summary(&walk.denied));
            }
            let holds = self.kept_until.is_some_and(|until| now < until);
            if holds && !(denied && self.inherited) {
                wake = earliest(wake, self.kept_until);
                None
            } else {
                self.pairs.clear();
                self.kept_until = None;
                self.inherited = false;
                self.replace(Vec::new())
            }
        } else {
            self.inherited = false;
            if let Some((at, until)) = walk.good {
                self.last_good = Some(at);
                self.kept_until = Some(until);
            }
            self.replace(walk.endpoints)
        };
        if endpoints.is_some() {
            self.haste.wait = SHORTEST;
        } else if was_forced {
            self.haste.wait = self.haste.wait.saturating_mul(2).min(LONGEST);
        }
        // While its records are kept, so is the name that had them.
        self.found = walk.found.or_else(|| self.kept_until.and(self.found));
        // What the name does not lead to any more is forgotten.
        self.known.retain(|question, _| walk.used.contains(question));
        let last_good = self.last_good;
        Outcome { is_over: true, endpoints, failure, is_partial, last_good, wake, note: None }
    }

    /// An endpoint could not be connected to: when to ask ahead of time, if at all.
    pub(super) fn unreachable(&self, now: Instant) -> Option<Instant> {
        let began = self.round.began?;
        let mut at = later(began, SHORTEST).max(now);
        if let Some(last) = self.haste.last.filter(|_| !self.haste.is_forgotten(now)) {
            at = at.max(later(last, self.haste.wait));
        }
        (!self.plan.names.is_empty()).then_some(at)
    }

    /// Whether no endpoint was published.
    pub(super) fn is_silent(&self) -> bool {
        self.set.as_ref().is_none_or(Vec::is_empty)
    }

    fn replace(&mut self, set: Vec<Endpoint>) -> Option<Vec<Endpoint>> {
        if self.set.as_ref() == Some(&set) {
            return None;
        }
        self.set = Some(set.clone());
        Some(set)
    }
}

// === impl Haste ===

impl Haste {
    /// Whether no connection failed for long: what comes now is another outage.
    fn is_forgotten(&self, now: Instant) -> bool {
        self.last.is_none_or(|last| now >= later(last, self.wait.saturating_add(LONGEST)))
    }
}

// === impl Plan ===

impl Plan {
    /// The one endpoint of a name that is an address.
    pub(super) fn literal(address: IpAddr, port: u16) -> Endpoint {
        SocketAddr::from((address, port)).into()
    }
}

/// The first reasons, and how many more there are: every failing call repeats them.
pub(super) fn summary(reasons: &[String]) -> String {
    let told = reasons.get(..MAX_REASONS).unwrap_or(reasons);
    let mut text = told.join("; ");
    if told.len() < reasons.len() {
        text += &format!("; and {} more", reasons.len() - told.len());
    }
    text
}

fn later(now: Instant, wait: Duration) -> Instant {
    // A year is as good as never.
    now.checked_add(wait).unwrap_or(now + Duration::from_secs(86_400 * 365))
}
