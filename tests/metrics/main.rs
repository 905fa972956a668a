//! What is counted of calls, attempts, endpoints, connections and configuration.
#![allow(clippy::float_cmp, reason = "counts are whole")]
#![allow(clippy::wildcard_imports, reason = "the parts share what stands here")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../support/documents.rs"]
mod documents;
#[path = "../support/mod.rs"]
mod support;

mod calls;
mod grpc;
mod parts;
mod text;

use std::{collections::BTreeSet, time::Duration};

use tower_mesh::{
    Body, Call, ErrorKind, Mesh, Retry,
    config::{self, Health},
    observe::{MetricValue, Metrics},
};

use documents::{code, read, rows, spans};
use support::{
    GreeterClient, HelloReply, HelloRequest, Leaves, SERVICE, Server, dead_address, fetch, get,
    greeters::{counting, hello},
    leaf::{answer, ok},
    patience, post,
    source::{cluster, one_cluster, published},
    within,
};

const CALL: &str = "mesh.client.call.duration";
const ATTEMPT: &str = "http.client.request.duration";
const RPC: &str = "rpc.client.call.duration";
const RPC_ATTEMPT: &str = "grpc.client.attempt.duration";

/// The rows of the tables of metrics, and of no other table.
fn documented() -> Vec<Vec<String>> {
    rows(&read("docs/METRICS.md")).into_iter().filter(|cells| cells.len() == 5).collect()
}

#[test]
fn the_table_of_metrics_is_that_of_the_code() {
    let source = code("src/observe/family.rs");
    let table = source.split_once("match self {").unwrap().1.split_once("Family {").unwrap().0;
    let kinds = |kind: &str| match kind {
        "Counter" => "counter",
        "UpDownCounter" => "up-down counter",
        "Gauge" => "gauge",
        "Histogram" => "histogram",
        other => panic!("`{other}` is no kind"),
    };
    // `Self::Metric => ( "name", Kind, "unit", "help", )`
    let in_code: Vec<Vec<String>> = table
        .split("Self::")
        .skip(1)
        .map(|row| {
            let texts: Vec<&str> = row.split('"').skip(1).step_by(2).take(3).collect();
            let kind = row.split('"').nth(2).unwrap().trim_matches([',', ' ', '\n']);
            vec![texts[0].into(), kinds(kind).into(), texts[1].into(), texts[2].into()]
        })
        .collect();
    let in_docs: Vec<Vec<String>> = documented()
        .into_iter()
        .map(|cells| {
            let plain = |n: usize| cells[n].trim_matches('`').to_owned();
            vec![plain(0), plain(1), plain(2), plain(4)]
        })
        .collect();
    assert_eq!(in_docs, in_code);
    assert!(in_code.len() > 20);
}

/// The attributes of each metric are those of its row, and each has its row in the list of them.
fn check_attributes(metrics: &Metrics) {
    let rows = documented();
    let listed = read("docs/METRICS.md");
    for family in &metrics.families {
        let row = rows.iter().find(|row| row[0].trim_matches('`') == family.name).unwrap();
        let known: BTreeSet<&str> = spans(&row[3]).into_iter().collect();
        for sample in &family.samples {
            for (name, value) in sample.attributes() {
                assert!(known.contains(name), "{} has no attribute {name}", family.name);
                assert!(listed.contains(&format!("\n| `{name}` | ")), "{name} is not explained");
                assert!(!value.is_empty(), "{name} of {}", family.name);
            }
        }
    }
}

/// How many samples of a histogram were at most so long.
fn at_most(metrics: &Metrics, name: &str, seconds: f64) -> u64 {
    let samples = &metrics.family(name).unwrap().samples;
    let counts = samples.iter().map(|sample| match sample.value() {
        MetricValue::Durations { buckets, .. } => {
            buckets.iter().find(|(bound, _)| *bound >= seconds).unwrap().1
        }
        other => panic!("{other:?}"),
    });
    counts.sum()
}
