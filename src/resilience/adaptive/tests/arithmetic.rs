//! Bounds that hold whatever is seen.

use proptest::prelude::*;

use super::super::{
    control::{Control, Seen},
    rules::Rules,
};
use crate::{
    config::{
        AdaptiveConcurrency, AimdController, ConcurrencyController, Gradient2Controller,
        GradientController, VegasController,
    },
    core::Random,
};

fn controllers() -> impl Strategy<Value = ConcurrencyController> {
    prop_oneof![
        Just(ConcurrencyController::Gradient(GradientController::default())),
        Just(ConcurrencyController::Gradient2(Gradient2Controller::default())),
        Just(ConcurrencyController::Vegas(VegasController::default())),
        Just(ConcurrencyController::Aimd(AimdController::default())),
    ]
}

fn windows() -> impl Strategy<Value = Vec<(Option<f64>, u32, u32, u32)>> {
    let latency = proptest::option::of(0.0..1e10_f64);
    let drops = prop_oneof![3 => Just(0), 1 => 0..1_000_u32];
    let in_flight = prop_oneof![0..30_u32, 0..5_000_u32];
    proptest::collection::vec((latency, 0..1_000_u32, drops, in_flight), 1..200)
}

proptest! {
    #[test]
    fn a_limit_stays_within_its_bounds(
        controller in controllers(),
        min in 1..100_u32,
        more in 0..10_000_u32,
        windows in windows(),
    ) {
        let mut config = AdaptiveConcurrency::default();
        config.controller = Some(controller);
        config.min_concurrency = Some(min);
        config.max_concurrency = Some(min + more);
        let (rules, random) = (Rules::new(&config), Random::seeded(1));
        let mut control = Control::new(&config.controller(), &rules, &random);
        let bounds = f64::from(min)..=f64::from(min + more);
        prop_assert!(bounds.contains(&control.first().limit));
        let mut now = 0;
        for (latency, answers, drops, in_flight) in windows {
            now += 1_000_000_000;
            let latency = latency.filter(|_| answers > 0);
            let seen = Seen { now, latency, answers, drops, in_flight };
            let limit = control.update(&seen, &rules, &random).limit;
            prop_assert!(bounds.contains(&limit), "{} of {:?}", limit, seen);
        }
    }

    #[test]
    fn a_limit_is_at_most_five_times_what_is_in_flight(
        controller in controllers(),
        windows in windows(),
    ) {
        let mut config = AdaptiveConcurrency::default();
        config.controller = Some(controller);
        config.min_concurrency = Some(1);
        config.max_concurrency = Some(1_000_000);
        let (rules, random) = (Rules::new(&config), Random::seeded(2));
        let mut control = Control::new(&config.controller(), &rules, &random);
        let mut now = 0;
        // Envoy's may be at its smallest, to measure, or keep what it had before.
        let is_envoys = matches!(control, Control::Gradient(_));
        for (latency, answers, drops, in_flight) in windows {
            now += 1_000_000_000;
            let latency = latency.filter(|_| answers > 0);
            let seen = Seen { now, latency, answers, drops, in_flight };
            let limit = control.update(&seen, &rules, &random).limit;
            if is_envoys {
                continue;
            }
            prop_assert!(limit <= (5.0 * f64::from(in_flight)).max(1.0), "{} of {:?}", limit, seen);
        }
    }

    #[test]
    fn failures_never_let_a_limit_grow(
        controller in controllers(),
        windows in windows(),
    ) {
        let mut config = AdaptiveConcurrency::default();
        config.controller = Some(controller);
        let (rules, random) = (Rules::new(&config), Random::seeded(3));
        let mut control = Control::new(&config.controller(), &rules, &random);
        let is_envoys = matches!(control, Control::Gradient(_));
        let mut now = 0;
        for (latency, answers, drops, in_flight) in windows {
            now += 1_000_000_000;
            let before = control.first().limit;
            let seen = Seen { now, latency: latency.filter(|_| answers > 0), answers, drops, in_flight };
            let limit = control.update(&seen, &rules, &random).limit;
            // Envoy's looks at latencies alone.
            if drops > 0 && !is_envoys {
                prop_assert!(limit <= before, "{} after {}: {:?}", limit, before, seen);
            }
        }
    }
}
