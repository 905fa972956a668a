//! What the endpoints of a priority share by: their localities, or the rings that they are in.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{plan::Making, rings, settings::Sharing};
use crate::{
    balance::endpoint::{Endpoint, Upstream},
    config::Locality,
};

/// A locality, or the number of a ring.
pub(super) type Key = (Locality, Option<usize>);
/// Looked at, not held: a plan of ten thousand that is made for one of them counts nobody.
pub(super) type Endpoints<'a, X> = Vec<&'a Arc<Endpoint<X>>>;

/// The endpoints of a priority by what they share by, in a fixed order.
pub(super) fn keyed<'a, X: Upstream>(
    making: &Making<'_, X>,
    priority: u32,
    endpoints: Endpoints<'a, X>,
) -> Vec<(Key, Endpoints<'a, X>)> {
    match &making.placing.sharing {
        Sharing::Together => vec![(Key::default(), endpoints)],
        // A table has them all (Envoy, gRPC): its shares are by the weights.
        Sharing::Weighted(_) if making.is_plain_part() || making.policy.hashes().is_some() => {
            vec![(Key::default(), endpoints)]
        }
        // Only the first priority stays in its zone.
        Sharing::Zone { .. } if priority > 0 => vec![(Key::default(), endpoints)],
        Sharing::Weighted(_) => by_locality(endpoints, false),
        // A caller that does not know its own part of the zone compares zones.
        Sharing::Zone { .. } => by_locality(endpoints, making.place.locality.sub_zone.is_empty()),
        Sharing::Rings(by) => {
            let rings = rings_of(&endpoints, &by.bounds);
            let mut keyed = BTreeMap::<usize, Endpoints<'a, X>>::new();
            for (endpoint, ring) in endpoints.into_iter().zip(rings) {
                keyed.entry(ring).or_default().push(endpoint);
            }
            let of = |(ring, endpoints)| ((Locality::default(), Some(ring)), endpoints);
            keyed.into_iter().map(of).collect()
        }
    }
}

/// By where they run, or by the zone alone; in the order of the names.
fn by_locality<X>(endpoints: Endpoints<'_, X>, is_coarse: bool) -> Vec<(Key, Endpoints<'_, X>)> {
    let mut keyed = BTreeMap::<(&str, &str, &str), Endpoints<'_, X>>::new();
    for endpoint in endpoints {
        let (region, zone, sub_zone) = match endpoint.locality() {
            Some(it) => (&*it.region, &*it.zone, &*it.sub_zone),
            None => ("", "", ""),
        };
        let sub_zone = if is_coarse { "" } else { sub_zone };
        keyed.entry((region, zone, sub_zone)).or_default().push(endpoint);
    }
    let mut all = Vec::with_capacity(keyed.len());
    for ((region, zone, sub_zone), endpoints) in keyed {
        let (region, zone, sub_zone) = (region.to_owned(), zone.to_owned(), sub_zone.to_owned());
        all.push(((Locality { region, zone, sub_zone }, None), endpoints));
    }
    all
}

/// Where it runs; nowhere, if nobody has said it.
pub(in crate::balance) fn locality_of<X>(endpoint: &Endpoint<X>) -> Locality {
    endpoint.locality().cloned().unwrap_or_default()
}

/// Which ring each endpoint is in, by what is measured of it, else of its locality.
pub(in crate::balance) fn rings_of<X: Upstream>(
    endpoints: &[&Arc<Endpoint<X>>],
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
    let of = |endpoint: &&Arc<Endpoint<X>>| {
        let time = measured(endpoint).or_else(|| nearest.get(&locality_of(endpoint)).copied());
        time.map_or(0, |time| rings::ring_of(time, bounds))
    };
    endpoints.iter().map(of).collect()
}
