//! An endpoint leaves while somebody makes its state: either who makes it sees that it has left, or
//! who says that it has left sees the state. One of the two retires it.

use super::atomic::{
    AtomicBool,
    Ordering::{Relaxed, SeqCst},
    fence,
};

/// Whether an endpoint has left its cluster.
#[derive(Debug, Default)]
pub(in crate::balance) struct Leaving(AtomicBool);

impl Leaving {
    /// It has left: before anybody looks whether it has a state.
    pub(in crate::balance) fn leave(&self) {
        self.0.store(true, Relaxed);
        // Beside that of `has_left_since`: without the two neither might see the other.
        fence(SeqCst);
    }

    /// Whether it has left by now: asked by who has just made its state.
    pub(in crate::balance) fn has_left_since(&self) -> bool {
        fence(SeqCst);
        self.has_left()
    }

    pub(in crate::balance) fn has_left(&self) -> bool {
        self.0.load(Relaxed)
    }
}
