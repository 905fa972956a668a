//! Who vouches for whom: the authority, the files that the mesh follows, and the doors of the
//! replicas. All of it is replaced while calls go on.

use std::{io, path::Path, sync::Arc, time::Duration};

use crate::{
    pki::{Ca, Folder, Issued, Mutual},
    replica::Replica,
};

/// The mesh's own name, which the replicas see.
const MESH: &str = "spiffe://example/quickstart";
/// How long the first certificates are valid, and how long the renewed ones.
const SHORT: Duration = Duration::from_secs(3600);
const LONG: Duration = Duration::from_secs(24 * 3600);

pub(crate) struct Keys {
    files: Folder,
    /// The last one signs.
    trusted: Vec<Ca>,
    doors: Vec<Door>,
}

/// The server's side of one replica.
struct Door {
    service: String,
    own: Issued,
    mutual: Arc<Mutual>,
}

impl Keys {
    /// An authority, and the mesh's files in this folder.
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        let ca = Ca::new("quickstart 1");
        let files = Folder::new(folder);
        files.trust(&[&ca])?;
        files.identify(&ca.issue(MESH, SHORT))?;
        Ok(Self { files, trusted: vec![ca], doors: Vec::new() })
    }

    pub(crate) fn files(&self) -> &Folder {
        &self.files
    }

    /// Starts a replica that proves to be this service, and wants to know who calls.
    pub(crate) async fn replica(&mut self, service: &str, name: &str) -> io::Result<Replica> {
        let own = self.issue(service, SHORT);
        let mutual = Mutual::new(&own, &self.trusted());
        self.doors.push(Door { service: service.to_owned(), own, mutual: Arc::clone(&mutual) });
        Replica::behind(mutual, name).await
    }

    /// New keys and certificates for everybody.
    pub(crate) fn renew(&mut self) -> io::Result<()> {
        for at in 0..self.doors.len() {
            self.doors[at].own = self.issue(&self.doors[at].service, LONG);
        }
        self.open();
        self.files.identify(&self.issue(MESH, LONG))
    }

    /// Everybody believes a second authority, too, which has signed nothing yet.
    pub(crate) fn add_authority(&mut self) -> io::Result<()> {
        self.trusted.push(Ca::new("quickstart 2"));
        self.believe()
    }

    /// Nobody believes the first authority any more.
    pub(crate) fn remove_first_authority(&mut self) -> io::Result<()> {
        self.trusted.remove(0);
        self.believe()
    }

    fn believe(&self) -> io::Result<()> {
        self.open();
        self.files.trust(&self.trusted())
    }

    /// What the replicas show and believe, for further connections.
    fn open(&self) {
        for door in &self.doors {
            door.mutual.rotate(&door.own, &self.trusted());
        }
    }

    fn issue(&self, name: &str, valid: Duration) -> Issued {
        self.trusted[self.trusted.len() - 1].issue(name, valid)
    }

    fn trusted(&self) -> Vec<&Ca> {
        self.trusted.iter().collect()
    }
}
