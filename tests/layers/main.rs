//! The layers by themselves, around the clients and servers of others; and layers of the user's own.

#[path = "../support/mod.rs"]
mod support;

mod awkward_layers;
mod guards;
mod hyper;
#[cfg(feature = "reqwest-013")]
mod reqwest;
mod tonic;
mod traffic;
mod user_layers;
