//! Services of one cluster alone, which no route names: those that get copies, or are asked beside
//! calls.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    config::{self, Policy},
    mesh::{
        cluster::Cluster,
        inner::Inner,
        service::{Mirror, Route, Service, ServiceCell, Target},
        state::State,
    },
    resilience::limit::{Limiter, Limits},
    route::{Builder, IN_FLIGHT, Split, TIMEOUT},
};

impl Inner {
    /// Who gets copies: a service of one cluster, which tries once, and has limits of its own.
    pub(super) fn mirror(
        &self,
        state: &mut State,
        mirror: &config::Mirror,
        said: Arc<str>,
        kept: Option<&Arc<ServiceCell>>,
    ) -> Option<Mirror> {
        let target = config::WeightedCluster::new(mirror.cluster.as_ref()?.to_ascii_lowercase());
        let cluster = self.target(state, &target);
        // The one of before goes on: what it has counted, its limit and its budget.
        let made = || Arc::new(ServiceCell::beside("mirror", &target.name, &self.hub));
        let cell = kept.map_or_else(made, Arc::clone);
        let before = cell.current.load();
        let kept = before.as_ref().and_then(|service| service.limiter.as_ref());
        let limiter = Limiter::resized(kept, IN_FLIGHT);
        drop(before);
        self.set_beside(&cell, cluster, Some(TIMEOUT), Some(limiter))?;
        let how = Arc::new(crate::route::Mirror::new(mirror));
        Some(Mirror { said, how, cell })
    }

    /// A service of one cluster alone, for what is asked beside calls: it tries once.
    #[cfg(feature = "rls")]
    pub(in crate::mesh) fn cell_beside(
        &self,
        state: &mut State,
        what: &str,
        cluster: &str,
    ) -> Option<Arc<ServiceCell>> {
        let cell = ServiceCell::beside(what, &cluster.to_ascii_lowercase(), &self.hub);
        self.lead_beside(state, &cell, cluster)?;
        Some(Arc::new(cell))
    }

    /// Leads such a service to the cluster that has the name now: one that was taken back and has come
    /// again is another.
    #[cfg(feature = "rls")]
    pub(in crate::mesh) fn lead_beside(
        &self,
        state: &mut State,
        cell: &ServiceCell,
        cluster: &str,
    ) -> Option<()> {
        let cluster = Arc::clone(&self.entry(state, &cluster.to_ascii_lowercase()).cell);
        self.set_beside(cell, cluster, None, None)
    }

    /// Defines a service of one cluster, which tries once.
    fn set_beside(
        &self,
        cell: &ServiceCell,
        cluster: Arc<Cluster>,
        timeout: Option<Duration>,
        limiter: Option<Arc<Limiter>>,
    ) -> Option<()> {
        let mut plane = Policy::default();
        plane.timeout = timeout;
        plane.retry = Some(config::Retry::standard().attempts(1));
        let nothing = BTreeMap::new();
        let target = Target::new(cluster, &nothing, &nothing, None, &Arc::from([]));
        let route = Route {
            name: None,
            meter: Arc::clone(&cell.meter.plain),
            clusters: Split::new([(1, target)]),
            choosing: None,
            steps: None,
            policy: cell.policy(&cell.name, &plane),
            limits: Limits::of(None, limiter.as_ref()),
            guards: None,
            faults: None,
            session: None,
            matches: Vec::new(),
            hosts: Vec::new(),
            filters: Vec::new(),
            layers: Arc::from([]),
            source: None,
            whose: None,
            told: Vec::new(),
        };
        let mut table = Builder::new(config::RouteOrder::Listed, &self.code.labels);
        table.add(&[], &[], route).ok()?;
        cell.set(Service::new(table.build(), limiter));
        Some(())
    }
}
