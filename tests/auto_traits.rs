//! What every public type may be used for: across threads, cloned, stored. And what a call weighs.
#![cfg(all(feature = "file", feature = "testing"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use tower_mesh::{
    Attempt, Body, Call, CallFuture, Client, ClusterDescription, Description, Error, ErrorKind,
    Event, EventStream, LeafEndpoint, Mesh, MeshBuilder, Next, NextFuture, Origin, Phase,
    Publisher, RouteDescription, ServiceDescription, ServiceSettings, Setting, SettingOrigin,
    UnknownNames,
    config::{
        self, Address, Balancer, Breakers, Budget, Cluster, Config, ConfigError, ConfigErrors,
        Discovery, DnsDiscovery, Endpoint, Filter, HeaderEdit, HeaderMatch, Health, Hedge, Http2,
        Locality, Match, OutlierDetection, PathMatch, Policy, Protocol, QueryMatch, Route,
        Security, Service, StringMatch, Transport, TransportSettings, Tunnel, WeightedCluster,
    },
    discover::{File, Static},
    resilience::{
        ConcurrencyLimit, ConcurrencyLimitLayer, Deadline, DeadlineLayer, Retry, RetryLayer,
        deadline, limit,
    },
    testing,
    transport::{ConnectTarget, Connector, ConnectorFuture},
};

type Pending = std::future::Pending<Result<http::Response<Body>, Error>>;

/// Asserts the traits for each type of a list.
macro_rules! all {
    ($bound:path => $($type:ty),* $(,)?) => {{
        fn is<T: $bound + ?Sized>() {}
        $(is::<$type>();)*
    }};
    ($bound:path, $($more:path),+ => $($type:ty),* $(,)?) => {{
        all!($bound => $($type),*);
        all!($($more),+ => $($type),*);
    }};
}

/// A bound that a macro can name as a path.
trait Owned: 'static {}
impl<T: 'static> Owned for T {}

#[test]
fn handles_and_values_go_anywhere() {
    all!(Send, Sync, Unpin, Clone, std::fmt::Debug, Owned =>
        Mesh, Client, Call, Error, Event, Publisher, Next,
        Attempt, ErrorKind, Phase, Origin, UnknownNames,
        ConnectTarget, Connector, File, Static,
        testing::Endpoint, testing::Fault, testing::Received, testing::Network,
        testing::NetworkConnector,
    );
}

#[test]
fn configuration_is_plain_data() {
    all!(Send, Sync, Unpin, Clone, PartialEq, std::fmt::Debug, Owned =>
        Address, Balancer, Breakers, Budget, Cluster, Discovery, DnsDiscovery, Endpoint, Filter,
        HeaderEdit, HeaderMatch, Health, Hedge, Http2, Locality, Match, OutlierDetection,
        PathMatch, Policy, Protocol, QueryMatch, Config, config::Retry, Route, Security, Service,
        StringMatch, Transport, TransportSettings, Tunnel, WeightedCluster, ConfigError, ConfigErrors,
    );
}

#[test]
fn descriptions_and_builders_cross_threads() {
    all!(Send, Sync, Unpin, std::fmt::Debug, Owned =>
        Description, ServiceDescription, RouteDescription, ClusterDescription, ServiceSettings,
        Setting, SettingOrigin, LeafEndpoint,
    );
    all!(Send, Unpin, std::fmt::Debug, Owned => MeshBuilder, EventStream, testing::EventLog);
}

#[test]
fn bodies_suit_every_client() {
    all!(Send, Sync, Unpin, Default, std::fmt::Debug, Owned => Body);
    all!(Send, Sync, Unpin, Default, Owned => deadline::TimedBody<Body>, limit::HeldBody<Body>);
}

#[test]
fn futures_are_sent_between_threads() {
    all!(Send, Owned => CallFuture, NextFuture, ConnectorFuture);
    all!(Send, Owned => deadline::ResponseFuture<Pending>, limit::ResponseFuture<Pending>);
    // One that is polled by hand needs no pin.
    all!(Unpin => NextFuture, ConnectorFuture);
}

#[test]
fn layers_and_their_services_are_cloned_freely() {
    all!(Send, Sync, Unpin, Clone, std::fmt::Debug, Owned =>
        DeadlineLayer, ConcurrencyLimitLayer, RetryLayer,
        Deadline<Client>, ConcurrencyLimit<Client>, Retry<Client>,
    );
    fn future<S: tower::Service<http::Request<Body>>>()
    where
        S::Future: Send + 'static,
    {
    }
    future::<Deadline<Client>>();
    future::<ConcurrencyLimit<Client>>();
    future::<Retry<Client>>();
}

#[test]
fn layers_of_rates_are_cloned_freely() {
    use tower_mesh::resilience::{Descriptor, RateLimit, RateLimitLayer};

    fn future<S: tower::Service<http::Request<Body>>>()
    where
        S::Future: Send + 'static,
    {
    }
    all!(Send, Sync, Unpin, Clone, std::fmt::Debug, Owned =>
        Descriptor, RateLimitLayer, RateLimit<Client>,
    );
    future::<RateLimit<Client>>();
    #[cfg(feature = "rls")]
    {
        use tower_mesh::resilience::{GlobalRateLimit, GlobalRateLimitLayer};

        type Describe = fn(&http::Request<Body>) -> Vec<Descriptor>;
        all!(Send, Sync, Unpin, Clone, std::fmt::Debug, Owned =>
            GlobalRateLimitLayer<Client, Describe>, GlobalRateLimit<Client, Client, Describe>,
        );
        future::<GlobalRateLimit<Client, Client, Describe>>();
    }
}

#[test]
fn what_is_moved_per_call_stays_small() {
    for (what, bytes, most) in [
        ("Error", size_of::<Error>(), 8),
        ("Client", size_of::<Client>(), 64),
        ("Body", size_of::<Body>(), 256),
        ("Call", size_of::<Call>(), 64),
        ("CallFuture", size_of::<CallFuture>(), 2048),
    ] {
        assert!(bytes <= most, "{what} has {bytes} bytes, {most} are allowed");
    }
}
