//! The watched mesh file: the embedded control plane.
//!
//! YAML or JSON with five maps, `services`, `clusters`, `identities`, `runtime` and `authorize`. Each part is read on its own: a bad
//! one is reported with its path and its last good state stays; a file that cannot be read at
//! all changes nothing, and one that looks half-written must stand for a while. Atomic renames,
//! Kubernetes' symlink swaps, edits behind links and directories that take the place of others are
//! seen through the directories on the way to the file, and on the way of every link, which are
//! watched; a slow poll covers file systems without events.

mod doubt;
pub(crate) mod parse;
mod places;
mod reader;
mod tree;
mod watch;
mod way;
mod written;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};

use tokio::time::Instant;

use self::{
    parse::{Parsed, Read},
    reader::Reader,
};
use super::{Discover, Places, Publisher};
use crate::config::{Authorization, Cluster, ConfigErrors, IdentityFiles, Service};

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
    services: Parts<Service>,
    clusters: Parts<Cluster>,
    identities: Parts<IdentityFiles>,
    runtime: Parts<f64>,
    authorize: Parts<Authorization>,
}

/// The same for one kind of part, by name.
struct Parts<T> {
    good: BTreeMap<String, T>,
    /// Those of which the file's present words are refused.
    refused: BTreeSet<String>,
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
            let mut changes = watch::Changes::new();
            let folder = self.path.parent().map(Path::to_owned).unwrap_or_default();
            let mut reader = Reader::new(self.name(), folder);
            loop {
                let path = self.path.clone();
                let read = tokio::task::spawn_blocking(move || {
                    changes.follow(&path);
                    let content = std::fs::read(path).map_err(|error| error.to_string());
                    (changes, content)
                });
                let (returned, content) = match read.await {
                    Ok(read) => read,
                    // Whoever watches over the sources tells of it.
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    // The runtime is being shut down.
                    Err(_) => return,
                };
                changes = returned;
                let soon = reader.take(&publish, content, Instant::now());
                let (heard, poll) = changes.wait();
                heard.next(soon.map_or(poll, |soon| soon.min(poll))).await;
            }
        })
    }
}

impl Published {
    /// Publishes what differs from what was published before; says whether the file could be read.
    fn apply(&mut self, publish: &Publisher, file: &str, folder: &Path, bytes: &[u8]) -> bool {
        let parsed = match parse::parse(bytes) {
            Ok(parsed) => parsed,
            Err(reason) => {
                publish.refused(file, reason);
                return false;
            }
        };
        let Parsed { services, clusters, identities, runtime, authorize, unknown } = parsed;
        let text = places::Text::new(file, bytes).map(Arc::new);
        if let Some(text) = &text {
            publish.places(Arc::<places::Text>::clone(text));
        }
        // A reason begins with its path.
        let placed = |reason: &str| {
            let place = |text: &Arc<_>| places::Text::place(text, reason.split(": ").next()?);
            let place = text.as_ref().and_then(place);
            place.map_or_else(|| reason.to_owned(), |place| format!("{reason} ({place})"))
        };
        // Before the clusters that use them.
        self.identities.apply(
            publish,
            "identity",
            &identities,
            placed,
            |name, files| publish.identity(name, within(folder, files)),
            |_| true,
        );
        // Before the services that name them.
        let set = |key: &str, percent| publish.runtime(key, percent);
        self.runtime.apply(publish, "runtime", &runtime, placed, set, |_| true);
        // Before the services that they judge, and gone behind those that go.
        let judge = |name: &str, it| publish.authorize(name, it);
        self.authorize.apply(publish, "authorize", &authorize, placed, judge, |_| true);
        let define = |name: &str, it| publish.service(name, it);
        // A cluster alone is the service of its name, without rules and limits: a new one has its
        // service first, or a call would pass between the two. A service that is known already comes
        // after the clusters that it names.
        let new = self.services.unknown(&services);
        let is_new = |name: &str| new.contains(name);
        self.services.apply(publish, "service", &services, placed, define, is_new);
        let define_cluster = |name: &str, it| publish.cluster(name, it);
        self.clusters.apply(publish, "cluster", &clusters, placed, define_cluster, |_| true);
        self.services.apply(publish, "service", &services, placed, define, |name| !is_new(name));
        self.services.retain(&services, |name| publish.remove_service(name));
        self.clusters.retain(&clusters, |name| publish.remove_cluster(name));
        self.identities.retain(&identities, |name| publish.remove_identity(name));
        self.runtime.retain(&runtime, |key| publish.remove_runtime(key));
        self.authorize.retain(&authorize, |name| publish.remove_authorize(name));
        // Behind what it says: until then it may still secure what others have said.
        if unknown.is_empty() {
            publish.accepted(file);
        } else {
            let named = unknown.iter().map(|reason| {
                let field = reason.split('`').nth(1);
                let place = text.as_ref().zip(field).and_then(|(text, it)| text.place(it));
                place.map_or_else(|| reason.clone(), |place| format!("{reason} ({place})"))
            });
            publish.refused(file, named.collect::<Vec<_>>().join("; "));
        }
        true
    }
}

/// The same files, their paths relative to the folder of the mesh file.
fn within(folder: &Path, files: IdentityFiles) -> IdentityFiles {
    let path = |path: &mut String| {
        if !path.is_empty() {
            *path = folder.join(&*path).to_string_lossy().into_owned();
        }
    };
    let IdentityFiles {
        mut certificate,
        mut key,
        mut roots,
        mut bundles,
        mut bundle_map,
        mut crl,
        poll_interval,
        pem,
    } = files;
    let paths = [&mut certificate, &mut key, &mut roots, &mut bundle_map, &mut crl];
    paths.into_iter().flatten().for_each(path);
    bundles.values_mut().for_each(path);
    IdentityFiles { certificate, key, roots, bundles, bundle_map, crl, poll_interval, pem }
}

impl<T: Clone + PartialEq> Parts<T> {
    /// Publishes what is new, and what is refused, of those that are asked for.
    fn apply(
        &mut self,
        publish: &Publisher,
        kind: &str,
        read: &Read<T>,
        placed: impl Fn(&str) -> String,
        define: impl Fn(&str, T) -> Result<(), ConfigErrors>,
        of: impl Fn(&str) -> bool,
    ) {
        for (name, part) in read.good.iter().filter(|(name, _)| of(name)) {
            if self.good.get(name) == Some(part) {
                // The last good words are back.
                if self.refused.remove(name) {
                    publish.accepted(format!("{kind} {name}"));
                }
            } else if define(name, part.clone()).is_ok() {
                self.good.insert(name.clone(), part.clone());
                self.refused.remove(name);
            } else {
                self.refused.insert(name.clone());
            }
        }
        for (name, reason) in read.refused.iter().filter(|(name, _)| of(name)) {
            publish.refused(format!("{kind} {name}"), placed(reason));
            self.refused.insert(name.clone());
        }
    }

    /// The names that the file has not spoken of before.
    fn unknown(&self, read: &Read<T>) -> BTreeSet<String> {
        let names = read.good.keys().chain(read.refused.keys());
        let is_new =
            |name: &&String| !self.good.contains_key(*name) && !self.refused.contains(*name);
        names.filter(is_new).cloned().collect()
    }

    /// Takes back what the file does not speak of any more.
    fn retain(&mut self, read: &Read<T>, remove: impl Fn(&str)) {
        let known: BTreeSet<String> = self.good.keys().chain(&self.refused).cloned().collect();
        for name in known {
            if !read.good.contains_key(&name) && !read.refused.contains_key(&name) {
                remove(&name);
                self.good.remove(&name);
                self.refused.remove(&name);
            }
        }
    }
}

impl<T> Default for Parts<T> {
    fn default() -> Self {
        Self { good: BTreeMap::new(), refused: BTreeSet::new() }
    }
}

#[cfg(test)]
mod tests;
