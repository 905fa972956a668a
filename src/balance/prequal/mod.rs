//! Prequal (NSDI '24): picks by what servers said of themselves a moment ago.

mod hot;
mod pool;
mod settings;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    pool::{Pool, Reported},
    settings::Settings,
};
