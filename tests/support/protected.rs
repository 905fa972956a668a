//! Services with protections, and the calls that they bear.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{future::join_all, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use tower_mesh::{
    Body, Call, Client, Error, Mesh, Publisher, Refusal, Retry,
    config::{AdaptiveConcurrency, AdmissionControl, Criticality, Filter, Service, Throttle},
};

use super::{BoxError, Leaves, SERVICE, get, published};

pub(crate) const MILLI: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn adaptive(change: impl FnOnce(&mut AdaptiveConcurrency)) -> Filter {
    let mut limit = AdaptiveConcurrency::default();
    change(&mut limit);
    Filter::AdaptiveConcurrency(Box::new(limit))
}

pub(crate) fn throttle(change: impl FnOnce(&mut Throttle)) -> Filter {
    let mut throttle = Throttle::default();
    change(&mut throttle);
    Filter::Throttle(Box::new(throttle))
}

pub(crate) fn admission(change: impl FnOnce(&mut AdmissionControl)) -> Filter {
    let mut admission = AdmissionControl::default();
    change(&mut admission);
    Filter::AdmissionControl(Box::new(admission))
}

pub(crate) fn service(filters: impl IntoIterator<Item = Filter>) -> Service {
    let mut service = Service::default();
    service.filters = filters.into_iter().collect();
    service
}

pub(crate) fn say(publisher: &Publisher, service: Service) {
    publisher.service(SERVICE, service).unwrap();
}

/// A mesh of one service whose endpoint answers by `answer`.
pub(crate) async fn mesh<F, Fut>(service: Service, answer: F) -> (Mesh, Publisher, Leaves)
where
    F: Fn(usize, Request<Body>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<Body>, BoxError>> + Send + 'static,
{
    let leaves = Leaves::new(1);
    let builder = leaves.mesh(answer).service(SERVICE, |s| s.retry(Retry::standard()));
    let (mesh, publisher) = published(builder, |publisher| say(publisher, service)).await;
    (mesh, publisher, leaves)
}

pub(crate) fn call(path: &str, call: Call) -> Request<Body> {
    let mut request = get(path);
    request.extensions_mut().insert(call);
    request
}

pub(crate) fn critical(criticality: Criticality) -> Request<Body> {
    call("/", Call::new().criticality(criticality).no_retry())
}

pub(crate) async fn send(client: &Client, request: Request<Body>) -> Result<Response<Body>, Error> {
    client.send(request).await
}

/// A service that never ends what it answers: its calls keep their places.
pub(crate) fn held() -> Response<Body> {
    Response::new(Body::new(StreamBody::new(stream::pending::<Result<Frame<Bytes>, BoxError>>())))
}

/// Sends so many calls per second for so many seconds, and waits for all of them.
pub(crate) async fn storm(
    client: &Client,
    per_second: u32,
    seconds: u32,
    request: impl Fn(u32) -> Request<Body>,
) -> Vec<Result<u16, Error>> {
    let mut tasks = Vec::new();
    for number in 0..per_second * seconds {
        let (client, request) = (client.clone(), request(number));
        tasks.push(tokio::spawn(async move {
            let response = client.send(request).await?;
            let status = response.status().as_u16();
            drop(response.into_body().text().await);
            Ok(status)
        }));
        tokio::time::sleep(SECOND / per_second).await;
    }
    join_all(tasks).await.into_iter().map(Result::unwrap).collect()
}

pub(crate) fn count(
    answers: &[Result<u16, Error>],
    is: impl Fn(&Result<u16, Error>) -> bool,
) -> usize {
    answers.iter().filter(|answer| is(answer)).count()
}

pub(crate) fn refused(answers: &[Result<u16, Error>], why: Refusal) -> usize {
    count(answers, |it| it.as_ref().is_err_and(|error| error.refusal() == Some(why)))
}
