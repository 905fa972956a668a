//! What is sent: methods, headers, bodies, versions, retries.

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderMap, Method, StatusCode, Version, header};
use http_body_util::BodyExt;
use reqwest::{Body, Request, Url, multipart::Form};
use tower::{ServiceBuilder, ServiceExt};
use tower_mesh::{Call, Event, Mesh, Retry};

use crate::{
    client, mesh, plain, seen,
    support::{Recorder, Server, patience, reply, status},
};

/// Answers with method, target, headers and body as they came.
async fn echo() -> Server {
    Server::start(|request| async move {
        let names = ["accept", "user-agent", "authorization", "x-a", "content-type", "host"];
        let head = seen(&request, &names).into_body().collect().await.unwrap().to_bytes();
        let version = format!("{:?}\n", request.version());
        let body = request.into_body().collect().await.unwrap().to_bytes();
        reply([version.as_bytes(), &head, &body].concat())
    })
    .await
}

async fn text(request: tower_mesh::adapt::reqwest::RequestBuilder) -> String {
    patience(request.send()).await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn every_method_of_the_client_reaches_the_service() {
    let server = echo().await;
    let http = client(&mesh(&server));
    let url = "http://users.prod/a?b=c";
    for (request, method) in [
        (http.get(url), "GET"),
        (http.post(url), "POST"),
        (http.put(url), "PUT"),
        (http.patch(url), "PATCH"),
        (http.delete(url), "DELETE"),
        (http.request(Method::OPTIONS, url), "OPTIONS"),
    ] {
        let text = text(request).await;
        assert!(
            text.contains(&format!("\n{method} /a?b=c\naccept: */*\nhost: users.prod\n")),
            "{text}"
        );
    }
    assert_eq!(http.head(url).send().await.unwrap().status(), 200);
    let request = Request::new(Method::GET, Url::parse(url).unwrap());
    assert_eq!(http.execute(request).await.unwrap().status(), 200);
    assert_eq!(server.requests(), 8);
}

/// What the example `reqwest` promises.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_post_fails_once_the_connections_of_a_killed_endpoint_are_seen_to_be_closed() {
    for _ in 0..60 {
        let (one, two) = (Server::named("one").await, Server::named("two").await);
        let address = one.socket().to_string();
        let mesh = Mesh::builder()
            .endpoints("users.prod", [one.address(), two.address()])
            .build()
            .unwrap();
        let (mut events, http) = (Recorder::of(&mesh), client(&mesh));
        while one.requests() == 0 || two.requests() == 0 {
            text(http.get("http://users.prod/")).await;
        }
        one.abort();
        let made = |event: &Event| matches!(event, Event::Connected { endpoint, .. } if **endpoint == *address);
        let closed = |event: &Event| matches!(event, Event::Disconnected { endpoint, .. } if **endpoint == *address);
        patience(async {
            while events.count(closed) < events.count(made) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        for _ in 0..20 {
            text(http.post("http://users.prod/").body("a user")).await;
        }
    }
}

#[tokio::test]
async fn case_and_the_usual_port_of_a_url_do_not_matter() {
    let server = echo().await;
    let http = client(&mesh(&server));
    for url in ["http://users.prod/1", "http://USERS.prod:80/1", "http://users.prod:8080/1"] {
        assert_eq!(http.get(url).send().await.unwrap().status(), 200, "{url}");
    }
}

#[tokio::test]
async fn the_scheme_of_a_url_goes_to_the_mesh_which_decides_what_it_means() {
    let mesh = Mesh::builder()
        .endpoints("users.prod", ["10.0.0.1:80".parse::<std::net::SocketAddr>().unwrap()])
        .call_layer(tower::layer::layer_fn(|_next: tower_mesh::Next| {
            tower::service_fn(|request: http::Request<tower_mesh::Body>| async move {
                let scheme = request.uri().scheme_str().unwrap_or_default().to_owned();
                let response = http::Response::new(tower_mesh::Body::from(scheme));
                Ok::<_, tower_mesh::BoxError>(response)
            })
        }))
        .build()
        .unwrap();
    let http = client(&mesh);
    assert_eq!(text(http.get("http://users.prod/")).await, "http");
    assert_eq!(text(http.get("https://users.prod/")).await, "https");
}

#[tokio::test]
async fn headers_query_json_form_and_authentication_are_written_as_reqwest_does() {
    let server = echo().await;
    let http = client(&mesh(&server));
    let pairs = BTreeMap::from([("a", "1"), ("b", "x y")]);
    let url = "http://users.prod/x";
    let query = text(http.get(url).query(&pairs).header("x-a", "1").header("x-a", "2")).await;
    assert!(query.contains("GET /x?a=1&b=x+y\n"), "{query}");
    assert!(query.contains("x-a: 1\nx-a: 2\n"), "{query}");
    let json = text(http.post(url).json(&pairs)).await;
    assert!(json.contains("content-type: application/json\n"), "{json}");
    assert!(json.ends_with(r#"{"a":"1","b":"x y"}"#), "{json}");
    let form = text(http.post(url).form(&pairs)).await;
    assert!(form.contains("content-type: application/x-www-form-urlencoded\n"), "{form}");
    assert!(form.ends_with("a=1&b=x+y"), "{form}");
    let bearer = text(http.get(url).bearer_auth("token")).await;
    assert!(bearer.contains("authorization: Bearer token\n"), "{bearer}");
    let basic = text(http.get(url).basic_auth("u", Some("p"))).await;
    assert!(basic.contains("authorization: Basic dTpw\n"), "{basic}");
    let of_url = text(http.get("http://u:p@users.prod/x")).await;
    assert!(of_url.contains("authorization: Basic dTpw\n"), "{of_url}");
    let replaced = HeaderMap::from_iter([(header::USER_AGENT, "me".parse().unwrap())]);
    let agent = text(http.get(url).header("user-agent", "you").headers(replaced)).await;
    assert!(agent.contains("user-agent: me\n"), "{agent}");
}

#[tokio::test]
async fn a_user_in_the_url_of_a_request_that_is_executed_reaches_no_error_and_no_server() {
    let server = echo().await;
    let http = client(&mesh(&server));
    let url = Url::parse("http://u:secret@users.prod/x").unwrap();
    let response = http.execute(Request::new(Method::GET, url)).await.unwrap();
    assert_eq!(response.url().as_str(), "http://users.prod/x");
    assert!(!response.text().await.unwrap().contains("secret"));
}

#[tokio::test]
async fn default_headers_are_sent_unless_the_request_has_its_own() {
    let server = echo().await;
    let mut headers = HeaderMap::new();
    headers.append("x-a", "1".parse().unwrap());
    headers.append("x-a", "2".parse().unwrap());
    let mesh = mesh(&server);
    let http = mesh.reqwest(plain()).user_agent("app/1").default_headers(headers).build().unwrap();
    let usual = text(http.get("http://users.prod/")).await;
    assert!(usual.contains("accept: */*\nuser-agent: app/1\nx-a: 1\nx-a: 2\n"), "{usual}");
    let own = http.get("http://users.prod/").header("x-a", "3").header("accept", "text/plain");
    let own = text(own).await;
    assert!(own.contains("accept: text/plain\nuser-agent: app/1\nx-a: 3\nhost"), "{own}");
}

#[tokio::test]
async fn the_version_of_a_request_is_the_protocol_where_the_endpoint_has_none() {
    let server = echo().await;
    let http = client(&mesh(&server));
    let of = |version| http.get("http://users.prod/").version(version);
    assert!(text(of(Version::HTTP_2)).await.starts_with("HTTP/2.0\n"));
    assert!(text(of(Version::HTTP_11)).await.starts_with("HTTP/1.1\n"));
    let response = of(Version::HTTP_2).send().await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
}

#[tokio::test]
async fn a_body_that_streams_goes_out_while_it_is_made() {
    let server = echo().await;
    let http = client(&mesh(&server));
    let (parts, stream) = futures_channel();
    let sending =
        tokio::spawn(text(http.post("http://users.prod/").body(Body::wrap_stream(stream))));
    for part in ["one ", "two ", "three"] {
        parts.send(Ok(part)).unwrap();
        tokio::task::yield_now().await;
    }
    drop(parts);
    assert!(patience(sending).await.unwrap().ends_with("one two three"));
}

type Part = Result<&'static str, std::io::Error>;

fn futures_channel() -> (
    tokio::sync::mpsc::UnboundedSender<Part>,
    impl futures_util::Stream<Item = Part> + Send + 'static,
) {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    (sender, futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx)))
}

#[tokio::test]
async fn a_multipart_form_goes_out_whole() {
    let server = echo().await;
    let http = client(&mesh(&server));
    let form = Form::new().text("a", "1").text("file", "content");
    let boundary = form.boundary().to_owned();
    let text = text(http.post("http://users.prod/").multipart(form)).await;
    assert!(text.contains(&format!("content-type: multipart/form-data; boundary={boundary}\n")));
    assert!(text.contains("name=\"file\"\r\n\r\ncontent\r\n"), "{text}");
}

/// Fails the first of two requests, and answers with the body of the second.
async fn flaky() -> Server {
    let failed = Arc::new(std::sync::atomic::AtomicBool::new(false));
    Server::start(move |request| {
        let failed = Arc::clone(&failed);
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            if failed.fetch_xor(true, std::sync::atomic::Ordering::SeqCst) {
                reply(body)
            } else {
                status(StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    })
    .await
}

#[tokio::test]
async fn bodies_in_memory_streamed_and_multipart_are_sent_again_by_a_retry() {
    let server = flaky().await;
    let mesh = mesh(&server);
    let http = client(&mesh);
    let url = "http://users.prod/";
    let whole = http.put(url).body("whole");
    assert_eq!(text(whole).await, "whole");
    let parts = ["in ", "parts"].map(Ok::<_, std::io::Error>);
    let streamed = http.put(url).body(Body::wrap_stream(futures_util::stream::iter(parts)));
    assert_eq!(text(streamed).await, "in parts");
    let form = http.put(url).multipart(Form::new().text("a", "content"));
    assert!(text(form).await.contains("content"));
    assert_eq!(server.requests(), 6);
}

#[tokio::test]
async fn a_stream_over_the_cap_of_the_policy_is_not_sent_again() {
    let server = flaky().await;
    let mesh = Mesh::builder()
        .service("users.prod", |service| service.retry(Retry::standard().max_body_bytes(4)))
        .endpoints("users.prod", [server.address()])
        .build()
        .unwrap();
    let mut recorder = Recorder::of(&mesh);
    let parts = ["in ", "parts"].map(Ok::<_, std::io::Error>);
    let body = Body::wrap_stream(futures_util::stream::iter(parts));
    let response = client(&mesh).put("http://users.prod/").body(body).send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(recorder.refusals(), ["body too large"]);
}

#[tokio::test]
async fn what_a_call_asks_for_beyond_its_policy_holds() {
    let server = flaky().await;
    let mesh = mesh(&server);
    let http = client(&mesh);
    let url = "http://users.prod/";
    let once = http.put(url).call(Call::new().no_retry()).send().await.unwrap();
    assert_eq!((once.status().as_u16(), server.requests()), (503, 1));
    let again = http.put(url).send().await.unwrap();
    assert_eq!((again.status().as_u16(), server.requests()), (200, 2));
    let declared = http.post(url).call(Call::new().idempotent(true)).send().await.unwrap();
    assert_eq!((declared.status().as_u16(), server.requests()), (200, 4));
}

#[tokio::test]
async fn what_a_call_asks_for_goes_through_a_built_request_and_its_clones() {
    let server = flaky().await;
    let mesh = mesh(&server);
    let http = client(&mesh);
    let builder = http.put("http://users.prod/").body("x").call(Call::new().no_retry());
    let clone = builder.try_clone().unwrap();
    let request = builder.build().unwrap();
    assert_eq!(request.url().as_str(), "http://users.prod/");
    assert_eq!(http.execute(request).await.unwrap().status(), 503);
    let (again, request) = clone.build_split();
    assert_eq!(again.execute(request.unwrap()).await.unwrap().status(), 200);
    let mut own = http::Request::put("http://users.prod/").body("x").unwrap();
    own.extensions_mut().insert(Call::new().no_retry());
    let request = Request::try_from(own).unwrap();
    assert_eq!(http.execute(request).await.unwrap().status(), 503);
}

#[tokio::test]
async fn a_builder_goes_on_from_a_request_and_is_not_cloned_with_a_stream() {
    let server = echo().await;
    let http = client(&mesh(&server));
    let request = http.get("http://users.prod/").build().unwrap();
    assert!(request.body().is_none());
    let again = tower_mesh::adapt::reqwest::RequestBuilder::from_parts(http.clone(), request);
    assert!(text(again.header("x-a", "1")).await.contains("x-a: 1\n"));
    let parts = ["x"].map(Ok::<_, std::io::Error>);
    let stream = Body::wrap_stream(futures_util::stream::iter(parts));
    assert!(http.put("http://users.prod/").body(stream).try_clone().is_none());
}

#[tokio::test]
async fn it_is_a_tower_service_of_reqwests_requests() {
    let server = echo().await;
    let http = client(&mesh(&server));
    let request = || Request::new(Method::GET, Url::parse("http://users.prod/").unwrap());
    let service = ServiceBuilder::new()
        .concurrency_limit(1)
        .timeout(std::time::Duration::from_secs(5))
        .service(http.clone());
    assert_eq!(service.oneshot(request()).await.unwrap().status(), 200);
    let mut borrowed = &http;
    let borrowed = tower::Service::call(&mut borrowed, request());
    assert_eq!(borrowed.await.unwrap().status(), 200);
}
