//! The state of an endpoint, what is counted of its failures, and how many of a cluster are out, under
//! loom: every interleaving of a few calls.
//!
//! Loom looks back at the last access of a word alone: who changes it after a look of its own hides an
//! earlier look of the other thread. So it is the one that looks that is spawned.

use loom::{sync::Arc, thread};

use super::{
    EjectReason, Fault, accrual,
    phase::{Checked, Link, Phase, Said},
};
use crate::config::{OutlierDetection, SuccessRate};

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

#[path = "state.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod state;

#[path = "rules.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "what those beside it are implemented for")]
mod rules;

#[path = "outlier.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod outlier;

#[path = "floor.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod floor;

use self::{
    atomic::{AtomicU32, Ordering},
    floor::Ejected,
    outlier::{Counts, Origin, Tally},
    rules::{Floor, Rules},
    state::{LEASE, State},
};

const NOW: u64 = 1_000_000_000;

/// Ejected, and due for its probe.
fn due() -> Arc<State> {
    let state = State::default();
    assert!(state.eject(|| NOW));
    Arc::new(state)
}

#[test]
fn one_of_two_ejects() {
    loom::model(|| {
        let state = Arc::new(State::default());
        let rival = Arc::clone(&state);
        let rival = thread::spawn(move || rival.eject(|| 2 * NOW));
        let mine = state.eject(|| 2 * NOW);
        assert!(mine ^ rival.join().unwrap());
        assert_eq!(state.phase(Link::Ready), Phase::Ejected);
        assert_eq!(state.until(), 2 * NOW);
    });
}

#[test]
fn one_of_two_probes() {
    loom::model(|| {
        let state = due();
        let rival = Arc::clone(&state);
        let rival = thread::spawn(move || rival.claim_probe(NOW));
        let mine = state.claim_probe(NOW);
        assert!(mine ^ rival.join().unwrap());
        // Nor is there another while that one lasts.
        assert!(!state.claim_probe(NOW + LEASE - 1));
        assert!(state.claim_probe(NOW + LEASE));
    });
}

#[test]
fn one_call_is_the_probe_however_many_begin() {
    loom::model(|| {
        let state = due();
        assert!(state.claim_probe(NOW));
        let rival = Arc::clone(&state);
        let rival = thread::spawn(move || rival.begin_probe());
        let mine = state.begin_probe();
        assert!(mine ^ rival.join().unwrap());
    });
}

#[test]
fn nobody_probes_while_an_ejection_is_being_written() {
    loom::model(|| {
        let state = Arc::new(State::default());
        let rival = Arc::clone(&state);
        let rival = thread::spawn(move || rival.claim_probe(NOW));
        assert!(state.eject(|| 2 * NOW));
        // Its time is not over, whatever of it is seen.
        assert!(!rival.join().unwrap());
        assert!(!state.claim_probe(2 * NOW - 1));
        assert!(state.claim_probe(2 * NOW));
    });
}

#[test]
fn a_check_beside_a_probe_leaves_nothing_behind() {
    loom::model(|| {
        let state = due();
        let rival = Arc::clone(&state);
        let rival = thread::spawn(move || rival.restore());
        let claimed = state.claim_probe(NOW);
        assert!(rival.join().unwrap());
        // The claim came before, and was taken back; or after, and was refused.
        assert!(state.is_good());
        assert!(!claimed || !state.begin_probe());
        assert_eq!(state.phase(Link::Ready), Phase::Ready);
    });
}

#[test]
fn a_probe_that_fails_beside_a_check_ends_in_one_of_two_ways() {
    loom::model(|| {
        let state = due();
        assert!(state.claim_probe(NOW) && state.begin_probe());
        let rival = Arc::clone(&state);
        let rival = thread::spawn(move || rival.restore());
        let failed = state.probe_failed(|| 5 * NOW);
        assert!(rival.join().unwrap());
        // Whoever restores it does so for good: a failure of before is not written over it.
        assert!(state.is_good());
        assert!(!state.claim_probe(9 * NOW));
        let _ = failed;
    });
}

#[test]
fn an_endpoint_that_leaves_while_it_is_ejected_is_counted_once() {
    loom::model(|| {
        let state = Arc::new(State::default());
        let rival = Arc::clone(&state);
        let rival = thread::spawn(move || rival.eject(|| 2 * NOW));
        let was = state.remove();
        // It was ejected before it left, or not at all.
        assert_eq!(rival.join().unwrap(), was);
        assert_eq!(state.phase(Link::Ready), Phase::Removed);
        assert!(!state.claim_probe(9 * NOW));
    });
}

#[test]
fn outcomes_beside_an_ejection_change_the_average_alone() {
    loom::model(|| {
        let state = Arc::new(State::default());
        let rival = Arc::clone(&state);
        let rival = thread::spawn(move || {
            rival.failed(NOW, false, true);
            rival.succeeded();
        });
        assert!(state.eject(|| 2 * NOW));
        state.set_checked(Checked::Unfit);
        rival.join().unwrap();
        assert!(state.is_ejected() && state.is_unfit() && !state.is_suspect());
        assert!(state.restore() && state.set_checked(Checked::Fit));
        assert!(state.is_good());
    });
}

#[test]
fn one_that_goes_from_one_bad_word_to_another_is_never_good_in_between() {
    loom::model(|| {
        let unhealthy = Said { unhealthy: true, ..Said::default() };
        let draining = Said { draining: true, ..Said::default() };
        let state = Arc::new(State::default());
        state.set_said(unhealthy);
        let rival = Arc::clone(&state);
        let rival = thread::spawn(move || rival.is_good());
        state.set_said(draining);
        assert!(!rival.join().unwrap());
        assert!(state.is_leaving() && !state.is_doubted());
    });
}

#[test]
fn of_two_who_eject_one_says_how_long() {
    loom::model(|| {
        let (state, asked) = (Arc::new(State::default()), Arc::new(AtomicU32::new(0)));
        let eject = |state: &State, asked: &AtomicU32| {
            state.eject(|| {
                asked.fetch_add(1, Ordering::Relaxed);
                2 * NOW
            })
        };
        let rivals = (Arc::clone(&state), Arc::clone(&asked));
        let rival = thread::spawn(move || eject(&rivals.0, &rivals.1));
        let mine = eject(&state, &asked);
        assert!(mine ^ rival.join().unwrap());
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    });
}

/// Endpoints of a cluster, and its floor.
struct Members {
    states: [State; 3],
    ejected: Ejected,
    floor: Floor,
}

impl Members {
    fn new(floor: Floor) -> Arc<Self> {
        let members = Self { states: Default::default(), ejected: Ejected::default(), floor };
        members.ejected.set_members(members.states.len());
        Arc::new(members)
    }

    /// As an outcome does it.
    fn eject(&self, place: usize) -> bool {
        self.eject_if(place, true)
    }

    /// The same, where that is enforced.
    fn eject_if(&self, place: usize, enforced: bool) -> bool {
        let state = &self.states[place];
        self.ejected.eject(state, &self.floor, || 0, || enforced, || 2 * NOW)
    }

    /// As a probe does it that has succeeded.
    fn restore(&self, place: usize) -> bool {
        let was_out = self.states[place].restore();
        if was_out {
            self.ejected.release();
        }
        was_out
    }

    /// As an endpoint does it that leaves.
    fn leave(&self, place: usize) {
        if self.states[place].remove() {
            self.ejected.release();
        }
    }

    fn out(&self) -> usize {
        self.states.iter().filter(|state| state.is_ejected()).count()
    }
}

const TWO_READY: Floor =
    Floor { max_percent: 100.0, always_one: false, min_health: 0.0, min_ready: 2 };
const HALF_WELL: Floor =
    Floor { max_percent: 100.0, always_one: false, min_health: 50.0, min_ready: 0 };
const THIRD_OUT: Floor =
    Floor { max_percent: 34.0, always_one: false, min_health: 0.0, min_ready: 0 };

#[test]
fn two_who_eject_at_once_leave_as_many_as_the_floor_says() {
    for floor in [TWO_READY, HALF_WELL, THIRD_OUT] {
        loom::model(move || {
            let members = Members::new(floor);
            let rival = Arc::clone(&members);
            let rival = thread::spawn(move || rival.eject(1));
            let mine = members.eject(0);
            assert!(mine ^ rival.join().unwrap(), "one of them, and one alone");
            assert_eq!((members.out(), members.ejected.count()), (1, 1));
        });
    }
}

#[test]
fn two_who_eject_the_same_take_one_place() {
    loom::model(|| {
        let members = Members::new(Floor { min_ready: 1, ..TWO_READY });
        let rival = Arc::clone(&members);
        let rival = thread::spawn(move || rival.eject(0));
        let mine = members.eject(0);
        assert!(mine ^ rival.join().unwrap());
        assert_eq!((members.out(), members.ejected.count()), (1, 1));
        // Its place is the only one that is taken: another may follow.
        assert!(members.eject(1) && !members.eject(2));
    });
}

#[test]
fn an_ejection_beside_a_return_never_counts_too_few() {
    loom::model(|| {
        let members = Members::new(TWO_READY);
        assert!(members.eject(0));
        let rival = Arc::clone(&members);
        let rival = thread::spawn(move || rival.restore(0));
        let ejected = members.eject(1);
        assert!(rival.join().unwrap());
        // Either it came first and was refused, or a place was free.
        assert_eq!(members.out(), usize::from(ejected));
        assert_eq!(members.ejected.count(), u32::from(ejected));
    });
}

#[test]
fn an_ejection_that_is_not_enforced_gives_its_place_back() {
    loom::model(|| {
        let members = Members::new(TWO_READY);
        let rival = Arc::clone(&members);
        let rival = thread::spawn(move || rival.eject(1));
        assert!(!members.eject_if(0, false));
        // The other one may have found the place taken.
        let is_out = rival.join().unwrap();
        assert_eq!(members.out(), usize::from(is_out));
        assert_eq!(members.ejected.count(), u32::from(is_out));
        assert!(members.eject(0) ^ is_out);
    });
}

#[test]
fn one_that_leaves_beside_its_ejection_keeps_no_place() {
    loom::model(|| {
        let members = Members::new(TWO_READY);
        let rival = Arc::clone(&members);
        let rival = thread::spawn(move || rival.eject(0));
        members.leave(0);
        rival.join().unwrap();
        assert_eq!((members.out(), members.ejected.count()), (0, 0));
        assert!(members.eject(1));
    });
}

/// How often an outcome is one too many, where two failures in a row are.
fn told(tally: &Tally, fault: Option<Fault>) -> usize {
    let mut config = OutlierDetection::default();
    config.consecutive_5xx = Some(2);
    let mut told = 0;
    tally.count(&Rules::new(&config), fault, |_| told += 1);
    told
}

const FAILURE: Option<Fault> = Some(Fault::Server);

#[test]
fn two_failures_at_once_are_two_in_a_row() {
    loom::model(|| {
        let tally = Arc::new(Tally::default());
        let rival = Arc::clone(&tally);
        let rival = thread::spawn(move || told(&rival, FAILURE));
        let mine = told(&tally, FAILURE);
        assert_eq!(mine + rival.join().unwrap(), 1);
        // And the next row begins from nothing.
        assert_eq!((told(&tally, FAILURE), told(&tally, FAILURE)), (0, 1));
    });
}

#[test]
fn a_success_beside_a_failure_comes_before_it_or_after_it() {
    loom::model(|| {
        let tally = Arc::new(Tally::default());
        assert_eq!(told(&tally, FAILURE), 0);
        let rival = Arc::clone(&tally);
        let rival = thread::spawn(move || told(&rival, None));
        let mine = told(&tally, FAILURE);
        assert_eq!(rival.join().unwrap(), 0);
        // After: there were two in a row. Before: the next one is the second.
        assert_eq!(mine + told(&tally, FAILURE), 1);
    });
}

/// Counts an outcome in a window.
fn counted(tally: &Tally, fault: Option<Fault>) {
    let mut config = OutlierDetection::default();
    config.success_rate = Some(SuccessRate::default());
    tally.count(&Rules::new(&config), fault, |_| {});
}

#[test]
fn an_outcome_beside_the_end_of_a_window_is_in_one_of_two() {
    for fault in [None, FAILURE] {
        loom::model(move || {
            let tally = Arc::new(Tally::default());
            counted(&tally, FAILURE);
            let rival = Arc::clone(&tally);
            let rival = thread::spawn(move || counted(&rival, fault));
            let first = tally.take(Origin::External);
            rival.join().unwrap();
            let windows = (first, tally.take(Origin::External));
            // As a whole: a success is never an outcome of the one and good in the other.
            let failure = Counts { good: 0, all: 1 };
            let outcome = Counts { good: u32::from(fault.is_none()), all: 1 };
            let both = Counts { all: 2, ..outcome };
            assert!(
                windows == (both, Counts::default()) || windows == (failure, outcome),
                "{windows:?}"
            );
            assert_eq!(tally.take(Origin::External), Counts::default());
        });
    }
}

/// A window that the next outcome fills.
const NEARLY_FULL: Counts = Counts { good: u32::MAX / 2, all: u32::MAX / 2 };
const HALF: u32 = 1 << 30;

#[test]
fn a_window_that_two_fill_at_once_is_halved_once() {
    loom::model(|| {
        let tally = Arc::new(Tally::of(NEARLY_FULL));
        let rival = Arc::clone(&tally);
        let rival = thread::spawn(move || counted(&rival, None));
        counted(&tally, None);
        rival.join().unwrap();
        let Counts { good, all } = tally.take(Origin::External);
        // The one of the two that is not halved itself comes after that.
        assert!(all == HALF || all == HALF + 1, "{all}");
        assert_eq!(good, all);
    });
}

#[test]
fn a_full_window_that_is_taken_leaves_nothing_of_it_to_the_next() {
    loom::model(|| {
        let tally = Arc::new(Tally::of(NEARLY_FULL));
        let rival = Arc::clone(&tally);
        let rival = thread::spawn(move || counted(&rival, None));
        let first = tally.take(Origin::External);
        rival.join().unwrap();
        let next = tally.take(Origin::External);
        assert_eq!((first.good, next.good), (first.all, next.all));
        // Before the outcome; or between it and its halving, or after both.
        let all = (first.all, next.all);
        assert!(all == (NEARLY_FULL.all, 1) || all == (2 * HALF, 0) || all == (HALF, 0), "{all:?}");
    });
}
