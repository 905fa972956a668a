//! What only few calls have: what keeps them with an endpoint, what is done to their response, terms of
//! their policy.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header::SET_COOKIE};

use super::{sticky::now, termed::Termed};
use crate::{
    balance::Over,
    config::Address,
    route::{Named, Session, Steps},
};

/// What few calls have, in a box of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rare {
    /// A cookie that was made for it: its response sets it.
    pub(super) set_cookie: Option<HeaderValue>,
    /// The endpoint that it names.
    pub(crate) over: Option<Over>,
    pub(super) session: Option<Arc<Session>>,
    /// What is done to its response.
    pub(super) steps: Option<Arc<Steps>>,
    /// What it has said of its session.
    pub(super) named: Option<Named>,
    /// What it keeps of its policy's terms.
    pub(super) termed: Option<Termed>,
}

// === impl Rare ===

impl Rare {
    /// Tells the caller what to come back with.
    pub(super) fn tell(self, headers: &mut HeaderMap, answered: Option<&Address>) {
        if let Some(termed) = &self.termed {
            termed.tell(headers);
        }
        if let Some(steps) = self.steps {
            steps.respond(headers);
        }
        if let Some(cookie) = self.set_cookie {
            headers.append(SET_COOKIE, cookie);
        }
        if let (Some(session), Some(answered)) = (self.session, answered) {
            // One that another source names is not told again either.
            let over = self.over.as_ref().map(|over| &over.address);
            let named = self.named.as_ref().filter(|named| over == Some(&named.address));
            if over == Some(answered) && named.is_none() {
                return;
            }
            session.tell(headers, named, answered, now(&session));
        }
    }

    pub(super) fn is_told_who(&self) -> bool {
        self.session.is_some()
    }
}
