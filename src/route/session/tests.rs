use std::time::Duration;

use super::*;
use crate::config::SessionCookie;

fn cookie(path: Option<&str>) -> Session {
    let mut cookie = SessionCookie::default();
    cookie.name = "at".into();
    cookie.path = path.map(str::to_owned);
    cookie.ttl = Some(Duration::from_secs(60));
    let session = config::Session { cookie: Some(cookie), ..config::Session::default() };
    Session::new(&session).unwrap()
}

fn address() -> Address {
    "10.0.0.1:80".parse().unwrap()
}

#[test]
fn what_is_told_is_named_by_the_next_request() {
    let session = cookie(Some("/shop"));
    let mut headers = HeaderMap::new();
    session.tell(&mut headers, None, (&address(), None), 0);
    let set = headers[SET_COOKIE].to_str().unwrap();
    assert_eq!(set, "at=MTAuMC4wLjE6ODA=; Max-Age=60; Path=/shop; HttpOnly");
    let pair = set.split(';').next().unwrap();
    let request = Request::get("/shop").header("cookie", pair).body(()).unwrap();
    assert_eq!(session.named(&request, 0).map(|named| named.address), Some(address()));
    // It is told once, and again when another has answered.
    let mut headers = HeaderMap::new();
    let named = Named { address: address(), cluster: None, begun: None, used: None };
    session.tell(&mut headers, Some(&named), (&address(), None), 0);
    assert!(headers.is_empty());
    session.tell(&mut headers, Some(&named), (&"10.0.0.2:80".parse().unwrap(), None), 0);
    assert_eq!(headers.len(), 1);
}

#[test]
fn a_header_carries_it_too() {
    let session = config::Session { header: Some("x-at".into()), ..config::Session::default() };
    let session = Session::new(&session).unwrap();
    let mut headers = HeaderMap::new();
    session.tell(&mut headers, None, (&address(), None), 0);
    assert_eq!(headers["x-at"], "MTAuMC4wLjE6ODA=");
    let request = Request::get("/").header("x-at", "MTAuMC4wLjE6ODA=").body(()).unwrap();
    assert_eq!(session.named(&request, 0).map(|named| named.address), Some(address()));
}

#[test]
fn a_cookie_that_is_no_ascii_text_hides_no_session() {
    let session = cookie(None);
    for line in
        [&b"name=Jos\xc3\xa9; at=MTAuMC4wLjE6ODA="[..], b"at=MTAuMC4wLjE6ODA=; name=Jos\xe9"]
    {
        let line = HeaderValue::from_bytes(line).unwrap();
        let request = Request::get("/").header("cookie", &line).body(()).unwrap();
        let named = session.named(&request, 0).map(|named| named.address);
        assert_eq!(named, Some(address()), "{line:?}");
    }
}

#[test]
fn nonsense_names_nobody() {
    let session = cookie(None);
    for value in ["", "x", "MTAuMC4wLjE6ODA", "AAAA", "MTAuMC4wLjE=", "////", "\"\""] {
        let request = Request::get("/").header("cookie", format!("at={value}")).body(()).unwrap();
        assert_eq!(session.named(&request, 0), None, "{value}");
    }
}

#[test]
fn a_cookie_is_for_its_path() {
    for (prefix, path, is_for) in [
        (None, "/a", true),
        (Some("/"), "/a", true),
        (Some("/shop"), "/shop", true),
        (Some("/shop"), "/shop/1", true),
        (Some("/shop/"), "/shop/1", true),
        (Some("/shop"), "/shopping", false),
        (Some("/shop"), "/", false),
    ] {
        assert_eq!(cookie(prefix).is_for(path), is_for, "{prefix:?} {path}");
    }
}

/// A session that ends, by a header.
fn ending(absolute: Option<u64>, idle: Option<u64>) -> Session {
    let session = config::Session {
        header: Some("x-at".into()),
        absolute_timeout: absolute.map(Duration::from_secs),
        idle_timeout: idle.map(Duration::from_secs),
        ..config::Session::default()
    };
    Session::new(&session).unwrap()
}

/// A request that names what was told.
fn next(headers: &HeaderMap) -> Request<()> {
    Request::get("/").header("x-at", headers["x-at"].clone()).body(()).unwrap()
}

/// Tells at a time; what the next request carries.
fn told(session: &Session, named: Option<&Named>, now: u64) -> Option<Request<()>> {
    let mut headers = HeaderMap::new();
    session.tell(&mut headers, named, (&address(), None), now);
    (!headers.is_empty()).then(|| next(&headers))
}

#[test]
fn a_session_ends_at_its_age_however_often_it_is_used() {
    let session = ending(Some(100), None);
    let request = told(&session, None, 1_000).unwrap();
    let named = session.named(&request, 1_100).unwrap();
    assert_eq!((named.address.clone(), named.begun), (address(), Some(1_000)));
    assert_eq!(session.named(&request, 1_101), None);
    // It is told once: it knows its beginning.
    assert_eq!(told(&session, Some(&named), 1_050).map(|_| ()), None);
    // Clocks differ, and one may jump.
    assert!(session.named(&request, 0).is_some());
}

#[test]
fn a_session_ends_when_it_is_unused_and_each_use_is_told() {
    let session = ending(Some(100), Some(10));
    let mut request = told(&session, None, 1_000).unwrap();
    for now in (1_010..=1_100).step_by(10) {
        let named = session.named(&request, now).unwrap();
        assert_eq!(named.begun, Some(1_000));
        // Once a second is enough.
        request = told(&session, Some(&named), now).unwrap();
        let again = session.named(&request, now).unwrap();
        assert_eq!(told(&session, Some(&again), now).map(|_| ()), None);
        assert_eq!(session.named(&request, now + 11), None);
    }
    // In the end it is too old.
    assert_eq!(session.named(&request, 1_101), None);
}

#[test]
fn whoever_has_no_age_has_no_session_where_sessions_end_and_one_with_an_age_has_one_elsewhere() {
    let plain = ending(None, None);
    let old = told(&plain, None, 5).unwrap();
    assert_eq!(old.headers()["x-at"], "MTAuMC4wLjE6ODA=");
    assert_eq!(ending(Some(100), None).named(&old, 6), None);
    let aged = told(&ending(None, Some(100)), None, 5).unwrap();
    assert_eq!(plain.named(&aged, 1 << 40).map(|named| named.address), Some(address()));
    for nonsense in ["10.0.0.1:80;", "10.0.0.1:80;1", "10.0.0.1:80;a;b", ";1;2", "10.0.0.1:80;-1;2"]
    {
        let value = STANDARD.encode(nonsense);
        let request = Request::get("/").header("x-at", value).body(()).unwrap();
        assert_eq!(plain.named(&request, 0), None, "{nonsense}");
    }
    // A socket's path may look like it.
    let unix = STANDARD.encode("unix:/run/a;1;2");
    let request = Request::get("/").header("x-at", unix).body(()).unwrap();
    let named = plain.named(&request, 0).unwrap();
    assert_eq!(named.address.to_string(), "unix:/run/a;1;2");
}

#[test]
fn a_session_with_the_endpoint_of_a_socket_ends_too() {
    let session = ending(Some(100), Some(100));
    let socket: Address = "unix:/run/a.sock".parse().unwrap();
    let mut headers = HeaderMap::new();
    session.tell(&mut headers, None, (&socket, None), 1_000);
    let request = next(&headers);
    let named = session.named(&request, 1_100).unwrap();
    assert_eq!((named.address, named.begun), (socket, Some(1_000)));
    assert_eq!(session.named(&request, 1_101), None);
}

/// Found by the fuzz target `session`.
#[test]
fn a_session_with_a_socket_whose_path_looks_like_a_cluster_is_with_that_socket() {
    for idle in [None, Some(60)] {
        let session = ending(idle, idle);
        for path in ["unix:r/a;cluster:TU9", "unix:r/a;cluster:x;1;2", "unix:r/a;cluster:"] {
            let socket: Address = path.parse().unwrap();
            for cluster in [None, Some("blue")] {
                let mut headers = HeaderMap::new();
                session.tell(&mut headers, None, (&socket, cluster), 7);
                let named = session.named(&next(&headers), 7).unwrap();
                assert_eq!((&named.address, named.cluster.as_deref()), (&socket, cluster));
            }
        }
    }
}

#[test]
fn the_cluster_is_told_where_there_are_several_and_named_by_the_next_request() {
    for ends in [false, true] {
        let mut session = cookie(None);
        session.idle = ends.then_some(60);
        let told = |named: Option<&Named>, cluster| {
            let mut headers = HeaderMap::new();
            session.tell(&mut headers, named, (&address(), cluster), 7);
            let set = headers.get(SET_COOKIE)?.to_str().unwrap();
            let pair = set.split(';').next().unwrap().to_owned();
            let request = Request::get("/").header("cookie", &pair).body(()).unwrap();
            Some((pair, session.named(&request, 7).unwrap()))
        };
        let (pair, blue) = told(None, Some("outbound|80|v2;x|a.b")).unwrap();
        assert_eq!(blue.address, address());
        assert_eq!(blue.cluster.as_deref(), Some("outbound|80|v2;x|a.b"));
        // As gRPC writes it (A60).
        let text = STANDARD.decode(pair.strip_prefix("at=").unwrap()).unwrap();
        let text = String::from_utf8(text).unwrap();
        let times = if ends { ";7;7" } else { "" };
        assert_eq!(text, format!("10.0.0.1:80;cluster:outbound|80|v2;x|a.b{times}"));
        assert_eq!(told(Some(&blue), Some("outbound|80|v2;x|a.b")), None);
        assert!(told(Some(&blue), Some("green")).is_some());
        // Who has had times, or has none any more.
        let other = Session { idle: if ends { None } else { Some(60) }, ..cookie(None) };
        let request = Request::get("/").header("cookie", &pair).body(()).unwrap();
        if let Some(named) = other.named(&request, 7) {
            assert_eq!(named.cluster.as_deref(), Some("outbound|80|v2;x|a.b"));
        }
        // One cluster alone is not named, and a name of it is no news.
        assert_eq!(told(Some(&blue), None), None);
        let (_, plain) = told(None, None).unwrap();
        assert_eq!(plain.cluster, None);
        assert!(told(Some(&plain), Some("green")).is_some());
    }
}
