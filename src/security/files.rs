//! Files that are followed by reading them again.
//!
//! They are small, and a swapped symlink, a file that was renamed over another and one that was
//! written in place all show in their content. So nothing is watched, and no file system is
//! trusted to tell.

use std::{collections::hash_map::RandomState, hash::BuildHasher, path::PathBuf, time::Duration};

/// Between two readings.
pub(super) const POLL: Duration = Duration::from_secs(5);
/// The shortest time between two readings that may be asked for.
pub(super) const MIN_POLL: Duration = Duration::from_millis(100);
/// How long the content must have stayed the same: whoever writes several files, or one in steps,
/// is not met in the middle.
const SETTLE: Duration = Duration::from_millis(250);
/// What is never quiet is read all the same, after so many steps.
const UNQUIET: u32 = 40;
/// Larger ones hold no keys and no roots.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// What each file holds, or why it could not be read.
pub(super) type Contents = Vec<Result<Vec<u8>, String>>;

/// Several files that belong together.
pub(super) struct Files {
    paths: Vec<PathBuf>,
    poll: Duration,
    hasher: RandomState,
    /// Of what was returned last: keys are not kept here.
    last: Option<Vec<u64>>,
    /// What was returned last could not be used: it is returned again.
    again: bool,
}

impl Files {
    pub(super) fn new(paths: Vec<PathBuf>, poll: Duration) -> Self {
        Self { paths, poll, hasher: RandomState::new(), last: None, again: false }
    }

    /// Lets [`next`](Self::next) return the same once more: time may mend what was wrong.
    pub(super) fn again(&mut self) {
        self.again = true;
    }

    /// What they hold now, at once; after that, each time that it is something else.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: what was not returned is new again.
    pub(super) async fn next(&mut self) -> Contents {
        if self.last.is_none() {
            let contents = self.read().await;
            self.last = Some(self.digest(&contents));
            return contents;
        }
        loop {
            tokio::time::sleep(self.poll).await;
            let mut contents = self.read().await;
            let mut digest = self.digest(&contents);
            for step in 1.. {
                if self.last.as_ref() == Some(&digest) {
                    break;
                }
                tokio::time::sleep(SETTLE.min(self.poll)).await;
                contents = self.read().await;
                let seen = std::mem::replace(&mut digest, self.digest(&contents));
                if seen == digest || step == UNQUIET {
                    self.again = true;
                    break;
                }
            }
            if std::mem::take(&mut self.again) {
                self.last = Some(digest);
                return contents;
            }
        }
    }

    async fn read(&self) -> Contents {
        let paths = self.paths.clone();
        let count = paths.len();
        let read = tokio::task::spawn_blocking(move || paths.iter().map(read).collect());
        read.await.unwrap_or_else(|_| vec![Err("reading was broken off".to_owned()); count])
    }

    fn digest(&self, contents: &Contents) -> Vec<u64> {
        contents.iter().map(|content| self.hasher.hash_one(content)).collect()
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, String> {
    use std::io::Read;

    let refuse = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let file = std::fs::File::open(path).map_err(refuse)?;
    let mut content = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut content).map_err(refuse)?;
    if content.len() as u64 > MAX_BYTES {
        return Err(format!("{} is too large", path.display()));
    }
    Ok(content)
}
