//! One attempt: pick an endpoint, take a connection, send, and report the outcome to the
//! endpoint. No decision about retries is made here.

mod begin;
mod ending;
mod failing;
mod judged;
mod named;
mod queued;
mod way;

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Response;

use self::way::Original;
pub(crate) use self::{begin::Beginning, way::Way};
use super::{Caller, Pinned, entrance::Queued, first::Won};
use crate::{
    balance::{Endpoint, InFlight, Outcome},
    core::{Body, BoxError, BoxFuture, Error, ErrorKind, Held, Instant, Phase},
    mesh::cluster::Node,
    observe::{End, trace::Peer},
    transport::{ConnectError, Lease, Sent},
};

/// The state machine of one attempt; the call polls it with what it has pinned, and keeps the
/// request and hyper's future for it, which are large and are moved as seldom as can be.
pub(crate) struct Attempt {
    state: State,
    /// The endpoint in use, kept to exclude it from a retry and to name it.
    endpoint: Option<Arc<Endpoint<Node>>>,
    flight: Option<InFlight<Node>>,
    breaker: Held,
    /// 1 for the first attempt.
    number: u32,
    started: Instant,
    /// When its request began to be sent, if it has.
    sending: Option<Instant>,
    /// The same as its start, and when its head or its failure came, in nanoseconds since the mesh's epoch.
    at: u64,
    ended: u64,
    /// Why it gave no response, if it gave none.
    met: Met,
    /// Its endpoint is another than was known when it began: one that was connected to first, or that it
    /// has waited for.
    moved: bool,
    /// Which of several addresses of that endpoint the connection leads to that it has waited for.
    leads_to: Option<Arc<Peer>>,
    original: Original,
}

enum State {
    /// Waiting for an available endpoint.
    Queue(Box<Queued>),
    /// Waiting for a connection. Boxed: only an attempt that finds none waits.
    Connect(BoxFuture<Result<Lease, ConnectError>>),
    /// The same, between endpoints.
    Race(BoxFuture<Result<Won, ConnectError>>),
    Send,
    /// Through the user's endpoint layers or own leaf: their one box.
    Stage(BoxFuture<Result<Response<Body>, BoxError>>),
    /// The protocol of its endpoint cannot carry it.
    Unfit,
    Done,
}

/// Why an attempt gave no response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Met {
    /// The request never left this process.
    NeverSent,
    /// The endpoint said that it did not work on it.
    Refused,
    /// It may have been worked on.
    Reset,
    /// Nothing that another attempt would change.
    Fatal,
}

/// An attempt that did not begin. The request is still in the call's hands.
pub(crate) struct Failed {
    pub(crate) met: Met,
    pub(crate) error: Error,
}

impl Failed {
    pub(super) fn fatal(error: Error) -> Box<Self> {
        Box::new(Self { met: Met::Fatal, error })
    }
}

// === impl Attempt ===

impl Attempt {
    pub(crate) fn endpoint(&self) -> Option<&Arc<Endpoint<Node>>> {
        self.endpoint.as_ref()
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// When its request began to be sent, if it has.
    pub(crate) fn sending_since(&self) -> Option<Instant> {
        self.sending
    }

    /// Whether its endpoint is another than was known when it began.
    pub(crate) fn is_moved(&self) -> bool {
        self.moved
    }

    /// Which of several addresses of that endpoint the connection leads to that it has waited for.
    pub(crate) fn leads_to(&self) -> Option<&Peer> {
        self.leads_to.as_deref()
    }

    /// When its head or its failure came, in nanoseconds since the mesh's epoch.
    pub(crate) fn ended(&self) -> u64 {
        self.ended
    }

    /// Why it gave no response. The request is in the call's hands again, if it was given back.
    pub(crate) fn met(&self) -> Met {
        self.met
    }

    /// What it waits for.
    pub(crate) fn phase(&self) -> Phase {
        match self.state {
            State::Queue(_) => Phase::Pick,
            State::Connect(_) | State::Race(_) => Phase::Connect,
            State::Send | State::Stage(_) | State::Unfit | State::Done => Phase::Headers,
        }
    }

    /// Ends it by our own timeout, which is a failure of its endpoint. The request is still there
    /// if it waited for a connection.
    pub(crate) fn expire(&mut self, caller: &Caller, mut way: Way<'_>, now: Instant) {
        if let Some(flight) = self.flight.take() {
            let now = caller.inner.epoch.nanos(now);
            flight.finish(now, Outcome::Timeout);
            self.failed(caller, now, ErrorKind::Timeout);
        }
        self.breaker = Held::Nothing;
        self.state = State::Done;
        way.sent.set(None);
        self.original.restore(way.request, caller.https);
    }

    /// The caller leaves, whether it is under way or over.
    pub(crate) fn left(&mut self, caller: &Caller) {
        if self.flight.is_some() {
            let now = caller.inner.epoch.nanos(Instant::now());
            self.tell_end(caller, now, None, None, Some(End::Left));
        }
    }

    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        caller: &Caller,
        pinned: &Pinned,
        mut way: Way<'_>,
    ) -> Poll<Result<Response<Body>, Error>> {
        loop {
            match &mut self.state {
                State::Queue(queued) => {
                    let picked = ready!(queued.poll(cx, caller, pinned, way.request.as_ref()));
                    if let Err(error) = self.leave_queue(caller, pinned, &mut way, picked) {
                        return Poll::Ready(Err(error));
                    }
                }
                State::Send => {
                    let Some(send) = way.sent.as_mut().as_pin_mut() else { return Poll::Pending };
                    let sent = ready!(send.poll(cx));
                    self.state = State::Done;
                    way.sent.set(None);
                    return Poll::Ready(match sent {
                        Ok(Sent { response, held, first }) => {
                            let node = self.endpoint.as_ref().and_then(|to| to.extra());
                            if let Some(node) = node.filter(|_| first) {
                                node.pool.answered();
                            }
                            let watch = self.watch(caller, pinned, &response, held);
                            Ok(response.map(|body| Body::watched(body, watch)))
                        }
                        Err(error) => Err(self.send_failed(caller, &mut way, error)),
                    });
                }
                State::Connect(lease) => match ready!(lease.as_mut().poll(cx)) {
                    Ok(lease) => {
                        let node = self.endpoint.as_ref().and_then(|to| to.extra());
                        self.leads_to = lease.at().cloned();
                        self.state = way.send(lease, node.map_or("", |node| &node.name));
                        self.sending = Some(Instant::now());
                    }
                    Err(error) => {
                        return Poll::Ready(Err(self.connect_failed(caller, &mut way, error)));
                    }
                },
                State::Race(won) => match ready!(won.as_mut().poll(cx)) {
                    Ok(Won { lease, endpoint, flight, failed, at }) => {
                        if let Some(flight) = flight {
                            self.move_to(caller, endpoint, flight, failed);
                            self.at = at;
                        }
                        let node = self.endpoint.as_ref().and_then(|to| to.extra());
                        self.leads_to = lease.at().cloned();
                        self.state = way.send(lease, node.map_or("", |node| &node.name));
                        self.sending = Some(Instant::now());
                    }
                    Err(error) => {
                        return Poll::Ready(Err(self.connect_failed(caller, &mut way, error)));
                    }
                },
                State::Stage(future) => {
                    let response = ready!(future.as_mut().poll(cx));
                    self.state = State::Done;
                    return Poll::Ready(match response {
                        Ok(mut response) => {
                            let watch = self.watch(caller, pinned, &response, Held::Nothing);
                            response.body_mut().wrap(watch);
                            Ok(response)
                        }
                        Err(error) => Err(self.stage_failed(caller, &mut way, error)),
                    });
                }
                State::Unfit => return Poll::Ready(Err(self.unfit(caller))),
                State::Done => return Poll::Pending,
            }
        }
    }
}
