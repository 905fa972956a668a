//! What describes a request to rate limits.
//!
//! The rules are Envoy's (`router_ratelimit.cc`), so that one rate limit service counts the requests
//! of sidecars and of this mesh alike.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use http::{HeaderName, Request};
use percent_encoding::percent_decode_str;

use super::{Asked, Switch, matching::Matcher, pseudo::Pseudo};

use crate::{
    config::{DescriptorPart, DescriptorSource, Match, RateDescriptor},
    core::{Random, uri::parameter},
    resilience::Descriptor,
};

/// A compiled list of descriptions.
#[derive(Debug, Default)]
pub(crate) struct Describing(Box<[Description]>);

#[derive(Debug)]
struct Description {
    parts: Box<[Part]>,
    hits: Option<u64>,
    /// Whether it describes anything; none: always.
    switch: Option<Arc<Switch>>,
}

#[derive(Debug)]
enum Part {
    /// The same of every request; none: this process has no such label.
    Said(Option<(Cow<'static, str>, String)>),
    Cluster,
    Header(HeaderName, Source),
    /// What HTTP/2 has as a header, and `http` as a part of its own.
    Pseudo(Pseudo, Source),
    Query(String, Source),
    Matches(Box<Matches>),
}

#[derive(Debug)]
struct Source {
    key: String,
    skip_if_absent: bool,
}

#[derive(Debug)]
struct Matches {
    key: String,
    value: String,
    matcher: Matcher,
    invert: bool,
}

/// What a part makes of a request.
enum Made {
    Entry(Cow<'static, str>, String),
    /// This part is left out.
    Nothing,
    /// The description is left out.
    Lacking,
}

// === impl Describing ===

impl Describing {
    /// Compiles the validated descriptions of a stage for a process with these labels, with what
    /// turns each off that names a key.
    pub(crate) fn new(
        descriptions: &[RateDescriptor],
        stage: u32,
        labels: &BTreeMap<String, String>,
        mut switch: impl FnMut(&str) -> Arc<Switch>,
    ) -> Self {
        let of_stage = descriptions.iter().filter(|it| it.stage.unwrap_or(0) == stage);
        // What cannot be compiled would describe requests as what they are not: it is left out.
        let descriptions = of_stage.filter_map(|it| {
            let parts = it.parts.iter().map(|part| Part::new(part, labels));
            let switch = it.disable_key.as_deref().map(&mut switch);
            Some(Description { parts: parts.collect::<Option<_>>()?, hits: it.hits, switch })
        });
        Self(descriptions.collect())
    }

    /// Describes a request to this cluster. A description that lacks a part is left out.
    //= Envoy RateLimitPolicyEntryImpl::populateDescriptors
    pub(crate) fn describe<B>(
        &self,
        request: &Request<B>,
        cluster: Option<&str>,
        random: &Random,
    ) -> Vec<Descriptor> {
        let described = self.0.iter().filter_map(|it| it.describe(request, cluster, random));
        described.collect()
    }
}

// === impl Description ===

impl Description {
    fn describe<B>(
        &self,
        request: &Request<B>,
        cluster: Option<&str>,
        random: &Random,
    ) -> Option<Descriptor> {
        //= Envoy ratelimit.cc: `ratelimit.<disable_key>.http_filter_enabled`, else all requests
        if self.switch.as_ref().is_some_and(|switch| !switch.is_on(random)) {
            return None;
        }
        let mut descriptor = Descriptor::new();
        for part in &self.parts {
            match part.make(request, cluster, random) {
                Made::Entry(key, value) => descriptor.add(key, value),
                Made::Nothing => {}
                Made::Lacking => return None,
            }
        }
        descriptor.set_hits(self.hits);
        (!descriptor.is_empty()).then_some(descriptor)
    }
}

// === impl Part ===

impl Part {
    fn new(part: &DescriptorPart, labels: &BTreeMap<String, String>) -> Option<Self> {
        Some(match part {
            DescriptorPart::SourceCluster => {
                let label = labels.get("cluster");
                Self::Said(label.map(|label| ("source_cluster".into(), label.clone())))
            }
            DescriptorPart::DestinationCluster => Self::Cluster,
            DescriptorPart::Fixed(entry) => {
                let key = or_default(Some(&entry.key), "generic_key");
                Self::Said(Some((key.into(), entry.value.clone())))
            }
            DescriptorPart::Header(source) => match Pseudo::of(&source.name) {
                Some(pseudo) => Self::Pseudo(pseudo, Source::new(source)),
                None => Self::Header(
                    HeaderName::from_bytes(source.name.as_bytes()).ok()?,
                    Source::new(source),
                ),
            },
            DescriptorPart::Query(source) => Self::Query(source.name.clone(), Source::new(source)),
            DescriptorPart::HeadersMatch(it) => {
                let rule = Match { headers: it.headers.clone(), ..Match::default() };
                let key = or_default(it.key.as_ref(), "header_match");
                Self::matches(key, &it.value, &rule, it.invert)?
            }
            DescriptorPart::QueryMatch(it) => {
                let rule = Match { query: it.query.clone(), ..Match::default() };
                let key = or_default(it.key.as_ref(), "query_match");
                Self::matches(key, &it.value, &rule, it.invert)?
            }
            // Refused by validation.
            DescriptorPart::RemoteAddress
            | DescriptorPart::MaskedAddress(_)
            | DescriptorPart::Metadata(_)
            | DescriptorPart::Extension(_) => return None,
        })
    }

    fn matches(key: String, value: &str, rule: &Match, invert: bool) -> Option<Self> {
        let matcher = Matcher::new(rule, &BTreeMap::new()).ok()?;
        Some(Self::Matches(Box::new(Matches { key, value: value.to_owned(), matcher, invert })))
    }

    fn make<B>(&self, request: &Request<B>, cluster: Option<&str>, random: &Random) -> Made {
        match self {
            Self::Said(Some((key, value))) => Made::Entry(key.clone(), value.clone()),
            Self::Said(None) => Made::Lacking,
            Self::Cluster => match cluster {
                Some(cluster) => Made::Entry("destination_cluster".into(), cluster.to_owned()),
                None => Made::Lacking,
            },
            Self::Header(name, source) => {
                //= Envoy RequestHeadersAction: the first of several values
                let value = request.headers().get(name);
                source.of(value.map(|value| String::from_utf8_lossy(value.as_bytes())))
            }
            Self::Pseudo(pseudo, source) => source.of(pseudo.value(request).map(Cow::Borrowed)),
            Self::Query(name, source) => {
                //= Envoy QueryParametersAction: decoded, so that all who share a limit count one value
                let value = parameter(request, name);
                source.of(value.map(|value| percent_decode_str(value).decode_utf8_lossy()))
            }
            Self::Matches(it) => {
                let is_met = it.matcher.mismatch(&Asked::new(request, random)).is_none();
                if is_met == it.invert {
                    return Made::Lacking;
                }
                Made::Entry(it.key.clone().into(), it.value.clone())
            }
        }
    }
}

// === impl Source ===

impl Source {
    fn new(source: &DescriptorSource) -> Self {
        let key = or_default(Some(&source.key), &source.name);
        Self { key, skip_if_absent: source.skip_if_absent }
    }

    fn of(&self, value: Option<Cow<'_, str>>) -> Made {
        match value {
            Some(value) => Made::Entry(self.key.clone().into(), value.into_owned()),
            None if self.skip_if_absent => Made::Nothing,
            None => Made::Lacking,
        }
    }
}

fn or_default(key: Option<&String>, default: &str) -> String {
    key.filter(|key| !key.is_empty()).map_or_else(|| default.to_owned(), String::clone)
}

#[cfg(test)]
#[path = "describe/tests.rs"]
mod tests;
