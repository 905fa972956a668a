//! The subjects of the benches over HTTP/2: bare hyper, and meshes that do more and more.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower_mesh::{
    Body, Client, Error, Mesh,
    config::{Config, TransportSettings},
    discover::Static,
    transport::Io,
};

use super::{
    calls::{self, Caller, WARM_UP, drive, read, request},
    peer::{Answer, Peers},
    proofs::prove,
    script::Script,
};

/// Endpoints, each with one connection; bare hyper takes the same number of connections in turn.
pub(crate) const ENDPOINTS: usize = 3;

/// The configured timeout: far from what a call takes, so that it only costs.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// What a mesh is asked to do with each call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Work {
    /// Balancing and counters only.
    Balance,
    /// Routes, EWMA, deadline, budget, breakers; one attempt, so that nothing is kept for another.
    Full,
    /// The same as it is by default for a POST: kept, to be sent again if it is refused.
    Safe,
    /// The same with a retry armed.
    Armed,
    /// The same with all of traffic management configured, none of which has anything to do.
    Idle,
}

/// How bare hyper is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Plain {
    /// As it is, over a stream whose type it knows.
    Default,
    /// With the mesh's keepalive and windows, over a stream behind a `Box<dyn …>`, as connect
    /// layers (and every client that offers them) have it: what the gates compare with.
    Settings,
    /// The same with the header that a mesh with a deadline writes.
    Timeout,
    /// The same with a trace context that differs per call besides.
    Traced,
}

/// Bare hyper: one `SendRequest` per connection, taken in turn.
pub(crate) struct Bare {
    runtime: Runtime,
    caller: BareCaller,
}

#[derive(Clone)]
struct BareCaller {
    senders: Arc<Vec<SendRequest<Full<Bytes>>>>,
    turn: Arc<AtomicUsize>,
    timeout: bool,
    traced: bool,
}

/// A mesh over the same peers.
pub(crate) struct Meshed {
    pub(super) runtime: Runtime,
    pub(super) mesh: Mesh,
    caller: MeshCaller,
    pub(super) script: Script,
}

#[derive(Clone)]
struct MeshCaller(Client);

// === impl Bare ===

impl Bare {
    pub(crate) fn new(plain: Plain) -> Self {
        let runtime = calls::runtime();
        let peers = Peers::new(Answer::http());
        let senders = runtime.block_on(async {
            let mut senders = Vec::new();
            for _ in 0..ENDPOINTS {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                if plain != Plain::Default {
                    let settings = TransportSettings::default();
                    builder
                        .timer(TokioTimer::new())
                        .keep_alive_interval(settings.http2_ping_interval)
                        .keep_alive_timeout(settings.http2_ping_timeout)
                        .initial_stream_window_size(settings.http2_stream_window_bytes)
                        .initial_connection_window_size(settings.http2_connection_window_bytes);
                }
                senders.push(if plain == Plain::Default {
                    let (sender, connection) = builder.handshake(peers.connect()).await.unwrap();
                    tokio::spawn(connection);
                    sender
                } else {
                    let stream: Box<dyn Io> = Box::new(peers.connect());
                    let (sender, connection) = builder.handshake(stream).await.unwrap();
                    tokio::spawn(connection);
                    sender
                });
            }
            senders
        });
        let traced = plain == Plain::Traced;
        let timeout = traced || plain == Plain::Timeout;
        let senders = Arc::new(senders);
        let caller = BareCaller { senders, turn: Arc::default(), timeout, traced };
        let bare = Self { runtime, caller };
        bare.run(1, WARM_UP);
        bare
    }

    pub(crate) fn run(&self, concurrency: u32, calls: u32) {
        drive(&self.runtime, concurrency, calls, &self.caller);
    }
}

impl Caller for BareCaller {
    async fn call(&self) {
        let mut request = request(Method::POST);
        if self.timeout {
            calls::write_timeout(&mut request);
        }
        let call = self.turn.fetch_add(1, Relaxed);
        if self.traced {
            calls::write_trace(&mut request, call);
        }
        let mut sender = self.senders[call % ENDPOINTS].clone();
        read(sender.send_request(request).await.unwrap()).await;
    }
}

// === impl Meshed ===

impl Meshed {
    /// A mesh that has proved that it does what is measured.
    pub(crate) fn new(work: Work) -> Self {
        prove(work);
        let meshed = Self::build(work, TIMEOUT);
        meshed.run(1, WARM_UP);
        meshed
    }

    pub(crate) fn build(work: Work, timeout: Duration) -> Self {
        Self::of(config(work, timeout))
    }

    pub(super) fn of(config: Config) -> Self {
        let runtime = calls::runtime();
        let peers = Peers::new(Answer::http());
        let script = peers.script.clone();
        let (mesh, client) = runtime.block_on(async move {
            let mesh = Mesh::builder()
                .source(Static::new(config))
                .connect_layer(peers)
                .seed(7)
                .build()
                .unwrap();
            mesh.ready().await.unwrap();
            let client = mesh.client("users.prod").unwrap();
            (mesh, client)
        });
        Self { runtime, mesh, caller: MeshCaller(client), script }
    }

    pub(crate) fn run(&self, concurrency: u32, calls: u32) {
        drive(&self.runtime, concurrency, calls, &self.caller);
    }

    /// The same through the front door that takes the service from the request's authority.
    pub(crate) fn run_by_authority(&self, concurrency: u32, calls: u32) {
        drive(&self.runtime, concurrency, calls, &MeshCaller(self.mesh.http()));
    }

    pub(super) fn client(&self) -> &Client {
        &self.caller.0
    }

    /// One call, answered or not.
    pub(super) fn send(&self, request: Request<Body>) -> Result<StatusCode, Error> {
        let response = self.caller.0.send(request);
        self.runtime.block_on(calls::patiently(response)).map(|response| response.status())
    }
}

impl Caller for MeshCaller {
    async fn call(&self) {
        let request = request::<Body>(Method::POST);
        read(self.0.send(request).await.unwrap()).await;
    }
}

/// Calls in flight that the breaker of the cluster allows.
pub(crate) const LIMIT: u32 = 128;

pub(crate) fn config(work: Work, timeout: Duration) -> Config {
    limited(work, timeout, LIMIT)
}

/// The same with a breaker that allows so many calls in flight.
pub(super) fn limited(work: Work, timeout: Duration, breaker: u32) -> Config {
    let endpoints = json!([
        {"address": "10.0.0.1:80"}, {"address": "10.0.0.2:80"}, {"address": "10.0.0.3:80"},
    ]);
    let config = if work == Work::Balance {
        json!({"clusters": {"users.prod": {
            "endpoints": endpoints, "protocol": "http2", "balancer": "least_request",
        }}, "services": {"users.prod": {"policy": {"retry": {"attempts": 1}}}}})
    } else {
        let retry = match work {
            Work::Idle => json!({
                "idempotent": true,
                "budget": {"ratio": 0.2, "min_per_second": 10, "ttl": "10s"},
                "throttle": {"max_tokens": 100, "token_ratio": 0.1},
            }),
            Work::Armed => {
                json!({"idempotent": true, "budget": {"ratio": 0.2, "min_per_second": 10, "ttl": "10s"}})
            }
            Work::Safe => {
                json!({"budget": {"ratio": 0.2, "min_per_second": 10, "ttl": "10s"}})
            }
            Work::Balance | Work::Full => {
                json!({"attempts": 1, "budget": {"ratio": 0.2, "min_per_second": 10, "ttl": "10s"}})
            }
        };
        let to = json!([{"name": "users.prod"}]);
        let policy = json!({
            "timeout": format!("{}ms", timeout.as_millis()),
            "max_requests": 2 * LIMIT,
            "retry": retry,
        });
        let breakers = json!({"max_requests": breaker});
        let (policy, breakers, filters) = match work {
            Work::Idle => (
                with(policy, idle_policy(timeout)),
                with(breakers, idle_breakers()),
                idle_filters(),
            ),
            _ => (policy, breakers, json!([])),
        };
        // Three routes that do not take the request, and the one that does.
        json!({
            "clusters": {"users.prod": {
                "endpoints": endpoints,
                "protocol": "http2",
                "balancer": {"peak_ewma": {"decay": "10s"}},
                "breakers": breakers,
                "outlier_detection": {"consecutive_5xx": 5},
            }},
            "services": {"users.prod": {
                "policy": policy,
                "filters": filters,
                "routes": [
                    {"clusters": to, "matches": [{"headers": [
                        {"name": "x-tenant", "matcher": {"exact": "tenant-2"}},
                    ]}]},
                    {"clusters": to, "matches": [{"path": {"prefix": "/admin"}}]},
                    {"clusters": to, "matches": [
                        {"path": {"prefix": "/v1/users"}, "method": "DELETE"},
                    ]},
                    {"clusters": to, "matches": [
                        {"path": {"prefix": "/v1/users"}}, {"path": {"prefix": "/v2"}},
                    ]},
                ],
            }},
        })
    };
    serde_json::from_value(config).unwrap()
}

/// Every filter that decides about a call, none of which ever decides against one.
fn idle_filters() -> Value {
    json!([
        {"authorize": {"rules": [
            {"name": "no admin", "action": "deny", "permissions": [{"path": {"prefix": "/admin"}}]},
            {"name": "everybody"},
        ]}},
        {"rate_limit": {"bucket": {"max_tokens": 4_000_000, "tokens_per_fill": 4_000_000}}},
        {"throttle": {}},
        {"admission_control": {}},
        {"adaptive_concurrency": {"initial_concurrency": 1000, "min_concurrency": 1000, "max_concurrency": 1000}},
        {"fault": {
            "delay": {"fixed": "1s", "percent": 0},
            "abort": {"status": 503, "percent": 0},
            "response_rate": {"bytes_per_second": 1024, "percent": 0},
        }},
    ])
}

/// Bounds, hedges and counts that are never due.
fn idle_policy(timeout: Duration) -> Value {
    let part = |tenths: u32| format!("{}ms", (timeout * tenths / 10).as_millis());
    json!({
        "attempt_timeout": part(9),
        "idle_timeout": "60s",
        "max_stream_duration": "600s",
        "hedge": {"delay": part(8), "max_attempts": 2},
    })
}

/// Limits that are far away.
fn idle_breakers() -> Value {
    json!({
        "max_connections": 1000,
        "max_pending": 1000,
        "max_retries": 1000,
        "retry_budget": {"percent": 20, "min_concurrency": 3},
    })
}

/// The fields of both.
fn with(mut one: Value, other: Value) -> Value {
    if let (Some(one), Value::Object(other)) = (one.as_object_mut(), other) {
        one.extend(other);
    }
    one
}
