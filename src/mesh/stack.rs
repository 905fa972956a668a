//! What a call meets, position by position, for `describe()`: only what is there, in the order in which
//! it is met.

use std::sync::Arc;

use super::{
    choosing::Choosing,
    cluster::Cluster,
    guard::Placed,
    inner::{Inner, Stages},
    service::{Mirror, Route},
};
use crate::route::Steps;

/// The positions of calls that no route is known for.
pub(super) fn of_mesh(stages: &Stages) -> Vec<String> {
    let mut told = Positions(before(stages));
    told.push("deadline");
    told.push(REPLAY);
    told.push(RETRY);
    told.user(stages.attempt.is_some(), "attempt_layer");
    told.push("balancer");
    told.transport(stages, false);
    told.0
}

/// The positions of a route's calls. Of several clusters each has its own: what any of them has is told.
pub(super) fn of_route(inner: &Inner, route: &Route) -> Vec<String> {
    let stages = &inner.stages;
    let mut told = Positions(before(stages));
    told.guards(route);
    let by_header = match &route.choosing {
        Some(Choosing::Header(by)) => Some(by),
        _ => None,
    };
    let of_targets = route.clusters.iter().filter_map(|(_, target)| target.steps.as_deref());
    let of_header = by_header.and_then(|by| by.steps.as_deref());
    let steps: Vec<&Steps> = route.steps.iter().chain(of_targets).chain(of_header).collect();
    if steps.iter().any(|steps| steps.answers()) {
        told.push("answer");
    }
    let is_answered = route
        .clusters
        .iter()
        .all(|(_, target)| target.steps.as_ref().is_some_and(|steps| steps.answers()));
    if is_answered && by_header.is_none() {
        return told.0;
    }
    if route.limits.is_some() {
        told.push("admission: max_requests");
    }
    told.push("deadline");
    let of_requests = steps.iter().any(|steps| steps.changes_requests());
    let of_responses = steps.iter().any(|steps| steps.edits_responses());
    match (of_requests, of_responses) {
        (true, true) => told.push("changes of request and response"),
        (true, false) => told.push("changes of the request"),
        (false, true) => told.push("changes of the response"),
        (false, false) => {}
    }
    let mirrors = route.clusters.iter().flat_map(|(_, target)| target.mirrors.iter());
    told.mirrors(mirrors.chain(by_header.iter().flat_map(|by| by.mirrors.iter())));
    told.attempts(stages, route);
    let clusters: Vec<_> = route.clusters.iter().flat_map(|(_, target)| target.line()).collect();
    told.clusters(route, &clusters);
    told.transport(stages, clusters.iter().any(|cluster| cluster.is_secured()));
    told.0
}

/// What any of these has, each where it is met.
pub(super) fn merged<'a>(stacks: impl IntoIterator<Item = &'a Vec<String>>) -> Vec<String> {
    let mut merged: Vec<String> = Vec::new();
    for stack in stacks {
        let mut next = 0;
        for position in stack {
            match merged.iter().position(|known| known == position) {
                Some(known) => next = next.max(known + 1),
                None => {
                    merged.insert(next, position.clone());
                    next += 1;
                }
            }
        }
    }
    merged
}

/// Up to where it is known which route takes a call.
fn before(stages: &Stages) -> Vec<String> {
    let mut told = Positions(Vec::new());
    told.push("gRPC status mapping");
    told.user(stages.call.is_some(), "call_layer");
    told.push("resolve");
    told.push("route");
    told.0
}

struct Positions(Vec<String>);

// === impl Positions ===

impl Positions {
    fn push(&mut self, position: impl Into<String>) {
        self.0.push(position.into());
    }

    fn user(&mut self, is_there: bool, name: &str) {
        if is_there {
            self.push(format!("user layers: {name}"));
        }
    }

    /// What a call passes before anything is done to it. A cluster with filters of its own has a list of
    /// its own, in the place of the route's.
    fn guards(&mut self, route: &Route) {
        let own = |guards: &[Placed]| guards.iter().map(Placed::name).collect::<Vec<_>>();
        let of_route = own(route.guards.as_deref().unwrap_or_default());
        if route.clusters.iter().all(|(_, target)| target.guards.is_none()) {
            self.0.extend(of_route.into_iter().map(str::to_owned));
            return;
        }
        let lists = route.clusters.iter().map(|(_, target)| {
            let names = target.guards.as_deref().map_or_else(|| of_route.clone(), own);
            let of_cluster = |name| format!("{name} of cluster {}", target.name);
            names.into_iter().map(of_cluster).collect()
        });
        let lists: Vec<Vec<String>> = lists.collect();
        self.0.extend(lists.concat());
    }

    fn mirrors<'a>(&mut self, mirrors: impl Iterator<Item = &'a Mirror>) {
        let mut names: Vec<&str> = Vec::new();
        for mirror in mirrors {
            if !names.contains(&mirror.cluster()) {
                names.push(mirror.cluster());
            }
        }
        if !names.is_empty() {
            self.push(format!("mirrors: {}", names.join(", ")));
        }
    }

    /// What makes attempts, and what each of them passes before its cluster.
    fn attempts(&mut self, stages: &Stages, route: &Route) {
        let policy = &route.policy;
        let is_hedged = policy.hedging.is_some() && policy.may_hedge() && route.faults.is_none();
        let is_retried = policy.retry.attempts() > 1;
        if is_retried || is_hedged {
            self.push(REPLAY);
        }
        self.push(if is_retried { RETRY } else { "retry of what was never sent" });
        for fault in route.faults.iter().flat_map(|faults| faults.iter()) {
            self.push(format!("{} of attempts", fault.name()));
        }
        if is_hedged {
            self.push("hedge");
        }
        if policy.attempt_timeout.is_some() {
            self.push("attempt timeout");
        }
        if policy.terms.as_ref().is_some_and(|terms| terms.wait().is_some()) {
            self.push("response timeout");
        }
        self.user(stages.attempt.is_some(), "attempt_layer");
    }

    /// What an attempt passes in its cluster.
    fn clusters(&mut self, route: &Route, clusters: &[Arc<Cluster>]) {
        let any = |is: fn(&Cluster) -> bool| clusters.iter().any(|cluster| is(cluster));
        if any(|it| it.core.load().gate.as_ref().is_some_and(|gate| !gate.drops.is_empty())) {
            self.push("drops");
        }
        if any(|it| it.core.load().gate.as_ref().is_some_and(|gate| gate.queue.is_some())) {
            self.push("queue");
        }
        if any(|it| it.core.load().failover.is_some()) {
            self.push("failover");
        }
        let counts = |it: &Cluster| {
            let core = it.core.load();
            core.breaker.is_some() || core.gate.as_ref().is_some_and(|gate| gate.high.is_some())
        };
        if any(counts) {
            self.push("breaker: max_requests of the cluster");
        }
        if route.session.is_some() {
            self.push("session");
        }
        self.push("balancer");
    }

    /// What is behind the pick.
    fn transport(&mut self, stages: &Stages, is_secured: bool) {
        self.user(stages.endpoint.is_some(), "endpoint_layer");
        if stages.leaf.is_some() {
            self.push("own leaf");
            return;
        }
        self.push("transport: pool, h1, h2");
        if is_secured {
            self.push("tls");
        }
        self.user(stages.connects, "connect_layer");
    }
}

const REPLAY: &str = "replay body, when a retry is armed";
const RETRY: &str = "retry and budget";
