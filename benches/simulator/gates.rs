//! Gate G13: what it demands, and what came out; the worst seed counts.

use tower_mesh::config;

use super::{
    model::{self, gate, sinkhole},
    scenario::{Policy, Scenario, text},
    study::{self, Job},
    tally::{QUANTILES, Tally},
};

/// A bound and its worst seed.
pub(crate) struct Verdict {
    what: String,
    limit: String,
    worst: String,
    seed: u64,
    is_met: bool,
    /// A bound that is not met yet: it stays red, and the run fails only beyond this.
    is_held: bool,
}

/// The policy whose tails are promised.
pub(crate) fn promised() -> Policy {
    Policy::Ours("prequal", config::Balancer::Prequal(config::Prequal::default()))
}

/// The better of two by the client's own calls in flight, by the book.
fn p2c() -> Policy {
    Policy::P2c
}

fn over(seeds: &[u64], scenario: &Scenario, policy: &Policy) -> Vec<Job> {
    seeds.iter().map(|seed| (scenario.clone(), policy.clone(), *seed)).collect()
}

/// At 0.9 of the allotment, by 1,000 clients: p99, and no error.
pub(crate) fn tail(seeds: &[u64]) -> Vec<Verdict> {
    let policy = promised();
    let scenario = Scenario::at(gate::LOAD, gate::CLIENTS);
    let mut tallies = study::all(&over(seeds, &scenario, &policy));
    let p99: Vec<u64> = tallies.iter_mut().map(|tally| tally.phases[0].quantile(0.99)).collect();
    let errors: Vec<u64> = tallies.iter().map(|tally| tally.phases[0].errors).collect();
    for ((seed, p99), errors) in seeds.iter().zip(&p99).zip(&errors) {
        println!("seed {seed}: p99 {} ms, {errors} errors", text(*p99));
    }
    let case = format!("{} at {}, {} clients", policy.name(), gate::LOAD, gate::CLIENTS);
    let (seed, worst) = greatest(seeds, &p99);
    let (failing, most) = greatest(seeds, &errors);
    vec![
        Verdict {
            what: format!("p99, {case}"),
            limit: format!("≤ {} ms", text(gate::P99)),
            worst: format!("{} ms", text(worst)),
            seed,
            is_met: worst <= gate::P99,
            is_held: worst <= HELD_P99,
        },
        Verdict {
            what: format!("errors, {case}"),
            limit: "0".into(),
            worst: most.to_string(),
            seed: failing,
            is_met: most == 0,
            is_held: most == 0,
        },
    ]
}

/// What a sinkhole gets.
pub(crate) fn sinkhole(seeds: &[u64]) -> Vec<Verdict> {
    let verdict = |(policy, clients): (&Policy, u32)| {
        let scenario = Scenario::sinkhole(clients);
        let tallies = study::all(&over(seeds, &scenario, policy));
        let shares: Vec<f64> = tallies.iter().map(|tally| tally.share(0)).collect();
        let worst = (0..shares.len()).max_by(|one, other| shares[*one].total_cmp(&shares[*other]));
        let worst = worst.unwrap_or(0);
        Verdict {
            what: format!(
                "share of a sinkhole (1 of {}), {}, {clients} clients",
                sinkhole::SERVERS,
                policy.name()
            ),
            limit: format!("≤ {:.0} %", gate::SINKHOLE * 100.0),
            worst: format!("{:.2} %", shares[worst] * 100.0),
            seed: seeds[worst],
            is_met: shares[worst] <= gate::SINKHOLE,
            is_held: shares[worst] <= gate::SINKHOLE,
        }
    };
    let policies: Vec<_> = [promised()].into_iter().chain(Policy::ours()).collect();
    let cases = sinkhole::CLIENTS
        .into_iter()
        .flat_map(|clients| policies.iter().map(move |policy| (policy, clients)));
    cases.map(verdict).collect()
}

/// Never worse than P2C below saturation, at any step and for either tail.
pub(crate) fn beside_p2c(seeds: &[u64]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for clients in model::CLIENTS {
        let ramp = Scenario::below_saturation(clients);
        let mut ours = study::all(&over(seeds, &ramp, &promised()));
        let mut p2c = study::all(&over(seeds, &ramp, &p2c()));
        for quantile in &QUANTILES[2..] {
            let mut worst = (0.0, 0, 0);
            for (place, seed) in seeds.iter().enumerate() {
                for step in 0..ramp.loads.len() {
                    let at = |tally: &mut Tally| tally.phases[step].quantile(*quantile) as f64;
                    let ratio = at(&mut ours[place]) / at(&mut p2c[place]).max(1.0);
                    if ratio > worst.0 {
                        worst = (ratio, *seed, step);
                    }
                }
            }
            let (ratio, seed, step) = worst;
            let load = ramp.loads[step];
            verdicts.push(Verdict {
                what: format!(
                    "p{} of {} beside that of {}, {clients} clients, each step below {:.2}",
                    quantile * 100.0,
                    promised().name(),
                    self::p2c().name(),
                    model::SATURATION
                ),
                limit: format!("≤ {:.0} %", gate::BESIDE_P2C * 100.0),
                worst: format!("{:.1} % (at {load:.2})", ratio * 100.0),
                seed,
                is_met: ratio <= gate::BESIDE_P2C,
                is_held: ratio <= gate::BESIDE_P2C,
            });
        }
    }
    verdicts
}

/// Prints them; whether none is worse than it may be.
pub(crate) fn judge(verdicts: &[Verdict]) -> bool {
    println!("\n| G13 | limit | worst seed | which | |\n|---|---|---|---|---|");
    for Verdict { what, limit, worst, seed, is_met, .. } in verdicts {
        let met = if *is_met { "met" } else { "**red**" };
        println!("| {what} | {limit} | {worst} | {seed} | {met} |");
    }
    verdicts.iter().all(|verdict| verdict.is_held)
}

/// The greatest, and its seed.
fn greatest(seeds: &[u64], found: &[u64]) -> (u64, u64) {
    let pairs = seeds.iter().copied().zip(found.iter().copied());
    pairs.max_by_key(|(_, found)| *found).unwrap_or_default()
}

/// What the p99 of the gate is held at while it is red.
const HELD_P99: u64 = gate::P99;
