//! Secrets (SDS), and clusters that name them.
//!
//! A cluster whose keys or roots are resources of their own is read twice: when it comes, to know which
//! secrets it names and whether all else of it is right, and again with what they say, as if that stood in
//! the cluster. So names that a secret expects are enforced as those of a cluster are, and what a
//! secret says beside it narrows as much. A key, and roots alone, have one name whatever they are: what is
//! renewed takes the place of what was there, and connections go on. Roots that come with names to expect have
//! a name for both: no moment trusts the roots of one version by the names of another.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use envoy_types::pb::envoy::{
    config::cluster::v3::Cluster as Pb,
    extensions::transport_sockets::tls::v3::{
        CertificateValidationContext, Secret as PbSecret, TlsCertificate, secret::Type,
    },
};

use super::{
    super::{
        Context,
        types::Cluster,
        walk::{Bad, Result, Walk},
    },
    tls::{Own, Reader},
};
use crate::config::{CertificateRef, ClusterSecurity};

/// A secret. Its keys are never printed.
#[derive(Clone, PartialEq)]
pub(crate) struct Secret {
    pub(crate) name: Arc<str>,
    content: Content,
    /// What is said and not done.
    pub(crate) notes: Vec<String>,
}

#[derive(Clone, PartialEq)]
enum Content {
    /// An own certificate and its key.
    Own(Box<TlsCertificate>),
    /// Whom to trust.
    Trust(Box<CertificateValidationContext>),
}

/// The secrets that a cluster names, and what it is read from again with them.
#[derive(PartialEq)]
pub(crate) struct Recipe {
    secrets: BTreeSet<Arc<str>>,
    pb: Pb,
    context: Context,
}

/// Reads a secret.
pub(in super::super) fn secret(
    walk: &mut Walk,
    context: &Context,
    pb: &PbSecret,
) -> Result<Secret> {
    let PbSecret { name, r#type } = pb;
    if name.is_empty() {
        return walk.refuse("name", "", "must not be empty");
    }
    let content = match r#type {
        Some(Type::TlsCertificate(it)) => Content::Own(Box::new(it.clone())),
        Some(Type::ValidationContext(it)) => Content::Trust(Box::new(it.clone())),
        Some(Type::SessionTicketKeys(_)) => return other(walk, "session_ticket_keys"),
        Some(Type::GenericSecret(_)) => return other(walk, "generic_secret"),
        None => return other(walk, "none"),
    };
    let secret = Secret { name: name.as_str().into(), content, notes: Vec::new() };
    // What cannot be used is refused where it stands, but for what PEM holds: that is found out where keys are.
    let mut own = Own::default();
    let reader = &mut Reader::new(context, &mut own);
    match &secret.content {
        Content::Own(_) => drop(secret.own(reader, walk)?),
        Content::Trust(_) => {
            let mut security = ClusterSecurity::default();
            secret.trust(reader, walk, &mut security)?;
            if !security.says_trust() {
                let reason = "must say whom to trust: anybody would be accepted";
                return walk.refuse("validation_context", "none", reason);
            }
        }
    }
    Ok(secret)
}

fn other(walk: &Walk, what: &str) -> Result<Secret> {
    walk.refuse("type", what, "must be `tls_certificate` or `validation_context`")
}

// === impl Secret ===

impl Secret {
    /// The own certificate that it is.
    pub(super) fn own(&self, reader: &mut Reader<'_>, walk: &mut Walk) -> Result<CertificateRef> {
        let Content::Own(certificate) = &self.content else {
            return walk.refuse("name", &self.name, "is a secret that holds no certificate");
        };
        walk.within("tls_certificate", |walk| {
            reader.within(&self.name, |reader| reader.own_files(walk, certificate))
        })
    }

    /// Whom it trusts, and expects.
    pub(super) fn trust(
        &self,
        reader: &mut Reader<'_>,
        walk: &mut Walk,
        security: &mut ClusterSecurity,
    ) -> Result<()> {
        let Content::Trust(context) = &self.content else {
            return walk.refuse("name", &self.name, "is a secret that says nobody to trust");
        };
        walk.within("validation_context", |walk| {
            reader.within(&self.name, |reader| reader.validation(walk, context, security))
        })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("name", &self.name).finish_non_exhaustive()
    }
}

// === impl Recipe ===

impl Recipe {
    pub(super) fn of(
        context: &Context,
        pb: &Pb,
        secrets: &BTreeSet<Arc<str>>,
    ) -> Option<Arc<Self>> {
        // What it was read with belongs to one reading.
        let context = || Context { given: BTreeMap::new(), ..context.clone() };
        let recipe =
            || Arc::new(Self { pb: pb.clone(), context: context(), secrets: secrets.clone() });
        (!secrets.is_empty()).then(recipe)
    }
}

impl fmt::Debug for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.secrets).finish()
    }
}

// === impl Cluster ===

impl Cluster {
    /// The secrets that it names and that are resources.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &Arc<str>> {
        self.secrets.iter().flat_map(|recipe| &recipe.secrets)
    }

    /// The same with what its secrets say, which are all given.
    ///
    /// # Errors
    ///
    /// What of them together cannot be used.
    pub(crate) fn with_secrets(
        &self,
        given: BTreeMap<Arc<str>, Arc<Secret>>,
    ) -> std::result::Result<Self, String> {
        let Some(recipe) = &self.secrets else { return Ok(self.clone()) };
        let context = Context { given, ..recipe.context.clone() };
        let mut walk = Walk::new();
        match super::cluster(&mut walk, &context, &recipe.pb) {
            Ok(read) => Ok(Self { notes: walk.notes(), ..read }),
            Err(Bad::Wrong(reason) | Bad::Lacking(reason)) => {
                Err(format!("CDS resource {}, with its secrets: {reason}", self.name))
            }
        }
    }
}
