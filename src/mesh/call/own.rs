//! What a call makes of the policy of its route: who explains a call asks the same.

use std::sync::Arc;

use http::{HeaderMap, Request};

use super::{head, termed};
use crate::{
    core::{Call, Criticality, Instant},
    mesh::service::Policy,
    resilience::deadline::{self, Bounds},
};

/// The policy that a request asks for by its headers, which are taken out of it; none: it is its route's.
#[inline(always)]
pub(crate) fn policy<B>(of_route: &Policy, request: &mut Request<B>) -> Option<Arc<Policy>> {
    match &of_route.terms {
        Some(terms) if terms.caller_overrides => {
            termed::overridden(of_route, request.headers_mut())
        }
        _ => None,
    }
}

/// The bounds of a call under its own policy.
#[inline(always)]
pub(crate) fn bounds(
    policy: &Policy,
    headers: &HeaderMap,
    call: Option<&Call>,
    is_grpc: bool,
    started: Instant,
) -> Bounds {
    // Only gRPC's callers say in a header how long they wait.
    if let Some(terms) = &policy.terms {
        termed::bounds(terms, policy, is_grpc.then_some(headers), call, started)
    } else if is_grpc {
        deadline::of(headers, call, policy.scope, started)
    } else {
        deadline::of_http(call, policy.scope, started)
    }
}

/// What a call tells of itself, before its route's filters see the request.
#[derive(Clone, Copy)]
pub(crate) struct Marks {
    is_retry: bool,
    criticality: Option<Criticality>,
}

impl Marks {
    #[inline(always)]
    pub(crate) fn of(call: Option<&Call>) -> Self {
        Self {
            is_retry: call.is_some_and(|call| call.is_retry),
            criticality: call.and_then(|call| call.criticality),
        }
    }

    #[inline(always)]
    pub(crate) fn write(self, headers: &mut HeaderMap, is_grpc: bool) {
        if self.is_retry {
            // Passed on, so that nobody further down multiplies it either.
            head::write_attempts(headers, is_grpc, 1);
        }
        if let Some(criticality) = self.criticality {
            criticality.write(headers);
        }
    }
}
