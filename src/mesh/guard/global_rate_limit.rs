//! The rate limit that many callers share: a service is asked before a call.

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderMap, Request};

use super::{Asked, Dry, Ended, Entry, Foretold, Guard, Holding, Pass, Then};
use crate::{
    config::{self, format::Side},
    core::{Body, Call, Held, Instant, Outgoing, Random},
    mesh::{
        call::{Caller, Path},
        describe::Setting,
        inner::Inner,
        service::ServiceCell,
        settings::By,
    },
    observe::{RateLimited, Verb},
    resilience::global_rate_limit::{Answer, Asker, Failure, Said, read},
    route::{Describing, Edit, Switch},
};

#[derive(Debug)]
pub(super) struct GlobalRateLimit {
    asker: Asker,
    describing: Describing,
    response: Edit,
    cluster: String,
    /// The service of the limits: one of its cluster alone, without filters, so that no question
    /// is itself asked about.
    cell: Arc<ServiceCell>,
}

/// What the service has said, until the response is there.
struct Added {
    guard: Arc<GlobalRateLimit>,
    answer: Arc<Answer>,
}

// === impl GlobalRateLimit ===

impl GlobalRateLimit {
    /// Compiles a validated limit for a process with these labels.
    pub(super) fn new(
        limit: &config::GlobalRateLimit,
        labels: &BTreeMap<String, String>,
        switch: impl FnMut(&str) -> Arc<Switch>,
        cell: Arc<ServiceCell>,
    ) -> Self {
        let stage = limit.stage.unwrap_or(0);
        Self {
            asker: Asker::new(limit),
            describing: Describing::new(&limit.describe, stage, labels, switch),
            response: Edit::new(&limit.response_headers, Side::Response),
            cluster: limit.cluster.clone(),
            cell,
        }
    }

    /// Lets a request on, with what the service says of it.
    fn on(self: Arc<Self>, answer: Arc<Answer>, headers: &mut HeaderMap) -> Entry {
        Asker::change_request(&answer, headers);
        if self.asker.changes_response(&answer) {
            return Entry::Hold(Holding::of(Added { guard: self, answer }));
        }
        Entry::Pass
    }

    /// What is asked of such a call, in words.
    fn words(&self, dry: &Dry<'_>) -> String {
        if !self.asker.asks_about(dry.request.headers()) {
            return "global_rate_limit: it is not asked about such requests".to_owned();
        }
        let said = self.describing.describe(dry.request, dry.cluster(), &Random::dry(0));
        let said = said.iter().map(|descriptor| {
            let entries = descriptor.entries().iter();
            let entries: Vec<_> = entries.map(|(key, _)| key.to_string()).collect();
            format!("({})", entries.join(", "))
        });
        let said: Vec<_> = said.collect();
        if said.is_empty() {
            return "global_rate_limit: nothing describes it, so nobody is asked".to_owned();
        }
        let Self { cluster, asker, .. } = self;
        format!(
            "global_rate_limit: cluster {cluster} is asked about {} in domain `{}`, for at most \
             {:?}; without an answer the call {}",
            said.join(", "),
            asker.domain,
            asker.waits,
            if asker.fail_closed { "fails" } else { "goes on" },
        )
    }

    /// The question, as a call of its own.
    fn call(&self, inner: &Arc<Inner>, question: Request<Body>) -> Path {
        let mut question = question.map(Outgoing::new);
        // It bounds the answer to its end, whatever the cluster says.
        question.extensions_mut().insert(Call::new().timeout(self.asker.waits).no_retry());
        let caller = Caller {
            inner: Arc::clone(inner),
            cell: Arc::clone(&self.cell),
            grpc: true,
            verb: Verb::GRPC,
            https: false,
            number: 0,
        };
        let mut call = Path::new(caller, question);
        // Who is asked about has begun.
        call.begun(Instant::now());
        call
    }
}

impl Guard for GlobalRateLimit {
    fn enter(self: Arc<Self>, asked: Asked<'_>) -> Entry {
        let Asked { caller, cluster, request, .. } = asked;
        if !self.asker.asks_about(request.headers()) {
            return Entry::Pass;
        }
        let random = &caller.inner.random;
        let cluster = cluster.map(|cluster| &*cluster.name);
        let said = self.describing.describe(request, cluster, random);
        if said.is_empty() {
            return Entry::Pass;
        }
        if let Some(answer) = self.asker.remembered(&said) {
            caller.cell.meter.rate_limited(RateLimited::Quota);
            return self.on(answer, request.headers_mut());
        }
        let call = self.call(&caller.inner, self.asker.question(&said));
        let of = Arc::clone(&caller.cell);
        Entry::Wait(Box::pin(async move {
            let result = match call.await {
                Ok(response) => read(response).await,
                Err(error) if error.is_timeout() => Err(Failure::late(self.asker.waits)),
                Err(error) => Err(Failure::caused("cannot be asked", error)),
            };
            let said = self.asker.decide(&said, result, |headers| self.response.apply(headers));
            of.meter.rate_limited(counted(&said));
            let then: Then = Box::new(move |request| match said {
                Said::On(Some(answer)) => self.on(answer, request.headers_mut()),
                Said::On(None) => Entry::Pass,
                Said::Refused(error) => Entry::Refuse(error),
            });
            then
        }))
    }

    fn asks(&self) -> Option<&ServiceCell> {
        Some(&self.cell)
    }

    fn explain(&self, dry: &Dry<'_>) -> Foretold {
        Foretold::said(self.words(dry), false)
    }

    fn settings(&self, by: By<'_>) -> Vec<Setting> {
        let Self { cluster, asker, .. } = self;
        let failing = if asker.fail_closed { "closed" } else { "open" };
        let said = format!(
            "cluster {cluster}, domain `{}`, timeout {:?}, fails {failing}",
            asker.domain, asker.waits
        );
        vec![by.says("global_rate_limit".into(), said)]
    }
}

fn counted(said: &Said) -> RateLimited {
    match said {
        Said::On(Some(_)) => RateLimited::Ok,
        Said::On(None) => RateLimited::Error,
        Said::Refused(error) if error.refusal() == Some(crate::Refusal::GlobalRateLimited) => {
            RateLimited::OverLimit
        }
        Said::Refused(_) => RateLimited::Error,
    }
}

// === impl Pass ===

impl Pass for Added {
    fn ended(self: Box<Self>, ended: Ended<'_>) -> Held {
        if let Ok(response) = ended.result {
            self.guard.asker.change_response(&self.answer, response.headers_mut());
        }
        Held::Nothing
    }
}
