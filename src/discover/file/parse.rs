//! From bytes to parts: each service and cluster is read on its own.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::{
    tree::{self, Tree},
    written::Written,
};
use crate::config::{Authorization, Cluster, IdentityFiles, Service, hint_of_dns};

/// What a file holds.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) services: Read<Service>,
    pub(crate) clusters: Read<Cluster>,
    pub(crate) identities: Read<IdentityFiles>,
    pub(crate) runtime: Read<f64>,
    pub(crate) authorize: Read<Authorization>,
    /// Top-level fields that nobody knows.
    pub(crate) unknown: Vec<String>,
}

/// The parts of one kind, by name.
#[derive(Debug)]
pub(crate) struct Read<T> {
    pub(crate) good: BTreeMap<String, T>,
    /// Those that could not be read, with path and reason.
    pub(crate) refused: BTreeMap<String, String>,
}

impl<T> Default for Read<T> {
    fn default() -> Self {
        Self { good: BTreeMap::new(), refused: BTreeMap::new() }
    }
}

/// Reads a whole file. An error means that nothing of it can be used.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("is not UTF-8: {error}"))?;
    if text.trim().is_empty() {
        return Err("is empty; an empty mesh is written `services: {}`".to_owned());
    }
    let tree = tree_of(text)?;
    let Some(fields) = tree.fields(text) else {
        return Err("must hold a map with `services` and `clusters`".to_owned());
    };
    let mut parsed = Parsed::default();
    for (field, value) in fields {
        match field {
            "services" => parsed.services = read(field, value, part)?,
            "clusters" => parsed.clusters = read(field, value, part)?,
            "identities" => parsed.identities = read(field, value, part)?,
            "runtime" => parsed.runtime = read(field, value, share)?,
            "authorize" => parsed.authorize = read(field, value, part)?,
            _ => parsed.unknown.push(format!(
                "unknown field `{field}`, expected `services`, `clusters`, `identities`, \
                 `runtime` or `authorize`"
            )),
        }
    }
    Ok(parsed)
}

/// JSON if it is that, else YAML, whose maps may begin with the same brace.
fn tree_of(text: &str) -> Result<Tree, String> {
    let map = text.trim_start().strip_prefix('{');
    let json = map.map(|_| tree::json(text));
    if let Some(Ok(tree)) = json {
        return Ok(tree);
    }
    let yaml = tree::yaml(text);
    match (json, yaml) {
        // Who quotes the first name has meant JSON.
        (Some(Err(error)), Err(_))
            if map.is_some_and(|map| map.trim_start().starts_with(['"', '}'])) =>
        {
            Err(format!("is not valid JSON: {error}"))
        }
        (_, yaml) => yaml.map_err(|error| format!("is not valid YAML: {}", of_yaml(&error))),
    }
}

fn read<'a, T>(
    kind: &str,
    parts: Written<'a>,
    one: impl Fn(Written<'a>) -> Result<T, (String, String)>,
) -> Result<Read<T>, String> {
    if parts.is_missing() {
        return Err(format!("`{kind}` has no value; none are written `{kind}: {{}}`"));
    }
    let Read { mut good, mut refused } = Read::default();
    let parts = parts.fields().ok_or_else(|| format!("`{kind}` must be a map"))?;
    for (name, value) in parts {
        let name = name.to_ascii_lowercase();
        let twice = good.contains_key(&name) || refused.contains_key(&name);
        match one(value) {
            Ok(part) if !twice => {
                good.insert(name, part);
            }
            Ok(_) => {
                good.remove(&name);
                let reason =
                    format!("{kind}.{name}: is given twice; names are compared without case");
                refused.entry(name).or_insert(reason);
            }
            Err((path, reason)) => {
                good.remove(&name);
                let reason = format!("{kind}.{name}{path}: {reason}");
                refused.insert(name, reason);
            }
        }
    }
    Ok(Read { good, refused })
}

/// Reads one part; an error has the path in it and the reason.
fn part<T: DeserializeOwned>(value: Written<'_>) -> Result<T, (String, String)> {
    if value.is_missing() {
        let reason = "has no value; one that says nothing of its own is written `{}`";
        return Err((String::new(), reason.to_owned()));
    }
    if !value.is_map() {
        return Err((String::new(), "must be a map of fields".to_owned()));
    }
    value.read().map_err(|(path, reason)| {
        let reason = in_the_files_words(&reason);
        // `discovery: "dns:///users:80"`, or the name alone.
        let unknown = reason.strip_prefix("unknown variant `").and_then(|it| it.split_once('`'));
        let hint = match unknown {
            Some((name, _)) if path.ends_with(".discovery") => hint_of_dns(name),
            _ => String::new(),
        };
        (path, reason + &hint)
    })
}

/// A number of percent.
fn share(value: Written<'_>) -> Result<f64, (String, String)> {
    if value.is_missing() {
        return Err((String::new(), "has no value; it is a share in percent".to_owned()));
    }
    value.read().map_err(|(path, reason)| (path, in_the_files_words(&reason)))
}

/// The first line of what the YAML parser says: the rest draws the place, and speaks of options
/// that only a caller of the parser has.
fn of_yaml(message: &str) -> &str {
    let line = message.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    let cut = [", set DuplicateKeyPolicy", "; use from_str"];
    cut.iter().filter_map(|options| line.find(options)).min().map_or(line, |at| &line[..at])
}

/// What the decoder expected, in words of the file instead of Rust's types.
fn in_the_files_words(message: &str) -> String {
    let Some((met, expected)) = message.rsplit_once("expected ") else {
        return message.to_owned();
    };
    let expected = match expected {
        "a sequence" => "a list",
        "u16" => "a whole number in 0..=65535",
        "u32" => "a whole number in 0..=4294967295",
        "u64" | "usize" => "a whole number from 0",
        "i32" | "i64" => "a whole number",
        "f64" => "a number",
        "unit" => "no value",
        "newtype variant" | "struct variant" => "a map with its fields below it",
        other => other,
    };
    format!("{met}expected {expected}")
}
