//! The counters of the window against a list of what was counted.

use proptest::prelude::*;

use super::rolling::{COUNTERS, Rolling};

const SLOT: u64 = 10;
const WINDOW: u64 = 10 * SLOT;

proptest! {
    #[test]
    fn the_window_holds_what_was_counted_within_it(
        steps in proptest::collection::vec((0..40_u64, 0..COUNTERS), 1..200),
    ) {
        let counts = Rolling::<10>::new(WINDOW);
        let (mut now, mut all) = (0, Vec::new());
        for (step, counter) in steps {
            now += step;
            counts.add(now, counter);
            all.push((now, counter));
            let mut expected = [0; COUNTERS];
            for (at, counter) in &all {
                // The newest slot and the nine before it.
                if at / SLOT + 9 >= now / SLOT {
                    expected[*counter] += 1;
                }
            }
            prop_assert_eq!(counts.sums(now), expected);
            for even in (0..COUNTERS).step_by(2) {
                prop_assert_eq!(counts.pair(now, even), (expected[even], expected[even + 1]));
            }
        }
    }

    #[test]
    fn after_a_window_without_calls_nothing_is_left(
        calls in 1..100_u32,
        idle in WINDOW..1_000_000_000_000_u64,
    ) {
        let counts = Rolling::<10>::new(WINDOW);
        for _ in 0..calls {
            counts.add(0, 0);
        }
        // The numbers of slots come around after 65,536 of them.
        prop_assume!((10..65_516).contains(&(idle / SLOT % 65_536)));
        prop_assert_eq!(counts.sums(idle), [0; COUNTERS]);
        counts.add(idle, 0);
        prop_assert_eq!(counts.sums(idle)[0], 1);
    }

    #[test]
    fn time_that_steps_back_loses_nothing_new(times in proptest::collection::vec(100..300_u64, 1..60)) {
        let counts = Rolling::<10>::new(WINDOW);
        counts.add(300, 1);
        for now in times {
            counts.add(now, 0);
        }
        prop_assert_eq!(counts.sums(300)[1], 1);
    }
}

#[test]
fn a_slot_that_is_full_stays_full() {
    let counts = Rolling::<2>::new(20);
    for _ in 0..(1 << 24) + 10 {
        counts.add(0, 0);
    }
    assert_eq!(counts.sums(0)[..2], [(1 << 24) - 1, 0]);
}
