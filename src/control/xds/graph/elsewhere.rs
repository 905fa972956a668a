//! Names whose listener may be elsewhere: at an address of their host.
//!
//! To a sidecar istiod has one listener for all HTTP services of a port, at the wildcard, and of a port whose
//! protocol has no name one for each service, at its address. Which of both a name is on nobody says before its
//! host is known. So the wildcard's listener counts where a virtual host of it is for the name; where there
//! is none, or only the one for all that nobody knows, the addresses of the host are looked up, and the first
//! listener at one of them that leads somewhere counts. Whoever drives the graph does the looking up.

use std::sync::Arc;

use super::{Graph, Lack, Root, Target, Why};

/// Where else the listener of a root may be.
#[derive(Debug, Default)]
pub(super) enum Elsewhere {
    #[default]
    Nowhere,
    /// At the addresses of its host, which nobody has asked for.
    Unasked,
    Asked,
    /// Under these names; none, for this reason.
    At(Result<Vec<Arc<str>>, Arc<str>>),
}

// === impl Graph ===

impl Graph {
    /// The listener of a name may be at the addresses of its host, too.
    pub(crate) fn has_addresses(&mut self, name: &str) {
        if let Some(root) = self.roots.get_mut(name)
            && matches!(root.elsewhere, Elsewhere::Nowhere)
        {
            root.elsewhere = Elsewhere::Unasked;
        }
    }

    /// The names whose host is to be looked up now.
    pub(crate) fn seeks(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.sought).into_iter().collect()
    }

    /// Which listeners may have a name, or why nobody knows.
    pub(crate) fn found(&mut self, name: &str, found: Result<Vec<String>, String>) {
        let Some((name, _)) = self.roots.get_key_value(name) else { return };
        let name = Arc::clone(name);
        let Some(root) = self.roots.get_mut(&name) else { return };
        let found: Result<Vec<Arc<str>>, Arc<str>> = match found {
            // Names with many addresses have others each time, and lead no further for it.
            Ok(found) if root.at_last_resort().is_some_and(|it| is_any_of(it, &found)) => return,
            Ok(found) => Ok(found.into_iter().map(Arc::from).collect()),
            // What is known stays.
            Err(_) if root.elsewhere.is_known() => return,
            Err(reason) => Err(reason.into()),
        };
        let is_new = !matches!(&root.elsewhere, Elsewhere::At(before) if *before == found);
        root.elsewhere = Elsewhere::At(found);
        if is_new {
            self.dirty_roots.insert(name);
        }
    }

    /// The names whose host has been looked up, to no avail: it may be another day.
    pub(crate) fn astray(&self) -> Vec<Arc<str>> {
        let is_astray = |root: &Root| match (&root.elsewhere, &root.published) {
            (Elsewhere::At(Err(_)), _) | (Elsewhere::At(Ok(_)), Some(Target::Nothing(_))) => true,
            _ => root.at_last_resort().is_some(),
        };
        self.roots.iter().filter(|(_, root)| is_astray(root)).map(|it| Arc::clone(it.0)).collect()
    }

    /// The host of this name is to be looked up, unless it has been.
    pub(super) fn seek(&mut self, name: &Arc<str>) {
        if let Some(root) = self.roots.get_mut(name)
            && matches!(root.elsewhere, Elsewhere::Unasked)
        {
            root.elsewhere = Elsewhere::Asked;
            self.sought.insert(Arc::clone(name));
        }
    }
}

// === impl Root ===

impl Root {
    /// The listeners that it might have been on, where calls go by the one for all that nobody knows.
    fn at_last_resort(&self) -> Option<&[Arc<str>]> {
        match (&self.elsewhere, &self.published) {
            (Elsewhere::At(Ok(others)), Some(Target::Service(service))) => {
                let is_last = !others.contains(&service.asked) && service.is_of_all();
                is_last.then_some(others.as_slice())
            }
            _ => None,
        }
    }
}

// === impl Elsewhere ===

impl Elsewhere {
    fn is_known(&self) -> bool {
        matches!(self, Self::At(Ok(_)))
    }

    /// What is wrong where neither the first listener nor another one leads anywhere.
    pub(super) fn lack(&self, first: &Lack) -> Lack {
        let text = match self {
            Self::At(Ok(others)) => {
                let others = others.join("`, `");
                format!("nor is there a listener `{others}` of its address")
            }
            Self::At(Err(reason)) => format!("nor is its address known: {reason}"),
            Self::Nowhere | Self::Unasked | Self::Asked => return first.clone(),
        };
        // What is to be checked stays the last word.
        let end = first.reason.find("; check ").unwrap_or(first.reason.len());
        let (said, check) = first.reason.split_at(end);
        let hint = "is the port's protocol named, `http-…` or by `appProtocol`?";
        Lack { reason: format!("{said}; {text} ({hint}){check}").into(), why: first.why }
    }
}

fn is_any_of(before: &[Arc<str>], found: &[String]) -> bool {
    before.iter().any(|before| found.iter().any(|found| **found == **before))
}

/// What a listener leads to.
pub(super) enum Way {
    /// Its virtual host is for this name.
    Here(super::Service),
    /// It has one for whatever nobody knows.
    ForAll(super::Service),
    /// It is not there, or none of its virtual hosts is for the name.
    Nowhere(Lack),
    /// There is something in the way.
    Barred(Lack),
}

// === impl Way ===

impl Way {
    /// Whether another listener may do better.
    pub(super) fn is_last(&self) -> bool {
        matches!(self, Self::Here(_) | Self::Barred(Lack { why: Why::Denied, .. }))
    }

    pub(super) fn target(self) -> Target {
        match self {
            Self::Here(service) | Self::ForAll(service) => Target::Service(service),
            Self::Nowhere(lack) | Self::Barred(lack) => Target::Nothing(lack),
        }
    }
}
