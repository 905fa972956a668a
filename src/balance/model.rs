//! The load signal, a call beside the keeper, and a first call beside the end of its endpoint, under loom:
//! every interleaving of a few calls.

use loom::{sync::Arc, thread};

mod atomic {
    pub(super) use loom::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence,
    };
}

#[path = "health/state.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod state;

#[path = "load.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod load;

#[path = "endpoint/leaving.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod leaving;

#[path = "parking.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the same file over loom's atomics")]
mod parking;

use self::{
    atomic::{AtomicBool, Ordering},
    leaving::Leaving,
    load::Load,
    parking::{Asks, Mark},
    state::FIRST_PROBE,
};

const NOW: u64 = 1_000_000_000;
const DECAY: u64 = 10_000_000_000;

fn suspect() -> Arc<Load> {
    let load = Load::default();
    load.failed(NOW, 1, DECAY, false);
    assert!(load.is_suspect());
    Arc::new(load)
}

#[test]
fn one_of_two_gets_the_probe() {
    loom::model(|| {
        let load = suspect();
        let now = NOW + FIRST_PROBE;
        let rival = Arc::clone(&load);
        let rival = thread::spawn(move || rival.claim_probe(now, 1));
        let mine = load.claim_probe(now, 1);
        assert!(mine ^ rival.join().unwrap());
        // The next one is due an interval later.
        assert!(!load.claim_probe(now + FIRST_PROBE - 1, 1));
        assert!(load.claim_probe(now + FIRST_PROBE, 1));
    });
}

#[test]
fn a_failure_beside_a_claim_grants_no_second_probe() {
    loom::model(|| {
        let load = suspect();
        let now = NOW + FIRST_PROBE;
        let rival = Arc::clone(&load);
        let rival = thread::spawn(move || {
            rival.failed(now, 1, DECAY, false);
        });
        let mine = load.claim_probe(now, 1);
        rival.join().unwrap();
        assert!(mine);
        assert!(!load.claim_probe(now, 1));
    });
}

#[test]
fn one_of_two_refreshes_a_stale_estimate() {
    loom::model(|| {
        let (load, winner) = (Arc::new(Load::default()), Arc::new(Load::default()));
        let now = 100 * NOW;
        load.begin(NOW);
        winner.begin(now);
        let rival = (Arc::clone(&load), Arc::clone(&winner));
        let rival = thread::spawn(move || rival.0.claim_stale(now, &rival.1));
        let mine = load.claim_stale(now, &winner);
        assert!(mine ^ rival.join().unwrap());
    });
}

#[test]
fn what_is_in_flight_is_exact_whatever_the_order() {
    loom::model(|| {
        let load = Arc::new(Load::default());
        load.succeeded(0, 5, u64::MAX);
        load.begin(7);
        let rival = Arc::clone(&load);
        let rival = thread::spawn(move || {
            rival.begin(11);
            rival.answered(7);
            rival.end_answered();
        });
        load.begin(13);
        load.end(13);
        rival.join().unwrap();
        assert_eq!(load.in_flight(), 1);
        load.end(11);
        assert_eq!(load.in_flight(), 0);
        // Nothing is left of them in the age of the next one.
        load.begin(100);
        assert!((load.cost(1_100, u64::MAX, 1.0) - 1_005.0).abs() < 0.1);
    });
}

#[test]
fn a_pick_beside_calls_never_sees_a_cost_that_cannot_be_compared() {
    loom::model(|| {
        let load = Arc::new(Load::default());
        load.succeeded(NOW, 1_000, DECAY);
        let rival = Arc::clone(&load);
        let rival = thread::spawn(move || {
            rival.begin(NOW);
            rival.answered(NOW);
            rival.end_answered();
        });
        let cost = load.cost(NOW + 10, DECAY, 1.0);
        // One counter may be ahead of the other: at worst the call looks as old as the mesh.
        assert!((900.0..=1.1 * (NOW + 1_000) as f32).contains(&cost), "{cost}");
        rival.join().unwrap();
    });
}

#[test]
fn a_keeper_that_parks_sees_the_call_or_is_woken_by_it() {
    loom::model(|| {
        let shared = Arc::new((Asks::default(), Mark::new(false)));
        let caller = Arc::clone(&shared);
        let caller = thread::spawn(move || {
            caller.1.leave();
            caller.0.any() && caller.0.is_parked()
        });
        shared.0.park();
        let is_seen = shared.1.take();
        assert!(caller.join().unwrap() || is_seen, "the call is missed");
    });
}

#[test]
fn a_call_that_finds_the_mark_of_another_is_not_missed_either() {
    loom::model(|| {
        let shared = Arc::new((Asks::default(), Mark::new(false)));
        let call = || {
            let caller = Arc::clone(&shared);
            thread::spawn(move || {
                caller.1.leave();
                caller.0.any() && caller.0.is_parked()
            })
        };
        let callers = [call(), call()];
        shared.0.park();
        let is_seen = shared.1.take();
        let wakes = callers.map(|caller| caller.join().unwrap());
        // A mark that is still there is that of one that has found the keeper parked.
        assert!(is_seen || wakes.contains(&true), "both are missed");
        assert!(!shared.1.take() || wakes.contains(&true), "the later one is missed");
    });
}

#[test]
fn a_state_that_is_made_while_its_endpoint_leaves_is_retired_by_one_of_the_two() {
    loom::model(|| {
        // The cell of the state stands for the `OnceLock`: set by release, looked at by acquire.
        let shared = Arc::new((Leaving::default(), AtomicBool::new(false)));
        let caller = Arc::clone(&shared);
        let caller = thread::spawn(move || {
            caller.1.store(true, Ordering::Release);
            caller.0.has_left_since()
        });
        shared.0.leave();
        let is_seen = shared.1.load(Ordering::Acquire);
        assert!(caller.join().unwrap() || is_seen, "nobody retires it");
    });
}
