//! What an endpoint speaks: what it is asked for on plaintext; under TLS what it has chosen in a
//! handshake, which is not known before the first.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
};

use super::secure::Offered;
use crate::config::Protocol;

/// Read by every call, and written by handshakes.
#[derive(Debug)]
pub(super) struct Agreed {
    now: AtomicU8,
    /// Of the cluster: an endpoint has chosen HTTP/2.
    http2_chosen: Arc<AtomicBool>,
}

/// Plaintext.
const AS_ASKED: u8 = 0;
const HTTP1: u8 = 1;
const HTTP2: u8 = 2;
/// TLS, and no handshake yet.
const UNKNOWN: u8 = 3;

impl Agreed {
    /// Before the first connection.
    pub(super) fn new(offered: Option<Offered>, http2_chosen: Arc<AtomicBool>) -> Self {
        let now = AtomicU8::new(match offered {
            None => AS_ASKED,
            Some(Offered::Http1) => HTTP1,
            Some(Offered::Http2) => HTTP2,
            Some(Offered::Either) => UNKNOWN,
        });
        Self { now, http2_chosen }
    }

    /// What a call that asks for this is spoken in; nothing while that is not known.
    #[inline(always)]
    pub(super) fn get(&self, asked: Protocol) -> Option<Protocol> {
        match self.now.load(Relaxed) {
            AS_ASKED => Some(asked),
            HTTP2 => Some(Protocol::Http2),
            HTTP1 => Some(Protocol::Http1),
            _ => None,
        }
    }

    /// Whether it was the endpoint that decided for HTTP/1.1, whatever a call asks for.
    #[inline]
    pub(super) fn is_http1(&self) -> bool {
        self.now.load(Relaxed) == HTTP1
    }

    /// The endpoint has chosen.
    pub(super) fn set(&self, chosen: Protocol) {
        let chosen = match chosen {
            Protocol::Http1 => HTTP1,
            Protocol::Http2 => HTTP2,
        };
        if self.now.load(Relaxed) != AS_ASKED {
            self.now.store(chosen, Relaxed);
            if chosen == HTTP2 {
                self.http2_chosen.store(true, Relaxed);
            }
        }
    }
}
