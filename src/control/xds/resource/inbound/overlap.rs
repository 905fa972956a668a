//! That a connection is for one chain.

use std::collections::HashSet;

use super::{
    super::walk::{Result, Walk},
    types::{InboundChain, InboundMatch, InboundSource},
};
use crate::config::block::Block;

/// Combinations of what the chains of a listener match at most.
const MOST: usize = 65_536;

/// One value of each list of a match; none: the list says nothing.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
struct One<'a> {
    destination_port: Option<u16>,
    destination: Option<Block>,
    server_name: Option<&'a str>,
    transport: Option<&'a str>,
    application_protocol: Option<&'a str>,
    direct_source: Option<Block>,
    source_type: InboundSource,
    source: Option<Block>,
    source_port: Option<u16>,
}

/// Refuses chains that take the same connections: by each combination of values, as Envoy and gRPC compare them.
pub(super) fn check(walk: &Walk, chains: &[InboundChain]) -> Result<()> {
    let counts = chains.iter().map(|chain| count(&chain.matches));
    let count = counts.fold(0_usize, usize::saturating_add);
    if count > MOST {
        let reason = format!("must match at most {MOST} combinations of values, of all lists");
        return walk.refuse("filter_chains", count, reason);
    }
    let mut seen = HashSet::with_capacity(count);
    for (index, chain) in chains.iter().enumerate() {
        //= Envoy, gRFC A36: a connection is for one chain
        if !add(&chain.matches, &mut seen) {
            let field = format!("filter_chains[{index}].filter_chain_match");
            let reason = "takes connections that another chain takes, or says a value twice";
            return walk.refuse(&field, &chain.name, reason);
        }
    }
    Ok(())
}

/// How many combinations a match has.
fn count(matches: &InboundMatch) -> usize {
    let lengths = [
        matches.destinations.len(),
        matches.server_names.len(),
        matches.application_protocols.len(),
        matches.direct_sources.len(),
        matches.sources.len(),
        matches.source_ports.len(),
    ];
    lengths.into_iter().map(|length| length.max(1)).fold(1, usize::saturating_mul)
}

/// Adds the combinations of a match; false: one is there.
fn add<'a>(matches: &'a InboundMatch, seen: &mut HashSet<One<'a>>) -> bool {
    let InboundMatch {
        destination_port,
        destinations,
        server_names,
        transport,
        application_protocols,
        direct_sources,
        source,
        sources,
        source_ports,
    } = matches;
    let mut all = vec![One {
        destination_port: *destination_port,
        destination: None,
        server_name: None,
        transport: transport.as_deref(),
        application_protocol: None,
        direct_source: None,
        source_type: *source,
        source: None,
        source_port: None,
    }];
    all = each(all, destinations, |it, text| One { destination: block(text), ..it });
    all = each(all, server_names, |it, name| One { server_name: Some(name), ..it });
    all =
        each(all, application_protocols, |it, name| One { application_protocol: Some(name), ..it });
    all = each(all, direct_sources, |it, text| One { direct_source: block(text), ..it });
    all = each(all, sources, |it, text| One { source: block(text), ..it });
    all = each(all, source_ports, |it, port| One { source_port: Some(*port), ..it });
    all.into_iter().all(|one| seen.insert(one))
}

/// Each of all, with each value of a list; with an empty one, as it is.
fn each<'a, T>(
    all: Vec<One<'a>>,
    values: &'a [T],
    with: impl Fn(One<'a>, &'a T) -> One<'a>,
) -> Vec<One<'a>> {
    if values.is_empty() {
        return all;
    }
    all.into_iter()
        .flat_map(|one| values.iter().map(move |it| (one, it)))
        .map(|(one, it)| with(one, it))
        .collect()
}

/// A block that was read, as others of its addresses are.
fn block(text: &str) -> Option<Block> {
    Block::new(text).ok().map(Block::masked)
}
