//! The addresses of a host, for listeners that are bound to them.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use super::names::bound;

/// istiod binds the listener of a service with an address to that, and of one without (headless) one to
/// each of its pods: any of them has the routes.
const MOST: usize = 4;
/// Less than calls wait for a name.
const WITHIN: Duration = Duration::from_secs(2);

/// What was found out of a name: the listeners that it may be on, or why there are none.
pub(super) type LookedUp = (String, Result<Vec<String>, String>);

/// Asks the resolver of the system, as the way to a control plane does.
pub(super) async fn look_up(name: String, host: String, port: u16) -> LookedUp {
    let found = tokio::time::timeout(WITHIN, tokio::net::lookup_host((host.as_str(), port))).await;
    let found = match found {
        Ok(Ok(found)) => match listeners(found.map(|address| address.ip()), port) {
            none if none.is_empty() => Err(format!("`{host}` has no address")),
            found => Ok(found),
        },
        Ok(Err(error)) => Err(format!("`{host}` cannot be resolved: {error}")),
        Err(_) => Err(format!("`{host}` cannot be resolved within {WITHIN:?}")),
    };
    (name, found)
}

/// Those of IPv4 first, as istiod does.
fn listeners(addresses: impl Iterator<Item = IpAddr>, port: u16) -> Vec<String> {
    let sorted: BTreeSet<IpAddr> = addresses.collect();
    sorted.into_iter().take(MOST).map(|address| bound(address, port)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
    async fn a_host_that_is_nowhere_is_named() {
        let (name, found) = look_up("a".into(), "no host".into(), 80).await;
        assert_eq!(name, "a");
        assert!(found.unwrap_err().contains("`no host` cannot be resolved"));
    }
}
