//! What only few calls have: what keeps them with an endpoint, what is done to their response, terms of
//! their policy.

use std::sync::Arc;

use http::{HeaderValue, Request, Response, header::SET_COOKIE};

use super::{sticky::now, termed::Termed};
use crate::{
    balance::Over,
    config::Address,
    core::Body,
    route::{HostOfEndpoint, Named, Seen, Session, Steps},
};

/// What few calls have, in a box of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rare {
    /// A cookie that was made for it: its response sets it.
    pub(super) set_cookie: Option<HeaderValue>,
    /// The same, of what its cluster was chosen by.
    pub(super) chosen_by: Option<HeaderValue>,
    /// The endpoint that it names.
    pub(crate) over: Option<Over>,
    pub(super) session: Option<Arc<Session>>,
    pub(super) stepped: Option<Stepped>,
    /// The cluster that its session is with, where its route has several.
    pub(super) of: Option<Arc<str>>,
    /// What it has said of its session.
    pub(super) named: Option<Named>,
    /// What it keeps of its policy's terms.
    pub(super) termed: Option<Termed>,
    /// What the caller has sent, where filters have changed it and it may still be asked for.
    pub(super) sent: Option<Box<Request<()>>>,
}

/// What its filters have still to do.
#[derive(Clone, Debug)]
pub(super) struct Stepped {
    /// What is done to its response, and to the host of each attempt.
    pub(super) steps: Arc<Steps>,
    /// What it was sent as, where that is asked for.
    pub(super) seen: Option<Box<Seen>>,
}

// === impl Rare ===

impl Rare {
    /// Tells the caller what to come back with.
    pub(super) fn tell(self, response: &mut Response<Body>, answered: Option<&Address>) {
        if let Some(termed) = &self.termed {
            termed.tell(response.headers_mut());
        }
        if let Some(Stepped { steps, seen }) = &self.stepped {
            steps.respond(response, seen.as_deref(), answered);
        }
        let headers = response.headers_mut();
        for cookie in [self.set_cookie, self.chosen_by].into_iter().flatten() {
            headers.append(SET_COOKIE, cookie);
        }
        if let (Some(session), Some(answered)) = (self.session, answered) {
            // One that another source names is not told again either.
            let over = self.over.as_ref().map(|over| &over.address);
            let named = self.named.as_ref().filter(|named| over == Some(&named.address));
            if over == Some(answered) && named.is_none() {
                return;
            }
            session.tell(headers, named, (answered, self.of.as_deref()), now(&session));
        }
    }

    /// Whether each attempt is for the host name of its endpoint.
    pub(crate) fn host_of_endpoint(&self) -> Option<HostOfEndpoint> {
        self.stepped.as_ref()?.steps.host_of_endpoint()
    }

    pub(super) fn is_told_who(&self) -> bool {
        self.session.is_some()
            || self.stepped.as_ref().is_some_and(|stepped| stepped.steps.asks_who())
    }
}
