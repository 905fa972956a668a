//! Request to route to cluster: the compiled form of a service's routes.
//!
//! The rules of all routes are asked in order: that of the list, or the most specific first. A
//! weighted split chooses the cluster of the route; its filters are compiled beside it. The table is
//! immutable: a call pins it from start to end.

mod about;
mod answer;
#[doc(hidden)]
pub mod bench;
mod describe;
mod edit;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
pub(crate) mod hash;
mod host;
mod idle;
mod index;
mod matching;
mod mirror;
mod order;
mod pseudo;
mod redirect;
mod rewrite;
mod session;
mod split;
mod steps;
mod switch;
mod table;

pub(crate) use self::{
    about::{Around, Seen},
    answer::Answer,
    describe::Describing,
    edit::Edit,
    hash::Hashing,
    host::Host,
    idle::{Contrary, Fit, Idle},
    matching::{Asked, Matcher, Mismatch, Roll, authority_of},
    mirror::{BEHIND, IN_FLIGHT, Mirror, TIMEOUT},
    rewrite::{Rewrite, Unusable},
    session::{Named, Session},
    split::Split,
    steps::{HostOfEndpoint, Steps},
    switch::Switch,
    table::{Builder, Found, Rule, Table},
};
