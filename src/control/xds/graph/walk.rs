//! The way from a listener to all that it needs.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Id, Lack, Service, Target,
    known::{Filling, Known},
};
use crate::control::xds::{
    kind::Kind,
    resource::{EndpointsFrom, RoutesFrom},
};

/// How deep clusters of clusters may be (gRFC A37).
const DEEPEST: usize = 16;

/// What a root needs, as far as that is known.
pub(super) struct Walked {
    pub(super) needs: BTreeSet<Id>,
    /// What it comes to; nothing while something of it is on its way.
    pub(super) target: Option<Target>,
}

struct Walk<'a> {
    known: &'a Known,
    serves: bool,
    needs: BTreeSet<Id>,
    is_complete: bool,
}

/// Of one that `serves`, what nobody can be asked for is waited for: what is in use stays.
pub(super) fn walk(
    known: &Known,
    listener: &Arc<str>,
    authority: &Arc<str>,
    serves: bool,
) -> Walked {
    let mut walk = Walk { known, serves, needs: BTreeSet::new(), is_complete: true };
    let target = walk.target(listener, authority);
    Walked { target: target.filter(|_| walk.is_complete), needs: walk.needs }
}

// === impl Walk ===

impl Walk<'_> {
    fn target(&mut self, listener: &Arc<str>, authority: &Arc<str>) -> Option<Target> {
        self.needs.insert((Kind::Listener, Arc::clone(listener)));
        let listener = match self.known.listener(listener)? {
            Ok(listener) => listener,
            Err(lack) if self.waits(lack) => return None,
            Err(lack) => return Some(Target::Nothing(lack.clone())),
        };
        let routes = match &listener.routes {
            RoutesFrom::Inline(routes) => routes,
            RoutesFrom::Named(name) => {
                self.needs.insert((Kind::Routes, Arc::clone(name)));
                match self.known.routes(name)? {
                    Ok(routes) => routes,
                    Err(lack) if self.waits(lack) => return None,
                    // The name is known; where it leads is not.
                    Err(lack) => {
                        let lack = Lack { does_not_exist: false, ..lack.clone() };
                        return Some(Target::Nothing(lack));
                    }
                }
            }
        };
        let Some(host) = routes.host(authority) else {
            let reason = format!(
                "RDS resource {}: none of its virtual hosts is for the authority {authority}",
                routes.name
            );
            return Some(Target::Nothing(Lack {
                reason: reason.into(),
                does_not_exist: false,
                is_transient: false,
            }));
        };
        for cluster in host.clusters().into_iter().chain(listener.clusters()) {
            self.cluster(&Arc::from(cluster), DEEPEST);
        }
        let (listener, routes) = (Arc::clone(listener), Arc::clone(routes));
        let authority = Arc::clone(authority);
        Some(Target::Service(Service { listener, routes, authority }))
    }

    fn waits(&self, lack: &Lack) -> bool {
        self.serves && lack.is_transient
    }

    fn cluster(&mut self, name: &Arc<str>, left: usize) {
        // One that leads back to itself is met once.
        if !self.needs.insert((Kind::Cluster, Arc::clone(name))) || left == 0 {
            return;
        }
        match self.known.cluster(name) {
            None => self.is_complete = false,
            Some(Err(lack)) => self.is_complete &= !self.waits(lack),
            Some(Ok(cluster)) => {
                if let Some(endpoints) = cluster.filled_from() {
                    self.needs.insert((Kind::Endpoints, Arc::clone(endpoints)));
                    self.is_complete &= match self.known.endpoints_of(cluster) {
                        Filling::Awaited => false,
                        Filling::Known(Err(lack)) => !self.waits(&lack),
                        Filling::Known(Ok(_)) | Filling::Elsewhere => true,
                    };
                }
                if let EndpointsFrom::Aggregate(names) = &cluster.endpoints {
                    for name in names {
                        self.cluster(name, left - 1);
                    }
                }
            }
        }
    }
}
