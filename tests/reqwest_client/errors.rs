//! One type of error, whatever went wrong: ours.

use std::error::Error as _;

use http::{Method, StatusCode};
use reqwest::{Request, Url};
use tower_mesh::{Error, ErrorKind, Mesh, Phase};

use crate::{
    client, mesh, plain,
    support::{RawServer, Server, dead_address, patience, raw::read_head, status},
};

#[tokio::test]
async fn what_the_builder_was_given_and_is_no_request_is_told_when_sent_and_when_built() {
    let server = Server::named("users").await;
    let http = client(&mesh(&server));
    let url = "http://users.prod/";
    let no_json = std::collections::BTreeMap::from([((1, 2), 3)]);
    for make in [
        &|| http.get("no url") as _,
        &|| http.get("data:text/plain,hello"),
        &|| http.get(url).header("no name", "x"),
        &|| http.get(url).header("x", "no\nvalue"),
        &|| http.post(url).json(&no_json),
        &|| http.get(url).query("no pairs"),
    ] as [&dyn Fn() -> tower_mesh::adapt::reqwest::RequestBuilder; 6]
    {
        let sent = patience(make().send()).await.unwrap_err();
        let built = make().build().unwrap_err();
        for error in [sent, built] {
            assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error:?}");
            let source = error.source().unwrap().downcast_ref::<reqwest::Error>().unwrap();
            assert!(source.is_builder());
        }
    }
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn a_scheme_that_is_not_http_is_refused() {
    let server = Server::named("users").await;
    let http = client(&mesh(&server));
    let url = Url::parse("ftp://users.prod/").unwrap();
    for request in [Request::new(Method::GET, url), http.get("ftp://users.prod/").build().unwrap()]
    {
        let error = http.execute(request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        assert!(
            error.to_string().contains("the scheme `ftp` is neither http nor https"),
            "{error}"
        );
    }
    let strict = mesh(&server).reqwest(plain()).https_only(true).build().unwrap();
    let error = strict.get("http://users.prod/").send().await.unwrap_err();
    assert!(error.to_string().contains("the URL is not https"), "{error}");
}

#[tokio::test]
async fn a_name_that_nobody_defines_is_refused_and_never_called_past_the_mesh() {
    let server = Server::named("users").await;
    let bystander = Server::named("bystander").await;
    let http = client(&mesh(&server));
    let url = format!("http://{}/", bystander.socket());
    let error = patience(http.get(url).send()).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::UnknownService, Phase::Resolve));
    let error = patience(http.get("http://users.prd/?secret=1").send()).await.unwrap_err();
    assert_eq!(error.service_name(), Some("users.prd"));
    assert!(!error.chain().contains("secret"), "{}", error.chain());
    assert_eq!(bystander.connections(), 0);
}

#[tokio::test]
async fn failures_of_calls_are_those_of_the_mesh() {
    let (dead, _held) = dead_address();
    let mesh = Mesh::builder().endpoints("users.prod", [dead]).build().unwrap();
    let error = client(&mesh).get("http://users.prod/").send().await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    assert_eq!(error.service_name(), Some("users.prod"));
    mesh.shutdown(std::time::Duration::ZERO).await;
    let error = client(&mesh).get("http://users.prod/").send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shutdown);
}

/// The whole way of a call with one type of error.
async fn fetch(http: &tower_mesh::adapt::reqwest::Client) -> Result<serde_json::Value, Error> {
    let response = http.get("http://users.prod/?secret=1").send().await?;
    Ok(response.error_for_status()?.json().await?)
}

#[tokio::test]
async fn statuses_and_content_that_cannot_be_read_are_the_same_type() {
    let missing = Server::start(|_| async { status(StatusCode::NOT_FOUND) }).await;
    let error = fetch(&client(&mesh(&missing))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidResponse);
    assert_eq!(error.service_name(), Some("users.prod"));
    assert!(error.to_string().contains("status 404"), "{error}");
    let source = error.source().unwrap().downcast_ref::<reqwest::Error>().unwrap();
    assert_eq!(source.status(), Some(StatusCode::NOT_FOUND));
    assert!(!error.chain().contains("secret"), "{}", error.chain());
    let text = Server::named("no json").await;
    let error = fetch(&client(&mesh(&text))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidResponse, "{error:?}");
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_a_failure_of_the_transport() {
    use tokio::io::AsyncWriteExt;
    let server = RawServer::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        let _sent = stream.write_all(b"no http\r\n\r\n").await;
    })
    .await;
    let mesh = Mesh::builder().endpoints("users.prod", [server.address()]).build().unwrap();
    let error = patience(client(&mesh).post("http://users.prod/").send()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transport, "{error:?}");
}

#[tokio::test]
async fn an_upload_that_fails_is_the_callers_failure() {
    let server = Server::start(|request| async move {
        let _read = http_body_util::BodyExt::collect(request.into_body()).await;
        status(StatusCode::OK)
    })
    .await;
    let http = client(&mesh(&server));
    let parts = [Ok("part"), Err(std::io::Error::other("the disk is gone"))];
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(parts));
    let error = patience(http.put("http://users.prod/").body(body).send()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequestBody, "{error:?}");
    assert!(error.chain().contains("the disk is gone"), "{}", error.chain());
}

#[tokio::test]
async fn a_future_that_is_polled_after_its_end_does_not_panic() {
    use futures_util::FutureExt;
    let server = Server::named("users").await;
    let http = client(&mesh(&server));
    let mut failed = Box::pin(http.get("no url").send());
    assert!((&mut failed).await.is_err());
    assert!((&mut failed).now_or_never().is_none());
    let mut answered = Box::pin(http.get("http://users.prod/").send());
    assert!((&mut answered).await.is_ok());
    assert!((&mut answered).now_or_never().is_none());
}
