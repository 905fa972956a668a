//! Checks of rate limits.

use std::time::Duration;

use http::HeaderName;

use super::{Checker, NOT_YET};
use crate::config::{
    ConfigErrors, DescriptorEntry, DescriptorHeaders, DescriptorPart, DescriptorQuery,
    DescriptorSource, GlobalRateLimit, LimitedDescriptor, MOST_BUCKETS, RateDescriptor, RateLimit,
    TokenBucket,
};

/// Envoy's shortest `fill_interval`.
const SHORTEST_FILL: Duration = Duration::from_millis(50);
const LONGEST_FILL: Duration = Duration::from_secs(86_400 * 365);
/// Envoy's most hits of one request.
const MOST_HITS: u64 = 1_000_000_000;
const MOST_STAGE: u32 = 10;
const NO_DOWNSTREAM: &str = "not supported yet: a client has no caller with an address";

impl Checker {
    pub(super) fn rate_limit(&mut self, limit: &RateLimit) {
        let RateLimit {
            bucket,
            descriptors,
            always_bucket,
            max_buckets,
            describe,
            enabled_percent,
            enforced_percent,
            status,
            response_headers,
            request_headers,
            per_connection,
            limit_headers: _,
        } = limit;
        if limit.has_bucket() {
            self.within("bucket", |checker| checker.bucket(bucket));
        } else if *always_bucket == Some(true) {
            self.refuse("always_bucket", true, "there is no `bucket`");
        }
        self.each("descriptors", descriptors, Self::limited);
        for (index, descriptor) in descriptors.iter().enumerate() {
            if descriptors[..index].iter().any(|other| other.entries == descriptor.entries) {
                self.refuse(&format!("descriptors[{index}]"), index, "is there twice");
            }
        }
        if !descriptors.is_empty() && describe.is_empty() {
            self.refuse(
                "descriptors",
                descriptors.len(),
                "`describe` says nothing that they could match",
            );
        }
        if descriptors.is_empty() && !describe.is_empty() {
            self.refuse(
                "describe",
                describe.len(),
                "there are no `descriptors` that it could match",
            );
        }
        if let Some(most) = max_buckets.filter(|most| !(1..=MOST_BUCKETS).contains(most)) {
            self.refuse("max_buckets", most, "must be in 1..=1000000");
        }
        self.each("describe", describe, Self::description);
        for (index, description) in describe.iter().enumerate() {
            if description.stage.is_some_and(|stage| stage > 0) {
                self.refuse(
                    &format!("describe[{index}].stage"),
                    description.stage.unwrap_or_default(),
                    "a local limit has one stage, 0",
                );
            }
        }
        self.percent("enabled_percent", *enabled_percent);
        self.percent("enforced_percent", *enforced_percent);
        self.refusal_status("status", *status);
        self.within("response_headers", |checker| checker.edit(response_headers, None));
        self.within("request_headers", |checker| checker.edit(request_headers, None));
        if let Some(per_connection) = per_connection {
            self.refuse(
                "per_connection",
                per_connection,
                "not supported yet: a call is counted before its connection is chosen",
            );
        }
    }

    pub(super) fn global_rate_limit(&mut self, limit: &GlobalRateLimit) {
        let GlobalRateLimit {
            cluster,
            domain,
            stage,
            timeout,
            fail_closed: _,
            error_status,
            status,
            response_headers,
            limit_headers: _,
            limited_header: _,
            request_type: _,
            describe,
        } = limit;
        if cfg!(not(feature = "rls")) {
            self.refuse("", "global_rate_limit", "needs the crate feature `rls`");
        }
        if cluster.is_empty() {
            self.refuse("cluster", "\"\"", "must be said");
        }
        //= xDS `ratelimit.v3.RateLimit.domain`: min_len 1
        if domain.is_empty() {
            self.refuse("domain", "\"\"", "must be said");
        }
        self.stage(*stage);
        self.time("timeout", *timeout);
        self.refusal_status("error_status", *error_status);
        self.refusal_status("status", *status);
        self.within("response_headers", |checker| checker.edit(response_headers, None));
        let stage = stage.unwrap_or(0);
        if !describe.iter().any(|it| it.stage.unwrap_or(0) == stage) {
            self.refuse("describe", describe.len(), format!("nothing describes stage {stage}"));
        }
        self.each("describe", describe, Self::description);
    }

    fn limited(&mut self, descriptor: &LimitedDescriptor) {
        let LimitedDescriptor { entries, bucket } = descriptor;
        if entries.is_empty() {
            self.refuse("entries", 0, "must not be empty");
        }
        self.each("entries", entries, |checker, entry| {
            let DescriptorEntry { key, value: _ } = entry;
            if key.is_empty() {
                checker.refuse("key", "\"\"", "must not be empty");
            }
        });
        self.within("bucket", |checker| checker.bucket(bucket));
    }

    fn bucket(&mut self, bucket: &TokenBucket) {
        let TokenBucket { max_tokens, tokens_per_fill, fill_interval } = bucket;
        self.at_least_one("max_tokens", Some(*max_tokens));
        self.at_least_one("tokens_per_fill", *tokens_per_fill);
        self.time("fill_interval", *fill_interval);
        if let Some(interval) = fill_interval.filter(|interval| *interval < SHORTEST_FILL) {
            self.refuse("fill_interval", format!("{interval:?}"), "must be at least 50ms");
        }
        let fills = u128::from(*max_tokens) * bucket.interval().as_nanos();
        if fills / u128::from(bucket.per_fill().max(1)) > LONGEST_FILL.as_nanos() {
            self.refuse("max_tokens", max_tokens, "the bucket takes longer than 365 days to fill");
        }
    }

    fn description(&mut self, descriptor: &RateDescriptor) {
        let RateDescriptor { parts, stage, disable_key, hits } = descriptor;
        if parts.is_empty() {
            self.refuse("parts", 0, "must not be empty");
        }
        for (index, part) in parts.iter().enumerate() {
            self.within(&format!("parts[{index}]"), |checker| checker.part(part));
        }
        self.stage(*stage);
        if let Some(hits) = hits.filter(|hits| *hits > MOST_HITS) {
            self.refuse("hits", hits, "must be at most 1000000000");
        }
        if disable_key.as_deref() == Some("") {
            self.refuse("disable_key", "\"\"", "must not be empty");
        }
    }

    fn part(&mut self, part: &DescriptorPart) {
        match part {
            DescriptorPart::SourceCluster | DescriptorPart::DestinationCluster => {}
            DescriptorPart::RemoteAddress => {
                self.refuse("", "remote_address", NO_DOWNSTREAM);
            }
            DescriptorPart::MaskedAddress(_) => {
                self.refuse("masked_address", "", NO_DOWNSTREAM);
            }
            DescriptorPart::Header(source) => {
                let DescriptorSource { name, key: _, skip_if_absent: _ } = source;
                if !source.is_pseudo() && HeaderName::from_bytes(name.as_bytes()).is_err() {
                    self.refuse("header.name", name, "is not a header name");
                }
            }
            DescriptorPart::Query(DescriptorSource { name, key: _, skip_if_absent: _ }) => {
                if name.is_empty() {
                    self.refuse("query.name", "\"\"", "must not be empty");
                }
            }
            //= xDS GenericKey.descriptor_value: min_len 1
            DescriptorPart::Fixed(DescriptorEntry { key: _, value }) => {
                self.must_say("fixed.value", value);
            }
            DescriptorPart::HeadersMatch(it) => {
                let DescriptorHeaders { key: _, value, headers, invert: _ } = it;
                self.must_say("headers_match.value", value);
                if headers.is_empty() {
                    self.refuse("headers_match.headers", 0, "must not be empty");
                }
                self.each("headers_match.headers", headers, Self::any_header);
            }
            DescriptorPart::QueryMatch(it) => {
                let DescriptorQuery { key: _, value, query, invert: _ } = it;
                self.must_say("query_match.value", value);
                if query.is_empty() {
                    self.refuse("query_match.query", 0, "must not be empty");
                }
                self.each("query_match.query", query, Self::parameter);
            }
            DescriptorPart::Metadata(_) => self.refuse("metadata", "", NOT_YET),
            DescriptorPart::Extension(it) => self.refuse("extension", &it.name, NOT_YET),
        }
    }

    fn must_say(&mut self, field: &str, value: &str) {
        if value.is_empty() {
            self.refuse(field, "\"\"", "must not be empty");
        }
    }

    fn stage(&mut self, stage: Option<u32>) {
        if let Some(stage) = stage.filter(|stage| *stage > MOST_STAGE) {
            self.refuse("stage", stage, "must be in 0..=10");
        }
    }

    fn refusal_status(&mut self, field: &str, status: Option<u16>) {
        if let Some(status) = status.filter(|status| !(400..=599).contains(status)) {
            self.refuse(field, status, "must be in 400..=599");
        }
    }
}

impl TokenBucket {
    /// Checks the ranges.
    pub(crate) fn validate(&self, path: &str) -> Result<(), ConfigErrors> {
        let mut checker = Checker::new(path);
        checker.bucket(self);
        checker.done()
    }
}
