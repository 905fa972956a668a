//! Requests, callers in parallel, and what the mesh reported meanwhile.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, Response, Version};
use tower_mesh::{Body, Call, Client, Error, Event, EventStream, Mesh};

/// A GET of this URI.
pub(crate) fn get(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::empty()).unwrap()
}

/// A POST of this text to this URI.
pub(crate) fn post(uri: &str, text: &'static str) -> Request<Body> {
    Request::post(uri).body(Body::from(text)).unwrap()
}

/// Both protocols.
pub(crate) const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// The same request in this protocol.
pub(crate) fn over<B>(version: Version, mut request: Request<B>) -> Request<B> {
    *request.version_mut() = version;
    request
}

/// A GET of this URI over HTTP/2.
pub(crate) fn h2(uri: &str) -> Request<Body> {
    over(Version::HTTP_2, get(uri))
}

/// The same request with a timeout of its own.
pub(crate) fn within(timeout: Duration, mut request: Request<Body>) -> Request<Body> {
    request.extensions_mut().insert(Call::new().timeout(timeout));
    request
}

/// What the failed calls say.
pub(crate) fn failures<T>(answers: &[Result<T, Error>]) -> Vec<String> {
    answers.iter().filter_map(|answer| answer.as_ref().err()).map(Error::chain).collect()
}

/// Makes a call and reads its whole response.
pub(crate) fn fetch(
    client: &Client,
    request: Request<Body>,
) -> impl Future<Output = Result<Response<Bytes>, Error>> + Send + 'static {
    let call = client.send(request);
    async move {
        let (head, body) = call.await?.into_parts();
        Ok(Response::from_parts(head, body.bytes().await?))
    }
}

/// Makes `total` calls, `width` at a time, and returns what each came to.
///
/// A response that is returned keeps its call in flight until its body is read or dropped.
pub(crate) async fn storm<F, Fut>(width: usize, total: usize, call: F) -> Vec<Fut::Output>
where
    F: FnMut(usize) -> Fut,
    Fut: Future,
{
    futures_util::stream::iter((0..total).map(call)).buffer_unordered(width).collect().await
}

/// Paused time goes to the next timer whenever a socket is waited for: from now on it has not far
/// to go.
pub(crate) fn small_steps() {
    tokio::spawn(async {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

/// Fails the test when `what` takes more than a minute: nothing may hang, and a busy machine may be slow.
pub(crate) async fn patience<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("hung for 60 s")
}

/// The events of a mesh, kept until they are asked for.
pub(crate) struct Recorder {
    stream: EventStream,
    seen: Vec<Event>,
}

impl Recorder {
    /// Listens from now on.
    pub(crate) fn of(mesh: &Mesh) -> Self {
        Self { stream: mesh.events(), seen: Vec::new() }
    }

    /// All events so far.
    pub(crate) fn events(&mut self) -> &[Event] {
        while let Some(event) = self.stream.try_recv() {
            self.seen.push(event);
        }
        &self.seen
    }

    /// How many events so far are such.
    pub(crate) fn count(&mut self, such: impl Fn(&Event) -> bool) -> usize {
        self.events().iter().filter(|event| such(event)).count()
    }

    /// The reasons of the retries so far.
    pub(crate) fn retries(&mut self) -> Vec<String> {
        let reason = |event: &Event| match event {
            Event::Retry { reason, .. } => Some(reason.to_string()),
            _ => None,
        };
        self.events().iter().filter_map(reason).collect()
    }

    /// The number of retries since it was asked last; nothing is kept.
    pub(crate) fn take_retries(&mut self) -> usize {
        let retries = self.retries().len();
        self.seen.clear();
        retries
    }

    /// The reasons why retries were refused so far.
    pub(crate) fn refusals(&mut self) -> Vec<&'static str> {
        let reason = |event: &Event| match event {
            Event::RetryRefused { reason, .. } => Some(reason.as_str()),
            _ => None,
        };
        self.events().iter().filter_map(reason).collect()
    }

    /// Why connections ended so far.
    pub(crate) fn disconnects(&mut self) -> Vec<&'static str> {
        let reason = |event: &Event| match event {
            Event::Disconnected { reason, .. } => Some(reason.as_str()),
            _ => None,
        };
        self.events().iter().filter_map(reason).collect()
    }

    /// The refused parts of the configuration so far, as `part: reason`.
    pub(crate) fn refused(&mut self) -> Vec<String> {
        let refused = |event: &Event| match event {
            Event::ConfigRefused { part, reason, .. } => Some(format!("{part}: {reason}")),
            _ => None,
        };
        self.events().iter().filter_map(refused).collect()
    }

    /// Waits until an event is such, for at most ten seconds.
    pub(crate) async fn until(&mut self, such: impl Fn(&Event) -> bool) {
        if self.events().iter().any(&such) {
            return;
        }
        let wait = async {
            while let Some(event) = self.stream.recv().await {
                let found = such(&event);
                self.seen.push(event);
                if found {
                    return;
                }
            }
            panic!("the mesh ended before the event came");
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("no such event in 60 s");
    }
}
