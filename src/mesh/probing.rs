//! Probes of load (Prequal): one task per cluster that asks for them, and none for others.
//!
//! The task sleeps until calls owe probes, and makes them beside those calls, the way that calls
//! go: through endpoint layers, over the endpoint's own connections. What they cost is bounded: one
//! per endpoint at a time, and so many per cluster; what is owed beyond that is not made. They are
//! no attempts: in no metric of calls, no load, and no word about health.

use std::{
    collections::HashSet,
    future::poll_fn,
    pin::pin,
    sync::{Arc, Weak},
    task::Poll,
    time::Duration,
};

use futures_util::{
    StreamExt as _,
    future::{Either, select},
    stream::FuturesUnordered,
};
use http::{HeaderMap, HeaderValue, Request, Uri, header::USER_AGENT};
use http_body_util::BodyExt as _;
use tokio::{sync::Notify, time::timeout};

use super::{cluster::Node, endpoint::Transport, inner::Inner, stage::Erased as _};
use crate::{
    balance::{Balancer, Endpoint, Probes},
    config::Protocol,
    core::{Body, BoxFuture, Epoch, Instant, Random},
};

/// Probes of a cluster that are out at once.
const MOST: usize = 64;
/// How long one that is too late is waited for: who leaves it closes a connection of HTTP/1.1.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes of an answer that are read.
const LONGEST: usize = 16 * 1024;

impl Inner {
    /// Starts the task if the cluster asks for probes and has none.
    pub(super) fn probe(&self, balancer: &Arc<Balancer<Node>>) {
        if balancer.takes_prober() {
            let task = Task {
                owing: Arc::clone(&balancer.context().owing),
                balancer: Arc::downgrade(balancer),
                random: Arc::clone(&self.random),
                epoch: self.epoch,
                running: FuturesUnordered::new(),
                out: HashSet::new(),
            };
            drop(self.spawn(task.run()));
        }
    }
}

struct Task {
    balancer: Weak<Balancer<Node>>,
    /// Notified when probes are owed, or the balancer is gone.
    owing: Arc<Notify>,
    random: Arc<Random>,
    epoch: Epoch,
    /// Each ends with what names the state of its endpoint.
    running: FuturesUnordered<BoxFuture<usize>>,
    /// Endpoints that have one.
    out: HashSet<usize>,
}

impl Task {
    /// Until the balancer is gone.
    async fn run(mut self) {
        let owing = Arc::clone(&self.owing);
        loop {
            match self.next(&owing).await {
                Some(who) => {
                    self.out.remove(&who);
                }
                None => {
                    let Some(balancer) = self.balancer.upgrade() else { return };
                    self.send(&balancer);
                }
            }
        }
    }

    /// Whose probe has ended; nobody's, and calls owe some.
    async fn next(&mut self, owing: &Notify) -> Option<usize> {
        // While none is out, only calls can change that.
        let ended = poll_fn(|cx| match self.running.poll_next_unpin(cx) {
            Poll::Ready(Some(who)) => Poll::Ready(who),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        });
        match select(pin!(ended), pin!(owing.notified())).await {
            Either::Left((who, _)) => Some(who),
            Either::Right(_) => None,
        }
    }

    fn send(&mut self, balancer: &Balancer<Node>) {
        let Some(probes) = balancer.probes() else { return };
        let (now, room) = (self.epoch.nanos(Instant::now()), MOST.saturating_sub(self.out.len()));
        let out = &self.out;
        for (who, endpoint) in
            balancer.take_probes(now, &self.random, room, |who| out.contains(&who))
        {
            let cluster = Arc::clone(&balancer.context().meter.name);
            let probe = probe(endpoint, cluster, Arc::clone(&probes));
            self.out.insert(who);
            self.running.push(Box::pin(async move {
                probe.await;
                who
            }));
        }
    }
}

/// Asks, and passes on what is said in time.
async fn probe(endpoint: Arc<Endpoint<Node>>, cluster: Arc<str>, probes: Arc<Probes>) {
    let mut answer = pin!(ask(&endpoint, &cluster, &probes.path));
    match timeout(probes.timeout, answer.as_mut()).await {
        Ok(Some(headers)) => endpoint.heard(&headers),
        Ok(None) => {}
        Err(_) => drop(timeout(LINGER, answer).await),
    }
}

/// The head of an answer that is a success.
async fn ask(endpoint: &Endpoint<Node>, cluster: &str, path: &str) -> Option<HeaderMap> {
    let node = endpoint.extra()?;
    // Whoever speaks HTTP/2 by the calls' own choice is asked so, too.
    let protocol = node.protocol.unwrap_or_else(|| {
        if node.pool.is_live_http2() { Protocol::Http2 } else { Protocol::Http1 }
    });
    let authority = node.authority.as_ref().map_or(cluster, http::uri::Authority::as_str);
    let uri = Uri::builder().scheme("http").authority(authority).path_and_query(path).build();
    let mut request =
        Request::get(uri.ok()?).version(protocol.version()).body(Body::empty()).ok()?;
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("tower-mesh/probe"));
    let response = match &node.stage {
        Some(stage) => stage.call(request).await,
        None => {
            let (name, pool) = (Arc::clone(&node.name), Arc::clone(&node.pool));
            Transport { name, pool, protocol: Some(protocol) }.call(request).await
        }
    };
    let (parts, mut body) = response.ok()?.into_parts();
    let mut read = 0;
    // To its end: then its connection takes the next call.
    while let Some(frame) = body.frame().await {
        read += frame.ok()?.data_ref().map_or(0, bytes::Bytes::len);
        if read > LONGEST {
            return None;
        }
    }
    parts.status.is_success().then_some(parts.headers)
}
