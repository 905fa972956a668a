//! From addresses and services to endpoints, sorted and each of them once.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::answer::Service;
use crate::config::{DnsFamily, Endpoint};

/// Addresses of one endpoint that are kept.
const MAX_ADDRESSES: usize = 16;

/// Which IPv4 address belongs to which IPv6 address, as was decided before.
pub(super) type Pairs = BTreeMap<Ipv6Addr, Ipv4Addr>;

/// The addresses that the family allows, IPv6 first where both are.
pub(super) fn allowed(family: DnsFamily, addresses: &[IpAddr]) -> Vec<IpAddr> {
    let of = |v6: bool| addresses.iter().copied().filter(move |address| address.is_ipv6() == v6);
    let (v6, v4): (Vec<IpAddr>, Vec<IpAddr>) = (of(true).collect(), of(false).collect());
    match family {
        DnsFamily::V4Only => v4,
        DnsFamily::V6Only => v6,
        DnsFamily::Auto if v6.is_empty() => v4,
        DnsFamily::Auto => v6,
        DnsFamily::V4Preferred if v4.is_empty() => v6,
        DnsFamily::V4Preferred => v4,
        DnsFamily::All => [v6, v4].concat(),
    }
}

/// Each address is an endpoint, but for pairs of one of each family, for a host of both must not get
/// two shares. Pairs that still are there stay, so that a change of one host changes one pair,
/// whichever of its records comes first. The rest is paired in sorted order where it is as many of
/// each: of other numbers some hosts have one family alone, and a wrong pair would leave one of them
/// without calls.
pub(super) fn strict(addresses: &[IpAddr], port: u16, pairs: &mut Pairs) -> Vec<Endpoint> {
    let (mut v6, mut v4) = (BTreeSet::new(), BTreeSet::new());
    for address in addresses {
        match address {
            IpAddr::V6(address) => drop(v6.insert(*address)),
            IpAddr::V4(address) => drop(v4.insert(*address)),
        }
    }
    pairs.retain(|one, other| v6.contains(one) && v4.contains(other));
    let mut new = v6.clone();
    new.retain(|one| !pairs.contains_key(one));
    let taken: BTreeSet<Ipv4Addr> = pairs.values().copied().collect();
    let mut alone = v4;
    alone.retain(|other| !taken.contains(other));
    if new.len() == alone.len() {
        pairs.extend(new.into_iter().zip(std::mem::take(&mut alone)));
    }
    let both = v6.into_iter().map(|one| {
        let other = pairs.get(&one).copied().map(IpAddr::V4);
        std::iter::once(IpAddr::V6(one)).chain(other).collect::<Vec<IpAddr>>()
    });
    let all = both.chain(alone.into_iter().map(|other| vec![IpAddr::V4(other)]));
    all.filter_map(|addresses| of_several(&addresses, port)).collect()
}

/// One endpoint with all of the addresses; the first of them stays while it is there.
pub(super) fn logical(addresses: &[IpAddr], port: u16, kept: Option<IpAddr>) -> Vec<Endpoint> {
    let mut addresses = addresses.to_vec();
    if let Some(place) = addresses.iter().position(|address| Some(*address) == kept) {
        addresses[..=place].rotate_right(1);
    }
    of_several(&addresses, port).into_iter().collect()
}

/// One endpoint for each target, with all of its addresses.
pub(super) fn services(targets: &[(&Service, Vec<IpAddr>)]) -> Vec<Endpoint> {
    let scale = scale(targets);
    let mut endpoints: BTreeMap<SocketAddr, Endpoint> = BTreeMap::new();
    for (service, addresses) in targets {
        let mut addresses = addresses.clone();
        // IPv6 first, and always the same one.
        addresses.sort_unstable_by_key(|address| (address.is_ipv4(), *address));
        addresses.dedup();
        let Some(first) = addresses.first() else { continue };
        let key = SocketAddr::from((*first, service.port));
        let Some(endpoint) = of_several(&addresses, service.port) else { continue };
        let weight = u32::from(service.weight).saturating_mul(scale).max(1);
        endpoints
            .entry(key)
            // Several records that lead to one place: it gets all of their shares.
            .and_modify(|known| known.weight = known.weight.saturating_add(weight).min(65_535))
            .or_insert_with(|| endpoint.weight(weight.min(65_535)));
    }
    endpoints.into_values().collect()
}

/// The endpoints of all priorities, best first. Priorities are numbered anew, from 0 on, those
/// without an endpoint left out; a place that two of them lead to is of the better one.
pub(super) fn ranked(groups: Vec<Vec<Endpoint>>) -> Vec<Endpoint> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    let mut rank = 0;
    for group in groups {
        let before = all.len();
        for mut endpoint in group {
            if seen.insert(endpoint.address.clone()) {
                endpoint.priority = rank;
                all.push(endpoint);
            }
        }
        rank += u32::from(all.len() > before);
    }
    all
}

/// What weights are multiplied by, where some are 0 and others are not.
//= RFC 2782: a weight of 0 should have a very small chance where there are others
fn scale(targets: &[(&Service, Vec<IpAddr>)]) -> u32 {
    let largest = targets.iter().map(|(service, _)| service.weight).max().unwrap_or(0);
    let has_zero = targets.iter().any(|(service, _)| service.weight == 0);
    if largest == 0 || !has_zero { 1 } else { (65_535 / u32::from(largest)).clamp(1, 100) }
}

fn of_several(addresses: &[IpAddr], port: u16) -> Option<Endpoint> {
    let (first, more) = addresses.split_first()?;
    let mut endpoint = Endpoint::from(SocketAddr::from((*first, port)));
    let more = more.iter().take(MAX_ADDRESSES - 1);
    endpoint.more_addresses =
        more.map(|address| SocketAddr::from((*address, port)).into()).collect();
    Some(endpoint)
}
