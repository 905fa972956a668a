//! Descriptions of the schema for editors, which know nothing of rustdoc's links.

use serde_json::{Map, Value};

/// Leaves of each link in a description what it shows.
pub(super) fn unlink(fields: &mut Map<String, Value>) {
    for (name, value) in fields {
        match value {
            Value::String(text) if name == "description" => *text = plain(text),
            _ => below(value),
        }
    }
}

fn below(value: &mut Value) {
    match value {
        Value::Object(fields) => unlink(fields),
        Value::Array(values) => values.iter_mut().for_each(below),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// ``[`delay`](Self::delay)`` and ``[`delay`]`` become `` `delay` ``.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("[`") {
        out.push_str(before);
        let Some((shown, after)) = link.split_once("`]") else {
            out.push_str("[`");
            rest = link;
            continue;
        };
        out.push('`');
        out.push_str(shown);
        out.push('`');
        rest = match after.strip_prefix('(').and_then(|target| target.split_once(')')) {
            Some((_, after)) => after,
            None => after,
        };
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_rustdoc_become_what_they_show() {
        for (text, shown) in [
            ("by [`delay`](Self::delay), or [`on`].", "by `delay`, or `on`."),
            ("as [`a`](x) (Envoy) and [`b`] (gRPC)", "as `a` (Envoy) and `b` (gRPC)"),
            ("[0, 1] and `[a]`", "[0, 1] and `[a]`"),
            ("an open [`one", "an open [`one"),
        ] {
            assert_eq!(plain(text), shown);
        }
        let mut schema = serde_json::json!({
            "properties": {"description": {"description": "[`x`](y)", "enum": ["[`x`](y)"]}},
        });
        unlink(schema.as_object_mut().unwrap());
        let field = &schema["properties"]["description"];
        assert_eq!(field["description"], "`x`");
        assert_eq!(field["enum"][0], "[`x`](y)", "a value is no description");
    }
}
