//! What is sent, to whom copies go, and what is answered here: of a call as it begins.

use std::time::Duration;

use http::{Request, Response};

use super::{
    cluster::Call,
    types::{AnswerExplanation, HeadExplanation, MirrorExplanation},
};
use crate::{
    config::{HashOn, HashPolicy, Policy as Said, Retry},
    core::{self, Body, Error, Instant, grpc},
    mesh::{
        call::{
            count,
            own::{self, Marks},
            unusable,
        },
        service::{Mirror, Policy, Target},
    },
    resilience::deadline::{self, Scope},
    route::{Around, Rule},
};

/// What a call says itself, as a layer over its policy.
pub(super) fn said_by_call(request: &Request<()>, policy: &Policy, now: Instant) -> Option<Said> {
    let call = request.extensions().get::<core::Call>();
    let scope = policy.scope;
    let mut said = Said::default();
    let own = said_bound(policy, request, call, now);
    // The earlier rules: a call shortens a timeout and never lengthens it.
    if let Some((at, is_whole)) = own {
        // Zero would say that there is none.
        let left = at.saturating_duration_since(now).max(Duration::from_nanos(1));
        if scope.timeout.is_none_or(|timeout| left < timeout) {
            (said.timeout, said.whole_response) = (Some(left), Some(is_whole));
        }
    }
    if let Some(call) = call {
        let mut retry = Retry::default();
        retry.attempts = (call.no_retry || call.is_retry).then_some(1);
        retry.idempotent = call.idempotent;
        said.retry = (retry != Retry::default()).then_some(retry);
        said.criticality = call.criticality;
        said.hash = call.hash_key.map(|_| vec![HashPolicy::new(HashOn::CallKey)]);
    }
    (said != Said::default()).then_some(said)
}

/// The call's own deadline, as far as its policy lets it have one, and whether it bounds the body, too.
fn said_bound(
    policy: &Policy,
    request: &Request<()>,
    call: Option<&core::Call>,
    now: Instant,
) -> Option<(Instant, bool)> {
    let (is_grpc, none) = (grpc::is_grpc(request.headers()), Scope::default());
    let own = if is_grpc {
        deadline::of(request.headers(), call, none, now)
    } else {
        deadline::of_http(call, none, now)
    };
    let rpc = is_grpc.then(|| request.headers());
    let terms = policy.terms.as_ref();
    let within = terms.and_then(|terms| terms.extent.bounds(rpc, call, none, now).head);
    let at = own.head.map(|own| within.map_or(own, |within| own.min(within)))?;
    Some((at, own.body == own.head))
}

/// The request as the first attempt sends it to this target, and who gets copies.
pub(super) fn sent(
    call: &Call<'_>,
    rule: Option<&Rule>,
    target: &Target,
) -> Result<(HeadExplanation, Vec<MirrorExplanation>), Error> {
    let mut request = super::head_of(call.request);
    let own = own::policy(&call.route.policy, &mut request);
    let policy = own.as_deref().unwrap_or(&call.route.policy);
    let is_grpc = grpc::is_grpc(request.headers());
    let now = Instant::now();
    let said = request.extensions().get();
    let (bounds, marks) =
        (own::bounds(policy, request.headers(), said, is_grpc, now), Marks::of(said));
    marks.write(request.headers_mut(), is_grpc);
    let around = Around::of(call.route, Some(target), now);
    if let Some(steps) = &target.steps {
        steps.change(&mut request, rule, &around).map_err(unusable)?;
    }
    let copies = target.mirrors.iter().map(|mirror| copy(mirror, &request, &around)).collect();
    if policy.terms.as_ref().is_some_and(|terms| terms.send_attempt_count) {
        count(request.headers_mut(), 1);
    }
    bounds.of_attempt(policy.attempt_timeout, now).write(request.headers_mut(), is_grpc, now);
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
