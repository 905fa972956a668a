//! Keys and roots that a control plane says itself, in place of files.

use std::{
    collections::hash_map::DefaultHasher,
    future::{Future, pending},
    hash::{Hash, Hasher},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use crate::{
    config::identity::Pem,
    security::{Identity, IdentityPublisher, Roots as Vouching, TrustPublisher, Verify},
};

/// What is not valid yet may be later.
const AGAIN: Duration = Duration::from_secs(60);

/// A key and its certificate.
pub(super) struct Own(pub(super) Arc<Pem>);

/// What vouches for endpoints.
pub(super) struct Roots(pub(super) Arc<Pem>);

/// What reports call it: the same for the same content, which nothing of a key is in.
fn name(kind: &str, content: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("{kind} of the control plane, {:016x}", hasher.finish())
}

impl Identity for Own {
    fn name(&self) -> String {
        let certificate = self.0.pair.as_ref().map_or(&[][..], |(certificate, _)| certificate);
        name("key pair", certificate)
    }

    fn run(
        self: Box<Self>,
        publish: IdentityPublisher,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let Some((certificate, key)) = &self.0.pair else { return };
            // A refusal is reported.
            while publish.pem(certificate, key).is_err() {
                tokio::time::sleep(AGAIN).await;
            }
            pending::<()>().await;
        })
    }
}

impl Verify for Roots {
    fn name(&self) -> String {
        name("roots", self.0.roots.as_deref().unwrap_or_default())
    }

    fn run(self: Box<Self>, publish: TrustPublisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let Some(roots) = &self.0.roots else { return };
            match Vouching::new().pem(roots) {
                Ok(roots) => drop(publish.roots(roots)),
                Err(error) => publish.refused(&error.to_string()),
            }
            pending::<()>().await;
        })
    }
}
