//! Checks of endpoints.

use super::{Checker, not_yet};
use crate::config::{Address, ConfigErrors, Endpoint};

/// Further addresses that an endpoint may have.
const MORE_ADDRESSES: usize = 15;

impl Checker {
    fn more_addresses(&mut self, first: &Address, more: &[Address]) {
        if more.len() > MORE_ADDRESSES {
            self.refuse("more_addresses", more.len(), "must be at most 15");
            return;
        }
        for (index, address) in more.iter().enumerate() {
            let field = format!("more_addresses[{index}]");
            if address == first || more[..index].contains(address) {
                self.refuse(&field, address, "is listed twice");
            }
            if let Address::Socket(socket) = address
                && socket.port() == 0
            {
                self.refuse(&field, address, "the port must be in 1..=65535");
            }
        }
    }

    pub(super) fn endpoint(&mut self, endpoint: &Endpoint) {
        let Endpoint {
            address,
            weight,
            more_addresses,
            hostname,
            priority: _,
            locality: _,
            network,
            node: _,
            labels: _,
            metadata: _,
            security,
            tunnel,
            protocol,
            authority,
            http2,
            check,
            hash_key,
            health: _,
        } = endpoint;
        if let Address::Socket(address) = address
            && address.port() == 0
        {
            self.refuse("address", address, "the port must be in 1..=65535");
        }
        self.more_addresses(address, more_addresses);
        if !(1..=65_535).contains(weight) {
            self.refuse("weight", weight, "must be in 1..=65535");
        }
        if let Some(security) = security {
            self.within("security", |checker| checker.endpoint_security(security, *protocol));
        }
        self.only_default("tunnel", tunnel);
        if let Some(authority) = authority
            && authority.parse::<http::uri::Authority>().is_err()
        {
            self.refuse("authority", authority, "is not an authority");
        }
        for (field, text) in [("hostname", hostname), ("hash_key", hash_key)] {
            if text.as_deref() == Some("") {
                self.refuse(field, "\"\"", "must not be empty");
            }
        }
        not_yet!(self, network, http2, check);
    }
}

impl Endpoint {
    /// Checks every field; `path` says where the endpoint stands.
    ///
    /// # Errors
    ///
    /// Every field that cannot be used, with its value and the allowed range.
    pub fn validate(&self, path: &str) -> Result<(), ConfigErrors> {
        let mut checker = Checker::new(path);
        checker.endpoint(self);
        checker.done()
    }
}
