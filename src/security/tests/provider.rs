//! Which cryptography is used.

use rustls::{NamedGroup, crypto::CryptoProvider};

use super::super::provider;

#[test]
fn a_default_that_the_process_has_installed_is_not_used() {
    let compiled = provider(None).unwrap();
    let mut weaker = CryptoProvider::clone(&compiled);
    weaker.kx_groups.retain(|group| group.name() == NamedGroup::X25519);
    weaker.install_default().unwrap();
    let groups = |provider: &CryptoProvider| -> Vec<NamedGroup> {
        provider.kx_groups.iter().map(|group| group.name()).collect()
    };
    assert_ne!(groups(CryptoProvider::get_default().unwrap()), groups(&compiled));
    assert_eq!(groups(&provider(None).unwrap()), groups(&compiled));
}
