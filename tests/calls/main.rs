//! What a caller sees of calls: their way, their bodies, their names, their errors, their end. Over real servers.

#[path = "../support/mod.rs"]
mod support;

#[cfg(all(feature = "file", feature = "testing"))]
mod auto_traits;
mod bad_servers;
mod call_overrides;
mod end_of_grace;
mod error_texts;
mod faults;
mod grpc_statuses;
mod heads;
mod long_stream;
mod lookups;
mod mixed_fleet;
mod names;
mod passthrough;
mod proofs;
mod refusals;
mod request_bodies;
mod routes;
mod shutdown;
mod shutdown_drains;
mod stack;
#[cfg(feature = "file")]
mod traffic;
mod two_hops;
#[cfg(unix)]
mod unix_sockets;
