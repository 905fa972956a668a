//! What becomes of an attempt that fails: its request, the word for its endpoint, and whether it may
//! have been worked on.

use super::{Attempt, Met, State, Way};
use crate::{
    balance::Outcome,
    core::{BoxError, Error, ErrorKind, Origin, Phase, Refusal, WireFailure},
    mesh::call::{Caller, first::outcome_of, refusals},
    resilience::{exchange, retry},
    transport::{ConnectError, SendError, prepare::no_upgrade},
};

impl Attempt {
    /// No connection was made.
    #[cold]
    pub(super) fn connect_failed(
        &mut self,
        caller: &Caller,
        way: &mut Way<'_>,
        error: ConnectError,
    ) -> Error {
        self.state = State::Done;
        let (outcome, is_refusal) = (outcome_of(&error), error.is_refusal());
        let error = Error::from(error);
        self.finish(caller, outcome, error.kind());
        self.original.restore(way.request, caller.https);
        self.met = if is_refusal { Met::Fatal } else { Met::NeverSent };
        if is_refusal { self.no_room(error) } else { error }
    }

    /// The protocol of its connection cannot carry it.
    #[cold]
    pub(super) fn unfit(&mut self, caller: &Caller) -> Error {
        self.state = State::Done;
        self.finish(caller, Outcome::Ignored, ErrorKind::InvalidRequest);
        self.met = Met::Fatal;
        no_upgrade()
    }

    /// The request, or the connection that it was sent on, has failed.
    pub(super) fn send_failed(
        &mut self,
        caller: &Caller,
        way: &mut Way<'_>,
        failure: SendError,
    ) -> Error {
        let SendError { kind, request, fresh, refused, source } = failure;
        *way.request = request;
        self.original.restore(way.request, caller.https);
        if let Some(refused) = refused {
            if let Some(node) = self.endpoint.as_ref().and_then(|endpoint| endpoint.extra()) {
                node.pool.refused(&refused);
            }
            let error = Error::from(refused);
            self.finish(caller, Outcome::Connect, error.kind());
            self.met = Met::NeverSent;
            return error;
        }
        if kind == WireFailure::NeverSent && fresh {
            // Its connections are worth nothing: no better than none.
            let node = self.endpoint.as_ref().and_then(|endpoint| endpoint.extra());
            let error = match node {
                Some(node) => Error::from(node.pool.closed_at_once()),
                None => Error::new(ErrorKind::Connect, Phase::Connect),
            };
            self.finish(caller, Outcome::Connect, error.kind());
            self.met = Met::NeverSent;
            return error.caused_by(source);
        }
        let (met, error, phase, outcome) = match kind {
            // A connection that was closed while idle says nothing about its endpoint.
            WireFailure::NeverSent => {
                (Met::NeverSent, ErrorKind::Transport, Phase::Request, Outcome::Ignored)
            }
            WireFailure::Refused => {
                (Met::Refused, ErrorKind::Refused, Phase::Headers, Outcome::Failure)
            }
            WireFailure::RequestBody => {
                (Met::Fatal, ErrorKind::RequestBody, Phase::Request, Outcome::Ignored)
            }
            WireFailure::Reset | WireFailure::Closed | WireFailure::Protocol => {
                (Met::Reset, ErrorKind::Transport, Phase::Headers, Outcome::Reset)
            }
        };
        self.finish(caller, outcome, error);
        let mut error = Error::new(error, phase).detail(kind.text());
        if kind != WireFailure::RequestBody {
            error = error.with_origin(Origin::Endpoint);
        }
        self.met = met;
        error.caused_by(source)
    }

    /// A layer or a leaf of the application has.
    pub(super) fn stage_failed(
        &mut self,
        caller: &Caller,
        way: &mut Way<'_>,
        error: BoxError,
    ) -> Error {
        let met = exchange::classify::failure(&*error);
        let stages = &caller.inner.stages;
        let whose = match (stages.endpoint.is_some(), stages.leaf.is_some()) {
            (true, true) => "one of `endpoint_layer`, or the own leaf",
            (false, true) => "the own leaf",
            _ => "one of `endpoint_layer`",
        };
        let mut error = Error::from_layer(error, whose);
        // Our own transport alone gives requests back: what a leaf fails with is no request of this mesh.
        let unsent = error.take_unsent().filter(|_| stages.leaf.is_none());
        *way.request = unsent.map(|unsent| *unsent);
        self.original.restore(way.request, caller.https);
        // A limit of this mesh, or of a layer, has no room: no endpoint is to blame, nor is another asked.
        let is_refusal = error.refusal().is_some() && error.service_name().is_none();
        let met = match error.kind() {
            _ if is_refusal => Met::Fatal,
            _ if way.request.is_some() => Met::NeverSent,
            _ if error.is_worked_on() => Met::Reset,
            ErrorKind::Connect | ErrorKind::Identity => Met::NeverSent,
            ErrorKind::Refused => Met::Refused,
            ErrorKind::Transport => Met::Reset,
            // Another's error: what is known of it for sure; else it may have been worked on.
            ErrorKind::Layer => match met {
                Some(retry::Met::NeverSent) => Met::NeverSent,
                Some(retry::Met::Refused) => Met::Refused,
                _ => Met::Reset,
            },
            _ => Met::Fatal,
        };
        // A connection that was closed while idle says nothing about its endpoint.
        let blameless = met == Met::NeverSent && error.kind() == ErrorKind::Transport;
        let outcome = match (met, error.kind()) {
            _ if blameless || is_refusal => Outcome::Ignored,
            (_, ErrorKind::Shutdown) => Outcome::Ignored,
            // This mesh's own word of the request, not that of a mesh behind the leaf.
            (_, ErrorKind::InvalidRequest) if error.service_name().is_none() => Outcome::Ignored,
            (_, ErrorKind::Timeout) => Outcome::Timeout,
            (Met::NeverSent, _) => Outcome::Connect,
            (Met::Reset, _) => Outcome::Reset,
            _ => Outcome::Failure,
        };
        self.finish(caller, outcome, error.kind());
        self.met = met;
        if is_refusal && error.refusal() == Some(Refusal::MaxPending) {
            return self.no_room(error);
        }
        error
    }

    /// No more attempts may wait for a connection of its cluster.
    fn no_room(&self, error: Error) -> Error {
        let node = self.endpoint.as_ref().and_then(|endpoint| endpoint.extra());
        let Some(node) = node else { return error };
        node.meter.refused(Refusal::MaxPending);
        refusals::pending(error, node.meter.cluster())
    }
}
