//! What the endpoints of a priority share by: their localities, or the rings that they are in.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{plan::Making, rings, settings::Sharing};
use crate::{
    balance::endpoint::{Endpoint, Upstream},
    config::Locality,
};

/// A locality, or the number of a ring.
pub(super) type Key = (Locality, Option<usize>);
pub(super) type Endpoints<X> = Vec<Arc<Endpoint<X>>>;

/// The endpoints of a priority by what they share by, in a fixed order.
pub(super) fn keyed<X: Upstream>(
    making: &Making<'_, X>,
    priority: u32,
    endpoints: Endpoints<X>,
) -> Vec<(Key, Endpoints<X>)> {
    let placing = making.placing;
    let here = &making.place.locality;
    let mut keyed = HashMap::<Key, Endpoints<X>>::new();
    match &placing.sharing {
        Sharing::Together => return vec![(Key::default(), endpoints)],
        // A table has them all (Envoy, gRPC): its shares are by the weights.
        Sharing::Weighted(_) if making.is_plain_part() || making.policy.hashes().is_some() => {
            return vec![(Key::default(), endpoints)];
        }
        // Only the first priority stays in its zone.
        Sharing::Zone { .. } if priority > 0 => return vec![(Key::default(), endpoints)],
        Sharing::Weighted(_) => {
            for endpoint in endpoints {
                keyed.entry((locality_of(&endpoint), None)).or_default().push(endpoint);
            }
        }
        Sharing::Zone { .. } => {
            for endpoint in endpoints {
                let mut locality = locality_of(&endpoint);
                // A caller that does not know its own part of the zone compares zones.
                if here.sub_zone.is_empty() {
                    locality.sub_zone.clear();
                }
                keyed.entry((locality, None)).or_default().push(endpoint);
            }
        }
        Sharing::Rings(by) => {
            for (endpoint, ring) in endpoints.iter().zip(rings_of(&endpoints, &by.bounds)) {
                let key = (Locality::default(), Some(ring));
                keyed.entry(key).or_default().push(Arc::clone(endpoint));
            }
        }
    }
    let mut keyed: Vec<_> = keyed.into_iter().collect();
    keyed.sort_unstable_by(|((one, ring), _), ((other, another), _)| {
        let order = |it: &Locality| (it.region.clone(), it.zone.clone(), it.sub_zone.clone());
        (ring, order(one)).cmp(&(another, order(other)))
    });
    keyed
}

/// Where it runs; nowhere, if nobody has said it.
pub(in crate::balance) fn locality_of<X>(endpoint: &Endpoint<X>) -> Locality {
    endpoint.locality().cloned().unwrap_or_default()
}

/// Which ring each endpoint is in, by what is measured of it, else of its locality.
pub(in crate::balance) fn rings_of<X: Upstream>(
    endpoints: &[Arc<Endpoint<X>>],
    bounds: &[Duration],
) -> Vec<usize> {
    let measured = |endpoint: &Endpoint<X>| endpoint.extra().and_then(Upstream::round_trip);
    let mut nearest = HashMap::<Locality, Duration>::new();
    for endpoint in endpoints {
        if let Some(time) = measured(endpoint) {
            let known = nearest.entry(locality_of(endpoint)).or_insert(time);
            *known = time.min(*known);
        }
    }
    let of = |endpoint: &Arc<Endpoint<X>>| {
        let time = measured(endpoint).or_else(|| nearest.get(&locality_of(endpoint)).copied());
        time.map_or(0, |time| rings::ring_of(time, bounds))
    };
    endpoints.iter().map(of).collect()
}
