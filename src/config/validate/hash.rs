//! Checks of what keeps calls with an endpoint: balancers that hash, what a request is hashed by,
//! sessions.

use std::{collections::BTreeMap, time::Duration};

use http::HeaderName;

use super::{Checker, NOT_YET, is_time};
use crate::config::{
    Balancer, HashCookie, HashFunction, HashHeader, HashOn, HashPolicy, Maglev, OverrideHost,
    OverrideSource, RegexRewrite, RingHash, Session, SessionCookie,
};

/// Entries that a ring may have (Envoy).
const RING: std::ops::RangeInclusive<u32> = 1..=8_388_608;
/// Entries that a maglev table may have (Envoy).
const TABLE: std::ops::RangeInclusive<u32> = 2..=5_000_011;
/// What stands where regular expressions are not compiled in.
#[cfg(not(feature = "regex"))]
const WITHOUT_REGEX: &str =
    "needs regular expressions, which are not compiled in: turn on the feature `regex`";
/// The shortest life of a session.
const SECOND: Duration = Duration::from_secs(1);
/// The last part of a path that may be hashed.
const LAST_SEGMENT: u32 = 63;

impl Checker {
    pub(super) fn ring_hash(&mut self, ring: &RingHash) {
        let RingHash {
            minimum_ring_size,
            maximum_ring_size,
            function,
            use_hostname: _,
            balance_percent,
            request_header,
            hash,
        } = ring;
        match function {
            HashFunction::XxHash | HashFunction::MurmurHash2 => {}
        }
        for (field, size) in
            [("minimum_ring_size", minimum_ring_size), ("maximum_ring_size", maximum_ring_size)]
        {
            if let Some(size) = size.filter(|size| !RING.contains(size)) {
                self.refuse(field, size, "must be in 1..=8388608");
            }
        }
        if ring.least() > ring.most() {
            let reason = format!("must be at most maximum_ring_size ({})", ring.most());
            self.refuse("minimum_ring_size", ring.least(), reason);
        }
        self.balance_percent(*balance_percent);
        if let Some(name) = request_header {
            self.header_name("request_header", name);
        }
        self.hash_policies(hash);
    }

    pub(super) fn maglev(&mut self, maglev: &Maglev) {
        let Maglev { table_size, use_hostname: _, balance_percent, hash } = maglev;
        if let Some(size) = *table_size
            && !(TABLE.contains(&size) && is_prime(size))
        {
            self.refuse("table_size", size, "must be a prime in 2..=5000011");
        }
        self.balance_percent(*balance_percent);
        self.hash_policies(hash);
    }

    fn balance_percent(&mut self, percent: Option<u32>) {
        if let Some(percent) = percent.filter(|percent| *percent < 100) {
            self.refuse("balance_percent", percent, "must be at least 100");
        }
    }

    pub(super) fn hash_policies(&mut self, policies: &[HashPolicy]) {
        self.each("hash", policies, |checker, HashPolicy { on, terminal: _ }| {
            checker.within("on", |checker| checker.hash_on(on));
        });
    }

    fn hash_on(&mut self, on: &HashOn) {
        match on {
            HashOn::SourceIp => {
                self.refuse("", "source_ip", "not supported yet: a call has no caller's address");
            }
            HashOn::Header(HashHeader { name, rewrite }) => self.within("header", |checker| {
                checker.header_name("name", name);
                if let Some(rewrite) = rewrite {
                    checker.within("rewrite", |checker| checker.rewrite(rewrite));
                }
            }),
            HashOn::Cookie(cookie) => self.within("cookie", |checker| checker.hash_cookie(cookie)),
            HashOn::Query(name) => {
                if name.is_empty() {
                    self.refuse("query", "", "must not be empty");
                }
            }
            HashOn::PathSegment(place) => {
                if *place > LAST_SEGMENT {
                    self.refuse("path_segment", place, "must be in 0..=63");
                }
            }
            HashOn::FilterState(key) => {
                if key != HashPolicy::CHANNEL {
                    self.refuse("filter_state", key, NOT_YET);
                }
            }
            HashOn::CallKey => {}
        }
    }

    #[cfg(feature = "regex")]
    fn rewrite(&mut self, rewrite: &RegexRewrite) {
        if let Err((field, reason)) = crate::config::Rewriter::new(rewrite) {
            let RegexRewrite { pattern, substitution } = rewrite;
            let value = if field == "pattern" { pattern } else { substitution };
            self.refuse(field, value, reason);
        }
    }

    #[cfg(not(feature = "regex"))]
    fn rewrite(&mut self, rewrite: &RegexRewrite) {
        self.refuse("", format!("{rewrite:?}"), WITHOUT_REGEX);
    }

    fn hash_cookie(&mut self, cookie: &HashCookie) {
        let HashCookie { name, ttl: _, generate: _, path, attributes } = cookie;
        self.cookie(name, path.as_deref(), attributes);
    }

    fn cookie(&mut self, name: &str, path: Option<&str>, attributes: &BTreeMap<String, String>) {
        self.cookie_name(name);
        self.cookie_text("path", path.unwrap_or_default());
        for (name, value) in attributes {
            self.cookie_text("attributes", name);
            self.cookie_text("attributes", value);
        }
    }

    //= RFC 6265 §4.1.1: a token
    fn cookie_name(&mut self, name: &str) {
        // Header names are tokens, too.
        if HeaderName::try_from(name).is_err() {
            self.refuse("name", name, "must be the name of a cookie");
        }
    }

    //= RFC 6265 §4.1.1: any character but controls and semicolons
    fn cookie_text(&mut self, field: &str, text: &str) {
        let fits = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b';';
        if !text.bytes().all(fits) {
            self.refuse(field, text, "must be printable ASCII without semicolons");
        }
    }

    pub(super) fn session(&mut self, session: &Session) {
        let Session { name: _, cookie, header, strict: _, absolute_timeout, idle_timeout } =
            session;
        if cookie.is_none() && header.is_none() {
            self.refuse("", "{}", "needs a `cookie` or a `header`");
        }
        if let Some(name) = header {
            self.header_name("header", name);
        }
        if let Some(SessionCookie { name, path, ttl: _, attributes }) = cookie {
            self.within("cookie", |checker| checker.cookie(name, path.as_deref(), attributes));
        }
        for (field, timeout) in
            [("absolute_timeout", absolute_timeout), ("idle_timeout", idle_timeout)]
        {
            // A session counts in whole seconds.
            if let Some(timeout) = timeout.filter(|it| *it < SECOND || !is_time(*it)) {
                self.refuse(field, format!("{timeout:?}"), "must be in 1 s..=365 days");
            }
        }
    }

    pub(super) fn override_host(&mut self, over: &OverrideHost) {
        let OverrideHost { sources, fallback, health: _ } = over;
        self.each("sources", sources, |checker, source| match source {
            OverrideSource::Session => {}
            OverrideSource::Header(name) => checker.header_name("header", name),
            OverrideSource::Metadata(_) => checker.refuse("", "metadata", NOT_YET),
        });
        match &**fallback {
            Balancer::OverrideHost(_) => {
                self.refuse("fallback", "override_host", "must be another balancer");
            }
            fallback => self.within("fallback", |checker| checker.balancer(fallback)),
        }
    }

    fn header_name(&mut self, field: &str, name: &str) {
        if HeaderName::try_from(name).is_err() {
            self.refuse(field, name, "must be the name of a header");
        }
    }
}

fn is_prime(number: u32) -> bool {
    let number = u64::from(number);
    number >= 2 && (2..).take_while(|by| by * by <= number).all(|by| !number.is_multiple_of(by))
}

#[cfg(test)]
mod tests {
    use super::is_prime;

    #[test]
    fn primes() {
        let primes: Vec<u32> = (0..30).filter(|number| is_prime(*number)).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert!(is_prime(65_537) && is_prime(5_000_011) && is_prime(4_294_967_291));
        assert!(!is_prime(65_536) && !is_prime(5_000_009) && !is_prime(u32::MAX));
    }
}
