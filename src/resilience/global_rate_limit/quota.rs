//! Quotas that answers grant: until one is used up or has ended, its answer holds for all requests
//! of the same descriptions, and nobody is asked.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;

use super::answer::{Answer, Granted};
use crate::resilience::Descriptor;

/// So many descriptions at most; the requests of others are asked about.
const MOST: usize = 1_000;

#[derive(Debug, Default)]
pub(crate) struct Quotas {
    /// None until one is granted. Copied where one is added: after an answer, which took longer.
    known: ArcSwapOption<HashMap<Vec<Descriptor>, Arc<Quota>>>,
}

#[derive(Debug)]
struct Quota {
    left: AtomicU32,
    /// Since 1970.
    until: Duration,
    answer: Arc<Answer>,
}

// === impl Quotas ===

impl Quotas {
    /// Takes one request out of the quota of these descriptions.
    pub(crate) fn take(&self, descriptors: &[Descriptor]) -> Option<Arc<Answer>> {
        let known = self.known.load();
        let quota = known.as_ref()?.get(descriptors)?;
        quota.take(today())
    }

    /// Keeps a quota, of which the request that was asked about is the first.
    #[cold]
    pub(crate) fn keep(&self, descriptors: &[Descriptor], granted: Granted, answer: &Arc<Answer>) {
        let now = today();
        let Granted { requests, until } = granted;
        let Some(left) = requests.checked_sub(1).filter(|left| *left > 0 && until > now) else {
            return;
        };
        let quota = Quota { left: AtomicU32::new(left), until, answer: Arc::clone(answer) };
        let quota = Arc::new(quota);
        self.known.rcu(|known| {
            let all = || known.iter().flat_map(|known| known.iter());
            let full = known.as_ref().filter(|known| known.len() >= MOST);
            if full.is_some_and(|full| !full.contains_key(descriptors))
                && all().all(|(_, quota)| quota.is_good(now))
            {
                return known.clone();
            }
            let mut new = HashMap::new();
            for (known, quota) in all() {
                if quota.is_good(now) {
                    new.insert(known.clone(), Arc::clone(quota));
                }
            }
            if new.len() < MOST || new.contains_key(descriptors) {
                new.insert(descriptors.to_vec(), Arc::clone(&quota));
            }
            Some(Arc::new(new))
        });
    }
}

// === impl Quota ===

impl Quota {
    fn is_good(&self, now: Duration) -> bool {
        now < self.until && self.left.load(Relaxed) > 0
    }

    fn take(&self, now: Duration) -> Option<Arc<Answer>> {
        if now >= self.until {
            return None;
        }
        self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).ok()?;
        Some(Arc::clone(&self.answer))
    }
}

/// Since 1970: the end of a quota is a date.
fn today() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Arc<Answer> {
        //= RateLimitResponse: overall_code OK
        Arc::new(Answer::read(&[8, 1]).unwrap())
    }

    fn granted(requests: u32, seconds: i64) -> Granted {
        let until = today().as_secs().saturating_add_signed(seconds);
        Granted { requests, until: Duration::from_secs(until) }
    }

    fn of(user: usize) -> Vec<Descriptor> {
        vec![Descriptor::new().entry("user", user.to_string())]
    }

    #[test]
    fn a_quota_is_used_up_by_requests_of_its_description_alone() {
        let quotas = Quotas::default();
        assert_eq!(quotas.take(&of(1)), None);
        quotas.keep(&of(1), granted(3, 60), &answer());
        assert_eq!(quotas.take(&of(2)), None);
        assert!(quotas.take(&of(1)).is_some());
        assert!(quotas.take(&of(1)).is_some());
        assert_eq!(quotas.take(&of(1)), None, "the first one was asked about");
        quotas.keep(&of(1), granted(2, 60), &answer());
        assert!(quotas.take(&of(1)).is_some());
    }

    #[test]
    fn what_has_ended_or_grants_nothing_is_not_kept() {
        let quotas = Quotas::default();
        for granted in [granted(9, -1), granted(1, 60), granted(0, 60)] {
            quotas.keep(&of(1), granted, &answer());
            assert_eq!(quotas.take(&of(1)), None);
        }
        let quota = Quota { left: AtomicU32::new(9), until: today(), answer: answer() };
        assert_eq!(quota.take(quota.until), None);
    }

    #[test]
    fn no_number_of_descriptions_makes_it_larger() {
        let quotas = Quotas::default();
        for user in 0..MOST + 50 {
            quotas.keep(&of(user), granted(9, 60), &answer());
        }
        assert_eq!(quotas.known.load().as_ref().unwrap().len(), MOST);
        assert!(quotas.take(&of(0)).is_some());
        assert_eq!(quotas.take(&of(MOST + 1)), None);
    }

    #[test]
    fn a_full_table_is_not_copied_for_what_it_has_no_room_for() {
        let quotas = Quotas::default();
        for user in 0..MOST {
            quotas.keep(&of(user), granted(2, 60), &answer());
        }
        let full = quotas.known.load_full().unwrap();
        assert_eq!(full.len(), MOST);
        quotas.keep(&of(MOST), granted(9, 60), &answer());
        assert!(Arc::ptr_eq(&full, &quotas.known.load_full().unwrap()));
        // What is in it is granted anew, and one that is used up makes room.
        quotas.keep(&of(1), granted(9, 60), &answer());
        assert!(!Arc::ptr_eq(&full, &quotas.known.load_full().unwrap()));
        assert!(quotas.take(&of(0)).is_some());
        quotas.keep(&of(MOST), granted(9, 60), &answer());
        assert!(quotas.take(&of(MOST)).is_some());
        assert_eq!(quotas.known.load().as_ref().unwrap().len(), MOST);
    }

    #[test]
    fn threads_share_exactly_what_was_granted() {
        let quotas = Quotas::default();
        quotas.keep(&of(1), granted(1_001, 600), &answer());
        let taken: usize = std::thread::scope(|scope| {
            let take = || (0..1_000).filter(|_| quotas.take(&of(1)).is_some()).count();
            let threads = [(); 4].map(|()| scope.spawn(take));
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 1_000);
    }
}
