//! What filters do to a call: only where a route has some.

use std::sync::Arc;

use http::{Request, Response};

use super::{
    chosen::Made,
    rare::{Rare, Stepped},
};
use crate::{
    core::{Body, Error, ErrorKind, Outgoing, Phase},
    route::{Around, Rule, Seen, Steps, Unusable},
};

/// What a route comes to that has no cluster to call.
#[cold]
pub(super) fn without_cluster(
    steps: Option<&Steps>,
    request: &Request<Outgoing>,
    rule: Option<&Rule>,
    is_grpc: bool,
    around: &Around<'_>,
) -> Result<Response<Body>, Error> {
    steps.and_then(|steps| answer(steps, request, rule, is_grpc, around)).unwrap_or_else(|| {
        Err(Error::new(ErrorKind::Config, Phase::Route)
            .detail("every cluster of the route has weight 0"))
    })
}

/// The answer that filters give instead of a cluster.
#[cold]
pub(super) fn answer(
    steps: &Steps,
    request: &Request<Outgoing>,
    rule: Option<&Rule>,
    is_grpc: bool,
    around: &Around<'_>,
) -> Option<Result<Response<Body>, Error>> {
    Some(steps.answer(request, rule, is_grpc, around)?.map_err(unusable))
}

/// Notes the cookie that was made to choose its cluster by.
pub(super) fn note(request: &mut Request<Outgoing>, rare: &mut Option<Box<Rare>>) {
    if let Some(Made { cookie, hash: _ }) = request.extensions_mut().remove() {
        rare.get_or_insert_default().chosen_by = Some(cookie);
    }
}

/// Changes the request, and notes what is to be done to its response.
#[cold]
pub(super) fn change(
    steps: &Arc<Steps>,
    request: &mut Request<Outgoing>,
    rule: Option<&Rule>,
    rare: &mut Option<Box<Rare>>,
    around: &Around<'_>,
) -> Result<(), Error> {
    steps.change(request, rule, around).map_err(unusable)?;
    if steps.edits_responses() || steps.host_of_endpoint().is_some() {
        let seen = steps.asks().then(|| Box::new(Seen::of(request, around)));
        let stepped = Stepped { steps: Arc::clone(steps), seen };
        rare.get_or_insert_default().stepped = Some(stepped);
    }
    Ok(())
}

pub(crate) fn unusable(what: Unusable) -> Error {
    let what = match what {
        Unusable::Host => "host",
        Unusable::Path => "path",
    };
    Error::new(ErrorKind::InvalidRequest, Phase::Route)
        .detail(format!("a rewrite or redirect of its route made no valid {what} of it"))
        .check("`filters` of the route")
}
