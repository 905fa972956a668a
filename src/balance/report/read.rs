//! Reading a report from the headers or trailers of a response.
//!
//! A report that cannot be read is as good as none: it fails no call and changes no weight.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message as _;
use serde_json::Value;

use super::{
    metrics::{APPLICATION, COST, CPU, EPS, LATENCY_US, MEM, NAMED, RIF, RPS, UTILIZATION},
    orca::{Entry, Report, usable},
};

//= gRFC A51 §"Per-Query Metrics Reporting"; Envoy's ORCA parser reads both
pub(crate) const BINARY: HeaderName = HeaderName::from_static("endpoint-load-metrics-bin");
pub(crate) const ANY: HeaderName = HeaderName::from_static("endpoint-load-metrics");
const PREQUAL_RIF: HeaderName = HeaderName::from_static("x-prequal-rif");
const PREQUAL_LATENCY: HeaderName = HeaderName::from_static("x-prequal-latency-us");

/// What is longer is not read.
const LONGEST: usize = 16 * 1024;
/// What has more metrics is not read.
const METRICS: usize = 256;

/// gRPC's: what is written is padded, as Envoy wants it; what is read may be padded or not.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What Prequal wants to know of a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Signal {
    pub(crate) in_flight: u32,
    /// Microseconds; 0 where the server says nothing of it.
    pub(crate) latency: u64,
}

/// The report in these headers or trailers; nothing where there is none, or none that can be read.
#[inline]
pub(crate) fn read(headers: &HeaderMap) -> Option<Report> {
    // Envoy's precedence.
    if let Some(value) = headers.get(BINARY) {
        return binary(value.as_bytes());
    }
    let value = headers.get(ANY)?.as_bytes();
    if value.len() > LONGEST {
        return None;
    }
    if let Some(value) = value.strip_prefix(b"TEXT ") {
        text(str::from_utf8(value).ok()?)
    } else if let Some(value) = value.strip_prefix(b"JSON ") {
        json(value)
    } else {
        binary(value.strip_prefix(b"BIN ")?)
    }
}

/// Prequal's signals in these headers or trailers, by ORCA or by envoy-prequal's headers.
pub(crate) fn signal_of(headers: &HeaderMap) -> Option<Signal> {
    if let Some(in_flight) = headers.get(PREQUAL_RIF) {
        let latency = headers.get(PREQUAL_LATENCY).and_then(integer).unwrap_or(0);
        return Some(Signal {
            in_flight: u32::try_from(integer(in_flight)?).unwrap_or(u32::MAX),
            latency,
        });
    }
    Signal::of(&read(headers)?)
}

fn integer(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.trim().parse().ok()
}

impl Signal {
    /// What a report says of it. Nothing in flight is a number, too.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
    pub(crate) fn of(report: &Report) -> Option<Self> {
        let in_flight = report.named(RIF)?;
        if !in_flight.is_finite() || in_flight < 0.0 {
            return None;
        }
        let latency = report.named(LATENCY_US).and_then(usable).unwrap_or(0.0);
        Some(Self { in_flight: in_flight as u32, latency: latency as u64 })
    }
}

/// The message in base64.
fn binary(value: &[u8]) -> Option<Report> {
    // gRPC joins several values by commas: the first counts.
    let value = value.split(|byte| *byte == b',').next()?.trim_ascii();
    if value.is_empty() || value.len() > LONGEST {
        return None;
    }
    message(BASE64.decode(value).ok()?.into())
}

/// The message itself.
pub(crate) fn message(bytes: Bytes) -> Option<Report> {
    let report = (bytes.len() <= LONGEST).then(|| Report::decode(bytes).ok()).flatten()?;
    let metrics = [&report.named_metrics, &report.utilization, &report.request_cost];
    (metrics.iter().map(|entries| entries.len()).sum::<usize>() <= METRICS).then_some(report)
}

/// `name:value` by commas. `name=value` is what vLLM and Triton write.
fn text(text: &str) -> Option<Report> {
    let (mut report, mut names) = (Report::default(), Vec::new());
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once([':', '='])?;
        let (name, value) = (name.trim(), value.trim().parse::<f64>().ok()?);
        // As in Envoy, what is no number, and what is said twice, spoils the whole.
        if !value.is_finite() || names.contains(&name) || names.len() == METRICS {
            return None;
        }
        names.push(name);
        report.set(name, value)?;
    }
    Some(report)
}

/// protobuf's JSON: numbers may be strings, names may be in camel case.
fn json(text: &[u8]) -> Option<Report> {
    let Value::Object(fields) = serde_json::from_slice(text).ok()? else { return None };
    let mut report = Report::default();
    for (name, value) in &fields {
        let (entries, prefix) = match name.as_str() {
            "named_metrics" | "namedMetrics" => (Some(value), NAMED),
            "utilization" => (Some(value), UTILIZATION),
            "request_cost" | "requestCost" => (Some(value), COST),
            _ => (None, ""),
        };
        match entries {
            _ if value.is_null() => {}
            Some(Value::Object(entries)) if entries.len() <= METRICS => {
                for (key, value) in entries {
                    report.enter(prefix, key, number(value)?)?;
                }
            }
            Some(_) => return None,
            None if name == "rps" => report.rps = unsigned(value)?,
            None => report.set(&snake(name), number(value)?)?,
        }
    }
    Some(report)
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn unsigned(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// `cpuUtilization` as `cpu_utilization`.
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 2);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

impl Report {
    /// Sets a field, or an entry of a map, by its name; nothing for a name that there is not.
    fn set(&mut self, name: &str, value: f64) -> Option<()> {
        match name {
            CPU => self.cpu_utilization = value,
            MEM => self.mem_utilization = value,
            APPLICATION => self.application_utilization = value,
            EPS => self.eps = value,
            RPS => self.rps_fractional = value,
            _ => {
                let prefix =
                    [NAMED, UTILIZATION, COST].into_iter().find(|p| name.starts_with(p))?;
                self.enter(prefix, name.strip_prefix(prefix)?, value)?;
            }
        }
        Some(())
    }

    fn enter(&mut self, prefix: &str, key: &str, value: f64) -> Option<()> {
        if key.is_empty() {
            return None;
        }
        let entries = match prefix {
            NAMED => &mut self.named_metrics,
            UTILIZATION => &mut self.utilization,
            _ => &mut self.request_cost,
        };
        entries.push(Entry::new(key, value));
        Some(())
    }
}
