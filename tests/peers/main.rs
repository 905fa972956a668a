//! Programs that no one here wrote, as upstreams: nginx, haproxy, OpenSSL, gRPC
//! C-core; knot and unbound as DNS; Envoy and C-core as balancers to compare with.
//!
//! `.ci/peers` installs what is needed and runs this; see the README beside this file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what it saw"
)]

#[path = "../istiod/bed.rs"]
mod bed;
#[path = "../../examples/xds_interop_server/behaviour.rs"]
mod behaviour;
#[allow(dead_code, reason = "shared: its program uses all of it")]
#[path = "../../examples/xds_interop_client/client.rs"]
mod client;
mod envoy;
mod envoy_answers;
mod envoy_attempts;
mod envoy_bounds;
mod envoy_conditions;
mod envoy_faults;
mod envoy_limits;
mod envoy_messages;
mod envoy_mirrors;
mod envoy_otherwise;
mod envoy_rules;
mod envoy_traffic;
mod grpcio;
mod grpcio_calls;
mod grpcio_drains;
mod haproxy;
mod haproxy_proxies;
mod hash_choices;
#[path = "../../examples/support/interop/mod.rs"]
mod interop;
mod knot;
mod knot_updates;
#[path = "../../examples/xds_interop_client/ledger.rs"]
mod ledger;
mod limiter;
mod load;
mod load_reports;
mod mtls;
mod nginx;
mod nginx_keepalive;
mod nginx_reload;
mod openssl;
mod openssl_chains;
#[path = "../../examples/xds_interop_client/options.rs"]
mod options;
mod otlp;
mod out_of_band;
mod program;
mod prometheus;
mod rate_limits;
#[path = "../istiod/recorded.rs"]
mod recorded;
mod reporter;
#[path = "../istiod/scenarios.rs"]
mod scenarios;
#[allow(dead_code, reason = "shared: its program uses all of it")]
#[path = "../../examples/xds_interop_server/server.rs"]
mod server;
#[path = "../support/mod.rs"]
mod support;
mod tally;
mod twin;
mod twin_endpoint;
mod xds;
