//! Writing a report into the headers or trailers of a response.

use std::fmt::Write as _;

use base64::Engine as _;
use http::{HeaderMap, HeaderValue};
use prost::Message as _;
use serde_json::{Map, Value};

use super::{
    metrics::{APPLICATION, CPU, EPS, MEM, NAMED, RPS, UTILIZATION},
    orca::{Entry, Report},
    read::{ANY, BASE64, BINARY},
};

/// How a report is written into a header.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
#[cfg_attr(docsrs, doc(cfg(feature = "orca")))]
pub enum Format {
    /// `endpoint-load-metrics: TEXT cpu_utilization:0.3,named_metrics.queue:2`, which anybody can
    /// read.
    #[default]
    Text,
    /// `endpoint-load-metrics: JSON {"cpu_utilization":0.3}`: protobuf's JSON.
    Json,
    /// `endpoint-load-metrics-bin`: the message in base64, as gRPC has it in its trailers.
    Binary,
}

impl Report {
    /// Writes it over what may be there.
    pub(crate) fn write(&self, headers: &mut HeaderMap, format: Format) {
        let (name, value) = match format {
            Format::Text => (ANY, self.text()),
            Format::Json => (ANY, self.json()),
            Format::Binary => (BINARY, BASE64.encode(self.encode_to_vec())),
        };
        // Base64, numbers, and names without control characters: it is a value.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }

    fn fields(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let fields = [
            (CPU, self.cpu_utilization),
            (MEM, self.mem_utilization),
            (APPLICATION, self.application_utilization),
            (RPS, self.rps_fractional),
            (EPS, self.eps),
        ];
        fields.into_iter().filter(|(_, value)| *value != 0.0)
    }

    fn text(&self) -> String {
        let mut text = String::from("TEXT ");
        for (name, value) in self.fields() {
            // Writing to a string cannot fail.
            let _written = write!(text, "{name}:{value},");
        }
        for (prefix, entries) in [(NAMED, &self.named_metrics), (UTILIZATION, &self.utilization)] {
            for (name, value) in entries.iter().filter_map(named) {
                if !name.contains([',', ':', '=']) {
                    let _written = write!(text, "{prefix}{name}:{value},");
                }
            }
        }
        text.pop();
        text
    }

    fn json(&self) -> String {
        let map = |entries: &[Entry]| {
            let entries = entries.iter().filter_map(named);
            Value::Object(entries.map(|(name, value)| (name.to_owned(), value.into())).collect())
        };
        let mut fields: Map<String, Value> =
            self.fields().map(|(name, value)| (name.to_owned(), value.into())).collect();
        for (name, entries) in
            [("named_metrics", &self.named_metrics), ("utilization", &self.utilization)]
        {
            if !entries.is_empty() {
                fields.insert(name.to_owned(), map(entries));
            }
        }
        format!("JSON {}", Value::Object(fields))
    }
}

fn named(entry: &Entry) -> Option<(&str, f64)> {
    Some((str::from_utf8(&entry.name).ok()?, entry.value))
}
