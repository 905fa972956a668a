//! The request that every subject sends, and how its answer is read.

use std::{hint::black_box, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, Version, header};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::runtime::{Builder, Runtime};

/// Bytes of a request body.
const PAYLOAD: usize = 1024;
/// Bytes of an answer's body.
pub(crate) const ANSWER: usize = 22;

/// Calls made before a function is measured.
pub(crate) const WARM_UP: u32 = 480;

/// The header with which the mesh tells an endpoint how long the caller will wait.
const TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Six headers and 1 KiB that was allocated for this request.
pub(crate) fn request<B: From<Vec<u8>>>(method: Method) -> Request<B> {
    filled(Request::new(B::from(vec![b'x'; PAYLOAD])), method)
}

/// The same, with room for what is written on the way.
pub(crate) fn roomy<B: From<Vec<u8>>>(method: Method) -> Request<B> {
    let mut request = Request::new(B::from(vec![b'x'; PAYLOAD]));
    request.headers_mut().reserve(12);
    filled(request, method)
}

fn filled<B>(mut request: Request<B>, method: Method) -> Request<B> {
    *request.method_mut() = method;
    *request.uri_mut() = "http://users.prod/v1/users/7".parse().unwrap();
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("bench/1"));
    headers.insert("x-tenant", HeaderValue::from_static("tenant-1"));
    headers.insert("x-region", HeaderValue::from_static("eu-central"));
    request
}

/// What the mesh writes when a call has a deadline, as a bare caller would write it.
pub(crate) fn write_timeout<B>(request: &mut Request<B>) {
    let mut value = HeaderValue::from_bytes(black_box(b"10000")).unwrap();
    value.set_sensitive(true);
    request.headers_mut().insert(TIMEOUT, value);
}

/// A trace context that differs per call, as a bare caller would write it.
pub(crate) fn write_trace<B>(request: &mut Request<B>, call: usize) {
    let mut text = *b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7100000000-00";
    for (digit, byte) in text[44..52].iter_mut().rev().enumerate() {
        *byte = b"0123456789abcdef"[call >> (4 * digit) & 15];
    }
    let mut value = HeaderValue::from_bytes(black_box(&text)).unwrap();
    value.set_sensitive(true);
    request.headers_mut().insert(TRACEPARENT, value);
}

/// Reads an answer to its end.
pub(crate) async fn read<B: Body<Data = Bytes> + Unpin>(response: Response<B>) {
    assert!(response.status().is_success());
    let mut body = response.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { panic!("the body failed") };
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
    assert_eq!(bytes, ANSWER);
}

/// Waits for what ends by its own timeout; a proof fails instead of hanging.
pub(crate) async fn patiently<T>(future: impl Future<Output = T>) -> T {
    let patience = Duration::from_secs(8);
    tokio::time::timeout(patience, future).await.expect("it does not end by its own timeout")
}

/// The runtime of a bench: everything on one thread.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// What makes one call and reads its answer; cloned once per task.
pub(crate) trait Caller: Clone + Send + 'static {
    fn call(&self) -> impl Future<Output = ()> + Send;
}

/// Makes `calls` calls, `concurrency` at a time.
pub(crate) fn drive(runtime: &Runtime, concurrency: u32, calls: u32, caller: &impl Caller) {
    runtime.block_on(async {
        if concurrency == 1 {
            for _ in 0..calls {
                caller.call().await;
            }
            return;
        }
        let tasks: Vec<_> = (0..concurrency)
            .map(|_| {
                let caller = caller.clone();
                tokio::spawn(async move {
                    for _ in 0..calls / concurrency {
                        caller.call().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}
