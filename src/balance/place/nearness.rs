//! How near an endpoint is, by what of the caller's place is preferred: each kind of match is a
//! priority, so that calls go on to what is further away as health demands, and no further.
//!
//! The kinds are in the order of their importance, and the first that does not match ends the
//! comparison (WDS `routing_preference`): `[region, zone]` makes three priorities: the same zone of
//! the same region, the same region, everything else.

use crate::config::{Endpoint, LocalityScope, Place};

/// How many of the preferred kinds do not match, from the first on that does not: 0 is best.
pub(crate) fn distance(prefer: &[LocalityScope], own: &Place, endpoint: &Endpoint) -> u32 {
    let matching = prefer.iter().take_while(|scope| matches(**scope, own, endpoint)).count();
    u32::try_from(prefer.len() - matching).unwrap_or(u32::MAX)
}

/// What nobody has said matches nothing.
fn matches(scope: LocalityScope, own: &Place, endpoint: &Endpoint) -> bool {
    let there = endpoint.locality.as_deref();
    let (here, there) = match scope {
        LocalityScope::Node => (own.node.as_deref(), endpoint.node.as_deref()),
        LocalityScope::Region => (Some(&*own.locality.region), there.map(|it| &*it.region)),
        LocalityScope::Zone => (Some(&*own.locality.zone), there.map(|it| &*it.zone)),
        LocalityScope::SubZone => (Some(&*own.locality.sub_zone), there.map(|it| &*it.sub_zone)),
        // Refused by validation: nothing is known of them.
        LocalityScope::Network | LocalityScope::Cluster => (None, None),
    };
    here.is_some_and(|here| !here.is_empty() && there == Some(here))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Locality;
    use LocalityScope::{Node, Region, SubZone, Zone};

    fn locality(region: &str, zone: &str, sub_zone: &str) -> Locality {
        Locality { region: region.into(), zone: zone.into(), sub_zone: sub_zone.into() }
    }

    fn endpoint(locality: Locality, node: &str) -> Endpoint {
        let mut endpoint = Endpoint::from(std::net::SocketAddr::from(([10, 0, 0, 1], 80)));
        endpoint.locality = Some(Box::new(locality));
        endpoint.node = Some(node.into());
        endpoint
    }

    #[test]
    fn the_first_kind_that_does_not_match_ends_the_comparison() {
        let own = Place { locality: locality("eu", "eu-1", "a"), ..Place::default() };
        let of = |region, zone, sub_zone| {
            distance(
                &[Region, Zone, SubZone],
                &own,
                &endpoint(locality(region, zone, sub_zone), "n"),
            )
        };
        assert_eq!(of("eu", "eu-1", "a"), 0);
        assert_eq!(of("eu", "eu-1", "b"), 1);
        assert_eq!(of("eu", "eu-2", "a"), 2);
        assert_eq!(of("us", "eu-1", "a"), 3);
    }

    #[test]
    fn nodes_are_compared_too() {
        let own = Place { node: Some("n1".into()), ..Place::default() };
        assert_eq!(distance(&[Node], &own, &endpoint(Locality::default(), "n1")), 0);
        assert_eq!(distance(&[Node], &own, &endpoint(Locality::default(), "n2")), 1);
    }

    #[test]
    fn what_is_not_known_matches_nothing() {
        let (own, nowhere) = (Place::default(), endpoint(Locality::default(), ""));
        assert_eq!(distance(&[Zone], &own, &nowhere), 1, "both are empty");
        let own = Place { locality: locality("eu", "eu-1", ""), ..Place::default() };
        assert_eq!(distance(&[Zone], &own, &Endpoint::new(nowhere.address)), 1);
        assert_eq!(distance(&[], &own, &endpoint(Locality::default(), "n")), 0);
    }
}
