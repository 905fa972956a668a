//! Connections: made, kept, idle, closed, hostile. Over real servers.

#[path = "../support/mod.rs"]
mod support;

mod connect_layers;
mod dialing_calls;
mod goaway;
mod hostile_http1;
mod hostile_http2;
mod idle;
mod kept_connections;
mod kinds;
