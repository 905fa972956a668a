//! The load signal: what may never happen to it, whatever it is fed with.

use proptest::prelude::*;

use super::{
    super::{
        load::Load,
        state::{FIRST_PROBE, LAST_PROBE},
    },
    MILLI, SECOND,
};

const DECAY: u64 = 10 * SECOND;
/// A mesh lives for less than a century.
const CENTURY: u64 = 3_155_760_000 * SECOND;

#[derive(Clone, Copy, Debug)]
enum Op {
    Begin,
    Answered,
    End,
    Succeeded(u64),
    Failed(u64),
    Raise(u64),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let rtt = || prop_oneof![0..10 * MILLI, 0..100 * SECOND, Just(0), Just(CENTURY)];
    prop_oneof![
        Just(Op::Begin),
        Just(Op::Answered),
        Just(Op::End),
        rtt().prop_map(Op::Succeeded),
        rtt().prop_map(Op::Failed),
        rtt().prop_map(Op::Raise),
        prop_oneof![0..SECOND, 0..100 * SECOND].prop_map(Op::Wait),
    ]
}

/// Applies it; returns the time afterwards. `open` has when those began that await their head.
fn apply(load: &Load, open: &mut Vec<Option<u64>>, now: u64, decay: u64, op: Op) -> u64 {
    match op {
        Op::Begin => {
            load.begin(now);
            open.push(Some(now));
        }
        Op::Answered => {
            if let Some(started) = open.last_mut().and_then(Option::take) {
                load.answered(started);
            }
        }
        Op::End => match open.pop() {
            Some(Some(started)) => load.end(started),
            Some(None) => load.end_answered(),
            None => {}
        },
        Op::Succeeded(rtt) => {
            let _ = load.succeeded(now, rtt, decay);
        }
        Op::Failed(rtt) => {
            let _ = load.failed(now, rtt, decay, false);
        }
        Op::Raise(age) => load.raise(now, age, decay),
        Op::Wait(time) => return now + time,
    }
    now
}

proptest! {
    #[test]
    fn no_history_makes_a_number_that_cannot_be_compared(
        ops in prop::collection::vec(op(), 0..80),
        decay in prop_oneof![Just(1), Just(DECAY), Just(u64::MAX)],
    ) {
        let load = Load::default();
        let (mut now, mut open) = (SECOND, Vec::new());
        for op in ops {
            now = apply(&load, &mut open, now, decay, op);
            let (cost, latency) = (load.cost(now, decay, 1.0), load.latency_at(now, decay));
            prop_assert!(cost >= 0.0, "{op:?}: cost {cost}");
            prop_assert!(latency >= 0.0 && latency.is_finite(), "{op:?}: latency {latency}");
            prop_assert!((0.0..=1.0).contains(&load.success_ratio()), "{op:?}");
            prop_assert!(load.success_ratio() > 0.0, "{op:?}: it could never recover");
            prop_assert_eq!(load.in_flight() as usize, open.len());
        }
    }

    #[test]
    fn an_abandoned_call_or_a_failure_never_lowers_the_latency(
        ops in prop::collection::vec(op(), 0..40),
        age in 0..100 * SECOND,
        fails: bool,
    ) {
        let load = Load::default();
        let (mut now, mut open) = (SECOND, Vec::new());
        for op in ops {
            now = apply(&load, &mut open, now, DECAY, op);
        }
        let before = load.latency_at(now, DECAY);
        if fails {
            load.failed(now, age, DECAY, false);
        } else {
            load.raise(now, age, DECAY);
        }
        prop_assert!(load.latency_at(now, DECAY) >= before);
        prop_assert!(load.latency_at(now, DECAY) >= (age as f32).min(before.max(age as f32)));
    }

    #[test]
    fn a_faster_answer_lands_between_itself_and_the_estimate(
        slow in MILLI..100 * SECOND,
        fast in 1..MILLI,
        pause in 0..100 * SECOND,
    ) {
        let load = Load::default();
        load.succeeded(SECOND, slow, DECAY);
        let now = SECOND + pause;
        load.succeeded(now, fast, DECAY);
        let after = load.latency_at(now, DECAY);
        // A float has 24 bits.
        prop_assert!(after <= slow as f32 * 1.001, "{after} of {slow}");
        prop_assert!(after >= fast as f32 * 0.999, "{after} of {fast}");
    }

    #[test]
    fn a_slower_answer_replaces_the_estimate_at_once(
        fast in 1..SECOND,
        more in 0..SECOND,
        pause in 0..SECOND,
    ) {
        let load = Load::default();
        load.succeeded(SECOND, fast, DECAY);
        load.succeeded(SECOND + pause, fast + more, DECAY);
        let after = load.latency_at(SECOND + pause, DECAY);
        prop_assert!((after - (fast + more) as f32).abs() < 0.1, "{after}");
    }

    #[test]
    fn the_cost_grows_with_what_is_in_flight(
        ops in prop::collection::vec(op(), 0..40),
        more in 1..50,
    ) {
        let load = Load::default();
        let (mut now, mut open) = (SECOND, Vec::new());
        for op in ops {
            now = apply(&load, &mut open, now, DECAY, op);
        }
        let mut before = load.cost(now, DECAY, 1.0);
        for _ in 0..more {
            // Calls of no age: they cannot lower the mean age below the estimate's share.
            load.begin(now);
            let after = load.cost(now, DECAY, 1.0);
            prop_assert!(after >= before * 0.999, "{after} after {before}");
            before = after;
        }
    }

    #[test]
    fn the_cost_is_at_least_the_ages_of_what_awaits_its_head(
        rtt in 1..SECOND,
        ages in prop::collection::vec(0..10 * SECOND, 1..20),
        answered in prop::collection::vec(0..10 * SECOND, 0..20),
        later in 0..100 * SECOND,
    ) {
        let load = Load::default();
        load.succeeded(10 * SECOND, rtt, u64::MAX);
        for age in ages.iter().chain(&answered) {
            load.begin(10 * SECOND - age);
        }
        for age in &answered {
            load.answered(10 * SECOND - age);
        }
        let sum: u64 = ages.iter().map(|age| age + later).sum();
        let calls = (ages.len() + answered.len()) as u64;
        let wanted = (sum.max(rtt * calls) + rtt) as f32;
        let cost = load.cost(10 * SECOND + later, u64::MAX, 1.0);
        prop_assert!((cost - wanted).abs() <= wanted * 0.001, "{cost}, wanted {wanted}");
    }

    #[test]
    fn begin_and_end_are_exact(
        starts in prop::collection::vec(any::<u64>(), 0..50),
        age in SECOND..100 * SECOND,
    ) {
        let load = Load::default();
        load.succeeded(0, MILLI, u64::MAX);
        for start in &starts {
            load.begin(*start);
        }
        prop_assert_eq!(load.in_flight() as usize, starts.len());
        for (at, start) in starts.iter().enumerate().rev() {
            if at % 2 == 0 {
                load.end(*start);
            } else {
                load.answered(*start);
                prop_assert_eq!(load.in_flight() as usize, at + 1);
                load.end_answered();
            }
        }
        prop_assert_eq!(load.in_flight(), 0);
        // Nothing is left of them in the age of the next one.
        load.begin(SECOND);
        let cost = load.cost(SECOND + age, u64::MAX, 1.0);
        let wanted = (age + MILLI) as f32;
        prop_assert!((cost - wanted).abs() <= wanted * 0.001, "{cost}, wanted {wanted}");
    }

    #[test]
    fn a_suspect_gets_one_probe_per_interval(
        times in prop::collection::vec(0..5 * SECOND, 1..200),
    ) {
        let load = Load::default();
        load.failed(SECOND, MILLI, DECAY, false);
        prop_assert!(load.is_suspect());
        let (mut now, mut due, mut gap) = (SECOND, SECOND + FIRST_PROBE, FIRST_PROBE);
        for time in times {
            now += time;
            let granted = now >= due;
            prop_assert_eq!(load.claim_probe(now, 1), granted);
            prop_assert!(!load.claim_probe(now, 1), "two probes at one time");
            if granted {
                due = now + gap;
                gap = (gap * 2).min(LAST_PROBE);
            }
        }
    }
}

#[test]
fn a_client_of_few_calls_spends_few_of_them_on_probes() {
    // One pick in ten meets it, once a second or a hundred times.
    for (rate, least, most) in [(1, 4, 13), (100, 30, 40)] {
        let load = Load::default();
        load.failed(SECOND, MILLI, DECAY, false);
        let (mut probes, mut longest, mut last) = (0, 0, SECOND);
        for step in 1..=1_000 * rate {
            let now = SECOND + step * SECOND / rate;
            if step % 10 == 0 && load.claim_probe(now, 10) {
                load.failed(now, MILLI, DECAY, false);
                (probes, longest, last) = (probes + 1, longest.max(now - last), now);
            }
        }
        // Of 1,000 calls 1 % and those of the beginning, where by time alone it would be 37; of
        // many calls it is the time that counts.
        assert!((least..=most).contains(&probes), "{rate}: {probes}");
        assert!(longest <= 101 * SECOND, "{rate}: {longest}");
    }
    // However few they are, it is not forgotten: one call a minute meets it.
    let load = Load::default();
    load.failed(SECOND, MILLI, DECAY, false);
    let probed = |minutes: &mut dyn Iterator<Item = u64>| {
        minutes.filter(|minute| load.claim_probe(SECOND + minute * 60 * SECOND, 100)).count()
    };
    assert_eq!(probed(&mut (1..=100)), 20, "every five minutes");
}

#[test]
fn failing_fast_is_not_being_fast() {
    let load = Load::default();
    load.succeeded(SECOND, 50 * MILLI, DECAY);
    let before = load.cost(SECOND, DECAY, 1.0);
    for _ in 0..100 {
        load.failed(SECOND, 1, DECAY, false);
    }
    assert!(load.cost(SECOND, DECAY, 1.0) > 1000.0 * before);
}

#[test]
fn a_few_failures_of_many_do_not_make_a_suspect() {
    let load = Load::default();
    load.succeeded(SECOND, MILLI, DECAY);
    for _ in 0..100 {
        for _ in 0..9 {
            load.succeeded(SECOND, MILLI, DECAY);
        }
        load.failed(SECOND, MILLI, DECAY, false);
        assert!(!load.is_suspect());
    }
    // Three in a row do.
    load.failed(SECOND, MILLI, DECAY, false);
    load.failed(SECOND, MILLI, DECAY, false);
    assert!(load.is_suspect());
}

#[test]
fn a_suspect_that_answers_is_trusted_again_and_its_probes_start_over() {
    let load = Load::default();
    let mut now = SECOND;
    load.failed(now, MILLI, DECAY, false);
    for _ in 0..5 {
        now += LAST_PROBE;
        assert!(load.claim_probe(now, 1));
        load.failed(now, MILLI, DECAY, false);
    }
    let answers = (1..10)
        .find(|_| {
            load.succeeded(now, MILLI, DECAY);
            !load.is_suspect()
        })
        .unwrap();
    assert!(answers <= 3, "{answers}");
    while !load.is_suspect() {
        load.failed(now, MILLI, DECAY, false);
    }
    assert!(!load.claim_probe(now + FIRST_PROBE - 1, 1));
    assert!(load.claim_probe(now + FIRST_PROBE, 1));
}

#[test]
fn a_peak_is_forgotten_over_the_decay_time() {
    let load = Load::default();
    load.succeeded(SECOND, 100 * MILLI, DECAY);
    let latency = |time| load.latency_at(SECOND + time, DECAY) / 1e6;
    assert!((latency(0) - 100.0).abs() < 0.1);
    assert!((38.0..42.0).contains(&latency(DECAY)), "{}", latency(DECAY));
    assert!(latency(10 * DECAY) < 2.0);
}

#[test]
fn an_unmeasured_endpoint_is_probed_by_one_call() {
    let load = Load::default();
    assert!(load.cost(SECOND, DECAY, 1.0) < f32::EPSILON);
    load.begin(SECOND);
    // Worse than a minute for each of 1,000 calls.
    assert!(load.cost(SECOND, DECAY, 1.0) > 60e9 * 1_000.0);
}
