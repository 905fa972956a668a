//! Gate G13, and tables and pictures of every policy: see `docs/SIMULATOR.md`.
//!
//! `cargo bench --bench simulator` judges the first bounds of the gate; `-- gate` all of them,
//! `-- tables` prints the tables, `-- pictures` prints them and draws into `docs/simulator/`.
//! `--tuning` takes the seeds that are there to tune with.
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

use std::process::ExitCode;

use simulator::{gates, model, picture, tables};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let seeds: &[u64] = if has("--tuning") { &model::TUNING_SEEDS } else { &model::SEEDS };
    let (pictures, all) = (has("pictures"), has("tables") || has("pictures"));
    let seed = seeds[0];
    let table = |name: &str| all || has(name);
    let mut told = false;
    for (name, tell) in [
        ("plain", tables::plain as fn(u64)),
        ("fast-slow", tables::fast_slow),
        ("sinkhole", tables::sinkhole),
        ("dead", tables::dead),
        ("rotation", tables::rotation),
        ("keys", tables::keys),
        ("pick-first", tables::first),
        ("parts", tables::parts),
        ("decays", tables::decays),
        ("hedging", tables::hedging),
    ] {
        if table(name) {
            told = true;
            tell(seed);
        }
    }
    if table("ramp") {
        told = true;
        let ramps = tables::ramp(seed);
        if pictures {
            picture::ramps(&ramps).unwrap();
        }
    }
    if table("recovery") {
        told = true;
        let curves = tables::metastable(seed);
        if pictures {
            picture::recovery(&curves).unwrap();
        }
    }
    if told && !has("gate") {
        return ExitCode::SUCCESS;
    }
    if has("sinkholes") {
        let is_kept = gates::judge(&gates::sinkhole(seeds));
        return if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let mut verdicts = gates::tail(seeds);
    verdicts.extend(gates::sinkhole(seeds));
    if has("gate") {
        verdicts.extend(gates::beside_p2c(seeds));
    }
    if gates::judge(&verdicts) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
