//! The three encodings. Vectors of `test/common/orca/orca_parser_test.cc` (Envoy).

use base64::{Engine as _, prelude::BASE64_STANDARD, prelude::BASE64_STANDARD_NO_PAD};
use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;
use prost::Message as _;

use super::{
    super::{Entry, Format, LATENCY_US, RIF, Report, Signal, read::message, signal_of},
    headers, one,
};

const ANY: &str = "endpoint-load-metrics";
const BINARY: &str = "endpoint-load-metrics-bin";

/// Envoy's example, all of its fields.
fn example() -> Report {
    Report {
        cpu_utilization: 0.7,
        application_utilization: 0.8,
        mem_utilization: 0.9,
        eps: 2.0,
        rps_fractional: 1000.0,
        named_metrics: vec![Entry::new("foo", 123.0), Entry::new("bar", 0.2)],
        ..Report::default()
    }
}

/// Maps have no order.
fn sorted(mut report: Report) -> Report {
    report.named_metrics.sort_by(|one, other| one.name.cmp(&other.name));
    report
}

#[test]
fn the_wire_is_that_of_the_protobuf_map() {
    // Written by protobuf's own library for Python:
    // cpu_utilization 0.5, rps_fractional 100, named_metrics {"q": 2}.
    let bytes: &[u8] = &[
        0x09, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f, // 1: 0.5
        0x31, 0, 0, 0, 0, 0, 0, 0x59, 0x40, // 6: 100
        0x42, 0x0c, 0x0a, 0x01, b'q', 0x11, 0, 0, 0, 0, 0, 0, 0, 0x40, // 8: q, 2
    ];
    let report = message(Bytes::from_static(bytes)).unwrap();
    assert_eq!((report.cpu_utilization, report.rps_fractional), (0.5, 100.0));
    assert_eq!(report.named("q"), Some(2.0));
    assert_eq!(report.encode_to_vec(), bytes);
}

#[test]
fn nothing_is_read_where_nothing_was_sent() {
    assert_eq!(super::read(&HeaderMap::new()), None);
    assert_eq!(one("wrong-header", "wrong-value"), None);
}

#[test]
fn other_forms_are_not_read() {
    for value in ["BAD random-value", "", "BIN", "TEXT", "cpu_utilization:0.7", "text cpu:1"] {
        assert_eq!(one(ANY, value), None, "{value}");
    }
}

#[test]
fn text_as_envoy_and_vllm_write_it() {
    let value = "TEXT cpu_utilization:0.7,application_utilization:0.8,mem_utilization:0.9,\
                 rps_fractional:1000,eps:2,named_metrics.foo:123,named_metrics.bar:0.2";
    assert_eq!(one(ANY, value), Some(example()));
    // What vLLM and Triton write.
    let value =
        "TEXT named_metrics.kv_cache_usage_perc=0.4, named_metrics.num_requests_waiting=3.0";
    let report = one(ANY, value).unwrap();
    assert_eq!(report.named("kv_cache_usage_perc"), Some(0.4));
    assert_eq!(report.named("num_requests_waiting"), Some(3.0));
    let report = one(ANY, "TEXT utilization.gpu:0.25, request_cost.tokens:7").unwrap();
    assert_eq!(report.utilization, [Entry::new("gpu", 0.25)]);
    assert_eq!(report.request_cost, [Entry::new("tokens", 7.0)]);
}

#[test]
fn text_that_is_spoilt_is_not_read_at_all() {
    for value in [
        "TEXT cpu_utilization:\"0.7\"",
        "TEXT cpu_utilization:nan",
        "TEXT cpu_utilization:inf",
        "TEXT cpu_utilization:-inf",
        "TEXT cpu_utilization:1e999",
        "TEXT cpu_utilization:0.7,cpu_utilization:0.8",
        "TEXT cpu_utilization:0.7,unsupported_metric:0.8",
        "TEXT named_metrics.foo:123,named_metrics.duplicate:123,named_metrics.duplicate:0.2",
        "TEXT named_metrics.:123",
        "TEXT not-a-list-of-key-value-pairs",
        "TEXT cpu_utilization:",
        "TEXT :1",
    ] {
        assert_eq!(one(ANY, value), None, "{value}");
    }
}

#[test]
fn json_as_protobuf_writes_it() {
    let value = "JSON {\"cpu_utilization\": 0.7, \"application_utilization\": 0.8, \
                 \"mem_utilization\": 0.9, \"rps_fractional\": 1000, \"eps\": 2, \
                 \"named_metrics\": {\"foo\": 123,\"bar\": 0.2}}";
    assert_eq!(one(ANY, value).map(sorted), Some(sorted(example())));
    // protobuf's JSON has names in camel case, and numbers as strings.
    let value = "JSON {\"cpuUtilization\": \"0.7\", \"applicationUtilization\": 0.8, \
                 \"memUtilization\": 0.9, \"rpsFractional\": 1000, \"eps\": 2.0, \
                 \"namedMetrics\": {\"foo\": \"123\",\"bar\": 0.2}, \"rps\": \"7\", \
                 \"requestCost\": null}";
    let expected = Report { rps: 7, ..example() };
    assert_eq!(one(ANY, value).map(sorted), Some(sorted(expected)));
}

#[test]
fn json_that_is_spoilt_is_not_read_at_all() {
    for value in [
        "JSON not-a-valid-json-string",
        "JSON {\"cpu_utilization\": \"0.7\"",
        "JSON {\"cpu_utilization\": 0.7, \"unknown_field\": 2}",
        "JSON {\"cpu_utilization\": true}",
        "JSON {\"named_metrics\": [1]}",
        "JSON {\"named_metrics\": {\"\": 1}}",
        "JSON [1]",
        "JSON 1",
        "JSON ",
    ] {
        assert_eq!(one(ANY, value), None, "{value}");
    }
}

#[test]
fn binary_padded_or_not() {
    let bytes = example().encode_to_vec();
    let (padded, bare) = (BASE64_STANDARD.encode(&bytes), BASE64_STANDARD_NO_PAD.encode(&bytes));
    assert_ne!(padded, bare);
    for text in [&padded, &bare, &format!("{padded},AAAA"), &format!(" {padded}")] {
        assert_eq!(one(BINARY, text), Some(example()), "{text}");
        assert_eq!(one(ANY, &format!("BIN {text}")), Some(example()), "{text}");
    }
}

#[test]
fn binary_that_is_spoilt_is_not_read() {
    let bytes = example().encode_to_vec();
    let half = BASE64_STANDARD.encode(&bytes[..bytes.len() / 2]);
    for value in [half.as_str(), "not-a-valid-binary-proto", "", "%%%%", ","] {
        assert_eq!(one(BINARY, value), None, "{value}");
        assert_eq!(one(ANY, &format!("BIN {value}")), None, "{value}");
    }
}

#[test]
fn the_binary_header_comes_first() {
    let text = BASE64_STANDARD.encode(example().encode_to_vec());
    let both = headers(&[(ANY, "TEXT cpu_utilization:0.1"), (BINARY, &text)]);
    assert_eq!(super::read(&both), Some(example()));
}

#[test]
fn what_is_long_or_has_many_metrics_is_not_read() {
    let many = |count| Report {
        named_metrics: (0..count).map(|n| Entry::new(&format!("m{n}"), 1.0)).collect(),
        ..Report::default()
    };
    assert!(message(many(256).encode_to_vec().into()).is_some());
    assert!(message(many(257).encode_to_vec().into()).is_none());
    let long = format!("TEXT named_metrics.{}:1", "a".repeat(17_000));
    assert_eq!(one(ANY, &long), None);
    let many: Vec<_> = (0..257).map(|n| format!("named_metrics.{n}:1")).collect();
    assert_eq!(one(ANY, &format!("TEXT {}", many.join(","))), None);
}

#[test]
fn what_is_written_is_read() {
    for format in [Format::Text, Format::Json, Format::Binary] {
        let mut written = HeaderMap::new();
        example().write(&mut written, format);
        example().write(&mut written, format);
        assert_eq!(written.len(), 1);
        let again = super::read(&written).map(sorted);
        assert_eq!(again, Some(sorted(example())), "{format:?} {written:?}");
    }
    let mut written = HeaderMap::new();
    example().write(&mut written, Format::Text);
    assert_eq!(
        written[ANY],
        "TEXT cpu_utilization:0.7,mem_utilization:0.9,application_utilization:0.8,\
         rps_fractional:1000,eps:2,named_metrics.foo:123,named_metrics.bar:0.2"
    );
}

#[test]
fn a_name_that_would_break_the_text_is_left_out_of_it() {
    let report = Report {
        eps: 1.0,
        named_metrics: vec![
            Entry::new("a,eps:9", 1.0),
            Entry::new("a\r\nset-cookie: x", 1.0),
            Entry { name: Bytes::from_static(b"\xff"), value: 1.0 },
        ],
        ..Report::default()
    };
    let mut written = HeaderMap::new();
    report.write(&mut written, Format::Text);
    // A line break in a name makes no header of the value: nothing is sent.
    assert!(written.is_empty() || super::read(&written).is_some());
    for format in [Format::Json, Format::Binary] {
        report.write(&mut written, format);
    }
    assert!(!written.contains_key("set-cookie"));
}

#[test]
fn signals_by_orca_and_by_the_headers_of_envoy_prequal() {
    let signal = |in_flight, latency| Some(Signal { in_flight, latency });
    let text = format!("TEXT named_metrics.{RIF}:3,named_metrics.{LATENCY_US}:1500.9");
    assert_eq!(signal_of(&headers(&[(ANY, &text)])), signal(3, 1500));
    let text = format!("TEXT named_metrics.{RIF}:0");
    assert_eq!(signal_of(&headers(&[(ANY, &text)])), signal(0, 0));
    assert_eq!(signal_of(&headers(&[("x-prequal-rif", "4")])), signal(4, 0));
    let both = [("x-prequal-rif", "4"), ("x-prequal-latency-us", "77")];
    assert_eq!(signal_of(&headers(&both)), signal(4, 77));
    assert_eq!(signal_of(&headers(&[("x-prequal-rif", "99999999999")])), signal(u32::MAX, 0));
    assert_eq!(signal_of(&headers(&[(ANY, "TEXT cpu_utilization:0.5")])), None);
    assert_eq!(signal_of(&headers(&[("x-prequal-rif", "many")])), None);
}

#[test]
fn absurd_signals() {
    let signal = |in_flight: f64, latency: f64| {
        let named_metrics = vec![Entry::new(RIF, in_flight), Entry::new(LATENCY_US, latency)];
        Signal::of(&Report { named_metrics, ..Report::default() })
    };
    for in_flight in [f64::NAN, f64::INFINITY, -1.0] {
        assert_eq!(signal(in_flight, 1.0), None, "{in_flight}");
    }
    for latency in [f64::NAN, f64::INFINITY, -1.0] {
        assert_eq!(signal(1.0, latency), Some(Signal { in_flight: 1, latency: 0 }), "{latency}");
    }
    let most = Signal { in_flight: u32::MAX, latency: 1_000_000_000_000_000 };
    assert_eq!(signal(1e300, 1e300), Some(most));
}

proptest! {
    #[test]
    fn any_value_is_read_or_not(value in any::<Vec<u8>>(), form in 0..5) {
        let prefix: &[u8] = match form {
            0 => b"TEXT ",
            1 => b"JSON ",
            2 => b"BIN ",
            _ => b"",
        };
        let mut map = HeaderMap::new();
        if let Ok(value) = http::HeaderValue::from_bytes(&[prefix, &value].concat()) {
            map.insert(if form == 4 { BINARY } else { ANY }, value);
            let _read = super::read(&map);
            let _signal = signal_of(&map);
        }
        let _read = message(value.into());
    }

    #[test]
    fn any_report_is_written_and_read(
        numbers in any::<[f64; 5]>(), names in prop::collection::btree_map("[a-z. -]{1,12}", 0.0..1e9, 0..5)
    ) {
        let [cpu, mem, application, rps, eps] = numbers.map(|number| if number.is_finite() { number } else { 1.0 });
        let report = Report {
            cpu_utilization: cpu, mem_utilization: mem, application_utilization: application,
            rps_fractional: rps, eps,
            named_metrics: names.iter().map(|(name, value)| Entry::new(name.trim(), *value)).filter(|entry| !entry.name.is_empty()).collect(),
            ..Report::default()
        };
        for format in [Format::Json, Format::Binary] {
            let mut written = HeaderMap::new();
            report.write(&mut written, format);
            let again = super::read(&written);
            if report != Report::default() && again.is_some() {
                prop_assert_eq!(again.map(|report| report.named_metrics.len()).unwrap_or(0) <= report.named_metrics.len(), true);
            }
            prop_assert_eq!(super::read(&written).is_some() || report == Report::default(), true, "{:?}", written);
        }
    }
}
