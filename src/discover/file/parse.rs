//! From bytes to parts: each service and cluster is read on its own.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::tree::Tree;
use crate::config::{Cluster, IdentityFiles, Service};

/// What a file holds.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) services: Read<Service>,
    pub(crate) clusters: Read<Cluster>,
    pub(crate) identities: Read<IdentityFiles>,
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
    let first = text.trim_start();
    // What is no finite number becomes text: only the part that holds it is refused.
    let options = serde_saphyr::options! {
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::PassThrough,
    };
    let Tree(value) = if first.starts_with('{') {
        serde_json::from_str(text).map_err(|error| format!("is not valid JSON: {error}"))?
    } else {
        serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| format!("is not valid YAML: {}", of_yaml(&error.to_string())))?
    };
    let Value::Object(fields) = value else {
        return Err("must hold a map with `services` and `clusters`".to_owned());
    };
    let mut parsed = Parsed::default();
    for (field, value) in fields {
        match (field.as_str(), value) {
            ("services", Value::Object(parts)) => {
                parsed.services = read("services", parts);
            }
            ("clusters", Value::Object(parts)) => {
                parsed.clusters = read("clusters", parts);
            }
            ("identities", Value::Object(parts)) => {
                parsed.identities = read("identities", parts);
            }
            ("services" | "clusters" | "identities", Value::Null) => {}
            ("services" | "clusters" | "identities", _) => {
                return Err(format!("`{field}` must be a map"));
            }
            _ => parsed.unknown.push(format!(
                "unknown field `{field}`, expected `services`, `clusters` or `identities`"
            )),
        }
    }
    Ok(parsed)
}

fn read<T: DeserializeOwned + Default>(
    kind: &str,
    parts: serde_json::Map<String, Value>,
) -> Read<T> {
    let Read { mut good, mut refused } = Read::default();
    for (name, value) in parts {
        let name = name.to_ascii_lowercase();
        let twice = good.contains_key(&name) || refused.contains_key(&name);
        match of_value::<T>(value) {
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
    Read { good, refused }
}

/// Reads one part; an error has the path in it and the reason.
fn of_value<T: DeserializeOwned + Default>(value: Value) -> Result<T, (String, String)> {
    match value {
        Value::Null => Ok(T::default()),
        // Serde would take a list for a map in the order of its fields.
        Value::Object(_) => serde_path_to_error::deserialize(value).map_err(|error| {
            let path = match error.path().to_string().as_str() {
                "." => String::new(),
                path => format!(".{path}"),
            };
            (path, in_the_files_words(&error.inner().to_string()))
        }),
        _ => Err((String::new(), "must be a map of fields".to_owned())),
    }
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
        "string or map" => "a name or a map with a single key",
        other if other.starts_with("struct ") => "a map of fields",
        other => other,
    };
    format!("{met}expected {expected}")
}
