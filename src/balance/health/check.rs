//! Active checks: what a result makes of an endpoint, and when the next check is due.
//!
//! Sans I/O. The rules are Envoy's: a first success makes an endpoint healthy at once; an answer
//! that says no is believed at once; no answer counts towards the threshold. Until its first check
//! is over, an endpoint is called only where nothing better is found.

use crate::{
    config::HealthCheck,
    core::{Random, nanos},
};

/// When checks are due, and how many results make a change. Unit: nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rules {
    pub(crate) timeout: u64,
    interval: u64,
    initial_jitter: u64,
    jitter: u64,
    jitter_percent: u64,
    unhealthy_threshold: u32,
    healthy_threshold: u32,
    no_traffic: u64,
    no_traffic_healthy: u64,
    unhealthy: u64,
    unhealthy_edge: u64,
    healthy_edge: u64,
}

/// What one check has found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Found {
    /// It is well.
    Well,
    /// It says itself that it is not.
    Ill,
    /// The same, in a way that may pass: it counts towards the threshold.
    Wavering,
    /// It could not be asked, or did not answer in time.
    Silent,
}

/// What is known of one endpoint by its checks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Check {
    healthy: bool,
    /// The first one is not over.
    first: bool,
    /// Successes, or failures, in a row that speak against what is known.
    row: u32,
    /// It was changing after the last one.
    pending: bool,
    last: Option<Found>,
}

const SECOND: u64 = 1_000_000_000;

// === impl Rules ===

impl Rules {
    pub(crate) fn new(config: &HealthCheck) -> Self {
        let interval = config.interval.map_or(10 * SECOND, nanos);
        let no_traffic = config.no_traffic_interval.map_or(60 * SECOND, nanos);
        let unhealthy = config.unhealthy_interval.map_or(interval, nanos);
        Self {
            timeout: config.timeout.map_or(SECOND, nanos),
            interval,
            initial_jitter: config.initial_jitter.map_or(0, nanos),
            jitter: config.interval_jitter.map_or(0, nanos),
            jitter_percent: config.interval_jitter_percent.unwrap_or(0).into(),
            unhealthy_threshold: config.unhealthy_threshold.unwrap_or(3).max(1),
            healthy_threshold: config.healthy_threshold.unwrap_or(2).max(1),
            no_traffic,
            no_traffic_healthy: config.no_traffic_healthy_interval.map_or(no_traffic, nanos),
            unhealthy,
            unhealthy_edge: config.unhealthy_edge_interval.map_or(unhealthy, nanos),
            healthy_edge: config.healthy_edge_interval.map_or(interval, nanos),
        }
    }

    /// How long the first check of an endpoint waits.
    pub(crate) fn first(&self, random: &Random) -> u64 {
        drawn(self.initial_jitter, random)
    }
}

// === impl Check ===

impl Default for Check {
    fn default() -> Self {
        Self { healthy: false, first: true, row: 0, pending: false, last: None }
    }
}

impl Check {
    pub(crate) fn is_healthy(self) -> bool {
        self.healthy
    }

    /// Whether the first one is over.
    pub(crate) fn is_known(self) -> bool {
        !self.first
    }

    /// Takes the result of a check; whether that changes what is known.
    pub(crate) fn found(&mut self, rules: &Rules, found: Found) -> bool {
        let well = found == Found::Well;
        // A result that agrees with what is known ends the row of those that do not.
        let agrees = well == self.healthy;
        self.row = if agrees { 0 } else { self.row.saturating_add(1) };
        let enough = if well {
            //= Envoy `handleSuccess`: the first result that is good is believed
            self.first || self.row >= rules.healthy_threshold
        } else {
            //= Envoy `setUnhealthy`: so is an answer that says no
            found == Found::Ill || self.row >= rules.unhealthy_threshold
        };
        let changed = !agrees && enough;
        if changed {
            self.healthy = well;
            self.row = 0;
        }
        self.pending = !agrees && !enough;
        // What was not known is known now.
        let news = changed || self.first;
        self.first = false;
        self.last = Some(found);
        news
    }

    /// How long the next one waits after the last one's end. `has_traffic` once the cluster was
    /// ever called.
    pub(crate) fn next(self, rules: &Rules, has_traffic: bool, random: &Random) -> u64 {
        //= Envoy `interval`: by the last result, and whether it is about to change what is known
        let well = self.last == Some(Found::Well);
        let base = match (has_traffic, well, self.pending) {
            (true, false, true) => rules.unhealthy_edge,
            (true, false, false) => rules.unhealthy,
            (true, true, true) => rules.healthy_edge,
            (true, true, false) => rules.interval,
            (false, true, false) => rules.no_traffic_healthy,
            (false, ..) => rules.no_traffic,
        };
        let share = u128::from(base) * u128::from(rules.jitter_percent) / 100;
        let share = u64::try_from(share).unwrap_or(u64::MAX);
        let jitter = drawn(share, random).saturating_add(drawn(rules.jitter, random));
        //= Envoy: at least a millisecond, so that it lets others live
        base.saturating_add(jitter).max(1_000_000)
    }
}

/// A random time below this.
fn drawn(below: u64, random: &Random) -> u64 {
    if below == 0 { 0 } else { random.next() % below }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    fn config() -> HealthCheck {
        HealthCheck {
            interval: seconds(10),
            no_traffic_interval: seconds(60),
            no_traffic_healthy_interval: seconds(70),
            unhealthy_interval: seconds(20),
            unhealthy_edge_interval: seconds(30),
            healthy_edge_interval: seconds(40),
            ..HealthCheck::tcp()
        }
    }

    fn after(check: &mut Check, rules: &Rules, found: Found) -> (bool, bool, u64) {
        let news = check.found(rules, found);
        (news, check.is_healthy(), check.next(rules, true, &Random::seeded(1)) / SECOND)
    }

    #[test]
    fn the_defaults_are_envoys() {
        let rules = Rules::new(&HealthCheck::tcp());
        assert_eq!((rules.timeout, rules.interval), (SECOND, 10 * SECOND));
        assert_eq!((rules.unhealthy_threshold, rules.healthy_threshold), (3, 2));
        assert_eq!((rules.no_traffic, rules.no_traffic_healthy), (60 * SECOND, 60 * SECOND));
        assert_eq!((rules.unhealthy, rules.unhealthy_edge), (10 * SECOND, 10 * SECOND));
        assert_eq!(rules.first(&Random::seeded(1)), 0);
    }

    #[test]
    fn the_first_success_is_believed_at_once_and_later_ones_are_counted() {
        let (rules, mut check) = (Rules::new(&config()), Check::default());
        assert_eq!(after(&mut check, &rules, Found::Well), (true, true, 10));
        for (found, expected) in [
            (Found::Silent, (false, true, 30)),
            (Found::Silent, (false, true, 30)),
            // One success breaks the row.
            (Found::Well, (false, true, 10)),
            (Found::Silent, (false, true, 30)),
            (Found::Wavering, (false, true, 30)),
            (Found::Silent, (true, false, 20)),
            (Found::Silent, (false, false, 20)),
            (Found::Well, (false, false, 40)),
            (Found::Silent, (false, false, 20)),
            (Found::Well, (false, false, 40)),
            (Found::Well, (true, true, 10)),
            (Found::Well, (false, true, 10)),
        ] {
            assert_eq!(after(&mut check, &rules, found), expected, "{found:?}");
        }
    }

    #[test]
    fn an_answer_that_says_no_is_believed_at_once() {
        let (rules, mut check) = (Rules::new(&config()), Check::default());
        assert_eq!(after(&mut check, &rules, Found::Well), (true, true, 10));
        assert_eq!(after(&mut check, &rules, Found::Ill), (true, false, 20));
    }

    #[test]
    fn a_first_failure_is_known_and_changes_nothing() {
        let (rules, mut check) = (Rules::new(&config()), Check::default());
        assert_eq!(after(&mut check, &rules, Found::Silent), (true, false, 20));
        // The first success was not the first result.
        assert_eq!(after(&mut check, &rules, Found::Well), (false, false, 40));
        assert_eq!(after(&mut check, &rules, Found::Well), (true, true, 10));
    }

    #[test]
    fn a_cluster_without_traffic_is_checked_seldom() {
        let (rules, mut check) = (Rules::new(&config()), Check::default());
        let random = Random::seeded(1);
        check.found(&rules, Found::Silent);
        assert_eq!(check.next(&rules, false, &random), 60 * SECOND);
        check.found(&rules, Found::Well);
        assert_eq!(check.next(&rules, false, &random), 60 * SECOND);
        check.found(&rules, Found::Well);
        assert_eq!(check.next(&rules, false, &random), 70 * SECOND);
    }

    #[test]
    fn jitter_is_added_and_never_taken() {
        let config = HealthCheck {
            interval_jitter: seconds(2),
            interval_jitter_percent: Some(50),
            initial_jitter: seconds(3),
            ..config()
        };
        let (rules, mut check) = (Rules::new(&config), Check::default());
        check.found(&rules, Found::Well);
        let random = Random::seeded(3);
        let waits: Vec<u64> = (0..1_000).map(|_| check.next(&rules, true, &random)).collect();
        assert!(waits.iter().all(|wait| (10 * SECOND..17 * SECOND).contains(wait)));
        assert!(waits.iter().any(|wait| *wait < 11 * SECOND));
        assert!(waits.iter().any(|wait| *wait > 16 * SECOND));
        assert!((0..1_000).all(|_| rules.first(&random) < 3 * SECOND));
    }

    proptest! {
        #[test]
        fn extreme_settings_never_panic_nor_spin(
            times in prop::array::uniform4(any::<u64>()),
            counts in prop::array::uniform3(any::<u32>()),
            found in prop::collection::vec(0..4_u8, 1..20),
            traffic in any::<bool>(),
        ) {
            let time = |nanos| Some(Duration::from_nanos(nanos));
            let config = HealthCheck {
                interval: time(times[0]),
                interval_jitter: time(times[1]),
                unhealthy_interval: time(times[2]),
                no_traffic_interval: time(times[3]),
                interval_jitter_percent: Some(counts[0]),
                healthy_threshold: Some(counts[1]),
                unhealthy_threshold: Some(counts[2]),
                ..HealthCheck::tcp()
            };
            let (rules, mut check) = (Rules::new(&config), Check::default());
            for found in found {
                let found = [Found::Well, Found::Ill, Found::Wavering, Found::Silent]
                    [usize::from(found)];
                check.found(&rules, found);
                prop_assert!(check.next(&rules, traffic, &Random::seeded(5)) >= 1_000_000);
            }
        }
    }
}
