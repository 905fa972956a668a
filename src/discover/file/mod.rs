//! The watched mesh file: the embedded control plane.
//!
//! YAML or JSON with two maps, `services` and `clusters`. Each part is read on its own: a bad
//! one is reported with its path and its last good state stays; a file that cannot be read at
//! all changes nothing. Atomic renames and Kubernetes' symlink swaps are seen through the
//! watched directory; a slow poll covers file systems without events.

pub(crate) mod parse;
mod tree;
mod watch;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    pin::Pin,
};

use self::parse::Parsed;
use super::{Discover, Publisher};
use crate::config::{Cluster, Service};

/// A source that follows a file.
///
/// ```yaml
/// services:
///   greeter.prod:
///     policy: { timeout: 2s }
/// clusters:
///   greeter.prod:
///     protocol: http2
///     endpoints:
///       - address: 127.0.0.1:50051
/// ```
#[derive(Clone, Debug)]
pub struct File {
    path: PathBuf,
}

/// What has been published, to publish only what changes.
#[derive(Default)]
struct Published {
    services: BTreeMap<String, Service>,
    clusters: BTreeMap<String, Cluster>,
    refused: Vec<String>,
}

impl File {
    /// Follows the file at `path`. Nothing is read before the mesh is built.
    #[must_use]
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned() }
    }
}

impl Discover for File {
    fn name(&self) -> String {
        format!("file {}", self.path.display())
    }

    fn run(self: Box<Self>, publish: Publisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let part = self.name();
            let changes = watch::Changes::of(&self.path);
            let mut published = Published::default();
            let mut last: Option<Result<Vec<u8>, String>> = None;
            loop {
                let path = self.path.clone();
                let read = tokio::task::spawn_blocking(move || {
                    std::fs::read(path).map_err(|error| error.to_string())
                });
                let Ok(content) = read.await else { return };
                if last.as_ref() != Some(&content) {
                    match &content {
                        Ok(bytes) => published.apply(&publish, &part, bytes),
                        Err(error) => {
                            publish.refused(&part, format!("cannot be read: {error}"));
                        }
                    }
                    last = Some(content);
                }
                publish.synced();
                changes.next().await;
            }
        })
    }
}

impl Published {
    /// Publishes what differs from what was published before.
    fn apply(&mut self, publish: &Publisher, file: &str, bytes: &[u8]) {
        let parsed = match parse::parse(bytes) {
            Ok(parsed) => parsed,
            Err(reason) => return publish.refused(file, reason),
        };
        let Parsed { services, clusters, refused, unknown } = parsed;
        if unknown.is_empty() {
            publish.accepted(file);
        } else {
            publish.refused(file, unknown.join("; "));
        }
        for part in self.refused.drain(..) {
            if !refused.iter().any(|(now, _)| *now == part) {
                publish.accepted(part);
            }
        }
        let is_refused = |part: String| refused.iter().any(|(now, _)| *now == part);
        // Clusters first: a service that names a new one finds it.
        for (name, cluster) in &clusters {
            if self.clusters.get(name) != Some(cluster)
                && publish.cluster(name, cluster.clone()).is_ok()
            {
                self.clusters.insert(name.clone(), cluster.clone());
            }
        }
        for (name, service) in &services {
            if self.services.get(name) != Some(service)
                && publish.service(name, service.clone()).is_ok()
            {
                self.services.insert(name.clone(), service.clone());
            }
        }
        self.services.retain(|name, _| {
            let stays = services.contains_key(name) || is_refused(format!("service {name}"));
            if !stays {
                publish.remove_service(name);
            }
            stays
        });
        self.clusters.retain(|name, _| {
            let stays = clusters.contains_key(name) || is_refused(format!("cluster {name}"));
            if !stays {
                publish.remove_cluster(name);
            }
            stays
        });
        for (part, reason) in refused {
            publish.refused(part.clone(), reason);
            self.refused.push(part);
        }
    }
}

#[cfg(test)]
mod tests;
