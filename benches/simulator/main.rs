//! Gate G13, and tables and pictures of every policy: see `docs/SIMULATOR.md`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a program that counts and prints"
)]

#[path = "mod.rs"]
mod simulator;

use simulator::{
    model, run,
    scenario::{Policy, Scenario},
};

fn main() {
    let seed = model::SEEDS[0];
    for policy in Policy::ours().into_iter().chain(Policy::textbook()) {
        for clients in model::CLIENTS {
            let began = tokio::time::Instant::now();
            let mut tally = run(&Scenario::at(0.9, clients), &policy, seed);
            let probes = tally.probes_per_call(); let rif = tally.max_in_flight;
            let phase = &mut tally.phases[0];
            let q = phase.quantiles().map(|q| q / 1_000_000);
            println!(
                "{} {clients}: {q:?} err {:.3}% calls {} probes {:.2} maxrif {} {:?}",
                policy.name(),
                phase.errors as f64 / phase.calls as f64 * 100.0,
                phase.calls,
                probes,
                rif,
                began.elapsed()
            );
        }
    }
}
