//! The endpoints that are this process's by its number (Finagle's deterministic aperture).
//!
//! Processes and endpoints lie on a circle of 1. Each of `n` endpoints has an arc of 1/n, each of
//! `m` processes begins at its number/m, and takes the endpoints on an arc as long as needed for
//! `size` of them, rounded up to whole 1/m: so the processes' arcs cover the circle a whole number
//! of times, and every endpoint is used as much as every other. Those at the two ends are used only
//! as far as they are covered.
//!
//! ```text
//! width = min(1, ceil(size/n · m) / m)
//! ```

/// A part of the endpoints in the order of their addresses, which goes on at the first after the
/// last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Aperture {
    /// The first endpoint.
    pub(crate) first: usize,
    /// How many there are.
    pub(crate) len: usize,
    /// How much of the first is used, in 0..=1.
    pub(crate) of_first: f64,
    /// How much of the last is used.
    pub(crate) of_last: f64,
}

/// What process `process` of `processes` uses of `endpoints`; None: all of them.
pub(crate) fn aperture(
    endpoints: usize,
    size: u32,
    process: u32,
    processes: u32,
) -> Option<Aperture> {
    let (n, m) = (endpoints as u128, u128::from(processes.max(1)));
    let size = u128::from(size.max(1));
    if n == 0 || size >= n {
        return None;
    }
    // All in units of 1/(n·m): exact.
    let width = (size * m).div_ceil(n) * n;
    if width >= n * m {
        return None;
    }
    let from = u128::from(process) % m * n;
    let to = from + width;
    let (first, last) = (from / m, (to - 1) / m);
    let ratio = |part: u128| {
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let ratio = part as f64 / m as f64;
        ratio
    };
    let len = last - first + 1;
    // One that goes round to where it began uses the endpoint there with both of its ends.
    if len > n {
        return None;
    }
    Some(Aperture {
        first: usize::try_from(first).ok()?,
        len: usize::try_from(len).ok()?,
        of_first: ratio(((first + 1) * m).min(to) - from),
        of_last: ratio(to - (last * m).max(from)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How much of each endpoint a process uses.
    fn uses(endpoints: usize, size: u32, process: u32, processes: u32) -> Vec<f64> {
        let Some(it) = aperture(endpoints, size, process, processes) else {
            return vec![1.0; endpoints];
        };
        let mut uses = vec![0.0; endpoints];
        for step in 0..it.len {
            let part = match step {
                0 => it.of_first,
                step if step == it.len - 1 => it.of_last,
                _ => 1.0,
            };
            uses[(it.first + step) % endpoints] += part;
        }
        uses
    }

    //= Finagle DeterministicAperture: width = min(1, ceil(aperture · remoteUnit / localUnit) · localUnit)
    #[test]
    fn the_width_is_whole_units_of_a_process() {
        // 12 of 100 endpoints, 10 processes: 1.2 units become 2, which are 20 endpoints.
        let it = aperture(100, 12, 3, 10).unwrap();
        assert_eq!((it.first, it.len, it.of_first, it.of_last), (30, 20, 1.0, 1.0));
        // 4 processes, 10 endpoints, 3 wanted: 1.2 units become 2, half of the circle.
        let it = aperture(10, 3, 1, 4).unwrap();
        assert_eq!((it.first, it.len, it.of_first, it.of_last), (2, 6, 0.5, 0.5));
    }

    /// What `docs/BALANCING.md` says of 20 endpoints for each of 5 processes.
    #[test]
    fn one_endpoint_less_than_whole_units_hold_takes_another_unit() {
        let lens = |endpoints| -> Vec<usize> {
            (0..5).map(|process| aperture(endpoints, 20, process, 5).unwrap().len).collect()
        };
        assert_eq!(lens(100), [20; 5]);
        assert_eq!(lens(99), [40, 41, 41, 40, 40]);
        assert_eq!(lens(101), [21; 5]);
    }

    #[test]
    fn a_lone_process_uses_all() {
        assert_eq!(aperture(100, 12, 0, 1), None);
        assert_eq!(aperture(12, 12, 0, 100), None);
        assert_eq!(aperture(0, 12, 0, 100), None);
    }

    #[test]
    fn a_client_of_many_endpoints_holds_few() {
        let it = aperture(10_000, 20, 123, 1_000).unwrap();
        assert_eq!((it.first, it.len), (1230, 20));
    }

    proptest! {
        #[test]
        fn together_the_processes_use_every_endpoint_alike(
            endpoints in 1_usize..60, size in 1_u32..30, processes in 1_u32..40,
        ) {
            let mut all = vec![0.0; endpoints];
            for process in 0..processes {
                let uses = uses(endpoints, size, process, processes);
                let total: f64 = uses.iter().sum();
                prop_assert!(total >= f64::from(size).min(endpoints as f64) - 1e-9);
                prop_assert!(uses.iter().all(|part| (0.0..=1.0 + 1e-9).contains(part)));
                // A process sends the same calls to whatever it uses.
                for (all, part) in all.iter_mut().zip(uses) {
                    *all += part / total;
                }
            }
            let mean = f64::from(processes) / endpoints as f64;
            if (0..processes).all(|it| aperture(endpoints, size, it, processes).is_some()) {
                for load in &all {
                    prop_assert!((load / mean - 1.0).abs() < 1e-6, "{all:?}");
                }
            }
        }
    }
}
