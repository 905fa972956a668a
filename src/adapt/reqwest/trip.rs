//! Where a request is on its way, and what its next hop is made from. No I/O.

use std::time::Duration;

use bytes::Bytes;
use http::{
    Extensions, HeaderMap, Method, Request, StatusCode, Version,
    header::{LOCATION, REFERER},
};
use reqwest::Url;

use super::{
    client::Settings,
    content::Content,
    redirect::{self, Attempt, Decision},
};
use crate::core::{Body, Call, Error, ErrorKind, Instant, Origin, Phase, earliest};

/// A request under way: the URL that it is at, and those where it has been.
pub(super) struct Trip {
    pub(super) url: Url,
    previous: Vec<Url>,
    call: Option<Call>,
    timeout: Option<Duration>,
    /// Of all hops together; set by the first poll.
    deadline: Option<Instant>,
    started: bool,
    /// What a redirect would need, if any may be followed.
    kept: Option<Kept>,
    been: Been,
}

/// What a request has been.
#[derive(Clone, Copy, Default)]
struct Been {
    /// It has been led to another host: credentials stay behind.
    crossed: bool,
    /// It has been sent to a name outside of the mesh.
    outside: bool,
    /// It has been `https`, or sent over a secured connection: it does not go on in clear by default.
    secured: bool,
}

struct Kept {
    method: Method,
    headers: HeaderMap,
    version: Version,
    extensions: Extensions,
    /// Nothing if it streams.
    body: Option<Bytes>,
}

/// What to do about a redirect's target that the mesh does not have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Target {
    /// The mesh's, or not known yet.
    Mesh,
    /// The wrapped client may call it.
    Allowed,
    /// Nobody may.
    Refused,
}

// === impl Trip ===

impl Trip {
    /// Takes a request apart.
    pub(super) fn begin(
        mut request: reqwest::Request,
        call: Option<Call>,
        settings: &Settings,
    ) -> Result<(Self, Request<Content>), Error> {
        check_scheme(request.url(), settings)?;
        strip_user(request.url_mut());
        let timeout = request.timeout().copied().or(settings.timeout);
        let url = request.url().clone();
        let mut request = Request::<reqwest::Body>::try_from(request)?.map(Content::of);
        let carried = request.extensions_mut().remove::<Call>();
        let trip = Self {
            url,
            previous: Vec::new(),
            call: call.or(carried),
            timeout,
            deadline: None,
            started: false,
            kept: None,
            been: Been::default(),
        };
        Ok((trip, request))
    }

    /// Begins the time of the request, at its first poll.
    pub(super) fn start(&mut self) {
        if self.started {
            return;
        }
        self.started = true;
        let own = self.call.as_ref().and_then(|call| call.timeout);
        let timeout = match (self.timeout, own) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let inherited = self.call.as_ref().and_then(|call| call.deadline);
        let at = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.deadline = earliest(at, inherited);
    }

    /// What was inherited of a bound that ends at the head.
    pub(super) fn inherited(&self) -> Option<Instant> {
        self.call.as_ref().and_then(|call| call.head)
    }

    /// When the head of the last response has to be there.
    pub(super) fn head_by(&self) -> Option<Instant> {
        earliest(self.deadline, self.inherited())
    }

    pub(super) fn was_outside(&self) -> bool {
        self.been.outside
    }

    /// Whether it is not to go in clear where nobody has said that it may.
    pub(super) fn is_secured(&self) -> bool {
        self.been.secured
    }

    /// It has been sent over a secured connection.
    pub(super) fn secure(&mut self) {
        self.been.secured = true;
    }

    /// The error of a way from outside into the mesh.
    pub(super) fn led_in(&self, url: &Url) -> Error {
        let host = url.host_str().unwrap_or_default();
        self.astray(&format!(
            "a server outside of the mesh does not lead to `{host}`, a name of the mesh"
        ))
    }

    /// The next hop as a call through the mesh.
    pub(super) fn meshed(
        &mut self,
        mut request: Request<Content>,
        settings: &Settings,
    ) -> Request<Body> {
        self.keep(&request, settings);
        self.write_referer(request.headers_mut(), settings);
        let headers = request.headers_mut();
        for name in settings.headers.keys() {
            let stays = self.been.crossed && redirect::is_credential(name);
            if !stays && !headers.contains_key(name) {
                for value in settings.headers.get_all(name) {
                    headers.append(name, value.clone());
                }
            }
        }
        #[cfg(feature = "reqwest-013-cookies")]
        if let Some(store) = &settings.cookies
            && !headers.contains_key(http::header::COOKIE)
            && let Some(cookies) = store.cookies(&self.url)
        {
            headers.insert(http::header::COOKIE, cookies);
        }
        if self.call.is_some() || self.deadline.is_some() {
            let mut call = self.call.clone().unwrap_or_default();
            call.deadline = self.deadline;
            request.extensions_mut().insert(call);
        }
        request.map(Body::from)
    }

    /// The next hop as a request of the wrapped client.
    pub(super) fn plain(
        &mut self,
        mut request: Request<Content>,
        settings: &Settings,
    ) -> Result<reqwest::Request, Error> {
        self.been.outside = true;
        self.keep(&request, settings);
        self.write_referer(request.headers_mut(), settings);
        let mut request = reqwest::Request::try_from(request.map(reqwest::Body::from))?;
        let now = Instant::now();
        if self.head_by().is_some_and(|at| at <= now) {
            return Err(Error::new(ErrorKind::Timeout, Phase::Request)
                .detail("no time was left to call a name outside of the mesh"));
        }
        // reqwest's own reaches to the end of the body.
        if let Some(at) = self.deadline {
            *request.timeout_mut() = Some(at.saturating_duration_since(now));
        }
        Ok(request)
    }

    fn keep(&mut self, request: &Request<Content>, settings: &Settings) {
        if !settings.redirect.may_follow() {
            return;
        }
        self.kept = Some(Kept {
            method: request.method().clone(),
            headers: request.headers().clone(),
            version: request.version(),
            extensions: request.extensions().clone(),
            body: match request.body() {
                Content::Whole(bytes) => Some(bytes.clone()),
                Content::Stream(_) => None,
            },
        });
    }

    fn write_referer(&self, headers: &mut HeaderMap, settings: &Settings) {
        if settings.referer
            && let Some(previous) = self.previous.last()
            && let Some(referer) = redirect::referer(&self.url, previous)
        {
            headers.insert(REFERER, referer);
        }
    }

    /// Notes the cookies of a response of the mesh.
    #[cfg(feature = "reqwest-013-cookies")]
    pub(super) fn note_cookies(&self, headers: &HeaderMap, settings: &Settings) {
        if let Some(store) = &settings.cookies {
            let mut cookies = headers.get_all(http::header::SET_COOKIE).iter().peekable();
            if cookies.peek().is_some() {
                store.set_cookies(&mut cookies, &self.url);
            }
        }
    }

    /// The hop that a response leads to; nothing if it is the answer.
    pub(super) fn follow(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        settings: &Settings,
        target: impl FnOnce(&Url) -> Target,
    ) -> Result<Option<Request<Content>>, Error> {
        let Some(mut kept) = self.kept.take() else { return Ok(None) };
        let Some((method, keeps_body)) = redirect::method(status, &kept.method) else {
            return Ok(None);
        };
        let location =
            headers.get(LOCATION).and_then(|value| str::from_utf8(value.as_bytes()).ok());
        let Some(mut next) = location.and_then(|location| self.url.join(location).ok()) else {
            return Ok(None);
        };
        let body = match kept.body {
            Some(body) if keeps_body => body,
            // What has streamed away cannot be sent again.
            None if keeps_body => return Ok(None),
            _ => {
                redirect::drop_payload(&mut kept.headers);
                Bytes::new()
            }
        };
        strip_user(&mut next);
        self.previous.push(self.url.clone());
        let attempt = Attempt::new(status, &next, &self.previous);
        match settings.redirect.redirect(attempt).0 {
            Decision::Follow => {}
            Decision::Stop => return Ok(None),
            Decision::Fail(error) => {
                return Err(self.astray("not allowed by the redirect policy").caused_by(error));
            }
        }
        if let Err(error) = check_scheme(&next, settings) {
            return Err(self.astray("its scheme is not allowed").caused_by(error));
        }
        let host = next.host_str().unwrap_or_default();
        match target(&next) {
            Target::Refused if settings.redirect.returns_outside() => return Ok(None),
            Target::Refused => {
                return Err(self.astray(&format!("it leads to `{host}`, outside of the mesh")));
            }
            Target::Mesh if self.been.outside => {
                return Err(self.led_in(&next));
            }
            Target::Mesh | Target::Allowed => {}
        }
        if let Some(previous) = self.previous.last() {
            self.been.crossed |= redirect::drop_credentials(&mut kept.headers, &next, previous);
        }
        let mut request = Request::new(Content::Whole(body));
        *request.uri_mut() = next.as_str().parse().map_err(|error: http::uri::InvalidUri| {
            self.astray("its target cannot be requested").caused_by(error)
        })?;
        *request.method_mut() = method;
        *request.version_mut() = kept.version;
        *request.headers_mut() = kept.headers;
        *request.extensions_mut() = kept.extensions;
        self.been.secured |= self.url.scheme() == "https";
        self.url = next;
        Ok(Some(request))
    }

    /// A redirect that is not followed.
    fn astray(&self, why: &str) -> Error {
        Error::new(ErrorKind::Redirect, Phase::Headers)
            .with_origin(Origin::Endpoint)
            .service(&self.url.authority().into())
            .detail(why)
    }

    /// Says how an error's call came about.
    pub(super) fn explain(&self, error: Error) -> Error {
        match self.previous.last() {
            None => error,
            Some(from) => error.noted(&format!("redirected there by `{}`", from.authority())),
        }
    }
}

/// Puts what a call asks for into a request; its extensions are reached by `http::Request` alone.
pub(super) fn carry(request: reqwest::Request, call: Call) -> Result<reqwest::Request, Error> {
    let (url, is_empty) = (request.url().clone(), request.body().is_none());
    let mut request = Request::<reqwest::Body>::try_from(request)?;
    request.extensions_mut().insert(call);
    let mut request = reqwest::Request::try_from(request)?;
    *request.url_mut() = url;
    if is_empty {
        *request.body_mut() = None;
    }
    Ok(request)
}

fn check_scheme(url: &Url, settings: &Settings) -> Result<(), Error> {
    let error =
        |detail: String| Err(Error::new(ErrorKind::InvalidRequest, Phase::Resolve).detail(detail));
    match url.scheme() {
        "https" => Ok(()),
        "http" if settings.https_only => error("the URL is not https, as `https_only` asks".into()),
        "http" => Ok(()),
        scheme => error(format!("the scheme `{scheme}` is neither http nor https")),
    }
}

/// A user has no place in the name of a service; [`Client::request`](super::Client::request) has
/// made a header of it.
fn strip_user(url: &mut Url) {
    if !url.username().is_empty() || url.password().is_some() {
        let _no_host = url.set_username("").and_then(|()| url.set_password(None));
    }
}
