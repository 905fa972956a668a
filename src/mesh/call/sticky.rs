//! What keeps a call with an endpoint: its hash, the endpoint that it names, its session.

use http::{HeaderValue, Request, Response, header::SET_COOKIE};
use std::{sync::Arc, time::SystemTime};

use super::{chosen::Made, termed::Termed};
use crate::{
    balance::Over,
    config::Address,
    core::{Body, Call, Outgoing},
    mesh::{cluster::Cluster, inner::Inner, service::Route},
    route::{HostOfEndpoint, Named, Seen, Session, Steps, hash::Beside},
};

/// What is rare of it, in a box of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sticky {
    /// A cookie that was made for it: its response sets it.
    set_cookie: Option<HeaderValue>,
    /// The same, of what its cluster was chosen by.
    pub(super) chosen_by: Option<HeaderValue>,
    /// The endpoint that it names.
    pub(crate) over: Option<Over>,
    session: Option<Arc<Session>>,
    pub(super) stepped: Option<Stepped>,
    /// What it has said of its session.
    named: Option<Named>,
    /// What it keeps of its policy's terms.
    pub(super) termed: Option<Termed>,
}

/// What its filters have still to do.
#[derive(Clone, Debug)]
pub(crate) struct Stepped {
    /// What is done to its response, and to the host of each attempt.
    pub(super) steps: Arc<Steps>,
    /// What it was sent as, where that is asked for.
    pub(super) seen: Option<Box<Seen>>,
}

/// Where a call is to go: its hash, and the rest.
pub(crate) type Stuck = (Option<u64>, Option<Box<Sticky>>);

/// Before anything changes the request's head.
#[cold]
pub(super) fn stick(
    inner: &Inner,
    cluster: &Cluster,
    route: &Route,
    request: &Request<Outgoing>,
) -> Stuck {
    let core = cluster.core.load();
    let (mut hash, mut sticky) = (None, Sticky::default());
    // The settings may have changed since it was asked whether there are any.
    if let Some(hashing) = &core.hashing {
        let key = request.extensions().get::<Call>().and_then(|call| call.hash_key);
        let beside = Beside { key, channel: inner.channel() };
        // What its cluster was chosen by was made for it: it is not made again.
        let made = || request.extensions().get::<Made>().filter(|_| !hashing.has_own());
        match route.choosing.as_ref().and_then(|_| made()) {
            Some(made) => hash = Some(made.hash),
            None => {
                let of_route = route.policy.hash.as_deref();
                let hashed = hashing.hash(of_route, request, beside, &inner.random);
                hash = hashed.hash;
                sticky.set_cookie = hashed.set_cookie.map(|cookie| *cookie);
            }
        }
    }
    let session = route.session.as_ref().filter(|it| it.is_for(request.uri().path()));
    if let Some(session) = session {
        sticky.named = session.named(request, now(session));
    }
    let said = session.and_then(|session| Some((&**session, sticky.named.as_ref()?)));
    sticky.over = core.overriding.over(said, request);
    sticky.session = session.cloned();
    let Sticky { set_cookie, chosen_by: _, over, session, named: _, stepped: _, termed: _ } =
        &sticky;
    let is_there = set_cookie.is_some() || over.is_some() || session.is_some();
    (hash, is_there.then(|| Box::new(sticky)))
}

impl Sticky {
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
            session.tell(headers, named, answered, now(&session));
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

/// Seconds since 1970, where sessions end: others that share them have another epoch.
pub(crate) fn now(session: &Session) -> u64 {
    if !session.ends() {
        return 0;
    }
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
