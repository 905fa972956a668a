//! The response of a request: its hops one after the other.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderMap, Request, Response, StatusCode};
use pin_project::pin_project;
use reqwest::{ResponseBuilderExt, Url};
use tokio::time::Sleep;
use tower_service::Service;

use super::{
    client::{Client, Inner},
    content::{self, Content, Prompt},
    send::Sent,
    trip::{Target, Trip},
};
use crate::{
    core::{BoxFuture, Call, Error, ErrorKind, Instant, Phase},
    mesh::Whose,
};

/// The response of a request that was sent by a [`Client`].
///
/// It is lazy: nothing happens before its first poll.
///
/// # Cancel safety
///
/// Dropping it cancels the call.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture {
    client: Client,
    trip: Option<Trip>,
    #[pin]
    state: State,
    /// The read timeout of the wait for a head, armed only while it is awaited.
    #[pin]
    quiet: Option<Sleep>,
}

/// What the wrapped client gives.
type Plain = <reqwest::Client as Service<reqwest::Request>>::Future;

/// Whether it was waited for to know whose a hop's name is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Known {
    NotYet,
    /// Once is enough: should it still be in doubt, the name is the mesh's.
    Settled,
}

#[pin_project(project = StateProj)]
enum State {
    /// A hop that is to be made.
    Depart(Option<Request<Content>>, Known),
    /// Whether its name is the mesh's is not known yet. Boxed: only before every source has
    /// spoken, and only for names that may be called outside.
    Settle(BoxFuture<Result<(), Error>>, Option<Request<Content>>),
    Mesh(#[pin] Sent),
    Outside(#[pin] Plain),
    Failed(Option<Error>),
}

// === impl ResponseFuture ===

impl ResponseFuture {
    pub(super) fn new(client: Client, request: reqwest::Request, call: Option<Call>) -> Self {
        match Trip::begin(request, call, &client.0.settings) {
            Ok((trip, request)) => {
                let state = State::Depart(Some(request), Known::NotYet);
                Self { client, trip: Some(trip), state, quiet: None }
            }
            Err(error) => Self::failed(client, error),
        }
    }

    pub(super) fn failed(client: Client, error: Error) -> Self {
        Self { client, trip: None, state: State::Failed(Some(error)), quiet: None }
    }
}

impl Future for ResponseFuture {
    type Output = Result<reqwest::Response, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let inner = &*this.client.0;
        let settings = &inner.settings;
        loop {
            if let StateProj::Failed(error) = this.state.as_mut().project() {
                return error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error)));
            }
            let Some(trip) = this.trip else { return Poll::Pending };
            match this.state.as_mut().project() {
                StateProj::Failed(_) => return Poll::Pending,
                StateProj::Depart(request, known) => {
                    let Some(request) = request.take() else { return Poll::Pending };
                    trip.start();
                    let state = match whose(inner, &trip.url) {
                        // It was nobody's when the redirect was followed.
                        Whose::Mesh | Whose::Unsaid if trip.was_outside() => {
                            State::Failed(Some(trip.led_in(&trip.url)))
                        }
                        Whose::Unsaid if *known == Known::NotYet => {
                            let name = trip.url.authority();
                            let settled = inner.mesh.settled(name, trip.head_by());
                            State::Settle(settled, Some(request))
                        }
                        Whose::Mesh | Whose::Unsaid => {
                            let request = trip.meshed(request, settings);
                            State::Mesh(inner.sender.send(request, trip.is_secured()))
                        }
                        Whose::Nobody => match trip.plain(request, settings) {
                            Ok(request) => State::Outside(inner.plain.clone().call(request)),
                            Err(error) => State::Failed(Some(trip.explain(error))),
                        },
                    };
                    this.state.set(state);
                }
                StateProj::Settle(settled, request) => match ready!(settled.as_mut().poll(cx)) {
                    Ok(()) => {
                        let request = request.take();
                        this.state.set(State::Depart(request, Known::Settled));
                    }
                    Err(error) => {
                        this.state.set(State::Failed(None));
                        return Poll::Ready(Err(trip.explain(error)));
                    }
                },
                StateProj::Mesh(call) => {
                    let result = match (call.poll(cx), settings.read_timeout) {
                        (Poll::Ready(result), _) => result,
                        (Poll::Pending, None) => return Poll::Pending,
                        (Poll::Pending, Some(timeout)) => {
                            ready!(content::poll_quiet(this.quiet.as_mut(), timeout, cx));
                            Err(content::quiet(timeout, Phase::Headers))
                        }
                    };
                    this.quiet.set(None);
                    let result = result.map_err(|error| trip.explain(error));
                    let result = result.and_then(|response| {
                        #[cfg(feature = "reqwest-013-cookies")]
                        trip.note_cookies(response.headers(), settings);
                        let next = follow(inner, trip, response.status(), response.headers())?;
                        Ok((response, next))
                    });
                    match result {
                        Ok((_, Some(next))) => {
                            this.state.set(State::Depart(Some(next), Known::NotYet));
                        }
                        Ok((response, None)) => {
                            this.state.set(State::Failed(None));
                            let response = in_time(response, settings.read_timeout);
                            return Poll::Ready(Ok(named(response, trip.url.clone())));
                        }
                        Err(error) => {
                            this.state.set(State::Failed(None));
                            return Poll::Ready(Err(error));
                        }
                    }
                }
                StateProj::Outside(call) => {
                    let result = match (call.poll(cx), trip.inherited()) {
                        (Poll::Ready(result), _) => result.map_err(Error::from),
                        (Poll::Pending, None) => return Poll::Pending,
                        (Poll::Pending, Some(at)) => {
                            let left = at.saturating_duration_since(Instant::now());
                            ready!(content::poll_quiet(this.quiet.as_mut(), left, cx));
                            Err(Error::new(ErrorKind::Timeout, Phase::Headers)
                                .detail("the time that was inherited passed"))
                        }
                    };
                    this.quiet.set(None);
                    let result = result.map_err(|error| trip.explain(error));
                    let result = result.and_then(|response| {
                        let next = follow(inner, trip, response.status(), response.headers())?;
                        Ok((response, next))
                    });
                    match result {
                        Ok((_, Some(next))) => {
                            this.state.set(State::Depart(Some(next), Known::NotYet));
                        }
                        Ok((response, None)) => {
                            this.state.set(State::Failed(None));
                            return Poll::Ready(Ok(response));
                        }
                        Err(error) => {
                            this.state.set(State::Failed(None));
                            return Poll::Ready(Err(error));
                        }
                    }
                }
            }
        }
    }
}

/// Whose the target of a hop is; the mesh's, unless the wrapped client may call it.
fn whose(inner: &Inner, url: &Url) -> Whose {
    match &inner.settings.outside {
        Some(outside) if outside.allows(url) => inner.mesh.whose(url.authority()),
        _ => Whose::Mesh,
    }
}

/// The hop that a response leads to, if it does.
fn follow(
    inner: &Inner,
    trip: &mut Trip,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<Option<Request<Content>>, Error> {
    if status.is_redirection() && inner.mesh.secures(trip.url.authority()) {
        trip.secure();
    }
    trip.follow(status, headers, &inner.settings, |url| {
        let is_allowed = inner.settings.outside.as_ref().is_some_and(|names| names.allows(url));
        match inner.mesh.whose(url.authority()) {
            Whose::Nobody if is_allowed => Target::Allowed,
            Whose::Nobody => Target::Refused,
            Whose::Mesh | Whose::Unsaid => Target::Mesh,
        }
    })
}

/// Bounds each wait for a part of the body.
fn in_time(
    response: Response<reqwest::Body>,
    timeout: Option<Duration>,
) -> Response<reqwest::Body> {
    match timeout {
        None => response,
        Some(timeout) => response.map(|body| reqwest::Body::wrap(Prompt::new(body, timeout))),
    }
}

/// reqwest's response of ours; the way over `http::Response` keeps everything but the URL.
fn named(mut response: Response<reqwest::Body>, url: Url) -> reqwest::Response {
    if let Ok(named) = Response::builder().url(url).body(()) {
        let extensions = named.into_parts().0.extensions;
        response.extensions_mut().extend(extensions);
    }
    response.into()
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
