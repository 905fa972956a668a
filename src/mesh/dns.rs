//! Plain DNS for names that no source defines, where the user has asked for it.
//!
//! The system's resolver, asked again every 30 seconds. A name that was not called for ten
//! minutes is forgotten, and looked up anew at its next call; at most 10,000 names are kept, and
//! further ones are refused. DNS as a provider of its own (TTL, SRV, search domains) is not here
//! yet.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::{inner::Inner, names::Name};
use crate::{
    config::Endpoint,
    core::{Error, ErrorKind, Instant, Phase},
    discover::{Change, Sink, SourceId},
};

const REFRESH: Duration = Duration::from_secs(30);
/// The first wait after a failure; doubled each time, up to `REFRESH`.
const RETRY: Duration = Duration::from_secs(1);
const UNUSED: Duration = Duration::from_secs(600);
const MAX_NAMES: usize = 10_000;

/// Defines the name as a cluster whose endpoints the system's resolver gives; once, whoever
/// asks first.
pub(super) fn define(inner: &Arc<Inner>, name: &Name) -> Result<(), Error> {
    let cluster = name.to_string();
    let mut state = inner.state();
    if inner.is_closed() || state.knows(&cluster) {
        return Ok(());
    }
    if state.dns >= MAX_NAMES {
        return Err(Error::new(ErrorKind::UnknownService, Phase::Resolve)
            .service(&cluster.into())
            .detail(format!("{MAX_NAMES} names are looked up by DNS already")));
    }
    let defined = Change::Endpoints(cluster.clone(), Vec::new());
    if inner.change(&mut state, SourceId::DNS, defined).is_ok() {
        state.dns += 1;
        inner.resolving();
        let host = name.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let target = (host, name.port.unwrap_or(80));
        inner.spawn(run(Arc::downgrade(inner), cluster, target));
    }
    Ok(())
}

async fn run(inner: Weak<Inner>, cluster: String, target: (String, u16)) {
    let mut first = true;
    let mut retry = RETRY;
    let mut used = Instant::now();
    loop {
        let answer = tokio::net::lookup_host((target.0.as_str(), target.1)).await;
        let Some(inner) = inner.upgrade() else { return };
        let endpoints: Vec<Endpoint> = match answer {
            Ok(addresses) => addresses.map(Endpoint::from).collect(),
            Err(error) => {
                // The last good answer stays.
                inner.report(&format!("cluster {cluster}"), &format!("DNS: {error}"));
                Vec::new()
            }
        };
        let pause = if endpoints.is_empty() {
            let pause = retry;
            retry = (retry * 2).min(REFRESH);
            pause
        } else {
            drop(inner.apply(SourceId::DNS, Change::Endpoints(cluster.clone(), endpoints)));
            retry = RETRY;
            REFRESH
        };
        if std::mem::take(&mut first) {
            inner.resolved();
        }
        let now = Instant::now();
        if let Some(called) = inner.called(&cluster) {
            used = used.max(called);
        }
        if now.saturating_duration_since(used) >= UNUSED {
            drop(inner.apply(SourceId::DNS, Change::RemoveCluster(cluster)));
            inner.state().dns -= 1;
            return;
        }
        drop(inner);
        tokio::time::sleep_until(now + pause).await;
    }
}
