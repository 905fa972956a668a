//! What every public type may be used for: across threads, cloned, stored. And what a call weighs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use tower_mesh::{
    Attempt, Body, Call, CallFuture, Choice, Client, ClusterDescription, ClusterExplanation,
    Description, DisconnectReason, EjectReason, EndpointExplanation, EndpointStanding, Error,
    ErrorKind, Event, EventStream, Explanation, HashExplanation, HashKeyExplanation,
    InvalidTraceparent, LeafEndpoint, LocalityExplanation, Mesh, MeshBuilder, NamedExplanation,
    Next, NextFuture, Origin, PassedRule, Phase, PickExplanation, PickReason, PriorityExplanation,
    Propagation, Publisher, Refusal, RetryReason, RetryRefusal, ReturnReason, RouteDescription,
    RouteExplanation, ServiceDescription, ServiceSettings, Setting, SettingOrigin, SourceHealth,
    TraceContext, UnknownNames,
    config::{
        self, Address, Balancer, Breakers, Budget, CallMetadata, Cluster, Config, ConfigError,
        ConfigErrors, Discovery, DnsDiscovery, Endpoint, Filter, HeaderEdit, HeaderMatch, Health,
        Hedge, Http2, Locality, Match, OutlierDetection, PathMatch, Policy, Protocol, QueryMatch,
        Route, Security, Service, StringMatch, Transport, TransportSettings, Tunnel,
        WeightedCluster,
    },
    discover::{File, Static},
    observe,
    resilience::{
        ConcurrencyLimit, ConcurrencyLimitLayer, Deadline, DeadlineLayer, FailFast, FailFastLayer,
        GrpcStatus, GrpcStatusLayer, Retry, RetryLayer, deadline, limit,
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
fn what_is_told_goes_anywhere() {
    all!(Send, Sync, Unpin, Clone, std::fmt::Debug, Owned =>
        observe::Metrics, observe::MetricFamily, observe::MetricSample, observe::MetricValue,
        observe::MetricKind, TraceContext, Propagation, InvalidTraceparent,
        DisconnectReason, EjectReason, RetryReason, RetryRefusal, ReturnReason, Refusal,
        SourceHealth, Choice, EndpointStanding, PickReason,
    );
    all!(Send, Sync, Unpin, std::fmt::Debug, Owned =>
        Explanation, ClusterExplanation, RouteExplanation, HashExplanation, HashKeyExplanation,
        PassedRule, PickExplanation, PriorityExplanation, LocalityExplanation,
        EndpointExplanation, NamedExplanation,
    );
}

#[cfg(feature = "_tls")]
#[test]
fn identities_and_roots_go_anywhere() {
    use tower_mesh::security::{
        CryptoProvider, DangerousTrust, Identity, IdentityPublisher, KeyPair, Roots, SpiffeId,
        TlsError, TlsErrorKind, Trust, TrustDomain, TrustPublisher, Verify,
    };
    all!(Send, Sync, Unpin, Clone, std::fmt::Debug, Owned =>
        CryptoProvider, IdentityPublisher, Roots, SpiffeId, TrustDomain, TlsError, TlsErrorKind,
        TrustPublisher,
    );
    all!(Send, Sync, Unpin, std::fmt::Debug, Owned => KeyPair, Trust, DangerousTrust);
    all!(Send => dyn Identity, dyn Verify);
}

#[cfg(feature = "dns")]
#[test]
fn lookups_go_anywhere() {
    use tower_mesh::discover::dns::{Consul, Dns, Docker, Kubernetes, Lookup, Mesos};
    all!(Send, Sync, Unpin, Clone, std::fmt::Debug, Owned =>
        Dns, Lookup, Kubernetes, Docker, Consul, Mesos,
    );
}

#[cfg(feature = "orca")]
#[test]
fn the_servers_layers_are_as_free_as_what_they_are_made_of() {
    use tower_mesh::server::{
        LoadReport, LoadReportBody, LoadReportFuture, LoadReportLayer, OutOfBand, OutOfBandFuture,
        ReportFormat, ServerLoad, ServerLoadBuilder,
    };
    all!(Send, Sync, Unpin, Clone, std::fmt::Debug, Owned =>
        LoadReportLayer, LoadReport<Client>, OutOfBand, ReportFormat, ServerLoad,
    );
    all!(Send, Sync, std::fmt::Debug, Owned => ServerLoadBuilder);
    all!(Send, Sync, Unpin, Owned => LoadReportBody<Body>);
    all!(Send, Owned => LoadReportFuture<Pending, Body>, OutOfBandFuture<Body>);
}

#[cfg(feature = "reqwest-013")]
#[test]
fn the_front_door_in_reqwests_shape_goes_where_reqwests_does() {
    use tower_mesh::adapt::reqwest::{
        Client, ClientBuilder, RequestBuilder, ResponseFuture, redirect,
    };
    all!(Send, Sync, Unpin, Clone, std::fmt::Debug, Owned => Client);
    all!(Send, std::fmt::Debug, Owned => ClientBuilder, RequestBuilder);
    all!(Send, Owned => ResponseFuture);
    all!(Send, Sync, std::fmt::Debug, Owned => redirect::Policy, redirect::Action);
}

#[test]
fn configuration_is_plain_data() {
    all!(Send, Sync, Unpin, Clone, PartialEq, std::fmt::Debug, Owned =>
        Address, Balancer, Breakers, Budget, CallMetadata, Cluster, Discovery, DnsDiscovery, Endpoint, Filter,
        HeaderEdit, HeaderMatch, Health, Hedge, Http2, Locality, Match, OutlierDetection,
        PathMatch, Policy, Protocol, QueryMatch, Config, config::Retry, Route, Security, Service,
        StringMatch, Transport, TransportSettings, Tunnel, WeightedCluster, ConfigError, ConfigErrors,
    );
    // What is in them is, too: `Send` and the like are those of all parts, and `Config` has all.
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
        DeadlineLayer, ConcurrencyLimitLayer, FailFastLayer, GrpcStatusLayer, RetryLayer,
        Deadline<Client>, ConcurrencyLimit<Client>, FailFast<Client>, GrpcStatus<Client>,
        Retry<Client>,
    );
    fn future<S: tower::Service<http::Request<Body>>>()
    where
        S::Future: Send + 'static,
    {
    }
    future::<Deadline<Client>>();
    future::<ConcurrencyLimit<Client>>();
    future::<FailFast<Client>>();
    future::<GrpcStatus<Client>>();
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
fn layers_of_traffic_are_cloned_freely() {
    use tower_mesh::{
        resilience::{Breaker, BreakerLayer, DropLayer, Dropping},
        traffic::{
            Clusters, Destination, Edit, EditLayer, Mirror, MirrorLayer, RouteLayer, Routing,
            Split, SplitLayer,
        },
    };

    fn future<S: tower::Service<http::Request<Body>>>()
    where
        S::Future: Send + 'static,
    {
    }
    all!(Send, Sync, Unpin, Clone, std::fmt::Debug, Owned =>
        BreakerLayer, Breaker<Client>, DropLayer, Dropping<Client>, Destination, Clusters<Client>,
        RouteLayer, Routing<Client>, SplitLayer, Split<Client>, EditLayer, Edit<Client>,
        MirrorLayer<Client>, Mirror<Client, Client>,
    );
    future::<Breaker<Client>>();
    future::<Dropping<Client>>();
    future::<Clusters<Client>>();
    future::<Routing<Client>>();
    future::<Split<Client>>();
    future::<Edit<Client>>();
    future::<Mirror<Client, Client>>();
}

#[test]
fn what_is_moved_per_call_stays_small() {
    for (what, bytes, most) in [
        ("Error", size_of::<Error>(), 8),
        ("Client", size_of::<Client>(), 64),
        ("Body", size_of::<Body>(), 256),
        ("Call", size_of::<Call>(), 72),
        ("CallFuture", size_of::<CallFuture>(), 2048),
    ] {
        assert!(bytes <= most, "{what} has {bytes} bytes, {most} are allowed");
    }
}
