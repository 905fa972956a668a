//! Path and query matches on any request, against a naive reading of the rules.

#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    path: &'a str,
    query: Option<&'a str>,
    rule: Option<(bool, &'a str)>,
    parameters: Vec<(u8, &'a str, &'a str)>,
}

fn path_matches(path: &str, exact: bool, rule: &str) -> bool {
    if exact {
        return path == rule;
    }
    // Whole elements, one by one.
    let rule = rule.strip_suffix('/').unwrap_or(rule);
    let mut elements = path.split('/');
    rule.split('/').all(|element| elements.next() == Some(element))
}

fn parameter_matches(query: &str, kind: u8, name: &str, text: &str) -> bool {
    for pair in query.split('&') {
        let mut halves = pair.splitn(2, '=');
        let (key, value) = (halves.next().unwrap_or(""), halves.next().unwrap_or(""));
        if key == name {
            return match kind % 5 {
                0 => value == text,
                1 => value.starts_with(text),
                2 => value.ends_with(text),
                3 => value.contains(text),
                _ => true,
            };
        }
    }
    false
}

libfuzzer_sys::fuzz_target!(|input: Input<'_>| {
    let mut uri = format!("/{}", input.path);
    if let Some(query) = input.query {
        uri = format!("{uri}?{query}");
    }
    let Ok(parsed) = uri.parse::<tower_mesh::fuzzing::Uri>() else { return };
    let rule = input.rule.map(|(exact, path)| (exact, format!("/{path}")));
    let path = rule.as_ref().map(|(exact, path)| (*exact, path.as_str()));
    let Some(matched) = tower_mesh::fuzzing::matches(&uri, path, &input.parameters) else { return };
    let expected = path.is_none_or(|(exact, rule)| path_matches(parsed.path(), exact, rule))
        && input.parameters.iter().all(|(kind, name, text)| {
            // Without a query there is no parameter, not even one without a name.
            parsed.query().is_some_and(|query| parameter_matches(query, *kind, name, text))
        });
    assert_eq!(matched, expected, "{uri} by {input:?}");
});
