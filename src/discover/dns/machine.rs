//! What to ask DNS next, when, and what the answers come to; without I/O.
//!
//! A name is resolved in rounds. A round asks what is due and nothing else: the name in its search
//! domains until one has records, for SRV the targets of the lowest priority, then of the next
//! should none of them have an address. Each answer is relied on for its own TTL. A round ends with
//! the endpoints that its answers come to, and the moment of the next.
//!
//! - A question that fails keeps its last good answer for the stale limit, and is asked again
//!   after a back-off.
//! - An answer that leaves no endpoint at all is not believed before the stale limit; one that
//!   leaves some is.
//! - The search domain that has records is asked alone for as long as it has.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use super::{
    answer::{self, Answer, Found, Kind, Question, Service},
    endpoints::{self, Pairs},
    timing::{SHORTEST, Timing},
};
use crate::{
    config::{DnsDiscovery, DnsFamily, DnsKind, Endpoint},
    core::{Instant, earliest},
};

/// Targets of SRV records whose addresses are asked for.
pub(super) const MAX_TARGETS: usize = 1024;

/// One name on its way to endpoints.
pub(crate) struct Machine {
    plan: Plan,
    timing: Timing,
    known: BTreeMap<Question, Known>,
    /// The name that has records, among those that the name may stand for.
    found: Option<usize>,
    round: Round,
    pairs: Pairs,
    /// What was published; nothing before the first time.
    set: Option<Vec<Endpoint>>,
    /// The set is one of earlier settings: whatever is said now replaces it.
    inherited: bool,
    /// Until when a set is kept that no answer confirms.
    kept_until: Option<Instant>,
    last_good: Option<Instant>,
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
struct Round {
    number: u64,
    began: Option<Instant>,
    /// Everything is asked again, whatever its TTL.
    forced: bool,
    /// One for all waits of a round, so that what was said together is asked together.
    ratio: f64,
}

/// What is known of a question.
#[derive(Debug)]
struct Known {
    /// The last good answer; none, once it was denied.
    found: Option<Found>,
    /// When it was given.
    at: Instant,
    /// What the last time came to, if not to records.
    trouble: Option<Trouble>,
    /// Until when the last good answer is kept through failures.
    kept_until: Instant,
    next: Instant,
    asked: Instant,
    failures: u32,
    round: u64,
}

#[derive(Clone, Debug)]
enum Trouble {
    Nothing { exists: bool },
    Failed(String),
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
    /// When the last good answer was given.
    pub(crate) last_good: Option<Instant>,
    /// The next round.
    pub(crate) wake: Option<Instant>,
}

/// The state of all that the name leads to, as of now.
#[derive(Default)]
struct Walk {
    need: Vec<Question>,
    used: BTreeSet<Question>,
    next: Option<Instant>,
    failures: Vec<String>,
    /// Names that were denied on the way.
    denied: Vec<String>,
    found: Option<usize>,
    endpoints: Vec<Endpoint>,
    /// When the name itself was last answered well, and until when that is kept.
    good: Option<(Instant, Instant)>,
}

// === impl Machine ===

impl Machine {
    /// `inherited` until then: endpoints of earlier settings are there.
    pub(super) fn new(plan: Plan, dns: &DnsDiscovery, inherited: Option<Instant>) -> Self {
        Self {
            plan,
            timing: Timing::new(dns),
            known: BTreeMap::new(),
            found: None,
            round: Round { number: 0, began: None, forced: false, ratio: 0.0 },
            pairs: Pairs::new(),
            set: None,
            inherited: inherited.is_some(),
            kept_until: inherited,
            last_good: None,
        }
    }

    /// Begins a round; `ratio` is its share of the jitter.
    pub(super) fn begin(&mut self, now: Instant, ratio: f64, forced: bool) {
        self.round = Round { number: self.round.number + 1, began: Some(now), forced, ratio };
    }

    /// What to ask now; nothing when the round is over.
    pub(super) fn need(&self, now: Instant) -> Vec<Question> {
        // What is not all known yet pairs nothing.
        self.walk(now, &mut Pairs::new()).need
    }

    /// Notes an answer.
    pub(super) fn answered(&mut self, question: Question, answer: Answer, now: Instant) {
        let Round { number, ratio, .. } = self.round;
        let known = self.known.entry(question.clone()).or_insert_with(|| Known::new(now));
        known.round = number;
        known.asked = now;
        let found = match answer {
            Answer::Message { answers, additionals } => {
                answer::read(&question, &answers, &additionals)
                    .ok_or(Trouble::Nothing { exists: true })
                    .map_err(|trouble| (trouble, None))
            }
            Answer::Nothing { exists, ttl } => Err((Trouble::Nothing { exists }, ttl)),
            Answer::Failed(reason) => Err((Trouble::Failed(reason), None)),
        };
        let wait = match found {
            Ok(found) => {
                let wait = self.timing.after(found.ttl, ratio);
                known.found = Some(found);
                known.at = now;
                known.trouble = None;
                known.failures = 0;
                known.kept_until = later(now, wait.saturating_add(self.timing.stale));
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
        self.round.forced = false;
        self.found = walk.found;
        let mut failure = (!walk.failures.is_empty()).then(|| walk.failures.join("; "));
        // Something came due while the others were waited for.
        let mut wake = if walk.need.is_empty() { walk.next } else { Some(now) };
        let endpoints = if walk.endpoints.is_empty() {
            let denied = walk.failures.is_empty();
            if denied {
                failure = Some(walk.denied.join("; "));
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
        // What the name does not lead to any more is forgotten.
        self.known.retain(|question, _| walk.used.contains(question));
        let last_good = self.last_good;
        Outcome { is_over: true, endpoints, failure, last_good, wake }
    }

    /// An endpoint could not be connected to: when to ask ahead of time, if at all.
    pub(super) fn unreachable(&self, now: Instant) -> Option<Instant> {
        let began = self.round.began?;
        (!self.plan.names.is_empty()).then(|| later(began, SHORTEST).max(now))
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

    /// Goes through all that the name leads to.
    fn walk(&self, now: Instant, pairs: &mut Pairs) -> Walk {
        let mut walk = Walk::default();
        // The name that had records before, and the others only if it has none now.
        let all = 0..self.plan.names.len();
        let order: Vec<usize> = self.found.into_iter().chain(all).collect();
        for (turn, index) in order.iter().copied().enumerate() {
            if turn > 0 && self.found == Some(index) {
                continue;
            }
            let Some(name) = self.plan.names.get(index) else { continue };
            let asked = self.root(name);
            let before = (walk.need.len(), walk.failures.len());
            let next = walk.next.take();
            let views: Vec<Option<&Found>> =
                asked.iter().map(|question| self.view(question, now, &mut walk)).collect();
            if views.iter().any(Option::is_some) {
                walk.found = Some(index);
                walk.good = self.good(&asked);
                walk.denied.clear();
                self.collect(&asked, &views, now, pairs, &mut walk);
                return walk;
            }
            walk.next = earliest(next, walk.next);
            if (walk.need.len(), walk.failures.len()) != before {
                // Nothing may be said of the names behind it.
                return walk;
            }
            walk.denied.push(self.denial(name, &asked));
        }
        walk
    }

    fn root(&self, name: &Arc<str>) -> Vec<Question> {
        match self.plan.kind {
            DnsKind::Srv => vec![Question::new(name, Kind::Srv)],
            DnsKind::Strict | DnsKind::Logical => self.of_host(name),
        }
    }

    fn of_host(&self, name: &Arc<str>) -> Vec<Question> {
        let kinds: &[Kind] = match self.plan.family {
            DnsFamily::V4Only => &[Kind::A],
            DnsFamily::V6Only => &[Kind::Aaaa],
            DnsFamily::All | DnsFamily::Auto | DnsFamily::V4Preferred => &[Kind::Aaaa, Kind::A],
        };
        kinds.iter().map(|kind| Question::new(name, *kind)).collect()
    }

    /// What may be relied on of a question; notes what must be asked, and when next.
    fn view(&self, question: &Question, now: Instant, walk: &mut Walk) -> Option<&Found> {
        walk.used.insert(question.clone());
        let Some(known) = self.known.get(question) else {
            walk.need.push(question.clone());
            return None;
        };
        let is_due = self.round.forced || now >= known.next || known.is_ending(now);
        if is_due && known.round != self.round.number {
            walk.need.push(question.clone());
        }
        walk.next = earliest(walk.next, Some(known.next));
        if let Some(Trouble::Failed(reason)) = &known.trouble {
            walk.failures.push(format!("{question}: {reason}"));
            if known.found.is_some() && now < known.kept_until {
                // What is relied on meanwhile ends.
                walk.next = earliest(walk.next, Some(known.kept_until));
            }
        }
        known.found.as_ref().filter(|_| now < known.kept_until)
    }

    fn good(&self, asked: &[Question]) -> Option<(Instant, Instant)> {
        let known = asked.iter().filter_map(|question| self.known.get(question));
        let good = known.filter(|known| known.found.is_some());
        good.map(|known| (known.at, known.kept_until)).max_by_key(|(_, until)| *until)
    }

    fn denial(&self, name: &str, asked: &[Question]) -> String {
        let exists = asked.iter().any(|question| {
            let trouble = self.known.get(question).and_then(|known| known.trouble.as_ref());
            matches!(trouble, Some(Trouble::Nothing { exists: true }))
        });
        let what = if self.plan.kind == DnsKind::Srv { "service" } else { "address" };
        if exists { format!("{name} has no {what}") } else { format!("{name} does not exist") }
    }

    /// The endpoints of the name that has records.
    fn collect(
        &self,
        asked: &[Question],
        views: &[Option<&Found>],
        now: Instant,
        pairs: &mut Pairs,
        walk: &mut Walk,
    ) {
        let found = views.iter().flatten();
        if self.plan.kind == DnsKind::Srv {
            if let Some(found) = found.into_iter().next() {
                self.collect_services(found, &asked[0].name, now, walk);
            }
            return;
        }
        let addresses: Vec<IpAddr> = found.flat_map(|found| found.addresses.clone()).collect();
        let addresses = endpoints::allowed(self.plan.family, &addresses);
        walk.endpoints = match self.plan.kind {
            DnsKind::Logical => endpoints::logical(&addresses, self.plan.port, self.primary()),
            DnsKind::Strict | DnsKind::Srv => endpoints::strict(&addresses, self.plan.port, pairs),
        };
    }

    /// The first address of the one endpoint that is there.
    fn primary(&self) -> Option<IpAddr> {
        match self.set.as_ref()?.first()?.address {
            crate::config::Address::Socket(socket) => Some(socket.ip()),
            crate::config::Address::Unix(_) => None,
        }
    }

    /// The targets of the lowest priority that has any address.
    fn collect_services(&self, found: &Found, name: &Arc<str>, now: Instant, walk: &mut Walk) {
        let services = found.services.get(..MAX_TARGETS).unwrap_or(&found.services);
        if services.len() < found.services.len() {
            walk.failures.push(format!("{name} SRV: only {MAX_TARGETS} of its targets are used"));
        }
        for group in services.chunk_by(|one, other| one.priority == other.priority) {
            let before = walk.need.len();
            let targets: Vec<(&Service, Vec<IpAddr>)> = group
                .iter()
                .map(|service| (service, self.target(service, found, now, walk)))
                .collect();
            walk.endpoints = endpoints::services(&targets);
            if walk.need.len() > before || !walk.endpoints.is_empty() {
                return;
            }
        }
        if walk.failures.is_empty() {
            walk.denied.push(format!("{name}: none of its targets has an address"));
        }
    }

    /// The addresses of a target: in its name, beside it in the answer, or asked for.
    fn target(
        &self,
        service: &Service,
        found: &Found,
        now: Instant,
        walk: &mut Walk,
    ) -> Vec<IpAddr> {
        let family = self.plan.family;
        if let Some(address) = answer::of_consul(&service.target) {
            return endpoints::allowed(family, &[address]);
        }
        if let Some(glue) = found.glue.get(&service.target) {
            let glue = endpoints::allowed(family, glue);
            if !glue.is_empty() {
                return glue;
            }
        }
        let questions = self.of_host(&service.target);
        let views = questions.iter().filter_map(|question| self.view(question, now, walk));
        let addresses: Vec<IpAddr> = views.flat_map(|found| found.addresses.clone()).collect();
        endpoints::allowed(family, &addresses)
    }
}

// === impl Known ===

impl Known {
    fn new(now: Instant) -> Self {
        Self {
            found: None,
            at: now,
            trouble: None,
            kept_until: now,
            next: now,
            asked: now,
            failures: 0,
            round: 0,
        }
    }

    /// Whether what is relied on through failures ends now: it is asked for once more.
    fn is_ending(&self, now: Instant) -> bool {
        self.found.is_some()
            && self.trouble.is_some()
            && self.asked < self.kept_until
            && now >= self.kept_until
    }
}

// === impl Plan ===

impl Plan {
    /// The one endpoint of a name that is an address.
    pub(super) fn literal(address: IpAddr, port: u16) -> Endpoint {
        SocketAddr::from((address, port)).into()
    }
}

fn later(now: Instant, wait: Duration) -> Instant {
    // A year is as good as never.
    now.checked_add(wait).unwrap_or(now + Duration::from_secs(86_400 * 365))
}
