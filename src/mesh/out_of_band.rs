//! Load reports beside the traffic: one stream per endpoint that is called, kept by the task that
//! keeps the cluster (gRFC A51).

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::{BufMut as _, BytesMut};
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::task::{AbortHandle, JoinSet};

use super::{cluster::Node, endpoint::Transport, stage::Erased as _};
use crate::{
    balance::{
        Balancer, Endpoint,
        report::{Interval, ReportRequest},
    },
    config::Protocol,
    core::{Body, Epoch, Instant, Random, framed, grpc},
};

const METHOD: &str = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics";
/// What a message may have.
const LONGEST: usize = 64 * 1024;
const UNIMPLEMENTED: i32 = 12;
//= gRPC "connection backoff": what A51 means by exponential back-off
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// The streams of a cluster. Its drop ends them.
#[derive(Default)]
pub(super) struct Streams {
    tasks: JoinSet<()>,
    /// By what names an endpoint's state.
    running: HashMap<usize, AbortHandle>,
    /// What they were asked for.
    period: Option<u64>,
}

/// Why a stream has ended.
enum End {
    /// The server has no such method: it is not asked again.
    Unimplemented,
    /// Whether anything came of it.
    Failed { heard: bool },
}

impl Streams {
    /// Begins streams to endpoints that have been called since they have none, and ends those to
    /// endpoints that are gone; all of them when they are not wanted any more.
    pub(super) fn tend(&mut self, balancer: &Balancer<Node>, epoch: Epoch) {
        let period = balancer.out_of_band();
        if period != self.period {
            self.end();
            self.period = period;
        }
        let Some(period) = period else { return };
        while self.tasks.try_join_next().is_some() {}
        let mut before = std::mem::take(&mut self.running);
        for (who, endpoint) in balancer.called_endpoints() {
            let running = before.remove(&who).unwrap_or_else(|| {
                self.tasks.spawn(keep(endpoint, Duration::from_nanos(period), epoch))
            });
            self.running.insert(who, running);
        }
        before.into_values().for_each(|gone| gone.abort());
    }

    /// Ends all of them: nothing is called. The next call begins them again.
    pub(super) fn end(&mut self) {
        self.tasks.abort_all();
        self.running.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }
}

/// Streams until it is aborted, or the server has no such method.
async fn keep(endpoint: Arc<Endpoint<Node>>, period: Duration, epoch: Epoch) {
    let (mut wait, random) = (FIRST_WAIT, Random::default());
    while let End::Failed { heard } = stream(&endpoint, period, epoch).await {
        if heard {
            //= gRFC A51: once a message has come, the next attempt is made at once
            wait = FIRST_WAIT;
            tokio::task::yield_now().await;
            continue;
        }
        tokio::time::sleep(wait.mul_f64(0.8 + 0.4 * random.ratio())).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// One stream, to its end.
async fn stream(endpoint: &Endpoint<Node>, period: Duration, epoch: Epoch) -> End {
    let mut heard = false;
    let Some(node) = endpoint.extra() else { return End::Failed { heard } };
    let transport = Transport {
        name: Arc::clone(&node.name),
        pool: Arc::clone(&node.pool),
        protocol: Some(Protocol::Http2),
    };
    let Ok(request) = request(node, period) else { return End::Unimplemented };
    let Ok(response) = transport.call(request).await else { return End::Failed { heard } };
    let mut code = grpc::status_of(response.headers());
    if response.status() == StatusCode::NOT_FOUND {
        // What a server says that knows nothing of gRPC.
        code = Some(UNIMPLEMENTED);
    }
    let (mut body, mut read) = (response.into_body(), BytesMut::new());
    while let Some(Ok(frame)) = body.frame().await {
        match frame.into_data() {
            Ok(data) => read.put(data),
            Err(frame) => code = frame.trailers_ref().and_then(grpc::status_of).or(code),
        }
        while let Some((is_plain, message)) = framed::next(&mut read) {
            if is_plain && let Some(report) = crate::balance::report::message(message) {
                endpoint.reported(epoch.nanos(Instant::now()), &report);
                heard = true;
            }
        }
        // A connection that takes no more calls is to end: its server waits for this stream.
        if read.len() > LONGEST || !node.pool.is_live_http2() {
            break;
        }
    }
    if code == Some(UNIMPLEMENTED) { End::Unimplemented } else { End::Failed { heard } }
}

fn request(node: &Node, period: Duration) -> Result<Request<Body>, http::Error> {
    let message =
        ReportRequest { report_interval: Some(Interval::new(period)), ..ReportRequest::default() };
    let mut request = Request::post(METHOD)
        .version(http::Version::HTTP_2)
        .header(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
        .header(header::TE, HeaderValue::from_static("trailers"))
        .body(Body::from(framed::framed(&message)))?;
    if let Some(authority) = &node.authority {
        super::call::set_authority(&mut request, authority);
    }
    Ok(request)
}
