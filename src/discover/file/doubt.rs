//! Whether a file that was read may be only half-written.
//!
//! What is written in place can be read in the middle, and the middle may be a valid file: fewer
//! parts, or a port without its last digits. So what looks like the beginning of a file is believed
//! only once it has stood for a while.

use std::time::Duration;

use tokio::time::Instant;

/// How long what looks half-written must stand.
const STANDS: Duration = Duration::from_secs(2);

/// Compares what is read with what was read well before.
#[derive(Default)]
pub(super) struct Doubt {
    good: Vec<u8>,
    /// What is not believed yet, and since when it stands.
    held: Option<(Vec<u8>, Instant)>,
}

/// Why something is not believed, and how long not.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) reason: String,
    pub(super) left: Duration,
}

impl Doubt {
    /// Whether what was read is not to be believed yet.
    pub(super) fn of(&mut self, bytes: &[u8], now: Instant) -> Option<Held> {
        let Some(looks) = self.looks(bytes) else {
            self.held = None;
            return None;
        };
        let since = match &self.held {
            Some((held, since)) if held == bytes => *since,
            _ => {
                self.held = Some((bytes.to_vec(), now));
                now
            }
        };
        let left = STANDS.saturating_sub(now.saturating_duration_since(since));
        (!left.is_zero()).then(|| Held {
            reason: format!("{looks}: half-written? It is believed if it stays so for {STANDS:?}"),
            left,
        })
    }

    /// This was read well.
    pub(super) fn trust(&mut self, bytes: &[u8]) {
        self.good = bytes.to_vec();
        self.held = None;
    }

    fn looks(&self, bytes: &[u8]) -> Option<String> {
        let (read, had) = (bytes.len(), self.good.len());
        if read < had && self.good.starts_with(bytes) {
            return Some(format!("holds the first {read} of the {had} bytes that it had"));
        }
        let ends = |bytes: &[u8]| bytes.last() == Some(&b'\n');
        (ends(&self.good) && !ends(bytes)).then(|| format!("ends after {read} bytes in a line"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A doubt that has seen this.
    fn after(good: &str) -> Doubt {
        let mut doubt = Doubt::default();
        doubt.trust(good.as_bytes());
        doubt
    }

    #[tokio::test(start_paused = true)]
    async fn what_stands_for_two_seconds_is_believed() {
        let mut doubt = after("a: 1\nb: 2\n");
        let start = Instant::now();
        let held = doubt.of(b"a: 1\n", start).unwrap();
        assert_eq!(held.left, STANDS);
        // Another half begins anew.
        let later = start + Duration::from_secs(1);
        assert_eq!(doubt.of(b"a: 1\nb", later).unwrap().left, STANDS);
        assert!(doubt.of(b"a: 1\nb", later + STANDS / 2).is_some());
        assert!(doubt.of(b"a: 1\nb", later + STANDS).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn whole_files_are_believed_at_once() {
        let now = Instant::now();
        assert!(Doubt::default().of(b"a: 1", now).is_none(), "nothing was there before");
        assert!(after("a: 1\n").of(b"a: 1\n", now).is_none());
        assert!(after("a: 1\n").of(b"b: 1\n", now).is_none());
        assert!(after("a: 1").of(b"b: 1", now).is_none(), "its lines never end");
        assert!(after("a: 1").of(b"a: 12", now).is_none());
        assert!(after("a: 1\n").of(b"b: 1", now).is_some());
        assert!(after("a: 1").of(b"a", now).is_some());
    }
}
