//! The control plane as a test holds it.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Request, Resource,
    connections::{Place, Port},
    loads::Loads,
    state::{Answer, Order, Snapshot, State},
};

/// A control plane over a real port. It ends when it is dropped.
pub struct AdsServer {
    pub(super) shared: Arc<Shared>,
    place: Place,
    /// Keeps the port while it is stopped.
    _claim: Option<tokio::net::TcpSocket>,
    port: Mutex<Option<Port>>,
}

pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) loads: Mutex<Loads>,
}

impl AdsServer {
    /// One at a port of the loopback.
    ///
    /// # Errors
    ///
    /// When it cannot listen.
    pub async fn start() -> io::Result<Self> {
        Self::at(Place::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))).await
    }

    /// One at this address.
    ///
    /// # Errors
    ///
    /// When it cannot listen.
    pub async fn start_at(address: SocketAddr) -> io::Result<Self> {
        Self::at(Place::Tcp(address)).await
    }

    /// One at this Unix socket, as Istio's agent has it.
    ///
    /// # Errors
    ///
    /// When it cannot listen.
    #[cfg(unix)]
    pub async fn start_unix(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::at(Place::Unix(path.as_ref().to_owned())).await
    }

    /// One without a socket, for tests in virtual time.
    #[cfg(test)]
    pub(crate) async fn start_in_memory() -> io::Result<Self> {
        Self::at(Place::Memory(super::memory::host())).await
    }

    async fn at(place: Place) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), loads: Mutex::default() });
        let (place, claim) = place.claim()?;
        let server = Self { shared, place, _claim: claim, port: Mutex::default() };
        server.resume().await?;
        Ok(server)
    }

    /// The `server_uri` of a bootstrap.
    #[must_use]
    pub fn uri(&self) -> String {
        match &self.place {
            Place::Tcp(address) => address.to_string(),
            #[cfg(unix)]
            Place::Unix(path) => format!("unix:{}", path.display()),
            #[cfg(test)]
            Place::Memory(host) => format!("{host}:1"),
        }
    }

    // === content ===

    /// Says these from now on, each type in its next version, and tells who has asked.
    pub fn set(&self, resources: impl IntoIterator<Item = Resource>) {
        self.shared.with(|state| state.set(resources.into_iter().collect(), None));
    }

    /// Says these from now on, in this version, and tells who has asked.
    pub fn set_version(&self, version: &str, resources: impl IntoIterator<Item = Resource>) {
        self.shared.with(|state| state.set(resources.into_iter().collect(), Some(version)));
    }

    /// A resource is gone.
    pub fn remove(&self, type_url: &str, name: &str) {
        self.shared.with(|state| state.remove(type_url, name));
    }

    /// A resource cannot be had: it is told as an error of its own.
    pub fn fail(&self, type_url: &str, name: &str, code: i32, text: &str) {
        self.shared.with(|state| state.fail(type_url, name, code, text));
    }

    /// The version of a type.
    #[must_use]
    pub fn version(&self, type_url: &str) -> String {
        self.shared.with(|state| state.version(type_url))
    }

    /// What it knows now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.shared.with(|state| state.snapshot())
    }

    /// Knows what it knew once, in the versions of then, and tells nobody: who asks gets what is stale.
    pub fn restore(&self, snapshot: Snapshot) {
        self.shared.with(|state| state.restore(snapshot));
    }

    // === misbehaviour ===

    /// Answers nothing any more, or again: then everybody is answered anew.
    pub fn silent(&self, silent: bool) {
        self.shared.with(|state| {
            state.script.silent = silent;
            if !silent {
                state.answer_all();
            }
        });
    }

    /// Whether it is silent about one type of resources.
    pub fn silent_about(&self, type_url: &str, silent: bool) {
        self.shared.with(|state| {
            if silent {
                state.script.silent_about.insert(type_url.to_owned());
            } else {
                state.script.silent_about.remove(type_url);
                state.answer_all();
            }
        });
    }

    /// Reads no requests any more, or again. One that is on its way may still be read.
    pub fn deaf(&self, deaf: bool) {
        self.shared.with(|state| state.script.deaf = deaf);
    }

    /// Keeps its answers back until [`release`](Self::release).
    pub fn hold(&self) {
        self.shared.with(|state| state.script.hold = true);
    }

    /// Gives the answers that it has kept back, and keeps back no more.
    pub fn release(&self, order: Order) {
        self.shared.with(|state| state.release(order));
    }

    /// How many answers are kept back.
    #[must_use]
    pub fn held(&self) -> usize {
        self.shared.with(|state| state.held())
    }

    /// Whether the response of a stream begins with its first answer only.
    pub fn hold_headers(&self, hold: bool) {
        self.shared.with(|state| state.script.hold_headers = hold);
    }

    /// Whether what is refused is sent again at once, as go-control-plane does.
    pub fn resend_refused(&self, resend: bool) {
        self.shared.with(|state| state.script.resend_refused = resend);
    }

    /// Whether names that stand beside an error are not looked at, as istiod does not.
    pub fn ignore_names_in_nacks(&self, ignore: bool) {
        self.shared.with(|state| state.script.ignore_names_in_nacks = ignore);
    }

    /// Whether nothing is said of what is not there: by the delta protocol it is not told as removed,
    /// and of the state of the world there is no answer while a name that is asked for is missing.
    pub fn quiet_about_missing(&self, quiet: bool) {
        self.shared.with(|state| state.script.quiet_about_missing = quiet);
    }

    /// Whether a new stream that shows the present version gets no answer.
    pub fn trust_versions(&self, trust: bool) {
        self.shared.with(|state| state.script.trust_versions = trust);
    }

    /// Whether resources come in their wrappers in the state of the world, too.
    pub fn wrapped(&self, wrapped: bool) {
        self.shared.with(|state| state.script.wrapped = wrapped);
    }

    /// Refuses streams with this status, or no more (`None`).
    pub fn refuse(&self, status: Option<(i32, &str)>) {
        let status = status.map(|(code, text)| (code, text.to_owned()));
        self.shared.with(|state| state.script.refuse = status);
    }

    /// Sends this to everybody, whatever it knows and whatever they have asked for.
    pub fn send(&self, answer: &Answer) {
        self.shared.with(|state| state.send(answer));
    }

    /// Ends every stream with this status; 0 is a good end.
    pub fn cut(&self, code: i32, text: &str) {
        self.shared.with(|state| state.cut(code, text));
    }

    /// Drops every connection, without a word.
    pub fn drop_connections(&self) {
        if let Some(port) = &*self.port() {
            port.drop_connections();
        }
    }

    /// Is gone: nobody listens, and nobody else gets its port. What it knows stays.
    pub fn stop(&self) {
        drop(self.port().take());
        self.shared.with(|state| state.cut(0, ""));
    }

    /// Is there again, at the same place.
    ///
    /// # Errors
    ///
    /// When it cannot listen.
    pub async fn resume(&self) -> io::Result<()> {
        let mut tries = 0;
        let port = loop {
            match Port::open(&self.place, &self.shared) {
                // Who stopped a moment ago may listen still.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                opened => break opened?,
            }
        };
        *self.port() = Some(port);
        Ok(())
    }

    // === what it has seen ===

    /// Every request so far, up to 100,000.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.with(|state| state.requests.clone())
    }

    /// Those of one type.
    #[must_use]
    pub fn requests_of(&self, type_url: &str) -> Vec<Request> {
        self.shared.with(|state| {
            state.requests.iter().filter(|it| it.type_url == type_url).cloned().collect()
        })
    }

    /// Those of one type that accept an answer.
    #[must_use]
    pub fn acks(&self, type_url: &str) -> Vec<Request> {
        self.requests_of(type_url).into_iter().filter(Request::is_ack).collect()
    }

    /// Those of one type that refuse an answer.
    #[must_use]
    pub fn nacks(&self, type_url: &str) -> Vec<Request> {
        self.requests_of(type_url).into_iter().filter(Request::is_nack).collect()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.shared.with(|state| state.requests.clear());
    }

    /// How many streams are open.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.shared.with(|state| state.streams())
    }

    /// How many streams have begun so far.
    #[must_use]
    pub fn streams_begun(&self) -> u64 {
        self.shared.with(|state| state.streams_begun())
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.port().as_ref().map_or(0, Port::connections)
    }

    /// What each open stream asks for of one type.
    #[must_use]
    pub fn subscriptions(&self, type_url: &str) -> Vec<BTreeSet<String>> {
        self.shared.with(|state| state.subscriptions(type_url))
    }

    /// Waits until this holds, looking again every few milliseconds. Bound it.
    pub async fn until(&self, mut holds: impl FnMut(&Self) -> bool) {
        while !holds(self) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn port(&self) -> std::sync::MutexGuard<'_, Option<Port>> {
        self.port.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often a place that is taken is tried again.
const TRIES: usize = 200;
/// Between two looks.
pub(super) const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(5);

impl std::fmt::Debug for AdsServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdsServer").field("uri", &self.uri()).finish_non_exhaustive()
    }
}
