//! The text formats of Prometheus 0.0.4 and of OpenMetrics 1.0.

use std::fmt::Write as _;

use super::{
    family::MetricKind,
    snapshot::{MetricFamily, MetricSample, MetricValue, Metrics},
};

#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Format {
    Prometheus,
    OpenMetrics,
}

/// Writes all of them, in their order.
pub(super) fn write(metrics: &Metrics, format: Format) -> String {
    let mut text = String::new();
    for family in &metrics.families {
        write_family(&mut text, family, format);
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn write_family(text: &mut String, family: &MetricFamily, format: Format) {
    let name = name_of(family);
    let is_counter = family.kind == MetricKind::Counter;
    // OpenMetrics names the family without what its samples end in.
    let (heading, sample) = match (is_counter, format) {
        (true, Format::Prometheus) => (format!("{name}_total"), format!("{name}_total")),
        (true, Format::OpenMetrics) => (name.clone(), format!("{name}_total")),
        (false, _) => (name.clone(), name),
    };
    let kind = match family.kind {
        MetricKind::Counter => "counter",
        MetricKind::UpDownCounter | MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
    };
    line(text, format_args!("# HELP {heading} {}", Escaped(family.help, format.quotes_help())));
    line(text, format_args!("# TYPE {heading} {kind}"));
    if format == Format::OpenMetrics && family.unit == "s" {
        line(text, format_args!("# UNIT {heading} seconds"));
    }
    for one in &family.samples {
        write_sample(text, &sample, one);
    }
}

fn write_sample(text: &mut String, name: &str, sample: &MetricSample) {
    let labels = labels_of(sample);
    let plain = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    match sample.value() {
        MetricValue::Count(count) => line(text, format_args!("{name}{plain} {count}")),
        MetricValue::Level(level) => line(text, format_args!("{name}{plain} {level}")),
        MetricValue::Number(number) => line(text, format_args!("{name}{plain} {number}")),
        MetricValue::Durations { buckets, sum, count }
        | MetricValue::Distribution { buckets, sum, count } => {
            let comma = if labels.is_empty() { "" } else { "," };
            for (bound, below) in buckets {
                let bound = if bound.is_infinite() { "+Inf".into() } else { bound.to_string() };
                line(text, format_args!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}"));
            }
            line(text, format_args!("{name}_sum{plain} {sum}"));
            line(text, format_args!("{name}_count{plain} {count}"));
        }
    }
}

/// The name with underscores and its unit.
fn name_of(family: &MetricFamily) -> String {
    let name = underscored(family.name);
    if family.unit == "s" { name + "_seconds" } else { name }
}

/// A name as Prometheus has it: of letters, digits and underscores.
fn underscored(name: &str) -> String {
    name.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '_' }).collect()
}

fn labels_of(sample: &MetricSample) -> String {
    let labels = sample.labels.iter().map(|(name, value)| {
        let value = value.to_string();
        format!("{}=\"{}\"", underscored(name), Escaped(&value, true))
    });
    labels.collect::<Vec<_>>().join(",")
}

/// Writing into a string cannot fail.
fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    if text.write_fmt(line).is_ok() {
        text.push('\n');
    }
}

/// A text in which backslashes, line feeds and, if asked for, quotes are escaped.
struct Escaped<'a>(&'a str, bool);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for char in self.0.chars() {
            match char {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '"' if self.1 => f.write_str("\\\"")?,
                char => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

impl Format {
    /// Only OpenMetrics escapes quotes in help texts.
    fn quotes_help(self) -> bool {
        self == Self::OpenMetrics
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{Metric, family::LabelValue},
        *,
    };

    fn metrics(value: &str) -> Metrics {
        let labels = vec![
            ("mesh.service", LabelValue::Shared(value.into())),
            ("http.response.status_code", LabelValue::Number(200)),
        ];
        let sample = MetricSample::new(labels, MetricValue::Count(3));
        Metrics { families: MetricFamily::new(Metric::Retries, vec![sample]).into_iter().collect() }
    }

    #[test]
    fn a_counter_as_prometheus_and_as_open_metrics_has_it() {
        let metrics = metrics("a\"b\\c\nd");
        let sample = "mesh_client_retries_total{mesh_service=\"a\\\"b\\\\c\\nd\",\
                      http_response_status_code=\"200\"} 3\n";
        let help = "Attempts that were made after another";
        assert_eq!(
            metrics.to_prometheus(),
            format!(
                "# HELP mesh_client_retries_total {help}\n\
                 # TYPE mesh_client_retries_total counter\n{sample}"
            )
        );
        assert_eq!(
            metrics.to_open_metrics(),
            format!(
                "# HELP mesh_client_retries {help}\n\
                 # TYPE mesh_client_retries counter\n{sample}# EOF\n"
            )
        );
    }

    /// Reads the value of a label back, as a scraper does.
    fn unescape(text: &str) -> Option<(String, &str)> {
        let mut value = String::new();
        let mut chars = text.char_indices();
        while let Some((at, char)) = chars.next() {
            match char {
                '"' => return Some((value, &text[at + 1..])),
                '\n' => return None,
                '\\' => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    known @ ('\\' | '"') => known,
                    _ => return None,
                }),
                char => value.push(char),
            }
        }
        None
    }

    proptest! {
        /// Whatever a name holds, the line stays one line, and is read back as it was.
        #[test]
        fn a_label_is_read_back_as_it_was(value: String) {
            for text in [metrics(&value).to_prometheus(), metrics(&value).to_open_metrics()] {
                let (_, rest) = text.split_once("mesh_service=\"").unwrap();
                let (read, rest) = unescape(rest).unwrap();
                prop_assert_eq!(&read, &value);
                let follows = rest.starts_with(",http_response_status_code=\"200\"} 3\n");
                prop_assert!(follows);
            }
        }
    }
}
