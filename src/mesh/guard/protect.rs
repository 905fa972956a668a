//! Guards that protect a service: limits of calls in flight, throttling, admission control.

use std::sync::Arc;

use http::{Request, Response};

use super::{Asked, Dry, Ended, Entry, Foretold, Guard, Holding, Level, Place};
use crate::{
    config::{Criticality, Filter},
    core::{Body, Call, Epoch, Held, Random, tail},
    mesh::{
        describe::Setting,
        service::Policy,
        settings::{self, By},
    },
    observe::End,
    resilience::{
        adaptive, admission,
        outcome::Outcome,
        protect::{Protect, Ticket},
        throttle,
    },
};

/// One of them.
#[derive(Debug)]
pub(crate) struct Protecting {
    said: Filter,
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
            said: filter.clone(),
            by,
            epoch,
            is_of_service: matches!(place, Place::Mesh | Place::Service),
        }))
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
            Ok(ticket) => Entry::Hold(Holding::Ticket(ticket)),
            Err(error) => Entry::Refuse(error),
        }
    }

    fn explain(&self, dry: &Dry<'_>) -> Foretold {
        if dry.is_answered() {
            return Foretold::default();
        }
        let why = self.by.foretell(dry.now(), criticality(dry.request, &dry.route.policy));
        let refuses = why.map(|why| format!("{why} (`{}`)", self.said.name()));
        Foretold { told: None, refuses }
    }

    fn settings(&self, by: By<'_>) -> Vec<Setting> {
        settings::protection::of(&self.said, by)
    }

    fn level(&self) -> Option<Level> {
        let (limit, active) = self.by.level()?;
        Some(Level { name: self.said.name(), limit, active, is_of_service: self.is_of_service })
    }
}

/// A call that was let in has come to this.
pub(super) fn ended(ticket: Ticket, ended: Ended<'_>) -> Held {
    let Ended { result, end, now, is_made_here } = ended;
    let outcome = match (end, result) {
        (_, Err(error)) => Outcome::of_error(error),
        // A redirect, a direct response, a fault: it says nothing of the service.
        (_, Ok(_)) if is_made_here => Outcome::Local,
        (Some(End::Status(status)), _) => Outcome::Status(status),
        (Some(End::Grpc(code)), _) => Outcome::Grpc(code),
        // The head of an answer is neither an error nor a caller that has left.
        (Some(End::Error(_) | End::Coded(..) | End::Left), Ok(response)) => {
            Outcome::Status(response.status().as_u16())
        }
        (None, Ok(response)) => return ticket.judged_later(now, response),
    };
    ticket.ended(now, outcome)
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
