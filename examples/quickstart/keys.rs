//! Who vouches for whom: the authority, the files that the mesh follows, and the doors of the
//! replicas. All of it is replaced while calls go on.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tower_mesh::BoxError;

use crate::{
    authority::{self, Authority, Certificate},
    door::Door,
    replica::Replica,
};

/// The mesh's own name, which the replicas see.
const MESH: &str = "spiffe://example/quickstart";
/// How long the first certificates are valid, and how long the renewed ones.
const SHORT: Duration = Duration::from_secs(3600);
const LONG: Duration = Duration::from_secs(24 * 3600);

pub(crate) struct Keys {
    folder: PathBuf,
    /// The last one signs.
    trusted: Vec<Authority>,
    replicas: Vec<Secured>,
}

/// What a replica shows.
struct Secured {
    service: String,
    own: Certificate,
    door: Arc<Door>,
}

impl Keys {
    /// An authority, and the mesh's files in this folder.
    pub(crate) fn new(folder: &Path) -> Result<Self, BoxError> {
        let trusted = vec![Authority::new("quickstart 1")?];
        let keys = Self { folder: folder.to_owned(), trusted, replicas: Vec::new() };
        keys.believe()?;
        keys.identify(SHORT)?;
        Ok(keys)
    }

    fn certificate(&self) -> PathBuf {
        self.folder.join("tls.crt")
    }

    fn key(&self) -> PathBuf {
        self.folder.join("tls.key")
    }

    fn roots(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// Starts a replica that proves to be this service, and wants to know who calls.
    pub(crate) async fn replica(&mut self, service: &str, name: &str) -> Result<Replica, BoxError> {
        let own = self.issue(service, SHORT)?;
        let door = Door::new(authority::acceptor(&own, &self.trusted())?);
        let service = service.to_owned();
        self.replicas.push(Secured { service, own, door: Arc::clone(&door) });
        Ok(Replica::behind(door, name).await?)
    }

    /// New keys and certificates for everybody.
    pub(crate) fn renew(&mut self) -> Result<(), BoxError> {
        for at in 0..self.replicas.len() {
            self.replicas[at].own = self.issue(&self.replicas[at].service, LONG)?;
        }
        self.open()?;
        self.identify(LONG)
    }

    /// Everybody believes a second authority, too, which has signed nothing yet.
    pub(crate) fn add_authority(&mut self) -> Result<(), BoxError> {
        // Who signs comes last: it signs from the next renewal on.
        self.trusted.push(Authority::new("quickstart 2")?);
        self.believe()
    }

    /// Nobody believes the first authority any more.
    pub(crate) fn remove_first_authority(&mut self) -> Result<(), BoxError> {
        self.trusted.remove(0);
        self.believe()
    }

    fn believe(&self) -> Result<(), BoxError> {
        self.open()?;
        let pem: String = self.trusted.iter().map(Authority::pem).collect();
        Ok(swap(&self.roots(), &pem)?)
    }

    /// What the replicas show and believe, for further connections.
    fn open(&self) -> Result<(), BoxError> {
        for Secured { own, door, .. } in &self.replicas {
            door.replace(authority::acceptor(own, &self.trusted())?);
        }
        Ok(())
    }

    /// The mesh's own pair. The key is a file of its own: for a moment it belongs to another
    /// certificate, which the mesh sees and waits out.
    fn identify(&self, valid: Duration) -> Result<(), BoxError> {
        let own = self.issue(MESH, valid)?;
        swap(&self.certificate(), &own.chain)?;
        Ok(swap(&self.key(), &own.key)?)
    }

    fn issue(&self, name: &str, valid: Duration) -> Result<Certificate, BoxError> {
        self.trusted[self.trusted.len() - 1].issue_for(name, valid)
    }

    fn trusted(&self) -> Vec<&Authority> {
        self.trusted.iter().collect()
    }
}

/// Writes a file by a rename: whoever reads it sees the old content or the new one.
fn swap(path: &Path, content: &str) -> io::Result<()> {
    let next = path.with_extension("next");
    fs::write(&next, content)?;
    fs::rename(next, path)
}
