//! Cookies of the mesh's names.

use std::sync::Arc;

use http::header;
use reqwest::cookie::{CookieStore, Jar};

use crate::{
    client, mesh, plain, redirect, seen,
    support::{Server, reply},
};

/// Gives a cookie at `/login`, and says which ones it gets.
async fn server() -> Server {
    Server::start(|request| async move {
        match request.uri().path() {
            "/login" => {
                let mut reply = reply("");
                let cookie = "id=7; Path=/".parse().unwrap();
                reply.headers_mut().insert(header::SET_COOKIE, cookie);
                reply
            }
            "/welcome" => {
                let mut reply = redirect(302, "/home");
                let cookie = "welcome=1; Path=/".parse().unwrap();
                reply.headers_mut().insert(header::SET_COOKIE, cookie);
                reply
            }
            _ => seen(&request, &["cookie"]),
        }
    })
    .await
}

async fn get(http: &tower_mesh::adapt::reqwest::Client, path: &str) -> String {
    let url = format!("http://users.prod{path}");
    http.get(url).send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn they_are_kept_and_sent_again_when_asked_for() {
    let server = server().await;
    let mesh = mesh(&server);
    let http = mesh.reqwest(plain()).cookie_store(true).build().unwrap();
    get(&http, "/login").await;
    assert_eq!(get(&http, "/a").await, "GET /a\ncookie: id=7\n");
    let own = http.get("http://users.prod/b").header("cookie", "own=1").send().await.unwrap();
    assert_eq!(own.text().await.unwrap(), "GET /b\ncookie: own=1\n");
    let usual = client(&mesh);
    get(&usual, "/login").await;
    assert_eq!(get(&usual, "/a").await, "GET /a\n");
}

#[tokio::test]
async fn one_that_comes_with_a_redirect_is_sent_with_its_next_hop() {
    let server = server().await;
    let mesh = mesh(&server);
    let http = mesh.reqwest(plain()).cookie_store(true).build().unwrap();
    assert_eq!(get(&http, "/welcome").await, "GET /home\ncookie: welcome=1\n");
}

#[tokio::test]
async fn a_store_is_shared_with_whoever_has_it() {
    let server = server().await;
    let mesh = mesh(&server);
    let jar = Arc::new(Jar::default());
    let url = "http://users.prod/".parse().unwrap();
    jar.add_cookie_str("from=jar", &url);
    let http = mesh.reqwest(plain()).cookie_provider(Arc::clone(&jar)).build().unwrap();
    assert_eq!(get(&http, "/a").await, "GET /a\ncookie: from=jar\n");
    get(&http, "/login").await;
    assert!(jar.cookies(&url).unwrap().to_str().unwrap().contains("id=7"));
}
