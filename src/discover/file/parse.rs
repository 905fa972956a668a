//! From bytes to parts: each service and cluster is read on its own.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::tree::Tree;
use crate::config::{Cluster, Service};

/// What a file holds.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) services: BTreeMap<String, Service>,
    pub(crate) clusters: BTreeMap<String, Cluster>,
    /// Parts that could not be read, with path and reason.
    pub(crate) refused: Vec<(String, String)>,
    /// Top-level fields that nobody knows.
    pub(crate) unknown: Vec<String>,
}

/// Reads a whole file. An error means that nothing of it can be used.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("is not UTF-8: {error}"))?;
    if text.trim().is_empty() {
        return Err("is empty; an empty mesh is written `services: {}`".to_owned());
    }
    let first = text.trim_start();
    let Tree(value) = if first.starts_with('{') {
        serde_json::from_str(text).map_err(|error| format!("is not valid JSON: {error}"))?
    } else {
        serde_saphyr::from_str(text).map_err(|error| format!("is not valid YAML: {error}"))?
    };
    let Value::Object(fields) = value else {
        return Err("must hold a map with `services` and `clusters`".to_owned());
    };
    let mut parsed = Parsed::default();
    for (field, value) in fields {
        match (field.as_str(), value) {
            ("services", Value::Object(parts)) => {
                parsed.services = read("service", parts, &mut parsed.refused);
            }
            ("clusters", Value::Object(parts)) => {
                parsed.clusters = read("cluster", parts, &mut parsed.refused);
            }
            ("services" | "clusters", Value::Null) => {}
            ("services" | "clusters", _) => return Err(format!("`{field}` must be a map")),
            _ => parsed
                .unknown
                .push(format!("unknown field `{field}`, expected `services` or `clusters`")),
        }
    }
    Ok(parsed)
}

fn read<T: DeserializeOwned + Default>(
    kind: &str,
    parts: serde_json::Map<String, Value>,
    refused: &mut Vec<(String, String)>,
) -> BTreeMap<String, T> {
    let mut good = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (name, value) in parts {
        let name = name.to_ascii_lowercase();
        if !seen.insert(name.clone()) {
            good.remove(&name);
            let reason = format!("{kind}s.{name}: is given twice; names are compared without case");
            refused.push((format!("{kind} {name}"), reason));
            continue;
        }
        if value.is_null() {
            good.insert(name, T::default());
            continue;
        }
        match serde_path_to_error::deserialize(value) {
            Ok(part) => {
                good.insert(name, part);
            }
            Err(error) => {
                let path = format!("{kind}s.{name}.{}", error.path());
                refused.push((format!("{kind} {name}"), format!("{path}: {}", error.inner())));
            }
        }
    }
    good
}
