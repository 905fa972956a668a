//! What vouches for endpoints, from PEM files that are followed, from the system, or from memory.

use std::{fmt, path::PathBuf, pin::Pin, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{
    Roots, TrustDomain, TrustPublisher, Verify,
    files::{self, Files},
};
use crate::config::ConfigError;

/// The roots that vouch for endpoints.
///
/// Files are read again every 5 s, and again until they have settled. A bundle takes effect as a
/// whole; one that cannot be used is reported, and the last good one stays. A root that is removed
/// vouches for nobody any more: the connections that it has vouched for are drained.
///
/// Roots of a trust domain vouch for the SPIFFE ids of that domain alone, never for a DNS name. If
/// there are any, an id of a domain that has none is refused.
#[must_use]
pub struct Trust {
    /// In the order in which the files are read.
    parts: Vec<(Part, Content)>,
    system: bool,
    unchecked: bool,
    poll: Duration,
}

/// What a part of a bundle vouches for.
#[derive(Clone, Debug)]
enum Part {
    Any,
    Domain(TrustDomain),
    #[cfg(any(feature = "file", feature = "xds"))]
    Map,
    Crl,
}

enum Content {
    File(PathBuf),
    Memory(Vec<u8>),
}

/// Trust without verification. See [`Trust::dangerous`].
#[derive(Debug)]
#[must_use]
pub struct DangerousTrust(());

impl Trust {
    fn none() -> Self {
        Self { parts: Vec::new(), system: false, unchecked: false, poll: files::POLL }
    }

    fn with(mut self, part: Part, content: Content) -> Self {
        self.parts.push((part, content));
        self
    }

    /// The roots of this file vouch for any name.
    pub fn pem_file(path: impl Into<PathBuf>) -> Self {
        Self::none().with(Part::Any, Content::File(path.into()))
    }

    /// These roots vouch for any name.
    pub fn pem(bundle: impl Into<Vec<u8>>) -> Self {
        Self::none().with(Part::Any, Content::Memory(bundle.into()))
    }

    /// The roots of each file vouch for the SPIFFE ids of its trust domain.
    ///
    /// # Errors
    ///
    /// When a trust domain is not what SPIFFE-ID §2.1 allows, or none is given.
    pub fn bundles<D, P>(bundles: impl IntoIterator<Item = (D, P)>) -> Result<Self, ConfigError>
    where
        D: AsRef<str>,
        P: Into<PathBuf>,
    {
        let mut trust = Self::none();
        for (domain, path) in bundles {
            let domain = domain.as_ref().parse()?;
            trust = trust.with(Part::Domain(domain), Content::File(path.into()));
        }
        if trust.parts.is_empty() {
            return Err(ConfigError::new("bundles", "[]", "must name at least one trust domain"));
        }
        Ok(trust)
    }

    /// The roots in this SPIFFE bundle map (JSON), each for the ids of its trust domain (gRFC A87).
    #[cfg(any(feature = "file", feature = "xds"))]
    pub fn bundle_map_file(path: impl Into<PathBuf>) -> Self {
        Self::none().with(Part::Map, Content::File(path.into()))
    }

    /// The roots of the operating system vouch for any name; `SSL_CERT_FILE` and `SSL_CERT_DIR`
    /// name others. They are read again every hour; beside files, every five minutes.
    pub fn system() -> Self {
        Self::none().and_system()
    }

    /// Nobody is verified. For laboratories.
    ///
    /// It is a call of its own so that a search for `dangerous` finds every place, and there is no
    /// way to say it in a file or by a control plane: not by its name either. A
    /// [`named_trust`](crate::MeshBuilder::named_trust) of this kind counts for clusters of which the code
    /// names it (`ServiceSettings::security`), the mesh's own for those that name none, and neither beside
    /// other roots.
    pub fn dangerous() -> DangerousTrust {
        DangerousTrust(())
    }

    /// Adds the operating system's roots.
    pub fn and_system(mut self) -> Self {
        self.system = true;
        self
    }

    /// Adds the roots of this file, for any name.
    pub fn and_pem_file(self, path: impl Into<PathBuf>) -> Self {
        self.with(Part::Any, Content::File(path.into()))
    }

    /// Adds the roots in this SPIFFE bundle map.
    #[cfg(any(feature = "file", feature = "xds"))]
    pub fn and_bundle_map_file(self, path: impl Into<PathBuf>) -> Self {
        self.with(Part::Map, Content::File(path.into()))
    }

    /// Adds the roots of this file, for the SPIFFE ids of a trust domain.
    pub fn and_bundle(self, domain: TrustDomain, path: impl Into<PathBuf>) -> Self {
        self.with(Part::Domain(domain), Content::File(path.into()))
    }

    /// Adds the revocation lists of this file.
    ///
    /// Whoever has a list is compared with it, along the whole chain; a CA without a list is
    /// believed. A list that is out of date counts all the same.
    pub fn crl_file(self, path: impl Into<PathBuf>) -> Self {
        self.with(Part::Crl, Content::File(path.into()))
    }

    /// How often the files are read. Default: 5 s. Range: at least 100 ms; less counts as that.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll = interval.max(files::MIN_POLL);
        self
    }
}

impl DangerousTrust {
    /// Any certificate will do, whoever signed it, whomever it names, however old it is: whoever
    /// stands between can read and change everything. The endpoint must still have the key of the
    /// certificate that it shows.
    pub fn any_certificate(self) -> Trust {
        Trust { unchecked: true, ..Trust::none() }
    }
}

impl Verify for Trust {
    fn name(&self) -> String {
        let mut names = Vec::new();
        for (part, content) in &self.parts {
            let name = match content {
                Content::File(path) => path.display().to_string(),
                Content::Memory(_) => "in memory".to_owned(),
            };
            names.push(match part {
                Part::Any => name,
                Part::Domain(domain) => format!("{domain}: {name}"),
                #[cfg(any(feature = "file", feature = "xds"))]
                Part::Map => name,
                Part::Crl => format!("revoked by {name}"),
            });
        }
        if self.system {
            names.push("of the system".to_owned());
        }
        if self.unchecked {
            names.push("dangerous: any certificate".to_owned());
        }
        names.join(", ")
    }

    fn run(self: Box<Self>, publish: TrustPublisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(follow(*self, publish, system))
    }
}

/// The system's roots, DER, or why there are none.
type System = Result<Vec<Vec<u8>>, String>;

pub(super) async fn follow<S>(trust: Trust, publish: TrustPublisher, system: impl Fn() -> S)
where
    S: Future<Output = System>,
{
    let paths: Vec<PathBuf> =
        trust.parts.iter().filter_map(|(_, content)| content.path()).collect();
    let followed = !paths.is_empty();
    let poll = if followed { trust.poll } else { SYSTEM_REFRESH };
    let mut files = Files::new(paths, poll);
    // What the system has said beside files, and until when that will do.
    let mut known: Option<(Instant, Vec<Vec<u8>>)> = None;
    loop {
        let contents = match &known {
            None => files.next().await,
            Some((until, _)) => match timeout_at(*until, files.next()).await {
                Ok(contents) => contents,
                Err(_) => {
                    files.again();
                    files.next().await
                }
            },
        };
        let now = Instant::now();
        let said = match known.take().filter(|(until, _)| now < *until) {
            Some((until, roots)) => {
                known = Some((until, roots.clone()));
                Ok(roots)
            }
            None if trust.system => system().await,
            None => Ok(Vec::new()),
        };
        if let (true, true, None, Ok(roots)) = (followed, trust.system, &known, &said) {
            known = now.checked_add(SYSTEM_BESIDE).map(|until| (until, roots.clone()));
        }
        let used = match read(&trust, contents, said) {
            Ok(roots) => publish.roots(roots).is_ok(),
            Err(why) => {
                publish.refused(&why);
                false
            }
        };
        if !(followed || trust.system) || publish.is_closed() {
            return;
        }
        if !used || !followed {
            files.again();
        }
    }
}

fn read(trust: &Trust, contents: files::Contents, system: System) -> Result<Roots, String> {
    let mut roots = if trust.unchecked { Roots::unchecked() } else { Roots::new() };
    roots = roots.system(system?);
    let mut contents = contents.into_iter();
    for (part, content) in &trust.parts {
        let (name, content) = match content {
            Content::File(path) => {
                (path.display().to_string(), contents.next().unwrap_or_else(|| Ok(Vec::new()))?)
            }
            Content::Memory(content) => ("in memory".to_owned(), content.clone()),
        };
        let added = match part {
            #[cfg(any(feature = "file", feature = "xds"))]
            Part::Map => {
                let domains = super::bundle_map::read(&content);
                let domains = domains.map_err(|why| format!("{name}: {why}"))?;
                let add =
                    |roots: Roots, (domain, certificates)| roots.domain_der(domain, certificates);
                Ok(domains.into_iter().fold(roots, add))
            }
            Part::Any => roots.pem(&content),
            Part::Domain(domain) => roots.domain_pem(domain.clone(), &content),
            Part::Crl => roots.crl_pem(&content),
        };
        roots = added.map_err(|error| format!("{name}: {}", error.what()))?;
    }
    Ok(roots)
}

/// The usable ones: a system has a few that nobody can use.
async fn system() -> System {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let loaded = loaded.map_err(|_| "reading was broken off".to_owned())?;
    let usable = loaded.certs.iter().filter(|der| super::trust::Root::read(der).is_ok());
    let usable: Vec<_> = usable.map(|der| der.to_vec()).collect();
    match loaded.errors.first() {
        Some(error) if usable.is_empty() => Err(format!("the system's roots: {error}")),
        None if usable.is_empty() => Err("the system has no roots".to_owned()),
        _ => Ok(usable),
    }
}

impl Content {
    fn path(&self) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(path.clone()),
            Self::Memory(_) => None,
        }
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trust").field(&self.name()).finish()
    }
}

/// The system's roots come with its updates.
const SYSTEM_REFRESH: Duration = Duration::from_secs(3600);
/// The same beside files, whose readers expect a change to count sooner.
const SYSTEM_BESIDE: Duration = Duration::from_secs(300);
