//! What stands behind the endpoint layers: the connections of one endpoint.

use std::sync::Arc;

use http::{Request, Response};

use super::stage::Erased;
use crate::{
    config::{CallPriority, Protocol},
    core::{
        Body, BoxError, BoxFuture, Error, ErrorKind, Origin, Outgoing, Phase, WireFailure, grpc,
    },
    transport::{Pool, SendError, Sent, prepare::no_upgrade},
};

/// The transport of one endpoint, as the service that endpoint layers wrap.
pub(crate) struct Transport {
    pub(crate) name: Arc<str>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) protocol: Option<Protocol>,
}

impl Erased for Transport {
    fn call(&self, request: Request<Body>) -> BoxFuture<Result<Response<Body>, BoxError>> {
        let mut request = request.map(Outgoing::from);
        let (name, pool) = (Arc::clone(&self.name), Arc::clone(&self.pool));
        let protocol = self.protocol.unwrap_or_else(|| Protocol::of(request.version()));
        let is_grpc = grpc::is_grpc(request.headers());
        Box::pin(async move {
            let lease = match pool.try_acquire(protocol, is_grpc, pool.now()) {
                Some(lease) => lease,
                None => match pool.acquire(protocol, is_grpc, CallPriority::Default).await {
                    Ok(lease) => lease,
                    Err(error) => {
                        let error = Error::from(error).endpoint_named(&name);
                        return Err(error.unsent(Some(Box::new(request))).into());
                    }
                },
            };
            if !lease.prepare(&mut request, &name) {
                return Err(no_upgrade().endpoint_named(&name).into());
            }
            let Sent { response, held, first } = lease.send(request).await.map_err(|failure| {
                let SendError { kind, request, fresh, refused, source } = failure;
                if let Some(refused) = refused {
                    pool.refused(&refused);
                    let error = Error::from(refused).endpoint_named(&name);
                    return error.unsent(request.map(Box::new));
                }
                let error = if kind == WireFailure::NeverSent && fresh {
                    Error::from(pool.closed_at_once())
                } else {
                    let error = match kind {
                        WireFailure::Refused => ErrorKind::Refused,
                        WireFailure::RequestBody => ErrorKind::RequestBody,
                        WireFailure::NeverSent
                        | WireFailure::Reset
                        | WireFailure::Closed
                        | WireFailure::Protocol => ErrorKind::Transport,
                    };
                    Error::new(error, Phase::Headers)
                        .with_origin(Origin::Endpoint)
                        .detail(kind.text())
                };
                error.endpoint_named(&name).caused_by(source).unsent(request.map(Box::new))
            })?;
            if first {
                pool.answered();
            }
            Ok(response.map(|body| Body::holding(body, held)))
        })
    }
}
