//! Plain DNS for names that no source defines, where the user has asked for it: each becomes a
//! cluster that DNS fills, as a source would define it, with the settings of the source that is there for
//! such names (`Dns` without a name) or the defaults. A name that is called by `https` is a cluster
//! of its own, by default on port 443, whose endpoints prove the name to the system's roots.
//!
//! A name that was not called for ten minutes is forgotten, and looked up anew at its next call; at
//! most 10,000 names are kept, and further ones are refused.

use std::{sync::Arc, time::Duration};

use super::{inner::Inner, resolve::HTTPS, state::State};
use crate::{
    config::{Cluster, ClusterSecurity, Discovery, DnsDiscovery, name::Name},
    core::{Error, ErrorKind, Instant, Phase},
    discover::{Change, SourceId},
};

const UNUSED: Duration = Duration::from_secs(600);
const MAX_NAMES: usize = 10_000;

impl Inner {
    /// Defines the name as a cluster whose endpoints DNS gives; once, whoever asks first.
    pub(super) fn define_by_dns(self: &Arc<Self>, name: &Name) -> Result<(), Error> {
        let cluster = if name.https { format!("{HTTPS}{name}") } else { name.to_string() };
        let mut state = self.state();
        // Of what may be a source's, DNS says nothing: it would be called in clear.
        if self.is_closed() || state.knows(&cluster) || !self.is_nobodys(&state, &cluster) {
            return Ok(());
        }
        if state.dns >= MAX_NAMES {
            return Err(Error::new(ErrorKind::UnknownService, Phase::Resolve)
                .service(&cluster.into())
                .detail(format!("{MAX_NAMES} names are looked up by DNS already")));
        }
        let port = name.port.unwrap_or(if name.https { 443 } else { 80 });
        let dns = DnsDiscovery {
            name: format!("dns:///{}:{port}", name.host),
            ..self.unknown_dns.clone()
        };
        let discovery = Some(Discovery::Dns(dns));
        // Who is called by `https` proves the name that is called, as on the web.
        let security = name
            .https
            .then(|| ClusterSecurity { system_roots: Some(true), ..ClusterSecurity::tls() });
        let settings = Box::new(Cluster { discovery, security, ..Cluster::default() });
        match self.change(&mut state, SourceId::DNS, Change::Cluster(cluster.clone(), settings)) {
            Ok(()) => {
                state.dns += 1;
                Ok(())
            }
            Err(errors) => {
                // It would be reported for ever, and names may come from outside.
                self.mended_of(&mut state, SourceId::DNS, &format!("cluster {cluster}"));
                Err(Error::new(ErrorKind::UnknownService, Phase::Resolve)
                    .service(&cluster.into())
                    .detail(errors.to_string()))
            }
        }
    }

    /// Forgets a name that nobody calls any more; until when it is used, if it is.
    pub(super) fn still_used(
        &self,
        state: &mut State,
        cluster: &str,
        used: &mut Instant,
    ) -> Option<Instant> {
        if let Some(called) = self.called(cluster) {
            *used = (*used).max(called);
        }
        let until = *used + UNUSED;
        if Instant::now() < until {
            return Some(until);
        }
        let forgotten = Change::RemoveCluster(cluster.to_owned());
        if self.change(state, SourceId::DNS, forgotten).is_ok() {
            state.dns -= 1;
        }
        None
    }
}
