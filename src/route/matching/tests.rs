use super::*;
use crate::config::HeaderMatch;
use crate::config::{CookieMatch, IntegerRange, PathMatch, QueryMatch, RuntimeFraction};

fn get(uri: &str) -> Request<()> {
    Request::get(uri).header("version", "two").body(()).unwrap()
}

fn compiled(rule: &Match) -> Matcher {
    Matcher::new(rule, &BTreeMap::new()).unwrap()
}

fn path(path: PathMatch) -> Matcher {
    let mut rule = Match::default();
    rule.path = Some(path);
    compiled(&rule)
}

fn mismatch(matcher: &Matcher, request: &Request<()>) -> Option<Mismatch> {
    matcher.mismatch(&Asked::new(request, &Random::seeded(1)))
}

fn matches(matcher: &Matcher, request: &Request<()>) -> bool {
    mismatch(matcher, request).is_none()
}

// Vectors of the Gateway API case MeshHTTPRouteMatching.
#[test]
fn a_prefix_matches_whole_path_elements() {
    let v2 = path(PathMatch::Prefix("/v2".into()));
    for (uri, expected) in [
        ("/v2", true),
        ("/v2/", true),
        ("/v2/example", true),
        ("/v2?x=1", true),
        ("/v2example", false),
        ("/foo/v2/example", false),
    ] {
        assert_eq!(matches(&v2, &get(uri)), expected, "{uri}");
    }
    let root = path(PathMatch::Prefix("/".into()));
    assert!(matches(&root, &get("/anything")) && root.takes_all());
}

#[test]
fn an_exact_path_matches_only_itself() {
    let exact = path(PathMatch::Exact("/v1".into()));
    assert!(matches(&exact, &get("/v1")));
    assert!(!matches(&exact, &get("/v1/")));
}

#[test]
fn paths_by_text_regex_and_template_and_without_case() {
    let prefix = path(PathMatch::StringPrefix("/v2".into()));
    assert!(matches(&prefix, &get("/v2example")));
    #[cfg(feature = "regex")]
    {
        let regex = path(PathMatch::Regex("/users/[0-9]+".into()));
        assert!(matches(&regex, &get("/users/12?a=b")));
        assert!(!matches(&regex, &get("/users/12/")));
    }
    let template = path(PathMatch::Template("/users/{id}/**".into()));
    assert!(matches(&template, &get("/users/1/files/2")));
    assert!(!matches(&template, &get("/users/1")));
    let mut rule = Match::default();
    (rule.path, rule.path_ignore_case) = (Some(PathMatch::Prefix("/Users".into())), true);
    assert!(matches(&compiled(&rule), &get("/uSERS/1")));
    assert!(!matches(&compiled(&rule), &get("/uSERSs")));
}

#[test]
fn a_header_by_value_presence_and_contrary() {
    let mut range = IntegerRange::default();
    (range.start, range.end) = (1, 10);
    let asked = Request::get("/")
        .header("n", "7")
        .header("many", "a")
        .header("many", "b")
        .header("latin", http::HeaderValue::from_bytes(b"\xe9").unwrap())
        .body(())
        .unwrap();
    let exact = |text: &str| StringMatch::Exact(text.into());
    // Name, matcher, inverted, missing as empty.
    for (name, matcher, invert, as_empty, expected) in [
        ("N", StringMatch::Range(range), false, false, true),
        ("n", exact("8"), true, false, true),
        ("many", exact("b"), false, false, true),
        ("many", exact("b"), true, false, false),
        ("latin", StringMatch::Contains("e".into()), false, false, false),
        ("latin", StringMatch::Present, false, false, true),
        ("latin", StringMatch::Present, true, false, false),
        ("absent", StringMatch::Present, false, false, false),
        ("absent", StringMatch::Present, true, false, true),
        ("absent", StringMatch::Present, false, true, false),
        // What Envoy and gRPC do: no value is not another value.
        ("absent", exact("x"), true, false, false),
        ("absent", exact("x"), true, true, true),
        ("absent", exact(""), false, true, true),
        ("absent", exact(""), false, false, false),
    ] {
        let mut rule = Match::default();
        let mut header = HeaderMatch::new(name, matcher.clone());
        (header.invert, header.missing_as_empty) = (invert, as_empty);
        rule.headers.push(header);
        let found = mismatch(&compiled(&rule), &asked);
        assert_eq!(found.is_none(), expected, "{name} {matcher:?} {invert} {as_empty}");
        assert!(found.is_none() || found == Some(Mismatch::Header(0)));
    }
}

#[test]
fn cookies_and_parameters() {
    let asked = Request::get("/?a=1&a=2&b&c=X")
        .header("cookie", "tier=gold; x=\"quoted\"; e=; q=\"\"; e=2")
        .body(())
        .unwrap();
    let exact = |text: &str| StringMatch::Exact(text.into());
    for (name, matcher, ignore_case, invert, expected) in [
        ("a", exact("1"), false, false, true),
        ("a", exact("2"), false, false, false),
        ("a", exact("2"), false, true, true),
        ("b", exact(""), false, false, true),
        ("c", exact("x"), true, false, true),
        ("d", StringMatch::Present, false, false, false),
        ("d", StringMatch::Present, false, true, true),
    ] {
        let mut rule = Match::default();
        let mut query = QueryMatch::new(name, matcher.clone());
        (query.ignore_case, query.invert) = (ignore_case, invert);
        rule.query.push(query);
        assert_eq!(matches(&compiled(&rule), &asked), expected, "{name} {matcher:?}");
    }
    for (name, matcher, expected) in [
        ("tier", exact("gold"), true),
        ("tier", exact("Gold"), false),
        ("x", exact("quoted"), true),
        ("y", StringMatch::Present, false),
        // One that is there and empty is there: the first of its name decides.
        ("e", exact(""), true),
        ("e", StringMatch::Present, true),
        ("e", exact("2"), false),
        ("q", exact(""), true),
        ("y", exact(""), false),
    ] {
        let mut rule = Match::default();
        rule.cookies.push(CookieMatch::new(name, matcher.clone()));
        assert_eq!(matches(&compiled(&rule), &asked), expected, "{name} {matcher:?}");
    }
}

/// Browsers send what scripts and servers have set, in any bytes.
#[test]
fn a_cookie_is_found_beside_one_that_is_no_ascii_text() {
    let exact = |text: &str| StringMatch::Exact(text.into());
    for (line, name, matcher, invert, expected) in [
        (&b"name=Jos\xc3\xa9; tier=gold"[..], "tier", exact("gold"), false, true),
        (b"tier=gold; name=Jos\xe9", "tier", exact("gold"), false, true),
        (b"na\xffme=x; tier=\"gold\"", "tier", exact("gold"), false, true),
        (b"name=Jos\xc3\xa9", "name", exact("Jos\u{e9}"), false, true),
        // What is no text meets nothing but that it is there.
        (b"name=Jos\xe9", "name", exact("Jos\u{e9}"), false, false),
        (b"name=Jos\xe9", "name", exact("Jos\u{e9}"), true, true),
        (b"name=Jos\xe9", "name", StringMatch::Present, false, true),
    ] {
        let header = http::HeaderValue::from_bytes(line).unwrap();
        let asked = Request::get("/").header("cookie", header).body(()).unwrap();
        let mut rule = Match::default();
        let mut cookie = CookieMatch::new(name, matcher);
        cookie.invert = invert;
        rule.cookies.push(cookie);
        assert_eq!(matches(&compiled(&rule), &asked), expected, "{line:?} {name}");
    }
}

#[test]
fn grpc_calls_by_service_and_method() {
    let call =
        |path: &str, kind: &str| Request::post(path).header("content-type", kind).body(()).unwrap();
    let mut rule = Match::default();
    let mut grpc = GrpcMatch::default();
    grpc.service = Some(StringMatch::Exact("a.B".into()));
    grpc.method = Some(StringMatch::Prefix("Get".into()));
    rule.grpc = Some(grpc);
    let matcher = compiled(&rule);
    assert!(matches(&matcher, &call("/a.B/GetIt", "application/grpc+proto")));
    for (path, kind) in [
        ("/a.B/SetIt", "application/grpc"),
        ("/a.C/GetIt", "application/grpc"),
        ("/a.B/GetIt", "text/plain"),
        ("/", "application/grpc"),
    ] {
        assert_eq!(mismatch(&matcher, &call(path, kind)), Some(Mismatch::Grpc), "{path} {kind}");
    }
}

#[test]
fn callers_have_labels_of_their_own() {
    let mut rule = Match::default();
    rule.caller.insert("app".into(), "web".into());
    assert_eq!(mismatch(&compiled(&rule), &get("/")), Some(Mismatch::Caller));
    let labels = BTreeMap::from([("app".into(), "web".into()), ("tier".into(), "1".into())]);
    assert!(matches(&Matcher::new(&rule, &labels).unwrap(), &get("/")));
}

#[test]
fn a_share_of_the_requests() {
    let random = Random::seeded(3);
    for percent in [0.0, 25.0, 100.0] {
        let mut rule = Match::default();
        let mut share = RuntimeFraction::default();
        share.percent = percent;
        rule.fraction = Some(share);
        let matcher = compiled(&rule);
        let asked = get("/");
        let hits = (0..10_000)
            .filter(|_| matcher.mismatch(&Asked::new(&asked, &random)).is_none())
            .count();
        assert!((hits as f64 / 100.0 - percent).abs() < 2.0, "{hits} of {percent} %");
        assert!(percent > 0.0 || hits == 0);
    }
    // One place in every share: what a smaller share has taken, a larger one does, too.
    let asked = get("/");
    let asked = Asked::new(&asked, &random);
    assert_eq!(asked.roll(), asked.roll());
}

#[test]
fn the_first_part_that_does_not_hold_is_named() {
    let mut rule = Match::default();
    rule.path = Some(PathMatch::Exact("/a".into()));
    rule.method = Some("PUT".into());
    rule.scheme = Some("HTTPS".into());
    rule.headers = vec![
        HeaderMatch::new("version", StringMatch::Exact("two".into())),
        HeaderMatch::new("x", StringMatch::Present),
    ];
    let matcher = compiled(&rule);
    let put = |uri: &str| Request::put(uri).header("version", "two").body(()).unwrap();
    assert_eq!(mismatch(&matcher, &get("/b")), Some(Mismatch::Path));
    assert_eq!(mismatch(&matcher, &get("/a")), Some(Mismatch::Method));
    assert_eq!(mismatch(&matcher, &put("/a")), Some(Mismatch::Scheme));
    assert_eq!(mismatch(&matcher, &put("https://h/a")), Some(Mismatch::Header(1)));
}

#[test]
fn pseudo_headers_are_matched_as_headers() {
    let request = Request::put("https://a.b:8443/x/y?q=1").header("z", "1").body(()).unwrap();
    for (name, matcher, expected) in [
        (":method", StringMatch::Prefix("PU".into()), true),
        (":method", StringMatch::Exact("put".into()), false),
        (":Scheme", StringMatch::Exact("https".into()), true),
        (":scheme", StringMatch::Exact("http".into()), false),
        (":authority", StringMatch::Suffix(":8443".into()), true),
        (":authority", StringMatch::Exact("a.b".into()), false),
        (":path", StringMatch::Exact("/x/y?q=1".into()), true),
        (":path", StringMatch::Exact("/x/y".into()), false),
        (":path", StringMatch::Present, true),
    ] {
        for invert in [false, true] {
            let header = HeaderMatch { invert, ..HeaderMatch::new(name, matcher.clone()) };
            let rule = Match { headers: vec![header], ..Match::default() };
            let compiled = compiled(&rule);
            assert!(!compiled.takes_all());
            assert_eq!(matches(&compiled, &request), expected != invert, "{name} {matcher:?}");
        }
    }
    // Of a request without an authority it is that of whom it is for, or none.
    let bare = Request::get("/").body(()).unwrap();
    let header = HeaderMatch::new(":authority", StringMatch::Exact("users".into()));
    let rule = compiled(&Match { headers: vec![header.clone()], ..Match::default() });
    let random = Random::seeded(1);
    assert!(rule.mismatch(&Asked::new(&bare, &random).named(Some("users"))).is_none());
    assert!(!matches(&rule, &bare));
    let inverted = HeaderMatch { invert: true, ..header };
    let rule = compiled(&Match { headers: vec![inverted], ..Match::default() });
    assert!(!matches(&rule, &bare), "as a header that is not there");
    // What is not met is told by its place among all.
    let headers = vec![
        HeaderMatch::new(":method", StringMatch::Present),
        HeaderMatch::new("z", StringMatch::Present),
        HeaderMatch::new(":path", StringMatch::Present),
        HeaderMatch::new("missing", StringMatch::Present),
        HeaderMatch::new(":scheme", StringMatch::Exact("ftp".into())),
    ];
    let mut rule = Match { headers, ..Match::default() };
    assert_eq!(mismatch(&compiled(&rule), &request), Some(Mismatch::Header(3)));
    rule.headers.remove(3);
    assert_eq!(mismatch(&compiled(&rule), &request), Some(Mismatch::Header(3)));
}
