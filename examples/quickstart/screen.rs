//! What the reader sees: a heading per phase, a line of progress, a table.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use crate::{
    notes::{Notes, Tally},
    replica::Replica,
};

/// Rewrites a line of progress where there is a terminal, and stays silent where there is none.
pub(crate) struct Screen {
    is_terminal: bool,
    phases: usize,
    phase: usize,
}

impl Screen {
    pub(crate) fn new(phases: usize) -> Self {
        Self { is_terminal: io::stdout().is_terminal(), phases, phase: 0 }
    }

    /// The heading of the next phase: what happens now, what the mesh does about it, and what
    /// has changed in the file.
    pub(crate) fn heading(&mut self, title: &str, meaning: &str, edit: &[String]) {
        self.phase += 1;
        let (bold, plain) = if self.is_terminal { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        println!("\n{bold}{}/{} {title}{plain}", self.phase, self.phases);
        println!("    {meaning}");
        for line in edit {
            println!("    {line}");
        }
    }

    /// The line that is rewritten while a phase runs.
    pub(crate) fn progress(&self, part: f64, (calls, failed): (usize, usize)) {
        if !self.is_terminal {
            return;
        }
        let width = 24_u8;
        let full = (0..width).filter(|cell| f64::from(*cell) < part * f64::from(width)).count();
        let bar = "█".repeat(full) + &"░".repeat(usize::from(width) - full);
        print!("\r    {bar} {calls} calls, {failed} failed ");
        drop(io::stdout().flush());
    }

    /// The table of a phase, in the place of its progress.
    pub(crate) fn table(&self, notes: &mut Notes, fleet: &[(&str, &[Replica])]) {
        if self.is_terminal {
            print!("\r\x1b[2K");
        }
        println!(
            "    {:<12} {:>6} {:>8} {:>7} {:>7} {:>7} {:>7}  answers by replica",
            "service", "calls", "retries", "failed", "p50 ms", "p90 ms", "p99 ms"
        );
        for (service, replicas) in fleet {
            let Some(tally) = notes.services.get_mut(*service) else { continue };
            tally.latencies.sort_unstable();
            println!(
                "    {service:<12} {:>6} {:>8} {:>7} {:>7} {:>7} {:>7}  {}",
                tally.latencies.len(),
                tally.retries.values().sum::<u64>(),
                tally.failures.len(),
                percentile(&tally.latencies, 50),
                percentile(&tally.latencies, 90),
                percentile(&tally.latencies, 99),
                answers(tally, replicas),
            );
        }
        for (service, tally) in &notes.services {
            if !tally.retries.is_empty() {
                let reasons =
                    tally.retries.iter().map(|(reason, times)| format!("{times} x {reason}"));
                println!("    retried in {service}: {}", reasons.collect::<Vec<_>>().join(", "));
            }
            for failure in tally.failures.iter().take(3) {
                println!("    FAILED in {service}: {failure}");
            }
        }
        for told in notes.told.iter().chain(&notes.refused) {
            println!("    {told}");
        }
        if !notes.ended.is_empty() {
            let reasons = notes.ended.iter().map(|(reason, times)| format!("{times} x {reason}"));
            println!("    connections ended: {}", reasons.collect::<Vec<_>>().join(", "));
        }
        if notes.missed > 0 {
            println!("    {} events came too fast: there may be more retries", notes.missed);
        }
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> String {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted
        .get(at)
        .map_or_else(|| "-".to_owned(), |latency| format!("{:.1}", latency.as_secs_f64() * 1000.0))
}

/// `u1 0 (killed), u2 310, u3 298`
fn answers(tally: &Tally, replicas: &[Replica]) -> String {
    let answers = replicas.iter().map(|replica| {
        let name = replica.name();
        let answers = tally.answers.get(name).copied().unwrap_or_default();
        let trouble = replica.trouble().map(|trouble| format!(" ({trouble})"));
        format!("{name} {answers}{}", trouble.unwrap_or_default())
    });
    answers.collect::<Vec<_>>().join(", ")
}
