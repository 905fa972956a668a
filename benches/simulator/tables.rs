//! The tables of `docs/SIMULATOR.md`, as Markdown.

use std::fmt::Write as _;

use tower_mesh::{balance::bench, config};

use super::{
    gates, keys,
    model::{self, S, fast_slow, hedging, metastable, sinkhole},
    scenario::{Extra, Policy, Scenario, text},
    study,
    tally::Tally,
};

/// Ours, and the textbook's.
pub(crate) fn policies() -> Vec<Policy> {
    [gates::promised()].into_iter().chain(Policy::ours()).chain(Policy::textbook()).collect()
}

/// The crate's that a default mesh may use.
fn ours() -> Vec<Policy> {
    [gates::promised()].into_iter().chain(Policy::ours()).collect()
}

fn runs(scenarios: &[(Scenario, Policy)], seed: u64) -> Vec<Tally> {
    let jobs: Vec<_> = scenarios
        .iter()
        .map(|(scenario, policy)| (scenario.clone(), policy.clone(), seed))
        .collect();
    study::all(&jobs)
}

/// The quantiles of the first phase, errors, extra attempts, probes and the most in flight.
fn row(name: &str, tally: &mut Tally) {
    let (probes, most) = (tally.probes_per_call(), tally.max_in_flight);
    let phase = &mut tally.phases[0];
    let errors = phase.errors as f64 / phase.calls.max(1) as f64 * 100.0;
    let [p50, p90, p99, p999] = phase.quantiles().map(text);
    let extra = phase.extra() * 100.0;
    println!(
        "| {name} | {p50} | {p90} | {p99} | {p999} | {errors:.3} | {extra:.2} | {probes:.1} | {most} |"
    );
}

fn head(title: &str, text: &str) {
    println!("\n### {title}\n\n{text}\n");
    println!(
        "| policy | p50 | p90 | p99 | p99.9 | errors % | extra attempts % | probes per call | most in flight |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
}

fn table(title: &str, text: &str, seed: u64, runs_of: &[(Scenario, Policy)]) {
    head(title, text);
    for ((_, policy), mut tally) in runs_of.iter().zip(runs(runs_of, seed)) {
        row(&policy.name(), &mut tally);
    }
}

pub(crate) fn plain(seed: u64) {
    for clients in model::CLIENTS {
        for load in [0.7, 0.9] {
            let title = format!("Load {load}, {clients} clients");
            let runs: Vec<_> = policies()
                .into_iter()
                .map(|policy| (Scenario::at(load, clients), policy))
                .collect();
            table(&title, "Milliseconds.", seed, &runs);
        }
    }
}

/// One table per number of clients; returns what pictures are made of.
pub(crate) fn ramp(seed: u64) -> Vec<(u32, Vec<(Policy, Tally)>)> {
    let mut ramps = Vec::new();
    for clients in model::CLIENTS {
        let jobs: Vec<_> =
            policies().into_iter().map(|policy| (Scenario::ramp(clients), policy)).collect();
        let mut tallies = runs(&jobs, seed);
        println!(
            "\n### Ramp, {clients} clients\n\np50 / p90 / p99 / p99.9 in milliseconds, and errors in percent where there are any.\n"
        );
        let steps = model::RAMP.iter().map(|load| format!(" {load:.2} |")).collect::<String>();
        println!("| policy |{steps}\n|---|{}", "---|".repeat(model::RAMP.len()));
        for ((_, policy), tally) in jobs.iter().zip(&mut tallies) {
            let mut line = format!("| {} |", policy.name());
            for phase in &mut tally.phases {
                let quantiles = phase.quantiles().map(text).join(" / ");
                let errors = phase.errors as f64 / phase.calls.max(1) as f64 * 100.0;
                let errors =
                    if phase.errors > 0 { format!("; {errors:.2} %") } else { String::new() };
                let _infallible = write!(line, " {quantiles}{errors} |");
            }
            println!("{line}");
        }
        ramps.push((clients, jobs.into_iter().map(|(_, policy)| policy).zip(tallies).collect()));
    }
    ramps
}

pub(crate) fn fast_slow(seed: u64) {
    let mut all: Vec<_> = ours();
    for hot in fast_slow::HOT {
        let mut settings = config::Prequal::default();
        settings.hot_quantile = Some(hot);
        all.push(Policy::Ours(sweep(hot), config::Balancer::Prequal(settings)));
    }
    all.extend(Policy::textbook());
    let runs: Vec<_> = all.into_iter().map(|policy| (Scenario::fast_slow(), policy)).collect();
    let text = "Every second server takes twice as long. Milliseconds.";
    table("Fast and slow halves", text, seed, &runs);
}

/// A name of a policy is static.
fn sweep(hot: f64) -> &'static str {
    match hot {
        0.0 => "prequal Q 0",
        0.35 => "prequal Q 0.35",
        0.6 => "prequal Q 0.6",
        0.75 => "prequal Q 0.75",
        0.84 => "prequal Q 0.84",
        _ => "prequal Q 0.99",
    }
}

pub(crate) fn sinkhole(seed: u64) {
    println!(
        "\n### A sinkhole\n\nOne server of {} fails every call at once. Its share of the attempts in percent; an even share is {:.0}.\n",
        sinkhole::SERVERS,
        100.0 / f64::from(sinkhole::SERVERS)
    );
    println!(
        "| policy | {} clients | {} clients |\n|---|---|---|",
        sinkhole::CLIENTS[0],
        sinkhole::CLIENTS[1]
    );
    let of = |clients: u32| -> Vec<_> {
        policies().into_iter().map(|policy| (Scenario::sinkhole(clients), policy)).collect()
    };
    let few = runs(&of(sinkhole::CLIENTS[0]), seed);
    let many = runs(&of(sinkhole::CLIENTS[1]), seed);
    for ((policy, few), many) in policies().iter().zip(few).zip(many) {
        println!(
            "| {} | {:.2} | {:.2} |",
            policy.name(),
            few.share(0) * 100.0,
            many.share(0) * 100.0
        );
    }
}

pub(crate) fn dead(seed: u64) {
    let runs: Vec<_> = policies().into_iter().map(|policy| (Scenario::dead(), policy)).collect();
    let text = "Two servers of 20 refuse connections; what was never sent is sent elsewhere. Milliseconds.";
    table("Dead endpoints", text, seed, &runs);
}

pub(crate) fn rotation(seed: u64) {
    let policies = policies().into_iter().filter(|policy| *policy != Policy::Weighted);
    let runs: Vec<_> = policies.map(|policy| (Scenario::rotation(), policy)).collect();
    let text = "A tenth of the servers is replaced every 10 s; each client hears of it up to 2 s later. Milliseconds.";
    table("Rotation", text, seed, &runs);
}

pub(crate) fn keys(seed: u64) {
    use model::keys::{CLIENTS, KEYS, LOAD, SKEWS};
    let mut cases: Vec<(String, Scenario)> = Vec::new();
    for skew in SKEWS {
        cases.push((format!("skew {skew}"), Scenario::keyed(skew)));
    }
    cases.push((format!("skew {}, rotation", SKEWS[0]), Scenario::keyed_rotation(SKEWS[0])));
    println!(
        "\n### Keys\n\nEach call has one of {KEYS} keys, of which the n-th is wanted as 1 / n^skew. {LOAD} of load, {CLIENTS} clients. \"Kept\": of the calls whose key was called before, by any client, those that met the same server, in percent. \"Busiest\": what the busiest server got, as a multiple of an even share; of a rotation, of those that ever were. Milliseconds.\n"
    );
    println!(
        "| policy, case | p50 | p90 | p99 | p99.9 | errors % | kept % | busiest | most in flight |\n|---|---|---|---|---|---|---|---|---|"
    );
    for (name, scenario) in cases {
        let runs_of: Vec<_> = Policy::keyed(scenario.servers)
            .into_iter()
            .filter(|policy| policy.name() != "tower-mesh sharded" || !name.contains("rotation"))
            .map(|policy| (scenario.clone(), policy))
            .collect();
        for ((_, policy), mut tally) in runs_of.iter().zip(runs(&runs_of, seed)) {
            let (kept, most) = (tally.kept() * 100.0, tally.max_in_flight);
            let servers = scenario.servers.max(tally.shares.len() as u32);
            let busiest = tally.busiest(servers);
            let phase = &mut tally.phases[0];
            let errors = phase.errors as f64 / phase.calls.max(1) as f64 * 100.0;
            let [p50, p90, p99, p999] = phase.quantiles().map(text);
            println!(
                "| {}, {name} | {p50} | {p90} | {p99} | {p999} | {errors:.3} | {kept:.1} | {busiest:.2} | {most} |",
                policy.name()
            );
        }
    }
    moves();
}

/// Where keys go when endpoints change; no time passes, and no seed counts.
fn moves() {
    let all = |range: std::ops::Range<u32>| range.map(bench::endpoint).collect::<Vec<_>>();
    let weighted = |heavy: u32| -> Vec<_> {
        (0..model::SERVERS)
            .map(|number| bench::endpoint(number).weight(if number == 0 { heavy } else { 1 }))
            .collect()
    };
    let servers = model::SERVERS;
    let cases = [
        ("one of 100 leaves", all(0..servers), all(1..servers), 1.0),
        ("one joins 100", all(0..servers), all(0..servers + 1), 100.0 / 101.0),
        ("10 of 100 are replaced", all(0..servers), all(10..servers + 10), 10.0),
        ("one of 100 has twice the weight", weighted(1), weighted(2), 200.0 / 101.0 - 1.0),
    ];
    println!(
        "\n### Keys that move\n\nOf {} keys, in percent; and of all keys those that move between endpoints that are there before and after. Least: what must move if shares are to be even.\n",
        model::keys::KEYS
    );
    println!(
        "| change | least | ring_hash | ring_hash of 65,536 | maglev |\n|---|---|---|---|---|"
    );
    for (name, before, after, least) in cases {
        let mut line = format!("| {name} | {least:.1} |");
        for policy in Policy::keyed(servers) {
            let Policy::Ours(name, balancer) = &policy else { continue };
            if matches!(*name, "ring_hash" | "ring_hash of 65,536" | "maglev") {
                let (moved, needless) = keys::moved(balancer, &before, &after);
                let _infallible =
                    write!(line, " {:.1}, {:.1} needlessly |", moved * 100.0, needless * 100.0);
            }
        }
        println!("{line}");
    }
}

pub(crate) fn first(seed: u64) {
    let mut runs_of = Vec::new();
    for clients in model::CLIENTS {
        let policies = Policy::first().into_iter().chain([Policy::ours()[3].clone()]);
        runs_of.extend(policies.map(|policy| (Scenario::at(0.5, clients), policy)));
    }
    head(
        "Pick first",
        "Each client calls the one server that it has chosen, at a load of 0.5; and `random` beside it. Milliseconds.",
    );
    for ((scenario, policy), mut tally) in runs_of.iter().zip(runs(&runs_of, seed)) {
        row(&format!("{}, {} clients", policy.name(), scenario.clients), &mut tally);
    }
    let troubled: Vec<_> =
        [("dead endpoints", Scenario::dead()), ("rotation", Scenario::rotation())]
            .map(|(name, scenario)| (name, (scenario, Policy::first()[1].clone())))
            .into();
    let scenarios: Vec<_> = troubled.iter().map(|(_, run)| run.clone()).collect();
    for ((name, (_, policy)), mut tally) in troubled.iter().zip(runs(&scenarios, seed)) {
        row(&format!("{}, {name}", policy.name()), &mut tally);
    }
}

pub(crate) fn parts(seed: u64) {
    let runs_of: Vec<_> = model::CLIENTS
        .into_iter()
        .flat_map(|clients| {
            Policy::parts().into_iter().map(move |policy| (Scenario::at(0.7, clients), policy))
        })
        .collect();
    head(
        "Parts of a cluster",
        &format!(
            "A load of 0.7; each client uses {} of the servers: by rendezvous hashing, each with its own seed, or by its number (`subsetting`). Milliseconds.",
            model::PART
        ),
    );
    for ((scenario, policy), mut tally) in runs_of.iter().zip(runs(&runs_of, seed)) {
        row(&format!("{}, {} clients", policy.name(), scenario.clients), &mut tally);
    }
}

/// The default policy where it is worse than the better of two by calls in flight, by how soon it
/// forgets.
pub(crate) fn decays(seed: u64) {
    let named = [("1 s", 1), ("3 s", 3), ("10 s", 10), ("30 s", 30)];
    let mut policies =
        vec![Policy::P2c, Policy::Ours("least_request", config::Balancer::LeastRequest)];
    for (name, seconds) in named {
        let mut balancer = config::Balancer::default();
        if let config::Balancer::PeakEwma { decay, .. } = &mut balancer {
            *decay = std::time::Duration::from_secs(seconds);
        }
        policies.push(Policy::Ours(name, balancer));
    }
    let ramp = model::RAMP[4];
    let runs_of: Vec<_> = [(ramp, model::CLIENTS[0]), (0.7, model::CLIENTS[1])]
        .into_iter()
        .flat_map(|(load, clients)| {
            policies.iter().map(move |policy| (Scenario::at(load, clients), policy.clone()))
        })
        .collect();
    head(
        "Estimates that age",
        "`peak_ewma` by its `decay`, beside what goes by calls in flight alone. Milliseconds.",
    );
    for ((scenario, policy), mut tally) in runs_of.iter().zip(runs(&runs_of, seed)) {
        let case =
            format!("{}, {:.2}, {} clients", policy.name(), scenario.loads[0], scenario.clients);
        row(&case, &mut tally);
    }
}

pub(crate) fn hedging(seed: u64) {
    let text = "One attempt of a hundred takes 20 times as long. `hedge.max_extra_percent`, beside the default retry budget. Milliseconds.";
    head("Hedging", text);
    let hedges = hedging::EXTRA_PERCENT
        .map(|percent| (format!("hedge within {percent} %"), Extra::Hedge(percent)));
    let runs_of: Vec<_> = [("no hedge".to_owned(), Extra::None)]
        .into_iter()
        .chain(hedges)
        .flat_map(|(name, extra)| {
            ours()
                .into_iter()
                .take(2)
                .map(move |policy| (name.clone(), (Scenario::hedging(extra), policy)))
        })
        .collect();
    let scenarios: Vec<_> = runs_of.iter().map(|(_, run)| run.clone()).collect();
    for ((name, (_, policy)), mut tally) in runs_of.iter().zip(runs(&scenarios, seed)) {
        row(&format!("{}, {name}", policy.name()), &mut tally);
    }
}

/// Returns what a picture is made of.
pub(crate) fn metastable(seed: u64) -> Vec<(String, Vec<(u64, u64)>)> {
    let budget = |ratio, reserve| Extra::Retries(Some((ratio, reserve)));
    let cases = [
        ("no retries", Extra::Safe, true),
        ("no budget", Extra::Retries(None), true),
        ("20 % and 10 per second (default)", budget(0.2, 10), true),
        ("20 %", budget(0.2, 0), true),
        ("10 %", budget(0.1, 0), true),
        ("throttle of 10 tokens, 0.1", Extra::Throttled(10.0, 0.1), true),
        ("throttle of 100 tokens, 0.1", Extra::Throttled(100.0, 0.1), true),
        ("no budget, heeding servers", Extra::Retries(None), false),
        ("default, heeding servers", budget(0.2, 10), false),
    ];
    let policy = Policy::Ours("peak_ewma", config::Balancer::default());
    let jobs: Vec<_> = cases
        .iter()
        .map(|(_, extra, heedless)| (Scenario::metastable(*extra, *heedless), policy.clone()))
        .collect();
    println!(
        "\n### Recovery\n\nHalf of the servers are gone from {} to {} s, at a load of {}; attempts have 1 s, and there are 3 retries, by the budget that is named. A heeding server stops when its caller leaves, the others work on. {}.\n",
        metastable::OUTAGE_AT / S,
        (metastable::OUTAGE_AT + metastable::OUTAGE) / S,
        metastable::LOAD,
        policy.name()
    );
    println!(
        "| | least of a second's calls that succeeded, % | of the last 10 s, % | recovered after the outage, s | attempts per call | p99 |\n|---|---|---|---|---|---|"
    );
    let mut curves = Vec::new();
    for ((name, ..), mut tally) in cases.iter().zip(runs(&jobs, seed)) {
        let end = (metastable::END / S) as usize;
        let seconds: Vec<_> = tally.seconds.iter().copied().take(end).collect();
        let good = |(all, good): &(u64, u64)| *good as f64 / (*all).max(1) as f64;
        let least = seconds.iter().map(good).fold(1.0, f64::min) * 100.0;
        let last = seconds.iter().rev().take(10).map(good).sum::<f64>() * 10.0;
        let after = ((metastable::OUTAGE_AT + metastable::OUTAGE) / S) as usize;
        let bad = seconds.iter().rposition(|second| good(second) < metastable::RECOVERED);
        let recovered = match bad {
            Some(bad) if bad + 1 >= seconds.len() => "never".into(),
            Some(bad) => (bad + 1).saturating_sub(after).to_string(),
            None => "0".into(),
        };
        let phase = &mut tally.phases[0];
        let (attempts, p99) = (phase.extra() + 1.0, text(phase.quantile(0.99)));
        println!("| {name} | {least:.1} | {last:.1} | {recovered} | {attempts:.2} | {p99} |");
        curves.push(((*name).to_owned(), seconds));
    }
    curves
}
