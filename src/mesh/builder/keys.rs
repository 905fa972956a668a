//! Who the mesh is, and whom it trusts.

use super::MeshBuilder;
use crate::security::{CryptoProvider, Identity, Verify};

impl MeshBuilder {
    /// Who the mesh is: the key and certificate that it shows in mutual TLS, followed while it runs.
    /// Default: `identities.default` of the mesh file, else none.
    pub fn identity(self, identity: impl Identity) -> Self {
        self.named_identity("default", identity)
    }

    /// Who this process is towards the clusters that name this identity (`security.certificate`).
    pub fn named_identity(mut self, name: &str, identity: impl Identity) -> Self {
        self.keys.identities.insert(name.to_owned(), Box::new(identity));
        self
    }

    /// Whom the mesh trusts: the roots that vouch for endpoints, followed while it runs. Default:
    /// `identities.default` of the mesh file, else nobody.
    pub fn trust(self, trust: impl Verify) -> Self {
        self.named_trust("default", trust)
    }

    /// Who vouches for the endpoints of the clusters that name this trust (`security.roots`,
    /// `security.bundles`).
    pub fn named_trust(mut self, name: &str, trust: impl Verify) -> Self {
        self.keys.trust.insert(name.to_owned(), Box::new(trust));
        self
    }

    /// The cryptography of TLS. Default: see [`CryptoProvider`].
    pub fn crypto_provider(mut self, provider: impl Into<CryptoProvider>) -> Self {
        self.keys.provider = Some(provider.into());
        self
    }
}
