//! The caller's own zone first, as far as that leaves every endpoint the same load (Envoy's
//! zone-aware routing).
//!
//! A zone with a larger part of the endpoints than of the callers takes all calls of its own
//! callers. One with a smaller part takes what it can, and the rest goes to the zones that have
//! more than their own callers need, in proportion to what they have to spare.

/// One ten-thousandth: what shares are counted in.
const UNIT: u64 = 10_000;

/// One zone: what it has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Zone {
    /// Healthy endpoints, or their weights.
    pub(crate) endpoints: u64,
    /// Callers: those of the caller's own service.
    pub(crate) callers: u64,
}

/// When and how far the own zone is preferred.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rule {
    /// Healthy endpoints below which it is off.
    pub(crate) min_size: u64,
    /// Endpoints of the own zone from which all calls stay there.
    pub(crate) force_local: Option<u64>,
    /// The share of calls it concerns, in 0..=1.
    pub(crate) routed: f64,
}

/// The zones of a cluster, as the caller sees them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Zones {
    /// Those in which there are endpoints, whether healthy or not.
    pub(crate) zones: Vec<Zone>,
    /// Which of them is the caller's.
    pub(crate) own: Option<usize>,
    /// Healthy endpoints of all zones, by number.
    pub(crate) healthy: u64,
    /// Healthy endpoints of the own zone, by number.
    pub(crate) healthy_here: u64,
    /// Callers of all zones, those without endpoints too, and in how many zones they are.
    pub(crate) callers: u64,
    pub(crate) caller_zones: usize,
    /// Callers of the own zone, whether it has endpoints or not.
    pub(crate) callers_here: u64,
}

/// Where the calls of a zone go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Routing {
    /// Anywhere.
    Off,
    /// To the own zone, all of them.
    Direct,
    Residual {
        /// Ten-thousandths that stay.
        local: u64,
        /// What each zone has to spare, in ten-thousandths.
        spare: Vec<u64>,
    },
}

impl Default for Rule {
    fn default() -> Self {
        Self { min_size: 6, force_local: None, routed: 1.0 }
    }
}

fn of(part: u64, total: u64) -> u64 {
    if total == 0 {
        return 0;
    }
    let part = u128::from(UNIT) * u128::from(part) / u128::from(total);
    u64::try_from(part).unwrap_or(UNIT)
}

/// Where the calls of the caller's zone go.
pub(crate) fn route(zones: &Zones, rule: &Rule) -> Routing {
    if zones.zones.len() < 2 || zones.healthy < rule.min_size {
        return Routing::Off;
    }
    let forced = rule.force_local.is_some_and(|size| zones.healthy_here >= size.max(1));
    if forced && zones.own.is_some() {
        return Routing::Direct;
    }
    // Where the callers are is not known, or cannot be right: the caller is in none of the zones.
    if zones.caller_zones < 2 || zones.callers_here == 0 {
        return Routing::Off;
    }
    let endpoints: u64 = zones.zones.iter().map(|zone| zone.endpoints).sum();
    let up = |zone: &Zone| of(zone.endpoints, endpoints);
    let down = |zone: &Zone| of(zone.callers, zones.callers);
    let own = zones.own.and_then(|own| zones.zones.get(own));
    let mut local = 0;
    if let Some(own) = own {
        let (up, down) = (up(own), down(own));
        if up > 0 && up >= down {
            return Routing::Direct;
        }
        local = (up * UNIT).checked_div(down).unwrap_or(0);
    }
    let spare = zones.zones.iter().enumerate().map(|(index, zone)| {
        // The own zone has been given what it can take, and an empty one takes nothing.
        if zones.own == Some(index) { 0 } else { up(zone).saturating_sub(down(zone)) }
    });
    Routing::Residual { local, spare: spare.collect() }
}

/// What each zone gets; their sum is 1. None: their endpoints are as good as of one zone.
pub(crate) fn shares(zones: &Zones, rule: &Rule) -> Option<Vec<f64>> {
    let amounts: Vec<u64> = zones.zones.iter().map(|zone| zone.endpoints).collect();
    let anywhere = super::locality::proportional(&amounts)?;
    #[expect(clippy::cast_precision_loss, reason = "at most 10000")]
    let mut routed = match route(zones, rule) {
        Routing::Off => return None,
        Routing::Direct => {
            (0..amounts.len()).map(|zone| f64::from(u8::from(zones.own == Some(zone)))).collect()
        }
        Routing::Residual { local, spare } => {
            let local = local as f64 / UNIT as f64;
            // By rounding there may be nothing to spare: then any zone will do.
            let rest = super::locality::proportional(&spare).unwrap_or_else(|| {
                vec![
                    1.0 / f64::from(u32::try_from(amounts.len()).unwrap_or(u32::MAX));
                    amounts.len()
                ]
            });
            let mut shares: Vec<f64> = rest.iter().map(|rest| rest * (1.0 - local)).collect();
            if let Some(own) = zones.own.and_then(|own| shares.get_mut(own)) {
                *own += local;
            }
            shares
        }
    };
    for (share, anywhere) in routed.iter_mut().zip(&anywhere) {
        *share = *share * rule.routed + anywhere * (1.0 - rule.routed);
    }
    Some(routed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Zones of (callers, endpoints), the own one by its number.
    fn zones(own: usize, all: &[(u64, u64)]) -> Zones {
        let has_endpoints = all[own].1 > 0;
        let with: Vec<_> = (0..all.len()).filter(|zone| all[*zone].1 > 0).collect();
        Zones {
            zones: with
                .iter()
                .map(|zone| Zone { callers: all[*zone].0, endpoints: all[*zone].1 })
                .collect(),
            own: has_endpoints.then(|| with.iter().position(|zone| *zone == own).unwrap()),
            healthy: all.iter().map(|zone| zone.1).sum(),
            healthy_here: all[own].1,
            callers: all.iter().map(|zone| zone.0).sum(),
            caller_zones: all.iter().filter(|zone| zone.0 > 0).count(),
            callers_here: all[own].0,
        }
    }

    fn at_least(min_size: u64) -> Rule {
        Rule { min_size, ..Rule::default() }
    }

    //= Envoy docs and load_balancer_impl.cc: local 40/40/20 %, upstream 25/50/25 %
    #[test]
    fn what_does_not_fit_goes_where_there_is_room() {
        let zones = zones(0, &[(4, 25), (4, 50), (2, 25)]);
        let Routing::Residual { local, spare } = route(&zones, &at_least(6)) else { panic!() };
        assert_eq!((local, spare), (6250, vec![0, 1000, 500]));
        let shares = shares(&zones, &at_least(6)).unwrap();
        for (share, wanted) in shares.iter().zip([0.625, 0.25, 0.125]) {
            assert!((share - wanted).abs() < 1e-9, "{shares:?}");
        }
    }

    //= Envoy round_robin_lb_test.cc, ZoneAwareZonesMismatched
    #[test]
    fn a_zone_without_endpoints_calls_those_that_have_some_to_spare() {
        // A: 1 caller, 1 endpoint; B: 1 caller; C: 1 endpoint.
        let all = [(1, 1), (1, 0), (0, 1)];
        assert_eq!(route(&zones(0, &all), &at_least(2)), Routing::Direct);
        let from_b = route(&zones(1, &all), &at_least(2));
        assert_eq!(from_b, Routing::Residual { local: 0, spare: vec![0, 5000] });
    }

    //= Envoy round_robin_lb_test.cc, ZoneAwareResidualsMismatched
    #[test]
    fn residuals_are_those_of_envoys_test() {
        let all = [(2, 1), (2, 0), (1, 3), (1, 3), (0, 1)];
        let from_a = route(&zones(0, &all), &at_least(6));
        let spare = vec![0, 2084, 2084, 1250];
        assert_eq!(from_a, Routing::Residual { local: 3750, spare });
    }

    //= Envoy round_robin_lb_test.cc, ZoneAwareDifferentZoneSize
    #[test]
    fn zones_of_different_sizes() {
        // B, the own one: 1 caller, 1 endpoint; A the same; C: 1 endpoint.
        let from_b = route(&zones(0, &[(1, 1), (1, 1), (0, 1)]), &at_least(3));
        assert_eq!(from_b, Routing::Residual { local: 6666, spare: vec![0, 0, 3333] });
    }

    //= Envoy round_robin_lb_test.cc, ZoneAwareRoutingSmallZone
    #[test]
    fn a_small_zone_gives_calls_away() {
        let from_a = route(&zones(0, &[(1, 1), (1, 2), (1, 2)]), &at_least(5));
        assert_eq!(from_a, Routing::Residual { local: 6000, spare: vec![0, 667, 667] });
    }

    //= Envoy round_robin_lb_test.cc, ZoneAwareNoMatchingZones
    #[test]
    fn no_zone_in_common() {
        let all = [(1, 0), (1, 0), (1, 0), (0, 1), (0, 1), (0, 1)];
        let from_a = route(&zones(0, &all), &at_least(3));
        assert_eq!(from_a, Routing::Residual { local: 0, spare: vec![3333; 3] });
    }

    //= Envoy round_robin_lb_test.cc, ZoneAwareSmallCluster, NoZoneAware*
    #[test]
    fn small_clusters_single_zones_and_unknown_callers_turn_it_off() {
        let three = [(1, 1), (1, 1), (1, 1)];
        assert_eq!(route(&zones(0, &three), &at_least(7)), Routing::Off);
        assert_eq!(route(&zones(0, &three), &at_least(1)), Routing::Direct);
        assert_eq!(route(&zones(0, &[(1, 1), (0, 1)]), &at_least(2)), Routing::Off);
        assert_eq!(route(&zones(0, &[(1, 1), (1, 0)]), &at_least(1)), Routing::Off);
        assert_eq!(route(&zones(0, &[(0, 1), (2, 1)]), &at_least(1)), Routing::Off);
        assert_eq!(shares(&zones(0, &three), &at_least(7)), None);
    }

    #[test]
    fn a_forced_zone_keeps_its_calls_while_it_is_large_enough() {
        let all = [(4, 2), (1, 8)];
        let rule = |size| Rule { force_local: Some(size), ..at_least(6) };
        assert_eq!(route(&zones(0, &all), &rule(2)), Routing::Direct);
        assert!(matches!(route(&zones(0, &all), &rule(3)), Routing::Residual { .. }));
        // It is known where the callers are only when it matters.
        assert_eq!(route(&zones(0, &[(4, 2), (0, 8)]), &rule(1)), Routing::Direct);
    }

    #[test]
    fn a_part_of_the_calls_is_left_alone() {
        let zones = zones(0, &[(1, 3), (1, 3)]);
        let shares = shares(&zones, &Rule { routed: 0.5, ..at_least(6) }).unwrap();
        assert_eq!(shares, [0.75, 0.25]);
    }

    proptest! {
        /// When every zone's callers follow the rule, every endpoint gets the same load.
        #[test]
        fn endpoints_share_evenly_over_all_zones(
            all in prop::collection::vec((1_u64..20, 1_u64..20), 2..6),
        ) {
            let callers: u64 = all.iter().map(|zone| zone.0).sum();
            let endpoints: u64 = all.iter().map(|zone| zone.1).sum();
            let mut load = vec![0.0; all.len()];
            for own in 0..all.len() {
                let shares = shares(&zones(own, &all), &at_least(1)).unwrap();
                prop_assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
                for (load, share) in load.iter_mut().zip(shares) {
                    *load += share * all[own].0 as f64;
                }
            }
            for (load, zone) in load.iter().zip(&all) {
                let per_endpoint = load / zone.1 as f64;
                let even = callers as f64 / endpoints as f64;
                prop_assert!((per_endpoint / even - 1.0).abs() < 0.02, "{load:?} {all:?}");
            }
        }
    }
}
