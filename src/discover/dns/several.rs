//! Several names of one cluster: each is asked as if it were alone, and what they come to is put
//! together.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::{Either, join_all, select};
use tokio::sync::Notify;

use super::{
    machine::{Inherited, Outcome, summary},
    run::{Ask, Tell, one},
};
use crate::{
    config::{Address, DnsDiscovery, Endpoint, discovery::DnsTarget},
    core::{Instant, Random},
};

/// What all names have come to.
pub(super) struct Several<T> {
    tell: T,
    names: Vec<Name>,
}

/// What one name has come to.
struct Name {
    target: DnsTarget,
    /// Nothing before its first round is over.
    endpoints: Option<Vec<Endpoint>>,
    is_over: bool,
    failure: Option<String>,
    is_partial: bool,
    last_good: Option<Instant>,
}

/// Takes what one of them comes to.
struct Part<T> {
    all: Arc<Mutex<Several<T>>>,
    place: usize,
}

/// Asks for all of them for as long as it is polled.
pub(super) async fn run(
    dns: DnsDiscovery,
    inherited: Option<Inherited>,
    ask: Arc<dyn Ask>,
    tell: impl Tell,
    unreachable: Arc<Notify>,
    random: Arc<Random>,
) {
    let all = Arc::new(Mutex::new(Several::new(tell, &dns.targets)));
    let mut woken = Vec::new();
    let asked = dns.targets.iter().enumerate().map(|(place, target)| {
        let settings =
            DnsDiscovery { name: target.name.clone(), targets: Vec::new(), ..dns.clone() };
        let wake = Arc::new(Notify::new());
        woken.push(Arc::clone(&wake));
        let part = Part { all: Arc::clone(&all), place };
        one(settings, inherited, Arc::clone(&ask), part, wake, Arc::clone(&random))
    });
    let asked = join_all(asked.collect::<Vec<_>>());
    // Nobody knows whose address could not be connected to.
    let waking = async {
        loop {
            unreachable.notified().await;
            for name in &woken {
                name.notify_one();
            }
        }
    };
    // Neither ends.
    match select(std::pin::pin!(asked), std::pin::pin!(waking)).await {
        Either::Left(_) | Either::Right(_) => {}
    }
}

// === impl Several ===

impl<T> Several<T> {
    pub(super) fn new(tell: T, targets: &[DnsTarget]) -> Self {
        let names = targets.iter().map(|target| Name {
            target: target.clone(),
            endpoints: None,
            is_over: false,
            failure: None,
            is_partial: false,
            last_good: None,
        });
        Self { tell, names: names.collect() }
    }

    /// What all of them come to once one has come to this; nothing while only failures are known, and
    /// others may still have endpoints.
    pub(super) fn heard(&mut self, place: usize, outcome: Outcome) -> Option<Outcome> {
        let was_over = self.names.iter().all(|name| name.is_over);
        let is_new = outcome.endpoints.is_some();
        let name = self.names.get_mut(place)?;
        if let Some(endpoints) = outcome.endpoints {
            name.endpoints = Some(endpoints);
        }
        if outcome.is_over {
            name.is_over = true;
            name.failure = outcome.failure;
            name.is_partial = outcome.is_partial;
            name.last_good = outcome.last_good.or(name.last_good);
        }
        let is_over = self.names.iter().all(|name| name.is_over);
        if !is_over && !is_new {
            return None;
        }
        let is_known = self.names.iter().any(|name| name.endpoints.is_some());
        let is_told = is_new || (is_over && !was_over);
        let failures: BTreeSet<&str> =
            self.names.iter().filter_map(|name| name.failure.as_deref()).collect();
        let is_partial = self.names.iter().all(|name| name.failure.is_none() || name.is_partial);
        let failures: Vec<String> = failures.into_iter().map(str::to_owned).collect();
        Some(Outcome {
            is_over,
            endpoints: (is_told && is_known).then(|| self.endpoints()),
            failure: (is_over && !failures.is_empty()).then(|| summary(&failures)),
            is_partial,
            // As old as the oldest of them.
            last_good: self.names.iter().filter_map(|name| name.last_good).min(),
            wake: outcome.wake,
            note: outcome.note,
        })
    }

    /// Of an address that several names lead to, the first counts.
    fn endpoints(&self) -> Vec<Endpoint> {
        let mut seen: HashSet<Address> = HashSet::new();
        let mut all = Vec::new();
        for Name { target, endpoints, .. } in &self.names {
            for found in endpoints.iter().flatten() {
                let mut addresses = std::iter::once(&found.address).chain(&found.more_addresses);
                if addresses.any(|address| seen.contains(address)) {
                    continue;
                }
                seen.insert(found.address.clone());
                seen.extend(found.more_addresses.iter().cloned());
                let mut endpoint = target.endpoint.clone();
                endpoint.address = found.address.clone();
                endpoint.more_addresses.clone_from(&found.more_addresses);
                all.push(endpoint);
            }
        }
        all
    }
}

impl<T: Tell> Tell for Part<T> {
    fn tell(&mut self, outcome: Outcome) -> Option<Instant> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = all.heard(self.place, outcome)?;
        all.tell.tell(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str, weight: u32, priority: u32) -> DnsTarget {
        let mut endpoint = Endpoint::new("0.0.0.0:1".parse().unwrap()).weight(weight);
        (endpoint.priority, endpoint.hostname) = (priority, Some(name.to_owned()));
        DnsTarget { name: format!("dns:///{name}:80"), endpoint }
    }

    fn found(addresses: &[&str]) -> Outcome {
        let endpoints =
            addresses.iter().map(|it| Endpoint::new(it.parse().unwrap())).collect::<Vec<_>>();
        let endpoints = Some(endpoints);
        Outcome { is_over: true, endpoints, last_good: Some(Instant::now()), ..Outcome::default() }
    }

    fn failed(why: &str) -> Outcome {
        Outcome { is_over: true, failure: Some(why.to_owned()), ..Outcome::default() }
    }

    fn told(outcome: &Outcome) -> Vec<(String, u32, u32)> {
        let endpoints = outcome.endpoints.iter().flatten();
        endpoints.map(|it| (it.address.to_string(), it.weight, it.priority)).collect()
    }

    #[test]
    fn endpoints_of_all_names_each_with_what_is_said_of_its_name() {
        let mut all = Several::new((), &[target("a", 3, 0), target("b", 1, 1)]);
        let first = all.heard(1, found(&["10.0.0.2:80", "10.0.0.3:80"])).unwrap();
        assert!(!first.is_over, "the other one is not known yet");
        assert_eq!(told(&first).len(), 2);
        let both = all.heard(0, found(&["10.0.0.1:80", "10.0.0.2:80"])).unwrap();
        assert!(both.is_over);
        let wanted = [("10.0.0.1:80", 3, 0), ("10.0.0.2:80", 3, 0), ("10.0.0.3:80", 1, 1)];
        assert_eq!(told(&both), wanted.map(|(address, w, p)| (address.to_owned(), w, p)));
        assert_eq!(both.endpoints.unwrap()[2].hostname.as_deref(), Some("b"));
        // One that changes leaves the other.
        let changed = all.heard(1, found(&["10.0.0.9:80"])).unwrap();
        assert_eq!(told(&changed).len(), 3);
    }

    #[test]
    fn a_failure_is_told_once_all_have_been_heard_and_takes_nothing() {
        let mut all = Several::new((), &[target("a", 1, 0), target("b", 1, 0)]);
        assert!(all.heard(0, failed("a: refused")).is_none());
        let both = all.heard(1, found(&["10.0.0.2:80"])).unwrap();
        assert_eq!((told(&both).len(), both.failure.as_deref()), (1, Some("a: refused")));
        let mended = all.heard(0, found(&["10.0.0.1:80"])).unwrap();
        assert_eq!((told(&mended).len(), mended.failure), (2, None));
        let later = all.heard(1, failed("b: refused")).unwrap();
        assert!(later.endpoints.is_none(), "what is there stays");
        assert_eq!(later.failure.as_deref(), Some("b: refused"));
    }

    #[test]
    fn where_all_fail_nothing_is_published() {
        let mut all = Several::new((), &[target("a", 1, 0), target("b", 1, 0)]);
        assert!(all.heard(0, failed("x")).is_none());
        let both = all.heard(1, failed("x")).unwrap();
        assert!(both.endpoints.is_none() && both.is_over);
        assert_eq!(both.failure.as_deref(), Some("x"));
    }
}
