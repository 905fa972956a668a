//! What the answers so far come to: the way from a name to its endpoints, and what is missing on it.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use super::{
    answer::{Found, Kind, Question, Service},
    endpoints::{self, Pairs},
    machine::{Machine, summary},
};
use crate::{
    config::{Address, DnsFamily, DnsKind, Endpoint},
    core::{Instant, earliest},
};

/// Targets of SRV records whose addresses are asked for.
pub(super) const MAX_TARGETS: usize = 1024;

/// What is known of a question.
#[derive(Debug)]
pub(super) struct Known {
    /// The last good answer; none, once it was denied.
    pub(super) found: Option<Found>,
    /// When it was given.
    pub(super) at: Instant,
    /// What the last time came to, if not to records.
    pub(super) trouble: Option<Trouble>,
    /// Until when the last good answer is kept through failures.
    pub(super) kept_until: Instant,
    pub(super) next: Instant,
    pub(super) asked: Instant,
    pub(super) failures: u32,
    pub(super) round: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Trouble {
    Nothing { exists: bool },
    Failed(String),
}

/// The state of all that the name leads to, as of now.
#[derive(Default)]
pub(super) struct Walk {
    pub(super) need: Vec<Question>,
    pub(super) used: BTreeSet<Question>,
    pub(super) next: Option<Instant>,
    pub(super) failures: Vec<String>,
    /// Names that were denied on the way.
    pub(super) denied: Vec<String>,
    pub(super) found: Option<usize>,
    /// The last answer about the name itself, of one family at least, was a good one.
    pub(super) is_answered: bool,
    pub(super) endpoints: Vec<Endpoint>,
    /// When the name itself was last answered well, and until when that is kept; of SRV records, what
    /// their targets were.
    pub(super) good: Option<(Instant, Instant)>,
    targets: Targets,
}

/// What the addresses of SRV targets rest on.
#[derive(Default)]
struct Targets {
    /// The last answer about one of them was a good one.
    is_answered: bool,
    /// The records themselves have addresses.
    beside: bool,
    /// When one was last answered well, and until when that is kept: the longest of all.
    good: Option<(Instant, Instant)>,
}

// === impl Machine ===

impl Machine {
    /// Goes through all that the name leads to.
    pub(super) fn walk(&self, now: Instant, pairs: &mut Pairs) -> Walk {
        let mut walk = Walk::default();
        // The name that had records before, and the others only if it has none now and its last
        // good answer is not kept: theirs may be a stranger's.
        let is_kept = self.found.is_some() && self.kept_until.is_some_and(|until| now < until);
        let all = 0..self.plan.names.len();
        let order: Vec<usize> = self.found.into_iter().chain(all).collect();
        for (turn, index) in order.iter().copied().enumerate() {
            if turn > 0 && (is_kept || self.found == Some(index)) {
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
                walk.is_answered = self.is_answered(&asked);
                walk.denied.clear();
                self.collect(&asked, &views, now, pairs, &mut walk);
                return walk;
            }
            walk.next = earliest(next, walk.next);
            if (walk.need.len(), walk.failures.len()) != before {
                // Nothing may be said of the names behind it.
                return walk;
            }
            let what = if self.plan.kind == DnsKind::Srv { "service" } else { "address" };
            walk.denied.push(self.denial(name, &asked, what));
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
        let is_first = walk.used.insert(question.clone());
        let known = self.known.get(question);
        // Several records may lead to one question: it is asked, and fails, once.
        if is_first {
            self.note(question, known, now, walk);
        }
        known.filter(|known| now < known.kept_until)?.found.as_ref()
    }

    /// Notes of a question what must be asked, and when next.
    fn note(&self, question: &Question, known: Option<&Known>, now: Instant, walk: &mut Walk) {
        let Some(known) = known else {
            walk.need.push(question.clone());
            return;
        };
        // What failed or was denied has a wait of its own: an outage is not to be made worse.
        let is_forced = self.round.forced && known.trouble.is_none();
        let is_due = is_forced || now >= known.next || known.is_ending(now);
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
    }

    fn good(&self, asked: &[Question]) -> Option<(Instant, Instant)> {
        let known = asked.iter().filter_map(|question| self.known.get(question));
        let good = known.filter(|known| known.found.is_some());
        good.map(|known| (known.at, known.kept_until)).max_by_key(|(_, until)| *until)
    }

    fn is_answered(&self, asked: &[Question]) -> bool {
        let mut known = asked.iter().filter_map(|question| self.known.get(question));
        known.any(|known| known.found.is_some() && known.trouble.is_none())
    }

    fn denial(&self, name: &str, asked: &[Question], what: &str) -> String {
        let exists = asked.iter().any(|question| {
            let trouble = self.known.get(question).and_then(|known| known.trouble.as_ref());
            matches!(trouble, Some(Trouble::Nothing { exists: true }))
        });
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
            Address::Socket(socket) => Some(socket.ip()),
            Address::Unix(_) => None,
        }
    }

    /// The targets of each priority, best first; all of them are asked for at once.
    //= RFC 2782: the client must attempt the target of the lowest-numbered priority it can reach
    fn collect_services(&self, found: &Found, name: &Arc<str>, now: Instant, walk: &mut Walk) {
        let services = found.services.get(..MAX_TARGETS).unwrap_or(&found.services);
        if services.len() < found.services.len() {
            walk.failures.push(format!("{name} SRV: only {MAX_TARGETS} of its targets are used"));
        }
        let mut groups = Vec::new();
        let mut is_awaited = false;
        for group in services.chunk_by(|one, other| one.priority == other.priority) {
            let before = walk.need.len();
            let targets: Vec<(&Service, Vec<IpAddr>)> = group
                .iter()
                .map(|service| (service, self.target(service, found, now, walk)))
                .collect();
            let endpoints = endpoints::services(&targets);
            // Nobody is to take over from a priority of which nothing is known yet.
            is_awaited |= endpoints.is_empty()
                && walk.need[before..].iter().any(|asked| !self.known.contains_key(asked));
            if !is_awaited {
                groups.push(endpoints);
            }
        }
        walk.endpoints = endpoints::ranked(groups);
        if walk.endpoints.is_empty() && walk.failures.is_empty() {
            walk.denied.push(self.denial_of_targets(name, services));
        }
        // Records without an address are no answer: what is relied on is no newer than its addresses.
        let Targets { is_answered, beside, good } = walk.targets;
        walk.is_answered &= is_answered;
        if let (false, Some((at, until)), Some(target)) = (beside, walk.good, good) {
            let at = if is_answered { at } else { at.min(target.0) };
            walk.good = Some((at, until.min(target.1)));
        }
    }

    /// That no target has an address, and why.
    fn denial_of_targets(&self, name: &str, services: &[Service]) -> String {
        let mut seen = BTreeSet::new();
        let targets = services.iter().filter(|service| seen.insert(&service.target));
        let denials = targets.filter_map(|Service { target, .. }| {
            let asked = self.of_host(target);
            let is_known = asked.iter().any(|question| self.known.contains_key(question));
            is_known.then(|| self.denial(target, &asked, "address"))
        });
        let denials: Vec<String> = denials.collect();
        let mut text = format!("{name}: none of its targets has an address");
        if !denials.is_empty() {
            text += ": ";
            text += &summary(&denials);
        }
        text
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
        if let Some(address) = found.named.get(&service.target) {
            walk.targets.came_along();
            return endpoints::allowed(family, &[*address]);
        }
        let glue = found.glue.get(&service.target).map_or(&[][..], Vec::as_slice);
        if !endpoints::allowed(family, glue).is_empty() {
            walk.targets.came_along();
        }
        let questions = self.left_by(glue, &service.target);
        walk.targets.is_answered |= self.is_answered(&questions);
        let good = walk.targets.good.into_iter().chain(self.good(&questions));
        walk.targets.good = good.max_by_key(|(_, until)| *until);
        let views = questions.iter().filter_map(|question| self.view(question, now, walk));
        let asked = views.flat_map(|found| found.addresses.clone());
        let addresses: Vec<IpAddr> = glue.iter().copied().chain(asked).collect();
        endpoints::allowed(family, &addresses)
    }

    /// What is to be asked of a target of which these addresses came along.
    //= RFC 2782: servers are urged, but not required, to return the address records of a target
    fn left_by(&self, glue: &[IpAddr], target: &Arc<str>) -> Vec<Question> {
        let has = |kind| glue.iter().any(|address| address.is_ipv4() == (kind == Kind::A));
        let is_enough = match self.plan.family {
            DnsFamily::Auto => has(Kind::Aaaa),
            DnsFamily::V4Preferred => has(Kind::A),
            DnsFamily::All | DnsFamily::V4Only | DnsFamily::V6Only => false,
        };
        if is_enough {
            return Vec::new();
        }
        let mut questions = self.of_host(target);
        questions.retain(|question| !has(question.kind));
        questions
    }
}

// === impl Targets ===

impl Targets {
    /// An address came along with the records.
    fn came_along(&mut self) {
        (self.is_answered, self.beside) = (true, true);
    }
}

// === impl Known ===

impl Known {
    pub(super) fn new(now: Instant) -> Self {
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
