//! Checks of outlier detection and active checks.

use http::{HeaderName, HeaderValue, Method, uri::Authority};

use super::{Checker, NOT_YET, not_yet};
use crate::config::{
    FailureAccrual, FailurePercentage, GrpcProbe, HealthCheck, HttpProbe, IntegerRange,
    OutlierDetection, Probe, StringMatch, SuccessRate, TcpProbe, hex,
};

/// Checks that a cluster may have.
const MOST_CHECKS: usize = 16;
/// The most bytes of an answer that may be asked to be looked at.
const MOST_LOOKED_AT: u64 = 1 << 20;

impl Checker {
    pub(super) fn outliers(&mut self, outliers: &OutlierDetection) {
        let OutlierDetection {
            // Any number in a row will do; 0 turns it off.
            consecutive_5xx: _,
            consecutive_gateway_failure: _,
            consecutive_local_origin_failure: _,
            enforcing_consecutive_5xx,
            enforcing_consecutive_gateway_failure,
            enforcing_consecutive_local_origin_failure,
            interval,
            base_ejection_time,
            max_ejection_time,
            max_ejection_time_jitter,
            max_ejection_percent,
            always_eject_one: _,
            min_health_percent,
            // Any number may have to stay.
            min_ready_endpoints: _,
            success_rate,
            failure_percentage,
            accrual,
            split_local_origin: _,
            uneject_on_check: _,
            statuses,
            respect_retry_after: _,
        } = outliers;
        self.whole_percent("enforcing_consecutive_5xx", *enforcing_consecutive_5xx);
        self.whole_percent(
            "enforcing_consecutive_gateway_failure",
            *enforcing_consecutive_gateway_failure,
        );
        self.whole_percent(
            "enforcing_consecutive_local_origin_failure",
            *enforcing_consecutive_local_origin_failure,
        );
        self.time("interval", *interval);
        self.time("base_ejection_time", *base_ejection_time);
        self.time("max_ejection_time", *max_ejection_time);
        self.time("max_ejection_time_jitter", max_ejection_time_jitter.filter(|it| !it.is_zero()));
        if let Some(max) = max_ejection_time {
            let base = base_ejection_time.unwrap_or(std::time::Duration::from_secs(30));
            if *max < base {
                let reason = format!("must be at least base_ejection_time ({base:?})");
                self.refuse("max_ejection_time", format!("{max:?}"), reason);
            }
        }
        for (field, percent) in [
            ("max_ejection_percent", max_ejection_percent),
            ("min_health_percent", min_health_percent),
        ] {
            if let Some(percent) = percent.filter(|percent| !(0.0..=100.0).contains(percent)) {
                self.refuse(field, percent, "must be in 0..=100");
            }
        }
        if let Some(rate) = success_rate {
            self.within("success_rate", |checker| checker.success_rate(rate));
        }
        if let Some(share) = failure_percentage {
            self.within("failure_percentage", |checker| checker.failure_percentage(share));
        }
        if let Some(accrual) = accrual {
            self.within("accrual", |checker| checker.accrual(accrual));
        }
        self.statuses("statuses", statuses.iter().flatten());
    }

    fn whole_percent(&mut self, field: &str, percent: Option<u32>) {
        if let Some(percent) = percent.filter(|percent| *percent > 100) {
            self.refuse(field, percent, "must be in 0..=100");
        }
    }

    fn statuses<'a>(&mut self, field: &str, ranges: impl Iterator<Item = &'a IntegerRange>) {
        for (index, IntegerRange { start, end }) in ranges.enumerate() {
            if !(100..1000).contains(start) || !(start + 1..=1000).contains(end) {
                let value = format!("{start}..{end}");
                self.refuse(
                    &format!("{field}[{index}]"),
                    value,
                    "must be within 100..1000, and not empty",
                );
            }
        }
    }

    fn success_rate(&mut self, rate: &SuccessRate) {
        let SuccessRate {
            enforcing,
            enforcing_local_origin,
            minimum_hosts: _,
            request_volume: _,
            // 0 is the mean itself.
            stdev_factor: _,
        } = rate;
        self.whole_percent("enforcing", *enforcing);
        self.whole_percent("enforcing_local_origin", *enforcing_local_origin);
    }

    fn failure_percentage(&mut self, share: &FailurePercentage) {
        let FailurePercentage {
            threshold,
            enforcing,
            enforcing_local_origin,
            minimum_hosts: _,
            request_volume: _,
        } = share;
        self.whole_percent("threshold", *threshold);
        self.whole_percent("enforcing", *enforcing);
        self.whole_percent("enforcing_local_origin", *enforcing_local_origin);
    }

    fn accrual(&mut self, accrual: &FailureAccrual) {
        let FailureAccrual {
            // 0 turns it off.
            consecutive_failures: _,
            success_ratio,
            window,
            min_requests,
            min_penalty,
            max_penalty,
            jitter,
        } = accrual;
        for (field, ratio) in [("success_ratio", success_ratio), ("jitter", jitter)] {
            if let Some(ratio) = ratio.filter(|ratio| !(0.0..=1.0).contains(ratio)) {
                self.refuse(field, ratio, "must be in 0..=1");
            }
        }
        self.time("window", *window);
        if let Some(window) = window.filter(|window| window.as_millis() < 10) {
            self.refuse("window", format!("{window:?}"), "must be at least 10ms");
        }
        if let Some(requests) = min_requests.filter(|it| !(1..=1_000_000).contains(it)) {
            self.refuse("min_requests", requests, "must be in 1..=1000000");
        }
        self.time("min_penalty", *min_penalty);
        self.time("max_penalty", *max_penalty);
        let least = min_penalty.unwrap_or(std::time::Duration::from_secs(1));
        if let Some(most) = max_penalty.filter(|most| *most < least) {
            let reason = format!("must be at least min_penalty ({least:?})");
            self.refuse("max_penalty", format!("{most:?}"), reason);
        }
    }

    pub(super) fn health_checks(&mut self, checks: &[HealthCheck]) {
        self.each("health_checks", checks, Self::health_check);
        if checks.len() > MOST_CHECKS {
            self.refuse("health_checks", checks.len(), "must be at most 16");
        }
    }

    fn health_check(&mut self, check: &HealthCheck) {
        let HealthCheck {
            probe,
            timeout,
            interval,
            initial_jitter,
            interval_jitter,
            interval_jitter_percent,
            unhealthy_threshold,
            healthy_threshold,
            no_traffic_interval,
            no_traffic_healthy_interval,
            unhealthy_interval,
            unhealthy_edge_interval,
            healthy_edge_interval,
            reuse_connection: _,
            port,
            alpn,
            security_labels,
        } = check;
        for (field, time) in [
            ("timeout", timeout),
            ("interval", interval),
            ("no_traffic_interval", no_traffic_interval),
            ("no_traffic_healthy_interval", no_traffic_healthy_interval),
            ("unhealthy_interval", unhealthy_interval),
            ("unhealthy_edge_interval", unhealthy_edge_interval),
            ("healthy_edge_interval", healthy_edge_interval),
        ] {
            self.time(field, *time);
        }
        self.time("initial_jitter", initial_jitter.filter(|it| !it.is_zero()));
        self.time("interval_jitter", interval_jitter.filter(|it| !it.is_zero()));
        self.whole_percent("interval_jitter_percent", *interval_jitter_percent);
        self.at_least_one("unhealthy_threshold", *unhealthy_threshold);
        self.at_least_one("healthy_threshold", *healthy_threshold);
        if *port == Some(0) {
            self.refuse("port", 0, "must be in 1..=65535");
        }
        not_yet!(self, alpn, security_labels);
        match probe {
            Probe::Tcp(probe) => self.within("probe.tcp", |checker| checker.tcp_probe(probe)),
            Probe::Http(probe) => self.within("probe.http", |checker| checker.http_probe(probe)),
            Probe::Grpc(probe) => self.within("probe.grpc", |checker| checker.grpc_probe(probe)),
            Probe::Extension(_) => self.refuse("probe", "extension", NOT_YET),
        }
    }

    fn tcp_probe(&mut self, probe: &TcpProbe) {
        let TcpProbe { send, receive } = probe;
        self.bytes("send", send.iter());
        self.bytes("receive", receive.iter());
    }

    fn bytes<'a>(&mut self, field: &str, texts: impl Iterator<Item = &'a String>) {
        for text in texts.filter(|text| hex(text).is_none()) {
            self.refuse(field, text, "must be hexadecimal, two digits for each byte");
        }
    }

    fn http_probe(&mut self, probe: &HttpProbe) {
        let HttpProbe {
            path,
            host,
            method,
            protocol: _,
            headers,
            remove_headers,
            body,
            expected,
            retriable,
            receive,
            response_buffer_bytes,
            service,
        } = probe;
        if !path.is_empty()
            && (!path.starts_with('/') || http::uri::PathAndQuery::try_from(path.as_str()).is_err())
        {
            self.refuse("path", path, "must be a path that begins with `/`");
        }
        self.authority("host", host.as_ref());
        if let Some(method) = method {
            let parsed = Method::from_bytes(method.as_bytes());
            if !parsed.is_ok_and(|method| method != Method::CONNECT) {
                self.refuse("method", method, "is not a method that may be sent");
            }
        }
        for (name, value) in headers {
            self.probe_header("headers", name, value);
        }
        for name in remove_headers {
            self.probe_header("remove_headers", name, "");
        }
        self.bytes("body", body.iter());
        self.statuses("expected", expected.iter());
        self.statuses("retriable", retriable.iter());
        self.bytes("receive", receive.iter());
        if let Some(bytes) = response_buffer_bytes.filter(|bytes| *bytes > MOST_LOOKED_AT) {
            self.refuse("response_buffer_bytes", bytes, "must be at most 1048576");
        }
        match service {
            Some(StringMatch::Regex(regex)) => self.refuse("service.regex", regex, NOT_YET),
            Some(StringMatch::Range(range)) => {
                let range = format!("{}..{}", range.start, range.end);
                self.refuse("service.range", range, NOT_YET);
            }
            _ => {}
        }
    }

    fn grpc_probe(&mut self, probe: &GrpcProbe) {
        let GrpcProbe { service: _, authority, metadata } = probe;
        if cfg!(not(feature = "grpc-health")) {
            self.refuse("", "grpc", "needs the feature `grpc-health`");
        }
        self.authority("authority", authority.as_ref());
        for (name, value) in metadata {
            self.probe_header("metadata", name, value);
        }
    }

    fn authority(&mut self, field: &str, authority: Option<&String>) {
        if let Some(authority) = authority.filter(|it| it.parse::<Authority>().is_err()) {
            self.refuse(field, authority, "is not an authority");
        }
    }

    fn probe_header(&mut self, field: &str, name: &str, value: &str) {
        if HeaderName::try_from(name).is_err() {
            self.refuse(&format!("{field}.{name}"), name, "is not the name of a header");
        } else if HeaderValue::try_from(value).is_err() {
            self.refuse(&format!("{field}.{name}"), value, "is not the value of a header");
        }
    }
}
