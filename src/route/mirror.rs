//! Compiled mirrors: which requests are copied, and what the copy looks like.

use std::time::Duration;

use http::{HeaderMap, Request, Uri, header::HOST, uri::Authority};

use super::{
    Edit,
    about::{About, Around},
    matching,
};
use crate::{
    config::{self, format::Side, share},
    core::uri::with_authority,
};

/// How many bytes of a body a copy may be behind before it is given up.
pub(crate) const BEHIND: usize = 64 * 1024;
/// So many copies of one mirror may be under way; beyond them none is made.
pub(crate) const IN_FLIGHT: u32 = 100;
/// How long a copy may take, to the end of its answer.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(15);

/// A compiled mirror, without the cluster.
#[derive(Debug)]
pub(crate) struct Mirror {
    /// A request is copied whose random word is below this one; all of them, if there is none.
    below: Option<u64>,
    host: Host,
    edit: Option<Edit>,
}

#[derive(Debug)]
enum Host {
    /// `-shadow` behind its name (Envoy).
    Marked,
    Kept,
    Other(Authority),
}

impl Mirror {
    /// Compiles a validated mirror.
    pub(crate) fn new(mirror: &config::Mirror) -> Self {
        let host = match (&mirror.host, mirror.keep_host) {
            (Some(host), _) => host.parse().map_or(Host::Marked, Host::Other),
            (None, Some(true)) => Host::Kept,
            (None, _) => Host::Marked,
        };
        Self {
            below: share::below(mirror.percent.unwrap_or(100.0)),
            host,
            edit: (!mirror.request_headers.is_empty())
                .then(|| Edit::new(&mirror.request_headers, Side::Request)),
        }
    }

    /// The share of the requests that is copied, in 0..=1.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub(crate) fn share(&self) -> f64 {
        self.below.map_or(1.0, |below| below as f64 / u64::MAX as f64)
    }

    /// Whether a request with this random word is copied.
    pub(crate) fn takes(&self, word: u64) -> bool {
        self.below.is_none_or(|below| word < below)
    }

    /// The head of the copy.
    pub(crate) fn head<B>(&self, request: &Request<B>, around: &Around<'_>) -> (Uri, HeaderMap) {
        let (mut uri, mut headers) = (request.uri().clone(), request.headers().clone());
        let host = match &self.host {
            Host::Kept => None,
            Host::Other(host) => Some(host.clone()),
            Host::Marked => marked(matching::authority_of(request).unwrap_or_default()),
        };
        if let Some(host) = host {
            headers.remove(HOST);
            uri = with_authority(uri, host);
        }
        if let Some(edit) = &self.edit {
            let about = edit.is_made().then(|| About {
                method: request.method(),
                uri: &uri,
                version: request.version(),
                route: around.route,
                cluster: around.cluster,
                started: around.started(),
                answer: None,
            });
            edit.apply_to(&mut headers, about.as_ref());
        }
        (uri, headers)
    }
}

//= Envoy ShadowWriter: `-shadow` before the port
fn marked(host: &str) -> Option<Authority> {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => format!("{name}-shadow:{port}").parse().ok(),
        // An address has no name to mark.
        _ if host.ends_with(']') || host.is_empty() => None,
        _ => format!("{host}-shadow").parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_marked() {
        for (host, expected) in [
            ("a.b", "a.b-shadow"),
            ("a.b:80", "a.b-shadow:80"),
            ("10.0.0.1:80", "10.0.0.1-shadow:80"),
        ] {
            assert_eq!(marked(host).unwrap(), expected);
        }
        assert_eq!(marked("[::1]"), None);
    }
}
