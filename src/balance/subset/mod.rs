//! Which of many endpoints are used: a part that is this process's (`rendezvous`, `deterministic`),
//! or that a route asks for (`labels`).

pub(super) mod deterministic;
pub(super) mod labels;
pub(super) mod rendezvous;
