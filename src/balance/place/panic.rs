//! When so few endpoints are healthy that health is no longer asked for (Envoy's panic).
//!
//! A few healthy endpoints that get everybody's calls do not stay so. When all priorities together
//! cannot carry the load, one of which less than the threshold is available calls all of its
//! endpoints; when all of them are that far, they share by their sizes.

use super::priority::{Census, Load};

/// Whether less than `threshold` percent of the endpoints are available.
pub(super) fn is_panic(census: &Census, threshold: f64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let available = match census.counted.total {
        0 => 0.0,
        total => 100.0 * (census.counted.healthy + census.counted.degraded) as f64 / total as f64,
    };
    available < threshold.min(100.0)
}

/// Decides who panics, and what that does to the loads. Only for priorities that together cannot
/// carry everything.
pub(super) fn decide(priorities: &[Census], threshold: f64, loads: &mut [Load]) {
    for (load, census) in loads.iter_mut().zip(priorities) {
        load.panic = is_panic(census, threshold);
    }
    if loads.is_empty() || !loads.iter().all(|load| load.panic) {
        return;
    }
    let hosts: u64 = priorities.iter().map(|census| census.hosts).sum();
    if hosts == 0 {
        return;
    }
    let mut left = 100;
    for (load, census) in loads.iter_mut().zip(priorities) {
        let share = u32::try_from(100 * census.hosts / hosts).unwrap_or(100);
        (load.healthy, load.degraded) = (share, 0);
        left -= share;
    }
    let first = loads.iter_mut().zip(priorities).find(|(_, census)| census.hosts > 0);
    if let Some((load, _)) = first {
        load.healthy += left;
    }
}

#[cfg(test)]
mod tests {
    use super::{super::priority::Tally, *};

    fn of(total: u64, available: u64) -> Census {
        let counted = Tally { total, healthy: available, degraded: 0 };
        Census { hosts: total, counted, weighed: counted }
    }

    #[test]
    fn the_threshold_itself_is_no_panic() {
        assert!(is_panic(&of(4, 1), 50.0));
        assert!(!is_panic(&of(4, 2), 50.0));
        assert!(is_panic(&of(1000, 499), 50.0));
        assert!(is_panic(&of(0, 0), 50.0), "an empty priority has nothing available");
    }

    #[test]
    fn zero_turns_it_off() {
        assert!(!is_panic(&of(4, 0), 0.0));
        assert!(!is_panic(&of(0, 0), 0.0));
        let mut loads = [Load { healthy: 100, ..Load::default() }, Load::default()];
        decide(&[of(4, 0), of(4, 0)], 0.0, &mut loads);
        assert_eq!(loads.map(|load| load.healthy), [100, 0]);
    }

    #[test]
    fn degraded_endpoints_are_available() {
        let counted = Tally { total: 4, healthy: 1, degraded: 1 };
        assert!(!is_panic(&Census { hosts: 4, counted, weighed: counted }, 50.0));
    }
}
