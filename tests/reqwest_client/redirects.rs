//! Redirects: each hop a call of its own through the mesh.

use http::{StatusCode, header};
use http_body_util::BodyExt;
use reqwest::Body;
use tower_mesh::{ErrorKind, Mesh, adapt::reqwest::redirect::Policy};

use crate::{
    client, plain, redirect, seen,
    support::{Server, patience, reply},
};

const NAMES: [&str; 7] =
    ["host", "authorization", "cookie", "referer", "content-type", "content-length", "x-a"];

/// Two services; `users.prod` answers `/status/location` with such a redirect, `orders.prod` with
/// what it was sent.
async fn two() -> (Mesh, Server, Server) {
    let users = Server::start(|request| async move {
        let path = request.uri().path_and_query().unwrap().as_str().to_owned();
        match path[1..].split_once('/').and_then(|(status, to)| Some((status.parse().ok()?, to))) {
            Some((status, to)) => redirect(status, to),
            None => seen(&request, &NAMES),
        }
    })
    .await;
    let orders = Server::start(|request| async move {
        let head = seen(&request, &NAMES).into_body().collect().await.unwrap().to_bytes();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        reply([&head[..], b"body: ", &body].concat())
    })
    .await;
    let mesh = Mesh::builder()
        .endpoints("users.prod", [users.address()])
        .endpoints("orders.prod", [orders.address()])
        .build()
        .unwrap();
    (mesh, users, orders)
}

#[tokio::test]
async fn a_redirect_is_followed_through_the_mesh_to_another_service() {
    let (mesh, users, orders) = two().await;
    let http = client(&mesh);
    let response = http.get("http://users.prod/302/http://orders.prod/7?a=b").send().await.unwrap();
    assert_eq!(response.url().as_str(), "http://orders.prod/7?a=b");
    assert!(response.text().await.unwrap().starts_with("GET /7?a=b\nhost: orders.prod\n"));
    assert_eq!((users.requests(), orders.requests()), (1, 1));
}

#[tokio::test]
async fn a_relative_redirect_stays_at_its_service() {
    let (mesh, users, _orders) = two().await;
    let response = client(&mesh).get("http://users.prod/307//here").send().await.unwrap();
    assert_eq!(response.url().as_str(), "http://users.prod/here");
    assert_eq!(users.requests(), 2);
}

#[tokio::test]
async fn the_status_decides_what_becomes_of_method_and_body() {
    let (mesh, _users, _orders) = two().await;
    let http = client(&mesh);
    for (status, line, body) in [
        (301, "GET /", ""),
        (302, "GET /", ""),
        (303, "GET /", ""),
        (307, "POST /", "content"),
        (308, "POST /", "content"),
    ] {
        let url = format!("http://users.prod/{status}/http://orders.prod/");
        let request = http.post(url).header("content-type", "text/plain").body("content");
        let text = request.send().await.unwrap().text().await.unwrap();
        assert!(text.starts_with(line), "{status}: {text}");
        assert!(text.ends_with(&format!("body: {body}")), "{status}: {text}");
        assert_eq!(text.contains("content-type"), !body.is_empty(), "{status}: {text}");
    }
}

#[tokio::test]
async fn a_body_that_has_streamed_away_is_not_sent_again_and_the_redirect_is_the_answer() {
    let (mesh, _users, orders) = two().await;
    let parts = ["one ", "two"].map(Ok::<_, std::io::Error>);
    let body = Body::wrap_stream(futures_util::stream::iter(parts));
    let request = client(&mesh).post("http://users.prod/307/http://orders.prod/").body(body);
    let response = request.send().await.unwrap();
    assert_eq!((response.status().as_u16(), orders.requests()), (307, 0));
    assert_eq!(response.headers()[header::LOCATION], "http://orders.prod/");
}

#[tokio::test]
async fn credentials_stay_with_the_service_that_they_were_meant_for() {
    let (mesh, _users, _orders) = two().await;
    let defaults = [(header::COOKIE, "default=1".parse().unwrap())].into_iter().collect();
    let http = mesh.reqwest(plain()).default_headers(defaults).build().unwrap();
    let get = |url: &str| http.get(url).bearer_auth("secret").header("x-a", "1").send();
    let same = get("http://users.prod/302//here").await.unwrap().text().await.unwrap();
    assert!(same.contains("authorization: Bearer secret\ncookie: default=1\n"), "{same}");
    let other = get("http://users.prod/302/http://orders.prod/").await.unwrap();
    let other = other.text().await.unwrap();
    assert!(!other.contains("secret") && !other.contains("default"), "{other}");
    assert!(other.contains("x-a: 1\n"), "{other}");
}

#[tokio::test]
async fn credentials_that_were_left_behind_do_not_come_back_at_a_later_hop() {
    let first = Server::start(|_| async { redirect(302, "http://orders.prod/a") }).await;
    let second = Server::start(|request| async move {
        if request.uri().path() == "/a" { redirect(302, "/b") } else { seen(&request, &NAMES) }
    })
    .await;
    let mesh = Mesh::builder()
        .endpoints("users.prod", [first.address()])
        .endpoints("orders.prod", [second.address()])
        .build()
        .unwrap();
    let request = client(&mesh).get("http://users.prod/").bearer_auth("secret");
    let text = request.send().await.unwrap().text().await.unwrap();
    assert_eq!(text, "GET /b\nhost: orders.prod\n");
}

#[tokio::test]
async fn a_host_header_of_the_first_hop_is_not_told_to_another_service() {
    let (mesh, _users, _orders) = two().await;
    let http = client(&mesh);
    let request = http.get("http://users.prod/302/http://orders.prod/").header("host", "shop");
    let text = request.send().await.unwrap().text().await.unwrap();
    assert!(text.contains("host: orders.prod\n"), "{text}");
}

#[tokio::test]
async fn the_url_that_led_there_is_told_when_asked_for() {
    let (mesh, _users, _orders) = two().await;
    let url = "http://users.prod/302/http://orders.prod/";
    let usual = client(&mesh).get(url).send().await.unwrap().text().await.unwrap();
    assert!(!usual.contains("referer"), "{usual}");
    let http = mesh.reqwest(plain()).referer(true).build().unwrap();
    let text = http.get(url).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("referer: http://users.prod/302/http://orders.prod/\n"), "{text}");
}

#[tokio::test]
async fn at_most_ten_are_followed_by_default() {
    let server = Server::start(|_| async { redirect(302, "/") }).await;
    let mesh = crate::mesh(&server);
    let error = patience(client(&mesh).get("http://users.prod/").send()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Redirect);
    assert!(error.chain().contains("too many redirects"), "{}", error.chain());
    assert_eq!(server.requests(), 11);
    let once = mesh.reqwest(plain()).redirect(Policy::limited(1)).build().unwrap();
    assert!(once.get("http://users.prod/").send().await.is_err());
    assert_eq!(server.requests(), 13);
}

#[tokio::test]
async fn none_are_followed_when_the_policy_says_so() {
    let (mesh, users, orders) = two().await;
    let http = mesh.reqwest(plain()).redirect(Policy::none()).build().unwrap();
    let response = http.get("http://users.prod/302/http://orders.prod/").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::FOUND);
    assert_eq!(response.url().host_str(), Some("users.prod"));
    assert_eq!((users.requests(), orders.requests()), (1, 0));
}

#[tokio::test]
async fn a_policy_of_ones_own_sees_status_target_and_way() {
    let (mesh, _users, orders) = two().await;
    let policy = Policy::custom(|attempt| {
        assert_eq!(attempt.status(), 302);
        assert_eq!(attempt.previous().len(), 1);
        assert_eq!(attempt.previous()[0].host_str(), Some("users.prod"));
        match attempt.url().path() {
            "/follow" => attempt.follow(),
            "/stop" => attempt.stop(),
            _ => attempt.error("not there"),
        }
    });
    let http = mesh.reqwest(plain()).redirect(policy).build().unwrap();
    let get = |path| http.get(format!("http://users.prod/302/http://orders.prod{path}")).send();
    assert_eq!(get("/follow").await.unwrap().status(), 200);
    assert_eq!(get("/stop").await.unwrap().status(), 302);
    let error = get("/fail").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Redirect);
    assert!(error.chain().contains("not there"), "{}", error.chain());
    assert_eq!(orders.requests(), 1);
}

#[tokio::test]
async fn a_redirect_out_of_the_mesh_fails_or_is_returned_and_is_never_followed() {
    let (mesh, _users, _orders) = two().await;
    let bystander = Server::named("bystander").await;
    let url = format!("http://users.prod/302/http://{}/?secret=1", bystander.socket());
    let error = client(&mesh).get(&url).send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Redirect);
    assert_eq!(error.service_name(), Some("users.prod"));
    assert!(error.to_string().contains("it leads to `127.0.0.1`, outside of the mesh"), "{error}");
    assert!(!error.to_string().contains("redirected there by"), "{error}");
    assert!(!error.chain().contains("secret"), "{}", error.chain());
    let returning = Policy::limited(10).return_outside();
    let http = mesh.reqwest(plain()).redirect(returning).build().unwrap();
    let response = http.get(&url).send().await.unwrap();
    assert_eq!(response.status(), 302);
    assert_eq!(response.url().host_str(), Some("users.prod"));
    assert_eq!(bystander.connections(), 0);
}

#[tokio::test]
async fn a_redirect_to_another_scheme_is_refused() {
    let (mesh, _users, _orders) = two().await;
    for target in ["ftp://orders.prod/", "file:///etc/passwd"] {
        let error = client(&mesh).get(format!("http://users.prod/302/{target}")).send().await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Redirect, "{target}");
    }
}

#[tokio::test]
async fn a_location_that_is_none_is_the_answer() {
    let server = Server::start(|request| async move {
        match request.uri().path() {
            "/missing" => crate::support::status(StatusCode::FOUND),
            _ => redirect(302, "http://[oops/"),
        }
    })
    .await;
    let http = client(&crate::mesh(&server));
    for path in ["missing", "broken"] {
        let response = http.get(format!("http://users.prod/{path}")).send().await.unwrap();
        assert_eq!(response.status(), 302, "{path}");
    }
}

#[tokio::test]
async fn a_failure_after_a_redirect_says_what_led_there() {
    let users = Server::start(|_| async { redirect(302, "http://orders.prod/") }).await;
    let (dead, _held) = crate::support::dead_address();
    let mesh = Mesh::builder()
        .endpoints("users.prod", [users.address()])
        .endpoints("orders.prod", [dead])
        .build()
        .unwrap();
    let error = client(&mesh).get("http://users.prod/").send().await.unwrap_err();
    assert!(error.is_connect());
    assert_eq!(error.service_name(), Some("orders.prod"));
    assert!(error.to_string().contains("redirected there by `users.prod`"), "{error}");
}
