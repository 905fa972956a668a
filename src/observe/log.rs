//! The events as lines of `tracing`.

use tracing::Level;

use crate::core::{AuthorizationVerdict, DisconnectReason, Event, EventStream};

/// What the lines have as their target.
const TARGET: &str = "tower_mesh::events";

impl EventStream {
    /// Logs the events by `tracing` until the mesh is gone; spawn it. The target is
    /// `tower_mesh::events`, and the level is
    ///
    /// - `WARN` for what somebody should look at: parts of the configuration that are refused or do
    ///   nothing, endpoints that are ejected, suspect or cannot be reached, a cluster in panic, a cache
    ///   that is used because no control plane can be asked, responses that broke off, and events that
    ///   the log was too slow to see;
    /// - `INFO` for changes: configuration in force, endpoints added, removed and returned, health,
    ///   failed checks, connections that broke, denied calls;
    /// - `DEBUG` for the rest: calls, attempts, retries, connections.
    ///
    /// It is a listener like any other: the events of each call are built for it, also those that the
    /// subscriber then drops. Only with the feature `tracing`.
    ///
    /// ```
    /// # async fn example() -> Result<(), tower_mesh::Error> {
    /// use tower_mesh::Mesh;
    ///
    /// # let users: std::net::SocketAddr = "127.0.0.1:80".parse().unwrap();
    /// let mesh = Mesh::builder().endpoints("users", [users]).build()?;
    /// tokio::spawn(mesh.events().log());
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
    /// ```
    pub async fn log(mut self) {
        let mut told = 0;
        while let Some(event) = self.recv().await {
            let missed = self.missed();
            if missed > told {
                let count = missed - told;
                tracing::warn!(target: TARGET, "{count} events were not logged: too many came at once");
                told = missed;
            }
            match level(&event) {
                Level::WARN => tracing::warn!(target: TARGET, "{event}"),
                Level::INFO => tracing::info!(target: TARGET, "{event}"),
                _ => tracing::debug!(target: TARGET, "{event}"),
            }
        }
    }
}

/// How much an event matters to somebody who reads a log.
fn level(event: &Event) -> Level {
    match event {
        Event::ConfigRefused { .. }
        | Event::ConfigDoubted { .. }
        | Event::ConnectFailed { .. }
        | Event::EndpointEjected { .. }
        | Event::EndpointSuspected { .. }
        | Event::CacheUsed { .. }
        | Event::BodyFailed { .. }
        | Event::PriorityShifted { panic: true, .. } => Level::WARN,
        Event::ConfigApplied { .. }
        | Event::ConfigNoted { .. }
        | Event::CacheLeft { .. }
        | Event::EndpointAdded { .. }
        | Event::EndpointRemoved { .. }
        | Event::EndpointReturned { .. }
        | Event::EndpointTrusted { .. }
        | Event::EndpointMarked { .. }
        | Event::CheckFailed { .. }
        | Event::PriorityShifted { panic: false, .. }
        | Event::Authorization { verdict: AuthorizationVerdict::Denied, .. } => Level::INFO,
        Event::Disconnected {
            reason:
                DisconnectReason::Keepalive
                | DisconnectReason::Error
                | DisconnectReason::RootRemoved
                | DisconnectReason::Revoked
                | DisconnectReason::IdentityChanged,
            ..
        } => Level::INFO,
        _ => Level::DEBUG,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fmt,
        sync::{Arc, Mutex},
    };

    use tracing::{
        Metadata, Subscriber,
        field::{Field, Visit},
        span,
    };

    use super::*;
    use crate::core::Events;

    /// Keeps level and text of each event.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<(Level, String)>>>);

    struct Message(String);

    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                self.0 = format!("{value:?}");
            }
        }
    }

    impl Subscriber for Kept {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == TARGET
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, event: &tracing::Event<'_>) {
            let mut message = Message(String::new());
            event.record(&mut message);
            self.0.lock().unwrap().push((*event.metadata().level(), message.0));
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[tokio::test]
    async fn events_are_logged_by_how_much_they_matter_and_missed_ones_are_counted() {
        let kept = Kept::default();
        let _default = tracing::subscriber::set_default(kept.clone());
        let events = Arc::new(Events::default());
        let stream = events.listen();
        let part: Arc<str> = "cluster users".into();
        // The stream holds the last 4096.
        for _ in 0..4096 {
            events.emit(|| Event::ConfigApplied { part: Arc::clone(&part) });
        }
        events.emit(|| Event::ConfigRefused { part: Arc::clone(&part), reason: "no".into() });
        events.emit(|| Event::CallStarted { service: "users".into(), call: 1 });
        drop(events);
        stream.log().await;
        let kept = kept.0.lock().unwrap();
        let at = |place: usize| (kept[place].0, &*kept[place].1);
        assert_eq!(at(0), (Level::WARN, "2 events were not logged: too many came at once"));
        assert_eq!(at(1), (Level::INFO, "cluster users: in force"));
        assert_eq!(at(kept.len() - 2), (Level::WARN, "cluster users: refused: no"));
        assert_eq!(at(kept.len() - 1), (Level::DEBUG, "users: call 1 started"));
        assert_eq!(kept.len(), 4097);
    }
}
