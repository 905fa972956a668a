//! What is known of connections that have ended, or that calls have left.

use std::sync::Arc;
#[cfg(feature = "orca")]
use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Duration,
};

use http::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    runtime::Handle,
    sync::oneshot,
};

#[cfg(feature = "orca")]
use super::{
    super::{Connect, ConnectTarget, Io},
    handed_over::set,
};
use super::{
    super::{ConnectError, Lease, Pool, Sent, h2, pool::Berth, speak::Http},
    handed_over::{Silent, pool},
};
#[cfg(feature = "orca")]
use crate::{config::TransportSettings, core::BoxError};
use crate::{
    config::{CallPriority, Protocol},
    core::{BoxFuture, DisconnectReason, Outgoing},
};

/// Makes a connection that is in its pool and idle, and drives it.
async fn connect(
    pool: &Arc<Pool>,
    protocol: Protocol,
    distrusted: Option<BoxFuture<DisconnectReason>>,
) {
    let Ok((spoken, life)) = pool.dialer.dial(protocol, pool.dialer.dialing()).await else {
        panic!("not connected")
    };
    let room = pool.dialer.room(CallPriority::Default, true).unwrap();
    let (pool, berth) = (Arc::clone(pool), Berth::new(room, pool));
    let (tell, told) = oneshot::channel();
    let told_so = move || {
        let _told = tell.send(());
    };
    match spoken.http {
        Http::V1(sender, halves) => tokio::spawn(async move {
            super::super::h1::adopt(pool, berth, (sender, halves), distrusted, life, told_so).await;
        }),
        Http::V2(sender, halves) => tokio::spawn(async move {
            h2::adopt(pool, berth, (sender, halves), distrusted, life, told_so).await;
        }),
    };
    told.await.unwrap();
}

async fn acquired(pool: &Arc<Pool>, protocol: Protocol) -> Lease {
    for _ in 0..1_000 {
        if let Some(lease) = pool.try_acquire(protocol, false, pool.now()) {
            return lease;
        }
        tokio::task::yield_now().await;
    }
    panic!("no connection is idle")
}

/// Reads a request of no body, and answers it.
async fn answer(far: &mut DuplexStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(far.read_u8().await.unwrap());
    }
    far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
}

/// A caller that leaves in the moment in which its answer comes takes nothing with it.
#[tokio::test]
async fn the_first_answer_of_a_connection_ends_its_back_off_whoever_left_before() {
    let peers: Arc<Silent> = Arc::default();
    let pool = pool(&Handle::current(), &peers);
    pool.dialer.failed(&ConnectError::new("refused"));
    connect(&pool, Protocol::Http1, None).await;
    let mut far = peers.0.lock().unwrap().pop().unwrap();
    let request = || Request::get("/").body(Outgoing::default()).unwrap();
    let left = acquired(&pool, Protocol::Http1).await.send(request());
    answer(&mut far).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    drop(left);
    let mut first_answers = Vec::new();
    for _ in 0..2 {
        let sent = acquired(&pool, Protocol::Http1).await.send(request());
        let (sent, ()) = futures_util::future::join(sent, answer(&mut far)).await;
        let Ok(Sent { first, .. }) = sent else { panic!("no answer") };
        first_answers.push(first);
    }
    assert_eq!(first_answers, [true, false]);
}

/// Nobody is to blame for what this side has closed.
#[tokio::test]
async fn a_connection_that_this_side_ends_unused_is_no_failure_of_its_endpoint() {
    for is_ours in [true, false] {
        let peers: Arc<Silent> = Arc::default();
        let pool = pool(&Handle::current(), &peers);
        let (tell, told) = oneshot::channel::<()>();
        let distrusted: BoxFuture<_> = Box::pin(async move {
            drop(told.await);
            DisconnectReason::Revoked
        });
        connect(&pool, Protocol::Http2, Some(distrusted)).await;
        assert!(pool.is_live());
        let far = peers.0.lock().unwrap().pop().unwrap();
        let tell = if is_ours {
            drop(tell);
            None
        } else {
            drop(far);
            Some(tell)
        };
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!pool.is_live());
        assert_eq!(pool.h2.useless(), u64::from(!is_ours));
        drop(tell);
    }
}

/// A connection beside others is no return; over HTTP/1.1, where they come and go, nor is one that follows
/// them, unless one could not be made.
#[cfg(feature = "orca")]
#[tokio::test]
async fn an_endpoint_returns_when_it_is_connected_to_after_its_connections_were_lost() {
    for (protocol, returns) in [(Protocol::Http2, [1, 2, 3]), (Protocol::Http1, [0, 0, 1])] {
        let peers: Arc<Silent> = Arc::default();
        let pool = pool(&Handle::current(), &peers);
        for (time, expected) in returns.into_iter().enumerate() {
            if time == 2 {
                pool.dialer.failed(&ConnectError::new("refused"));
            }
            for _ in 0..2 {
                connect(&pool, protocol, None).await;
                assert_eq!(pool.returns(), expected, "{protocol:?} {time}");
            }
            peers.0.lock().unwrap().clear();
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
            assert!(!pool.is_live());
        }
    }
}

/// Connects to nobody while it is told so.
#[cfg(feature = "orca")]
#[derive(Default)]
struct Reachable {
    peers: Arc<Silent>,
    is_gone: AtomicBool,
}

#[cfg(feature = "orca")]
impl Connect for Arc<Reachable> {
    fn connect(&self, target: ConnectTarget) -> BoxFuture<Result<Box<dyn Io>, BoxError>> {
        if self.is_gone.load(SeqCst) {
            return Box::pin(async { Err("there is nobody".into()) });
        }
        self.peers.connect(target)
    }
}

/// That a connection was given all its requests is no loss; that no other could be made after it is one.
#[cfg(feature = "orca")]
#[tokio::test]
async fn an_endpoint_returns_that_could_not_be_connected_to_after_a_connection_was_spent() {
    let endpoint: Arc<Reachable> = Arc::default();
    let settings = TransportSettings {
        max_requests_per_connection: Some(1),
        connect_backoff_base: Duration::from_nanos(1),
        ..TransportSettings::default()
    };
    let pool = set(&Handle::current(), Arc::new(Arc::clone(&endpoint)), settings);
    let acquire = || pool.acquire(Protocol::Http2, false, CallPriority::Default);
    for _ in 0..3 {
        drop(acquire().await.unwrap());
        assert_eq!(pool.returns(), 1);
    }
    endpoint.is_gone.store(true, SeqCst);
    assert!(acquire().await.is_err());
    endpoint.is_gone.store(false, SeqCst);
    for _ in 0..3 {
        drop(acquire().await.unwrap());
        assert_eq!(pool.returns(), 2);
    }
}
