//! What the documents refer to is there: tests, links, decisions, features, valid mesh files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[cfg(feature = "tls-aws-lc-rs")]
#[path = "../support/certificates.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "test support, of which this file uses a part")]
mod certificates;
use std::{collections::BTreeSet, fs};

use crate::documents::{code, documents, read, root, rows, spans};

/// `tests/file.rs::name`, or `src/room::name` for a unit test of a room, when a span of code is one.
fn named_test(span: &str) -> Option<(&str, &str)> {
    let (path, name) = span.split_once("::")?;
    let is_path = path.starts_with("tests/") || path.starts_with("src/");
    (is_path && !name.contains([' ', ':', '('])).then_some((path, name))
}

#[test]
fn every_test_that_a_document_names_exists() {
    let (mut seen, mut missing) = (0, Vec::new());
    for document in documents() {
        let text = read(&document);
        for (file, name) in spans(&text).into_iter().filter_map(named_test) {
            seen += 1;
            let source = code(file);
            let place = source.find(&format!("fn {name}("));
            let before = place.map_or("", |place| {
                source[..place].trim_end().trim_end_matches("async").trim_end()
            });
            // An attribute makes it a test.
            if !before.ends_with(']') {
                missing.push(format!("{}: {file}::{name}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "no such tests:\n{}", missing.join("\n"));
    assert!(seen > 100, "{seen} tests are named: are they still read?");
}

/// `src/room/file.rs` or `room/file.rs`, when a span of code is one.
fn named_file(span: &str) -> Option<&str> {
    let is_rust = !span.starts_with("x/")
        && std::path::Path::new(span).extension().is_some_and(|it| it == "rs");
    (is_rust && span.contains('/') && !span.contains([' ', '*', '{', ':'])).then_some(span)
}

#[test]
fn every_file_that_a_document_names_exists() {
    let (mut seen, mut missing) = (0, Vec::new());
    for document in documents() {
        let text = read(&document);
        for file in spans(&text).into_iter().filter_map(named_file) {
            seen += 1;
            let places =
                ["", "src", "tests", "benches", "src/mesh", "src/mesh/call", "src/balance"];
            if !places.iter().any(|place| root().join(place).join(file).is_file()) {
                missing.push(format!("{}: {file}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "no such files:\n{}", missing.join("\n"));
    assert!(seen > 50, "{seen} files are named: are they still read?");
}

/// The folders of `tests/` that are tests, of one file or of several.
fn folders_of_tests() -> Vec<String> {
    let entries = fs::read_dir(root().join("tests")).unwrap().map(Result::unwrap);
    let tests = entries.filter(|it| it.path().join("main.rs").is_file());
    tests.map(|it| it.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn every_test_that_a_script_or_a_document_starts_exists() {
    let scripts = fs::read_dir(root().join(".ci")).unwrap().map(|it| it.unwrap().path());
    let (mut seen, mut missing) = (0, Vec::new());
    for file in documents().into_iter().chain(scripts) {
        let text = read(&file);
        for rest in text.split("--test ").skip(1) {
            let names = |char: &char| char.is_ascii_alphanumeric() || *char == '_';
            let name: String = rest.chars().take_while(names).collect();
            seen += 1;
            let places = [format!("tests/{name}.rs"), format!("tests/{name}/main.rs")];
            if !places.iter().any(|place| root().join(place).is_file()) {
                missing.push(format!("{}: --test {name}", file.display()));
            }
        }
    }
    assert!(missing.is_empty(), "no such tests:\n{}", missing.join("\n"));
    assert!(seen > 5, "{seen} tests are started: are they still read?");
}

/// A name of grpc-go's tests as ours are spelled: `ADS_ACK_NACK_Simple` is `ads_ack_nack_simple`.
fn as_ours(upstream: &str) -> String {
    let chars: Vec<char> = upstream.chars().collect();
    let mut name = String::new();
    for (at, char) in chars.iter().enumerate() {
        let before = at.checked_sub(1).map_or('_', |before| chars[before]);
        let ends_a_run = chars.get(at + 1).is_some_and(|after| after.is_ascii_lowercase());
        let begins = before != '_' && (!before.is_ascii_uppercase() || ends_a_run);
        if char.is_ascii_uppercase() && begins {
            name.push('_');
        }
        name.push(char.to_ascii_lowercase());
    }
    name
}

/// The tests that say in their comment which of grpc-go's they are after: its name, and theirs.
fn said_to_be_ported(source: &str) -> BTreeSet<(String, String)> {
    let mark = ["/// grpc-go: `", "Test"].concat();
    let pair = |part: &str| {
        let (upstream, rest) = part.split_once('`').unwrap();
        let name = rest.split("fn ").nth(1).unwrap().split('(').next().unwrap();
        (upstream.to_owned(), name.to_owned())
    };
    source.split(mark.as_str()).skip(1).map(pair).collect()
}

/// The rows of the sections of `docs/XDS-PORTS.md` whose headings begin so: grpc-go's tests, and ours.
fn rows_of_ports(heading: &str) -> Vec<(Vec<String>, Vec<String>)> {
    let text = read("docs/XDS-PORTS.md");
    let sections = text.split("\n## ").filter(|section| section.starts_with(heading));
    let owned = |cell: &str| spans(cell).into_iter().map(str::to_owned).collect::<Vec<_>>();
    let names = |cell: &str| {
        let bare = |name: String| name.strip_prefix("Test").map(str::to_owned);
        owned(cell).into_iter().filter_map(bare).collect::<Vec<_>>()
    };
    let row = |cells: Vec<String>| (names(&cells[0]), owned(&cells[2]));
    sections.flat_map(rows).map(row).collect()
}

#[test]
fn each_test_of_grpc_go_s_that_must_be_ported_is_and_has_its_name() {
    let mut source = code("src/control/xds");
    for folder in folders_of_tests().into_iter().filter(|it| it.starts_with("xds")) {
        source.push_str(&code(&format!("tests/{folder}")));
    }
    let said = said_to_be_ported(&source);
    let (mut listed, mut upstream) = (BTreeSet::new(), BTreeSet::new());
    for (names, tests) in rows_of_ports("Ported") {
        let [name] = &names[..] else { panic!("{names:?}: one in a row") };
        assert!(upstream.insert(name.clone()), "{name} is listed twice");
        assert!(!tests.is_empty(), "{name} has no test");
        for test in tests {
            let (_, ours) = test.rsplit_once("::").unwrap();
            assert_eq!(ours, as_ours(name), "{name} has another name here");
            listed.insert((name.clone(), ours.to_owned()));
        }
    }
    assert_eq!(listed, said, "docs/XDS-PORTS.md (left) and the comments of the tests");
    for (names, _) in rows_of_ports("Held otherwise") {
        for name in names {
            assert!(upstream.insert(name.clone()), "{name} is listed twice");
        }
    }
    // How many of each kind grpc-go has, of those that must be here.
    for (kind, count) in [
        ("ADS_ACK_NACK_", 2),
        ("ADS_NACK_", 1),
        ("ADS_NACKError_DuplicateSuppression", 2),
        ("ADSFlowControl_", 4),
        ("ADS_WatchState_", 2),
        ("Authority_Fallback", 1),
        ("Fallback_", 5),
        ("LDSWatch", 12),
        ("CDSWatch", 10),
        ("RDSWatch", 8),
        ("EDSWatch", 8),
        ("WatchCallAnotherWatch", 1),
        ("NodeProtoSentOnlyInFirstRequest", 1),
    ] {
        let names: BTreeSet<&String> = listed.iter().map(|(name, _)| name).collect();
        let ported = names.iter().filter(|name| name.starts_with(kind)).count();
        assert_eq!(ported, count, "{kind}");
    }
    assert_eq!(upstream.len(), 90, "all of grpc-go's, ported or not");
}

#[test]
fn each_defect_that_was_measured_elsewhere_has_its_test() {
    let text = read("docs/XDS-PORTS.md");
    let section = |of: &str| {
        let heading = format!("Defects of the crate {of}\n");
        rows(text.split("\n## ").find(|section| section.starts_with(&heading)).unwrap())
    };
    let defects = section("xds-client");
    for number in 1..=7 {
        let row = defects.iter().find(|cells| cells[0] == format!("T{number}"));
        let tests = &row.unwrap_or_else(|| panic!("T{number} is not listed"))[2];
        assert!(tests.contains(&format!("::t{number}_")), "T{number}: {tests}");
    }
    let others = section("tonic-xds");
    assert_eq!(others.len(), 7);
    for cells in defects.iter().chain(&others) {
        assert!(cells.last().unwrap().contains("::"), "{cells:?} has no test");
    }
}

fn has_tests(source: &str) -> bool {
    ["\n#[test]\n", "\n#[tokio::test"].iter().any(|mark| source.contains(mark))
}

#[test]
fn every_test_file_proves_a_feature() {
    let features = read("docs/FEATURES.md");
    let mut missing = Vec::new();
    let folders = folders_of_tests().into_iter().map(|it| format!("tests/{it}"));
    for folder in folders.chain(["tests".to_owned()]) {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            let path = format!("{folder}/{name}");
            let is_test = name.ends_with(".rs") && has_tests(&code(&path));
            if is_test && !features.contains(&format!("`{path}::")) {
                missing.push(path);
            }
        }
    }
    assert!(missing.is_empty(), "docs/FEATURES.md names no test of {missing:?}");
}

#[test]
fn every_metric_that_a_document_asks_prometheus_for_is_in_the_table() {
    let table = read("docs/METRICS.md");
    let known: BTreeSet<String> =
        spans(&table).into_iter().map(|it| it.replace('.', "_")).collect();
    let (mut seen, mut missing) = (0, Vec::new());
    for document in documents().into_iter().filter(|it| !it.ends_with("CHANGELOG.md")) {
        let text = read(&document);
        for name in text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_') {
            if !name.starts_with("mesh_client_") && !name.starts_with("mesh_xds_") {
                continue;
            }
            seen += 1;
            let bare = ["_count", "_bucket", "_sum", "_total", "_seconds"];
            let bare = bare.iter().fold(name, |name, end| name.strip_suffix(end).unwrap_or(name));
            // One that ends in such a word itself, or an attribute.
            if !known.contains(bare) && !known.contains(name) {
                missing.push(format!("{}: {name}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "docs/METRICS.md has no\n{}", missing.join("\n"));
    assert!(seen > 20, "{seen} metrics are named: are they still read?");
}

#[test]
fn every_example_has_its_row() {
    let list = read("examples/README.md");
    let mut missing = Vec::new();
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let target = match name.strip_suffix(".rs") {
            Some(_) => name,
            None if entry.path().join("main.rs").is_file() => format!("{name}/main.rs"),
            None => continue,
        };
        if !list.contains(&format!("]({target}) |")) {
            missing.push(target);
        }
    }
    assert!(missing.is_empty(), "examples/README.md has no row of {missing:?}");
}

/// A heading as GitHub makes an anchor of it.
fn anchor(heading: &str) -> String {
    let kept = |char: &char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_');
    heading.trim().to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
}

/// The text outside of fenced blocks.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

#[test]
fn every_relative_link_resolves() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = prose(&read(&document));
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap().trim();
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let folder = root().join(&document);
            let file = if path.is_empty() { folder } else { folder.parent().unwrap().join(path) };
            let has_heading = || {
                let text = fs::read_to_string(&file).unwrap_or_default();
                prose(&text).lines().any(|line| {
                    line.starts_with('#') && anchor(line.trim_start_matches('#')) == heading
                })
            };
            if !file.exists() || !(heading.is_empty() || has_heading()) {
                broken.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

/// The fenced blocks of a document in this language.
#[cfg(feature = "file")]
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fenced = text.split("```").skip(1).step_by(2);
    let mine =
        fenced.filter_map(|block| block.split_once('\n').filter(|(tag, _)| *tag == language));
    mine.map(|(_, block)| block.to_owned()).collect()
}

#[cfg(feature = "file")]
#[tokio::test]
async fn every_mesh_file_in_a_document_is_valid() {
    let mut seen = 0;
    for document in documents() {
        for block in blocks(&read(&document), "yaml") {
            seen += 1;
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("mesh.yaml");
            #[cfg(feature = "tls-aws-lc-rs")]
            {
                // The files that a mesh file of a document names.
                let ca = certificates::Ca::new("ca");
                certificates::swap(&dir.path().join("ca.crt"), ca.pem());
                ca.issue(&["caller"]).write(dir.path());
            }
            fs::write(&path, &block).unwrap();
            let mesh = tower_mesh::Mesh::builder().config_file(&path).build().unwrap();
            if let Err(error) = mesh.ready().await {
                panic!("{}: {error}\n{block}", document.display());
            }
        }
    }
    assert!(seen > 0, "no mesh file is shown anywhere");
}

#[test]
fn every_decision_is_in_the_index() {
    let index = read("docs/adr/README.md");
    let mut numbers = BTreeSet::new();
    for entry in fs::read_dir(root().join("docs/adr")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if name != "README.md" {
            assert!(index.contains(&format!("({name})")), "docs/adr/README.md misses {name}");
            assert!(numbers.insert(name[..4].to_owned()), "{name}: its number is taken");
            let text = read(format!("docs/adr/{name}"));
            for part in ["## Context", "## Decision", "## Consequences"] {
                assert!(text.contains(part), "docs/adr/{name} has no `{part}`");
            }
        }
    }
}

#[test]
fn the_readme_lists_every_feature_flag() {
    let manifest = read("Cargo.toml");
    let features = manifest.split("[features]").nth(1).unwrap().split("\n[").next().unwrap();
    let readme = read("README.md");
    for line in features.lines().filter(|line| !line.starts_with('#') && line.contains(" = ")) {
        let name = line.split(" = ").next().unwrap();
        let listed = name == "default" || readme.contains(&format!("| `{name}` |"));
        assert!(listed, "README.md does not list the feature `{name}`");
    }
}

#[test]
fn the_readme_says_how_to_depend_on_it() {
    let version = env!("CARGO_PKG_VERSION").rsplit_once('.').unwrap().0;
    assert!(read("README.md").contains(&format!("\ntower-mesh = \"{version}\"")));
}

#[test]
fn the_document_of_metrics_says_the_content_types_of_their_texts() {
    use tower_mesh::observe::Metrics;
    let document = read("docs/METRICS.md");
    for (name, kind) in
        [("PROMETHEUS", Metrics::PROMETHEUS), ("OPEN_METRICS", Metrics::OPEN_METRICS)]
    {
        assert!(document.contains(&format!("`{kind}` (`Metrics::{name}`)")), "{name}: {kind}");
    }
}
