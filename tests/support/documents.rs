//! Reading the project's own documents and code.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test support, of which each test file uses a part"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where the project is.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the project.
pub(crate) fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The code of a file, or of every file of a folder.
pub(crate) fn code(path: &str) -> String {
    let path = root().join(path);
    if !path.is_dir() {
        return fs::read_to_string(path).unwrap_or_default();
    }
    let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(fs::DirEntry::path);
    let parts = entries.iter().map(|entry| code(&entry.path().to_string_lossy()));
    parts.collect::<Vec<_>>().join("\n")
}

/// Every document of the project.
pub(crate) fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if name.ends_with(".md") {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The rows of every table of a document, header and rule left out, as cells.
pub(crate) fn rows(text: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let is_header = lines.peek().is_some_and(|next| next.starts_with("|--"));
        if line.starts_with('|') && !is_header && !line.starts_with("|--") {
            let cells = line.trim_matches('|').replace("\\|", "\u{1}");
            let cells = cells.split('|').map(|cell| cell.trim().replace('\u{1}', "|"));
            rows.push(cells.collect());
        }
    }
    rows
}

/// What stands between backticks.
pub(crate) fn spans(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The same with single spaces.
pub(crate) fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
