//! The simulator of `benches/simulator`: its servers, that a seed repeats, and short runs against
//! the bounds of gate G13. The gate itself is `cargo bench --bench simulator`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    dead_code,
    reason = "a test fails by panicking, and this is a part of a program that prints"
)]

#[path = "../benches/simulator/mod.rs"]
mod simulator;

use simulator::{
    gates,
    model::{self, MS, S, gate},
    run,
    scenario::{Extra, Policy, Scenario},
    server::Server,
};

const SEED: u64 = model::TUNING_SEEDS[0];

fn ours() -> Vec<Policy> {
    [gates::promised()].into_iter().chain(Policy::ours()).collect()
}

/// Runs a server without arrivals until a call ends; returns when and which.
fn next(server: &mut Server) -> (u64, u32) {
    let at = server.next(|_, _| true);
    (at, server.done(at).unwrap().0)
}

#[test]
fn processors_are_shared_and_none_is_split() {
    let work = (100 * MS) as f64;
    let mut server = Server::new(2.0, 1.0);
    for key in 0..2 {
        server.enter(0, work, key, u64::from(key));
    }
    // Two on two processors: each has one, however many there are.
    assert_eq!(server.next(|_, _| true), 100 * MS);
    // Two more at half of it: four on two processors, at half the speed.
    for key in 2..4 {
        server.enter(50 * MS, work, key, u64::from(key));
    }
    assert_eq!(next(&mut server), (150 * MS, 0));
    assert_eq!(next(&mut server), (150 * MS, 1));
    // The other two are half done, and have a processor each.
    assert_eq!(next(&mut server), (200 * MS, 2));
    assert_eq!(next(&mut server), (200 * MS, 3));
    assert_eq!(server.next(|_, _| true), u64::MAX);
}

#[test]
fn an_antagonist_slows_what_is_under_way_and_who_leaves_makes_room() {
    let work = (100 * MS) as f64;
    let mut server = Server::new(1.0, 2.0);
    server.enter(0, work, 0, 0);
    assert_eq!(server.next(|_, _| true), 200 * MS, "a slow server takes twice as long");
    // Half of it is done; the rest takes twice as long again.
    server.set_capacity(100 * MS, 0.5);
    assert_eq!(server.next(|_, _| true), 300 * MS);
    server.enter(100 * MS, work, 1, 1);
    assert_eq!(server.next(|_, _| true), 500 * MS);
    server.cancel(100 * MS);
    assert_eq!(server.next(|key, _| key == 0), 300 * MS);
}

#[test]
fn the_model_is_what_it_says() {
    assert!((model::SATURATION - 1.48).abs() < 1e-9);
    assert!((model::RAMP[8] - 1.742).abs() < 1e-3);
    let tuned = model::TUNING_SEEDS;
    assert!(tuned.iter().all(|seed| !model::SEEDS.contains(seed)));
    // As many calls as the load says, of the work that is expected.
    let scenario = Scenario::at(0.9, 100).short(S, 20 * S);
    let expected = 0.9 * model::ALLOTTED * 100.0 / (model::WORK_EXPECTED / 1e9) * 20.0;
    let calls = run(&scenario, &Policy::Oracle, SEED).phases[0].calls as f64;
    assert!((calls / expected - 1.0).abs() < 0.02, "{calls} of {expected}");
}

#[test]
fn a_seed_repeats_its_run_and_another_does_not() {
    let promised = gates::promised();
    let peak_ewma = Policy::Ours("peak_ewma", Default::default());
    let short = |scenario: Scenario| scenario.short(S / 2, S);
    let hedging = |extra| Scenario { loads: vec![0.05], ..short(Scenario::hedging(extra)) };
    let scenarios = [
        (Scenario { loads: vec![0.75, 1.2], ..short(Scenario::ramp(100)) }, &promised),
        (short(Scenario::fast_slow()), &promised),
        (Scenario::rotation().short(9 * S, 2 * S), &peak_ewma),
        (short(Scenario::sinkhole(100)), &peak_ewma),
        (hedging(Extra::Hedge(5.0)), &peak_ewma),
        (hedging(Extra::Retries(Some((0.2, 10)))), &Policy::Prequal(0.35)),
    ];
    for (scenario, policy) in scenarios {
        let [one, again] = [(); 2].map(|()| run(&scenario, policy, SEED));
        assert!(one.phases[0].calls > 100, "{scenario:?}");
        assert!(one == again, "{} differs in {scenario:?}", policy.name());
        assert!(one != run(&scenario, policy, SEED + 1), "{scenario:?}");
    }
}

#[test]
fn many_clients_with_little_traffic_each_keep_the_tail() {
    // A shorter look than the gate's, from as many clients at the same load.
    let scenario = Scenario::at(gate::LOAD, gate::CLIENTS).short(10 * S, 5 * S);
    let look = |policy: &Policy| {
        let mut tally = run(&scenario, policy, SEED);
        (tally.phases[0].quantile(0.99), tally.phases[0].errors)
    };
    let (p99, errors) = look(&gates::promised());
    assert!(p99 <= gate::P99, "{} ms", p99 / MS);
    assert_eq!(errors, 0);
    // It is the policy that keeps it.
    let (p99, _) = look(&Policy::Random);
    assert!(p99 > 2 * gate::P99, "random: {} ms", p99 / MS);
}

#[test]
fn a_sinkhole_gets_no_more_than_its_bound() {
    let scenario = Scenario::sinkhole(model::sinkhole::CLIENTS[0]);
    for policy in ours() {
        let share = run(&scenario, &policy, SEED).share(0);
        assert!(share <= gate::SINKHOLE, "{}: {:.2} %", policy.name(), share * 100.0);
    }
    assert!(run(&scenario, &Policy::Oracle, SEED).share(0) > 0.08, "it is a sinkhole");
}

#[test]
fn a_thousand_clients_of_few_calls_keep_a_sinkhole_from_its_even_share() {
    // 1.3 calls per second of each: by time alone, probes gave it all of its 5 %, and those of what
    // had never succeeded nearly 2 %.
    let scenario = Scenario::sinkhole(model::sinkhole::CLIENTS[1]);
    for policy in [Policy::Ours("peak_ewma", Default::default()), gates::promised()] {
        let share = run(&scenario, &policy, SEED).share(0);
        assert!(share <= gate::SINKHOLE, "{}: {:.2} %", policy.name(), share * 100.0);
    }
}

#[test]
fn what_goes_by_keys_keeps_them_and_a_bound_spreads_the_most_wanted() {
    let short = |skew| Scenario::keyed(skew).short(2 * S, 5 * S);
    let of = |scenario: &Scenario, name: &str| {
        let all = Policy::keyed(scenario.servers);
        let policy = all.iter().find(|it| it.name() == format!("tower-mesh {name}")).unwrap();
        run(scenario, policy, SEED)
    };
    let even = short(model::keys::SKEWS[0]);
    for name in ["ring_hash", "maglev"] {
        let kept = of(&even, name).kept();
        assert!(kept > 0.99, "{name}: {kept}");
    }
    // One of the five replicas of its shard, and one of the hundred.
    let (sharded, random) = (of(&even, "sharded").kept(), of(&even, "random").kept());
    assert!(sharded > 0.15 && random < 0.03, "{sharded}, {random}");
    // A tenth of the calls is for one key.
    let skewed = short(model::keys::SKEWS[1]);
    let (free, bounded) = (of(&skewed, "maglev"), of(&skewed, "maglev, bounded"));
    assert!(free.busiest(skewed.servers) > 4.0, "{}", free.busiest(skewed.servers));
    assert!(bounded.busiest(skewed.servers) < 0.8 * free.busiest(skewed.servers));
    assert!(bounded.max_in_flight < free.max_in_flight);
}

#[test]
fn keys_move_no_more_than_they_must() {
    use tower_mesh::balance::bench::endpoint;
    let all = |range: std::ops::Range<u32>| range.map(endpoint).collect::<Vec<_>>();
    for policy in Policy::keyed(100).iter().filter(|it| it.name().contains("65,536")) {
        let Policy::Ours(_, balancer) = policy else { continue };
        let (moved, needless) = simulator::keys::moved(balancer, &all(0..100), &all(1..100));
        assert!(moved > 0.005 && moved < 0.04 && needless < 0.03, "{moved}, {needless}");
        let (moved, needless) = simulator::keys::moved(balancer, &all(0..100), &all(10..110));
        assert!(moved < 0.25 && needless < 0.01, "{moved}, {needless}");
    }
}

#[test]
fn pick_first_uses_all_servers_when_it_is_shuffled() {
    let [listed, shuffled] = [0, 1].map(|place| Policy::first()[place].clone());
    let plain = Scenario::at(0.2, 1_000).short(S, 3 * S);
    let (listed, spread) = (run(&plain, &listed, SEED), run(&plain, &shuffled, SEED));
    assert!(listed.share(0) > 0.9999, "each client calls the first of the list");
    let busiest = spread.busiest(plain.servers);
    assert!(busiest < 3.0, "a thousand clients on a hundred servers: {busiest}");
    for scenario in [Scenario::dead(), Scenario { loads: vec![0.3], ..Scenario::rotation() }] {
        let scenario = Scenario { clients: 500, loads: vec![0.2], ..scenario.short(9 * S, 4 * S) };
        let tally = run(&scenario, &shuffled, SEED);
        let failed = tally.phases[0].errors;
        assert_eq!(failed, 0, "{:?}", scenario.trouble);
    }
}

#[test]
fn parts_of_a_cluster_use_every_server() {
    let plain = Scenario::at(0.5, 100).short(S, 3 * S);
    for policy in Policy::parts().iter().filter(|it| matches!(it, Policy::Part(..))) {
        let tally = run(&plain, policy, SEED);
        assert_eq!(tally.phases[0].errors, 0, "{}", policy.name());
        let used = tally.shares.iter().filter(|calls| **calls > 0).count();
        assert_eq!(used, 100, "{}", policy.name());
        assert!(tally.busiest(100) < 2.5, "{}: {}", policy.name(), tally.busiest(100));
    }
}

#[test]
fn dead_and_replaced_servers_fail_no_call() {
    for scenario in [
        Scenario::dead().short(2 * S, 10 * S),
        Scenario { loads: vec![0.5], ..Scenario::rotation() }.short(5 * S, 20 * S),
    ] {
        for policy in &ours()[..3] {
            let tally = run(&scenario, policy, SEED);
            let phase = &tally.phases[0];
            assert_eq!(phase.errors, 0, "{} of {}, {}", phase.errors, phase.calls, policy.name());
            assert!(phase.attempts > phase.calls, "{}: none was refused", policy.name());
        }
    }
}

#[test]
fn a_hedge_takes_the_stragglers_out_of_the_tail_and_sends_no_more_than_its_share() {
    let peak_ewma = Policy::Ours("peak_ewma", Default::default());
    let look = |extra| {
        let scenario = Scenario { loads: vec![0.1], ..Scenario::hedging(extra) };
        let mut tally = run(&scenario.short(5 * S, 10 * S), &peak_ewma, SEED);
        let phase = &mut tally.phases[0];
        (phase.quantile(0.995), phase.extra())
    };
    let (alone, none) = look(Extra::None);
    assert!(none < f64::EPSILON, "{none}");
    assert!(alone > 150 * MS, "half of the stragglers are above it: {} ms", alone / MS);
    let (hedged, extra) = look(Extra::Hedge(2.0));
    assert!(hedged < alone / 3, "{} of {} ms", hedged / MS, alone / MS);
    assert!(extra > 0.01 && extra <= 0.02 + 1e-3, "{extra}");
}

/// The share of the calls of each second that succeed, of half of the servers gone for 3 s at a load of
/// 0.8.
fn outage(extra: Extra) -> Vec<f64> {
    let end = 50 * S;
    let scenario = Scenario::metastable(extra, true).short(0, end);
    let tally = run(&scenario, &Policy::Ours("peak_ewma", Default::default()), SEED);
    let seconds = tally.seconds.iter().take((end / S) as usize);
    seconds.map(|(all, good)| *good as f64 / (*all).max(1) as f64).collect()
}

#[test]
fn after_an_outage_the_throttle_has_the_goodput_back_and_naive_retries_never_do() {
    use model::metastable::{OUTAGE, OUTAGE_AT, RECOVERED};
    let after = ((OUTAGE_AT + OUTAGE) / S) as usize;
    let throttled = outage(Extra::Throttled(10.0, 0.1));
    let back = throttled.iter().rposition(|good| *good < RECOVERED).map_or(0, |bad| bad + 1);
    assert!(back <= after + 10, "good again from second {back} on: {throttled:?}");
    assert!(throttled[after - 1] < RECOVERED, "it was an outage");
    // The same calls whose three retries nobody pays for.
    let naive = outage(Extra::Retries(None));
    let last: f64 = naive.iter().rev().take(10).sum::<f64>() / 10.0;
    assert!(last < 0.5, "{last} of the last ten seconds' calls: {naive:?}");
}
