//! `docs/CONFIG.md` says of every field and choice what each control plane calls it.

use super::instances::Model;

/// The rows of each section: `## Name`, then a table whose first column is a field.
fn rows() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CONFIG.md"));
    let text = text.unwrap_or_default();
    let mut section = String::new();
    let mut rows = Vec::new();
    for line in text.lines().take_while(|line| *line != "# Left out") {
        if let Some(name) = line.strip_prefix("## ") {
            section = name.to_owned();
        } else if let Some(row) = line.strip_prefix("| `") {
            let field = row.split('`').next().unwrap_or_default();
            assert_eq!(line.matches('|').count(), 6, "five columns: {line}");
            rows.push((section.clone(), field.to_owned()));
        }
    }
    rows
}

#[test]
fn the_table_has_a_row_for_every_field_and_choice_and_no_other() {
    let model = Model::new();
    let rows = rows();
    let mut wanted = Vec::new();
    for (name, fields) in model.fields().into_iter().chain(model.choices()) {
        wanted.extend(fields.into_iter().map(|field| (name.clone(), field)));
    }
    let missing: Vec<_> = wanted.iter().filter(|row| !rows.contains(row)).collect();
    let stale: Vec<_> = rows.iter().filter(|row| !wanted.contains(row)).collect();
    assert!(missing.is_empty() && stale.is_empty(), "missing: {missing:?}\nstale: {stale:?}");
}
