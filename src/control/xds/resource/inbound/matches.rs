//! Which connections a chain takes.

use envoy_types::pb::envoy::config::{
    core::v3::CidrRange,
    listener::v3::{FilterChainMatch, filter_chain_match::ConnectionSourceType},
};

use super::{
    super::{
        read::{said, u32s},
        walk::{Result, Walk},
    },
    types::{InboundMatch, InboundSource},
};
use crate::config::block::Block;

/// Items of one list at most: chains are compared with each other.
const MOST: usize = 1_000;

pub(super) fn matches(walk: &mut Walk, pb: &FilterChainMatch) -> Result<InboundMatch> {
    let FilterChainMatch {
        destination_port,
        prefix_ranges,
        address_suffix,
        suffix_len,
        direct_source_prefix_ranges,
        source_type,
        source_prefix_ranges,
        source_ports,
        server_names,
        transport_protocol,
        application_protocols,
    } = pb;
    //= Envoy: neither is done
    for (is_said, field) in
        [(!address_suffix.is_empty(), "address_suffix"), (suffix_len.is_some(), "suffix_len")]
    {
        if is_said {
            return walk.refuse(field, "given", "not supported yet");
        }
    }
    for (count, field) in [
        (prefix_ranges.len(), "prefix_ranges"),
        (direct_source_prefix_ranges.len(), "direct_source_prefix_ranges"),
        (source_prefix_ranges.len(), "source_prefix_ranges"),
        (source_ports.len(), "source_ports"),
        (server_names.len(), "server_names"),
        (application_protocols.len(), "application_protocols"),
    ] {
        if count > MOST {
            return walk.refuse(field, count, format!("must be at most {MOST}"));
        }
    }
    for (index, name) in server_names.iter().enumerate() {
        //= Envoy: a star stands for whole labels, at the beginning
        let bare = name.strip_prefix("*.").unwrap_or(name);
        if bare.is_empty() || bare.contains('*') {
            let field = format!("server_names[{index}]");
            return walk.refuse(&field, name, "must be `a.b` or `*.b`");
        }
    }
    let source = match ConnectionSourceType::try_from(*source_type) {
        Ok(ConnectionSourceType::Any) => InboundSource::Any,
        Ok(ConnectionSourceType::SameIpOrLoopback) => InboundSource::Local,
        Ok(ConnectionSourceType::External) => InboundSource::External,
        Err(_) => return walk.refuse("source_type", source_type, "is none"),
    };
    let destination_port = match u32s(destination_port.as_ref()) {
        Some(port) => Some(number(walk, "destination_port", port)?),
        None => None,
    };
    Ok(InboundMatch {
        destination_port,
        destinations: walk.each("prefix_ranges", prefix_ranges, block)?,
        server_names: server_names.iter().map(|name| name.to_ascii_lowercase()).collect(),
        transport: said(transport_protocol),
        application_protocols: application_protocols.clone(),
        direct_sources: walk.each(
            "direct_source_prefix_ranges",
            direct_source_prefix_ranges,
            block,
        )?,
        source,
        sources: walk.each("source_prefix_ranges", source_prefix_ranges, block)?,
        source_ports: walk
            .each("source_ports", source_ports, |walk, port| number(walk, "", *port))?,
    })
}

fn number(walk: &Walk, field: &str, port: u32) -> Result<u16> {
    match u16::try_from(port) {
        Ok(port) if port != 0 => Ok(port),
        _ => walk.refuse(field, port, "must be in 1..=65535"),
    }
}

fn block(walk: &mut Walk, pb: &CidrRange) -> Result<String> {
    let CidrRange { address_prefix, prefix_len } = pb;
    let text = format!("{address_prefix}/{}", u32s(prefix_len.as_ref()).unwrap_or(0));
    match Block::new(&text) {
        Ok(_) => Ok(text),
        Err(reason) => walk.refuse("", text, reason),
    }
}
