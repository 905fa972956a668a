//! reqwest's errors as ours: one type for all that a request, its response and its body can meet.

use std::{error::Error as StdError, io, sync::Arc};

use crate::core::{Error, ErrorKind, Origin, Phase};

impl From<reqwest::Error> for Error {
    /// What reqwest says of a request, a response or its body, as an [`Error`].
    ///
    /// An error of the mesh that reqwest has wrapped, as the methods of a response do, comes out
    /// as it was. Any other is the source of one whose kind says what it is:
    /// [`InvalidRequest`](ErrorKind::InvalidRequest) for what the builder was given,
    /// [`InvalidResponse`](ErrorKind::InvalidResponse) for an error status that was asked about and
    /// for content that cannot be read, [`Redirect`](ErrorKind::Redirect),
    /// [`Timeout`](ErrorKind::Timeout), [`Connect`](ErrorKind::Connect) or
    /// [`Transport`](ErrorKind::Transport). The URL, which may hold secrets in its query, is left
    /// out; the service is its host.
    fn from(error: reqwest::Error) -> Self {
        if let Some(own) = own(&error) {
            return own.clone();
        }
        let (kind, phase, origin) = if error.is_builder() {
            (ErrorKind::InvalidRequest, Phase::Request, Origin::Local)
        } else if error.is_status()
            || (error.is_decode() && !error.is_timeout() && !is_lost(&error))
        {
            (ErrorKind::InvalidResponse, Phase::Body, Origin::Endpoint)
        } else if error.is_redirect() {
            (ErrorKind::Redirect, Phase::Headers, Origin::Endpoint)
        } else if error.is_timeout() {
            let in_body = error.is_body() || error.is_decode();
            let phase = if in_body { Phase::Body } else { Phase::Headers };
            (ErrorKind::Timeout, phase, Origin::Endpoint)
        } else if error.is_connect() {
            (ErrorKind::Connect, Phase::Connect, Origin::Endpoint)
        } else {
            let phase =
                if error.is_body() || error.is_decode() { Phase::Body } else { Phase::Request };
            (ErrorKind::Transport, phase, Origin::Endpoint)
        };
        let host = error.url().and_then(reqwest::Url::host_str).map(Arc::<str>::from);
        let mut own = Self::new(kind, phase).with_origin(origin);
        if let Some(host) = &host {
            own = own.service(host);
        }
        if error.is_builder()
            && let Some(cause) = sources(&error).last()
        {
            // It is about what the caller has written, and names no more of it than is wrong.
            own = own.detail(cause.to_string());
        }
        if let Some(status) = error.status() {
            own = own.detail(format!("status {}", status.as_u16()));
        }
        own.caused_by(error.without_url())
    }
}

/// An error of ours somewhere beneath.
fn own(error: &reqwest::Error) -> Option<&Error> {
    sources(error).find_map(|source| source.downcast_ref())
}

/// Whether the connection was lost, which reqwest calls a body that cannot be decoded, too.
fn is_lost(error: &reqwest::Error) -> bool {
    sources(error).any(|source| source.is::<hyper::Error>())
}

/// What is beneath an error, outermost first.
fn sources(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(StdError::source(error), |error| beneath(*error))
}

fn beneath<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    // What an I/O error wraps is not its source, but itself.
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}
