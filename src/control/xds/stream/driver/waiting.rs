//! Who works on the last message of a stream, and how long the next one waits for it.

use super::{Driver, Live, Work};
use crate::{control::xds::client::Decode, core::Instant};

impl<D> Driver<D>
where
    D: Decode + Send + 'static,
    D::Resource: Send + Sync + 'static,
{
    /// One has worked off a message: it keeps up.
    pub(super) fn worked(&mut self, Work { subscriber, server, stream, message }: Work) {
        self.late.remove(&subscriber);
        if let Some(live) = self.live.get_mut(&server)
            && live.stream == stream
            && live.message == message
        {
            live.done(subscriber);
        }
    }

    pub(super) fn work_ends(&self) -> Option<Instant> {
        self.live.values().filter_map(|live| Some(live.working.as_ref()?.until)).min()
    }

    pub(super) fn give_up_waiting(&mut self) {
        let now = Instant::now();
        for live in self.live.values_mut() {
            if let Some(waited) = live.working.take_if(|waited| waited.until <= now) {
                self.late.extend(waited.subscribers);
                live.worked.add_permits(1);
            }
        }
    }
}

impl Live {
    /// One has worked off the last message. The next one is read when all have.
    pub(super) fn done(&mut self, subscriber: u64) {
        let Some(waited) = &mut self.working else { return };
        if waited.subscribers.remove(&subscriber) && waited.subscribers.is_empty() {
            self.working = None;
            self.worked.add_permits(1);
        }
    }
}
