//! The way of an attempt into a cluster that asks for more than a pick: shares of the calls that are
//! dropped, a limit of each priority, a queue for what finds no endpoint, and clusters that take over.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Request;

use super::{
    Caller, Pinned,
    attempt::{Beginning, Failed},
    failover::{self, Picked},
    refusals::{dropped, failing_fast, queue_full},
};
use crate::{
    balance::{Endpoint, Outcome, Stands},
    core::{BoxFuture, ErrorKind, Instant, Outgoing, Phase, Refusal, cut},
    mesh::{cluster::Node, gate::Gate},
    resilience::queue::{Queue, Refused, Waiter},
};

/// What comes of an attempt that asks for an endpoint.
pub(super) enum Entered {
    Picked(Picked),
    /// It waits for one.
    Queued(Box<Queued>),
}

/// An attempt that waits for an available endpoint.
pub(super) struct Queued {
    waiter: Waiter,
    queue: Arc<Queue>,
    wait: BoxFuture<()>,
    /// The end of the mesh.
    over: BoxFuture<()>,
    /// Nobody has looked since the wait was begun.
    is_new: bool,
    /// What the call has met before.
    pub(super) tried: Vec<Arc<Endpoint<Node>>>,
}

/// What a look for an endpoint comes to where there is a queue.
enum Look {
    Picked(Picked),
    /// Nothing is available.
    Nothing,
}

/// Lets the attempt of this number in.
#[cold]
#[inline(never)]
pub(super) fn enter(
    of: Beginning<'_>,
    request: Option<&Request<Outgoing>>,
) -> Result<Entered, Box<Failed>> {
    let Beginning { caller, pinned, tried, number, at, .. } = of;
    let cluster = &pinned.cluster;
    let gate = cluster.core.load().gate.clone();
    if number == 1
        && let Some(category) = gate.as_ref().and_then(|it| it.drops.take(&caller.inner.random))
    {
        cluster.meter.refused(Refusal::Dropped);
        return Err(dropped(&cluster.name, category));
    }
    let Some(queue) = gate.as_deref().and_then(|gate: &Gate| gate.queue.as_ref()) else {
        return failover::pick(caller, pinned, request, tried, at).map(Entered::Picked);
    };
    match look(caller, pinned, request, tried, at, queue)? {
        Look::Picked(picked) => Ok(Entered::Picked(picked)),
        Look::Nothing => {
            let why = |refused| refuse(pinned, refused);
            let waiter = queue.join(at).map_err(why)?;
            let wait = Box::pin(waiter.wait(at).map_err(why)?);
            let (queue, tried) = (Arc::clone(queue), tried.to_vec());
            let over = caller.inner.hub.end.wait();
            let queued = Queued { waiter, queue, wait, over, is_new: true, tried };
            Ok(Entered::Queued(Box::new(queued)))
        }
    }
}

/// Picks, and sees whether who was picked is any good.
fn look(
    caller: &Caller,
    pinned: &Pinned,
    request: Option<&Request<Outgoing>>,
    tried: &[Arc<Endpoint<Node>>],
    at: u64,
    queue: &Queue,
) -> Result<Look, Box<Failed>> {
    let (flight, held, cluster) = match failover::pick(caller, pinned, request, tried, at) {
        Ok(picked) => picked,
        // Those that are on their way are waited for in any case.
        Err(failed)
            if failed.error.kind() == ErrorKind::NoEndpoints
                && failed.error.refusal().is_none()
                && caller.inner.is_settled(&pinned.cluster) =>
        {
            return Ok(Look::Nothing);
        }
        Err(failed) => return Err(failed),
    };
    let is_dialing = || flight.endpoint().extra().is_some_and(|node| node.pool.is_dialing());
    match flight.stands(at) {
        Stands::Well => queue.found(),
        // Of one that could not be connected to, one attempt finds out whether it can be.
        Stands::Trial if !is_dialing() => {}
        Stands::Trial | Stands::Out => {
            flight.finish(at, Outcome::Ignored);
            return Ok(Look::Nothing);
        }
    }
    Ok(Look::Picked((flight, held, cluster)))
}

fn refuse(pinned: &Pinned, refused: Refused) -> Box<Failed> {
    let cluster = &pinned.cluster;
    cluster.meter.refused(Refusal::Queue);
    match refused {
        Refused::Full(capacity) => queue_full(&cluster.name, capacity),
        Refused::FailFast(timeout) => failing_fast(&cluster.name, timeout),
    }
}

// === impl Queued ===

impl Queued {
    /// An endpoint, or why there is none.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        caller: &Caller,
        pinned: &Pinned,
        request: Option<&Request<Outgoing>>,
    ) -> Poll<Result<Picked, Box<Failed>>> {
        loop {
            // Something may have been found between the look before the wait and the wait.
            let is_new = std::mem::take(&mut self.is_new);
            if !is_new && self.wait.as_mut().poll(cx).is_pending() {
                ready!(self.over.as_mut().poll(cx));
                return Poll::Ready(Err(Failed::fatal(cut(Phase::Pick))));
            }
            let at = caller.inner.epoch.nanos(Instant::now());
            match look(caller, pinned, request, &self.tried, at, &self.queue)? {
                Look::Picked(picked) => return Poll::Ready(Ok(picked)),
                Look::Nothing if is_new => {}
                Look::Nothing => {
                    let wait = self.waiter.wait(at);
                    self.wait = Box::pin(wait.map_err(|refused| refuse(pinned, refused))?);
                    self.is_new = true;
                }
            }
        }
    }
}

/// Whether an attempt that could not be connected waits for another endpoint, or for the same one.
pub(super) fn may_wait(pinned: &Pinned, at: u64) -> bool {
    let gate = pinned.cluster.core.load().gate.clone();
    let queue = gate.as_deref().and_then(|gate: &Gate| gate.queue.as_ref());
    queue.is_some_and(|queue| !queue.is_failing_fast(at))
}
