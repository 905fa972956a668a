//! What describes the requests of a route to filters that limit rates.

use envoy_types::pb::envoy::config::route::v3::{
    RateLimit,
    rate_limit::{
        Action, HitsAddend,
        action::{
            ActionSpecifier, GenericKey, HeaderValueMatch, QueryParameterValueMatch,
            QueryParameters, RequestHeaders,
        },
    },
};

use super::super::{
    read::{bools, said, u32s},
    text,
    walk::{Result, Walk},
};
use crate::config::{
    DescriptorEntry, DescriptorHeaders, DescriptorPart, DescriptorQuery, DescriptorSource,
    RateDescriptor,
};

/// Reads descriptions; one with a part that only a proxy can fill in describes nothing, as where a
/// request lacks a part.
pub(in super::super) fn descriptors(
    walk: &mut Walk,
    field: &str,
    list: &[RateLimit],
) -> Result<Vec<RateDescriptor>> {
    let read = walk.each(field, list, |walk, pb| {
        let RateLimit {
            stage,
            disable_key,
            actions,
            limit,
            hits_addend,
            apply_on_stream_done,
            x_ratelimit_option,
        } = pb;
        walk.note_if(limit.is_some(), "limit", "not supported yet");
        walk.note_if(
            *apply_on_stream_done,
            "apply_on_stream_done",
            "not supported yet: at the start",
        );
        walk.note_if(*x_ratelimit_option != 0, "x_ratelimit_option", "not supported yet");
        let mut parts = Vec::new();
        for (index, Action { action_specifier }) in actions.iter().enumerate() {
            let part = walk.within(&format!("actions[{index}]"), |walk| {
                part(walk, action_specifier.as_ref())
            })?;
            match part {
                Some(part) => parts.push(part),
                None => return Ok(None),
            }
        }
        if parts.is_empty() {
            return walk.refuse("actions", "[]", "must not be empty");
        }
        let mut read = RateDescriptor::new(parts);
        read.stage = u32s(stage.as_ref());
        read.disable_key = said(disable_key);
        if let Some(HitsAddend { number, format, is_negative_hits }) = hits_addend {
            read.hits = number.as_ref().map(|number| number.value);
            let is_more = !format.is_empty() || *is_negative_hits;
            walk.note_if(is_more, "hits_addend", "of it, `number` counts");
        }
        Ok(Some(read))
    })?;
    Ok(read.into_iter().flatten().collect())
}

fn part(walk: &mut Walk, pb: Option<&ActionSpecifier>) -> Result<Option<DescriptorPart>> {
    let source = |name: &str, key: &str, skip: bool| {
        let mut source = DescriptorSource::new(name);
        source.key = key.to_owned();
        source.skip_if_absent = skip;
        source
    };
    let name = match pb {
        Some(ActionSpecifier::SourceCluster(_)) => return Ok(Some(DescriptorPart::SourceCluster)),
        Some(ActionSpecifier::DestinationCluster(_)) => {
            return Ok(Some(DescriptorPart::DestinationCluster));
        }
        Some(ActionSpecifier::RequestHeaders(it)) => {
            let RequestHeaders { header_name, descriptor_key, skip_if_absent } = it;
            let source = source(header_name, descriptor_key, *skip_if_absent);
            return Ok(Some(DescriptorPart::Header(source)));
        }
        Some(ActionSpecifier::QueryParameters(it)) => {
            let QueryParameters { query_parameter_name, descriptor_key, skip_if_absent } = it;
            let source = source(query_parameter_name, descriptor_key, *skip_if_absent);
            return Ok(Some(DescriptorPart::Query(source)));
        }
        Some(ActionSpecifier::GenericKey(it)) => {
            let GenericKey { descriptor_value, default_value: _, descriptor_key } = it;
            let entry = DescriptorEntry::new(descriptor_key.clone(), descriptor_value.clone());
            return Ok(Some(DescriptorPart::Fixed(entry)));
        }
        Some(ActionSpecifier::HeaderValueMatch(it)) => {
            let HeaderValueMatch {
                descriptor_value,
                default_value: _,
                descriptor_key,
                expect_match,
                headers,
            } = it;
            let mut read = DescriptorHeaders::default();
            read.key = said(descriptor_key);
            read.value.clone_from(descriptor_value);
            read.headers = walk.each("headers", headers, |walk, pb| {
                let mut header = text::header(walk, pb)?;
                //= Envoy: to it `host` is `:authority`, of any protocol
                if header.name.eq_ignore_ascii_case("host") {
                    header.name = ":authority".to_owned();
                }
                Ok(header)
            })?;
            read.invert = bools(expect_match.as_ref()) == Some(false);
            return Ok(Some(DescriptorPart::HeadersMatch(read)));
        }
        Some(ActionSpecifier::QueryParameterValueMatch(it)) => {
            let QueryParameterValueMatch {
                descriptor_value,
                default_value: _,
                descriptor_key,
                expect_match,
                query_parameters,
            } = it;
            let mut read = DescriptorQuery::default();
            read.key = said(descriptor_key);
            read.value.clone_from(descriptor_value);
            read.query = walk.each("query_parameters", query_parameters, text::query)?;
            read.invert = bools(expect_match.as_ref()) == Some(false);
            return Ok(Some(DescriptorPart::QueryMatch(read)));
        }
        Some(ActionSpecifier::RemoteAddress(_)) => "remote_address",
        Some(ActionSpecifier::MaskedRemoteAddress(_)) => "masked_remote_address",
        Some(ActionSpecifier::RemoteAddressMatch(_)) => "remote_address_match",
        Some(ActionSpecifier::DynamicMetadata(_)) => "dynamic_metadata",
        Some(ActionSpecifier::Metadata(_)) => "metadata",
        Some(ActionSpecifier::Extension(_)) => "extension",
        None => "none",
    };
    walk.note("", format!("{name} is not known here: the description is left out"));
    Ok(None)
}
