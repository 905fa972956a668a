//! What istiod has said, in a file: the resources of each step, as they went over the wire.

use std::{collections::BTreeMap, fs, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tower_mesh::testing::xds::{CDS, EDS, LDS, RDS};

/// The resources of a kind, by their names; by delta, nothing of one that is said to be gone.
pub(crate) type Named = BTreeMap<String, Option<Vec<u8>>>;

/// What was said in a step, by type. By the state of the world, of listeners and clusters it is all that there are;
/// else what is new; what is not here is as it was.
pub(crate) type Step = BTreeMap<String, Named>;

/// Whether an answer by the state of the world names all that there are.
pub(crate) fn is_whole(type_url: &str) -> bool {
    type_url == LDS || type_url == CDS
}

/// The kinds, by their short names.
pub(crate) const KINDS: [(&str, &str); 4] =
    [("LDS", LDS), ("RDS", RDS), ("CDS", CDS), ("EDS", EDS)];

/// Reads a recording.
pub(crate) fn read(path: &Path) -> Vec<Step> {
    let text = fs::read_to_string(path);
    let text = text.unwrap_or_else(|error| {
        panic!("{}: {error}: record it, as docs/XDS-PEERS.md says", path.display())
    });
    let whole: Value = serde_json::from_str(&text).unwrap();
    let decoded = |value: &Value| match value {
        Value::Null => None,
        value => Some(BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap()),
    };
    let step = |step: &Value| {
        let kinds = step.as_object().unwrap().iter().map(|(kind, named)| {
            let (_, type_url) = KINDS.iter().find(|(short, _)| short == kind).unwrap();
            let named = named.as_object().unwrap().iter();
            let named = named.map(|(name, value)| (name.clone(), decoded(value))).collect();
            ((*type_url).to_owned(), named)
        });
        kinds.collect()
    };
    whole["steps"].as_array().unwrap().iter().map(step).collect()
}

/// Writes one.
pub(crate) fn write(path: &Path, steps: &[Step]) {
    let step = |step: &Step| {
        let kinds = KINDS.iter().filter_map(|(short, type_url)| {
            let named = step.get(*type_url)?.iter();
            let named: serde_json::Map<_, _> = named
                .map(|(name, value)| {
                    (name.clone(), json!(value.as_ref().map(|it| BASE64_STANDARD.encode(it))))
                })
                .collect();
            Some(((*short).to_owned(), Value::Object(named)))
        });
        Value::Object(kinds.collect())
    };
    let steps: Vec<Value> = steps.iter().map(step).collect();
    let text = serde_json::to_string_pretty(&json!({ "steps": steps })).unwrap();
    fs::write(path, text + "\n").unwrap();
}
