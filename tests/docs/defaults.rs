//! The tables of the documents say what the code does: defaults, errors, events.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tower_mesh::{
    ErrorKind,
    config::{
        Address, Balancer, Budget, DEFAULT_RESOLVE_TIMEOUT, Endpoint, TransportSettings,
        WeightedCluster,
    },
};

use crate::documents::{code, read, rows, spans, squeezed};

fn time(value: &str, unit: &str) -> Duration {
    let number: u64 = value.parse().unwrap_or_else(|_| panic!("`{value} {unit}` is no time"));
    match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "min" => Duration::from_secs(number * 60),
        _ => panic!("`{unit}` is no unit of time"),
    }
}

/// The table of defaults: setting → (default, unit).
fn defaults() -> BTreeMap<String, (String, String)> {
    let rows = rows(&read("docs/DEFAULTS.md")).into_iter();
    rows.map(|cells| (cells[0].trim_matches('`').to_owned(), (cells[1].clone(), cells[2].clone())))
        .collect()
}

#[test]
fn defaults_are_those_of_the_code() {
    let table = defaults();
    let cell = |name: &str| table.get(name).unwrap_or_else(|| panic!("no row of `{name}`"));
    let times = |name: &str, actual: Duration| {
        let (value, unit) = cell(name);
        assert_eq!(time(value, unit), actual, "{name}");
    };
    let numbers = |name: &str, actual: u32| assert_eq!(cell(name).0, actual.to_string(), "{name}");

    let transport = TransportSettings::default();
    times("transport.connect_timeout", transport.connect_timeout);
    times("transport.connect_backoff_base", transport.connect_backoff_base);
    times("transport.connect_backoff_max", transport.connect_backoff_max);
    times("transport.idle_timeout", transport.idle_timeout);
    times("transport.max_age", transport.max_age);
    times("transport.tcp_keepalive", transport.tcp_keepalive);
    times("transport.http2_ping_interval", transport.http2_ping_interval);
    times("transport.http2_ping_timeout", transport.http2_ping_timeout);
    times("transport.happy_eyeballs_delay", transport.happy_eyeballs_delay);
    numbers("transport.max_http2_connections", transport.max_http2_connections);
    numbers("transport.http2_streams_per_connection", transport.http2_streams_per_connection);
    numbers("transport.http1_max_connections", transport.http1_max_connections);
    numbers("transport.http2_stream_window_bytes", transport.http2_stream_window_bytes);
    numbers("transport.http2_connection_window_bytes", transport.http2_connection_window_bytes);

    let budget = Budget::default();
    assert_eq!(cell("budget.ratio").0, budget.ratio.to_string());
    numbers("budget.min_per_second", budget.min_per_second);
    times("budget.ttl", budget.ttl);

    times("resolve_timeout", DEFAULT_RESOLVE_TIMEOUT);
    match Balancer::default() {
        Balancer::PeakEwma { decay, .. } => times("peak_ewma.decay", decay),
        other => panic!("the default balancer is {other:?}"),
    }
    let endpoint = Endpoint::new("10.0.0.1:80".parse::<Address>().unwrap());
    numbers("endpoint.weight", endpoint.weight);
    assert_eq!(cell("endpoint.health").0, format!("{:?}", endpoint.health).to_lowercase());
    numbers("route.clusters.weight", WeightedCluster::new("users").weight);
}

#[tokio::test]
async fn the_retry_defaults_are_those_that_a_mesh_describes() {
    let table = defaults();
    let cell = |name: &str| table[name].0.clone();
    let mesh = tower_mesh::Mesh::builder()
        .endpoints("users", ["10.0.0.1:80".parse::<Address>().unwrap()])
        .build()
        .unwrap();
    mesh.ready().await.unwrap();
    let described = mesh.describe();
    let settings = &described.services[0].routes[0].settings;
    let value = |name: &str| &settings.iter().find(|setting| setting.name == name).unwrap().value;
    // Told by their parts, or only where they are said.
    let apart =
        ["retry.budget", "retry.host_selection_attempts", "retry.priority", "retry.throttle"];
    let is_told = |name: &&String| name.starts_with("retry.") && !apart.contains(&name.as_str());
    let rows = table.keys().filter(is_told);
    let rows = rows.chain(table.keys().filter(|name| name.starts_with("budget.")));
    for row in rows {
        let setting = row.replace("budget.", "retry.budget.");
        let (default, unit) = &table[row];
        let default = match &**unit {
            "ms" | "s" => format!("{default}{unit}"),
            "statuses" | "codes" => format!("[{default}]"),
            _ => default.clone(),
        };
        assert_eq!(value(&setting), &default, "{setting}");
    }
    for setting in ["timeout", "attempt_timeout", "idle_timeout", "max_requests", "whole_response"]
    {
        assert_eq!(value(setting), &cell(&format!("policy.{setting}")), "{setting}");
    }
}

#[test]
fn each_default_stands_where_the_table_says() {
    let mut astray = Vec::new();
    for cells in rows(&read("docs/DEFAULTS.md")) {
        let [file, says] = spans(&cells[5])[..] else {
            panic!("{}: a file and what it says: {}", cells[0], cells[5]);
        };
        if !squeezed(&code(file)).contains(&squeezed(says)) {
            astray.push(format!("{}: {file} has no `{says}`", cells[0]));
        }
    }
    assert!(astray.is_empty(), "docs/DEFAULTS.md:\n{}", astray.join("\n"));
}

/// The variants of a public enum with the names of their fields, read in its source.
fn variants(source: &str, name: &str) -> BTreeMap<String, BTreeSet<String>> {
    let start = source.find(&format!("pub enum {name} {{")).unwrap();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut current = String::new();
    for line in source[start..].lines().skip(1) {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim();
        let word: String =
            line.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect();
        match indent {
            0 => break,
            4 if !word.is_empty() => {
                current.clone_from(&word);
                found.entry(word).or_default();
            }
            8 if line.contains(": ") && !word.is_empty() => {
                found.entry(current.clone()).or_default().insert(word);
            }
            _ => {}
        }
    }
    found
}

#[test]
fn the_table_of_errors_is_that_of_the_code() {
    use ErrorKind as Kind;
    let kinds = [
        Kind::UnknownService,
        Kind::Config,
        Kind::NoRoute,
        Kind::NoEndpoints,
        Kind::Overloaded,
        Kind::Denied,
        Kind::Timeout,
        Kind::Connect,
        Kind::Identity,
        Kind::Refused,
        Kind::Transport,
        Kind::RequestBody,
        Kind::Layer,
        Kind::InvalidRequest,
        Kind::InvalidResponse,
        Kind::Redirect,
        Kind::Shutdown,
    ];
    let source = read("src/core/error/kind.rs");
    let table: BTreeMap<String, Vec<String>> = rows(&read("docs/ERRORS.md"))
        .into_iter()
        // Another table says when TLS fails by which of them.
        .filter(|cells| cells.len() > 2)
        .map(|cells| (cells[0].trim_matches('`').to_owned(), cells))
        .collect();
    let in_code: Vec<String> = variants(&source, "ErrorKind").into_keys().collect();
    assert_eq!(table.keys().cloned().collect::<Vec<_>>(), in_code);
    assert_eq!(kinds.len(), in_code.len(), "this test knows every kind");
    let phases: Vec<String> =
        variants(&source, "Phase").into_keys().map(|phase| phase.to_lowercase()).collect();
    for kind in kinds {
        let cells = &table[&format!("{kind:?}")];
        let code = tonic::Code::from_i32(kind.grpc_code());
        let name: String = format!("{code:?}").to_uppercase();
        assert_eq!(cells[2].replace(['`', '_'], ""), format!("{} {name}", kind.grpc_code()));
        assert_eq!(cells[3], kind.http_status().as_u16().to_string(), "{kind:?}");
        for text in [&cells[1], &cells[5]] {
            assert!(source.contains(&format!("\"{text}\"")), "{kind:?} does not say `{text}`");
        }
        for phase in cells[4].split(", ").filter(|phase| !phase.starts_with("reserved ")) {
            assert!(phases.iter().any(|known| known == phase), "{kind:?}: no phase `{phase}`");
        }
    }
}

/// The sources of the crate, without their tests.
fn sources(folder: &std::path::Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name =
            path.strip_prefix(crate::documents::root()).unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.ends_with("tests") {
            sources(&path, found);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") && !name.contains("fuzzing")
        {
            let text = read(&name);
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            found.push((name, squeezed(code).replace("( ", "(")));
        }
    }
}

/// Errors whose kind or phase is no constant where they are made: what stands there, and what they may be.
const COMPUTED: [(&str, &str, &[&str], &[&str]); 11] = [
    (
        "src/mesh/call/outcome.rs",
        "Error::new(ErrorKind::Timeout, phase)",
        &["Timeout"],
        &["resolve", "pick", "connect", "request", "headers", "backoff"],
    ),
    (
        "src/core/mesh_end.rs",
        "Error::new(ErrorKind::Shutdown, phase)",
        &["Shutdown"],
        &["admission", "pick", "connect", "tls", "request", "headers", "body", "backoff"],
    ),
    (
        "src/resilience/deadline/decision.rs",
        "Error::new(ErrorKind::Timeout, phase)",
        &["Timeout"],
        &["headers", "body"],
    ),
    (
        "src/mesh/call/attempt/failing.rs",
        "(Met::NeverSent, ErrorKind::Transport, Phase::Request, Outcome::Ignored)",
        &["Transport"],
        &["request"],
    ),
    (
        "src/mesh/call/attempt/failing.rs",
        "(Met::Refused, ErrorKind::Refused, Phase::Headers, Outcome::Failure)",
        &["Refused"],
        &["headers"],
    ),
    (
        "src/mesh/endpoint.rs",
        "Error::new(error, Phase::Headers)",
        &["Refused", "RequestBody", "Transport"],
        &["headers"],
    ),
    (
        "src/mesh/resolve.rs",
        "Error::new(kind, Phase::Resolve)",
        &["Config", "UnknownService"],
        &["resolve"],
    ),
    (
        "src/resilience/queue/future.rs",
        "Error::new(kind, Phase::Admission)",
        &["Overloaded", "NoEndpoints"],
        &["admission"],
    ),
    (
        "src/security/error.rs",
        "Self::new(kind, Phase::Tls)",
        &["Config", "Identity", "Connect"],
        &["tls"],
    ),
    (
        "src/transport/connect.rs",
        "Self::new(ErrorKind::Connect, phase)",
        &["Connect"],
        &["connect", "tls"],
    ),
    (
        "src/adapt/reqwest/error.rs",
        "(ErrorKind::InvalidResponse, Phase::Body, Origin::Endpoint)",
        &["InvalidResponse"],
        &["body"],
    ),
];

#[test]
fn the_phases_of_errors_are_those_of_the_code() {
    let mut found = Vec::new();
    sources(&crate::documents::root().join("src"), &mut found);
    let mut made: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut note = |kind: &str, phase: &str| {
        made.entry(kind.to_owned()).or_default().insert(phase.to_lowercase());
    };
    let word = |text: &str| text.chars().take_while(char::is_ascii_alphabetic).collect::<String>();
    let mut unknown = Vec::new();
    for (file, code) in &found {
        for (at, _) in code.match_indices("::new(ErrorKind::") {
            let rest = &code[at + "::new(ErrorKind::".len()..];
            let kind = word(rest);
            let rest = rest[kind.len()..].trim_start_matches([',', ' ']);
            match rest.strip_prefix("Phase::") {
                Some(phase) => note(&kind, &word(phase)),
                None => unknown.push((file.clone(), kind)),
            }
        }
    }
    for (file, says, kinds, phases) in COMPUTED {
        let stands =
            found.iter().any(|(name, code)| name == file && code.contains(&squeezed(says)));
        assert!(stands, "{file} has no `{says}`");
        for (kind, phase) in kinds.iter().flat_map(|kind| phases.iter().map(move |it| (kind, it))) {
            note(kind, phase);
        }
        unknown.retain(|(name, kind)| name != file || !says.contains(&**kind));
    }
    assert_eq!(unknown, [], "their phases are computed: say which they may be");
    for cells in rows(&read("docs/ERRORS.md")).into_iter().filter(|cells| cells.len() > 2) {
        let kind = cells[0].trim_matches('`');
        let told: BTreeSet<String> = cells[4].split(", ").map(str::to_owned).collect();
        assert_eq!(Some(&told), made.get(kind), "docs/ERRORS.md: the phases of {kind}");
    }
}

#[test]
fn the_words_of_endpoints_are_those_of_the_code() {
    let health = squeezed(&read("docs/HEALTH.md"));
    let part = |file: &str, from: &str, to: &str| {
        let source = read(file);
        let start = source.find(from).unwrap();
        source[start..start + source[start..].find(to).unwrap()].to_owned()
    };
    let standing =
        part("src/balance/explain/display.rs", "for EndpointStanding {", "for PickReason {");
    let links = part("src/balance/census.rs", "match link {", "};");
    let mut seen = 0;
    for literal in [standing, links].concat().split('"').skip(1).step_by(2) {
        // What is filled in has another value in the document.
        for words in literal.split('{').map(|it| it.split('}').next_back().unwrap_or(it)) {
            seen += 1;
            let words = words.trim_matches([',', ' ', '%']);
            assert!(health.contains(words), "docs/HEALTH.md does not say `{words}`");
        }
    }
    assert!(seen > 15, "{seen} words: are they still read?");
}

#[test]
fn every_event_and_field_is_documented() {
    let table: BTreeMap<String, BTreeSet<String>> = rows(&read("docs/EVENTS.md"))
        .into_iter()
        .map(|cells| {
            let fields = spans(&cells[1]).into_iter().map(str::to_owned).collect();
            (cells[0].trim_matches('`').to_owned(), fields)
        })
        .collect();
    assert_eq!(table, variants(&read("src/core/event.rs"), "Event"));
}
