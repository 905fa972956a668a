//! What a bootstrap says to whoever decodes resources.

use std::{collections::BTreeMap, sync::Arc};

use super::publish::identity;
use crate::{
    config::Role,
    control::xds::{
        bootstrap::{Bootstrap, Dialect},
        cache,
        resource::{self, Context},
    },
};

/// What decoding needs to know of a bootstrap.
pub(crate) fn context(bootstrap: &Bootstrap) -> Context {
    let providers = bootstrap.certificate_providers.iter();
    let providers: BTreeMap<String, String> =
        providers.map(|(instance, files)| (instance.clone(), identity(instance, files))).collect();
    let dialect = match bootstrap.dialect {
        Dialect::Proxyless => resource::Dialect::Proxyless,
        Dialect::Sidecar | Dialect::Envoy => resource::Dialect::Sidecar,
    };
    // What Istio calls the secrets that its agent serves, and what the bootstrap says itself.
    let of_istio = providers.get("default").filter(|_| bootstrap.dialect == Dialect::Sidecar);
    let of_istio =
        of_istio.map(|files| ["default", "ROOTCA"].map(|it| (it.to_owned(), files.clone())));
    let said = bootstrap.secrets.iter();
    let said = said.filter_map(|(name, it)| Some((name.clone(), providers.get(it)?.clone())));
    let secrets = of_istio.into_iter().flatten().chain(said).collect();
    Context {
        dialect,
        role: Role::Caller,
        trusted: bootstrap.every_server().iter().all(|server| server.features.trusted),
        providers,
        secrets,
        trust_domain: bootstrap.node.trust_domain().map(Arc::from),
        realm: realm(bootstrap),
        given: BTreeMap::new(),
    }
}

/// What tells control planes apart: who is asked, and as whom.
fn realm(bootstrap: &Bootstrap) -> String {
    let identity = format!("{:?}", cache::Identity::of(bootstrap));
    format!("{:016x}", twox_hash::XxHash64::oneshot(0, identity.as_bytes()))
}
