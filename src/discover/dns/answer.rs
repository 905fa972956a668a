//! Questions, and what of an answer answers them.
//!
//! A server may say more than it was asked, about names that nobody asked for. What counts are
//! records of the asked kind whose owner is the asked name, or one that its aliases lead to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

/// What DNS is asked for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Kind {
    A,
    Aaaa,
    Srv,
}

/// One question; the name is absolute, in small letters, with its final dot.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Question {
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
}

/// One record, as far as it concerns us.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Record {
    pub(crate) owner: Arc<str>,
    /// Seconds.
    pub(crate) ttl: u32,
    pub(crate) data: Data,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Data {
    Address(IpAddr),
    Alias(Arc<str>),
    Service(Service),
}

/// The data of an SRV record, in the order of RFC 2782: the lowest priority first.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Service {
    pub(crate) priority: u16,
    pub(crate) target: Arc<str>,
    pub(crate) port: u16,
    pub(crate) weight: u16,
}

/// What came back for a question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    /// A message that has an answer section.
    Message { answers: Vec<Record>, additionals: Vec<Record> },
    /// The name does not exist, or has no records of the kind; for so many seconds, if said.
    Nothing { exists: bool, ttl: Option<u32> },
    /// Nothing is known: no answer, or one that tells nothing.
    Failed(String),
}

/// The part of a message that answers its question; never empty.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Found {
    /// In the order of the answer.
    pub(crate) addresses: Vec<IpAddr>,
    /// Sorted.
    pub(crate) services: Vec<Service>,
    /// Addresses of the services' targets that came along.
    pub(crate) glue: BTreeMap<Arc<str>, Vec<IpAddr>>,
    /// The addresses of targets that carry them in their names, as Consul's do.
    pub(crate) named: BTreeMap<Arc<str>, IpAddr>,
    /// The smallest of all that was used.
    pub(crate) ttl: u32,
}

/// Aliases that are followed.
pub(super) const MAX_ALIASES: usize = 16;

impl Question {
    pub(crate) fn new(name: &Arc<str>, kind: Kind) -> Self {
        Self { name: Arc::clone(name), kind }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::A => "A",
            Kind::Aaaa => "AAAA",
            Kind::Srv => "SRV",
        };
        write!(f, "{} {kind}", self.name)
    }
}

/// What of a message answers the question; nothing if none of it does.
pub(super) fn read(
    question: &Question,
    answers: &[Record],
    additionals: &[Record],
) -> Option<Found> {
    let (names, mut ttl) = aliases(&question.name, answers);
    let mut found = Found::default();
    let mut seen = BTreeSet::new();
    for record in answers.iter().filter(|record| names.contains(&*record.owner)) {
        match (&record.data, question.kind) {
            (Data::Address(address), Kind::A | Kind::Aaaa) => {
                let address = address.to_canonical();
                if address.is_ipv4() != (question.kind == Kind::A) || !is_usable(address) {
                    continue;
                }
                if seen.insert(address) {
                    found.addresses.push(address);
                }
            }
            (Data::Service(service), Kind::Srv) => {
                //= RFC 2782: a target of "." means that the service is decidedly not available
                if &*service.target == "." || service.port == 0 {
                    continue;
                }
                if let Some(address) = of_consul(&service.target, &record.owner) {
                    found.named.insert(Arc::clone(&service.target), address);
                }
                found.services.push(service.clone());
            }
            _ => continue,
        }
        ttl = ttl.min(of_ttl(record.ttl));
    }
    found.services.sort_unstable();
    found.services.dedup();
    for record in additionals {
        if let Data::Address(address) = record.data
            && is_usable(address.to_canonical())
            && found.services.iter().any(|service| service.target == record.owner)
        {
            ttl = ttl.min(of_ttl(record.ttl));
            let glue = found.glue.entry(Arc::clone(&record.owner)).or_default();
            if !glue.contains(&address.to_canonical()) {
                glue.push(address.to_canonical());
            }
        }
    }
    found.ttl = ttl;
    (!found.addresses.is_empty() || !found.services.is_empty()).then_some(found)
}

/// The name and those that its aliases lead to, with the smallest TTL on the way.
fn aliases<'a>(name: &'a str, answers: &'a [Record]) -> (BTreeSet<&'a str>, u32) {
    let (mut names, mut ttl, mut current) = (BTreeSet::from([name]), u32::MAX, name);
    while names.len() <= MAX_ALIASES {
        let alias = answers.iter().find_map(|record| match &record.data {
            Data::Alias(target) if &*record.owner == current => Some((target, record.ttl)),
            _ => None,
        });
        let Some((target, of_alias)) = alias else { break };
        ttl = ttl.min(of_ttl(of_alias));
        current = target;
        // One that leads back ends here.
        if !names.insert(current) {
            break;
        }
    }
    (names, ttl)
}

/// Seconds of a TTL.
//= RFC 2181 §8: a TTL with the most significant bit set is 0
fn of_ttl(ttl: u32) -> u32 {
    if ttl > 0x7fff_ffff { 0 } else { ttl }
}

/// Whether a connection to it could lead to a host that DNS meant: `0.0.0.0`, as some servers
/// answer for what they block, would be this one.
fn is_usable(address: IpAddr) -> bool {
    !address.is_unspecified()
        && !address.is_multicast()
        && !matches!(address, IpAddr::V4(v4) if v4.is_broadcast())
}

/// The address that Consul writes into a target's name: `<hex>.addr.<datacenter>.<domain>.`, of its
/// domain (`consul.`, which is nobody's) whoever says so, of another only where the record's owner is a
/// service there: in the domain of somebody else such a name is one like any other, and is asked for.
pub(super) fn of_consul(target: &str, owner: &str) -> Option<IpAddr> {
    let (hex, place) = target.split_once(".addr.")?;
    let (_, domain) = place.split_once('.')?;
    let is_there = |of_owner: &str| of_owner == place || of_owner == domain;
    if !place.ends_with(".consul.") && (domain.is_empty() || !places(owner).any(is_there)) {
        return None;
    }
    if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let address = match hex.len() {
        8 => IpAddr::V4(Ipv4Addr::from(u32::from_str_radix(hex, 16).ok()?)),
        32 => IpAddr::V6(Ipv6Addr::from(u128::from_str_radix(hex, 16).ok()?)),
        _ => return None,
    };
    is_usable(address).then_some(address)
}

/// Where Consul has what it is asked for by this name: `[<datacenter>.]<domain>.`, behind the label
/// that says what it is.
fn places(owner: &str) -> impl Iterator<Item = &str> {
    let mut rest = owner;
    let labels = std::iter::from_fn(move || {
        let (label, behind) = rest.split_once('.')?;
        rest = behind;
        Some((label, behind))
    });
    let is_kind = |label| matches!(label, "service" | "connect" | "query");
    labels.filter_map(move |(label, behind)| is_kind(label).then_some(behind))
}

#[cfg(test)]
pub(super) mod records {
    //! Records as tests write them.

    use super::{Arc, Data, Record, Service};

    pub(crate) fn address(owner: &str, ttl: u32, address: &str) -> Record {
        Record { owner: owner.into(), ttl, data: Data::Address(address.parse().unwrap()) }
    }

    pub(in crate::discover::dns) fn alias(owner: &str, ttl: u32, target: &str) -> Record {
        Record { owner: owner.into(), ttl, data: Data::Alias(target.into()) }
    }

    /// `priority weight port target`, as in zone files.
    pub(in crate::discover::dns) fn service(owner: &str, ttl: u32, data: &str) -> Record {
        let parts: Vec<&str> = data.split(' ').collect();
        let [priority, weight, port, target] = parts[..] else { panic!("{data}") };
        let number = |text: &str| text.parse().unwrap();
        let service = Service {
            priority: number(priority),
            weight: number(weight),
            port: number(port),
            target: Arc::from(target),
        };
        Record { owner: owner.into(), ttl, data: Data::Service(service) }
    }
}
