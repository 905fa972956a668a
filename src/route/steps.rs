//! What filters do to the requests and responses of one cluster of a route.

use std::sync::Arc;

use http::{Request, Response};

use super::{
    Answer, Edit, Rewrite,
    about::{About, Around, Seen},
    rewrite::Unusable,
    table::Rule,
};
use crate::{
    config::{
        Address, Filter, HostRewrite,
        format::{Fact, Side},
    },
    core::Body,
};

/// Compiled filters: those of the service, then of the route, then of the cluster. What is compiled is
/// shared by all that begin with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steps {
    request: Vec<Change>,
    /// In the order of the list: the last one, which is the nearest to the endpoint, edits first (Envoy).
    response: Vec<Arc<Edit>>,
    answer: Option<Arc<Answer>>,
    /// The host is that of each attempt's endpoint.
    host: Option<HostOfEndpoint>,
    /// There are mirrors, which know clusters and are kept beside this.
    mirrors: bool,
}

/// The host of a request is that of the endpoint which gets it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct HostOfEndpoint {
    /// The old one is passed on.
    pub(crate) forwarded: bool,
}

#[derive(Clone, Debug)]
enum Change {
    Edit(Arc<Edit>),
    Rewrite(Arc<Rewrite>),
}

impl Steps {
    /// These, and then validated filters, which are compiled.
    pub(crate) fn then<'a>(&self, filters: impl IntoIterator<Item = &'a Filter>) -> Self {
        let mut steps = self.clone();
        for filter in filters {
            match filter {
                Filter::RequestHeaders(edit) => {
                    steps.request.push(Change::Edit(Arc::new(Edit::new(edit, Side::Request))));
                }
                Filter::ResponseHeaders(edit) => {
                    steps.response.push(Arc::new(Edit::new(edit, Side::Response)));
                }
                Filter::Rewrite(rewrite) => {
                    // The last one that says a host has said it.
                    if let Some(host) = &rewrite.host {
                        let is_of_endpoint = *host == HostRewrite::Endpoint;
                        let forwarded = rewrite.forwarded_host;
                        steps.host = is_of_endpoint.then_some(HostOfEndpoint { forwarded });
                    }
                    steps.request.push(Change::Rewrite(Arc::new(Rewrite::new(rewrite))));
                }
                Filter::Redirect(redirect) => {
                    steps.answer.get_or_insert_with(|| Arc::new(Answer::redirect(redirect)));
                }
                Filter::DirectResponse(direct) => {
                    steps.answer.get_or_insert_with(|| Arc::new(Answer::direct(direct)));
                }
                Filter::Mirror(_) => steps.mirrors = true,
                // Refused by validation, or of another room.
                _ => {}
            }
        }
        steps
    }

    /// These, and then those of a cluster that a route calls.
    pub(crate) fn of_cluster<'a>(
        &self,
        filters: impl IntoIterator<Item = &'a Filter>,
        is_invalid: bool,
    ) -> Self {
        let mut steps = self.then(filters);
        if is_invalid {
            steps.answer.get_or_insert_with(|| Arc::new(Answer::invalid()));
        }
        steps
    }

    /// Nothing, if they do nothing on the way.
    pub(crate) fn if_any(self) -> Option<Self> {
        let Self { request, response, answer, host, mirrors } = &self;
        let is_there = !request.is_empty()
            || !response.is_empty()
            || answer.is_some()
            || host.is_some()
            || *mirrors;
        is_there.then_some(self)
    }

    /// Whether requests are changed on their way out.
    pub(crate) fn changes_requests(&self) -> bool {
        !self.request.is_empty() || self.host.is_some()
    }

    /// Whether every request is answered here.
    pub(crate) fn answers(&self) -> bool {
        self.answer.is_some()
    }

    /// The body of that answer, where it has one of text.
    pub(crate) fn answer_text(&self) -> Option<&str> {
        self.answer.as_ref().and_then(|answer| answer.text())
    }

    /// The answer that is made here, instead of a call; an error where it has no form on the wire.
    pub(crate) fn answer<B>(
        &self,
        request: &Request<B>,
        rule: Option<&Rule>,
        is_grpc: bool,
        around: &Around<'_>,
    ) -> Option<Result<Response<Body>, Unusable>> {
        let response = self.answer.as_ref()?.response(request, rule, is_grpc);
        Some(response.map(|mut response| {
            let seen = self.asks().then(|| Seen::of(request, around));
            self.respond(&mut response, seen.as_ref(), None);
            response
        }))
    }

    /// Changes a request on its way out.
    pub(crate) fn change<B>(
        &self,
        request: &mut Request<B>,
        rule: Option<&Rule>,
        around: &Around<'_>,
    ) -> Result<(), Unusable> {
        for change in &self.request {
            match change {
                Change::Edit(edit) if edit.is_made() => made(edit, request, around),
                Change::Edit(edit) => edit.apply(request.headers_mut()),
                Change::Rewrite(rewrite) => rewrite.apply(request, rule)?,
            }
        }
        Ok(())
    }

    pub(crate) fn edits_responses(&self) -> bool {
        !self.response.is_empty()
    }

    /// Whether the host is that of each attempt's endpoint.
    pub(crate) fn host_of_endpoint(&self) -> Option<HostOfEndpoint> {
        self.host
    }

    /// Whether its edits of responses ask what the request was.
    pub(crate) fn asks(&self) -> bool {
        self.response.iter().any(|edit| edit.is_made())
    }

    /// Whether they ask who has answered.
    pub(crate) fn asks_who(&self) -> bool {
        self.response.iter().any(|edit| edit.names(|fact| *fact == Fact::Endpoint))
    }

    /// Edits a response on its way back, of this endpoint if it is of one.
    pub(crate) fn respond<B>(
        &self,
        response: &mut Response<B>,
        seen: Option<&Seen>,
        endpoint: Option<&Address>,
    ) {
        let about = seen.map(|seen| seen.about(response.status(), endpoint));
        for edit in self.response.iter().rev() {
            edit.apply_to(response.headers_mut(), about.as_ref());
        }
    }
}

/// An edit that asks what the request is.
#[cold]
fn made<B>(edit: &Edit, request: &mut Request<B>, around: &Around<'_>) {
    let mut headers = std::mem::take(request.headers_mut());
    let about = About {
        method: request.method(),
        uri: request.uri(),
        version: request.version(),
        route: around.route,
        cluster: around.cluster,
        started: around.started(),
        answer: None,
    };
    edit.apply_to(&mut headers, Some(&about));
    *request.headers_mut() = headers;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Rewrite as Said;

    #[test]
    fn a_filter_of_the_service_is_compiled_once_whatever_clusters_there_are() {
        let filter = Filter::Rewrite(Said::default());
        let of_service = Steps::default().then([&filter]);
        let [one, other] = ["a", "b"].map(|name| {
            let of_route = of_service.then(&[]);
            match &of_route.of_cluster(&[], name.is_empty()).request[..] {
                [Change::Rewrite(rewrite)] => Arc::as_ptr(rewrite),
                _ => panic!("one change"),
            }
        });
        assert_eq!(one, other);
    }
}
