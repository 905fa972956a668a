//! Headers that say when a limit is over, with the cases of Envoy's `reset_header_parser_test.cc`.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use proptest::prelude::*;

use super::{Settings, header, policy, respond};
use crate::{
    RetryRefusal,
    config::{ResetFormat, ResetHeader},
    resilience::retry::{
        Decision,
        after::{Pushback, Resets},
    },
};

/// Sun, 06 Nov 1994 08:49:37 GMT
const NOW: u64 = 784_111_777;
const MAX: Duration = Duration::from_secs(300);

fn resets(headers: &[(&str, ResetFormat)]) -> Vec<ResetHeader> {
    headers
        .iter()
        .map(|(name, format)| ResetHeader { name: (*name).to_owned(), format: *format })
        .collect()
}

fn read(headers: &HeaderMap) -> Pushback {
    let resets = Resets::new(&resets(&[
        ("retry-after", ResetFormat::Seconds),
        ("x-ratelimit-reset", ResetFormat::UnixTimestamp),
    ]));
    resets.read(headers, MAX, || SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))
}

fn seconds(seconds: u64) -> Pushback {
    Pushback::AtLeast(Duration::from_secs(seconds))
}

#[test]
fn seconds_and_a_time_since_1970() {
    assert_eq!(read(&header("retry-after", "30")), seconds(30));
    assert_eq!(read(&header("x-ratelimit-reset", &(NOW + 76).to_string())), seconds(76));
    assert_eq!(read(&header("x-ratelimit-reset", &(NOW - 1).to_string())), seconds(0), "is over");
    assert_eq!(read(&HeaderMap::new()), Pushback::None);
}

#[test]
fn the_first_that_can_be_understood_and_is_not_too_long() {
    let mut both = header("retry-after", "30");
    both.insert("x-ratelimit-reset", (NOW + 76).into());
    assert_eq!(read(&both), seconds(30));
    both.insert("retry-after", "soon".parse().unwrap());
    assert_eq!(read(&both), seconds(76));
    both.insert("retry-after", "301".parse().unwrap());
    assert_eq!(read(&both), seconds(76));
    both.insert("x-ratelimit-reset", (NOW + 301).into());
    assert_eq!(read(&both), Pushback::Stop, "nobody is asked earlier than it says");
}

#[test]
fn what_is_no_number_says_nothing() {
    for value in ["", "-1", "1.5", "0x10", "99999999999999999999999"] {
        assert_eq!(read(&header("retry-after", value)), Pushback::None, "{value}");
        assert_eq!(read(&header("x-ratelimit-reset", value)), Pushback::None, "{value}");
    }
}

#[test]
fn the_wait_is_uniform_in_its_upper_half_and_takes_the_place_of_retry_after() {
    let mut settings = Settings::standard();
    settings.reset_headers = resets(&[("x-ratelimit-reset", ResetFormat::Seconds)]);
    settings.retry_after_max = Some(Duration::from_secs(60));
    let policy = policy(&settings);
    let Decision::Retry { after, .. } =
        respond(&policy, 1, 503, &header("x-ratelimit-reset", "40"))
    else {
        panic!("not retried")
    };
    assert!((40.0..=60.0).contains(&after.as_secs_f64()), "{after:?}");
    let Decision::Retry { after, .. } = respond(&policy, 1, 503, &header("retry-after", "40"))
    else {
        panic!("not retried")
    };
    assert!(after <= Duration::from_millis(25), "{after:?}");
    let stopped = respond(&policy, 1, 503, &header("x-ratelimit-reset", "61"));
    assert_eq!(stopped, Decision::Refuse { reason: RetryRefusal::Pushback });
}

proptest! {
    #[test]
    fn no_value_is_too_much(value in "[ -~]{0,30}", format: bool) {
        let format = if format { ResetFormat::Seconds } else { ResetFormat::UnixTimestamp };
        let resets = Resets::new(&resets(&[("x-reset", format)]));
        let asked = resets.read(&header("x-reset", &value), MAX, SystemTime::now);
        if let Pushback::AtLeast(wait) = asked {
            prop_assert!(wait <= MAX);
        }
    }
}
