//! Routes that answer by themselves.

use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, RedirectAction,
    redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
};
use http::uri::Authority;

use super::super::{
    read::said,
    text,
    walk::{Result, Walk},
};
use crate::config::{self, DirectResponse, Filter, PathMatch, PathRewrite, Redirect};

pub(super) fn redirect(
    walk: &mut Walk,
    pb: &RedirectAction,
    route: &mut config::Route,
) -> Result<()> {
    let RedirectAction {
        host_redirect,
        port_redirect,
        response_code,
        strip_query,
        scheme_rewrite_specifier,
        path_rewrite_specifier,
    } = pb;
    let mut read = Redirect::default();
    read.status = Some(match RedirectResponseCode::try_from(*response_code) {
        Ok(RedirectResponseCode::MovedPermanently) => 301,
        Ok(RedirectResponseCode::Found) => 302,
        Ok(RedirectResponseCode::SeeOther) => 303,
        Ok(RedirectResponseCode::TemporaryRedirect) => 307,
        Ok(RedirectResponseCode::PermanentRedirect) => 308,
        Err(_) => return walk.refuse("response_code", response_code, "is no redirect"),
    });
    read.envoy_ports = true;
    (read.host, read.port) = host_and_port(host_redirect);
    if *port_redirect > 0 {
        walk.note_if(
            read.port.is_some(),
            "host_redirect",
            "its port is not the one of `port_redirect`: is left out",
        );
        read.port = match u16::try_from(*port_redirect) {
            Ok(port) => Some(port),
            Err(_) => return walk.refuse("port_redirect", port_redirect, "must be in 1..=65535"),
        };
    }
    read.scheme = match scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".to_owned()),
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => said(scheme),
        Some(SchemeRewriteSpecifier::HttpsRedirect(false)) | None => None,
    };
    read.strip_query = *strip_query;
    read.path = match path_rewrite_specifier {
        None => None,
        Some(PathRewriteSpecifier::PathRedirect(path)) => {
            let (path, query) = path
                .split_once('?')
                .map_or((path.as_str(), None), |(path, query)| (path, Some(query)));
            walk.note_if(query.is_some(), "path_redirect", "its query is left out");
            Some(PathRewrite::Full(path.to_owned()))
        }
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => {
            said(prefix).map(|prefix| prefix_rewrite(&prefix, route))
        }
        Some(PathRewriteSpecifier::RegexRewrite(it)) => {
            Some(PathRewrite::Regex(text::rewrite(walk, "regex_rewrite", it)?))
        }
        Some(PathRewriteSpecifier::PathRewrite(_)) => {
            return walk.lacks("path_rewrite", "given", "not supported yet");
        }
    };
    route.filters.push(Filter::Redirect(read));
    Ok(())
}

/// A host, and the port that it may be followed by.
//= Envoy Utility::newUri: any text takes the place of the request's authority
fn host_and_port(text: &str) -> (Option<String>, Option<u16>) {
    match text.parse::<Authority>() {
        Ok(both) if both.port_u16().is_some() && !text.contains('@') => {
            (Some(both.host().to_owned()), both.port_u16())
        }
        _ => (said(text), None),
    }
}

/// What the matched prefix becomes; where a pattern matches, it is all of the path (Envoy).
pub(super) fn prefix_rewrite(prefix: &str, route: &config::Route) -> PathRewrite {
    let is_whole = route
        .matches
        .iter()
        .any(|rule| matches!(rule.path, Some(PathMatch::Regex(_) | PathMatch::Template(_))));
    if is_whole {
        PathRewrite::Full(prefix.to_owned())
    } else {
        PathRewrite::Prefix(prefix.to_owned())
    }
}

pub(super) fn direct(
    walk: &mut Walk,
    pb: &DirectResponseAction,
    route: &mut config::Route,
) -> Result<()> {
    let DirectResponseAction { status, body, body_format } = pb;
    let mut read = DirectResponse::default();
    read.status = match u16::try_from(*status) {
        Ok(status) if (200..=599).contains(&status) => status,
        _ => return walk.refuse("status", status, "must be in 200..=599"),
    };
    read.body = walk.inline_text("body", body.as_ref())?.unwrap_or_default();
    walk.note_if(body_format.is_some(), "body_format", "not supported yet");
    if matches!(read.status, 204 | 205 | 304) && !read.body.is_empty() {
        walk.note("body", "a response with this status has none: is left out");
        read.body.clear();
    }
    route.filters.push(Filter::DirectResponse(read));
    Ok(())
}

/// Fails each call.
pub(super) fn nowhere(route: &mut config::Route, why: &str) {
    route.filters.push(Filter::DirectResponse(unavailable(503, why)));
}

pub(in super::super) fn unavailable(status: u16, why: &str) -> DirectResponse {
    let mut read = DirectResponse::default();
    read.status = status;
    read.grpc = Some(14);
    read.body = why.to_owned();
    read
}
