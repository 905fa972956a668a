//! How an endpoint of a cluster is secured: which of the cluster's sockets its metadata chooses
//! (`transport_socket_matches`).

use std::collections::BTreeMap;

use crate::config::{self, Discovery, Endpoint, EndpointTls, IdentityMatch, Security, Value};

/// The namespace of metadata that matches are compared with.
const NAMESPACE: &str = "envoy.transport_socket_match";

/// How endpoints are secured, by what their metadata says; nothing where the cluster says it all.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sockets {
    /// The first that is met decides.
    pub(super) matches: Vec<SocketMatch>,
    /// What holds where none is met.
    pub(super) otherwise: Option<Socket>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct SocketMatch {
    pub(super) labels: BTreeMap<String, Value>,
    pub(super) socket: Socket,
}

/// One way to connect.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Socket {
    Plain,
    Tls {
        /// Of an endpoint without a host name, or where that is not asked for.
        tls: EndpointTls,
        by_hostname: bool,
        /// Whether the host name that is asked for is expected, whatever names are said.
        expects_hostname: bool,
    },
    /// It cannot be used: its endpoints are left out, and never reached otherwise.
    Unusable,
}

// === impl Sockets ===

impl Sockets {
    /// Secures the endpoints of a cluster, those that DNS will find among them, by what their metadata says.
    /// Those that cannot be reached so are left out.
    pub(super) fn secure(&self, config: &mut config::Cluster) {
        if self.otherwise.is_none() {
            return;
        }
        config.endpoints.retain_mut(|endpoint| self.secure_one(endpoint));
        if let Some(Discovery::Dns(dns)) = &mut config.discovery
            && !dns.targets.is_empty()
        {
            dns.targets.retain_mut(|target| self.secure_one(&mut target.endpoint));
            // Without names of endpoints, that of all would be asked for.
            if dns.targets.is_empty() {
                config.discovery = None;
            }
        }
    }

    /// Secures one of them, or says that it is to be left out: its metadata chooses what cannot be used.
    #[must_use]
    pub(super) fn secure_one(&self, endpoint: &mut Endpoint) -> bool {
        let Some(socket) = self.socket_of(endpoint) else { return true };
        let Some(security) = socket.of(endpoint) else { return false };
        endpoint.security = Some(security);
        true
    }

    /// Whether an endpoint is among those that calls go to.
    pub(super) fn reaches(&self, endpoint: &Endpoint) -> bool {
        self.socket_of(endpoint).is_none_or(|socket| *socket != Socket::Unusable)
    }

    /// Whether one of these endpoints is secured by mutual TLS so.
    pub(super) fn is_mutual_for<'a>(
        &self,
        mut endpoints: impl Iterator<Item = &'a Endpoint>,
    ) -> bool {
        let mut sockets = self.matches.iter().map(|it| &it.socket).chain(&self.otherwise);
        sockets.any(Socket::is_mutual)
            && endpoints.any(|endpoint| self.socket_of(endpoint).is_some_and(Socket::is_mutual))
    }

    /// Which of them is this endpoint's.
    fn socket_of(&self, endpoint: &Endpoint) -> Option<&Socket> {
        let otherwise = self.otherwise.as_ref()?;
        let empty = BTreeMap::new();
        let labels = match endpoint.metadata.get(NAMESPACE) {
            Some(Value::Map(labels)) => labels,
            _ => &empty,
        };
        let met = self.matches.iter().find(|it| it.is_met_by(labels));
        Some(met.map_or(otherwise, |it| &it.socket))
    }
}

// === impl SocketMatch ===

impl SocketMatch {
    fn is_met_by(&self, labels: &BTreeMap<String, Value>) -> bool {
        self.labels.iter().all(|(name, value)| labels.get(name) == Some(value))
    }
}

// === impl Socket ===

impl Socket {
    fn is_mutual(&self) -> bool {
        matches!(self, Self::Tls { tls, .. } if tls.mode == Some(config::SecurityMode::Mutual))
    }

    /// Nothing where it cannot be used.
    fn of(&self, endpoint: &Endpoint) -> Option<Security> {
        Some(match self {
            Self::Unusable => return None,
            Self::Plain => Security::Plain,
            Self::Tls { tls, by_hostname, expects_hostname } => {
                let mut tls = tls.clone();
                //= gRFC A101: the host name of the endpoint goes before `sni`
                if *by_hostname && let Some(name) = &endpoint.hostname {
                    tls.sni = Some(name.clone());
                    if *expects_hostname {
                        tls.identities = vec![IdentityMatch::Exact(name.clone())];
                    }
                }
                Security::Tls(Box::new(tls))
            }
        })
    }
}
