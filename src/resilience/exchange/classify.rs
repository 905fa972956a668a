//! What a failed attempt of a foreign client means for a retry.
//!
//! The chain of sources is searched for what is known for sure; anything that is not recognised
//! is not a reason to send a request twice.

use std::{error::Error as StdError, io};

use crate::{
    core::{Error, ErrorKind, WireFailure},
    resilience::retry::Met,
};

/// Reads an error and its sources; `None` when it is no business of a retry.
pub(crate) fn failure(error: &(dyn StdError + 'static)) -> Option<Met<'static>> {
    // What an HTTP connection reports concerns a request that may be on the wire, and is decided
    // there; the system's own errors outside of one come from connecting.
    let mut met = None;
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<Error>() {
            return own(error);
        }
        #[cfg(feature = "reqwest-013")]
        if let Some(error) = error.downcast_ref::<reqwest::Error>() {
            if error.is_connect() {
                return Some(Met::NeverSent);
            }
            if error.is_timeout() {
                return Some(Met::AttemptTimeout);
            }
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            return wire(WireFailure::of_hyper(error));
        }
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return wire(WireFailure::of_h2(error));
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            let refused = error.kind() == io::ErrorKind::ConnectionRefused;
            met = Some(if refused { Met::NeverSent } else { Met::Reset });
        }
        next = error.source();
    }
    met
}

fn own(error: &Error) -> Option<Met<'static>> {
    match error.kind() {
        // Of its last attempt that is true, and not of one before.
        ErrorKind::Connect | ErrorKind::Identity | ErrorKind::Refused if error.is_worked_on() => {
            Some(Met::Reset)
        }
        ErrorKind::Connect | ErrorKind::Identity => Some(Met::NeverSent),
        ErrorKind::Refused => Some(Met::Refused),
        ErrorKind::Transport => Some(Met::Reset),
        ErrorKind::Timeout => Some(Met::AttemptTimeout),
        ErrorKind::UnknownService
        | ErrorKind::Config
        | ErrorKind::NoRoute
        | ErrorKind::NoEndpoints
        | ErrorKind::Overloaded
        | ErrorKind::Denied
        | ErrorKind::RequestBody
        | ErrorKind::Layer
        | ErrorKind::InvalidRequest
        | ErrorKind::InvalidResponse
        | ErrorKind::Redirect
        | ErrorKind::Shutdown => None,
    }
}

fn wire(failure: WireFailure) -> Option<Met<'static>> {
    match failure {
        WireFailure::NeverSent => Some(Met::NeverSent),
        WireFailure::Refused => Some(Met::Refused),
        WireFailure::Reset | WireFailure::Closed | WireFailure::Protocol => Some(Met::Reset),
        WireFailure::RequestBody => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Phase;

    #[test]
    fn a_refused_connection_was_never_sent_to() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(matches!(failure(&refused), Some(Met::NeverSent)));
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert!(matches!(failure(&reset), Some(Met::Reset)));
    }

    #[test]
    fn own_errors_are_read_by_their_kind() {
        let error = |kind| Error::new(kind, Phase::Headers);
        assert!(matches!(failure(&error(ErrorKind::Refused)), Some(Met::Refused)));
        assert!(matches!(failure(&error(ErrorKind::Timeout)), Some(Met::AttemptTimeout)));
        assert!(failure(&error(ErrorKind::Overloaded)).is_none());
        for kind in [ErrorKind::Connect, ErrorKind::Refused] {
            assert!(matches!(failure(&error(kind).worked_on()), Some(Met::Reset)), "{kind:?}");
        }
    }

    #[test]
    fn an_unknown_error_is_no_reason_to_send_twice() {
        assert!(failure(&std::fmt::Error).is_none());
    }
}
