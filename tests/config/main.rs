//! The config: files, code, the environment, overlays, changes; and what is told of it.

#[path = "../support/mod.rs"]
mod support;

#[cfg(feature = "file")]
mod bad_routes;
mod changes_under_load;
#[cfg(all(feature = "tls-aws-lc-rs", feature = "file"))]
mod code_settings;
mod describe;
#[cfg(feature = "file")]
mod dry_runs;
mod events;
mod explain;
#[cfg(feature = "file")]
mod explained_calls;
mod from_env;
#[cfg(feature = "file")]
mod hostile_files;
mod live_edit;
#[cfg(feature = "file")]
mod overlay;
mod sources;
