//! Copies of a call for other clusters: sent beside it, and nobody waits for them.

use std::sync::Arc;

use http::{Request, header::UPGRADE, uri::Scheme};
use http_body_util::BodyExt;

use super::{Caller, Path};
use crate::{
    core::{Instant, Outgoing, tee},
    mesh::{cluster::Cluster, service::Mirror},
    resilience::deadline::Bounds,
    route::{Around, BEHIND, TIMEOUT},
};

/// Sends the copies that the mirrors ask for; none of what is not sent any more, as its time is over, nor
/// of what asks its connection to become something else. What is secured itself is not copied to where it
/// would go in clear because nobody has said otherwise: such a copy fails.
#[cold]
pub(super) fn send(
    (cluster, mirrors): (&Cluster, &[Mirror]),
    caller: &Caller,
    request: &mut Request<Outgoing>,
    bounds: &Bounds,
    around: &Around<'_>,
) {
    if request.headers().contains_key(UPGRADE) || bounds.expired(Instant::now()) {
        return;
    }
    let inner = &caller.inner;
    let mirrors = mirrors.iter();
    let mirrors: Vec<&Mirror> = mirrors.filter(|it| it.how.takes(inner.random.next())).collect();
    if mirrors.is_empty() {
        return;
    }
    let https =
        caller.https || request.uri().scheme() == Some(&Scheme::HTTPS) || cluster.is_secured();
    let (body, copies) = tee(std::mem::take(request.body_mut()), mirrors.len(), BEHIND);
    *request.body_mut() = body;
    for (mirror, body) in mirrors.into_iter().zip(copies) {
        let around = Around { cluster: Some(mirror.cluster()), ..around.clone() };
        let (uri, headers) = mirror.how.head(request, &around);
        let mut copy = Request::new(body);
        *copy.method_mut() = request.method().clone();
        *copy.version_mut() = request.version();
        *copy.uri_mut() = uri;
        *copy.headers_mut() = headers;
        let caller = Caller { cell: Arc::clone(&mirror.cell), https, number: 0, ..caller.clone() };
        let call = Path::new(caller, copy);
        let mesh = Arc::clone(inner);
        inner.transport.spawn(async move {
            // It ends with an error where the call has a limit, or no endpoint: it is counted.
            let whole = async {
                if let Ok(response) = call.await {
                    let mut body = response.into_body();
                    // To its end, so that the connection can be used again.
                    while let Some(Ok(_)) = body.frame().await {}
                }
            };
            // Nobody waits for it when the mesh ends either.
            let (closing, timed) = (
                std::pin::pin!(mesh.closing()),
                std::pin::pin!(tokio::time::timeout(TIMEOUT, whole)),
            );
            let _over = futures_util::future::select(closing, timed).await;
        });
    }
}
