//! The clusters whose load is reported to the server that they came from.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    control::xds::{
        graph::Do,
        resource::{Cluster, Decoder, EndpointsFrom},
        stream::{Report, Subscriber},
    },
    discover::Publisher,
};

#[derive(Default)]
pub(super) struct Reported {
    known: BTreeMap<Arc<str>, Known>,
    /// The end of the mesh waits until all has been said and written.
    is_awaited: bool,
}

/// What was said last of a cluster.
#[derive(Eq, PartialEq)]
struct Known {
    service: Arc<str>,
    metrics: Vec<String>,
    loads: usize,
}

/// The cluster that something is done to, and what it is from then on.
pub(super) fn cluster_of(wanted: &Do) -> Option<(Arc<str>, Option<Arc<Cluster>>)> {
    match wanted {
        Do::Cluster { cluster, .. } => Some((Arc::clone(&cluster.name), Some(Arc::clone(cluster)))),
        Do::NoCluster { name, .. } | Do::RemoveCluster(name) => Some((Arc::clone(name), None)),
        _ => None,
    }
}

// === impl Reported ===

impl Reported {
    /// The end of the mesh waits for what is said, and written, at the end.
    pub(super) fn awaited(&mut self, publisher: &Publisher, subscriber: &Subscriber<Decoder>) {
        if !std::mem::replace(&mut self.is_awaited, true) {
            publisher.farewell(subscriber.farewell());
        }
    }

    /// A cluster has been published, or taken back.
    pub(super) fn set(
        &mut self,
        publisher: &Publisher,
        subscriber: &mut Subscriber<Decoder>,
        name: &Arc<str>,
        cluster: Option<&Cluster>,
    ) {
        let wanted = cluster.and_then(|it| Some((it, it.load_report.as_ref()?)));
        let found = wanted.and_then(|it| Some((it, publisher.loads(name)?)));
        let Some(((cluster, metrics), loads)) = found else {
            if self.known.remove(name).is_some() {
                subscriber.unreport(name);
            }
            return;
        };
        let service: Arc<str> = match &cluster.endpoints {
            EndpointsFrom::Eds { service_name: Some(service) } => Arc::clone(service),
            _ => "".into(),
        };
        let now =
            Known { service: Arc::clone(&service), metrics: metrics.clone(), loads: loads.id() };
        if self.known.get(name) == Some(&now) {
            return;
        }
        self.known.insert(Arc::clone(name), now);
        self.awaited(publisher, subscriber);
        let (cluster, metrics) = (Arc::clone(name), metrics.clone());
        subscriber.report(Report { cluster, service, metrics, loads });
    }
}
