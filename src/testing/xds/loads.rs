//! Load reports (LRS): what the control plane asks for, and what it is told.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use envoy_types::pb::{
    envoy::service::load_stats::v3::{
        LoadStatsRequest, LoadStatsResponse, load_reporting_service_server::LoadReportingService,
    },
    google::protobuf::Duration as Interval,
};
use prost::Message as _;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_stream::{Stream, StreamExt, wrappers::UnboundedReceiverStream};
use tonic::{Request as Call, Response, Status, Streaming};

use super::server::{AdsServer, Shared};

/// What a control plane wants to be told of load.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct LoadsAsked(LoadStatsResponse);

/// A message of a stream of load reports.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LoadReport {
    /// Which stream it came on; the first is 1.
    pub stream: u64,
    /// The id of the node, if the message has one.
    pub node: Option<String>,
    /// What the node can do.
    pub client_features: Vec<String>,
    /// The headers of the call.
    pub headers: http::HeaderMap,
    /// `envoy.service.load_stats.v3.LoadStatsRequest`, encoded.
    pub message: Vec<u8>,
}

/// What is known of load.
#[derive(Default)]
pub(super) struct Loads {
    asked: Option<LoadsAsked>,
    refuse: Option<(i32, String)>,
    last: u64,
    streams: BTreeMap<u64, UnboundedSender<Result<LoadStatsResponse, Status>>>,
    reports: Vec<LoadReport>,
}

/// The service behind a port.
pub(super) struct Service(pub(super) Arc<Shared>);

// === impl LoadsAsked ===

impl LoadsAsked {
    /// Of all clusters, so often.
    pub fn all(every: Duration) -> Self {
        Self(LoadStatsResponse { send_all_clusters: true, ..Self::every(every).0 })
    }

    /// Of these clusters, so often.
    pub fn of<C: Into<String>>(clusters: impl IntoIterator<Item = C>, every: Duration) -> Self {
        let clusters = clusters.into_iter().map(Into::into).collect();
        Self(LoadStatsResponse { clusters, ..Self::every(every).0 })
    }

    /// Whether endpoints are told apart.
    pub fn per_endpoint(mut self, per_endpoint: bool) -> Self {
        self.0.report_endpoint_granularity = per_endpoint;
        self
    }

    fn every(every: Duration) -> Self {
        let interval = Interval {
            seconds: i64::try_from(every.as_secs()).unwrap_or(i64::MAX),
            nanos: every.subsec_nanos().cast_signed(),
        };
        Self(LoadStatsResponse {
            load_reporting_interval: Some(interval),
            ..LoadStatsResponse::default()
        })
    }
}

// === impl AdsServer ===

impl AdsServer {
    /// Asks for load reports on each stream that is there and comes; until then it says nothing on them.
    pub fn ask_loads(&self, asked: LoadsAsked) {
        let mut loads = self.shared.loads();
        for stream in loads.streams.values() {
            drop(stream.send(Ok(asked.0.clone())));
        }
        loads.asked = Some(asked);
    }

    /// Refuses streams of load reports with this status, or no more (`None`).
    pub fn refuse_loads(&self, status: Option<(i32, &str)>) {
        self.shared.loads().refuse = status.map(|(code, text)| (code, text.to_owned()));
    }

    /// Ends every stream of load reports with this status.
    pub fn cut_loads(&self, code: i32, text: &str) {
        for stream in std::mem::take(&mut self.shared.loads().streams).into_values() {
            drop(stream.send(Err(Status::new(code.into(), text))));
        }
    }

    /// Every message of load reports so far, up to 100,000.
    #[must_use]
    pub fn load_reports(&self) -> Vec<LoadReport> {
        self.shared.loads().reports.clone()
    }

    /// How many streams of load reports there are.
    #[must_use]
    pub fn load_streams(&self) -> usize {
        self.shared.loads().streams.len()
    }
}

// === impl Shared ===

impl Shared {
    fn loads(&self) -> MutexGuard<'_, Loads> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl LoadReportingService for Service {
    type StreamLoadStatsStream =
        Pin<Box<dyn Stream<Item = Result<LoadStatsResponse, Status>> + Send>>;

    async fn stream_load_stats(
        &self,
        call: Call<Streaming<LoadStatsRequest>>,
    ) -> Result<Response<Self::StreamLoadStatsStream>, Status> {
        let (sender, answers) = unbounded_channel();
        let stream = {
            let mut loads = self.0.loads();
            if let Some((code, text)) = &loads.refuse {
                return Err(Status::new((*code).into(), text.clone()));
            }
            loads.last += 1;
            if let Some(asked) = &loads.asked {
                drop(sender.send(Ok(asked.0.clone())));
            }
            let stream = loads.last;
            loads.streams.insert(stream, sender);
            stream
        };
        let headers = call.metadata().clone().into_headers();
        let (mut requests, shared) = (call.into_inner(), Arc::clone(&self.0));
        drop(tokio::spawn(async move {
            while let Some(Ok(request)) = requests.next().await {
                let node = request.node.as_ref();
                let report = LoadReport {
                    stream,
                    node: node.map(|node| node.id.clone()),
                    client_features: node
                        .map(|node| node.client_features.clone())
                        .unwrap_or_default(),
                    headers: headers.clone(),
                    message: request.encode_to_vec(),
                };
                let mut loads = shared.loads();
                if loads.reports.len() < MOST {
                    loads.reports.push(report);
                }
            }
            // What is answered ends with what is asked.
            drop(shared.loads().streams.remove(&stream));
        }));
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(answers))))
    }
}

/// So many messages are kept.
const MOST: usize = 100_000;
