//! The URL of a call as spans show it.

use std::{cell::Cell, sync::Arc};

use http::{Uri, uri::Scheme};

/// What stands in place of what may be a secret.
const REDACTED: &str = "REDACTED";

/// Bytes of the longest text whose room is used again.
const KEPT: usize = 4096;

thread_local! {
    /// Where a URL is put together, of which spans share one copy.
    static ROOM: Cell<String> = const { Cell::new(String::new()) };
}

/// The absolute URL without what may be a secret in it.
///
//= OTel HTTP spans §"url.full": credentials are redacted, and sensitive content is scrubbed
/// Which values of a query are secret is not known here, so every value is; its keys stay.
pub(crate) fn redacted(uri: &Uri, service: &str) -> Arc<str> {
    // Without a place of the thread's own, at its end: new room.
    let mut url = ROOM.try_with(Cell::take).unwrap_or_default();
    url.clear();
    write(uri, service, &mut url);
    let shared = url.as_str().into();
    if url.capacity() <= KEPT {
        // At the end of the thread there is no place to keep it.
        ROOM.try_with(|room| room.set(url)).ok();
    }
    shared
}

fn write(uri: &Uri, service: &str, url: &mut String) {
    let scheme = uri.scheme().unwrap_or(&Scheme::HTTP).as_str();
    let authority = uri.authority().map_or(service, http::uri::Authority::as_str);
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let query = uri.query();
    url.reserve(scheme.len() + host.len() + uri.path().len() + query.map_or(0, str::len) + 32);
    url.push_str(scheme);
    url.push_str("://");
    if let Some(user) = user {
        url.push_str(REDACTED);
        if user.contains(':') {
            url.push(':');
            url.push_str(REDACTED);
        }
        url.push('@');
    }
    url.push_str(host);
    url.push_str(uri.path());
    for (at, pair) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
        url.push(if at == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((key, _)) => {
                url.push_str(key);
                url.push('=');
                url.push_str(REDACTED);
            }
            // What has no key may be a secret as a whole.
            None if pair.is_empty() => {}
            None => url.push_str(REDACTED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_values_of_queries_are_not_shown() {
        for (uri, shown) in [
            ("http://users.prod/1", "http://users.prod/1"),
            ("https://me:secret@users.prod:8443/1", "https://REDACTED:REDACTED@users.prod:8443/1"),
            ("http://token@users.prod/", "http://REDACTED@users.prod/"),
            ("http://u/a?sig=secret&x=&bare&", "http://u/a?sig=REDACTED&x=REDACTED&REDACTED&"),
            ("http://u/a?", "http://u/a?"),
            ("/relative?a=b=c", "http://orders.prod/relative?a=REDACTED"),
        ] {
            assert_eq!(&*redacted(&uri.parse().unwrap(), "orders.prod"), shown, "{uri}");
        }
    }

    #[test]
    fn a_short_url_behind_a_long_one_is_whole() {
        let long = format!("http://users.prod/{}", "x".repeat(2 * KEPT));
        for uri in [&*long, "http://users.prod/1", &*long, "http://users.prod/"] {
            assert_eq!(&*redacted(&uri.parse().unwrap(), "orders.prod"), uri);
        }
    }
}
