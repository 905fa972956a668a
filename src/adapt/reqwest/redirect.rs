//! Which redirects are followed, and what of a request goes with them.
//!
//! The types are named and used as reqwest's are. Its own cannot be asked by anybody else: an
//! attempt cannot be made, nor an action read, outside of it.

use std::fmt;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{
        AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST,
        PROXY_AUTHORIZATION, TRANSFER_ENCODING, WWW_AUTHENTICATE,
    },
};
use reqwest::Url;

use crate::core::BoxError;

/// Which redirects a [`Client`](super::Client) follows.
///
/// Default: [`Policy::limited`] to 10 (reqwest).
pub struct Policy {
    rule: Rule,
    returns_outside: bool,
}

enum Rule {
    Limited(usize),
    None,
    Custom(Box<dyn Fn(Attempt<'_>) -> Action + Send + Sync>),
}

/// A redirect that may be followed.
#[derive(Debug)]
pub struct Attempt<'a> {
    status: StatusCode,
    next: &'a Url,
    previous: &'a [Url],
}

/// What is done about a redirect.
#[derive(Debug)]
pub struct Action(pub(super) Decision);

#[derive(Debug)]
pub(super) enum Decision {
    Follow,
    Stop,
    Fail(BoxError),
}

/// There were more redirects than the policy allows.
#[derive(Debug)]
struct TooManyRedirects;

// === impl Policy ===

impl Policy {
    /// Follows at most so many redirects of one request; one more is an error.
    #[must_use]
    pub fn limited(max: usize) -> Self {
        Self { rule: Rule::Limited(max), returns_outside: false }
    }

    /// Follows none: the redirect is the response.
    #[must_use]
    pub fn none() -> Self {
        Self { rule: Rule::None, returns_outside: false }
    }

    /// Asks this function about each.
    pub fn custom<T>(policy: T) -> Self
    where
        T: Fn(Attempt<'_>) -> Action + Send + Sync + 'static,
    {
        Self { rule: Rule::Custom(Box::new(policy)), returns_outside: false }
    }

    /// Returns a redirect to a name that the mesh does not have, and that the wrapped client may
    /// not call, as the response that it is.
    ///
    /// Default: it is an error of kind [`Redirect`](crate::ErrorKind::Redirect).
    #[must_use]
    pub fn return_outside(mut self) -> Self {
        self.returns_outside = true;
        self
    }

    /// Asks the policy.
    #[must_use]
    pub fn redirect(&self, attempt: Attempt<'_>) -> Action {
        match &self.rule {
            // The first URL is where the request began.
            Rule::Limited(max) if attempt.previous.len() > *max => attempt.error(TooManyRedirects),
            Rule::Limited(_) => attempt.follow(),
            Rule::None => attempt.stop(),
            Rule::Custom(policy) => policy(attempt),
        }
    }

    /// Whether any redirect may be followed: only then is a copy of the request kept.
    pub(super) fn may_follow(&self) -> bool {
        !matches!(self.rule, Rule::None)
    }

    pub(super) fn returns_outside(&self) -> bool {
        self.returns_outside
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::limited(10)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule {
            Rule::Limited(max) => f.debug_tuple("Limited").field(max).finish(),
            Rule::None => f.write_str("None"),
            Rule::Custom(_) => f.write_str("Custom"),
        }
    }
}

// === impl Attempt ===

impl<'a> Attempt<'a> {
    pub(super) fn new(status: StatusCode, next: &'a Url, previous: &'a [Url]) -> Self {
        Self { status, next, previous }
    }

    /// The status of the redirect.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Where it leads.
    #[must_use]
    pub fn url(&self) -> &Url {
        self.next
    }

    /// Where the request has been, from its beginning.
    #[must_use]
    pub fn previous(&self) -> &[Url] {
        self.previous
    }

    /// Follows it.
    #[must_use]
    pub fn follow(self) -> Action {
        Action(Decision::Follow)
    }

    /// Returns it as the response that it is.
    #[must_use]
    pub fn stop(self) -> Action {
        Action(Decision::Stop)
    }

    /// Fails the request.
    pub fn error<E: Into<BoxError>>(self, error: E) -> Action {
        Action(Decision::Fail(error.into()))
    }
}

impl fmt::Display for TooManyRedirects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too many redirects")
    }
}

impl std::error::Error for TooManyRedirects {}

/// What a redirect makes of a request's method: the new one, and whether the body goes with it;
/// nothing for another status.
pub(super) fn method(status: StatusCode, method: &Method) -> Option<(Method, bool)> {
    //= RFC 9110 §15.4.2: a user agent may change POST to GET for 301 and 302, and all do
    //= RFC 9110 §15.4.4: 303 is retrieved by GET or HEAD
    match status {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND if *method == Method::POST => {
            Some((Method::GET, false))
        }
        StatusCode::SEE_OTHER if *method == Method::HEAD => Some((Method::HEAD, false)),
        StatusCode::SEE_OTHER => Some((Method::GET, false)),
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => Some((method.clone(), true)),
        _ => None,
    }
}

/// Takes off what describes a body that is not sent.
pub(super) fn drop_payload(headers: &mut HeaderMap) {
    for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING] {
        headers.remove(name);
    }
}

/// What is meant for one host alone.
pub(super) fn is_credential(name: &HeaderName) -> bool {
    const NAMES: [HeaderName; 4] = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, WWW_AUTHENTICATE];
    NAMES.contains(name) || *name == "cookie2"
}

/// Takes off what was meant for another host, for good: it does not come back at a later hop.
///
/// Whether there was another host.
pub(super) fn drop_credentials(headers: &mut HeaderMap, next: &Url, previous: &Url) -> bool {
    let is_same = next.host_str() == previous.host_str()
        && next.port_or_known_default() == previous.port_or_known_default()
        && next.scheme() == previous.scheme();
    if !is_same {
        let names: Vec<HeaderName> =
            headers.keys().filter(|name| is_credential(name) || **name == HOST).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
    !is_same
}

/// The URL that led here, without what it does not concern anybody to know.
pub(super) fn referer(next: &Url, previous: &Url) -> Option<HeaderValue> {
    //= RFC 9110 §10.1.3: no Referer in an unsecured request if the referring page was secured
    if next.scheme() == "http" && previous.scheme() == "https" {
        return None;
    }
    let mut referer = previous.clone();
    let _no_host = referer.set_username("").and_then(|()| referer.set_password(None));
    referer.set_fragment(None);
    referer.as_str().parse().ok()
}
