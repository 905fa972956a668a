//! What is refused when a client is built: a setting of the wrapped client that calls through the
//! mesh would silently lack.

use std::time::Duration;

use http::{HeaderMap, header};
use reqwest::{Proxy, redirect::Policy as Theirs};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower_mesh::{
    ErrorKind, Mesh,
    adapt::reqwest::{ClientBuilder, redirect::Policy},
};

use crate::{
    mesh, plain,
    support::{RawServer, Server, patience, reply},
};

/// Builds over such a client; what is refused, if it is.
fn refused(
    mesh: &Mesh,
    theirs: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ours: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> Option<String> {
    let plain = theirs(crate::bare()).build().unwrap();
    let error = ours(mesh.reqwest(plain)).build().err()?;
    assert_eq!(error.kind(), ErrorKind::Config);
    Some(error.to_string())
}

#[tokio::test]
async fn a_setting_of_the_wrapped_client_is_refused_unless_it_was_decided() {
    let server = Server::named("users").await;
    let mesh = mesh(&server);
    let second = Duration::from_secs(1);
    let secret = || HeaderMap::from_iter([(header::AUTHORIZATION, "Bearer x".parse().unwrap())]);
    macro_rules! case {
        ($what:literal, $theirs:expr, $($ours:expr),+) => {
            let text = refused(&mesh, $theirs, |ours| ours).expect($what);
            assert!(text.contains($what), "{text}");
            assert!(!text.contains("Bearer"), "{text}");
            $(assert_eq!(refused(&mesh, $theirs, $ours), None, $what);)+
        };
    }
    case!("a proxy", |c| c.proxy(Proxy::all("http://10.0.0.1:1").unwrap()), |o| o.no_proxy());
    case!("a cookie store", |c| c.cookie_store(true), |o| o.cookie_store(true), |o| o
        .cookie_store(false));
    case!(
        "default headers",
        |c| c.default_headers(secret()),
        |o| o.default_headers(secret()),
        |o| o.default_headers(HeaderMap::new())
    );
    case!("default headers", |c| c.user_agent("app/1"), |o| o.user_agent("app/1"));
    case!("a redirect policy", |c| c.redirect(Theirs::none()), |o| o.redirect(Policy::none()));
    case!("a timeout", |c| c.timeout(second), |o| o.timeout(second), |o| o.timeout(None));
    case!("`gzip`", |c| c.gzip(true), |o| o.gzip(true), |o| o.gzip(false), |o| o.no_gzip());
    case!("a read timeout", |c| c.read_timeout(second), |o| o.read_timeout(second));
}

#[tokio::test]
async fn values_that_are_none_are_refused() {
    let server = Server::named("users").await;
    let mesh = mesh(&server);
    for (builder, what) in [
        (mesh.reqwest(plain()).user_agent("no\nagent"), "the user agent is no header value"),
        (mesh.reqwest(plain()).timeout(Duration::ZERO), "timeout = 0ns: must be over 0"),
        (mesh.reqwest(plain()).read_timeout(Duration::ZERO), "read_timeout = 0ns"),
    ] {
        let error = builder.build().unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[tokio::test]
async fn a_proxy_is_not_used_for_names_of_the_mesh() {
    let users = Server::named("users").await;
    let proxy = Server::named("proxy").await;
    let all = Proxy::all(format!("http://{}", proxy.socket())).unwrap();
    let plain = crate::bare().proxy(all).build().unwrap();
    let http = mesh(&users).reqwest(plain).no_proxy().build().unwrap();
    let response = http.get("http://users.prod/").send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "users");
    assert_eq!(proxy.connections(), 0);
}

/// Its own connections have them; those of the mesh are the cluster's affair.
#[tokio::test]
async fn settings_of_its_own_connections_change_nothing_for_names_of_the_mesh() {
    let elsewhere = Server::named("elsewhere").await;
    let users = Server::start(async |request| reply(format!("{:?}", request.version()))).await;
    let plain = crate::bare()
        .http2_prior_knowledge()
        .pool_max_idle_per_host(0)
        .pool_idle_timeout(Duration::from_nanos(1))
        .connect_timeout(Duration::from_nanos(1))
        .resolve("users.prod", elsewhere.socket())
        .build()
        .unwrap();
    let http = mesh(&users).reqwest(plain).build().unwrap();
    for _ in 0..3 {
        let response = http.get("http://users.prod/").send().await.unwrap();
        assert_eq!(response.text().await.unwrap(), "HTTP/1.1");
    }
    assert_eq!((users.connections(), elsewhere.connections()), (1, 0));
}

#[tokio::test]
async fn laxness_of_the_wrapped_client_is_not_the_meshs() {
    let server = RawServer::start(|mut stream, _| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        // Whether it is `X-Own` is a setting too.
        let head = String::from_utf8(head).unwrap();
        let own = if head.contains("x-own: 1") { "kept" } else { "title" };
        let answer =
            format!("HTTP/1.1 200 OK\r\nx-a : 1\r\ncontent-length: 0\r\nx-{own}: 1\r\n\r\n");
        drop(stream.write_all(answer.as_bytes()).await);
    })
    .await;
    let lax = || {
        let lax = crate::bare().http1_allow_spaces_after_header_name_in_responses(true);
        lax.http1_title_case_headers().build().unwrap()
    };
    let url = format!("http://{}/", server.address());
    let alone = patience(lax().get(url).header("x-own", "1").send()).await.unwrap();
    assert!(alone.headers().contains_key("x-title"), "{alone:?}");
    let mesh = Mesh::builder().endpoints("users.prod", [server.address()]).build().unwrap();
    let http = mesh.reqwest(lax()).build().unwrap();
    let error = patience(http.post("http://users.prod/").send()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transport, "{error:?}");
}
