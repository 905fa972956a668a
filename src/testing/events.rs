//! The events of a mesh, kept for a test's assertions.

use crate::{
    Mesh,
    core::{Event, EventStream},
};

/// Captures what happens in a mesh, from the moment at which the log is made.
#[derive(Debug)]
pub struct EventLog {
    stream: EventStream,
    seen: Vec<Event>,
}

impl EventLog {
    /// Captures the events from this moment on.
    #[must_use]
    pub fn of(mesh: &Mesh) -> Self {
        Self { stream: mesh.events(), seen: Vec::new() }
    }

    /// Every event so far, oldest first.
    pub fn all(&mut self) -> &[Event] {
        while let Some(event) = self.stream.try_recv() {
            self.seen.push(event);
        }
        &self.seen
    }

    /// How many events so far are of this kind.
    pub fn count(&mut self, is: impl Fn(&Event) -> bool) -> usize {
        self.all().iter().filter(|event| is(event)).count()
    }

    /// The retries decided so far.
    pub fn retries(&mut self) -> usize {
        self.count(|event| matches!(event, Event::Retry { .. }))
    }
}
