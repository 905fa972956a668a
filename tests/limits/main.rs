//! What limits calls: breakers, limits of concurrency and rate, queues, load shedding. Over real servers.

#[path = "../support/mod.rs"]
mod support;

mod bounds;
mod breakers;
mod ceilings;
mod in_flight;
mod protection;
mod queue;
#[cfg(feature = "rls")]
mod rate_limit_outages;
#[cfg(feature = "rls")]
mod rate_limit_service;
mod rate_limits;
#[cfg(feature = "rls")]
mod rls;
mod slow;
mod stream_limits;
mod waiting_calls;
