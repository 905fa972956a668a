//! The rate limit of this process, before a call.

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderMap, Request};

use super::{Asked, Dry, Entry, Foretold, Guard};
use crate::{
    config::{self, format::Side},
    core::Random,
    mesh::{describe::Setting, settings::By},
    observe::RateLimited,
    resilience::{
        Descriptor,
        rate_limit::{Level, Over, RateLimiter, Verdict, refusal, write_limit},
    },
    route::{Describing, Edit, Switch},
};

#[derive(Debug)]
pub(super) struct RateLimit {
    limiter: RateLimiter,
    describing: Describing,
    status: u16,
    limit_headers: bool,
    /// Which calls it counts and refuses, where that is not all; every one, where it is empty.
    shares: String,
    /// Edits of refusals, and of requests that are over and go on.
    response: Edit,
    request: Edit,
    /// For `describe()`.
    setting: String,
}

// === impl RateLimit ===

impl RateLimit {
    /// Compiles a validated limit for a process with these labels.
    pub(super) fn new(
        limit: &config::RateLimit,
        labels: &BTreeMap<String, String>,
        switch: impl FnMut(&str) -> Arc<Switch>,
    ) -> Self {
        Self {
            limiter: RateLimiter::new(limit),
            describing: Describing::new(&limit.describe, 0, labels, switch),
            status: limit.refused_as(),
            limit_headers: limit.limit_headers.unwrap_or(false),
            shares: shares(limit),
            response: Edit::new(&limit.response_headers, Side::Response),
            request: Edit::new(&limit.request_headers, Side::Request),
            setting: setting(limit),
        }
    }

    fn described<B>(
        &self,
        request: &Request<B>,
        cluster: Option<&str>,
        random: &Random,
    ) -> Vec<Descriptor> {
        if self.limiter.describes() {
            self.describing.describe(request, cluster, random)
        } else {
            Vec::new()
        }
    }

    fn levels(&self, dry: &Dry<'_>) -> Vec<Level> {
        let said = self.described(dry.request, dry.cluster(), &Random::dry(0));
        self.limiter.levels(&said, dry.now())
    }

    #[cold]
    fn refuse(&self, over: &Over) -> Entry {
        let what = format!("`rate_limit`: {}", bucket(over.descriptor));
        Entry::Refuse(refusal(over, self.status, &what, |headers: &mut HeaderMap| {
            if self.limit_headers {
                write_limit(over, headers);
            }
            self.response.apply(headers);
        }))
    }
}

impl Guard for RateLimit {
    fn enter(self: Arc<Self>, asked: Asked<'_>) -> Entry {
        let caller = asked.caller;
        let random = &caller.inner.random;
        let cluster = asked.cluster.map(|cluster| &*cluster.name);
        let said = self.described(asked.request, cluster, random);
        match self.limiter.check(&said, asked.now, random) {
            Verdict::Pass => Entry::Pass,
            Verdict::Over(_) => {
                caller.cell.meter.rate_limited(RateLimited::Over);
                self.request.apply(asked.request.headers_mut());
                Entry::Pass
            }
            Verdict::Refused(over) => {
                caller.cell.meter.rate_limited(RateLimited::Refused);
                self.refuse(&over)
            }
        }
    }

    fn explain(&self, dry: &Dry<'_>) -> Foretold {
        let levels = self.levels(dry);
        if levels.is_empty() {
            return Foretold::said("rate_limit: no bucket counts it".to_owned(), false);
        }
        let is_over = levels.iter().any(|level| level.left < level.hits);
        let levels = levels.iter().map(|it| {
            let Level { descriptor, max, left, hits } = it;
            format!("{} has {left} of {max} tokens, of which it takes {hits}", bucket(*descriptor))
        });
        let levels = levels.collect::<Vec<_>>().join("; ");
        let told = format!("rate_limit: {levels}{}", self.shares);
        Foretold::said(told, is_over && self.shares.is_empty())
    }

    fn settings(&self, by: By<'_>) -> Vec<Setting> {
        vec![by.says("rate_limit".into(), self.setting.clone())]
    }
}

fn bucket(descriptor: Option<usize>) -> String {
    match descriptor {
        None => "the bucket".to_owned(),
        Some(place) => format!("the bucket of `descriptors[{place}]`"),
    }
}

/// Which share of calls it counts, and which it refuses of those that are over.
fn shares(limit: &config::RateLimit) -> String {
    let of = |percent: Option<f64>| percent.filter(|percent| *percent < 100.0);
    let counted = of(limit.enabled_percent).map(|it| format!("; it counts {it} % of the calls"));
    let refused = of(limit.enforced_percent)
        .map(|it| format!("; it refuses {it} % of the calls that are over"));
    [counted, refused].into_iter().flatten().collect()
}

fn setting(limit: &config::RateLimit) -> String {
    let of = |bucket: &config::TokenBucket| {
        let (fill, interval) = (bucket.per_fill(), bucket.interval());
        format!("{} tokens, {fill} every {interval:?}", bucket.max_tokens)
    };
    let mut parts = Vec::new();
    if limit.has_bucket() {
        parts.push(of(&limit.bucket));
    }
    for (place, descriptor) in limit.descriptors.iter().enumerate() {
        parts.push(format!("descriptors[{place}]: {}", of(&descriptor.bucket)));
    }
    for (name, percent) in
        [("enabled", limit.enabled_percent), ("enforced", limit.enforced_percent)]
    {
        parts.extend(percent.map(|percent| format!("{name} {percent} %")));
    }
    parts.join("; ")
}
