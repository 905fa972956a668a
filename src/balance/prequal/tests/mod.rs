//! Prequal's pool and its arithmetic.

mod layout;
mod pool;

use proptest::prelude::*;

use super::{Pool, Settings, hot::Recent, settings::place};
use crate::config;

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

fn settings() -> Settings {
    Settings::new(&config::Prequal::default())
}

/// Nothing is removed when a report comes in.
fn keeping() -> Settings {
    let mut config = config::Prequal::default();
    config.remove_rate = Some(0.0);
    Settings::new(&config)
}

#[test]
fn a_report_is_used_as_often_as_the_pool_has_surplus() {
    // The paper's: m 16, n 100, r_probe 3 (and the response's own), r_remove 1, δ 1:
    // 2 / (0.84 · 4 − 1) = 0.847, that is 1.
    let mut config = config::Prequal::default();
    (config.probe_rate, config.remove_rate) = (Some(3.0), Some(1.0));
    let paper = Settings::new(&config);
    assert!(paper.is_used_up(1, 100, 0.0));
    // By responses alone, a third of which remove one: 2 / (0.84 − 1/3) = 3.947.
    (config.probe_rate, config.remove_rate) = (None, Some(1.0 / 3.0));
    let piggyback = Settings::new(&config);
    let used_up = |uses, chance| piggyback.is_used_up(uses, 100, chance);
    assert!(!used_up(2, 0.999) && !used_up(3, 0.94) && used_up(3, 0.96) && used_up(4, 0.0));
    // On average as often as the formula says.
    let uses = |chance: f32| (1..).find(|uses| used_up(*uses, chance)).unwrap();
    let sum: u32 = (0..10_000).map(|step| uses(step as f32 / 10_000.0)).sum();
    assert!((39_400..39_550).contains(&sum), "{sum}");
    // No surplus: without end.
    for endpoints in [0, 1, 2, 16, 20, 24] {
        assert!(!piggyback.is_used_up(u32::MAX, endpoints, 0.999), "{endpoints}");
    }
}

fn quantile(recent: &mut Recent, quantile: f32) -> u32 {
    recent.of_place(place(recent.len(), quantile))
}

#[test]
fn quantiles_of_what_was_said() {
    let mut recent = Recent::new();
    assert_eq!(quantile(&mut recent, 0.35), 0);
    recent.note(7);
    for asked in [0.0, 0.35, 1.0] {
        assert_eq!(quantile(&mut recent, asked), 7);
    }
    for in_flight in 1..=32 {
        recent.note(in_flight);
    }
    assert_eq!(quantile(&mut recent, 0.0), 1);
    assert_eq!(quantile(&mut recent, 0.35), 12);
    assert_eq!(quantile(&mut recent, 1.0), 32);
}

proptest! {
    #[test]
    fn the_quantile_is_that_of_the_latest_whenever_it_is_asked_for(
        said in prop::collection::vec((0..20_u32, 0..4_u8, 0.0..=1.0_f32), 1..200),
    ) {
        let (mut recent, mut all) = (Recent::new(), Vec::new());
        for (in_flight, asked, at) in said {
            // Numbers that are far apart, too.
            let in_flight = if in_flight == 19 { 1 << 22 } else { in_flight };
            recent.note(in_flight);
            all.push(in_flight);
            if asked > 0 {
                let mut latest = all[all.len().saturating_sub(32)..].to_vec();
                latest.sort_unstable();
                prop_assert_eq!(quantile(&mut recent, at), latest[place(latest.len(), at) as usize]);
            }
        }
    }

    #[test]
    fn no_reports_break_a_pool(
        steps in prop::collection::vec((0..40_usize, any::<u32>(), any::<u64>(), any::<u64>(), 0..4_u8), 0..400),
        endpoints in 0..200_usize,
    ) {
        let (pool, settings) = (Pool::new(16), settings());
        for (who, in_flight, latency, now, what) in steps {
            let now = now >> 3;
            match what {
                0 => pool.offer(now, (who, who as u32), (in_flight, latency), &settings),
                1 => pool.forget(who),
                _ => {
                    if let Some(choice) = pool.choose(now, &settings, endpoints, (0, 0)) {
                        prop_assert!(choice.who < 40 && choice.place as usize == choice.who);
                        pool.take(choice, &settings, endpoints, latency);
                        if what == 3 {
                            let skip = pool.skipping(choice);
                            let next = pool.choose(now, &settings, endpoints, (skip, 0));
                            prop_assert_ne!(next.map(|next| next.who), Some(choice.who));
                        }
                    }
                }
            }
        }
    }
}
