//! A service mesh that lives inside the application instead of in a sidecar beside it.
//!
//! A [`Mesh`] is built from one watched file, from code, from DNS, from a control plane that speaks xDS,
//! or from your own discovery. It gives out [`Client`]s whose HTTP and gRPC calls are resolved, balanced, retried and bounded in time, in
//! this process.
//!
//! ```no_run
//! # #[cfg(feature = "file")]
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
//! use tower_mesh::{Body, Mesh};
//!
//! let mesh = Mesh::builder().config_file("mesh.yaml").build()?;
//!
//! // tonic: the mesh is the channel of a generated client.
//! let mut greeter = HealthClient::new(mesh.client("greeter.prod")?);
//! greeter.check(HealthCheckRequest::default()).await?;
//!
//! // http: the authority of a request names its service.
//! let request = http::Request::get("http://users.prod/1").body(Body::empty())?;
//! let response = mesh.http().send(request).await?;
//! # drop(response);
//! # Ok(())
//! # }
//! ```
//!
//! # Map
//!
//! | for | see |
//! |---|---|
//! | building a mesh, from code | [`MeshBuilder`], [`ServiceSettings`] |
//! | making calls | [`Client`], [`CallFuture`], [`Body`] |
//! | what one call asks for | [`Call`] |
//! | what went wrong | [`Error`], [`ErrorKind`], [`Phase`] |
//! | what happens, and a log of it | [`Mesh::events`], [`Event`], `EventStream::log` (feature `tracing`) |
//! | what is counted | [`Mesh::metrics`], [`Mesh::prometheus`], [`observe`] |
//! | which trace a call is a part of | [`TraceContext`], [`Propagation`] |
//! | what is set, and by whom | [`Mesh::describe`] |
//! | where a call goes, and why | [`Mesh::explain`] |
//! | the start and the end of a process | [`Mesh::ready`], [`Mesh::shutdown`] |
//! | own layers and clients inside of the mesh | [`MeshBuilder::call_layer`] and its siblings, [`MeshBuilder::leaf`] |
//! | the mesh's layers around another client | [`resilience`] |
//! | the model of the configuration | [`config`] |
//! | DNS, and own discovery | [`discover`] |
//! | control planes that speak xDS | `control::xds` (feature `xds`) |
//! | TLS, identities and roots | [`security`] (feature `tls`) |
//! | reqwest's shape of the client | `adapt::reqwest` (feature `reqwest-013`), the file `docs/REQWEST.md` |
//! | connections | [`transport`] |
//! | what a server tells of its load | `server` (feature `orca`) |
//! | tests of your calls | `testing` (feature `testing`) |
//!
//! The folder `docs` of the source has the architecture, every default with its source, the table of
//! errors, and the tests that prove each feature.
//!
//! # Feature flags
//!
//! A feature adds API and never changes behaviour.
//!
//! * **dns** (enabled by default) — Endpoints by DNS: `discover::dns`, `discovery: dns` in the mesh
//!   file, `UnknownNames::Dns`. Pulls in `hickory-resolver`.
//! * **file** (enabled by default) — The watched mesh file: `MeshBuilder::config_file`,
//!   `Mesh::from_env`, `discover::File`. Pulls in `serde`, `serde-saphyr`, `serde_json`,
//!   `serde_path_to_error`, `humantime` and `notify`.
//! * **regex** (enabled by **file**) — Regular expressions in routes, rewrites, hash policies and matches
//!   on names of certificates. Pulls in `regex`.
//! * **serde** (enabled by **file**) — `Serialize` and `Deserialize` for [`config`].
//! * **schema** — `config::schema`, the JSON Schema of the mesh file. Pulls in `schemars`.
//! * **otel-033** — Metrics and spans through the OpenTelemetry API 0.33:
//!   `MeshBuilder::meter_provider`, `MeshBuilder::tracer_provider`. Pulls in `opentelemetry`; the SDK stays with the application.
//! * **tracing** — The same spans for users of `tracing`: `MeshBuilder::tracing_spans`; and a log of the
//!   events: `EventStream::log`. Pulls in `tracing`.
//! * **reqwest-013** — `Mesh::reqwest`, the front door in the shape of reqwest 0.13, and the layers of
//!   [`resilience`] around `reqwest::Client`. Pulls in `reqwest` with `json`, `form`, `query` and
//!   `multipart`, and `serde`.
//! * **reqwest-013-cookies** — Cookies for that front door. Turns on reqwest's `cookies`.
//! * **reqwest-013-brotli**, **reqwest-013-deflate**, **reqwest-013-gzip**, **reqwest-013-zstd** —
//!   Unpacking for that front door, each where its builder asks for it. Turn on tower-http's
//!   `decompression-…`; zstd compiles C.
//! * **tls** (enabled by default) — TLS and mutual TLS: [`security`], `MeshBuilder::identity`,
//!   `MeshBuilder::trust`, `ServiceSettings::tls`. It is **tls-aws-lc-rs**: cryptography by aws-lc-rs,
//!   with post-quantum key exchange. Pulls in `rustls`, `tokio-rustls`, `rustls-webpki`, `x509-cert`
//!   and `rustls-native-certs`.
//! * **tls-ring** — The same by ring alone: lighter to build, without post-quantum key exchange.
//! * **rustls-023** — A crypto provider of the application's own, from rustls 0.23.
//! * **orca** — Load reports (ORCA): the policies `client_weighted` and `prequal`, and for servers
//!   `server::LoadReportLayer`. Pulls in `prost` and `serde_json`.
//! * **rls** — Rate limits that many callers share, by Envoy's protocol. Pulls in `prost`.
//! * **xds** — Control planes that speak xDS: `control::xds`. Pulls in `envoy-types`, `tonic`, `prost` and
//!   `serde_json`.
//! * **grpc-health** — Health checks by the gRPC health protocol. Pulls in `prost`.
//! * **testing** — The public test kit: endpoints in memory, scripted faults, event capture. Turns
//!   on tokio's `test-util` and hyper's server.
#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::float_cmp,
        reason = "tests count small numbers, and compare what is exact"
    )
)]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "reqwest-013")]
pub mod adapt;
mod authorize;
pub mod balance;
pub mod config;
#[cfg(feature = "xds")]
pub mod control;
mod core;
pub mod discover;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod mesh;
pub mod observe;
pub mod resilience;
#[doc(hidden)]
pub mod route;
#[cfg(feature = "_tls")]
pub mod security;
#[cfg(feature = "orca")]
pub mod server;
#[cfg(feature = "testing")]
pub mod testing;
pub mod traffic;
pub mod transport;

pub use self::{
    balance::{
        Choice, EndpointExplanation, EndpointStanding, LocalityExplanation, NamedExplanation,
        PickExplanation, PickReason, PriorityExplanation,
    },
    config::{Hedge, Retry},
    core::{
        Attempt, AuthorizationVerdict, Body, BoxError, Call, DisconnectReason, EjectReason, Error,
        ErrorKind, Event, EventStream, HedgeRefusal, InjectedFault, Origin, Phase, Refusal,
        RetryReason, RetryRefusal, ReturnReason, SourceHealth,
    },
    discover::{Discover, Publisher},
    mesh::{
        AnswerExplanation, CacheInUse, CallFuture, Client, ClusterDescription, ClusterExplanation,
        Description, Explanation, HashExplanation, HashKeyExplanation, HeadExplanation,
        LeafEndpoint, Mesh, MeshBuilder, MirrorExplanation, Next, NextFuture, PassedRule, Remark,
        RouteDescription, RouteExplanation, ServiceDescription, ServiceSettings, Setting,
        SettingOrigin, UnknownNames,
    },
    observe::{InvalidTraceparent, Propagation, TraceContext},
};

#[cfg(all(
    doctest,
    feature = "dns",
    feature = "file",
    feature = "reqwest-013",
    feature = "tracing",
    feature = "xds"
))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(all(doctest, feature = "reqwest-013"))]
#[doc = include_str!("../docs/REQWEST.md")]
struct Reqwest;

#[cfg(doctest)]
#[doc = include_str!("../docs/OPERATIONS.md")]
struct Operations;

#[cfg(doctest)]
#[doc = include_str!("../docs/EVENTS.md")]
struct Events;

#[cfg(doctest)]
#[doc = include_str!("../docs/METRICS.md")]
struct MetricsPage;

#[cfg(doctest)]
#[doc = include_str!("../docs/TRACING.md")]
struct Tracing;

#[cfg(all(doctest, feature = "file"))]
#[doc = include_str!("../docs/TRAFFIC.md")]
struct Traffic;

#[cfg(all(doctest, feature = "xds", feature = "_tls"))]
#[doc = include_str!("../docs/XDS.md")]
struct Xds;
