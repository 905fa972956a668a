//! Who may call what: rules over facts, without I/O.
//!
//! The rules know neither where a call comes from nor who sends it: whoever asks them gives the facts,
//! here the calling side, and as well the receiving one. What is not known for sure is neither met nor
//! missed: a rule that denies then denies, and one that allows does not allow.

mod facts;
mod host;
mod matching;
mod path;
mod rules;
#[cfg(test)]
mod tests;
mod who;

#[cfg(all(test, feature = "xds"))]
pub(crate) use self::facts::Connection;
pub(crate) use self::{
    facts::{Caller, Facts},
    rules::{Decision, Rules},
    who::Who,
};
