//! What the fuzz target of sessions reaches. Compiled under `--cfg fuzzing` only.

#![allow(clippy::panic, clippy::expect_used, reason = "a finding is a panic")]

use std::time::Duration;

use http::{
    HeaderMap, HeaderValue, Request,
    header::{COOKIE, SET_COOKIE},
};

use super::{Hashing, Session, hash::Beside};
use crate::config::{self, Address, HashCookie, HashOn, HashPolicy, SessionCookie};

/// Seconds since 1970.
const NOW: u64 = 1_000_000;

/// A session: a byte that says how it is carried and whether it ends, and lines: the endpoint that answers,
/// and what the request carries. What is told is named by the next request, once, and not for ever; a
/// cookie that is made to hash by hashes the same when it comes back.
pub fn session(bytes: &[u8]) {
    let Some((flags, rest)) = bytes.split_first() else { return };
    let mut lines = rest.split(|byte| *byte == b'\n');
    let answered = lines.next().and_then(|line| std::str::from_utf8(line).ok());
    let Some(Ok(answered)) = answered.map(str::parse::<Address>) else { return };
    let mut cookie = SessionCookie::default();
    (cookie.name, cookie.path) = ("at".to_owned(), Some("/shop".to_owned()));
    let time = |bit: u8| (flags & bit != 0).then_some(Duration::from_secs(100));
    let session = Session::new(&config::Session {
        cookie: (flags & 1 == 0).then_some(cookie),
        header: (flags & 3 != 0).then(|| "x-at".to_owned()),
        absolute_timeout: time(4),
        idle_timeout: time(8),
        ..config::Session::default()
    });
    let session = session.expect("something carries it");
    let plain = || Request::get("/shop/1").body(()).expect("a request");
    let mut request = plain();
    for line in lines.take(16) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            request.headers_mut().append(COOKIE, value.clone());
            request.headers_mut().insert("x-at", value);
        }
    }
    let named = session.named(&request, NOW);
    let mut told = HeaderMap::new();
    session.tell(&mut told, named.as_ref(), (&answered, None), NOW);
    if told.is_empty() {
        assert_eq!(named.map(|named| named.address), Some(answered), "nobody is told");
    } else {
        let mut next = plain();
        if let Some(set) = told.get(SET_COOKIE) {
            next.headers_mut().insert(COOKIE, first_pair(set));
        }
        if let Some(value) = told.get("x-at") {
            next.headers_mut().insert("x-at", value.clone());
        }
        let again = session.named(&next, NOW).expect("what was told is named");
        assert_eq!(again.address, answered);
        let mut told = HeaderMap::new();
        session.tell(&mut told, Some(&again), (&answered, None), NOW);
        assert!(told.is_empty(), "it is told twice: {told:?}");
        assert_eq!(session.named(&next, NOW + 101).is_none(), session.ends());
    }
    hashed(request);
}

fn hashed(mut request: Request<()>) {
    let mut cookie = HashCookie::default();
    (cookie.name, cookie.generate) = ("at".to_owned(), true);
    let policies = [HashPolicy::header("x-at"), HashPolicy::new(HashOn::Cookie(cookie))];
    let hashing = Hashing::new(&policies);
    let hash = |request: &Request<()>| hashing.hash(request, Beside::default(), || 7);
    let first = hash(&request);
    assert!(first.hash.is_some());
    if let Some(set) = &first.set_cookie {
        request.headers_mut().insert(COOKIE, first_pair(set));
    }
    let again = hash(&request);
    assert!(again.set_cookie.is_none(), "it is made twice");
    assert_eq!(again.hash, first.hash);
}

/// A cookie as it comes back.
fn first_pair(set: &HeaderValue) -> HeaderValue {
    let pair = set.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    HeaderValue::from_bytes(pair).expect("what was a header's is one")
}
