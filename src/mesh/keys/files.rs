//! Identities whose files a source tells of: followed, and put in force once all of them are read.

use std::sync::{Arc, Weak};

use tokio::task::AbortHandle;

use super::{Keys, inline, run_identity, run_trust};
use crate::{
    config::IdentityFiles,
    discover::SourceId,
    mesh::inner::Inner,
    security::{
        Identity, IdentityHandle, IdentityPublisher, KeyPair, Trust, TrustHandle, TrustPublisher,
        Verify,
    },
};

/// One identity whose files are followed.
pub(super) struct Read {
    pub(super) files: IdentityFiles,
    pub(super) identity: Option<IdentityHandle>,
    pub(super) trust: Vec<TrustHandle>,
    /// Who reads the files, and whom they tell: another reader may take their place.
    readers: Vec<AbortHandle>,
    own: Option<IdentityPublisher>,
    roots: Option<TrustPublisher>,
    /// What else runs because of it.
    tasks: Vec<AbortHandle>,
    /// What takes its place once all of it has been read.
    pub(super) next: Option<Box<Self>>,
}

// === impl Keys ===

impl Keys {
    /// Follows the files that a source tells of; says whether what is in force has changed.
    ///
    /// What was read of other files before stays in force until these have been read: a wrong path
    /// takes nothing down.
    pub(crate) fn read(
        &mut self,
        inner: &Inner,
        source: SourceId,
        name: &str,
        files: IdentityFiles,
    ) -> Result<bool, String> {
        let before = self.files.get_mut(name).and_then(|by| by.get_mut(&source));
        if let Some(before) = before {
            if before.files == files {
                before.next = None;
                return Ok(false);
            }
            if before.files.are_read_at_other_times(&files) {
                before.next = None;
                before.files = files;
                before.follow(inner)?;
                return Ok(false);
            }
            if before.next.as_ref().is_some_and(|next| next.files == files) {
                return Ok(false);
            }
        }
        let mut read = self.follow(inner, files)?;
        let by = self.files.entry(name.to_owned()).or_default();
        if let Some(before) = by.get_mut(&source).filter(|before| before.has_any()) {
            let (weak, name) = (Weak::clone(&self.inner), name.to_owned());
            let (identity, trust) = (read.identity.clone(), read.trust.clone());
            read.tasks.push(inner.spawn(async move {
                if let Some(identity) = identity {
                    identity.good().await;
                }
                for trust in trust {
                    trust.good().await;
                }
                if let Some(inner) = weak.upgrade() {
                    inner.keys_came(source, &name);
                }
            }));
            before.next = Some(Box::new(read));
            return Ok(false);
        }
        by.insert(source, read);
        Ok(true)
    }

    /// Puts the files in force that were waited for, if all of them have been read.
    pub(crate) fn came(&mut self, source: SourceId, name: &str) -> bool {
        let Some(read) = self.files.get_mut(name).and_then(|by| by.get_mut(&source)) else {
            return false;
        };
        match read.next.take_if(|next| next.has_all()) {
            Some(next) => {
                *read = *next;
                true
            }
            None => false,
        }
    }

    /// Whether files of this name are still to take the place of others.
    #[cfg(all(test, feature = "tls-aws-lc-rs"))]
    pub(crate) fn is_changing(&self, name: &str) -> bool {
        let by = self.files.get(name).into_iter().flat_map(|by| by.values());
        by.map(|read| &read.next).any(Option::is_some)
    }

    fn follow(&self, inner: &Inner, files: IdentityFiles) -> Result<Read, String> {
        let (Some(reports), Some(provider)) = (&self.reports, &self.provider) else {
            return Err("the mesh has not started".to_owned());
        };
        let mut read = Read {
            files,
            identity: None,
            trust: Vec::new(),
            readers: Vec::new(),
            own: None,
            roots: None,
            tasks: Vec::new(),
            next: None,
        };
        let trust = trust_of(&read.files)?;
        if let Some(pair) = pair_of(&read.files) {
            let provider = provider.as_ref().map_err(ToString::to_string)?;
            let (publish, handle) =
                IdentityHandle::identity(&pair.name(), provider, Weak::clone(reports));
            (read.own, read.identity) = (Some(publish), Some(handle));
        }
        if let Some(pem) = read.files.pem.clone() {
            if pem.pair.is_some() {
                let provider = provider.as_ref().map_err(ToString::to_string)?;
                let own = inline::Own(Arc::clone(&pem));
                let (publish, handle) =
                    IdentityHandle::identity(&own.name(), provider, Weak::clone(reports));
                read.tasks.push(run_identity(inner, Box::new(own), publish));
                read.identity = Some(handle);
            }
            if pem.roots.is_some() {
                let trust = inline::Roots(pem);
                let (publish, handle) = TrustHandle::trust(&trust.name(), Weak::clone(reports));
                read.tasks.push(run_trust(inner, Box::new(trust), publish));
                read.trust.push(handle);
            }
        }
        if let Some(trust) = trust {
            let (publish, handle) = TrustHandle::trust(&trust.name(), Weak::clone(reports));
            read.roots = Some(publish);
            read.trust.push(handle);
        }
        read.follow(inner)?;
        Ok(read)
    }

    /// Forgets what a source has told of; says whether that changes anything.
    pub(crate) fn forget(&mut self, source: SourceId, name: &str) -> bool {
        let Some(by) = self.files.get_mut(name) else { return false };
        let was_told = by.remove(&source).is_some();
        if by.is_empty() {
            self.files.remove(name);
        }
        was_told
    }
}

/// The pair of these files, if there is one.
fn pair_of(files: &IdentityFiles) -> Option<KeyPair> {
    let pair = KeyPair::pem_files(files.certificate.as_ref()?, files.key.as_ref()?);
    Some(match files.poll_interval {
        Some(interval) => pair.poll_interval(interval),
        None => pair,
    })
}

/// The roots of these files, if there are any.
fn trust_of(files: &IdentityFiles) -> Result<Option<Trust>, String> {
    let IdentityFiles { roots, bundles, crl, poll_interval, .. } = files;
    let by_domain = bundles.iter().map(|(domain, path)| (domain.as_str(), path));
    #[cfg_attr(
        not(any(feature = "file", feature = "xds")),
        expect(unused_mut, reason = "there are no bundle maps")
    )]
    let mut trust = match (roots, bundles.is_empty()) {
        (None, true) => None,
        (Some(roots), true) => Some(Trust::pem_file(roots)),
        (roots, false) => {
            let trust = Trust::bundles(by_domain).map_err(|error| error.to_string())?;
            Some(match roots {
                Some(roots) => trust.and_pem_file(roots),
                None => trust,
            })
        }
    };
    #[cfg(any(feature = "file", feature = "xds"))]
    if let Some(map) = &files.bundle_map {
        trust = Some(match trust {
            Some(trust) => trust.and_bundle_map_file(map),
            None => Trust::bundle_map_file(map),
        });
    }
    let Some(mut trust) = trust else { return Ok(None) };
    if let Some(crl) = crl {
        trust = trust.crl_file(crl);
    }
    if let Some(interval) = poll_interval {
        trust = trust.poll_interval(*interval);
    }
    Ok(Some(trust))
}

// === impl Read ===

impl Read {
    /// Reads the files as often as they say, in the place of whoever reads them now: what is in force
    /// stays for as long as they hold it.
    fn follow(&mut self, inner: &Inner) -> Result<(), String> {
        let trust = trust_of(&self.files)?;
        self.readers.drain(..).for_each(|reader| reader.abort());
        if let (Some(publish), Some(pair)) = (&self.own, pair_of(&self.files)) {
            self.readers.push(run_identity(inner, Box::new(pair), publish.clone()));
        }
        if let (Some(publish), Some(trust)) = (&self.roots, trust) {
            self.readers.push(run_trust(inner, Box::new(trust), publish.clone()));
        }
        Ok(())
    }

    /// Whether any of it has been read.
    fn has_any(&self) -> bool {
        self.identity.iter().any(|handle| handle.state().good.is_some())
            || self.trust.iter().any(|handle| handle.state().good.is_some())
    }

    fn has_all(&self) -> bool {
        self.identity.iter().all(|handle| handle.state().good.is_some())
            && self.trust.iter().all(|handle| handle.state().good.is_some())
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        // What they have said stays with whoever uses it.
        for task in self.readers.iter().chain(&self.tasks) {
            task.abort();
        }
    }
}
