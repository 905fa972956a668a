//! Sessions: a caller stays with the endpoint that has answered it first (gRFC A55, Envoy's
//! stateful sessions). A cookie or a header carries the endpoint's address, where its route has several
//! clusters that of them which has answered (gRFC A60), and, where sessions end, since when it has been
//! there and when it was used last.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Request, header::SET_COOKIE};

use std::time::Duration;

use super::hash::{attributes_of, value_of};
use crate::config::{self, Address};

/// A compiled session.
#[derive(Debug)]
pub(crate) struct Session {
    /// At least one; the first that names an endpoint decides.
    carriers: Vec<Carrier>,
    pub(crate) strict: bool,
    /// The longest that it lives, and that it is unused. Seconds.
    absolute: Option<u64>,
    idle: Option<u64>,
}

/// A session as a request carries it. Times are seconds since 1970.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Named {
    pub(crate) address: Address,
    /// The cluster among several of its route.
    pub(crate) cluster: Option<String>,
    /// Since when it has been there; none of one that does not end.
    pub(crate) begun: Option<u64>,
    used: Option<u64>,
}

/// What stands between an address and the name of its cluster.
//= gRFC A60: Include Cluster Name in the Cookie
const CLUSTER: &str = ";cluster:";

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
        let seconds = |timeout: Option<Duration>| timeout.map(|it| it.as_secs().max(1));
        let (absolute, idle) = (seconds(session.absolute_timeout), seconds(session.idle_timeout));
        (!carriers.is_empty()).then_some(Self { carriers, strict, absolute, idle })
    }

    /// Whether it ends at a time.
    pub(crate) fn ends(&self) -> bool {
        self.absolute.is_some() || self.idle.is_some()
    }

    /// Whether requests of this path have such a session.
    pub(crate) fn is_for(&self, path: &str) -> bool {
        self.carriers.iter().any(|carrier| carrier.is_for(path))
    }

    /// What a request names. Nonsense names nothing, and so does what is over `now`, in seconds since
    /// 1970.
    pub(crate) fn named<B>(&self, request: &Request<B>, now: u64) -> Option<Named> {
        let path = request.uri().path();
        let mut carriers = self.carriers.iter().filter(|carrier| carrier.is_for(path));
        let named = carriers.find_map(|carrier| {
            let text = STANDARD.decode(carrier.text(request.headers())?).ok()?;
            Named::read(std::str::from_utf8(&text).ok()?, self.ends())
        })?;
        self.lasts(&named, now).then_some(named)
    }

    /// A time that is still to come is none that has passed: clocks differ.
    fn lasts(&self, named: &Named, now: u64) -> bool {
        let within = |since: Option<u64>, most: Option<u64>| match (since, most) {
            (_, None) => true,
            (Some(since), Some(most)) => now.saturating_sub(since) <= most,
            // It does not say how old it is.
            (None, Some(_)) => false,
        };
        within(named.begun, self.absolute) && within(named.used, self.idle)
    }

    /// Tells the caller who has answered, and of which cluster where its route has several; unless it has
    /// named both itself and need not be told of the time.
    pub(crate) fn tell(
        &self,
        headers: &mut HeaderMap,
        named: Option<&Named>,
        (answered, cluster): (&Address, Option<&str>),
        now: u64,
    ) {
        let same = named.filter(|named| named.address == *answered);
        if let Some(same) = same
            && (cluster.is_none() || same.cluster.as_deref() == cluster)
            && (self.idle.is_none() || same.used.is_some_and(|used| used >= now))
        {
            return;
        }
        let mut text = answered.to_string();
        // The path of a socket may look as if a cluster stood behind it: then one without a name does.
        if cluster.is_some() || text.contains(CLUSTER) {
            text.push_str(CLUSTER);
            text.push_str(cluster.unwrap_or_default());
        }
        if self.ends() {
            let begun = same.and_then(|same| same.begun).unwrap_or(now);
            text += &format!(";{begun};{now}");
        }
        let value = STANDARD.encode(text);
        for carrier in &self.carriers {
            carrier.tell(headers, &value);
        }
    }
}

impl Named {
    /// Any text may be the path of a socket: where sessions end, what stands behind it is its times.
    fn read(text: &str, ends: bool) -> Option<Self> {
        let (timed, plain) = (|| Self::timed(text), || Self::plain(text));
        // What stands behind the name of a cluster is its times as well.
        if ends || text.contains(CLUSTER) { timed().or_else(plain) } else { plain().or_else(timed) }
    }

    fn plain(text: &str) -> Option<Self> {
        // In the path of a socket it may stand, too; in other addresses only behind them.
        let is_socket = text.starts_with("unix:");
        let parts = if is_socket { text.rsplit_once(CLUSTER) } else { text.split_once(CLUSTER) };
        let (address, cluster) = parts.unwrap_or((text, ""));
        let cluster = (!cluster.is_empty()).then(|| cluster.to_owned());
        Some(Self { address: address.parse().ok()?, cluster, begun: None, used: None })
    }

    fn timed(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(3, ';');
        let (used, begun) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { begun: Some(begun), used: Some(used), ..Self::plain(parts.next()?)? })
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
            Self::Cookie { name, .. } => value_of(headers, name),
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
