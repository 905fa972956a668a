//! Names that nobody watches any more: they are asked for a while longer, so that who comes back
//! finds what is known. Who comes back to a name that was given up waits for it anew, and some
//! servers do not send again what they have sent on the same stream.

use std::{collections::BTreeMap, sync::Arc};

use super::settings::Linger;
use crate::{control::xds::kind::Kind, core::Instant};

pub(super) struct Lingering {
    settings: Linger,
    names: BTreeMap<(Instant, u64), (Kind, Arc<str>)>,
    added: u64,
}

// === impl Lingering ===

impl Lingering {
    pub(super) fn new(settings: Linger) -> Self {
        Self { settings, names: BTreeMap::new(), added: 0 }
    }

    /// Its place. What is not to be kept, and what is too much, is due at once.
    pub(super) fn add(
        &mut self,
        now: Instant,
        keep: bool,
        kind: Kind,
        name: Arc<str>,
    ) -> (Instant, u64) {
        let until = if keep { now.checked_add(self.settings.grace).unwrap_or(now) } else { now };
        self.added += 1;
        let place = (until, self.added);
        self.names.insert(place, (kind, name));
        place
    }

    pub(super) fn remove(&mut self, place: (Instant, u64)) {
        self.names.remove(&place);
    }

    /// The next to be given up.
    pub(super) fn due(&mut self, now: Instant) -> Option<(Kind, Arc<str>)> {
        let first = self.names.first_entry()?;
        let is_due = first.key().0 <= now || self.names.len() > self.settings.names;
        is_due.then(|| self.names.pop_first()).flatten().map(|(_, name)| name)
    }

    pub(super) fn first(&self) -> Option<Instant> {
        self.names.first_key_value().map(|(place, _)| place.0)
    }
}
