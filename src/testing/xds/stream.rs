//! The gRPC side of it.

use std::{
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll},
};

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    aggregated_discovery_service_server::AggregatedDiscoveryService,
};
use http::HeaderMap;
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::AbortHandle,
};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request as Call, Response, Status, Streaming};

use super::{
    Request,
    server::{LOOK_AGAIN, Shared},
    state::{Out, State},
};

/// The service behind a port.
pub(super) struct Service(pub(super) Arc<Shared>);

/// The answers of one stream. The client is gone when it is dropped.
pub(super) struct Answers {
    first: Option<Result<Out, Status>>,
    out: UnboundedReceiver<Result<Out, Status>>,
    stream: u64,
    shared: Arc<Shared>,
    reader: AbortHandle,
}

/// The answers of one protocol.
pub(super) struct Only<T> {
    answers: Answers,
    of: fn(Out) -> Option<T>,
}

impl Service {
    async fn begin<T: Send + 'static>(
        &self,
        call: Call<Streaming<T>>,
        delta: bool,
        read: impl Fn(u64, &HeaderMap, &T) -> Request + Send + 'static,
    ) -> Result<Answers, Status> {
        let shared = Arc::clone(&self.0);
        let refused = shared.with(|state| state.script.refuse.clone());
        if let Some((code, text)) = refused {
            return Err(Status::new(code.into(), text));
        }
        let headers = call.metadata().clone().into_headers();
        let mut requests = call.into_inner();
        let (sender, out) = unbounded_channel();
        let stream = shared.with(|state| state.open(delta, sender));
        let reading = Arc::clone(&shared);
        let reader = tokio::spawn(async move {
            while let Some(Ok(request)) = requests.next().await {
                let request = read(stream, &headers, &request);
                while reading.with(|state| state.script.deaf) {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                reading.with(|state| state.received(request));
            }
            reading.with(|state| state.gone(stream));
        });
        let reader = reader.abort_handle();
        let mut answers = Answers { first: None, out, stream, shared, reader };
        // tonic sends the headers of the response when this returns.
        if answers.shared.with(|state| state.script.hold_headers) {
            match answers.out.recv().await {
                Some(Err(status)) => return Err(status),
                first => answers.first = first,
            }
        }
        Ok(answers)
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = Only<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Only<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        call: Call<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let answers = self.begin(call, false, Request::sotw).await?;
        let of = |out| match out {
            Out::Sotw(answer) => Some(answer),
            Out::Delta(_) => None,
        };
        Ok(Response::new(Only { answers, of }))
    }

    async fn delta_aggregated_resources(
        &self,
        call: Call<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let answers = self.begin(call, true, Request::delta).await?;
        let of = |out| match out {
            Out::Delta(answer) => Some(answer),
            Out::Sotw(_) => None,
        };
        Ok(Response::new(Only { answers, of }))
    }
}

impl<T> Stream for Only<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = match self.answers.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => self.answers.out.poll_recv(cx),
        };
        let of = self.of;
        let next = match next {
            Poll::Ready(next) => next,
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(match next {
            Some(Ok(out)) => of(out).map(Ok),
            Some(Err(status)) => Some(Err(status)),
            None => None,
        })
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.reader.abort();
        self.shared.with(|state| state.gone(self.stream));
    }
}

impl Shared {
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
