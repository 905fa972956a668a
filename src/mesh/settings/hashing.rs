//! The settings of balancers that hash, and of what is hashed.

use super::{Layers, name_of, text};
use crate::{
    config::{self, Balancer, HashPolicy},
    mesh::describe::Setting,
};

/// The settings of a balancer that hashes.
pub(super) fn of(layers: &Layers<'_, Balancer>, chosen: &Balancer) -> Vec<Setting> {
    match chosen {
        Balancer::RingHash(_) => {
            let ring = layers.within(|balancer| match balancer {
                Balancer::RingHash(ring) => Some(ring),
                _ => None,
            });
            let usual = config::RingHash::default();
            vec![
                ring.setting(
                    "balancer.ring_hash.minimum_ring_size",
                    &usual.least().to_string(),
                    |ring| text(ring.minimum_ring_size),
                ),
                ring.setting(
                    "balancer.ring_hash.maximum_ring_size",
                    &usual.most().to_string(),
                    |ring| text(ring.maximum_ring_size),
                ),
                ring.setting("balancer.ring_hash.function", &name_of(&usual.function), |ring| {
                    super::chosen(&ring.function)
                }),
                ring.setting("balancer.ring_hash.use_hostname", "false", |ring| {
                    text(ring.use_hostname)
                }),
                ring.setting("balancer.ring_hash.balance_percent", "none", |ring| {
                    text(ring.balance_percent)
                }),
                ring.setting("balancer.ring_hash.request_header", "none", |ring| {
                    ring.request_header.clone()
                }),
                ring.setting("balancer.ring_hash.hash", "the route's", |ring| hashes(&ring.hash)),
            ]
        }
        Balancer::Maglev(_) => {
            let maglev = layers.within(|balancer| match balancer {
                Balancer::Maglev(maglev) => Some(maglev),
                _ => None,
            });
            let usual = config::Maglev::default();
            vec![
                maglev.setting(
                    "balancer.maglev.table_size",
                    &usual.entries().to_string(),
                    |maglev| text(maglev.table_size),
                ),
                maglev.setting("balancer.maglev.use_hostname", "false", |maglev| {
                    text(maglev.use_hostname)
                }),
                maglev.setting("balancer.maglev.balance_percent", "none", |maglev| {
                    text(maglev.balance_percent)
                }),
                maglev
                    .setting("balancer.maglev.hash", "the route's", |maglev| hashes(&maglev.hash)),
            ]
        }
        _ => Vec::new(),
    }
}

pub(super) fn hashes(policies: &[HashPolicy]) -> Option<String> {
    let texts: Vec<_> = policies.iter().map(HashPolicy::text).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}
