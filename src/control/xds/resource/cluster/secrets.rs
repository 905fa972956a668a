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
    fmt::{self, Write as _},
    sync::Arc,
};

use envoy_types::pb::envoy::{
    config::{cluster::v3::Cluster as Pb, core::v3::config_source::ConfigSourceSpecifier},
    extensions::transport_sockets::tls::v3::{
        CertificateValidationContext, SdsSecretConfig, Secret as PbSecret, TlsCertificate,
        secret::Type,
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
use crate::config::{CertificateRef, ClusterSecurity, IdentityFiles, IdentityMatch};

/// What stands for a name that is not known yet; it is nobody's.
const AWAITED: &str = "awaited.invalid";

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

/// What stands for a secret until it is known: what is read so far is used by nobody.
fn awaited() -> CertificateRef {
    let mut reference = CertificateRef::default();
    reference.provider = AWAITED.to_owned();
    reference
}

// === impl Reader ===

impl Reader<'_> {
    pub(super) fn own_secret(
        &mut self,
        walk: &mut Walk,
        secret: &SdsSecretConfig,
    ) -> Result<CertificateRef> {
        if let Some(provider) = self.context.secrets.get(&secret.name) {
            let mut reference = CertificateRef::default();
            reference.provider.clone_from(provider);
            return Ok(reference);
        }
        //= Istio: the name says the files
        let named = secret.name.strip_prefix("file-cert:").and_then(|it| it.split_once('~'));
        let Some((certificate, key)) = named else {
            return match self.resource(walk, secret)? {
                Some(given) => given.own(self, walk),
                None => Ok(awaited()),
            };
        };
        let mut files = IdentityFiles::default();
        files.certificate = Some(certificate.to_owned());
        files.key = Some(key.to_owned());
        Ok(self.files(secret.name.clone(), files))
    }

    /// Whether a secret says whose roots vouch and nothing else: the bootstrap's, and files.
    pub(super) fn holds_roots_alone(&self, secret: &SdsSecretConfig) -> bool {
        self.context.secrets.contains_key(&secret.name) || secret.name.starts_with("file-root:")
    }

    pub(super) fn roots_of_secret(
        &mut self,
        walk: &mut Walk,
        secret: &SdsSecretConfig,
        security: &mut ClusterSecurity,
    ) -> Result<()> {
        if let Some(provider) = self.context.secrets.get(&secret.name) {
            let mut reference = CertificateRef::default();
            reference.provider.clone_from(provider);
            security.roots = Some(reference);
            return Ok(());
        }
        match secret.name.strip_prefix("file-root:") {
            Some("system") => security.system_roots = Some(true),
            Some(path) => {
                let mut files = IdentityFiles::default();
                files.roots = Some(path.to_owned());
                security.roots = Some(self.files(secret.name.clone(), files));
            }
            None => match self.resource(walk, secret)? {
                Some(given) => given.trust(self, walk, security)?,
                // Whom it expects is not known yet: all that depends on it is read again with it.
                None => {
                    security.roots = Some(awaited());
                    security.identities.push(IdentityMatch::Exact(AWAITED.to_owned()));
                }
            },
        }
        Ok(())
    }

    /// A secret that is a resource of the stream that this came from; nothing while it is not known.
    fn resource(&mut self, walk: &Walk, secret: &SdsSecretConfig) -> Result<Option<Arc<Secret>>> {
        let SdsSecretConfig { name, sds_config } = secret;
        let source = sds_config.as_ref().and_then(|it| it.config_source_specifier.as_ref());
        let is_of_stream =
            matches!(source, Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_)));
        if name.is_empty() || !is_of_stream {
            let reason = "is no secret that is known here: its `sds_config` must be `ads` or `self`, or the \
                          bootstrap say whose files it is (`BootstrapBuilder::secret`, `tower_mesh.secrets` \
                          of its JSON; of Istio's `default` and `ROOTCA`: `Istio::certificates_dir`)";
            return walk.refuse("name", name, reason);
        }
        let name: Arc<str> = name.as_str().into();
        let given = self.context.given.get(&name).cloned();
        self.own.secrets.insert(name);
        Ok(given)
    }

    /// Reads what stands in a secret.
    pub(super) fn within<T>(&mut self, secret: &Arc<str>, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.within.replace(Arc::clone(secret));
        let read = read(self);
        self.within = before;
        read
    }

    /// What the mesh calls what stands in a resource itself: of a secret the same as long as what it is
    /// `bound` to is, else the same for the same content.
    pub(super) fn inline_name(&self, kind: &str, content: &[u8], bound: Option<&[u8]>) -> String {
        let hash = |content: &[u8]| twox_hash::XxHash64::oneshot(0, content);
        let Some(secret) = &self.within else {
            return format!("xds.inline.{kind}.{:016x}", hash(content));
        };
        let realm = &self.context.realm;
        let mut name = if secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            format!("xds.secret.{realm}.{secret}")
        } else {
            format!("xds.secret.{realm}.{:016x}", hash(secret.as_bytes()))
        };
        if let Some(bound) = bound {
            let _written = write!(name, ".{:016x}", hash(bound));
        }
        name
    }
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
