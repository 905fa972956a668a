//! How a request is written.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use envoy_types::pb::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest},
    },
    google::rpc::Status,
};

use super::{Ads, Link, Mode, Request, subscription::Type};
use crate::{control::xds::kind::Kind, core::Instant};

/// What is known of a resource, as its server is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Held {
    Nothing,
    /// This version, from this server.
    Here(Arc<str>),
    /// From another server, or of a version that what this one sent since, and was refused, may have taken the
    /// place of: what it has is to be sent whole.
    Otherwise,
}

/// `google.rpc.Code`.
const INVALID_ARGUMENT: i32 = 3;

// === impl Ads ===

impl Ads {
    /// The next request that is due, if any.
    pub(super) fn request(
        &mut self,
        now: Instant,
        held: &dyn Fn(Kind, &str) -> Held,
    ) -> Option<Request> {
        let Link::Open { introduced, owes, .. } = &mut self.link else { return None };
        for kind in Kind::ALL {
            if self.blame.spared(kind).is_some() {
                continue;
            }
            let of_type = &mut self.types[kind as usize];
            let node = (!*introduced).then_some(&self.node);
            let held = |name: &str| held(kind, name);
            let request = match self.mode {
                Mode::Sotw => sotw(kind, of_type, now, node, &held).map(Request::Sotw),
                Mode::Delta => delta(kind, of_type, now, node, &held).map(Request::Delta),
            };
            let Some(request) = request else { continue };
            *introduced = true;
            // What was named now, the server has from now on to answer.
            let deadline = now + self.timeout;
            let (mut is_asked, mut is_owed) = (false, false);
            for (name, wanted) in of_type.names.iter_mut().filter(|(_, wanted)| !wanted.sent) {
                if of_type.added.contains(name) {
                    continue;
                }
                wanted.sent = true;
                wanted.named_after = of_type.answers;
                let holds = held(name);
                is_asked = true;
                is_owed |= !wanted.answered && !matches!(holds, Held::Here(_));
                if !wanted.answered && holds == Held::Nothing {
                    wanted.deadline = Some(deadline);
                    self.deadlines.insert((deadline, kind, Arc::clone(name)));
                }
            }
            *owes |= is_owed;
            if is_asked {
                self.blame.asked(now, kind, is_owed);
            }
            return Some(request);
        }
        None
    }
}

/// What is to be given up before it is asked for again, or nothing.
fn both(of_type: &Type) -> BTreeSet<Arc<str>> {
    of_type.added.intersection(&of_type.removed).cloned().collect()
}

fn status(reason: String) -> Status {
    Status { code: INVALID_ARGUMENT, message: reason, details: Vec::new() }
}

fn sotw(
    kind: Kind,
    of_type: &mut Type,
    now: Instant,
    node: Option<&Node>,
    held: &dyn Fn(&str) -> Held,
) -> Option<DiscoveryRequest> {
    let is_changed = of_type.is_changed();
    let reply_is_due = of_type.reply_is_due(now);
    if !is_changed && !reply_is_due {
        return None;
    }
    if of_type.names.is_empty() && !of_type.solicited {
        // The server would read it as all there are.
        of_type.removed.clear();
        return None;
    }
    // What is sent names the newest answer: of one that was refused, the refusal goes first, else it would count
    // as accepted.
    let reply = if is_changed { of_type.take_newest(now) } else { of_type.take_reply(now) };
    let reason = reply.and_then(|reply| reply.reason);
    let again = both(of_type);
    let names: Vec<String> = of_type
        .names
        .keys()
        .filter(|name| !again.contains(*name))
        .map(|name| name.as_ref().to_owned())
        .collect();
    if names.is_empty() && !of_type.solicited {
        of_type.removed.clear();
        return sotw(kind, of_type, now, node, held);
    }
    // Istio's plane looks at no names where there is an error, nor where there is a nonce before the
    // newest: they are told once more.
    if reason.is_none() {
        of_type.gave_up = !of_type.removed.is_empty() || of_type.gave_up && is_changed;
        of_type.removed.clear();
        of_type.added = again;
        of_type.retold = false;
    } else {
        let mut told = of_type.names.values().filter(|wanted| wanted.sent);
        of_type.retold = of_type.gave_up || told.any(|wanted| !wanted.answered);
    }
    let is_resumed = || {
        let is_held = |name: &Arc<str>| matches!(held(name), Held::Here(_));
        !of_type.fresh && !of_type.is_mixed && of_type.names.keys().all(is_held)
    };
    let version = match &reason {
        Some(_) => of_type.accepted.clone(),
        None if !of_type.nonce.is_empty() || is_resumed() => of_type.claim(),
        None => String::new(),
    };
    of_type.solicited |= !names.is_empty();
    Some(DiscoveryRequest {
        version_info: version,
        node: node.cloned(),
        resource_names: names,
        type_url: kind.url().to_owned(),
        response_nonce: of_type.nonce.clone(),
        error_detail: reason.map(status),
        ..Default::default()
    })
}

fn delta(
    kind: Kind,
    of_type: &mut Type,
    now: Instant,
    node: Option<&Node>,
    held: &dyn Fn(&str) -> Held,
) -> Option<DeltaDiscoveryRequest> {
    let mut request = DeltaDiscoveryRequest {
        node: node.cloned(),
        type_url: kind.url().to_owned(),
        ..Default::default()
    };
    if of_type.reply_is_due(now)
        && let Some(reply) = of_type.take_reply(now)
    {
        // Alone: Istio's plane looks at no names where there is an error.
        request.response_nonce = reply.nonce;
        request.error_detail = reply.reason.map(status);
        return Some(request);
    }
    if !of_type.is_changed() {
        return None;
    }
    let again = both(of_type);
    let text = |name: Arc<str>| name.as_ref().to_owned();
    request.resource_names_unsubscribe =
        std::mem::take(&mut of_type.removed).into_iter().map(text).collect();
    let added = std::mem::replace(&mut of_type.added, again);
    let added = added.into_iter().filter(|name| !of_type.added.contains(name));
    request.resource_names_subscribe = added.map(text).collect();
    if !of_type.solicited {
        if request.resource_names_subscribe.is_empty() {
            // The server would read it as all there are.
            return if of_type.added.is_empty() {
                None
            } else {
                delta(kind, of_type, now, node, held)
            };
        }
        if !of_type.fresh {
            request.initial_resource_versions = versions(&request.resource_names_subscribe, held);
        }
        of_type.solicited = true;
    }
    Some(request)
}

fn versions(names: &[String], held: &dyn Fn(&str) -> Held) -> HashMap<String, String> {
    let version = |name: &String| match held(name) {
        Held::Here(version) => Some((name.clone(), version.as_ref().to_owned())),
        Held::Nothing | Held::Otherwise => None,
    };
    names.iter().filter_map(version).collect()
}
