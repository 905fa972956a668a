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
    session.tell(&mut headers, None, &address());
    let set = headers[SET_COOKIE].to_str().unwrap();
    assert_eq!(set, "at=MTAuMC4wLjE6ODA=; Max-Age=60; Path=/shop; HttpOnly");
    let pair = set.split(';').next().unwrap();
    let request = Request::get("/shop").header("cookie", pair).body(()).unwrap();
    assert_eq!(session.named(&request), Some(address()));
    // It is told once, and again when another has answered.
    let mut headers = HeaderMap::new();
    session.tell(&mut headers, Some(&address()), &address());
    assert!(headers.is_empty());
    session.tell(&mut headers, Some(&address()), &"10.0.0.2:80".parse().unwrap());
    assert_eq!(headers.len(), 1);
}

#[test]
fn a_header_carries_it_too() {
    let session = config::Session { header: Some("x-at".into()), ..config::Session::default() };
    let session = Session::new(&session).unwrap();
    let mut headers = HeaderMap::new();
    session.tell(&mut headers, None, &address());
    assert_eq!(headers["x-at"], "MTAuMC4wLjE6ODA=");
    let request = Request::get("/").header("x-at", "MTAuMC4wLjE6ODA=").body(()).unwrap();
    assert_eq!(session.named(&request), Some(address()));
}

#[test]
fn nonsense_names_nobody() {
    let session = cookie(None);
    for value in ["", "x", "MTAuMC4wLjE6ODA", "AAAA", "MTAuMC4wLjE=", "////", "\"\""] {
        let request = Request::get("/").header("cookie", format!("at={value}")).body(()).unwrap();
        assert_eq!(session.named(&request), None, "{value}");
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
