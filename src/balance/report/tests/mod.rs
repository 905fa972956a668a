//! Load reports: vectors of Envoy's and gRPC's own tests, and what no server should send.

mod orca;
mod weights;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Report, read};

/// What these headers are read as.
fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let lines = lines.iter().map(|(name, value)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    });
    lines.collect()
}

fn one(name: &'static str, value: &str) -> Option<Report> {
    read(&headers(&[(name, value)]))
}
