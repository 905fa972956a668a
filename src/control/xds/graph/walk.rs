//! The way from a listener to all that it needs.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Id, Lack, Service, Target, Why,
    elsewhere::{Elsewhere, Way},
    known::{Filling, Known},
    lines::too_deep,
    secured::needs_of,
};
use crate::control::xds::{
    kind::Kind,
    resource::{EndpointsFrom, Listener, RoutesFrom, VirtualHost},
};

/// How deep clusters of clusters may be (gRFC A37).
pub(super) const DEEPEST: usize = 16;
/// As many resources may a name lead to: all of them are asked for, and kept.
pub(super) const MOST: usize = 16_384;

/// What a root is looked for by.
pub(super) struct Asked<'a> {
    pub(super) listener: &'a Arc<str>,
    pub(super) elsewhere: &'a Elsewhere,
    pub(super) authority: &'a Arc<str>,
}

/// What a root needs, as far as that is known.
pub(super) struct Walked {
    pub(super) needs: BTreeSet<Id>,
    /// What it comes to; nothing while something of it is on its way.
    pub(super) target: Option<Target>,
    /// Whether the addresses of its host are needed.
    pub(super) seeks: bool,
}

struct Walk<'a> {
    known: &'a Known,
    serves: bool,
    needs: BTreeSet<Id>,
    is_complete: bool,
    seeks: bool,
}

/// Of one that `serves`, what nobody can be asked for is waited for: what is in use stays.
pub(super) fn walk(known: &Known, asked: &Asked<'_>, serves: bool) -> Walked {
    let mut walk = Walk::new(known, serves);
    let target = walk.target(asked);
    Walked { target: target.filter(|_| walk.is_complete), needs: walk.needs, seeks: walk.seeks }
}

/// What a service needs that calls go by: its own resources, whatever is known of them now, and all
/// that its clusters lead to now.
pub(super) fn served(known: &Known, service: &Service) -> BTreeSet<Id> {
    let Service { asked, listener, routes, authority } = service;
    let mut walk = Walk::new(known, true);
    walk.needs.insert((Kind::Listener, Arc::clone(asked)));
    if let RoutesFrom::Named(name) = &listener.routes {
        walk.needs.insert((Kind::Routes, Arc::clone(name)));
    }
    if let Some(host) = listener.host(routes, authority) {
        // One that is too deep was refused before it came to this. One that leads to too much by now is
        // followed as far as that goes.
        drop(walk.clusters(clusters(listener, host)));
    }
    walk.needs
}

/// The clusters that a service leads to by itself.
fn clusters(listener: &Listener, host: &VirtualHost) -> Vec<Arc<str>> {
    host.clusters().into_iter().chain(listener.clusters()).map(Arc::from).collect()
}

// === impl Walk ===

impl<'a> Walk<'a> {
    fn new(known: &'a Known, serves: bool) -> Self {
        Self { known, serves, needs: BTreeSet::new(), is_complete: true, seeks: false }
    }

    fn target(&mut self, asked: &Asked<'_>) -> Option<Target> {
        let way = self.first(asked)?;
        let target = way.target();
        if let Target::Service(Service { listener, routes, authority, .. }) = &target
            && let Some(host) = listener.host(routes, authority)
            && let Err(reason) = self.clusters(clusters(listener, host))
        {
            self.is_complete = true;
            if self.needs.len() > MOST {
                // What cannot be used is not asked for.
                self.needs.retain(|id| matches!(id.0, Kind::Listener | Kind::Routes));
            }
            return Some(refused(reason.into()));
        }
        Some(target)
    }

    /// The listener that leads on, first where it is looked for, then elsewhere; nothing while it cannot be
    /// told.
    fn first(&mut self, asked: &Asked<'_>) -> Option<Way> {
        let first = self.way(asked.listener, asked.authority)?;
        let others = match asked.elsewhere {
            _ if first.is_last() => return Some(first),
            Elsewhere::Nowhere => return Some(first),
            Elsewhere::Unasked | Elsewhere::Asked => {
                self.seeks = true;
                return None;
            }
            Elsewhere::At(Ok(others)) => others.as_slice(),
            Elsewhere::At(Err(_)) => &[],
        };
        let mut barred = None;
        // All are asked for at once.
        let ways: Vec<_> = others.iter().map(|other| self.way(other, asked.authority)).collect();
        for way in ways {
            match way? {
                // Of a service of its own it has one virtual host, for all names.
                way @ (Way::Here(_) | Way::ForAll(_)) => return Some(way),
                way @ Way::Barred(_) => barred = barred.or(Some(way)),
                Way::Nowhere(_) => {}
            }
        }
        Some(match first {
            Way::Nowhere(lack) => {
                barred.unwrap_or_else(|| Way::Nowhere(asked.elsewhere.lack(&lack)))
            }
            first => first,
        })
    }

    /// What a listener leads to; nothing while something of it is on its way.
    fn way(&mut self, asked: &Arc<str>, authority: &Arc<str>) -> Option<Way> {
        self.needs.insert((Kind::Listener, Arc::clone(asked)));
        let listener = match self.known.listener(asked)? {
            Ok(listener) => listener,
            Err(lack) if self.waits(lack) => return None,
            Err(lack) if lack.why == Why::Absent => return Some(Way::Nowhere(lack.clone())),
            Err(lack) => return Some(Way::Barred(lack.clone())),
        };
        let routes = match &listener.routes {
            RoutesFrom::Inline(routes) => routes,
            RoutesFrom::Named(name) => {
                self.needs.insert((Kind::Routes, Arc::clone(name)));
                match self.known.routes(name)? {
                    Ok(routes) => routes,
                    Err(lack) if self.waits(lack) => return None,
                    // The name is known; where it leads is not.
                    Err(Lack { reason, why: Why::Absent }) => {
                        let (reason, why) = (Arc::clone(reason), Why::Refused);
                        return Some(Way::Barred(Lack { reason, why }));
                    }
                    Err(lack) => return Some(Way::Barred(lack.clone())),
                }
            }
        };
        let (listener, routes) = (Arc::clone(listener), Arc::clone(routes));
        if listener.host(&routes, authority).is_none() {
            let reason = format!(
                "RDS resource {}: none of its virtual hosts is for the authority {authority}",
                routes.name
            );
            return Some(Way::Nowhere(Lack { reason: reason.into(), why: Why::Refused }));
        }
        let (asked, authority) = (Arc::clone(asked), Arc::clone(authority));
        let service = Service { asked, listener, routes, authority };
        Some(if service.is_of_all() { Way::ForAll(service) } else { Way::Here(service) })
    }

    fn waits(&self, lack: &Lack) -> bool {
        self.serves && lack.why == Why::Away
    }

    /// Walks these clusters and, one depth after another, those that they are made of; each is met once,
    /// on its shortest way.
    fn clusters(&mut self, clusters: Vec<Arc<str>>) -> Result<(), String> {
        let mut level = clusters;
        for _ in 0..DEEPEST {
            let mut next = Vec::new();
            for name in level {
                if self.needs.insert((Kind::Cluster, Arc::clone(&name))) {
                    if self.needs.len() > MOST {
                        return Err(format!(
                            "CDS resource {name}: it is one of more than {MOST} resources that the \
                             name leads to, which is too much"
                        ));
                    }
                    next.extend(self.cluster(&name));
                }
            }
            if next.is_empty() {
                return Ok(());
            }
            level = next;
        }
        let is_met = |name: &Arc<str>| self.needs.contains(&(Kind::Cluster, Arc::clone(name)));
        match level.iter().find(|name| !is_met(name)) {
            None => Ok(()),
            Some(name) => Err(too_deep(name)),
        }
    }

    /// The clusters that one is made of.
    fn cluster(&mut self, name: &Arc<str>) -> Vec<Arc<str>> {
        self.needs.extend(self.known.said(name).into_iter().flat_map(|it| needs_of(it)));
        match self.known.cluster(name) {
            None => self.is_complete = false,
            Some(Err(lack)) => self.is_complete &= !self.waits(lack),
            Some(Ok(cluster)) => {
                self.is_complete &= match self.known.endpoints_of(cluster) {
                    Filling::Awaited => false,
                    Filling::Known(Err(lack)) => !self.waits(&lack),
                    Filling::Known(Ok(_)) | Filling::Elsewhere => true,
                };
            }
        }
        match self.known.said(name).map(|it| &it.endpoints) {
            Some(EndpointsFrom::Aggregate(names)) => names.clone(),
            _ => Vec::new(),
        }
    }
}

fn refused(reason: Arc<str>) -> Target {
    Target::Nothing(Lack { reason, why: Why::Refused })
}
