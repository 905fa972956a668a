//! Prints the table of what the benches measured, as Markdown, and judges it by the gates. With arguments, these rows
//! alone: those whose own result has a name that begins so.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    reason = "a program that prints a table"
)]

mod gates;
mod results;
mod rows;

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
};

use gates::{Kind, Limit, Row};
use results::Results;
use rows::ROWS;

#[path = "../support/units.rs"]
mod units;
use units::{CALLS, HANDSHAKES, LOOKUPS, PICKS};

/// What became of a row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Kept,
    /// Not met, and no worse than what it is held at.
    Red,
    Broken,
    Told,
    /// A result that it needs is not there.
    Missing,
}

fn main() -> ExitCode {
    let folder = std::env::var_os("TOWER_MESH_BENCHES").unwrap_or_else(|| "target/benches".into());
    let results = Results::read(&PathBuf::from(folder));
    println!("Measured {} at {}.\n", output("date", &["-u", "+%F"]), commit());
    println!("| gate | what | tower-mesh | peer | | ratio | limit | |");
    println!("|---|---|--:|--:|---|--:|---|---|");
    let mut broken = Vec::new();
    let wanted: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let is_wanted = |row: &&Row| {
        wanted.is_empty() || wanted.iter().any(|name| row.ours.starts_with(name.as_str()))
    };
    for row in ROWS.iter().filter(is_wanted) {
        let (line, verdict) = judge(row, &results);
        println!("{line}");
        let fails = matches!(verdict, Verdict::Broken | Verdict::Missing);
        if fails && row.kind == Kind::Hard {
            broken.push(line);
        }
    }
    if broken.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("\n{} hard gates are broken:", broken.len());
    for line in broken {
        eprintln!("{line}");
    }
    ExitCode::FAILURE
}

/// A row of the table, and its verdict.
fn judge(row: &Row, results: &Results) -> (String, Verdict) {
    let (ours, peer) = (value(row.ours, results), value(row.peer, results));
    let verdict = match (verdict(row.limit, ours, peer), row.held) {
        (Verdict::Broken, Some(held)) if verdict(held, ours, peer) == Verdict::Kept => Verdict::Red,
        (verdict, _) => verdict,
    };
    let mark = match (verdict, row.kind) {
        (Verdict::Kept, _) => "kept".to_owned(),
        (Verdict::Red, _) => {
            format!("**red**, held at {}", row.held.map(limit).unwrap_or_default())
        }
        (Verdict::Broken, Kind::Hard) => "**broken**".to_owned(),
        (Verdict::Broken, Kind::Report) => "over (report)".to_owned(),
        (Verdict::Told, _) => String::new(),
        (Verdict::Missing, _) => "**not measured**".to_owned(),
    };
    let ratio = ours.zip(peer).filter(|(_, peer)| *peer > 0.0);
    let ratio = ratio.map_or_else(String::new, |(ours, peer)| format!("{:.3}", ours / peer));
    let line = format!(
        "| {} | {} | {} | {} | {} | {ratio} | {} | {mark} |",
        row.gate,
        row.what,
        number(ours),
        number(peer),
        row.peer_name,
        limit(row.limit),
    );
    (line, verdict)
}

fn verdict(limit: Limit, ours: Option<f64>, peer: Option<f64>) -> Verdict {
    let Some(ours) = ours else { return Verdict::Missing };
    let kept = match (limit, peer) {
        (Limit::Told, _) => return Verdict::Told,
        (Limit::AtMost(most), _) => ours <= most,
        (_, None) => return Verdict::Missing,
        (Limit::Percent(percent), Some(peer)) => ours <= peer * (1.0 + percent / 100.0),
        // Whole ones per call: what grows now and then (a table, a slab) is less than half.
        (Limit::More(more), Some(peer)) => ours - peer < more + 0.5,
        (Limit::TimesFewer(times), Some(peer)) => ours * times <= peer,
        (Limit::Fewer, Some(peer)) => ours < peer,
        (Limit::Within(percent), Some(peer)) => (ours / peer - 1.0).abs() <= percent / 100.0,
    };
    if kept { Verdict::Kept } else { Verdict::Broken }
}

/// A result, or the difference of two.
fn value(expression: &str, results: &Results) -> Option<f64> {
    match expression.split_once(" - ") {
        Some((one, other)) => Some(results.get(one)? - results.get(other)?),
        None => results.get(expression),
    }
}

fn number(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(value) if value.abs() >= 1000.0 => {
            let digits = format!("{value:.0}");
            let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
            groups.collect::<Vec<_>>().join(",")
        }
        Some(value) if value.fract().abs() < 0.005 => format!("{value:.0}"),
        Some(value) => format!("{value:.1}"),
    }
}

fn limit(limit: Limit) -> String {
    match limit {
        Limit::Percent(percent) => format!("≤ +{percent} %"),
        Limit::More(more) => format!("≤ +{more}"),
        Limit::AtMost(most) => format!("≤ {}", number(Some(most))),
        Limit::TimesFewer(times) => format!("≥ {times}× fewer"),
        Limit::Fewer => "fewer".into(),
        Limit::Within(percent) => format!("± {percent} %"),
        Limit::Told => String::new(),
    }
}

fn commit() -> String {
    let commit = output("git", &["rev-parse", "--short", "HEAD"]);
    let changed = !output("git", &["status", "--porcelain", "-uno"]).is_empty();
    if changed { format!("{commit} (with changes)") } else { commit }
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}
