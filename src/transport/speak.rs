//! From a byte stream to a connection of HTTP, in the protocol that the endpoint has chosen.

use hyper::client::conn::http1;

use super::{
    connect::ConnectError,
    dial::{Dialer, Stream},
    h1, h2,
};
use crate::{
    config::Protocol,
    core::{BoxFuture, DisconnectReason},
};

/// A new connection.
pub(super) struct Spoken {
    pub(super) http: Http,
    /// Ends, with the reason, when what vouched for the endpoint is trusted no more.
    pub(super) distrusted: Option<BoxFuture<DisconnectReason>>,
}

/// A new connection as its protocol has it.
pub(super) enum Http {
    V1(h1::Sender, h1::Connection),
    V2(h2::Sender, h2::Halves),
}

/// Performs the handshake of HTTP.
pub(super) async fn speak(stream: Stream, dialer: &Dialer) -> Result<Spoken, ConnectError> {
    let Stream { io, protocol, distrusted } = stream;
    let http = match protocol {
        Protocol::Http1 => {
            let (sender, connection) = http1::Builder::new()
                .handshake(io)
                .await
                .map_err(|cause| ConnectError::caused("HTTP/1.1 handshake failed", cause.into()))?;
            Http::V1(sender, connection)
        }
        Protocol::Http2 => {
            let (sender, halves) = h2::handshake(io, dialer).await?;
            Http::V2(sender, halves)
        }
    };
    Ok(Spoken { http, distrusted })
}
