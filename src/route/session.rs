//! Sessions: a caller stays with the endpoint that has answered it first (gRFC A55, Envoy's
//! stateful sessions). A cookie or a header carries the endpoint's address.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Request, header::SET_COOKIE};

use super::hash::{attributes_of, value_of};
use crate::config::{self, Address};

/// A compiled session.
#[derive(Debug)]
pub(crate) struct Session {
    /// At least one; the first that names an endpoint decides.
    carriers: Vec<Carrier>,
    pub(crate) strict: bool,
}

#[derive(Debug)]
enum Carrier {
    Cookie {
        name: String,
        /// The paths that it is for; empty: all.
        path: String,
        /// What follows the value.
        rest: String,
    },
    Header(HeaderName),
}

impl Session {
    /// Compiles a validated session.
    pub(crate) fn new(session: &config::Session) -> Option<Self> {
        let cookie = session.cookie.as_ref().map(|cookie| Carrier::Cookie {
            name: cookie.name.clone(),
            path: cookie.path.clone().unwrap_or_default(),
            rest: attributes_of(cookie.ttl, cookie.path.as_deref(), &cookie.attributes),
        });
        let header = session.header.as_ref().and_then(|name| HeaderName::try_from(name).ok());
        let carriers: Vec<_> = cookie.into_iter().chain(header.map(Carrier::Header)).collect();
        let strict = session.strict == Some(true);
        (!carriers.is_empty()).then_some(Self { carriers, strict })
    }

    /// Whether requests of this path have such a session.
    pub(crate) fn is_for(&self, path: &str) -> bool {
        self.carriers.iter().any(|carrier| carrier.is_for(path))
    }

    /// The endpoint that a request names. Nonsense names none.
    pub(crate) fn named<B>(&self, request: &Request<B>) -> Option<Address> {
        let path = request.uri().path();
        let mut carriers = self.carriers.iter().filter(|carrier| carrier.is_for(path));
        carriers.find_map(|carrier| {
            let address = STANDARD.decode(carrier.text(request.headers())?).ok()?;
            std::str::from_utf8(&address).ok()?.parse().ok()
        })
    }

    /// Tells the caller who has answered, unless it has named it itself.
    pub(crate) fn tell(
        &self,
        headers: &mut HeaderMap,
        named: Option<&Address>,
        answered: &Address,
    ) {
        if named == Some(answered) {
            return;
        }
        let value = STANDARD.encode(answered.to_string());
        for carrier in &self.carriers {
            carrier.tell(headers, &value);
        }
    }
}

impl Carrier {
    //= Envoy CookieBasedSessionStateFactory: by whole elements of the path
    fn is_for(&self, path: &str) -> bool {
        match self {
            Self::Cookie { path: prefix, .. } => {
                path.strip_prefix(prefix.as_str()).is_some_and(|rest| {
                    prefix.is_empty()
                        || prefix.ends_with('/')
                        || rest.is_empty()
                        || rest.starts_with('/')
                })
            }
            Self::Header(_) => true,
        }
    }

    fn text<'a>(&self, headers: &'a HeaderMap) -> Option<&'a [u8]> {
        match self {
            Self::Cookie { name, .. } => Some(value_of(headers, name)?.as_bytes()),
            Self::Header(name) => Some(headers.get(name)?.as_bytes()),
        }
    }

    fn tell(&self, headers: &mut HeaderMap, value: &str) {
        match self {
            Self::Cookie { name, rest, .. } => {
                if let Ok(cookie) = HeaderValue::try_from(format!("{name}={value}{rest}")) {
                    headers.append(SET_COOKIE, cookie);
                }
            }
            Self::Header(name) => {
                if let Ok(value) = HeaderValue::try_from(value) {
                    headers.insert(name, value);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "session/tests.rs"]
mod tests;
