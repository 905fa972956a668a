//! What stands behind the endpoint layers: the connections of one endpoint.

use std::sync::Arc;

use http::{Request, Response};

use super::stage::Erased;
use crate::{
    config::Protocol,
    core::{Body, BoxError, BoxFuture, Error, ErrorKind, Origin, Phase},
    transport::{Pool, SendErrorKind},
};

/// The transport of one endpoint, as the service that endpoint layers wrap.
pub(crate) struct Transport {
    pub(crate) name: Arc<str>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) protocol: Option<Protocol>,
}

impl Erased for Transport {
    fn call(&self, request: Request<Body>) -> BoxFuture<Result<Response<Body>, BoxError>> {
        let (name, pool) = (Arc::clone(&self.name), Arc::clone(&self.pool));
        let protocol = self.protocol.unwrap_or_else(|| Protocol::of(request.version()));
        Box::pin(async move {
            let lease = match pool.try_acquire(protocol) {
                Some(lease) => lease,
                None => match pool.acquire(protocol).await {
                    Ok(lease) => lease,
                    Err(error) => {
                        let error = Error::from(error).endpoint_named(&name);
                        return Err(error.unsent(Some(Box::new(request))).into());
                    }
                },
            };
            let (response, held) = lease.send(request).await.map_err(|failure| {
                let kind = match failure.kind {
                    SendErrorKind::Refused => ErrorKind::Refused,
                    SendErrorKind::RequestBody => ErrorKind::RequestBody,
                    SendErrorKind::NeverSent
                    | SendErrorKind::Reset
                    | SendErrorKind::Closed
                    | SendErrorKind::Protocol => ErrorKind::Transport,
                };
                Error::new(kind, Phase::Headers)
                    .with_origin(Origin::Endpoint)
                    .endpoint_named(&name)
                    .detail(failure.kind.text())
                    .caused_by(failure.source)
                    .unsent(failure.request.map(Box::new))
            })?;
            Ok(response.map(|body| Body::holding(body, held)))
        })
    }
}
