//! Values of the model, made from its JSON Schema: one per leaf, or at random. A new field is in
//! them without any change here.

use serde_json::{Map, Value, json};

/// Text of a number that JSON does not have, until it is written as YAML.
pub(super) const NOT_A_NUMBER: &str = "\u{1}nan";

/// The JSON Schema of the model.
pub(super) struct Model {
    schema: Value,
}

/// The smallest value that says one leaf, and where that leaf is.
#[derive(Debug)]
pub(super) struct Leaf {
    /// As in reports; a fixed choice follows after `=`.
    pub(super) path: String,
    pub(super) value: Value,
}

/// How random values are made.
pub(super) struct Dice {
    pub(super) random: fastrand::Rng,
    /// Whether values may be ones that no file should hold.
    pub(super) wild: bool,
    /// Fields that may still be filled.
    pub(super) fuel: u32,
}

// === impl Model ===

impl Model {
    pub(super) fn new() -> Self {
        let schema = serde_json::from_str(&crate::config::schema()).unwrap();
        Self { schema }
    }

    /// The definitions that have fields, with the names of these.
    pub(super) fn fields(&self) -> Vec<(String, Vec<String>)> {
        let defs = self.schema["$defs"].as_object().unwrap();
        defs.iter()
            .filter_map(|(name, def)| {
                let fields = def["properties"].as_object()?;
                Some((name.clone(), fields.keys().cloned().collect()))
            })
            .collect()
    }

    /// The definitions that are choices, with the names of these.
    pub(super) fn choices(&self) -> Vec<(String, Vec<String>)> {
        let defs = self.schema["$defs"].as_object().unwrap();
        let name = |choice: &Value| match &choice["const"] {
            Value::String(name) => Some(name.clone()),
            _ => choice["required"][0].as_str().map(str::to_owned),
        };
        defs.iter()
            .filter_map(|(def, node)| {
                let choices = node["oneOf"].as_array()?;
                Some((def.clone(), choices.iter().filter_map(name).collect()))
            })
            .collect()
    }

    fn definition(&self, name: &str) -> &Value {
        &self.schema["$defs"][name]
    }

    /// Every leaf of a definition.
    pub(super) fn leaves(&self, name: &str, path: &str) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        let mut within = vec![name.to_owned()];
        self.walk(self.definition(name), path, &mut within, &mut leaves);
        leaves
    }

    fn walk(&self, node: &Value, path: &str, within: &mut Vec<String>, leaves: &mut Vec<Leaf>) {
        if let Some(name) = reference(node) {
            // A definition inside of itself has been walked already.
            if within.iter().any(|outer| outer == name) || is_text(name) {
                leaves.push(Leaf { path: path.into(), value: self.smallest(node, path) });
                return;
            }
            within.push(name.to_owned());
            self.walk(self.definition(name), path, within, leaves);
            within.pop();
            return;
        }
        if let Some(choices) = choices(node) {
            for choice in choices {
                match choice["properties"].as_object() {
                    // A choice with a name: what it holds are the leaves.
                    Some(named) => self.walk_fields(choice, named, path, within, leaves),
                    None => self.walk(choice, path, within, leaves),
                }
            }
            return;
        }
        if let Some(fixed) = node.get("const") {
            let path = format!("{path}={}", fixed.as_str().unwrap());
            leaves.push(Leaf { path, value: fixed.clone() });
            return;
        }
        let mut push = |value: Value| leaves.push(Leaf { path: path.into(), value });
        match kind(node) {
            "object" => {
                if let Some(fields) = node["properties"].as_object() {
                    push(self.smallest(node, path));
                    self.walk_fields(node, fields, path, within, leaves);
                }
                if let Some(inner) = node.get("additionalProperties").filter(|it| it.is_object()) {
                    let mut said = Vec::new();
                    self.walk(inner, &format!("{path}.k"), within, &mut said);
                    let wrap = |leaf: Leaf| Leaf { value: json!({"k": leaf.value}), ..leaf };
                    leaves.extend(said.into_iter().map(wrap));
                }
            }
            "array" => {
                let mut said = Vec::new();
                self.walk(&node["items"], &format!("{path}[0]"), within, &mut said);
                let wrap = |leaf: Leaf| Leaf { value: json!([leaf.value]), ..leaf };
                leaves.extend(said.into_iter().map(wrap));
            }
            // A plain one is said only when it is not the default; an optional one either way.
            "boolean" => match node.get("default") {
                Some(Value::Bool(default)) => push(json!(!default)),
                _ => {
                    push(json!(true));
                    push(json!(false));
                }
            },
            _ => push(self.smallest(node, path)),
        }
    }

    fn walk_fields(
        &self,
        node: &Value,
        fields: &Map<String, Value>,
        path: &str,
        within: &mut Vec<String>,
        leaves: &mut Vec<Leaf>,
    ) {
        let base = self.smallest(node, path);
        for (field, inner) in fields {
            let mut said = Vec::new();
            self.walk(inner, &format!("{path}.{field}"), within, &mut said);
            for leaf in said {
                let mut whole = base.clone();
                whole[field.as_str()] = leaf.value;
                leaves.push(Leaf { path: leaf.path, value: whole });
            }
        }
    }

    /// A value that says as little as possible.
    fn smallest(&self, node: &Value, path: &str) -> Value {
        if let Some(name) = reference(node) {
            return match name {
                "Duration" if path.ends_with("_base") => json!("20ms"),
                "Duration" if path.ends_with("max_ejection_time") => json!("60s"),
                "Duration" => json!("2s"),
                // An endpoint does not have the same address twice.
                "Address" if path.contains("more_addresses") => json!("10.0.0.2:80"),
                "Address" => json!("10.0.0.1:80"),
                // A route without a cluster is refused.
                "Route" => json!({"clusters": [{"name": "a"}]}),
                "HashOn" => json!("call_key"),
                _ => self.smallest(self.definition(name), path),
            };
        }
        if let Some(choices) = choices(node) {
            return self.smallest(choices[0], path);
        }
        if let Some(fixed) = node.get("const") {
            return fixed.clone();
        }
        match kind(node) {
            "object" => {
                let mut object = Map::new();
                for field in node["required"].as_array().into_iter().flatten() {
                    let field = field.as_str().unwrap();
                    let inner =
                        self.smallest(&node["properties"][field], &format!("{path}.{field}"));
                    object.insert(field.to_owned(), inner);
                }
                // The root of a route is no reference.
                if ["matches", "clusters"].iter().all(|it| node["properties"].get(it).is_some()) {
                    object.insert("clusters".into(), json!([{"name": "a"}]));
                }
                let has = |field: &str| node["properties"].get(field).is_some();
                // Nothing of security is said without its mode, no certificates without whose.
                // A range that is not empty, whichever end is said.
                if has("start") && has("end") && object.is_empty() {
                    object.insert("start".into(), json!(200));
                    object.insert("end".into(), json!(600));
                }
                if has("verify_sni") && has("crl") {
                    object.insert("mode".into(), json!("mutual"));
                }
                // Who hedges says when.
                if has("max_extra_percent") {
                    object.insert("max_extra_percent".into(), json!(1));
                }
                // A map has a shard, that a name, and slots an order.
                if has("shards") {
                    object.insert("shards".into(), json!([{"name": "a"}]));
                }
                if has("slots") {
                    object.insert("name".into(), json!("a"));
                }
                if has("first") && has("last") {
                    object.insert("last".into(), json!(5));
                }
                // An expression, a header and an answer are something.
                if has("pattern") && has("substitution") {
                    object.insert("pattern".into(), json!("a"));
                }
                if path.ends_with("add[0]") {
                    object.insert("name".into(), json!("x-a"));
                }
                if path.ends_with(".mirror") {
                    object.insert("cluster".into(), json!("a"));
                }
                if path.ends_with("direct_response") {
                    object.insert("status".into(), json!(503));
                }
                // A limit has a bucket, a bucket tokens, and what describes has something to match.
                let bucket = || json!({"max_tokens": 3});
                let described = || json!([{"parts": ["destination_cluster"]}]);
                let limited = || json!([{"entries": [{"key": "a"}], "bucket": bucket()}]);
                if path.ends_with(".rate_limit") {
                    object.insert("bucket".into(), bucket());
                    object.insert("describe".into(), described());
                    object.insert("descriptors".into(), limited());
                }
                if path.ends_with(".global_rate_limit") {
                    object.insert("cluster".into(), json!("a"));
                    object.insert("domain".into(), json!("a"));
                    object.insert("describe".into(), described());
                }
                if has("max_tokens") && has("tokens_per_fill") {
                    object.insert("max_tokens".into(), json!(3));
                }
                if path.contains("rate_limit.descriptors[0]") && has("entries") {
                    object = limited()[0].as_object().cloned().unwrap();
                }
                if path.ends_with("rate_limit.descriptors[0].entries[0]") {
                    object.insert("key".into(), json!("a"));
                }
                if path.contains("rate_limit.describe[0]") {
                    if has("parts") {
                        object.insert("parts".into(), json!(["destination_cluster"]));
                    }
                    for (field, value) in [
                        ("value", json!("a")),
                        ("headers", json!([{"name": "x-a", "matcher": "present"}])),
                        ("query", json!([{"name": "a", "matcher": "present"}])),
                    ] {
                        let is_match =
                            has("invert") && has("key") || field == "value" && has("key");
                        if is_match && has(field) {
                            object.insert(field.into(), value);
                        }
                    }
                    if has("skip_if_absent") {
                        object.insert("name".into(), json!("a"));
                    }
                }
                // A session has a carrier, a header and a cookie have names.
                if has("strict") && has("header") {
                    object.insert("header".into(), json!("x-a"));
                }
                let named = has("rewrite") || has("generate") || has("ttl") && has("attributes");
                if named && has("name") {
                    object.insert("name".into(), json!("a"));
                }
                // An expression that says nothing matches nothing.
                if has("substitution") {
                    object.insert("pattern".into(), json!("a"));
                }
                if has("provider") && has("name") && !has("settings") {
                    object.insert("provider".into(), json!("a"));
                }
                if has("process") && has("processes") {
                    object.insert("processes".into(), json!(4));
                }
                if has("fallback_keys") {
                    object.insert("keys".into(), json!(["a", "b"]));
                    object.insert("fallback_keys".into(), json!(["b"]));
                }
                Value::Object(object)
            }
            "array" => json!([]),
            "boolean" => json!(true),
            "integer" if path.contains("window_bytes") => json!(70_000),
            "integer" if path.ends_with(".stage") => json!(0),
            "integer" if path.ends_with("redirect.status") => json!(302),
            "integer" if path.contains("status") => json!(503),
            "integer" if path.contains("expected[") => json!(503),
            "integer" if path.contains("retriable[") => json!(503),
            "integer" if path.contains("ring_size") => json!(2_000),
            "integer" if path.contains("balance_percent") => json!(150),
            "integer" if path.contains("overprovisioning") => json!(140),
            // A range of numbers that begins at 200.
            "integer" if path.ends_with("range.end") => json!(300),
            "integer" => json!(3),
            "number" if path.contains(".accrual.") => json!(0.5),
            "number" if path.ends_with("quantile") => json!(0.5),
            "number" if path.ends_with("backoff_jitter") => json!(0.5),
            "number" if path.ends_with("smoothing") => json!(0.5),
            "number" if path.ends_with("backoff_ratio") => json!(0.5),
            "number" => json!(3.5),
            "null" => Value::Null,
            _ if path.ends_with("identities[0].prefix") => json!("spiffe://a"),
            _ if path.ends_with("alpn[0]") => json!("h2"),
            _ if path.contains("failover.clusters[") => json!("b"),
            _ if path.contains("path.")
                || path.ends_with("http.path")
                || path.ends_with("probe_path") =>
            {
                json!("/a")
            }
            _ if path.contains("receive[") || path.ends_with(".send") => json!("0a"),
            _ if path.ends_with("http.body") => json!("0a"),
            _ if path.ends_with("method") => json!("GET"),
            _ if path.ends_with("client_weighted.metrics[0]") => json!("named_metrics.a"),
            _ if path.ends_with("filter_state") => json!("io.grpc.channel_id"),
            _ if path.ends_with("scheme") => json!("http"),
            _ => json!("a"),
        }
    }

    /// Any value of a definition.
    pub(super) fn any(&self, name: &str, dice: &mut Dice) -> Value {
        self.roll(self.definition(name), dice, 0)
    }

    fn roll(&self, node: &Value, dice: &mut Dice, depth: usize) -> Value {
        if let Some(name) = reference(node) {
            return match name {
                "Duration" => json!(dice.duration()),
                "Address" => json!(dice.of(&["127.0.0.1:80", "[::1]:443", "unix:/run/a b.sock"])),
                // What has no type of its own is read by its look, and only numbers that JSON has.
                "Value" => {
                    let wild = std::mem::replace(&mut dice.wild, false);
                    let value = self.roll(self.definition(name), dice, depth + 1);
                    dice.wild = wild;
                    value
                }
                _ => self.roll(self.definition(name), dice, depth + 1),
            };
        }
        if let Some(choices) = choices(node) {
            let choice = if depth > 12 { 0 } else { dice.random.usize(..choices.len()) };
            return self.roll(choices[choice], dice, depth + 1);
        }
        if let Some(fixed) = node.get("const") {
            return fixed.clone();
        }
        match kind(node) {
            "object" => {
                let mut object = Map::new();
                let needed = node["required"].as_array().cloned().unwrap_or_default();
                for (field, inner) in node["properties"].as_object().into_iter().flatten() {
                    let needed = needed.iter().any(|name| name == field);
                    if needed || dice.more() {
                        object.insert(field.clone(), self.roll(inner, dice, depth + 1));
                    }
                }
                if let Some(inner) = node.get("additionalProperties").filter(|it| it.is_object()) {
                    while dice.more() {
                        object.insert(dice.text(), self.roll(inner, dice, depth + 1));
                    }
                }
                Value::Object(object)
            }
            "array" => {
                let mut list = Vec::new();
                while dice.more() {
                    list.push(self.roll(&node["items"], dice, depth + 1));
                }
                Value::Array(list)
            }
            "boolean" => json!(dice.random.bool()),
            "integer" => dice.integer(node),
            "number" if dice.wild => json!(NOT_A_NUMBER),
            "number" => json!(f64::from(dice.random.i32(-4_000..4_000)) / 8.0),
            "null" => Value::Null,
            _ => json!(dice.text()),
        }
    }
}

// === impl Dice ===

impl Dice {
    pub(super) fn new(seed: u64, wild: bool) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), wild, fuel: 200 }
    }

    fn of(&mut self, list: &[&str]) -> String {
        list[self.random.usize(..list.len())].to_owned()
    }

    fn more(&mut self) -> bool {
        let more = self.fuel > 0 && self.random.u8(..5) == 0;
        self.fuel -= u32::from(more);
        more
    }

    fn text(&mut self) -> String {
        self.of(&[
            "",
            "a",
            "/a",
            "GET",
            "x-a",
            "a.b:80",
            "yes",
            "null",
            "~",
            "1.0",
            "0x1f",
            "a: b",
            "- a",
            "#",
            "é 🦀",
            "two\nlines",
            " a ",
            "\"'",
            "{a}",
            "\t",
            "%2F",
            "*.b",
            "007",
            "1e3",
            "\\1",
        ])
    }

    fn duration(&mut self) -> String {
        let wild =
            ["0s", "1ns", "365days", "366days", "18446744073709551615s", "584000000000years"];
        let good = ["250ms", "2s", "1h 30m", "1s 5ms 3us 7ns"];
        if self.wild { self.of(&wild) } else { self.of(&good) }
    }

    fn integer(&mut self, node: &Value) -> Value {
        let (low, high) = match node["format"].as_str() {
            Some("int64") => return json!(self.random.i64(..)),
            Some("int32") => (i64::from(i32::MIN), i64::from(i32::MAX)),
            Some("uint8") => (0, 255),
            Some("uint16") => (0, 65_535),
            Some("uint32") => (0, i64::from(u32::MAX)),
            _ => (0, i64::MAX),
        };
        let any = self.random.i64(low..=high);
        json!([0.max(low), 1, 3, 503, low, high, any][self.random.usize(..7)].clamp(low, high))
    }
}

// === JSON Schema ===

fn reference(node: &Value) -> Option<&str> {
    node.get("$ref")?.as_str()?.strip_prefix("#/$defs/")
}

/// Whether the definition is written as one text.
fn is_text(definition: &str) -> bool {
    matches!(definition, "Duration" | "Address")
}

/// The alternatives of a node; that there is nothing is none of them.
fn choices(node: &Value) -> Option<Vec<&Value>> {
    let choices = node.get("oneOf").or_else(|| node.get("anyOf"))?.as_array()?;
    let choices: Vec<_> = choices.iter().filter(|choice| choice["type"] != "null").collect();
    (!choices.is_empty()).then_some(choices)
}

fn kind(node: &Value) -> &str {
    match &node["type"] {
        Value::String(kind) => kind,
        Value::Array(kinds) => {
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("null")
        }
        other => panic!("a node without a type: {other} in {node}"),
    }
}
