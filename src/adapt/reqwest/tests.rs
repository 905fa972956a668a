//! What a client tells of itself, in the reqwest in use; and the rules of redirects.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::{ClientBuilder, Proxy, Url, redirect::Policy as Theirs};

use super::{packing::Packing, redirect, seen::Seen};

/// The environment of whoever runs the tests may have proxies, and another crate what unpacks.
fn bare() -> ClientBuilder {
    reqwest::Client::builder().no_proxy().no_gzip().no_brotli().no_zstd().no_deflate()
}

fn seen(build: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Vec<&'static str> {
    let client = build(bare()).build().unwrap();
    Seen::of(&client).settings().map(|setting| setting.setter).collect()
}

#[test]
fn a_client_that_nobody_configured_shows_nothing_of_concern() {
    assert!(seen(|client| client).is_empty());
    let with_system_proxies = reqwest::Client::new();
    let shown = Seen::of(&with_system_proxies);
    assert!(shown.settings().all(|setting| matches!(setting.setter, "proxy" | "gzip")));
}

#[test]
fn reqwest_shows_the_settings_that_are_looked_for() {
    let second = Duration::from_secs(1);
    assert_eq!(seen(|client| client.cookie_store(true)), ["cookie_store"]);
    assert_eq!(seen(|client| client.gzip(true)), ["gzip"]);
    assert_eq!(seen(|client| client.user_agent("x")), ["default_headers"]);
    assert_eq!(seen(|client| client.timeout(second)), ["timeout"]);
    assert_eq!(seen(|client| client.read_timeout(second)), ["read_timeout"]);
    assert_eq!(seen(|client| client.redirect(Theirs::limited(3))), ["redirect"]);
    assert_eq!(seen(|client| client.redirect(Theirs::none())), ["redirect"]);
    let all = Proxy::all("http://10.0.0.1:3128").unwrap();
    assert_eq!(seen(|client| client.proxy(all)), ["proxy"]);
    let http = Proxy::http("http://10.0.0.1:3128").unwrap();
    assert_eq!(seen(|client| client.proxy(http)), ["proxy"]);
    let custom = Proxy::custom(|_| None::<Url>);
    assert_eq!(seen(|client| client.proxy(custom)), ["proxy"]);
    let secret = HeaderMap::from_iter([(header::AUTHORIZATION, {
        let mut value = HeaderValue::from_static("Bearer x");
        value.set_sensitive(true);
        value
    })]);
    assert_eq!(seen(|client| client.default_headers(secret)), ["default_headers"]);
}

/// Of reqwest's features the tests have `gzip` alone: the others stand beside it, as
/// `tests/reqwest_client/surface.rs` reads in its source.
#[test]
fn whatever_a_client_unpacks_is_seen() {
    let gunzips = bare().gzip(true).build().unwrap();
    let text = format!("{gunzips:#?}");
    assert!(text.contains("        gzip: true,\n"), "{text}");
    for packing in Packing::ALL {
        let name = packing.setter();
        for (field, expected) in [("true", Some(name)), ("false", None)] {
            let text = text.replace("gzip: true", &format!("{name}: {field}"));
            let found: Vec<_> = Seen(text).settings().map(|setting| setting.setter).collect();
            assert_eq!(found, Vec::from_iter(expected), "{name}: {field}");
        }
        assert_eq!(packing.what(), format!("`{name}`"));
        for told in [format!("`reqwest-013-{name}`"), format!("`no_{name}`")] {
            assert!(packing.check().contains(&told), "{}", packing.check());
        }
    }
    let all = text.replace("gzip: true", "gzip: true,\n        brotli: true,\n        zstd: true");
    let found: Vec<_> = Seen(all).settings().map(|setting| setting.setter).collect();
    assert_eq!(found, ["gzip", "brotli", "zstd"]);
}

/// As soon as reqwest shows one of them, it can be refused.
#[test]
fn what_a_client_silently_lacks_for_the_mesh_is_named_where_it_is_wrapped() {
    type Build = fn(ClientBuilder) -> ClientBuilder;
    let silent: [(&str, Build); 7] = [
        ("connect_timeout", |client| client.connect_timeout(Duration::from_secs(1))),
        ("retry", |client| client.retry(reqwest::retry::never())),
        ("http1_only", |client| client.http1_only()),
        ("http2_prior_knowledge", |client| client.http2_prior_knowledge()),
        ("resolve", |client| client.resolve("a", "10.0.0.1:80".parse().unwrap())),
        ("local_address", |client| client.local_address(std::net::IpAddr::from([127, 0, 0, 1]))),
        #[cfg(unix)]
        ("unix_socket", |client| client.unix_socket("/run/a.sock")),
    ];
    let code = include_str!("mod.rs");
    let documentation = code.split("impl Mesh {").nth(1).unwrap();
    for (name, build) in silent {
        let plain = format!("{:?}", bare().build().unwrap());
        let built = build(bare()).build().unwrap();
        assert_eq!(format!("{built:?}"), plain, "{name} can be seen by now");
        assert!(documentation.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn a_header_that_looks_like_a_setting_is_none() {
    let value = "x\",\n    cookie_store: true,\n    redirect_policy: \"Policy(None)\"";
    assert!(HeaderValue::from_str(value).is_err(), "no header has a second line");
    let value = HeaderValue::from_static("    redirect_policy: \"Policy(None)\"");
    let headers = HeaderMap::from_iter([(header::FROM, value)]);
    let client = reqwest::Client::builder().no_proxy().default_headers(headers).build().unwrap();
    assert!(!Seen::of(&client).follows_nothing());
}

#[test]
fn only_the_policy_that_follows_nothing_is_taken_for_it() {
    for (policy, follows_nothing) in [
        (Theirs::none(), true),
        (Theirs::limited(0), false),
        (Theirs::limited(10), false),
        (Theirs::custom(|attempt| attempt.stop()), false),
    ] {
        let client = reqwest::Client::builder().redirect(policy).build().unwrap();
        assert_eq!(Seen::of(&client).follows_nothing(), follows_nothing, "{client:?}");
    }
    assert!(!Seen::of(&"Client { another text }").follows_nothing());
}

#[test]
fn a_redirect_changes_the_method_as_browsers_do() {
    let post = |status| redirect::method(StatusCode::from_u16(status).unwrap(), &Method::POST);
    assert_eq!(post(301), Some((Method::GET, false)));
    assert_eq!(post(302), Some((Method::GET, false)));
    assert_eq!(post(303), Some((Method::GET, false)));
    assert_eq!(post(307), Some((Method::POST, true)));
    assert_eq!(post(308), Some((Method::POST, true)));
    for status in [200, 300, 304, 305, 400] {
        assert_eq!(post(status), None, "{status}");
    }
    let put = |status| redirect::method(StatusCode::from_u16(status).unwrap(), &Method::PUT);
    assert_eq!(put(302), Some((Method::PUT, true)));
    assert_eq!(put(303), Some((Method::GET, false)));
    let head = redirect::method(StatusCode::SEE_OTHER, &Method::HEAD);
    assert_eq!(head, Some((Method::HEAD, false)));
}

#[test]
fn credentials_go_to_the_same_host_port_and_scheme_only() {
    let url = |text: &str| Url::parse(text).unwrap();
    let secret = || {
        HeaderMap::from_iter([
            (header::AUTHORIZATION, HeaderValue::from_static("Bearer x")),
            (header::COOKIE, HeaderValue::from_static("a=b")),
            (header::HOST, HeaderValue::from_static("users.example")),
            (header::ACCEPT, HeaderValue::from_static("*/*")),
        ])
    };
    for (next, stays) in [
        ("http://users/2", true),
        ("http://users:80/2", true),
        ("http://users:81/2", false),
        ("https://users/2", false),
        ("http://orders/2", false),
    ] {
        let mut headers = secret();
        let crossed = redirect::drop_credentials(&mut headers, &url(next), &url("http://users/1"));
        assert_eq!(crossed, !stays, "{next}");
        assert_eq!(headers.len(), if stays { 4 } else { 1 }, "{next}");
        assert!(headers.contains_key(header::ACCEPT));
    }
}

#[test]
fn a_referer_has_no_user_and_no_fragment_and_stays_behind_https() {
    let url = |text: &str| Url::parse(text).unwrap();
    let referer = |next: &str, previous: &str| redirect::referer(&url(next), &url(previous));
    let from = "http://u:p@users/1?a=b#c";
    assert_eq!(referer("http://users/2", from).unwrap(), "http://users/1?a=b");
    assert!(referer("http://users/2", "https://users/1").is_none());
}
