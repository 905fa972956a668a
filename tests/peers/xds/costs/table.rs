//! What was measured, as a table of the document.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, process::Command};

use crate::support::swap;

const DOCUMENT: &str = "docs/XDS-PEERS.md";

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Row {
    First,
    Changed,
    Replaced,
    Cold,
    Next,
    Memory,
}

impl Row {
    fn what(self) -> &'static str {
        match self {
            Self::First => "10,000 endpoints come to a name in use: ms of processor",
            Self::Changed => "1 of the 10,000 is changed: ms of processor",
            Self::Replaced => "all 10,000 are replaced: ms of processor",
            Self::Cold => "from nothing to the first answer: ms",
            Self::Next => "the same, where the first of two control planes is down: ms",
            Self::Memory => "1,000 clusters of 10 endpoints: MB of resident memory",
        }
    }
}

/// What is measured together.
#[derive(Clone, Copy, Debug)]
pub(super) enum Group {
    Pushes,
    Starts,
    Memory,
}

impl Group {
    pub(super) fn rows(self) -> &'static [Row] {
        match self {
            Self::Pushes => &[Row::First, Row::Changed, Row::Replaced],
            Self::Starts => &[Row::Cold, Row::Next],
            Self::Memory => &[Row::Memory],
        }
    }

    /// What stands before and behind its table in the document.
    fn marks(self) -> [&'static str; 2] {
        match self {
            Self::Pushes => ["<!-- pushes:begin -->\n", "<!-- pushes:end -->\n"],
            Self::Starts => ["<!-- starts:begin -->\n", "<!-- starts:end -->\n"],
            Self::Memory => ["<!-- memory:begin -->\n", "<!-- memory:end -->\n"],
        }
    }
}

/// By what is measured, and by the name of the client.
type Cells<T> = BTreeMap<(Row, &'static str), T>;

pub(super) struct Table {
    group: Group,
    figures: Cells<Vec<f64>>,
    missing: Cells<String>,
}

impl Table {
    pub(super) fn of(group: Group) -> Self {
        Self { group, figures: BTreeMap::new(), missing: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, row: Row, client: &'static str, figure: f64) {
        self.figures.entry((row, client)).or_default().push(figure);
    }

    /// There is no such figure, and why.
    pub(super) fn lacks(&mut self, row: Row, client: &'static str, why: String) {
        self.missing.insert((row, client), why);
    }

    /// Whether this figure was given up.
    pub(super) fn is_without(&self, row: Row, client: &'static str) -> bool {
        self.missing.contains_key(&(row, client))
    }

    /// The median of what was measured, and the least and the most.
    fn summed(&self, row: Row, client: &'static str) -> Option<[f64; 3]> {
        if self.is_without(row, client) {
            return None;
        }
        let mut figures = self.figures.get(&(row, client))?.clone();
        figures.sort_by(f64::total_cmp);
        Some([figures[figures.len() / 2], *figures.first()?, *figures.last()?])
    }

    pub(super) fn median(&self, row: Row, client: &'static str) -> f64 {
        let summed = self.summed(row, client);
        summed.unwrap_or_else(|| panic!("{client} has no figure of {row:?}"))[0]
    }

    /// The rounds as they were, for who reads the output.
    pub(super) fn print_rounds(&self) {
        for ((row, client), figures) in &self.figures {
            let figures: Vec<String> = figures.iter().map(|it| format!("{it:.2}")).collect();
            println!("{row:?}, {client}: {}", figures.join(" "));
        }
    }

    pub(super) fn markdown(&self, clients: &[&'static str]) -> String {
        let mut text = format!("| what | {} |\n|---|", clients.join(" | "));
        text.push_str(&"--:|".repeat(clients.len()));
        for row in self.group.rows().iter().copied() {
            let _ = write!(text, "\n| {} |", row.what());
            for client in clients.iter().copied() {
                let cell = self.summed(row, client).map_or_else(
                    || "–".to_owned(),
                    |[median, least, most]| format!("**{median:.1}** ({least:.1} to {most:.1})"),
                );
                let _ = write!(text, " {cell} |");
            }
        }
        let _ =
            write!(text, "\n\nMedians, with the least and the most. Measured at {}.\n", commit());
        for ((row, client), why) in &self.missing {
            let _ = write!(text, "\n–: {client}, \"{}\": {why}.\n", row.what());
        }
        text
    }
}

/// Puts it in its place in the document.
pub(super) fn write(group: Group, table: &str) {
    let [begin, end] = group.marks();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    let document = fs::read_to_string(&path).unwrap();
    let marks = format!("{DOCUMENT} has lines {} and {}", begin.trim_end(), end.trim_end());
    let (before, rest) = document.split_once(begin).expect(&marks);
    let (_, after) = rest.split_once(end).expect(&marks);
    swap(&path, &format!("{before}{begin}{table}{end}{after}"));
}

fn commit() -> String {
    let commit = git(&["rev-parse", "--short", "HEAD"]);
    let is_changed = !git(&["status", "--porcelain", "-uno"]).is_empty();
    if is_changed { format!("{commit}, with changes") } else { commit }
}

fn git(arguments: &[&str]) -> String {
    let output = Command::new("git").args(arguments).output();
    output.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned()).unwrap_or_default()
}
