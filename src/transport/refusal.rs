//! What an endpoint says of us after the handshake: in TLS 1.3 a client learns only then that its
//! certificate is refused.

use std::error::Error as StdError;

use super::connect::ConnectError;

/// The refusal behind an error of hyper's, if there is one. Nothing that was sent has been worked
/// on: it came in place of the end of the handshake.
#[cfg(feature = "_tls")]
pub(super) fn refusal(error: &(dyn StdError + 'static)) -> Option<ConnectError> {
    use crate::security::TlsError;

    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let tls = match io {
            Some(inner) => inner.downcast_ref::<TlsError>(),
            None => error.downcast_ref::<TlsError>(),
        };
        if let Some(tls) = tls {
            let cause = Some(Box::new(tls.clone()) as _);
            return tls
                .is_refusal()
                .then(|| ConnectError::tls("refused after the handshake", cause));
        }
        next = error.source();
    }
    None
}

#[cfg(not(feature = "_tls"))]
pub(super) fn refusal(_error: &(dyn StdError + 'static)) -> Option<ConnectError> {
    None
}
