//! The way to an endpoint: making connections, and what failed attempts mean for the next.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::{Notify, futures::Notified};

use super::{
    backoff::Backoff,
    connect::{Connect, ConnectError, ConnectTarget, Io, Reached, Watch},
    refusal::Refusals,
    secure::{Protection, Secured},
    shared::Shared,
    speak::{Spoken, speak},
};
use crate::{
    config::{Address, CallPriority, Protocol, TransportSettings},
    core::{BoxFuture, DisconnectReason, Held, Instant, Random, nanos},
    observe::{ClusterMeter, Connection, Made, Proved, trace::Peer},
    resilience::breaker::{Breakers, Room},
};

/// Where an endpoint is reached, and who is told when it is not.
pub(crate) struct Reach {
    pub(crate) address: Address,
    pub(crate) more_addresses: Arc<[Address]>,
    pub(crate) protection: Protection,
    /// Notified when a connection attempt has failed.
    pub(crate) failed: Arc<Notify>,
    /// Of its cluster.
    pub(crate) breakers: Arc<Breakers>,
    /// Of its cluster: an endpoint has chosen HTTP/2 in a handshake.
    pub(crate) http2_chosen: Arc<AtomicBool>,
}

/// Makes the connections of one endpoint.
pub(super) struct Dialer {
    pub(super) name: Arc<str>,
    pub(super) settings: Arc<TransportSettings>,
    pub(super) shared: Arc<Shared>,
    pub(super) protection: Protection,
    meter: Arc<ClusterMeter>,
    address: Address,
    /// Locked by connection attempts.
    ways: Mutex<Ways>,
    unreachable: Arc<Notify>,
    breakers: Arc<Breakers>,
    /// Connections that are open or being made.
    open: Arc<AtomicU32>,
    connector: Arc<dyn Connect>,
    backoff: Backoff,
    draining: AtomicBool,
    /// Attempts under way.
    dialing: Arc<AtomicU32>,
    last_error: Mutex<Option<ConnectError>>,
    /// The shortest time that a byte stream took to be made. Nanoseconds; 0 before the first.
    round_trip: AtomicU64,
}

/// The addresses of an endpoint behind its first.
struct Ways {
    /// Replaced when the endpoint's source says others.
    more: Arc<[Address]>,
    /// Those of them that connections were made to.
    reached: Vec<Address>,
    /// A connection was made, and whoever made it has not said to which of all.
    unsaid: bool,
}

/// A byte stream on which HTTP may begin.
pub(super) struct Stream {
    pub(super) io: Box<dyn Io>,
    pub(super) protocol: Protocol,
    pub(super) distrusted: Option<BoxFuture<DisconnectReason>>,
}

/// What is known of a connection that is being made.
struct Known {
    protocol: Protocol,
    peer: Proved,
    /// There is a byte stream, and its TLS handshake is not over.
    in_tls: bool,
    refusals: Refusals,
    /// Which of several addresses the byte stream leads to.
    at: Option<Arc<Peer>>,
}

impl Dialer {
    pub(super) fn new(
        name: Arc<str>,
        reach: Reach,
        settings: Arc<TransportSettings>,
        connector: Arc<dyn Connect>,
        shared: Arc<Shared>,
        meter: Arc<ClusterMeter>,
    ) -> Self {
        Self {
            name,
            settings,
            shared,
            protection: reach.protection,
            meter,
            address: reach.address,
            ways: Mutex::new(Ways {
                more: reach.more_addresses,
                reached: Vec::new(),
                unsaid: false,
            }),
            unreachable: reach.failed,
            breakers: reach.breakers,
            open: Arc::default(),
            connector,
            backoff: Backoff::default(),
            draining: AtomicBool::new(false),
            dialing: Arc::default(),
            last_error: Mutex::new(None),
            round_trip: AtomicU64::new(0),
        }
    }

    /// Makes a connection: a byte stream, the handshake of TLS if the endpoint asks for it, and
    /// that of HTTP, all under the connect timeout. What is wanted is spoken on plaintext; under TLS
    /// the endpoint decides. What comes with it tells the connection's end, and must live as long.
    pub(super) async fn dial(
        &self,
        wanted: Protocol,
        _counted: Dialing,
    ) -> Result<(Spoken, Connection), ConnectError> {
        let started = Instant::now();
        let mut known = Known::new(wanted);
        let made = async {
            let stream = self.stream(&mut known).await?;
            let made = speak(stream, self).await;
            // What the endpoint says of us comes in place of its first words.
            made.map_err(|error| known.refusals.met().unwrap_or(error))
        };
        let allowed = self.settings.connect_timeout;
        let made = tokio::time::timeout(allowed, made).await;
        let made = made.unwrap_or_else(|_| Err(ConnectError::timeout(known.in_tls, allowed)));
        match made {
            Ok(made) => {
                let how = Made {
                    protocol: known.protocol.version(),
                    secured: self.protection.is_tls(),
                    peer: known.peer,
                    at: known.at,
                };
                Ok((made, self.meter.connected(&self.name, how, started.elapsed())))
            }
            Err(error) => {
                self.failed(&error);
                Err(error)
            }
        }
    }

    /// Makes a byte stream on which nothing is spoken, and secures it if it is to be.
    pub(super) async fn bytes(&self) -> Result<Box<dyn Io>, ConnectError> {
        Ok(self.stream(&mut Known::new(Protocol::Http1)).await?.io)
    }

    fn ways(&self) -> MutexGuard<'_, Ways> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn more_addresses(&self) -> Arc<[Address]> {
        Arc::clone(&self.ways().more)
    }

    /// Further connections are raced for between these addresses, too. Whether one that was made, or
    /// is being made, may lead to an address which is none of them any more.
    pub(super) fn set_more_addresses(&self, more: Arc<[Address]>) -> bool {
        let mut ways = self.ways();
        let before = std::mem::replace(&mut ways.more, more);
        let is_gone = |address: &Address| !ways.more.contains(address);
        let leads_away = before.iter().any(is_gone)
            && (ways.unsaid || self.is_dialing() || ways.reached.iter().any(is_gone));
        if leads_away {
            ways.reached.clear();
            ways.unsaid = false;
        }
        leads_away
    }

    /// A connection was made, by this choice of addresses.
    fn reached(&self, choice: &[Address], reached: &Reached) {
        if choice.is_empty() {
            return;
        }
        let mut ways = self.ways();
        match reached.noted() {
            None => ways.unsaid = true,
            Some(address) if ways.more.contains(address) && !ways.reached.contains(address) => {
                ways.reached.push(address.clone());
            }
            Some(_) => {}
        }
    }

    /// Makes the byte stream, and secures it if it is to be.
    async fn stream(&self, known: &mut Known) -> Result<Stream, ConnectError> {
        let (wanted, secured) = (known.protocol, self.protection.is_tls());
        if let Protection::Refused(reason) = &self.protection {
            // Before a byte is sent, or a connection made.
            return Err(ConnectError::refused(reason));
        }
        let watch = Watch::new(wanted, secured);
        let more = self.more_addresses();
        let reached = Reached::of(&more);
        let target = ConnectTarget {
            address: self.address.clone(),
            more_addresses: Arc::clone(&more),
            attempt_delay: self.settings.happy_eyeballs_delay,
            tcp_keepalive: self.settings.tcp_keepalive,
            protocol: wanted,
            secured,
            watch: watch.clone(),
            reached: reached.clone(),
        };
        let began = Instant::now();
        let io = self.connector.connect(target).await;
        let io = io.map_err(|cause| ConnectError::caused("connection attempt failed", cause))?;
        self.reached(&more, &reached);
        known.at = reached.noted().map(|address| Arc::new(Peer::of_endpoint(address)));
        self.measured(nanos(began.elapsed()));
        let Protection::Tls { with, offered } = &self.protection else {
            return Ok(Stream { io, protocol: wanted, distrusted: None });
        };
        known.in_tls = true;
        let Secured { io, protocol: chosen, peer, distrusted } = with
            .handshake(io)
            .await
            .map_err(|cause| ConnectError::tls("TLS handshake failed", Some(cause)))?;
        known.in_tls = false;
        let protocol = offered.agreed(chosen).ok_or_else(|| {
            ConnectError::tls(
                "HTTP/2 is asked for, and the endpoint chose no protocol (ALPN)",
                None,
            )
        })?;
        (known.protocol, known.peer) = (protocol, peer);
        if protocol == Protocol::Http2 {
            // Its reader sees the close.
            watch.end();
        }
        Ok(Stream { io: known.refusals.of(io), protocol, distrusted })
    }

    /// Notes how long a byte stream took to be made: for TCP one round trip.
    fn measured(&self, time: u64) {
        let time = time.max(1);
        let shortest = self.round_trip.load(Relaxed);
        if shortest == 0 || time < shortest {
            self.round_trip.store(time, Relaxed);
        }
    }

    /// The shortest of these times, if there was any.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        let time = self.round_trip.load(Relaxed);
        (time > 0).then(|| Duration::from_nanos(time))
    }

    /// A connection attempt, or the first use of a connection, has failed.
    pub(super) fn failed(&self, error: &ConnectError) {
        let settings = &self.settings;
        let (base, max) = (settings.connect_backoff_base, settings.connect_backoff_max);
        let backoff = self.backoff.failed(self.now(), base, max, &self.shared.random);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
        self.unreachable.notify_one();
        self.meter.connect_failed(&self.name, error, backoff);
    }

    /// The endpoint has spoken its protocol: only then is it known to be well.
    pub(super) fn answered(&self) {
        self.backoff.succeeded();
    }

    /// False while the back-off after a failed connection attempt lasts.
    pub(super) fn available(&self, now: u64) -> bool {
        !self.backoff.lasts(now)
    }

    /// Whether no connection has answered since one could not be made.
    pub(super) fn is_failing(&self) -> bool {
        self.backoff.is_failing()
    }

    /// How much of the back-off is left. Nanoseconds.
    pub(super) fn back_off(&self, now: u64) -> u64 {
        self.backoff.until().saturating_sub(now)
    }

    /// When the back-off after a failed connection attempt is over.
    pub(super) fn backoff_ends(&self) -> Instant {
        self.shared.epoch.at(self.backoff.until())
    }

    /// Whether another connection may be made beside one that is there.
    pub(super) fn may_add(&self) -> bool {
        !self.is_draining() && self.available(self.now())
    }

    /// In back-off, a caller with nowhere else to go learns the last failure at once.
    pub(super) fn may_dial(&self) -> Result<(), ConnectError> {
        if self.is_draining() {
            return Err(ConnectError::left());
        }
        if self.backoff.may_try(self.now(), self.settings.connect_backoff_base) {
            return Ok(());
        }
        let last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let last = last.unwrap_or_else(|| ConnectError::new("the last attempt failed just now"));
        Err(last.told_again())
    }

    /// Room for one more connection; if there is none of use, in any case.
    pub(super) fn room(&self, priority: CallPriority, has_none: bool) -> Option<Room> {
        self.breakers.connect(priority, &self.open, has_none)
    }

    /// Whether there seems to be room for one more beside those that there are. Two loads.
    pub(super) fn may_have_room(&self, priority: CallPriority) -> bool {
        self.breakers.may_connect(priority, &self.open)
    }

    /// Notified when a connection of the cluster has given its room back.
    pub(super) fn room_freed(&self) -> Notified<'_> {
        self.breakers.freed()
    }

    /// Whether connections are limited.
    pub(super) fn is_limited(&self) -> bool {
        self.breakers.limits_connections()
    }

    /// A place among the attempts that wait for a connection.
    pub(super) fn pending(&self, priority: CallPriority) -> Result<Option<Held>, ConnectError> {
        self.breakers.wait(priority).map_err(ConnectError::pending)
    }

    /// Whether a connection is being made.
    pub(super) fn is_dialing(&self) -> bool {
        self.dialing.load(Relaxed) > 0
    }

    /// Counts a connection as being made, from before the task that makes it first runs.
    pub(super) fn dialing(&self) -> Dialing {
        Dialing::new(&self.dialing)
    }

    pub(super) fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// The end of a connection's life.
    pub(super) fn retire_at(&self) -> Instant {
        let now = Instant::now();
        let (age, jitter) = (self.settings.max_age, self.settings.max_age_jitter);
        now.checked_add(lifetime(age, jitter, &self.shared.random)).unwrap_or(now)
    }

    pub(super) fn now(&self) -> u64 {
        self.shared.epoch.nanos(Instant::now())
    }
}

impl Known {
    fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            peer: Proved::default(),
            in_tls: false,
            refusals: Refusals::default(),
            at: None,
        }
    }
}

/// How long a connection lives: up to `jitter` percent longer than configured, or 10 % less or more, lest many
/// are made anew at once.
pub(super) fn lifetime(max_age: Duration, jitter: Option<f64>, random: &Random) -> Duration {
    let part = match jitter {
        None => 0.2_f64.mul_add(random.ratio(), 0.9),
        Some(percent) => (percent / 100.0).mul_add(random.ratio(), 1.0),
    };
    max_age.mul_f64(part)
}

/// Counts a connection attempt, however it ends.
pub(super) struct Dialing(Arc<AtomicU32>);

impl Dialing {
    fn new(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Dialing {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
