//! Addresses.

use std::net::{IpAddr, SocketAddr};

use envoy_types::pb::envoy::config::core::v3::{
    self as core, address::Address as Kind, socket_address::PortSpecifier,
};

use super::walk::{Result, Walk};
use crate::config::Address;

/// A host, by its name or number, and a port.
pub(super) enum Host<'a> {
    Address(Address),
    Name(&'a str, u16),
}

/// Whether it leads to a listener inside of Envoy.
pub(super) fn is_internal(address: Option<&core::Address>) -> bool {
    matches!(address.and_then(|it| it.address.as_ref()), Some(Kind::EnvoyInternalAddress(_)))
}

impl Walk {
    /// The address of an endpoint.
    pub(super) fn address(
        &mut self,
        field: &str,
        address: Option<&core::Address>,
    ) -> Result<Address> {
        match self.host(field, address)? {
            Host::Address(address) => Ok(address),
            Host::Name(name, _) => self.refuse(
                &format!("{field}.socket_address.address"),
                name,
                "is not an IP address",
            ),
        }
    }

    pub(super) fn host<'a>(
        &mut self,
        field: &str,
        address: Option<&'a core::Address>,
    ) -> Result<Host<'a>> {
        self.within(field, |walk| match address.and_then(|it| it.address.as_ref()) {
            None => walk.refuse("", "none", "an address must be given"),
            Some(Kind::SocketAddress(socket)) => {
                walk.within("socket_address", |walk| walk.socket(socket))
            }
            Some(Kind::Pipe(pipe)) if pipe.path.is_empty() || pipe.path.contains('\0') => {
                walk.refuse("pipe.path", &pipe.path, "is not the path of a socket")
            }
            Some(Kind::Pipe(pipe)) => {
                Ok(Host::Address(Address::Unix(std::path::PathBuf::from(&pipe.path).into())))
            }
            Some(Kind::EnvoyInternalAddress(_)) => {
                let reason = "not supported yet: leads to a listener inside of Envoy";
                walk.refuse("envoy_internal_address", "given", reason)
            }
        })
    }

    fn socket<'a>(&self, socket: &'a core::SocketAddress) -> Result<Host<'a>> {
        let core::SocketAddress {
            protocol,
            address,
            resolver_name,
            ipv4_compat: _,
            network_namespace_filepath,
            port_specifier,
        } = socket;
        if *protocol != 0 {
            return self.refuse("protocol", protocol, "must be TCP");
        }
        for (field, value) in [
            ("resolver_name", resolver_name),
            ("network_namespace_filepath", network_namespace_filepath),
        ] {
            if !value.is_empty() {
                return self.refuse(field, value, "not supported yet");
            }
        }
        let port = match port_specifier {
            Some(PortSpecifier::PortValue(port)) => match u16::try_from(*port) {
                Ok(port) if port > 0 => port,
                _ => return self.refuse("port_value", port, "must be in 1..=65535"),
            },
            Some(PortSpecifier::NamedPort(name)) => {
                return self.refuse("named_port", name, "not supported yet: must be a number");
            }
            None => return self.refuse("port_value", 0, "must be in 1..=65535"),
        };
        if address.is_empty() {
            return self.refuse("address", "", "must not be empty");
        }
        Ok(match address.parse::<IpAddr>() {
            Ok(ip) => Host::Address(SocketAddr::new(ip, port).into()),
            Err(_) => Host::Name(address, port),
        })
    }
}
