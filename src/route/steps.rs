//! What filters do to the requests and responses of one cluster of a route.

use http::{HeaderMap, Request, Response};

use super::{Answer, Edit, Rewrite, rewrite::Unusable, table::Rule};
use crate::{
    config::{Filter, WeightedCluster},
    core::Body,
};

/// Compiled filters: those of the service, then of the route, then of the cluster.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    request: Vec<Change>,
    /// The nearest to the endpoint first (Envoy).
    response: Vec<Edit>,
    answer: Option<Answer>,
    /// There are mirrors, which know clusters and are kept beside this.
    mirrors: bool,
}

#[derive(Debug)]
enum Change {
    Edit(Edit),
    Rewrite(Rewrite),
}

impl Steps {
    /// Compiles validated filters; nothing, if they do nothing on the way.
    pub(crate) fn new<'a>(
        filters: impl Iterator<Item = &'a Filter>,
        cluster: Option<&WeightedCluster>,
    ) -> Option<Self> {
        let mut steps = Self::default();
        for filter in filters {
            match filter {
                Filter::RequestHeaders(edit) => steps.request.push(Change::Edit(Edit::new(edit))),
                Filter::ResponseHeaders(edit) => steps.response.push(Edit::new(edit)),
                Filter::Rewrite(rewrite) => {
                    steps.request.push(Change::Rewrite(Rewrite::new(rewrite)));
                }
                Filter::Redirect(redirect) => {
                    steps.answer.get_or_insert_with(|| Answer::redirect(redirect));
                }
                Filter::DirectResponse(direct) => {
                    steps.answer.get_or_insert_with(|| Answer::direct(direct));
                }
                Filter::Mirror(_) => steps.mirrors = true,
                // Refused by validation, or of another room.
                _ => {}
            }
        }
        if cluster.is_some_and(|cluster| cluster.invalid.is_some()) {
            steps.answer.get_or_insert_with(Answer::invalid);
        }
        steps.response.reverse();
        let Self { request, response, answer, mirrors } = &steps;
        let is_there = !request.is_empty() || !response.is_empty() || answer.is_some() || *mirrors;
        is_there.then_some(steps)
    }

    /// Whether every request is answered here.
    pub(crate) fn answers(&self) -> bool {
        self.answer.is_some()
    }

    /// The body of that answer, where it has one of text.
    pub(crate) fn answer_text(&self) -> Option<&str> {
        self.answer.as_ref().and_then(Answer::text)
    }

    /// The answer that is made here, instead of a call; an error where it has no form on the wire.
    pub(crate) fn answer<B>(
        &self,
        request: &Request<B>,
        rule: Option<&Rule>,
        is_grpc: bool,
    ) -> Option<Result<Response<Body>, Unusable>> {
        let response = self.answer.as_ref()?.response(request, rule, is_grpc);
        Some(match response {
            Some(mut response) => {
                self.respond(response.headers_mut());
                Ok(response)
            }
            None => Err(Unusable::Path),
        })
    }

    /// Changes a request on its way out.
    pub(crate) fn change<B>(
        &self,
        request: &mut Request<B>,
        rule: Option<&Rule>,
    ) -> Result<(), Unusable> {
        for change in &self.request {
            match change {
                Change::Edit(edit) => edit.apply(request.headers_mut()),
                Change::Rewrite(rewrite) => rewrite.apply(request, rule)?,
            }
        }
        Ok(())
    }

    pub(crate) fn edits_responses(&self) -> bool {
        !self.response.is_empty()
    }

    /// Edits a response on its way back.
    pub(crate) fn respond(&self, headers: &mut HeaderMap) {
        for edit in &self.response {
            edit.apply(headers);
        }
    }
}
