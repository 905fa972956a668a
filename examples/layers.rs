//! The resilience layers around a client that you have already: here hyper-util's.
//!
//! A loopback server answers badly on purpose; each paragraph of the output is one layer at work.
//!
//! ```text
//! cargo run --example layers
//! ```
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "an example talks and keeps short")]

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use tokio::{net::TcpListener, time::Instant};
use tower::{ServiceBuilder, ServiceExt};
use tower_mesh::{
    Body, BoxError, Error, config,
    resilience::{ConcurrencyLimitLayer, DeadlineLayer, RetryLayer},
};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let address = serve().await?;
    let uri = |path: &str| format!("http://{address}{path}");
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build_http();

    let service = ServiceBuilder::new()
        // The whole call; the server learns what is left.
        .layer(DeadlineLayer::new(Duration::from_secs(2)))
        // Over it a call fails at once.
        .layer(ConcurrencyLimitLayer::new(2))
        // Two retries, 25 ms to 1 s apart, at most 20 % of the calls and 10 per second.
        .layer(RetryLayer::new(&config::Retry::standard())?)
        // Each attempt.
        .layer(DeadlineLayer::new(Duration::from_millis(300)))
        .service(client);

    println!("GET /flaky: the server fails twice, the caller sees neither failure");
    let started = Instant::now();
    let response =
        service.clone().oneshot(Request::get(uri("/flaky")).body(Body::empty())?).await?;
    println!("  {} after {:.0?}\n", response.status(), started.elapsed());
    drop(response);

    println!("POST /busy: it may have been worked on, so it is not sent twice");
    let post = Request::post(uri("/busy")).body(Body::from("order 7"))?;
    println!("  {}\n", service.clone().oneshot(post).await?.status());

    println!("GET /hangs: every attempt is cut off at 300 ms");
    let started = Instant::now();
    let get = Request::get(uri("/hangs")).body(Body::empty())?;
    let error = service.clone().oneshot(get).await.err().unwrap();
    println!("  after {:.0?}: {error}\n", started.elapsed());

    println!("three calls at a time, where two are allowed");
    let calls = (0..3).map(|_| {
        let get = Request::get(uri("/slow")).body(Body::empty()).unwrap();
        service.clone().oneshot(get)
    });
    for (number, result) in futures_util::future::join_all(calls).await.into_iter().enumerate() {
        match result {
            Ok(response) => println!("  call {}: {}", number + 1, response.status()),
            Err(error) => {
                let overload = error.downcast_ref::<Error>().is_some_and(Error::is_overload);
                println!("  call {} (overload: {overload}): {error}", number + 1);
            }
        }
    }
    Ok(())
}

/// A server that answers badly on purpose, and says what it sees.
async fn serve() -> Result<SocketAddr, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(answer));
            tokio::spawn(connection);
        }
    });
    Ok(address)
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    static FLAKY: AtomicU32 = AtomicU32::new(0);
    let header = |name: &str| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned()
    };
    println!(
        "    server: {} {}, retry {}, {} ms left",
        request.method(),
        request.uri().path(),
        header("x-mesh-attempt"),
        header("x-envoy-expected-rq-timeout-ms"),
    );
    let path = request.uri().path().to_owned();
    drop(request.into_body().collect().await);
    let status = match &*path {
        "/flaky" if FLAKY.fetch_add(1, Ordering::Relaxed) < 2 => StatusCode::SERVICE_UNAVAILABLE,
        "/busy" => StatusCode::SERVICE_UNAVAILABLE,
        "/hangs" => std::future::pending().await,
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(50)).await;
            StatusCode::OK
        }
        _ => StatusCode::OK,
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    Ok(response)
}
