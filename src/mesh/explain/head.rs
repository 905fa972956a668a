//! What is sent, to whom copies go, and what is answered here: of a call as it begins.

use http::{HeaderMap, Request, Response};

use super::{
    cluster::Call,
    types::{AnswerExplanation, HeadExplanation, MirrorExplanation},
};
use crate::{
    config::{HashOn, HashPolicy, Policy, Retry},
    core::{self, Body, Error, Instant, grpc},
    mesh::{
        call::unusable,
        service::{Mirror, Target},
    },
    resilience::deadline::{self, Bounds, Scope},
    route::{Around, Rule},
};

/// What a call says itself, as a layer over the policy of its route.
pub(super) fn said_by_call(request: &Request<()>, scope: Scope, now: Instant) -> Option<Policy> {
    let call = request.extensions().get::<core::Call>();
    let mut said = Policy::default();
    let own = bounds(request.headers(), call, Scope::default(), now);
    let left = own.head.map(|at| at.saturating_duration_since(now));
    // The earlier rules: a call shortens a timeout and never lengthens it.
    if let Some(left) = left
        && scope.timeout.is_none_or(|timeout| left < timeout)
    {
        (said.timeout, said.whole_response) = (Some(left), Some(own.body == own.head));
    }
    if let Some(call) = call {
        let mut retry = Retry::default();
        retry.attempts = (call.no_retry || call.is_retry).then_some(1);
        retry.idempotent = call.idempotent;
        said.retry = (retry != Retry::default()).then_some(retry);
        said.criticality = call.criticality;
        said.hash = call.hash_key.map(|_| vec![HashPolicy::new(HashOn::CallKey)]);
    }
    (said != Policy::default()).then_some(said)
}

fn bounds(headers: &HeaderMap, call: Option<&core::Call>, scope: Scope, now: Instant) -> Bounds {
    if grpc::is_grpc(headers) {
        deadline::of(headers, call, scope, now)
    } else {
        deadline::of_http(call, scope, now)
    }
}

/// The request as the first attempt sends it to this target, and who gets copies.
pub(super) fn sent(
    call: &Call<'_>,
    rule: Option<&Rule>,
    target: &Target,
) -> Result<(HeadExplanation, Vec<MirrorExplanation>), Error> {
    let mut request = super::head_of(call.request);
    let around = Around::of(call.route, Some(target), Instant::now());
    if let Some(steps) = &target.steps {
        steps.change(&mut request, rule, &around).map_err(unusable)?;
    }
    let copies = target.mirrors.iter().map(|mirror| copy(mirror, &request, &around)).collect();
    let policy = &call.route.policy;
    let said = request.extensions().get::<core::Call>();
    let now = Instant::now();
    let bounds = bounds(call.request.headers(), said, policy.scope, now);
    let bounds = bounds.of_attempt(policy.attempt_timeout, now);
    let is_grpc = grpc::is_grpc(call.request.headers());
    bounds.write(request.headers_mut(), is_grpc, now);
    let host = target.steps.as_ref().and_then(|steps| steps.host_of_endpoint());
    Ok((HeadExplanation { host_of_endpoint: host.is_some(), ..of(&request) }, copies))
}

fn of(request: &Request<()>) -> HeadExplanation {
    HeadExplanation {
        method: request.method().clone(),
        uri: request.uri().clone(),
        host_of_endpoint: false,
        headers: request.headers().clone(),
    }
}

fn copy(mirror: &Mirror, request: &Request<()>, around: &Around<'_>) -> MirrorExplanation {
    let around = Around { cluster: Some(mirror.cluster()), ..around.clone() };
    let (uri, headers) = mirror.how.head(request, &around);
    let method = request.method().clone();
    MirrorExplanation {
        cluster: mirror.cluster().to_owned(),
        share: mirror.how.share(),
        head: HeadExplanation { method, uri, host_of_endpoint: false, headers },
    }
}

/// An answer that is made here.
pub(super) fn answer(response: Response<Body>, body: Option<String>) -> AnswerExplanation {
    let (head, _) = response.into_parts();
    AnswerExplanation { status: head.status, headers: head.headers, body }
}
