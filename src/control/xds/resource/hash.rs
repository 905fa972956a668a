//! What a request is hashed by.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::route::v3::route_action::{
    HashPolicy as Pb,
    hash_policy::{
        ConnectionProperties, Cookie, CookieAttribute, Header, PolicySpecifier, QueryParameter,
    },
};

use super::{
    read::said,
    text,
    walk::{Result, Walk},
};
use crate::config::{HashCookie, HashHeader, HashOn, HashPolicy};

/// Reads the parts; one that cannot be known here is left out, as gRPC does (gRFC A42).
pub(super) fn policies(walk: &mut Walk, field: &str, list: &[Pb]) -> Result<Vec<HashPolicy>> {
    let read = walk.each(field, list, |walk, pb| {
        let on = match &pb.policy_specifier {
            Some(PolicySpecifier::Header(Header { header_name, regex_rewrite })) => {
                let rewrite = match regex_rewrite {
                    Some(it) => Some(text::rewrite(walk, "header.regex_rewrite", it)?),
                    None => None,
                };
                HashOn::Header(HashHeader { name: header_name.clone(), rewrite })
            }
            Some(PolicySpecifier::Cookie(Cookie { name, ttl, path, attributes })) => {
                let mut cookie = HashCookie::default();
                cookie.name.clone_from(name);
                cookie.ttl = walk.time("cookie.ttl", ttl.as_ref())?;
                // Envoy makes one where a life is said.
                cookie.generate = ttl.is_some();
                cookie.path = said(path);
                cookie.attributes = attributes
                    .iter()
                    .map(|CookieAttribute { name, value }| (name.clone(), value.clone()))
                    .collect::<BTreeMap<_, _>>();
                HashOn::Cookie(cookie)
            }
            Some(PolicySpecifier::QueryParameter(QueryParameter { name })) => {
                HashOn::Query(name.clone())
            }
            Some(PolicySpecifier::FilterState(state)) if state.key == HashPolicy::CHANNEL => {
                HashOn::FilterState(state.key.clone())
            }
            Some(PolicySpecifier::FilterState(state)) => {
                walk.note("filter_state", format!("{} is not known here: is left out", state.key));
                return Ok(None);
            }
            Some(PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: _ })) => {
                walk.note("connection_properties", "a call has no caller's address: is left out");
                return Ok(None);
            }
            None => {
                walk.note("policy_specifier", "is not given, or not known here: is left out");
                return Ok(None);
            }
        };
        let policy = HashPolicy::new(on);
        Ok(Some(if pb.terminal { policy.terminal() } else { policy }))
    })?;
    Ok(read.into_iter().flatten().collect())
}
