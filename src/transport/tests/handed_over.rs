//! Requests that are handed over in the moment in which their connection ends.
//!
//! Two threads meet in that moment, often enough to find every order in which it can come. When both
//! are done nobody is left who could answer or wake: a request that has no outcome then has none for
//! ever.

use std::{
    hint::spin_loop,
    pin::pin,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread,
};

use http::Request;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncWriteExt, DuplexStream},
    runtime::{Builder, Handle, Runtime},
    sync::Notify,
};

use super::super::{
    Connect, ConnectTarget, Io, Lease, Pool, Protection, Reach, SendError, SendFuture, Shared, h1,
    h2, pool::Berth, speak::Http,
};
use crate::{
    config::{CallPriority, Protocol, TransportSettings},
    core::{BoxError, BoxFuture, Epoch, Events, Outgoing, Random, WireFailure},
    observe::{ClusterMeter, Hub},
};

/// An empty SETTINGS frame (RFC 9113 §6.5): no limits.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// Connects to peers that say this, and nothing more.
#[derive(Default)]
pub(in crate::transport) struct Silent(pub(super) Mutex<Vec<DuplexStream>>);

impl Connect for Arc<Silent> {
    fn connect(&self, target: ConnectTarget) -> BoxFuture<Result<Box<dyn Io>, BoxError>> {
        let peers = Self::clone(self);
        Box::pin(async move {
            let (near, mut far) = tokio::io::duplex(65_536);
            if target.protocol == Protocol::Http2 {
                far.write_all(&SETTINGS).await?;
            }
            peers.0.lock().unwrap().push(far);
            Ok(Box::new(TokioIo::new(near)) as Box<dyn Io>)
        })
    }
}

pub(in crate::transport) fn pool(handle: &Handle, peers: &Arc<Silent>) -> Arc<Pool> {
    connecting(handle, Arc::new(Arc::clone(peers)))
}

/// One that connects so.
pub(super) fn connecting(handle: &Handle, connector: Arc<dyn Connect>) -> Arc<Pool> {
    let settings = TransportSettings {
        http2_streams_per_connection: u32::MAX,
        ..TransportSettings::default()
    };
    set(handle, connector, settings)
}

/// One that connects so, and has these settings.
pub(super) fn set(
    handle: &Handle,
    connector: Arc<dyn Connect>,
    settings: TransportSettings,
) -> Arc<Pool> {
    let epoch = Epoch::now();
    let hub = Arc::new(Hub::new(Arc::new(Events::default()), epoch, &[], None));
    let shared = Shared::new(handle.clone(), Arc::new(Random::seeded(1)), epoch);
    let reach = Reach {
        address: "10.0.0.1:80".parse().unwrap(),
        more_addresses: Arc::new([]),
        protection: Protection::Plain,
        failed: Arc::new(Notify::new()),
        breakers: Arc::default(),
        http2_chosen: Arc::default(),
    };
    Pool::new(
        "10.0.0.1:80".into(),
        reach,
        Arc::new(settings),
        connector,
        Arc::new(shared),
        ClusterMeter::new(&"users".into(), &hub),
    )
}

/// Makes a connection that is in its pool and idle: what drives it.
fn connection(runtime: &Runtime, pool: &Arc<Pool>, protocol: Protocol) -> BoxFuture<()> {
    let dialed = runtime.block_on(pool.dialer.dial(protocol, pool.dialer.dialing()));
    let Ok((spoken, life)) = dialed else { panic!("not connected") };
    let room = pool.dialer.room(CallPriority::Default, true).unwrap();
    let (pool, berth) = (Arc::clone(pool), Berth::new(room, pool));
    let mut driven: BoxFuture<()> = match spoken.http {
        Http::V1(sender, halves) => {
            Box::pin(h1::adopt(pool, berth, (sender, halves), None, life, || {}))
        }
        Http::V2(sender, halves) => {
            Box::pin(h2::adopt(pool, berth, (sender, halves), None, life, || {}))
        }
    };
    assert!(driven.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    driven
}

/// What each request has come to that was handed over while its connection ended; fails if one has
/// come to nothing.
fn outcomes(protocol: Protocol, trials: usize) -> Vec<SendError> {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let (ends, ending) = mpsc::channel::<(BoxFuture<()>, usize)>();
    let (met, met_there) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(2)));
    let handle = runtime.handle().clone();
    let ender = {
        let (met, over) = (Arc::clone(&met), Arc::clone(&met_there));
        thread::spawn(move || {
            let _entered = handle.enter();
            for (driven, pause) in ending {
                meet(&met);
                (0..pause).for_each(|_| spin_loop());
                drop(driven);
                over.wait();
            }
        })
    };
    let mut outcomes = Vec::new();
    for trial in 0..trials {
        let peers = Arc::default();
        let pool = pool(runtime.handle(), &peers);
        met.store(0, SeqCst);
        ends.send((connection(&runtime, &pool, protocol), trial % 200)).unwrap();
        let mut sent: Vec<SendFuture> = Vec::new();
        meet(&met);
        while let Some(lease) = pool.try_acquire(protocol, false, pool.now()) {
            sent.push(Lease::send(lease, Request::new(Outgoing::default())));
        }
        met_there.wait();
        let handed_over = sent.len();
        for sent in sent {
            let mut sent = pin!(sent);
            match sent.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(_)) => panic!("nobody has answered"),
                Poll::Ready(Err(error)) => outcomes.push(error),
                Poll::Pending => panic!("one of {handed_over} in trial {trial} waits for ever"),
            }
        }
    }
    drop(ends);
    ender.join().unwrap();
    outcomes
}

/// Goes on when the other thread is here, too.
fn meet(met: &AtomicUsize) {
    met.fetch_add(1, SeqCst);
    while met.load(SeqCst) < 2 {
        thread::yield_now();
    }
}

/// Given back, as what was never sent is.
fn assert_given_back(outcomes: &[SendError]) {
    assert!(outcomes.len() > 100, "only {} were handed over", outcomes.len());
    for error in outcomes {
        assert_eq!(error.kind, WireFailure::NeverSent);
        assert!(error.request.is_some());
    }
}

#[test]
fn a_request_that_meets_the_end_of_its_http2_connection_is_given_back() {
    assert_given_back(&outcomes(Protocol::Http2, 1_000));
}

#[test]
fn a_request_that_meets_the_end_of_its_http1_connection_is_given_back() {
    assert_given_back(&outcomes(Protocol::Http1, 20_000));
}
