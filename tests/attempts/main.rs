//! Deadlines, retries and hedges: how many attempts a call has, and when. Over real servers.

#[path = "../support/mod.rs"]
mod support;

mod budget;
mod deadlines;
mod hedging;
mod hedging_choices;
mod hedging_servers;
mod retries;
mod short_deadlines;
