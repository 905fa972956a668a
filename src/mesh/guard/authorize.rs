//! Rules of authorisation as a guard: asked before anything else is done to a call, so before any
//! connection is opened for it.

use std::sync::Arc;

use http::{Request, StatusCode};

use super::{Asked, Dry, Entry, Foretold, Guard, Then};
use crate::{
    authorize::{Decision, Facts, Rules},
    config::{self, Action, Authorization},
    core::{Error, ErrorKind, Instant, Outgoing, Phase, Refusal},
    mesh::{
        call::Caller as Calling, describe::Setting, inner::Inner, own::Known, resolve::HTTPS,
        settings::By,
    },
    route::authority_of,
};

#[derive(Debug)]
pub(super) struct Authorize {
    /// The service whose calls it judges.
    service: Arc<str>,
    /// Where they cannot be compiled, why: nothing is allowed then.
    rules: Result<Rules, String>,
    status: Option<StatusCode>,
    evaluation: config::Evaluation,
}

// === impl Authorize ===

impl Authorize {
    pub(super) fn new(service: &Arc<str>, said: &Authorization) -> Self {
        Self {
            service: service.strip_prefix(HTTPS).map_or_else(|| Arc::clone(service), Into::into),
            rules: Rules::new(said),
            status: said.status.and_then(|status| StatusCode::from_u16(status).ok()),
            evaluation: said.evaluation,
        }
    }

    fn facts<'a, B>(
        &'a self,
        inner: &'a Inner,
        own: &'a Known,
        request: &'a Request<B>,
    ) -> Facts<'a> {
        let what = (request.method(), authority_of(request));
        let path = (request.uri().path(), request.uri().query());
        let who = (own.caller(), &inner.code.labels);
        Facts::new(who, &self.service, what, path, request.headers())
    }

    /// Judges a call, whose identity may still be waited for.
    fn judge(
        self: Arc<Self>,
        calling: &Calling,
        request: &Request<Outgoing>,
        may_wait: bool,
    ) -> Entry {
        let rules = match &self.rules {
            Ok(rules) => rules,
            Err(reason) => return self.deny(format!("its rules cannot be used: {reason}")),
        };
        let own = calling.inner.own.load();
        let facts = self.facts(&calling.inner, &own, request);
        let decision = rules.decide(&facts);
        if !decision.allowed && may_wait && **own == Known::Nothing {
            drop(own);
            return self.wait(calling.clone());
        }
        rules.report(&facts, &decision, |verdict, rule| {
            let call = (&calling.cell.name, calling.number);
            calling.cell.meter.authorized(call, verdict, rule);
        });
        if decision.allowed { Entry::Pass } else { self.deny(decision.words(&facts)) }
    }

    /// What the own identity might change is judged when it is known, or has not come in time.
    #[cold]
    fn wait(self: Arc<Self>, calling: Calling) -> Entry {
        Entry::Wait(Box::pin(async move {
            let inner = Arc::clone(&calling.inner);
            let until = Instant::now().checked_add(inner.resolve_timeout);
            match until {
                Some(until) => {
                    let _timed_out = tokio::time::timeout_at(until, inner.own.known()).await;
                }
                None => inner.own.known().await,
            }
            let then: Then = Box::new(move |request| self.judge(&calling, request, false));
            then
        }))
    }

    /// Its settings in words.
    fn told(&self) -> String {
        let Ok(rules) = &self.rules else { return "deny".to_owned() };
        let order = match self.evaluation {
            config::Evaluation::FirstMatch => "the first match decides",
            config::Evaluation::DenyWins => "a denial wins",
        };
        let mut told = order.to_owned();
        for (name, action, is_dry) in rules.names() {
            let dry = if is_dry { ", dry" } else { "" };
            told.push_str(&format!(", {} `{name}`{dry}", word(action)));
        }
        told.push_str(&format!(", otherwise {}", word(rules.otherwise())));
        told
    }

    #[cold]
    fn deny(&self, why: String) -> Entry {
        let error = Error::new(ErrorKind::Denied, Phase::Authorize).refused(Refusal::Denied);
        let error = error.detail(why);
        Entry::Refuse(match self.status {
            Some(status) => error.with_status(status),
            None => error,
        })
    }
}

impl Guard for Authorize {
    fn enter(self: Arc<Self>, asked: Asked<'_>) -> Entry {
        self.judge(asked.caller, asked.request, true)
    }

    fn explain(&self, dry: &Dry<'_>) -> Foretold {
        let rules = match &self.rules {
            Ok(rules) => rules,
            Err(reason) => {
                let told = format!("authorize: denied: its rules cannot be used: {reason}");
                return Foretold::said(told, true);
            }
        };
        let own = dry.inner.own.load();
        let facts = self.facts(dry.inner, &own, dry.request);
        let decision: Decision<'_> = rules.decide(&facts);
        let mut told =
            format!("authorize: {}", if decision.allowed { "allowed: " } else { "denied: " });
        told.push_str(&decision.words(&facts));
        rules.report(&facts, &decision, |verdict, rule| {
            let by = rule.map_or_else(|| "no rule".to_owned(), |rule| format!("rule `{rule}`"));
            if verdict != crate::core::AuthorizationVerdict::Denied {
                told.push_str(&format!("; {verdict} by {by}"));
            }
        });
        Foretold::said(told, !decision.allowed)
    }

    fn settings(&self, by: By<'_>) -> Vec<Setting> {
        vec![by.says("authorize".into(), self.told())]
    }
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Allow => "allow",
        Action::Deny => "deny",
        Action::Log => "log",
    }
}
