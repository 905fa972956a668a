//! How a source comes to the client of its bootstrap, which may be refused: another mesh asks the same
//! agent by another bootstrap.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::runtime::Handle;

use super::{REGISTRY, Xds};
use crate::{
    control::xds::{bootstrap::Bootstrap, cache, resource::Decoder, stream::Subscriber},
    core::Instant,
    discover::{Asked, Publisher},
};

/// Before it is tried again, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Joins the client, and says which names were asked for meanwhile; nothing once the mesh has ended.
///
/// As long as it is refused, so is the source, and no name that is asked for is anybody else's.
pub(super) async fn join(
    bootstrap: &Arc<Bootstrap>,
    cache: Option<&cache::Settings>,
    publisher: &Publisher,
    part: &str,
    asked: &mut Asked,
) -> Option<(Subscriber<Decoder>, BTreeSet<String>)> {
    let (mut names, mut pause) = (BTreeSet::new(), PAUSE.0);
    let mut told = None;
    loop {
        let (bootstrap, runtime) = (Arc::clone(bootstrap), Handle::current());
        let joined = REGISTRY.subscribe_cached(bootstrap, runtime, Xds::decoder, cache.cloned());
        let reason = match joined {
            Ok(subscriber) => {
                if told.is_some() {
                    publisher.accepted(part);
                }
                return Some((subscriber, names));
            }
            Err(errors) => errors.to_string(),
        };
        if told.as_ref() != Some(&reason) {
            publisher.refused(part, &*reason);
            names.iter().for_each(|name| publisher.unavailable(name, &*reason));
            told = Some(reason.clone());
        }
        publisher.synced();
        let again = Instant::now() + pause;
        pause = (pause * 2).min(PAUSE.1);
        while let Ok(next) = tokio::time::timeout_at(again, asked.next()).await {
            let name = next?;
            for gone in asked.given_up() {
                names.remove(&gone);
            }
            publisher.unavailable(&name, &*reason);
            names.insert(name);
        }
    }
}
