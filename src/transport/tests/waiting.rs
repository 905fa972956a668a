//! Callers who wait for a connection, and whom one that is given back is for.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::runtime::Handle;

use super::silent::{Silent, pool};
use crate::config::{CallPriority, Protocol, TransportSettings};

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_given_back_is_not_for_one_who_makes_another() {
    let peers = Arc::<Silent>::default();
    let settings = TransportSettings { http1_max_connections: 2, ..TransportSettings::default() };
    let pool = pool(&Handle::current(), &peers, settings);
    let acquire = || pool.acquire(Protocol::Http1, false, CallPriority::Default);
    let lease = acquire().await.ok().unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    peers.is_deaf.store(true, SeqCst);
    let mut cx = Context::from_waker(Waker::noop());
    let mut maker = acquire();
    assert!(maker.as_mut().poll(&mut cx).is_pending());
    let mut waiter = acquire();
    assert!(waiter.as_mut().poll(&mut cx).is_pending());
    drop(lease);
    assert!(matches!(waiter.as_mut().poll(&mut cx), Poll::Ready(Ok(_))), "it waits for a dial");
    assert!(maker.as_mut().poll(&mut cx).is_pending());
}
