//! Where a call would go, and why nowhere else: without sending it.

mod choice;
mod cluster;
mod display;
mod head;
mod rules;
mod types;

use std::sync::Arc;

use http::{Method, Request};

use self::cluster::Call;
pub use self::types::{
    AnswerExplanation, ClusterExplanation, Explanation, HashExplanation, HashKeyExplanation,
    HeadExplanation, MirrorExplanation, PassedRule, RouteExplanation,
};
use super::{
    UnknownNames, call,
    choosing::Choosing,
    client::{self, Found},
    describe::route_settings,
    guard::{Dry, protect::criticality},
    inner::Inner,
    service::{Policy, Route, ServiceCell},
    settings::of_asked,
};
use crate::{
    core::{self, Error, ErrorKind, Instant, Phase, Random, grpc},
    route::{Around, Roll, Steps},
};

impl Explanation {
    pub(super) fn of<B>(inner: &Arc<Inner>, request: &Request<B>) -> Result<Self, Error> {
        if inner.is_closing() {
            return Err(Error::new(ErrorKind::Shutdown, Phase::Resolve));
        }
        match client::find(inner, request)? {
            Found::Cell(cell) => Self::of_cell(inner, &cell, head_of(request)),
            Found::Unknown(name) => Err(unknown(inner, &inner.full_name(&name))),
        }
    }

    /// The same of a service that is known, whatever the request's authority says.
    pub(super) fn of_cell(
        inner: &Arc<Inner>,
        cell: &ServiceCell,
        mut request: Request<()>,
    ) -> Result<Self, Error> {
        if inner.is_closing() {
            return Err(Error::new(ErrorKind::Shutdown, Phase::Resolve));
        }
        let service = cell.current.load_full().ok_or_else(|| unknown(inner, &cell.name))?;
        if *request.method() == Method::CONNECT {
            return Err(call::no_tunnel().service(&cell.name));
        }
        if request.uri().authority().is_none()
            && let Some(authority) = &cell.authority
        {
            call::set_authority(&mut request, authority);
        }
        if request.extensions().get::<Roll>().is_none() {
            request.extensions_mut().insert(Roll::MIDDLE);
        }
        let (passed, found) = service.table.explain(&request, &Random::dry(0));
        let passed: Vec<_> =
            passed.into_iter().map(|it| rules::passed(&service, it.0, it.1)).collect();
        let Some(found) = found else {
            let why: Vec<_> = passed.iter().take(rules::TOLD).map(ToString::to_string).collect();
            return Err(Error::new(ErrorKind::NoRoute, Phase::Route)
                .service(&cell.name)
                .detail(why.join("; ")));
        };
        let (index, route) = (found.place, found.route);
        let total: u64 = route.clusters.iter().map(|(weight, _)| weight).sum();
        let is_grpc = grpc::is_grpc(request.headers());
        let answer = match (total, &route.steps) {
            (0, Some(steps)) => steps.answer(
                &request,
                found.rule,
                is_grpc,
                &Around::of(route, None, Instant::now()),
            ),
            _ => None,
        };
        let is_named = matches!(route.choosing, Some(Choosing::Header(_)));
        if total == 0 && answer.is_none() && !is_named {
            return Err(Error::new(ErrorKind::Config, Phase::Route)
                .detail("every cluster of the route has weight 0")
                .service(&cell.name));
        }
        let answer = answer.transpose().map_err(call::unusable)?.map(|response| {
            let text = route.steps.as_ref().and_then(Steps::answer_text);
            head::answer(response, text.map(str::to_owned))
        });
        let now = Instant::now();
        let asked = call::asked(&route.policy, request.headers());
        let policy = asked.as_ref().map_or(&route.policy, |(_, own)| own);
        let said = head::said_by_call(&request, policy, now);
        let mut settings = route_settings(inner, route, said.as_ref());
        if let Some((asked, own)) = &asked {
            of_asked(&mut settings, asked, own);
        }
        let hedge = hedged(route, policy, &request, inner.epoch.nanos(now));
        let now = inner.epoch.nanos(now);
        let call = Call { inner, service: &cell.name, route, request: &request, now };
        let sent = choice::sent(&call, found.rule);
        let dry = Dry { inner, request: &request, route };
        let (guards, refused) = guarded(&dry, now);
        let reasons: Vec<_> = sent.fails.into_iter().chain(refused).collect();
        Ok(Self {
            request: format!("{} {}", request.method(), request.uri().path()),
            service: cell.name.to_string(),
            fails: (!reasons.is_empty()).then(|| reasons.join("; ")),
            guards: sent.rules.into_iter().chain(guards).collect(),
            route: RouteExplanation {
                index,
                name: route.name.as_deref().map(str::to_owned),
                source: route.source.as_deref().map(str::to_owned),
                filters: route.filters.clone(),
                share: found.rule.and_then(|rule| rules::share(route, rule)),
                choice: sent.choice,
                settings,
                passed,
            },
            hedge,
            answer,
            clusters: sent.clusters,
            doubts: inner.doubts_of(&cell.name),
        })
    }
}

/// Whether a call would be sent beside itself, and when.
fn hedged(route: &Route, policy: &Policy, request: &Request<()>, now: u64) -> Option<String> {
    let hedging = policy.hedging.as_ref()?;
    let (is_grpc, call) =
        (grpc::is_grpc(request.headers()), request.extensions().get::<core::Call>());
    Some(if !policy.may_hedge() {
        "never: `response_timeout` or `retry.attempt_idle_timeout` bounds its attempts".to_owned()
    } else if route.faults.is_some() {
        "never: faults of each attempt (`per_attempt`) are met one at a time".to_owned()
    } else if policy.retry.may_repeat(request.method(), is_grpc, call) {
        hedging.told(now)
    } else {
        "never: it is not declared that it may be repeated, or asks for one attempt".to_owned()
    })
}

/// What guards and faults say to a call, and why they or a limit would, or might, refuse it: every
/// reason, in the order in which a call meets them.
fn guarded(dry: &Dry<'_>, now: u64) -> (Vec<String>, Option<String>) {
    let route = dry.route;
    let lists = route.guards.iter().chain(&route.faults);
    let (mut told, mut reasons) = (Vec::new(), Vec::new());
    for guard in lists.flat_map(|list| list.iter()) {
        let foretold = guard.explain(dry);
        told.extend(foretold.told);
        reasons.extend(foretold.refuses);
    }
    let limits = route.limits.as_ref().filter(|_| !dry.is_answered());
    let criticality = criticality(dry.request, &route.policy);
    reasons.extend(limits.and_then(|limits| limits.foretell(criticality, now)));
    (told, (!reasons.is_empty()).then(|| reasons.join("; ")))
}

/// The same request without a body.
pub(super) fn head_of<B>(request: &Request<B>) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = request.uri().clone();
    *head.version_mut() = request.version();
    *head.headers_mut() = request.headers().clone();
    *head.extensions_mut() = request.extensions().clone();
    head
}

/// What a call meets whose name nobody defines; one that would wait or ask DNS is told so.
fn unknown(inner: &Inner, name: &str) -> Error {
    if !inner.is_synced() {
        return Error::new(ErrorKind::Config, Phase::Resolve).service(&name.into()).detail(format!(
            "no source has defined it yet, and not all have spoken: a call waits for them, at most \
             {:?}",
            inner.resolve_timeout
        ));
    }
    let error = inner.unknown(name);
    if error.kind() == ErrorKind::UnknownService && inner.may_ask(name) {
        return error.noted("its first call asks the sources that look names up");
    }
    if inner.unknown_names == UnknownNames::Dns && inner.is_nobodys(&inner.state(), name) {
        return error.noted("its first call asks DNS for it");
    }
    error
}
