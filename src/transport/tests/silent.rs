//! Pools of peers that say nothing.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncWriteExt, DuplexStream},
    runtime::Handle,
    sync::Notify,
};

use super::super::{Connect, ConnectTarget, Io, Pool, Protection, Reach, Shared};
use crate::{
    config::{Protocol, TransportSettings},
    core::{BoxError, BoxFuture, Epoch, Events, Random},
    observe::{ClusterMeter, Hub},
};

/// An empty SETTINGS frame (RFC 9113 §6.5): no limits.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// Connects to peers that say this, and nothing more.
#[derive(Default)]
pub(super) struct Silent {
    peers: Mutex<Vec<DuplexStream>>,
    /// From now on it connects to nobody, and does not say so.
    pub(super) is_deaf: AtomicBool,
}

impl Connect for Arc<Silent> {
    fn connect(&self, target: ConnectTarget) -> BoxFuture<Result<Box<dyn Io>, BoxError>> {
        let peers = Arc::clone(self);
        Box::pin(async move {
            if peers.is_deaf.load(SeqCst) {
                return std::future::pending().await;
            }
            let (near, mut far) = tokio::io::duplex(65_536);
            if target.protocol == Protocol::Http2 {
                far.write_all(&SETTINGS).await?;
            }
            peers.peers.lock().unwrap().push(far);
            Ok(Box::new(TokioIo::new(near)) as Box<dyn Io>)
        })
    }
}

/// The pool of an endpoint that is such a peer.
pub(super) fn pool(handle: &Handle, peers: &Arc<Silent>, settings: TransportSettings) -> Arc<Pool> {
    let epoch = Epoch::now();
    let hub = Arc::new(Hub::new(Arc::new(Events::default()), epoch, &[], None));
    let shared = Shared::new(handle.clone(), Arc::new(Random::seeded(1)), epoch);
    let reach = Reach {
        address: "10.0.0.1:80".parse().unwrap(),
        more_addresses: Arc::new([]),
        protection: Protection::Plain,
        failed: Arc::new(Notify::new()),
        breakers: Arc::default(),
    };
    Pool::new(
        "10.0.0.1:80".into(),
        reach,
        Arc::new(settings),
        Arc::new(Arc::clone(peers)),
        Arc::new(shared),
        ClusterMeter::new(&"users".into(), &hub),
    )
}
