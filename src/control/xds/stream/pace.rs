//! How often answers of one stream are read: whoever sends without end is held back by the flow control of
//! HTTP/2, and takes no more of this process than that.

use std::time::Duration;

use crate::core::Instant;

/// As many answers are read as they come.
const AT_ONCE: u32 = 16_384;
/// Between two, beyond that: as fast as that, the allowance grows again.
const APART: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the allowance will be whole, or was.
    whole: Option<Instant>,
}

impl Pace {
    /// When the next answer may be read; nothing: now.
    pub(super) fn next(&mut self, now: Instant) -> Option<Instant> {
        let whole = self.whole.filter(|at| *at > now).unwrap_or(now);
        self.whole = Some(whole + APART);
        let at = whole.checked_sub(APART * AT_ONCE)?;
        (at > now).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads without a pause, and says how many answers by then.
    fn read(pace: &mut Pace, from: Instant, lasts: Duration) -> u32 {
        let (mut now, mut read) = (from, 0);
        while now <= from + lasts {
            now = pace.next(now).unwrap_or(now);
            read += 1;
        }
        read
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_read_at_its_pace_after_what_comes_at_once() {
        tokio::time::advance(Duration::from_secs(3600)).await;
        let (mut pace, start) = (Pace::default(), Instant::now());
        let all = read(&mut pace, start, Duration::from_secs(10));
        assert!((AT_ONCE + 10_000..=AT_ONCE + 10_010).contains(&all), "{all}");
        // Who rests may send as much at once again.
        let later = start + Duration::from_secs(3600);
        let at_once = (0..2 * AT_ONCE).take_while(|_| pace.next(later).is_none()).count();
        assert!(at_once.abs_diff(AT_ONCE as usize) <= 1, "{at_once}");
    }
}
