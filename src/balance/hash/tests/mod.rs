//! The vectors of Envoy's own tests, and what holds for any members.

mod bounded;
mod functions;
mod maglev;
mod properties;
mod ring;

use super::{Member, share_of};

/// Members of these keys and weights, in this order.
fn members<K: AsRef<[u8]>>(weighted: &[(K, u32)]) -> Vec<Member<'_>> {
    let sum = weighted.iter().map(|(_, weight)| u64::from(*weight)).sum();
    weighted
        .iter()
        .map(|(key, weight)| Member { key: key.as_ref(), share: share_of(*weight, 1.0, sum) })
        .collect()
}

/// Members in localities: the localities share by weight, their members among themselves.
fn local<'a>(localities: &'a [(u32, Vec<(String, u32)>)]) -> Vec<Member<'a>> {
    let sum: u64 = localities.iter().map(|(weight, _)| u64::from(*weight)).sum();
    let mut members = Vec::new();
    for (weight, of) in localities {
        let share = share_of(*weight, 1.0, sum);
        let sum = of.iter().map(|(_, weight)| u64::from(*weight)).sum();
        members.extend(of.iter().map(|(key, weight)| Member {
            key: key.as_bytes(),
            share: share_of(*weight, share, sum),
        }));
    }
    members
}

/// `127.0.0.1` at these ports.
fn ports(ports: impl IntoIterator<Item = u32>) -> Vec<(String, u32)> {
    ports.into_iter().map(|port| (format!("127.0.0.1:{port}"), 1)).collect()
}

/// The same with weights.
fn weighted(of: &[(u32, u32)]) -> Vec<(String, u32)> {
    of.iter().map(|(port, weight)| (format!("127.0.0.1:{port}"), *weight)).collect()
}

/// Names without an address.
fn names(of: &[&str]) -> Vec<(String, u32)> {
    of.iter().map(|name| ((*name).to_owned(), 1)).collect()
}
