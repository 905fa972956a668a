//! The addresses of a host, for listeners that are bound to them.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, ToSocketAddrs as _},
};

use tokio::{sync::SemaphorePermit, task::JoinHandle};

use super::names::bound;
use crate::core::BoxFuture;

/// istiod binds the listener of a service with an address to that, and of one without (headless) one to
/// each of its pods: any of them has the routes.
const MOST: usize = 4;

/// Whoever has it may ask a resolver. It is kept until the resolver has ended.
pub(super) type Turn = SemaphorePermit<'static>;

/// What a resolver says.
pub(super) type Found = io::Result<Vec<IpAddr>>;

/// Asks the resolver of the system, as the way to a control plane does.
pub(super) fn system(host: String, port: u16, turn: Turn) -> BoxFuture<Found> {
    let asked = beside(turn, move || -> Found {
        let found = (host.as_str(), port).to_socket_addrs()?;
        Ok(found.map(|address| address.ip()).collect())
    });
    Box::pin(async move {
        match asked.await {
            Ok(found) => found,
            Err(error) => Err(io::Error::other(error)),
        }
    })
}

/// Does what blocks a thread. It cannot be ended: who leaves it does not free its turn.
fn beside<T: Send + 'static>(
    turn: Turn,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    tokio::task::spawn_blocking(move || {
        let done = work();
        drop(turn);
        done
    })
}

/// The listeners at a few of these, those of IPv4 first, as istiod does.
pub(super) fn listeners(addresses: impl IntoIterator<Item = IpAddr>, port: u16) -> Vec<String> {
    let sorted: BTreeSet<IpAddr> = addresses.into_iter().collect();
    sorted.into_iter().take(MOST).map(|address| bound(address, port)).collect()
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    fn turns() -> &'static Semaphore {
        Box::leak(Box::new(Semaphore::new(1)))
    }

    #[test]
    fn a_few_listeners_come_of_many_addresses_always_in_one_order() {
        let of = |texts: &[&str]| {
            listeners(texts.iter().map(|text| text.parse().unwrap()), 8080).join(" ")
        };
        assert_eq!(of(&["fd00::9", "10.96.0.9"]), "10.96.0.9_8080 fd00::9_8080");
        let pods = ["10.0.0.5", "10.0.0.3", "10.0.0.4", "10.0.0.1", "10.0.0.2", "10.0.0.3"];
        assert_eq!(of(&pods), "10.0.0.1_8080 10.0.0.2_8080 10.0.0.3_8080 10.0.0.4_8080");
    }

    #[tokio::test]
    async fn the_resolver_of_the_system_is_asked_and_gives_its_turn_back() {
        let turns = turns();
        for (host, is_found) in [("localhost", true), ("no host", false)] {
            let turn = turns.acquire().await.unwrap();
            let found = system(host.to_owned(), 80, turn).await;
            assert_eq!(found.is_ok_and(|found| !found.is_empty()), is_found, "{host}");
            assert_eq!(turns.available_permits(), 1);
        }
    }

    #[tokio::test]
    async fn who_leaves_a_lookup_does_not_free_its_turn() {
        let turns = turns();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let turn = turns.acquire().await.unwrap();
        drop(beside(turn, move || ended.recv()));
        assert_eq!(turns.available_permits(), 0);
        end.send(()).unwrap();
        assert!(turns.acquire().await.is_ok());
    }
}
