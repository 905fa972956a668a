//! Vectors and rules of Envoy's `hash_policy_test.cc`, in our words.

use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::config::HashHeader;

fn header(name: &str) -> HashOn {
    HashOn::Header(HashHeader { name: name.into(), rewrite: None })
}

fn cookie(name: &str, generate: bool) -> HashCookie {
    HashCookie { name: name.into(), generate, ..HashCookie::default() }
}

fn hashing(parts: impl IntoIterator<Item = (HashOn, bool)>) -> Hashing {
    let policy = |(on, terminal)| HashPolicy { on, terminal };
    Hashing::new(&parts.into_iter().map(policy).collect::<Vec<_>>())
}

fn one(on: HashOn) -> Hashing {
    hashing([(on, false)])
}

fn request(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
    let request =
        headers.iter().fold(Request::get(uri), |it, (name, value)| it.header(*name, *value));
    request.body(()).unwrap()
}

fn hashed(hashing: &Hashing, request: &Request<()>) -> Hashed {
    hashing.hash(request, Beside { key: None, channel: 7 }, || 0x0123_4567_89ab_cdef)
}

fn hash(hashing: &Hashing, request: &Request<()>) -> Option<u64> {
    hashed(hashing, request).hash
}

#[test]
fn a_header_is_hashed_and_one_that_is_not_there_is_none() {
    let by = one(header("X-User"));
    assert_eq!(hash(&by, &request("/", &[("x-user", "foo")])), Some(3_728_699_739_546_630_719));
    assert_eq!(hash(&by, &request("/", &[("x-user", "")])), Some(17_241_709_254_077_376_921));
    assert_eq!(hash(&by, &request("/", &[("x-other", "foo")])), None);
}

/// `Hash.xxHashWithVector` of Envoy's `hash_test.cc`: foo, then bar.
#[test]
fn values_of_a_header_are_sorted_before_they_are_hashed() {
    let by = one(header("x"));
    for values in [[("x", "bar"), ("x", "foo")], [("x", "foo"), ("x", "bar")]] {
        let sorted = XxHash64::oneshot(of(b"bar"), b"foo");
        assert_eq!(hash(&by, &request("/", &values)), Some(sorted));
    }
    assert_eq!(XxHash64::oneshot(of(b"foo"), b"bar"), 17_745_830_980_996_999_794);
}

#[cfg(feature = "regex")]
#[test]
fn a_header_is_rewritten_before_it_is_hashed_and_before_its_values_are_sorted() {
    let rewrite = |pattern: &str, substitution: &str| {
        let (pattern, substitution) = (pattern.to_owned(), substitution.to_owned());
        let rewrite = Some(crate::config::RegexRewrite { pattern, substitution });
        one(HashOn::Header(HashHeader { name: "x".into(), rewrite }))
    };
    // Envoy's RouterMatcherHashPolicyTest.HashHeadersRegexSubstitution.
    let by = rewrite(r"^/(\w+)$", r"\1");
    let hashed = hash(&by, &request("/", &[("x", "/foo")]));
    assert_eq!(hashed, Some(3_728_699_739_546_630_719));
    assert_eq!(hash(&by, &request("/", &[("y", "/foo")])), None);
    let by = rewrite(r"^.-(\w+)$", r"\1");
    let sorted = XxHash64::oneshot(of(b"bar"), b"foo");
    assert_eq!(hash(&by, &request("/", &[("x", "a-foo"), ("x", "b-bar")])), Some(sorted));
    // What does not match stays; what is left of nothing is hashed all the same.
    assert_eq!(hash(&by, &request("/", &[("x", "foo")])), Some(of(b"foo")));
    assert_eq!(hash(&rewrite(".*", ""), &request("/", &[("x", "foo")])), Some(of(b"")));
}

#[test]
fn values_are_joined_by_commas_for_grpcs_request_header() {
    let by = Hashing::by_header("x");
    let two = request("/", &[("x", "foo"), ("x", "bar")]);
    assert_eq!(hash(&by, &two), Some(of(b"foo,bar")));
    assert_eq!(hash(&by, &request("/", &[("x", "foo")])), Some(of(b"foo")));
    assert_eq!(hash(&by, &request("/", &[])), None);
}

#[test]
fn the_first_query_parameter_of_its_name_is_hashed_as_it_stands() {
    let by = one(HashOn::Query("user".into()));
    for (uri, value) in [
        ("/?user=foo", Some("foo")),
        ("/?a=1&user=foo&user=bar", Some("foo")),
        ("/?user=a%20b", Some("a%20b")),
        ("/?user=a=b", Some("a=b")),
        ("/?user=&x", Some("")),
        ("/?user", Some("")),
        ("/?users=foo", None),
        ("/?use", None),
        ("/", None),
    ] {
        let expected = value.map(|value| of(value.as_bytes()));
        assert_eq!(hash(&by, &request(uri, &[])), expected, "{uri}");
    }
}

#[test]
fn a_part_of_the_path_is_hashed() {
    let by = one(HashOn::PathSegment(1));
    for (uri, value) in [
        ("/users/17", Some("17")),
        ("/users/17/orders?x=1", Some("17")),
        ("/users/", None),
        ("/users//x", None),
        ("/users", None),
        ("/", None),
    ] {
        let expected = value.map(|value: &str| of(value.as_bytes()));
        assert_eq!(hash(&by, &request(uri, &[])), expected, "{uri}");
    }
    let first = one(HashOn::PathSegment(0));
    assert_eq!(hash(&first, &request("/users/17", &[])), Some(of(b"users")));
    assert_eq!(hash(&first, &request("http://a/", &[])), None);
}

#[test]
fn a_cookie_is_hashed_wherever_it_stands() {
    let by = one(HashOn::Cookie(cookie("hash", false)));
    for lines in [
        &[("cookie", "hash=foo")][..],
        &[("cookie", "a=1; hash=foo; b=2")],
        &[("cookie", "a=1;hash=\"foo\"")],
        &[("cookie", "a=1"), ("cookie", "hash=foo")],
    ] {
        assert_eq!(hash(&by, &request("/", lines)), Some(of(b"foo")), "{lines:?}");
    }
    for lines in
        [&[("cookie", "hash=")][..], &[("cookie", "xhash=foo")], &[("cookie", "hash")], &[]]
    {
        let hashed = hashed(&by, &request("/", lines));
        assert!(hashed.hash.is_none() && hashed.set_cookie.is_none(), "{lines:?}");
    }
}

#[test]
fn a_cookie_is_hashed_beside_one_that_is_no_ascii_text() {
    let by = one(HashOn::Cookie(cookie("hash", true)));
    for (line, value) in [
        (&b"name=Jos\xc3\xa9; hash=foo"[..], &b"foo"[..]),
        (b"hash=foo; name=Jos\xe9", b"foo"),
        (b"na\xffme=x; hash=\"foo\"", b"foo"),
        (b"hash=Jos\xc3\xa9", "Jos\u{e9}".as_bytes()),
        (b"hash=Jos\xe9", b"Jos\xe9"),
    ] {
        let line = HeaderValue::from_bytes(line).unwrap();
        let request = Request::get("/").header("cookie", &line).body(()).unwrap();
        let hashed = hashed(&by, &request);
        assert_eq!(hashed.hash, Some(of(value)), "{line:?}");
        assert!(hashed.set_cookie.is_none(), "{line:?}");
    }
}

#[test]
fn a_cookie_is_made_with_all_that_is_said_of_it() {
    let mut said = cookie("hash", true);
    said.ttl = Some(Duration::from_secs(3_600));
    said.path = Some("/shop".into());
    said.attributes = BTreeMap::from([
        ("SameSite".to_owned(), "Strict".to_owned()),
        ("Secure".to_owned(), String::new()),
    ]);
    let made = hashed(&one(HashOn::Cookie(said.clone())), &request("/", &[]));
    assert_eq!(made.hash, Some(of(b"0123456789abcdef")));
    assert_eq!(
        made.set_cookie.as_deref(),
        Some(&HeaderValue::from_static(
            "hash=0123456789abcdef; Max-Age=3600; Path=/shop; SameSite=Strict; Secure; HttpOnly"
        ))
    );
    // What was set comes back as the same hash, and is not made again.
    let back =
        hashed(&one(HashOn::Cookie(said)), &request("/", &[("cookie", "hash=0123456789abcdef")]));
    assert_eq!((back.hash, back.set_cookie), (made.hash, None));
}

#[test]
fn a_cookie_of_the_session_has_no_age() {
    let mut said = cookie("hash", true);
    said.attributes = BTreeMap::from([("httponly".to_owned(), String::new())]);
    let made = hashed(&one(HashOn::Cookie(said)), &request("/", &[]));
    assert_eq!(
        made.set_cookie.as_deref(),
        Some(&HeaderValue::from_static("hash=0123456789abcdef; httponly"))
    );
}

#[test]
fn hashes_are_combined_so_that_equal_ones_do_not_cancel_out() {
    let (a, b) = (of(b"1"), of(b"2"));
    let request = request("/", &[("a", "1"), ("b", "2"), ("same", "1")]);
    let two = hashing([(header("a"), false), (header("b"), false)]);
    assert_eq!(hash(&two, &request), Some(a.rotate_left(1) ^ b));
    let same = hashing([(header("a"), false), (header("same"), false)]);
    assert_eq!(hash(&same, &request), Some(a.rotate_left(1) ^ a));
    let gap = hashing([(header("a"), false), (header("none"), false), (header("b"), false)]);
    assert_eq!(hash(&gap, &request), hash(&two, &request));
}

#[test]
fn a_terminal_part_is_the_last_once_there_is_a_hash() {
    let (a, b) = (of(b"1"), of(b"2"));
    let request = request("/", &[("a", "1"), ("b", "2")]);
    let first = hashing([(header("a"), true), (header("b"), false)]);
    assert_eq!(hash(&first, &request), Some(a));
    let absent = hashing([(header("none"), true), (header("b"), false)]);
    assert_eq!(hash(&absent, &request), Some(b));
    // It looks at whether there is a hash, not at whether it gave it.
    let behind = hashing([(header("a"), false), (header("none"), true), (header("b"), false)]);
    assert_eq!(hash(&behind, &request), Some(a));
}

#[test]
fn a_terminal_hash_makes_no_cookie_behind_it() {
    let by = hashing([(header("a"), true), (HashOn::Cookie(cookie("hash", true)), false)]);
    let made = hashed(&by, &request("/", &[("a", "1")]));
    assert_eq!((made.hash, made.set_cookie), (Some(of(b"1")), None));
    assert!(hashed(&by, &request("/", &[])).set_cookie.is_some());
}

#[test]
fn the_channel_is_a_number_of_the_meshs_own() {
    let by = one(HashOn::FilterState(HashPolicy::CHANNEL.into()));
    assert_eq!(hash(&by, &request("/", &[])), Some(7));
    assert!(one(HashOn::FilterState("other".into())).is_empty());
    assert!(one(HashOn::SourceIp).is_empty());
}

#[test]
fn the_calls_own_key_stands_for_all_unless_the_policy_names_it() {
    let request = request("/", &[("a", "1")]);
    let with = |by: &Hashing, key| by.hash(&request, Beside { key, channel: 7 }, || 0).hash;
    let by = one(header("a"));
    assert_eq!(with(&by, Some(17)), Some(of(b"17")));
    assert_eq!(with(&by, None), Some(of(b"1")));
    let both = hashing([(header("a"), false), (HashOn::CallKey, false)]);
    assert_eq!(with(&both, Some(17)), Some(of(b"1").rotate_left(1) ^ of(b"17")));
    assert_eq!(with(&both, None), Some(of(b"1")));
    let nothing = Hashing::default();
    for key in [0, 9, 10, u64::MAX] {
        assert_eq!(with(&nothing, Some(key)), Some(of(key.to_string().as_bytes())));
    }
    assert_eq!(with(&nothing, None), None);
}
