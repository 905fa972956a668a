//! What a request is hashed by, for balancers that hash.
//!
//! The rules are Envoy's (`hash_policy.cc`), so that a sidecar and this mesh send the same request to
//! the same endpoint.

mod told;

use std::{collections::BTreeMap, hash::Hasher, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use twox_hash::XxHash64;

#[cfg(feature = "regex")]
use crate::config::Rewriter;
use crate::{
    config::{HashCookie, HashOn, HashPolicy},
    core::uri::parameter,
};

pub(crate) use self::told::{HashKey, KeyFound};

/// A compiled list of hash policies.
#[derive(Debug, Default)]
pub(crate) struct Hashing {
    parts: Box<[Part]>,
    /// One of them is the key that the call gives: else that key stands for all of them.
    reads_key: bool,
}

#[derive(Debug)]
struct Part {
    on: On,
    terminal: bool,
}

#[derive(Debug)]
enum On {
    /// Its values sorted, each hashed with the hash of those before it as the seed (Envoy).
    Header(HeaderName),
    /// The same of what its values become.
    #[cfg(feature = "regex")]
    Rewritten(Box<(HeaderName, Rewriter)>),
    /// Its values joined by commas (gRFC A76).
    Joined(HeaderName),
    Cookie(Box<Cookie>),
    Query(String),
    Segment(usize),
    Channel,
    CallKey,
}

#[derive(Debug)]
struct Cookie {
    name: String,
    /// What follows the value in a cookie that is made.
    made: Option<String>,
}

/// What a request does not say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Beside {
    /// The key of the call itself.
    pub(crate) key: Option<u64>,
    /// A number of the mesh's own, the same for all of its calls.
    pub(crate) channel: u64,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Hashed {
    /// None: nothing that is hashed is there.
    pub(crate) hash: Option<u64>,
    /// The cookie that was made: the response sets it.
    pub(crate) set_cookie: Option<Box<HeaderValue>>,
}

// === impl Hashing ===

impl Hashing {
    /// Compiles a validated list; what cannot be compiled gives no hash.
    pub(crate) fn new(policies: &[HashPolicy]) -> Self {
        let parts = policies.iter().filter_map(|policy| {
            On::new(&policy.on).map(|on| Part { on, terminal: policy.terminal })
        });
        let parts: Box<[_]> = parts.collect();
        let reads_key = parts.iter().any(|part| matches!(part.on, On::CallKey));
        Self { parts, reads_key }
    }

    /// By one header, whose values are joined.
    pub(crate) fn by_header(name: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).ok();
        let parts = name.map(|name| Part { on: On::Joined(name), terminal: true });
        Self { parts: parts.into_iter().collect(), reads_key: false }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Hashes a request; `random` makes the value of a cookie.
    //= Envoy HashPolicyImpl::generateHash: each hash is combined with the rotated one before it; a
    //= terminal policy is the last once there is a hash
    pub(crate) fn hash<B>(
        &self,
        request: &Request<B>,
        beside: Beside,
        random: impl Fn() -> u64,
    ) -> Hashed {
        let mut hashed = Hashed::default();
        if let Some(key) = beside.key
            && !self.reads_key
        {
            hashed.hash = Some(of_key(key));
            return hashed;
        }
        for part in &self.parts {
            if let Some(new) = part.on.hash(request, beside, &random, &mut hashed.set_cookie) {
                hashed.hash = Some(hashed.hash.unwrap_or(0).rotate_left(1) ^ new);
            }
            if part.terminal && hashed.hash.is_some() {
                break;
            }
        }
        hashed
    }
}

// === impl On ===

impl On {
    fn new(on: &HashOn) -> Option<Self> {
        Some(match on {
            HashOn::Header(header) => {
                let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
                match &header.rewrite {
                    None => Self::Header(name),
                    #[cfg(feature = "regex")]
                    Some(rewrite) => {
                        Self::Rewritten(Box::new((name, Rewriter::new(rewrite).ok()?)))
                    }
                    // Refused by validation.
                    #[cfg(not(feature = "regex"))]
                    Some(_) => return None,
                }
            }
            HashOn::Cookie(cookie) => Self::Cookie(Box::new(Cookie::new(cookie))),
            HashOn::Query(name) => Self::Query(name.clone()),
            HashOn::PathSegment(place) => Self::Segment(*place as usize),
            HashOn::FilterState(key) if key == HashPolicy::CHANNEL => Self::Channel,
            HashOn::CallKey => Self::CallKey,
            // Refused by validation.
            HashOn::SourceIp | HashOn::FilterState(_) => return None,
        })
    }

    fn hash<B>(
        &self,
        request: &Request<B>,
        beside: Beside,
        random: impl Fn() -> u64,
        set_cookie: &mut Option<Box<HeaderValue>>,
    ) -> Option<u64> {
        match self {
            Self::Header(name) => of_header(request.headers(), name),
            #[cfg(feature = "regex")]
            Self::Rewritten(by) => of_rewritten(request.headers(), &by.0, &by.1),
            Self::Joined(name) => of_joined(request.headers(), name),
            Self::Cookie(cookie) => match value_of(request.headers(), &cookie.name) {
                Some(value) => Some(of(value)),
                None => Some(of(cookie.make(random(), set_cookie)?.as_bytes())),
            },
            // Not decoded, as Envoy has it.
            Self::Query(name) => parameter(request, name).map(|value| of(value.as_bytes())),
            Self::Segment(place) => {
                let path = request.uri().path();
                let segment = path.strip_prefix('/').unwrap_or(path).split('/').nth(*place)?;
                (!segment.is_empty()).then(|| of(segment.as_bytes()))
            }
            Self::Channel => Some(beside.channel),
            Self::CallKey => beside.key.map(of_key),
        }
    }
}

// === impl Cookie ===

impl Cookie {
    fn new(cookie: &HashCookie) -> Self {
        let path = cookie.path.as_deref();
        let made = cookie.generate.then(|| attributes_of(cookie.ttl, path, &cookie.attributes));
        Self { name: cookie.name.clone(), made }
    }

    /// The value of a new cookie, if one is to be made.
    fn make(&self, word: u64, set_cookie: &mut Option<Box<HeaderValue>>) -> Option<String> {
        let rest = self.made.as_ref()?;
        let value = format!("{word:016x}");
        let header = HeaderValue::try_from(format!("{}={value}{rest}", self.name)).ok()?;
        *set_cookie = Some(Box::new(header));
        Some(value)
    }
}

/// What follows the value of a cookie that is set.
//= Envoy makeSetCookieValue; no script reads it
pub(super) fn attributes_of(
    ttl: Option<Duration>,
    path: Option<&str>,
    attributes: &BTreeMap<String, String>,
) -> String {
    let mut text = String::new();
    let seconds = ttl.map_or(0, |ttl| ttl.as_secs());
    if seconds > 0 {
        text += &format!("; Max-Age={seconds}");
    }
    if let Some(path) = path.filter(|path| !path.is_empty()) {
        text += &format!("; Path={path}");
    }
    for (name, value) in attributes {
        let equals = if value.is_empty() { "" } else { "=" };
        text += &format!("; {name}{equals}{value}");
    }
    if !attributes.keys().any(|name| name.eq_ignore_ascii_case("httponly")) {
        text += "; HttpOnly";
    }
    text
}

/// The value of the first cookie of this name, without quotes; none, if that is empty.
pub(crate) fn value_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    cookie_of(headers, name).filter(|value| !value.is_empty())
}

/// The same of one that may be empty. Cookies are bytes: one that is no text hides none of the others.
pub(super) fn cookie_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let lines = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    let mut pairs = lines.flat_map(|line| line.split(|byte| *byte == b';'));
    let value = pairs.find_map(|pair| {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let (key, value) = (parts.next()?, parts.next()?);
        (key.trim_ascii() == name.as_bytes()).then(|| value.trim_ascii())
    })?;
    let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    Some(bare.unwrap_or(value))
}

fn of(bytes: &[u8]) -> u64 {
    XxHash64::oneshot(0, bytes)
}

/// A key is hashed as its decimal text: as a header of that value.
fn of_key(key: u64) -> u64 {
    let mut digits = [0; 20];
    let (mut rest, mut at) = (key, digits.len());
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b"0123456789"[(rest % 10) as usize];
        (rest, at) = (rest / 10, place);
        if rest == 0 {
            break;
        }
    }
    of(digits.get(at..).unwrap_or_default())
}

//= Envoy HeaderHashMethod: sorted, so that their order changes nothing
fn of_header(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_none() {
        return Some(of(first.as_bytes()));
    }
    let mut values: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    values.sort_unstable();
    Some(values.into_iter().fold(0, XxHash64::oneshot))
}

//= Envoy HeaderHashMethod: rewritten one by one, and sorted after that
#[cfg(feature = "regex")]
fn of_rewritten(headers: &HeaderMap, name: &HeaderName, rewriter: &Rewriter) -> Option<u64> {
    let values = headers.get_all(name).iter().map(|value| rewriter.rewrite(value.as_bytes()));
    let mut values: Vec<_> = values.collect::<Option<_>>()?;
    values.sort_unstable();
    match values.as_slice() {
        [] => None,
        values => Some(values.iter().fold(0, |seed, value| XxHash64::oneshot(seed, value))),
    }
}

//= gRFC A76: multiple values are joined by commas
fn of_joined(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let mut values = headers.get_all(name).iter();
    let mut hasher = XxHash64::with_seed(0);
    hasher.write(values.next()?.as_bytes());
    for value in values {
        hasher.write(b",");
        hasher.write(value.as_bytes());
    }
    Some(hasher.finish())
}

#[cfg(test)]
#[path = "hash/tests.rs"]
mod tests;
