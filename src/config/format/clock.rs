//! The time at which a call began, as `%START_TIME(…)%` asks for it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A format of times, in the words of `strftime` that have no language.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Clock(String);

/// What `%START_TIME%` means (Envoy).
const USUAL: &str = "%Y-%m-%dT%H:%M:%E3SZ";
/// The last second that has four digits of a year.
const LAST: u64 = 253_402_300_799;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Clock {
    /// # Errors
    ///
    /// The part of the format that is not known.
    pub(crate) fn new(format: Option<&str>) -> Result<Self, String> {
        let clock = Self(format.unwrap_or(USUAL).to_owned());
        clock.fill(Duration::ZERO)?;
        Ok(clock)
    }

    /// Whether it tells more than the hour: then hardly two calls are told the same.
    pub(crate) fn differs_per_call(&self) -> bool {
        let mut rest = self.0.as_str();
        while let Some((_, after)) = rest.split_once('%') {
            let mut characters = after.chars();
            match characters.next() {
                Some('M' | 'S' | 'T' | 's' | 'f' | 'E' | '1'..='9') => return true,
                _ => rest = characters.as_str(),
            }
        }
        false
    }

    /// This time in UTC.
    pub(crate) fn tell(&self, at: SystemTime) -> String {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        // A clock that is thousands of years off stands still.
        let since = since.min(Duration::from_secs(LAST));
        self.fill(since).unwrap_or_default()
    }

    fn fill(&self, since: Duration) -> Result<String, String> {
        // `Sun, 06 Nov 1994 08:49:37 GMT`
        let date = httpdate::fmt_http_date(UNIX_EPOCH + since);
        let of = |from: usize, to: usize| date.get(from..to).unwrap_or_default();
        let month = MONTHS.iter().position(|name| *name == of(8, 11)).unwrap_or_default() + 1;
        let month = format!("{month:02}");
        let (year, day, time, second) = (of(12, 16), of(5, 7), of(17, 25), of(23, 25));
        let digits = |count: usize| {
            let nanos = format!("{:09}", since.subsec_nanos());
            nanos.get(..count).unwrap_or_default().to_owned()
        };
        let (mut text, mut rest) = (String::new(), self.0.as_str());
        while let Some((before, after)) = rest.split_once('%') {
            text.push_str(before);
            let mut characters = after.chars();
            let first = characters.next();
            let unknown = || format!("`%{}` is no part of a time", first.unwrap_or(' '));
            match first {
                Some('Y') => text.push_str(year),
                Some('m') => text.push_str(&month),
                Some('d') => text.push_str(day),
                Some('H') => text.push_str(of(17, 19)),
                Some('M') => text.push_str(of(20, 22)),
                Some('S') => text.push_str(second),
                Some('T') => text.push_str(time),
                Some('F') => text.push_str(&format!("{year}-{month}-{day}")),
                Some('s') => text.push_str(&since.as_secs().to_string()),
                Some('f') => text.push_str(&digits(9)),
                Some('z') => text.push_str("+0000"),
                Some('Z') => text.push_str("UTC"),
                Some('%') => text.push('%'),
                // Digits of a second: `%3f`.
                Some(count @ '1'..='9') if characters.next() == Some('f') => {
                    text.push_str(&digits(count.to_digit(10).unwrap_or(9) as usize));
                }
                // A second with its digits: `%E3S`.
                Some('E') => {
                    let count = characters.next().and_then(|count| count.to_digit(10));
                    let count = count.filter(|count| (1..=9).contains(count));
                    let count = count.ok_or_else(unknown)?;
                    if characters.next() != Some('S') {
                        return Err(unknown());
                    }
                    text.push_str(&format!("{second}.{}", digits(count as usize)));
                }
                _ => return Err(unknown()),
            }
            rest = characters.as_str();
        }
        text.push_str(rest);
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_asked() {
        let at = UNIX_EPOCH + Duration::new(784_111_777, 8_009_010);
        for (format, expected) in [
            (None, "1994-11-06T08:49:37.008Z"),
            (Some("%s.%3f"), "784111777.008"),
            (Some("%F %T %z %Z%%"), "1994-11-06 08:49:37 +0000 UTC%"),
            (Some("%Y/%m/%d %H:%M:%S.%f"), "1994/11/06 08:49:37.008009010"),
            (Some("%6f"), "008009"),
        ] {
            assert_eq!(Clock::new(format).unwrap().tell(at), expected);
        }
        for format in ["%", "%Q", "%E3", "%E0S", "%3", "%0f", "%ES"] {
            assert!(Clock::new(Some(format)).is_err(), "{format}");
        }
    }

    #[test]
    fn what_is_finer_than_an_hour_differs_from_call_to_call() {
        let differs = |format| Clock::new(format).unwrap().differs_per_call();
        assert!(differs(None));
        for format in ["%M", "%S", "%T", "%s", "%f", "%3f", "%E3S", "%F %T"] {
            assert!(differs(Some(format)), "{format}");
        }
        for format in ["", "M", "%F", "%Y-%m-%d", "%H", "%z %Z", "%%T", "%%%%s"] {
            assert!(!differs(Some(format)), "{format}");
        }
    }

    #[test]
    fn a_clock_that_is_off_tells_something() {
        let usual = Clock::new(None).unwrap();
        assert_eq!(usual.tell(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000Z");
        let far = UNIX_EPOCH + Duration::from_secs(LAST + 1_000_000);
        assert_eq!(usual.tell(far), "9999-12-31T23:59:59.000Z");
    }
}
