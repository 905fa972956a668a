//! Plain DNS for names that no source defines, where the user has asked for it.
//!
//! The system's resolver, asked again every 30 seconds while the mesh lives. DNS as a provider of
//! its own (TTL, SRV, search domains) is not here yet.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::{inner::Inner, names::Name};
use crate::{
    config::Endpoint,
    core::{Event, Instant},
    discover::{Change, Sink, SourceId},
};

const REFRESH: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(1);

/// Defines the name as a cluster whose endpoints the system's resolver gives.
pub(crate) fn define(inner: &Arc<Inner>, name: &Name) {
    let cluster = name.to_string();
    let target = (name.host.clone(), name.port.unwrap_or(80));
    if inner.apply(SourceId::DNS, Change::Endpoints(cluster.clone(), Vec::new())).is_err() {
        return;
    }
    inner.resolving();
    inner.spawn(run(Arc::downgrade(inner), cluster, target));
}

async fn run(inner: Weak<Inner>, cluster: String, target: (String, u16)) {
    let mut first = true;
    loop {
        let answer = tokio::net::lookup_host((target.0.as_str(), target.1)).await;
        let Some(inner) = inner.upgrade() else { return };
        let pause = match answer {
            Ok(addresses) => {
                let endpoints: Vec<Endpoint> = addresses.map(Endpoint::from).collect();
                if endpoints.is_empty() {
                    RETRY
                } else {
                    drop(inner.apply(SourceId::DNS, Change::Endpoints(cluster.clone(), endpoints)));
                    REFRESH
                }
            }
            Err(error) => {
                // The last good answer stays.
                inner.events.emit(|| Event::ConfigRefused {
                    part: format!("cluster {cluster}").into(),
                    reason: format!("DNS: {error}").into(),
                });
                RETRY
            }
        };
        if std::mem::take(&mut first) {
            inner.resolved();
        }
        drop(inner);
        tokio::time::sleep_until(Instant::now() + pause).await;
    }
}
