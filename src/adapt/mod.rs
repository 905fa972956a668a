//! Other libraries' shapes of the front door, each behind a feature that names the major version
//! that it adapts.

#[cfg(feature = "reqwest-013")]
pub mod reqwest;
