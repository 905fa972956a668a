//! A service mesh that lives inside the application instead of in a sidecar beside it.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod balance;
pub mod config;
mod core;
pub mod discover;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod mesh;
pub mod resilience;
mod route;
#[cfg(feature = "testing")]
pub mod testing;
pub mod transport;

pub use self::{
    config::Retry,
    core::{Attempt, Body, BoxError, Call, Error, ErrorKind, Event, EventStream, Origin, Phase},
    discover::{Discover, Publisher},
    mesh::{
        CallFuture, Client, ClusterDescription, Description, LeafEndpoint, Mesh, MeshBuilder, Next,
        NextFuture, RouteDescription, ServiceDescription, ServiceSettings, Setting, SettingOrigin,
        UnknownNames,
    },
};
