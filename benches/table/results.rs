//! What the benches have left behind: a number per name.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Numbers by name, for example `path.bare_1.plain` (instructions per call).
pub(crate) struct Results(BTreeMap<String, f64>);

/// Units that one run of a bench makes.
fn units(bench: &str) -> f64 {
    f64::from(match bench {
        "pick" | "reports" => super::PICKS,
        "tls" => super::HANDSHAKES,
        "routes" => super::LOOKUPS,
        _ => super::CALLS,
    })
}

impl Results {
    /// Reads what `.ci/benches` has collected in `folder`.
    pub(crate) fn read(folder: &Path) -> Self {
        let mut results = Self(BTreeMap::new());
        results.instructions(&folder.join("default"), "");
        results.instructions(&folder.join("all"), "all.");
        for file in ["allocations.txt", "updates.txt", "xds.txt"] {
            let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
            for line in text.lines() {
                if let Some((name, value)) = line.split_once(' ')
                    && let Ok(value) = value.parse()
                {
                    results.0.insert(name.to_owned(), value);
                }
            }
        }
        results
    }

    /// gungraun's home: `tower-mesh/<bench>/<group>/<function>.<id>/callgrind.*.out`.
    fn instructions(&mut self, home: &Path, prefix: &str) {
        for bench in children(&home.join("tower-mesh")) {
            let name = file_name(&bench);
            for function in children(&bench).iter().flat_map(|group| children(group)) {
                // A file per thread, if there are several: only one has run the function.
                let total: f64 = children(&function).iter().filter_map(|file| total(file)).sum();
                if total > 0.0 {
                    let name = format!("{prefix}{name}.{}", file_name(&function));
                    self.0.insert(name, total / units(&file_name(&bench)));
                }
            }
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }
}

/// The total of a callgrind output file of the last run.
fn total(file: &Path) -> Option<f64> {
    if file.extension()? != "out" {
        return None;
    }
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("summary: "))?.parse().ok()
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
