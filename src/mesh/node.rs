//! What an endpoint owns from its first pick on, and what its cluster is in.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    endpoint::Transport,
    leaf::{Leaf, LeafEndpoint},
    peers::Peers,
    protect::Protector,
    stage::{Erased, Next, Stage},
};
use crate::{
    balance::{Callers, Environment, Shift, Spec, Upstream, health},
    config::{self, Protocol, SecurityMode},
    core::{BodyEnd, EjectReason, Instant, Random, ReturnReason},
    observe::{ClusterMeter, End, EndpointMeter, Verb, trace::Peer},
    resilience::breaker::Breakers,
    transport::{Connect, Pool, Reach, Shared},
};

/// What an endpoint owns from its first pick on: its connections, or the user's own leaf.
pub(crate) struct Node {
    pub(crate) name: Arc<str>,
    pub(crate) meter: EndpointMeter,
    /// Its address as spans show it.
    peer: Peer,
    /// It has others, too: which of them a connection leads to is known to that alone.
    is_at_several: AtomicBool,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) authority: Option<http::uri::Authority>,
    pub(crate) pool: Arc<Pool>,
    /// It is spoken to in clear because nobody has said anything of it: a call that says `https`
    /// is refused.
    pub(crate) is_open: bool,
    /// The user's endpoint layers and own leaf, erased; empty when there are none.
    pub(crate) stage: Option<Arc<dyn Erased>>,
}

/// What every node of a cluster is built with.
pub(crate) struct NodeContext {
    pub(crate) meter: Arc<ClusterMeter>,
    /// What endpoints without a hint of their own speak.
    pub(crate) protocol: Option<Protocol>,
    pub(crate) protector: Arc<Protector>,
    pub(crate) settings: Arc<config::TransportSettings>,
    pub(crate) connector: Arc<dyn Connect>,
    pub(crate) shared: Arc<Shared>,
    /// Notified when an endpoint cannot be connected to.
    pub(crate) unreachable: Arc<Notify>,
    /// Its connections and those who wait for one; the same as long as there is the cluster.
    pub(crate) breakers: Arc<Breakers>,
    /// An endpoint speaks HTTP/2, whatever the request does: it says so, or has chosen it in a handshake.
    pub(crate) http2_chosen: Arc<AtomicBool>,
    /// Where this process runs.
    pub(crate) place: Arc<config::Place>,
    pub(crate) peers: Arc<Peers>,
    /// Wakes who keeps the balancer.
    pub(crate) woken: Arc<Notify>,
    /// Notified when an endpoint has come or gone.
    pub(crate) members: Arc<Notify>,
    /// Notified when calls owe probes.
    #[cfg(feature = "orca")]
    pub(crate) owing: Arc<Notify>,
    pub(crate) leaf: Option<Leaf>,
    pub(crate) stage: Option<Stage>,
}

// === impl Node ===

impl Upstream for Node {
    type Context = NodeContext;

    fn build(spec: &Spec, cx: &NodeContext) -> Self {
        let name: Arc<str> = spec.address().to_string().into();
        let protocol = spec.protocol().or(cx.protocol);
        if spec.protocol() == Some(Protocol::Http2) {
            cx.http2_chosen.store(true, Relaxed);
        }
        let pool = Pool::new(
            Arc::clone(&name),
            Reach {
                address: spec.address().clone(),
                more_addresses: spec.more_addresses().into(),
                protection: cx.protector.of(spec),
                failed: Arc::clone(&cx.unreachable),
                breakers: Arc::clone(&cx.breakers),
                http2_chosen: Arc::clone(&cx.http2_chosen),
            },
            Arc::clone(&cx.settings),
            Arc::clone(&cx.connector),
            Arc::clone(&cx.shared),
            Arc::clone(&cx.meter),
        );
        // An own leaf takes the place of the transport; endpoint layers wrap either.
        let mut is_open = cx.protector.is_open(spec);
        let leaf = cx.leaf.as_ref().map(|leaf| {
            is_open &= !leaf.secures();
            leaf.build(&cx.of_leaf(spec))
        });
        let stage = match (&cx.stage, leaf) {
            (None, leaf) => leaf,
            (Some(stage), Some(leaf)) => Some(stage(Next::erased(leaf))),
            (Some(stage), None) => {
                let (name, pool) = (Arc::clone(&name), Arc::clone(&pool));
                Some(stage(Next::new(Transport { name, pool, protocol })))
            }
        };
        let meter = cx.meter.endpoint(&name);
        #[cfg(feature = "xds")]
        meter.moved(super::loads::at(spec));
        Self {
            meter,
            name,
            peer: Peer::of_endpoint(spec.address()),
            is_at_several: AtomicBool::new(!spec.more_addresses().is_empty()),
            protocol,
            authority: spec.authority().and_then(|text| text.parse().ok()),
            pool,
            is_open,
            stage,
        }
    }

    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn available(&self, now: u64) -> bool {
        self.pool.available(now)
    }

    fn link(&self, now: u64) -> health::Link {
        if self.pool.is_live() {
            health::Link::Ready
        } else if !self.pool.available(now) {
            health::Link::BackingOff
        } else if self.pool.is_dialing() {
            health::Link::Connecting
        } else {
            health::Link::Idle
        }
    }

    #[cfg(feature = "orca")]
    fn returns(&self) -> u32 {
        self.pool.returns()
    }

    fn ejected(&self, reason: EjectReason, nanos: u64) {
        self.meter.ejected(reason, nanos);
    }

    fn suspected(&self) {
        self.meter.suspected();
    }

    fn trusted(&self) {
        self.meter.trusted();
    }

    fn returned(&self, reason: ReturnReason) {
        self.meter.returned(reason);
    }

    #[cfg(feature = "xds")]
    #[inline]
    fn overheard(&self, headers: &http::HeaderMap) {
        if let Some(tally) = self.meter.tally() {
            super::loads::overheard(tally, headers);
        }
    }

    fn respecified(&self, spec: &Spec) {
        #[cfg(feature = "xds")]
        self.meter.moved(super::loads::at(spec));
        self.is_at_several.store(!spec.more_addresses().is_empty(), Relaxed);
        self.pool.set_more_addresses(spec.more_addresses().into());
    }

    fn retire(&self) {
        self.pool.drain();
    }

    fn renew(&self) {
        self.pool.renew();
    }

    fn is_failing(&self) -> bool {
        self.pool.is_failing()
    }

    fn back_off(&self, now: u64) -> u64 {
        self.pool.back_off(now)
    }

    fn round_trip(&self) -> Option<Duration> {
        self.pool.round_trip()
    }

    fn streamed(&self, end: BodyEnd, nanos: u64) {
        self.meter.record(Verb::GRPC, End::of_body(end), nanos);
    }
}

impl Node {
    /// Whether it has several addresses.
    pub(crate) fn is_at_several(&self) -> bool {
        self.is_at_several.load(Relaxed)
    }

    /// The address that calls go to, where there is one alone.
    //= OTel attribute registry "network.peer.address": the peer address of the network connection
    pub(crate) fn peer(&self) -> Option<&Peer> {
        (!self.is_at_several()).then_some(&self.peer)
    }
}

// === impl NodeContext ===

impl Environment for NodeContext {
    fn random(&self) -> Arc<Random> {
        Arc::clone(&self.shared.random)
    }

    fn seed(&self) -> u64 {
        self.shared.random.next()
    }

    fn place(&self) -> config::Place {
        (*self.place).clone()
    }

    fn callers(&self, cluster: &str) -> Vec<Callers> {
        self.peers.callers(cluster, self.shared.epoch.nanos(Instant::now()))
    }

    fn added(&self, spec: &Spec) {
        self.meter.endpoint_added(spec.address());
        self.members.notify_one();
    }

    fn marked(&self, spec: &Spec) {
        self.meter.endpoint_marked(spec.address(), spec.mark());
    }

    fn removed(&self, spec: &Spec) {
        self.meter.endpoint_removed(spec.address());
        self.members.notify_one();
    }

    fn shifted(&self, shift: Shift) {
        self.meter.shifted(shift.priority, shift.distance, shift.percent, shift.panic);
    }

    fn wake(&self) {
        self.woken.notify_one();
        self.members.notify_one();
        #[cfg(feature = "orca")]
        self.owing.notify_one();
    }

    #[cfg(feature = "orca")]
    fn weighed(&self, weighed: &crate::core::Weighed) {
        self.meter.weighed(weighed);
    }

    #[cfg(feature = "orca")]
    fn probes_due(&self) {
        self.owing.notify_one();
    }
}

impl NodeContext {
    /// The endpoint as an own leaf is told of it.
    pub(super) fn of_leaf(&self, spec: &Spec) -> LeafEndpoint {
        let (cluster, endpoint) = (&self.meter.name, spec.config());
        match self.protector.demand(spec) {
            Some(demand) => LeafEndpoint::new(
                cluster,
                endpoint,
                demand.mode,
                demand.identities,
                demand.sni.unwrap_or(demand.host),
            ),
            None => {
                LeafEndpoint::new(cluster, endpoint, SecurityMode::Off, Vec::new(), String::new())
            }
        }
    }
}
