//! Retries, budgets and limits: the decisions, sans I/O.

mod budget;
pub(crate) mod limit;
pub(crate) mod retry;

pub(crate) use self::budget::Budget;
