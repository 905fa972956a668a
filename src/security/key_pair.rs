//! The own key and certificate, from PEM files that are followed, or from memory.

use std::{
    fmt,
    path::PathBuf,
    pin::Pin,
    time::{Duration, SystemTime},
};

use super::{
    Identity, IdentityPublisher,
    files::{self, Files},
};

/// The own key with its certificate chain, in PEM.
///
/// Files are read again every 5 s, and again until they have settled. A pair takes effect when key
/// and certificate belong together and the certificate is valid; until then the last good pair
/// stays, and the reason is reported. Connections that stand are not touched by a renewal; if the
/// new certificate names somebody else, they are drained. One that expires without a successor is
/// reported too; it is still shown, and endpoints say what they think of it.
pub struct KeyPair(Where);

enum Where {
    Files { chain: PathBuf, key: PathBuf, poll: Duration },
    Memory { chain: Vec<u8>, key: Vec<u8> },
}

impl KeyPair {
    /// From these files: the chain with the own certificate first, and its private key in PKCS#8,
    /// PKCS#1 or SEC1, without a password. Both may be one file.
    #[must_use]
    pub fn pem_files(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self(Where::Files { chain: chain.into(), key: key.into(), poll: files::POLL })
    }

    /// From memory, once.
    #[must_use]
    pub fn pem(chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        Self(Where::Memory { chain: chain.into(), key: key.into() })
    }

    /// How often the files are read. Default: 5 s. Range: at least 100 ms; less counts as that.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        if let Where::Files { poll, .. } = &mut self.0 {
            *poll = interval.max(files::MIN_POLL);
        }
        self
    }
}

impl Identity for KeyPair {
    fn name(&self) -> String {
        match &self.0 {
            Where::Files { chain, key, .. } => {
                format!("key pair {}, {}", chain.display(), key.display())
            }
            Where::Memory { .. } => "key pair in memory".to_owned(),
        }
    }

    fn run(
        self: Box<Self>,
        publish: IdentityPublisher,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            match self.0 {
                // What is wrong with it has been reported.
                Where::Memory { chain, key } => drop(publish.pem(&chain, &key)),
                Where::Files { chain, key, poll } => follow(chain, key, poll, &publish).await,
            }
        })
    }
}

async fn follow(chain: PathBuf, key: PathBuf, poll: Duration, publish: &IdentityPublisher) {
    let names = [chain.display().to_string(), key.display().to_string()];
    let mut files = Files::new(vec![chain, key], poll);
    let mut until = None;
    while !publish.is_closed() {
        let contents = match until {
            None => files.next().await,
            Some(until) => match tokio::time::timeout(left(until), files.next()).await {
                Ok(contents) => contents,
                // Read again, and refused once it has expired: so somebody hears of it.
                Err(_) => {
                    files.again();
                    files.next().await
                }
            },
        };
        let [chain, key] = contents.as_slice() else { return };
        until = match (chain, key) {
            (Ok(chain), Ok(key)) => publish.pem_until((&names[0], chain), (&names[1], key)),
            (Err(why), _) | (_, Err(why)) => {
                publish.refused(why);
                None
            }
        };
        if until.is_none() {
            files.again();
        }
    }
}

/// How long the certificate lasts; at most a day, for clocks are set.
fn left(until: SystemTime) -> Duration {
    let left = until.duration_since(SystemTime::now()).unwrap_or_default();
    (left + Duration::from_secs(1)).min(Duration::from_secs(86_400))
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyPair").field(&self.name()).finish()
    }
}
