//! Connections to addresses that leave their endpoint.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use tokio::runtime::Handle;

use super::{
    super::{Connect, ConnectTarget, Io, Pool, h1, h2, pool::Berth, speak::Http},
    handed_over::{self, Silent},
};
use crate::{
    config::{Address, CallPriority, Protocol},
    core::{BoxError, BoxFuture},
};

/// Connects to the last address, and says so where it is asked to.
struct Last {
    peers: Arc<Silent>,
    says: AtomicBool,
}

impl Connect for Arc<Last> {
    fn connect(&self, target: ConnectTarget) -> BoxFuture<Result<Box<dyn Io>, BoxError>> {
        if let Some(last) = target.more_addresses.last()
            && self.says.load(SeqCst)
        {
            target.reached.note(last.clone());
        }
        Connect::connect(&self.peers, target)
    }
}

fn addresses(last: &[u8]) -> Arc<[Address]> {
    last.iter().map(|last| format!("10.0.0.{last}:80").parse().unwrap()).collect()
}

/// Makes a connection that was begun before `meanwhile`, and drives it; whether it is kept.
async fn keeps(pool: &Arc<Pool>, protocol: Protocol, meanwhile: impl FnOnce()) -> bool {
    let room = pool.dialer.room(CallPriority::Default, true).unwrap();
    let (berth, dialing) = (Berth::new(room, pool), pool.dialer.dialing());
    meanwhile();
    let Ok((spoken, life)) = pool.dialer.dial(protocol, dialing).await else {
        panic!("not connected")
    };
    let (owned, (tell, told)) = (Arc::clone(pool), tokio::sync::oneshot::channel());
    let told_so = move || {
        let _told = tell.send(());
    };
    let driven: BoxFuture<()> = match spoken.http {
        Http::V1(sender, halves) => {
            Box::pin(h1::adopt(owned, berth, (sender, halves), None, life, told_so))
        }
        Http::V2(sender, halves) => {
            Box::pin(h2::adopt(owned, berth, (sender, halves), None, life, told_so))
        }
    };
    tokio::spawn(driven);
    told.await.unwrap();
    pool.try_acquire(protocol, false, pool.now()).is_some()
}

#[tokio::test]
async fn a_connection_that_is_being_made_when_its_address_leaves_is_not_kept() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let pool = handed_over::pool(&Handle::current(), &Arc::default());
        pool.set_more_addresses(addresses(&[2, 3]));
        assert!(!keeps(&pool, protocol, || pool.set_more_addresses(addresses(&[3]))).await);
        assert!(keeps(&pool, protocol, || {}).await);
        // What comes takes nothing along.
        assert!(keeps(&pool, protocol, || pool.set_more_addresses(addresses(&[3, 4]))).await);
    }
}

#[tokio::test]
async fn connections_leave_with_the_address_that_they_lead_to_and_with_no_other() {
    let last = Arc::new(Last { peers: Arc::default(), says: AtomicBool::new(true) });
    let pool = handed_over::connecting(&Handle::current(), Arc::new(Arc::clone(&last)));
    let lease = || pool.try_acquire(Protocol::Http2, false, pool.now());
    pool.set_more_addresses(addresses(&[2, 3]));
    assert!(keeps(&pool, Protocol::Http2, || {}).await);
    pool.set_more_addresses(addresses(&[3]));
    assert!(lease().is_some(), "it leads to another");
    pool.set_more_addresses(addresses(&[]));
    assert!(lease().is_none());
    // A connector of the application's own does not say where it leads.
    last.says.store(false, SeqCst);
    pool.set_more_addresses(addresses(&[2, 3]));
    assert!(keeps(&pool, Protocol::Http2, || {}).await);
    pool.set_more_addresses(addresses(&[3]));
    assert!(lease().is_none());
}
