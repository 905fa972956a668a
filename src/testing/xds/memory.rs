//! Places to listen at that are names of this process and no sockets, for tests in virtual time: a clock
//! that is paused runs on while a socket is waited for.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::{
    io::{DuplexStream, duplex},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

/// Who listens at each place.
static PLACES: Mutex<BTreeMap<Arc<str>, UnboundedSender<DuplexStream>>> =
    Mutex::new(BTreeMap::new());
static NAMES: AtomicU64 = AtomicU64::new(1);

/// Hosts with this end are such places.
const SUFFIX: &str = ".memory";
/// What a connection holds that the other side has not read.
const BUFFER_BYTES: usize = 64 * 1024;

pub(super) struct Listener(UnboundedReceiver<DuplexStream>);

/// A host that nobody else has.
pub(super) fn host() -> Arc<str> {
    format!("plane-{}{SUFFIX}", NAMES.fetch_add(1, Relaxed)).into()
}

/// A connection to such a host; nothing if it is none.
pub(crate) fn connect(host: &str) -> Option<io::Result<DuplexStream>> {
    if !host.ends_with(SUFFIX) {
        return None;
    }
    let (near, far) = duplex(BUFFER_BYTES);
    let is_there = places().get(host).is_some_and(|place| place.send(far).is_ok());
    let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
    Some(if is_there { Ok(near) } else { Err(refused()) })
}

fn places() -> MutexGuard<'static, BTreeMap<Arc<str>, UnboundedSender<DuplexStream>>> {
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Listener ===

impl Listener {
    /// Whoever listened there before does not any more.
    pub(super) fn open(host: &Arc<str>) -> Self {
        let (place, waiting) = unbounded_channel();
        places().insert(Arc::clone(host), place);
        Self(waiting)
    }

    pub(super) async fn accept(&mut self) -> DuplexStream {
        match self.0.recv().await {
            Some(stream) => stream,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.close();
        places().retain(|_, place| !place.is_closed());
    }
}
