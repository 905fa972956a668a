//! An attempt that waits for an available endpoint, where its cluster has a queue.

use http::{Request, Version};

use super::{
    Attempt, Beginning, Failed, Met, State,
    way::{Original, Way},
};
use crate::{
    core::{Error, Held, Instant, Outgoing},
    mesh::call::{
        Caller, Pinned,
        entrance::Queued,
        failover::Picked,
        traced::{self, Trace},
    },
};

impl Attempt {
    /// Waits for an available endpoint.
    #[cold]
    pub(super) fn queued(
        of: Beginning<'_>,
        request: Option<&mut Request<Outgoing>>,
        trace: &mut Trace,
        queued: Box<Queued>,
    ) -> Self {
        let Beginning { caller, number, now: started, at, .. } = of;
        let mut version = Version::default();
        if let Some(request) = request {
            traced::attempt(trace, caller, request, number, None);
            version = request.version();
        }
        Self {
            state: State::Queue(queued),
            endpoint: None,
            flight: None,
            breaker: Held::Nothing,
            number,
            started,
            sending: None,
            at,
            ended: at,
            met: Met::Fatal,
            moved: false,
            leads_to: None,
            original: Original { version, head: None },
        }
    }

    /// Begins to send, as there is an endpoint by now; or ends, as there will be none.
    #[cold]
    pub(super) fn leave_queue(
        &mut self,
        caller: &Caller,
        pinned: &Pinned,
        way: &mut Way<'_>,
        picked: Result<Picked, Box<Failed>>,
    ) -> Result<(), Error> {
        let State::Queue(queued) = std::mem::replace(&mut self.state, State::Done) else {
            return Ok(());
        };
        let now = Instant::now();
        let at = caller.inner.epoch.nanos(now);
        let begun = picked.and_then(|picked| {
            let way = Way { request: &mut *way.request, sent: way.sent.as_mut() };
            let (tried, number) = (&*queued.tried, self.number);
            let of = Beginning { caller, pinned, tried, number, now, at };
            // Its span has begun.
            // The last source may have spoken while it waited.
            Self::elsewhere(of, way, &mut None, picked, false)
        });
        match begun {
            // The time that it may take has run since it began to wait.
            // Layers before it are told of its endpoint now.
            Ok(begun) => *self = Self { started: self.started, moved: true, ..begun },
            Err(failed) => {
                self.met = failed.met;
                return Err(failed.error);
            }
        }
        Ok(())
    }
}
