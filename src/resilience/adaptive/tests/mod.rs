//! The controllers in simulations, under seeds.

mod arithmetic;
mod histogram;
mod world;

use std::time::Duration;

use self::world::{MILLI, SECOND, Service, World};
use super::decision::{Adaptive, End};
use crate::{
    config::{
        AdaptiveConcurrency, AimdController, ConcurrencyController, Gradient2Controller,
        GradientController, VegasController,
    },
    core::Random,
};

/// 3,200 calls per second, and a quarter of it.
const WHOLE: Service = Service { workers: 32, millis: 10.0 };
const QUARTER: Service = Service { workers: 8, millis: 10.0 };
/// As many calls per second, each of which takes twice as long.
const SLOWER: Service = Service { workers: 64, millis: 20.0 };

fn config(controller: ConcurrencyController) -> AdaptiveConcurrency {
    let mut config = AdaptiveConcurrency::default();
    config.controller = Some(controller);
    config
}

fn gradient(change: impl FnOnce(&mut GradientController)) -> AdaptiveConcurrency {
    let mut controller = GradientController::default();
    change(&mut controller);
    config(ConcurrencyController::Gradient(controller))
}

fn gradient2() -> AdaptiveConcurrency {
    config(ConcurrencyController::Gradient2(Gradient2Controller::default()))
}

fn vegas() -> AdaptiveConcurrency {
    config(ConcurrencyController::Vegas(VegasController::default()))
}

/// It knows failures alone: here what takes over 50 ms is one.
fn aimd() -> AdaptiveConcurrency {
    let mut controller = AimdController::default();
    controller.timeout = Some(Duration::from_millis(50));
    config(ConcurrencyController::Aimd(controller))
}

fn all() -> [(&'static str, AdaptiveConcurrency); 4] {
    [
        ("gradient", gradient(|_| {})),
        ("gradient2", gradient2()),
        ("vegas", vegas()),
        ("aimd", aimd()),
    ]
}

#[test]
fn without_a_limit_a_service_that_lost_capacity_answers_nobody_in_time() {
    let mut world = World::new(None, WHOLE, 1);
    world.timeout = SECOND;
    assert!(world.run(30, 2_000.0).answered > 59_000);
    world.change(QUARTER);
    world.run(30, 2_000.0);
    assert_eq!(world.run(30, 2_000.0).answered, 0, "whatever it does is too late");
}

#[test]
fn capacity_that_steps_down_is_followed_and_used() {
    for (name, config) in all() {
        let mut world = World::new(Some(&config), WHOLE, 1);
        world.timeout = SECOND;
        world.run(60, 2_000.0);
        world.change(QUARTER);
        world.run(30, 2_000.0);
        // It has 800 per second to give.
        let mut seen = world.run(30, 2_000.0);
        assert!(seen.answered > 30 * 720, "{name}: {}", seen.answered);
        assert_eq!(seen.failed, 0, "{name}");
        assert!(seen.percentile(99) < 100, "{name}: {} ms", seen.percentile(99));
    }
}

#[test]
fn capacity_that_comes_back_is_used_again() {
    for (name, config) in all() {
        let mut world = World::new(Some(&config), QUARTER, 2);
        world.timeout = SECOND;
        world.run(60, 2_000.0);
        world.change(WHOLE);
        world.run(30, 2_000.0);
        let seen = world.run(30, 2_000.0);
        assert!(seen.answered > 30 * 1_900, "{name}: {}", seen.answered);
    }
}

/// The limit of Envoy's gradient where the latency has risen for good: *g* = 1.25 · 10 / 20, and
/// the fixed point of *L* = *g*·*L* + √(*g*·*L*) is *g* / (1 − *g*)² = 4.4, for work that needs 40 in flight.
#[test]
fn envoys_gradient_pins_its_limit_when_the_latency_rises_for_good() {
    let fixed = gradient(|it| it.fixed_min_rtt = Some(Duration::from_millis(10)));
    let rare = gradient(|it| it.min_rtt_interval = Some(Duration::from_secs(3_600)));
    for config in [fixed, rare] {
        let mut world = World::new(Some(&config), WHOLE, 3);
        assert!(world.run(60, 2_000.0).answered > 110_000);
        world.change(SLOWER);
        world.run(600, 2_000.0);
        let seen = world.run(60, 2_000.0);
        assert!(seen.mean_limit() < 8.0, "{}", seen.mean_limit());
        assert!(seen.answered < 60 * 400, "{}: most is refused, after ten minutes", seen.answered);
    }
}

#[test]
fn envoys_gradient_measures_a_service_that_answers_in_less_than_100_microseconds() {
    let random = Random::seeded(1);
    let adaptive = Adaptive::new(&gradient(|_| {}), 0, &random);
    assert_eq!(adaptive.limit(), 3, "it measures");
    let mut now = 0;
    for _ in 0..2_000 {
        now += MILLI;
        let times = (now - MILLI / 20, now);
        adaptive.ended(End::Answered, times, now, adaptive.limit(), &random);
    }
    assert!(adaptive.limit() > 20, "{}", adaptive.limit());
}

#[test]
fn gradient2_does_not_pin_its_limit_when_the_latency_rises_for_good() {
    let mut world = World::new(Some(&gradient2()), WHOLE, 3);
    world.run(60, 2_000.0);
    world.change(SLOWER);
    world.run(120, 2_000.0);
    let seen = world.run(60, 2_000.0);
    assert!(seen.answered > 60 * 1_950, "{}", seen.answered);
    assert!(seen.refused < 60 * 20, "{}", seen.refused);
}

#[test]
fn a_latency_that_creeps_up_is_followed_by_gradient2_and_pins_envoys_gradient() {
    let mut rare = gradient(|it| it.min_rtt_interval = Some(Duration::from_secs(7_200)));
    let mut ours = gradient2();
    (rare.min_concurrency, ours.min_concurrency) = (Some(1), Some(1));
    let answered = |config: &AdaptiveConcurrency| {
        let mut world = World::new(Some(config), WHOLE, 4);
        world.run(60, 300.0);
        // From 10 ms to 30 ms in 40 minutes, with room for as many calls per second as ever.
        for minute in 1..=40 {
            let millis = 10.0 + f64::from(minute) / 2.0;
            world.change(Service { workers: (3.2 * millis) as usize, millis });
            world.run(60, 300.0);
        }
        world.run(60, 300.0).answered as f64 / 18_000.0
    };
    let (ours, envoys) = (answered(&ours), answered(&rare));
    assert!(ours > 0.97, "{ours}");
    assert!(envoys < 0.5, "{envoys}");
}

#[test]
fn envoys_gradient_refuses_while_it_measures_and_gradient2_never_has_to() {
    let often = gradient(|it| it.min_rtt_interval = Some(Duration::from_secs(10)));
    // Calls that take long make a long measurement: fifty of them, three at a time.
    let slow = Service { workers: 400, millis: 200.0 };
    let refused = |config: &AdaptiveConcurrency| {
        let mut world = World::new(Some(config), slow, 5);
        world.run(120, 200.0);
        world.run(60, 200.0).refused
    };
    let (ours, envoys) = (refused(&gradient2()), refused(&often));
    assert_eq!(ours, 0);
    assert!(envoys > 1_000, "{envoys} of 12000");
}

#[test]
fn after_an_idle_time_the_limit_is_what_it_was() {
    for (name, config) in [("gradient2", gradient2()), ("vegas", vegas()), ("aimd", aimd())] {
        let mut world = World::new(Some(&config), WHOLE, 6);
        world.run(120, 2_000.0);
        let before = world.limit();
        world.run(3_600, 0.0);
        assert_eq!(world.limit(), before, "{name}");
        let seen = world.run(10, 2_000.0);
        assert!(seen.refused < 20, "{name}: {}", seen.refused);
    }
}

#[test]
fn few_calls_do_not_let_the_limit_grow_out_of_sight() {
    let mut config = gradient(|it| it.min_rtt_interval = Some(Duration::from_secs(600)));
    let limit = |config: &AdaptiveConcurrency| {
        let mut world = World::new(Some(config), WHOLE, 7);
        world.run(300, 200.0);
        world.limit()
    };
    // About two are in flight.
    let bounded = limit(&config);
    assert!(bounded <= 50, "{bounded}");
    config.max_limit_factor = Some(1e6);
    let unbounded = limit(&config);
    assert_eq!(unbounded, 1_000, "that is what Envoy's grows to, tested by nothing");
}

#[test]
fn a_service_that_hangs_takes_the_limit_down_though_it_answers_nothing() {
    for (name, mut config) in [("gradient2", gradient2()), ("vegas", vegas()), ("aimd", aimd())] {
        config.min_concurrency = Some(2);
        let mut world = World::new(Some(&config), WHOLE, 8);
        world.timeout = 100 * MILLI;
        world.run(60, 2_000.0);
        let before = world.limit();
        // What it ends is long given up.
        world.change(Service { workers: 32, millis: 500.0 });
        world.run(120, 2_000.0);
        assert!(world.limit() < before / 2, "{name}: {} of {before}", world.limit());
    }
}
