//! What every room shares: body, error, call context, time, randomness and event types.

pub(crate) mod apart;
pub(crate) mod body;
mod call;
mod criticality;
mod error;
mod event;
mod fault;
#[cfg(feature = "xds")]
mod figures;
#[cfg(any(feature = "grpc-health", feature = "orca", feature = "rls"))]
pub(crate) mod framed;
pub(crate) mod legible;
#[cfg(feature = "xds")]
mod loads;
mod mesh_end;
mod random;
mod reason;
mod refusal;
mod time;
pub(crate) mod uri;
mod verdict;
#[cfg(feature = "orca")]
mod weighed;
mod wire;

pub(crate) use self::body::{
    Awaited, BodyEnd, Ending, Held, Outgoing, Polled, Release, ReplayBody, Report, Reporter, Sent,
    Ticket, Unrepeatable, Watch, Watcher, polled_body, tail, tee,
};
pub(crate) use self::error::{Context, Reply, grpc};
pub(crate) use self::event::Events;
#[cfg(feature = "xds")]
pub(crate) use self::figures::{Figures, OfResources, OfServer, Plane};
#[cfg(feature = "xds")]
pub(crate) use self::loads::{At, Attempts, EndpointLoad, Load, Loads};
pub(crate) use self::mesh_end::{MeshEnd, cut};
pub(crate) use self::random::Random;
pub(crate) use self::time::{Epoch, Instant, earliest, nanos};
#[cfg(feature = "orca")]
pub(crate) use self::weighed::Weighed;
pub(crate) use self::wire::{WireFailure, is_cancelled};
pub use self::{
    body::Body,
    call::Call,
    criticality::Criticality,
    error::{Attempt, Error, ErrorKind, Origin, Phase},
    event::{Event, EventStream},
    fault::InjectedFault,
    reason::{
        DisconnectReason, EjectReason, HedgeRefusal, RetryReason, RetryRefusal, ReturnReason,
        SourceHealth,
    },
    refusal::Refusal,
    verdict::AuthorizationVerdict,
};

/// The erased error of user layers, leaves and providers.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The erased future of the extension points; each use is one allocation.
pub(crate) type BoxFuture<T> = std::pin::Pin<Box<dyn Future<Output = T> + Send>>;
