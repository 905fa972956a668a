//! The request of an attempt on its way, and what it becomes again when it is given back.

use std::pin::Pin;

use http::{Request, Version};

use super::State;
use crate::{
    core::Outgoing,
    mesh::{
        call::head::{self, Head},
        cluster::Node,
    },
    transport::{Lease, SendFuture},
};

/// What an attempt is made with and on, in the call's hands.
pub(crate) struct Way<'a> {
    /// The request, until it is sent.
    pub(crate) request: &'a mut Option<Request<Outgoing>>,
    /// hyper's future, from then on.
    pub(crate) sent: Pin<&'a mut Option<SendFuture>>,
}

/// What a request was before its endpoint changed it: one that is given back becomes it again.
pub(super) struct Original {
    pub(super) version: Version,
    /// Kept only where layers or an authority of the endpoint's own change it, and it may come back.
    pub(super) head: Option<Box<Head>>,
}

// === impl Way ===

impl Way<'_> {
    #[inline(always)]
    pub(super) fn send(&mut self, lease: Lease, endpoint: &str) -> State {
        if let Some(request) = &mut self.request
            && !lease.prepare(request, endpoint)
        {
            return State::Unfit;
        }
        self.sent.set(self.request.take().map(|request| lease.send(request)));
        State::Send
    }
}

// === impl Original ===

impl Original {
    /// Nothing comes back from an own leaf.
    pub(super) fn of(
        request: &Request<Outgoing>,
        node: &Node,
        is_named: bool,
        is_to_leaf: bool,
    ) -> Self {
        let changes = is_named || node.authority.is_some() || node.stage.is_some();
        let head = (changes && !is_to_leaf).then(|| Box::new(Head::of(request)));
        Self { version: request.version(), head }
    }

    /// What was given back, if anything was, becomes what it was.
    #[cold]
    pub(super) fn restore(&mut self, given: &mut Option<Request<Outgoing>>, https: bool) {
        let Some(given) = given else { return };
        *given.version_mut() = self.version;
        match self.head.take() {
            Some(head) => *given = head.request(std::mem::take(given.body_mut())),
            // Its protocol has taken or set them.
            None => head::restore_scheme(given, https),
        }
    }
}
