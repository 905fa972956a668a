//! Guards that protect a service: limits of calls in flight, throttling, admission control.

use std::sync::Arc;

use http::{Request, Response};

use super::{Asked, Ended, Entry, Guard, Level, Pass, Place};
use crate::{
    config::{Criticality, Filter},
    core::{Body, Call, Epoch, Held, Random, tail},
    mesh::{describe::Setting, service::Policy, settings},
    observe::End,
    resilience::{
        adaptive, admission,
        limit::{Fixed, Limiter},
        outcome::Outcome,
        protect::{Protect, Ticket},
        throttle,
    },
};

/// One of them.
#[derive(Debug)]
pub(crate) struct Protecting {
    name: &'static str,
    /// What is said of it; nothing of a fixed limit, which a policy says.
    said: Option<Filter>,
    by: Arc<dyn Protect>,
    epoch: Epoch,
    is_of_service: bool,
}

/// How much a call matters: as it says itself, else as its route says.
pub(crate) fn criticality<B>(request: &Request<B>, policy: &Policy) -> Criticality {
    let call = request.extensions().get::<Call>();
    call.and_then(|call| call.criticality).unwrap_or(policy.criticality)
}

// === impl Protecting ===

impl Protecting {
    /// The one that a validated filter asks for, if it asks for one and is enabled.
    pub(super) fn of(
        place: &Place,
        filter: &Filter,
        epoch: Epoch,
        random: &Random,
    ) -> Option<Arc<dyn Guard>> {
        let by: Arc<dyn Protect> = match filter {
            Filter::AdaptiveConcurrency(it) if it.is_on() => {
                let random = Random::seeded(random.next());
                let now = epoch.nanos(crate::core::Instant::now());
                Arc::new(adaptive::Limit::new(it, now, random))
            }
            Filter::Throttle(it) if it.is_on() => Arc::new(throttle::Shield::new(it)),
            Filter::AdmissionControl(it) if it.is_on() => Arc::new(admission::Shield::new(it)),
            _ => return None,
        };
        Some(Arc::new(Self {
            name: filter.name(),
            said: Some(filter.clone()),
            by,
            epoch,
            is_of_service: matches!(place, Place::Mesh | Place::Service),
        }))
    }

    /// The limit of a route's calls in flight.
    pub(super) fn fixed(limiter: Arc<Limiter>, epoch: Epoch) -> Arc<dyn Guard> {
        let by = Arc::new(Fixed { limiter, of: "route" });
        Arc::new(Self { name: "max_requests", said: None, by, epoch, is_of_service: false })
    }
}

impl Guard for Protecting {
    fn enter(self: Arc<Self>, asked: Asked<'_>) -> Entry {
        if asked.cluster.is_none() {
            // The route answers by itself: there is nobody to protect.
            return Entry::Pass;
        }
        let criticality = criticality(asked.request, &asked.route.policy);
        let random = &asked.caller.inner.random;
        match Ticket::enter(&self.by, self.epoch, asked.now, criticality, random) {
            Ok(ticket) => Entry::Hold(Box::new(ticket)),
            Err(error) => Entry::Refuse(error),
        }
    }

    fn foretell(&self, request: &Request<()>, policy: &Policy, now: u64) -> Option<String> {
        let why = self.by.foretell(now, criticality(request, policy))?;
        Some(format!("{why} (`{}`)", self.name))
    }

    fn settings(&self, source: Option<&str>) -> Vec<Setting> {
        self.said.as_ref().map(|said| settings::protection::of(said, source)).unwrap_or_default()
    }

    fn level(&self) -> Option<Level> {
        let (limit, active) = self.by.level()?;
        Some(Level { name: self.name, limit, active, is_of_service: self.is_of_service })
    }
}

impl Pass for Ticket {
    fn ended(self: Box<Self>, ended: Ended<'_>) -> Held {
        let Ended { result, end, now, is_made_here } = ended;
        let outcome = match (end, result) {
            (_, Err(error)) => Outcome::of_error(error),
            // A redirect, a direct response, a fault: it says nothing of the service.
            (_, Ok(_)) if is_made_here => Outcome::Local,
            (Some(End::Status(status)), _) => Outcome::Status(status),
            (Some(End::Grpc(code)), _) => Outcome::Grpc(code),
            // The head of an answer is neither an error nor a caller that has left.
            (Some(End::Error(_) | End::Left), Ok(response)) => {
                Outcome::Status(response.status().as_u16())
            }
            (None, Ok(response)) => return (*self).judged_later(now, response),
        };
        (*self).ended(now, outcome)
    }
}

impl Ticket {
    /// A gRPC answer whose status is to come: it is judged by that, when it comes.
    fn judged_later(self, head: u64, response: &mut Response<Body>) -> Held {
        let (place, rest) = self.split();
        let body = std::mem::take(response.body_mut());
        *response.body_mut() = tail::told(body, move |end| {
            let now = rest.now();
            drop(rest.trailed(head, now, Outcome::of_body(end)));
        });
        place
    }
}
