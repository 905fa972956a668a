//! What is made of each reading of the file, without I/O.

use std::{path::PathBuf, time::Duration};

use tokio::time::Instant;

use super::{Published, doubt::Doubt};
use crate::discover::Publisher;

/// What has been read, and what became of it.
pub(super) struct Reader {
    /// What reports call the file.
    part: String,
    /// What paths in it are relative to.
    folder: PathBuf,
    published: Published,
    doubt: Doubt,
    last: Option<Result<Vec<u8>, String>>,
    /// Whether what was read last is in force.
    in_force: bool,
    /// Whether what was read last was not believed yet.
    held: bool,
}

impl Reader {
    pub(super) fn new(part: String, folder: PathBuf) -> Self {
        Self {
            part,
            folder,
            published: Published::default(),
            doubt: Doubt::default(),
            last: None,
            in_force: false,
            held: false,
        }
    }

    /// Publishes what a reading has brought. Says how soon to read again, where what was read is
    /// not believed yet.
    pub(super) fn take(
        &mut self,
        publish: &Publisher,
        content: Result<Vec<u8>, String>,
        now: Instant,
    ) -> Option<Duration> {
        let news = self.last.as_ref() != Some(&content);
        let held = content.as_ref().ok().and_then(|bytes| self.doubt.of(bytes, now));
        let waited = std::mem::replace(&mut self.held, held.is_some());
        if let Some(held) = &held {
            self.in_force = false;
            if news {
                publish.refused(&self.part, &held.reason);
            }
        } else if news || waited {
            self.in_force = match &content {
                Ok(bytes) => {
                    let read = self.published.apply(publish, &self.part, &self.folder, bytes);
                    if read {
                        self.doubt.trust(bytes);
                    }
                    read
                }
                Err(error) => {
                    publish.refused(&self.part, format!("cannot be read: {error}"));
                    false
                }
            };
        }
        self.last = Some(content);
        if self.in_force {
            publish.confirmed();
        }
        publish.synced();
        held.map(|held| held.left)
    }
}
