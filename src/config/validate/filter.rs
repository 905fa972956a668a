//! Checks of filters: those of services and routes, and of the clusters of a route.

use http::{HeaderName, HeaderValue, Uri, uri::Authority};

use super::{Checker, NOT_YET, not_yet};
use crate::config::{
    DirectResponse, Filter, HeaderEdit, HostRewrite, Match, Mirror, PathMatch, PathRewrite,
    Redirect, RegexRewrite, Rewrite, Role,
    format::{Parsed, Side},
    headers::is_editable,
    pattern::Replace,
    template::{Filled, Template},
};
use crate::core::uri::is_authority;

/// Whose filters they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Level {
    Service,
    Route,
    Cluster,
}

impl Checker {
    /// The filters of a service, a route or a cluster of a route, which has these matches.
    pub(super) fn calls_filters(&mut self, filters: &[Filter], matches: &[Match], of: Level) {
        let mut seen: Vec<&str> = Vec::new();
        for (index, filter) in filters.iter().enumerate() {
            let field = format!("filters[{index}]");
            let (field, filter) = match filter {
                Filter::Named(named) => {
                    if named.name.is_empty() {
                        self.refuse(&format!("{field}.named.name"), "\"\"", "must not be empty");
                    }
                    (format!("{field}.named.filter"), &named.filter)
                }
                filter => (field, filter),
            };
            let name = filter.name();
            let once = matches!(
                name,
                "session"
                    | "rewrite"
                    | "redirect"
                    | "direct_response"
                    | "adaptive_concurrency"
                    | "admission_control"
                    | "throttle"
            );
            if once && seen.contains(&name) {
                self.refuse(&field, name, "is there twice");
                continue;
            }
            // A redirect tells of a request that goes nowhere from here.
            let beside = ["rewrite", "redirect", "direct_response"];
            if let Some(other) = seen.iter().find(|other| beside.contains(other))
                && beside.contains(&name)
            {
                self.refuse(&field, name, format!("cannot be beside `{other}`"));
                continue;
            }
            seen.push(name);
            self.filter(&field, filter, matches, of);
        }
    }

    /// One filter, and whether it runs there.
    pub(super) fn filter(&mut self, field: &str, filter: &Filter, matches: &[Match], of: Level) {
        let name = filter.name();
        if of == Level::Cluster {
            match filter {
                Filter::Session(_) => {
                    let reason =
                        format!("{NOT_YET} for one cluster of a route: say it of the route");
                    return self.refuse(field, name, reason);
                }
                Filter::Fault(fault) if fault.per_attempt.is_some() => {
                    let said = fault.per_attempt == Some(true);
                    let reason = format!(
                        "{NOT_YET} for one cluster of a route: say it of the route, with the \
                         `cluster` of the fault"
                    );
                    return self.refuse(&format!("{field}.fault.per_attempt"), said, reason);
                }
                _ => {}
            }
        }
        self.within(&format!("{field}.{name}"), |checker| match filter {
            Filter::Session(session) => checker.session(session),
            Filter::RequestHeaders(edit) => checker.edit(edit, Some(Side::Request)),
            Filter::ResponseHeaders(edit) => checker.edit(edit, Some(Side::Response)),
            Filter::Rewrite(rewrite) => checker.whole_rewrite(rewrite, matches),
            Filter::Redirect(redirect) => checker.redirect(redirect, matches),
            Filter::DirectResponse(direct) => checker.direct(direct),
            Filter::Mirror(mirror) => checker.mirror(mirror),
            Filter::Authorize(rules) => checker.authorization(rules, Role::Caller),
            Filter::Fault(fault) => checker.fault(fault),
            Filter::RateLimit(limit) => checker.rate_limit(limit),
            Filter::GlobalRateLimit(limit) => checker.global_rate_limit(limit),
            Filter::AdaptiveConcurrency(limit) => checker.adaptive_concurrency(limit),
            Filter::AdmissionControl(admission) => checker.admission_control(admission),
            Filter::Throttle(throttle) => checker.throttle(throttle),
            _ => {}
        });
        match filter {
            Filter::Named(_) => self.refuse(field, name, "a filter has one name"),
            filter if !runs(filter) => self.refuse(field, name, NOT_YET),
            _ => {}
        }
    }

    /// The filters of a cluster itself.
    pub(super) fn filters(&mut self, filters: &[Filter]) {
        for (index, filter) in filters.iter().enumerate() {
            self.refuse(&format!("filters[{index}]"), filter.name(), NOT_YET);
        }
    }

    fn mirror(&mut self, mirror: &Mirror) {
        let Mirror {
            cluster,
            cluster_header,
            percent,
            key,
            host,
            keep_host,
            trace,
            request_headers,
        } = mirror;
        match cluster.as_deref() {
            None if cluster_header.is_none() => self.refuse("cluster", "", "must be said"),
            Some("") => self.refuse("cluster", "\"\"", "must not be empty"),
            _ => {}
        }
        if let Some(percent) = percent.filter(|percent| !(0.0..=100.0).contains(percent)) {
            self.refuse("percent", percent, "must be in 0..=100");
        }
        if let Some(host) = host {
            if !is_authority(host) {
                self.refuse("host", host, "is not an authority");
            } else if *keep_host == Some(true) {
                self.refuse("host", host, "cannot be beside `keep_host`");
            }
        }
        self.within("request_headers", |checker| {
            checker.edit(request_headers, Some(Side::Request));
        });
        if key.as_deref() == Some("") {
            self.refuse("key", "\"\"", "must not be empty");
        }
        not_yet!(self, cluster_header, trace);
    }

    /// Edits of the headers of a message; without a side, of one of which nothing is known.
    pub(super) fn edit(&mut self, edit: &HeaderEdit, side: Option<Side>) {
        let HeaderEdit { set, set_if_present, add, add_if_absent, remove, remove_matching } = edit;
        for (field, map) in
            [("set", set), ("set_if_present", set_if_present), ("add_if_absent", add_if_absent)]
        {
            for (name, value) in map {
                self.edited(field, name);
                self.value(&format!("{field}.{name}"), value, side);
            }
        }
        for (index, pair) in add.iter().enumerate() {
            self.edited(&format!("add[{index}].name"), &pair.name);
            self.value(&format!("add[{index}].value"), &pair.value, side);
        }
        for (index, name) in remove.iter().enumerate() {
            self.edited(&format!("remove[{index}]"), name);
        }
        for (index, text) in remove_matching.iter().enumerate() {
            // Names of headers have no case.
            self.text(&format!("remove_matching[{index}]"), text, true);
        }
    }

    fn edited(&mut self, field: &str, name: &str) {
        match HeaderName::try_from(name) {
            Err(_) => self.refuse(field, name, "is not a header name"),
            Ok(name) if !is_editable(&name) => {
                self.refuse(field, name, "frames the message or names its host: not to be edited");
            }
            Ok(_) => {}
        }
    }

    fn value(&mut self, field: &str, value: &str, side: Option<Side>) {
        if HeaderValue::try_from(value).is_err() {
            // A line break would begin another header.
            self.refuse(field, value.escape_debug(), "is not the value of a header");
            return;
        }
        let reason = match (side, Parsed::new(value, side.unwrap_or(Side::Response))) {
            (_, Err(reason)) => reason,
            (None, Ok(Parsed::Made(_))) => {
                format!("what each call fills in is {NOT_YET} here: say it in edits of headers")
            }
            _ => return,
        };
        self.refuse(field, value, reason);
    }

    fn whole_rewrite(&mut self, rewrite: &Rewrite, matches: &[Match]) {
        let Rewrite { host, path, forwarded_host: _ } = rewrite;
        match host {
            Some(HostRewrite::Literal(host)) if !is_authority(host) => {
                self.refuse("host.literal", host, "is not an authority");
            }
            Some(HostRewrite::Header(name)) if HeaderName::try_from(name).is_err() => {
                self.refuse("host.header", name, "is not a header name");
            }
            Some(HostRewrite::PathRegex(regex)) => self.replace("host.path_regex", regex),
            _ => {}
        }
        if let Some(path) = path {
            self.new_path(path, matches);
        }
    }

    fn new_path(&mut self, path: &PathRewrite, matches: &[Match]) {
        let is_path = |path: &str| {
            path.starts_with('/') && !path.contains(['?', '#']) && path.parse::<Uri>().is_ok()
        };
        match path {
            PathRewrite::Full(path) if !is_path(path) => {
                self.refuse("path.full", path, "is not a path");
            }
            PathRewrite::Prefix(path) => {
                if !path.is_empty() && !is_path(path) {
                    self.refuse("path.prefix", path, "is not a path");
                }
                let has_none = |rule: &Match| {
                    matches!(rule.path, Some(PathMatch::Regex(_) | PathMatch::Template(_)))
                };
                if matches.iter().any(has_none) {
                    self.refuse("path.prefix", path, "a match of the route has no prefix");
                }
            }
            PathRewrite::Regex(regex) => self.replace("path.regex", regex),
            PathRewrite::Template(text) => {
                let templates = matches.iter().map(|rule| match &rule.path {
                    Some(PathMatch::Template(template)) => Template::new(template),
                    _ => Err("a match of the route has no template".to_owned()),
                });
                let mut templates: Vec<_> = templates.collect();
                if templates.is_empty() {
                    templates.push(Err("the route has no match with a template".to_owned()));
                }
                for template in templates {
                    if let Err(reason) = template.and_then(|it| Filled::new(text, &it)) {
                        self.refuse("path.template", text, reason);
                        break;
                    }
                }
            }
            PathRewrite::Full(_) => {}
        }
    }

    fn replace(&mut self, field: &str, regex: &RegexRewrite) {
        if let Err((part, reason)) = Replace::new(regex) {
            let RegexRewrite { pattern, substitution } = regex;
            let value = if part == "pattern" { pattern } else { substitution };
            self.refuse(&format!("{field}.{part}"), value, reason);
        }
    }

    fn redirect(&mut self, redirect: &Redirect, matches: &[Match]) {
        let Redirect { status, scheme, host, port, path, strip_query: _, envoy_ports: _ } =
            redirect;
        if let Some(status) = status
            && ![301, 302, 303, 307, 308].contains(status)
        {
            self.refuse("status", status, "must be 301, 302, 303, 307 or 308");
        }
        if let Some(scheme) = scheme
            && !["http", "https"].contains(&scheme.as_str())
        {
            self.refuse("scheme", scheme, "must be `http` or `https`");
        }
        if let Some(host) = host
            && (!is_authority(host) || host.parse().is_ok_and(|it: Authority| it.port().is_some()))
        {
            self.refuse("host", host, "is not a host without a port");
        }
        if *port == Some(0) {
            self.refuse("port", 0, "must be in 1..=65535");
        }
        if let Some(path) = path {
            self.new_path(path, matches);
        }
    }

    fn direct(&mut self, direct: &DirectResponse) {
        let DirectResponse { status, body, headers, grpc } = direct;
        if !(200..=599).contains(status) {
            self.refuse("status", status, "must be in 200..=599");
        }
        if matches!(status, 204 | 205 | 304) && !body.is_empty() {
            self.refuse("body", body, format!("a response with status {status} has none"));
        }
        for (name, value) in headers {
            self.edited("headers", name);
            self.value(&format!("headers.{name}"), value, None);
        }
        if let Some(code) = grpc.filter(|code| !(0..=16).contains(code)) {
            self.refuse("grpc", code, "must be in 0..=16");
        }
    }
}

fn runs(filter: &Filter) -> bool {
    #[cfg(test)]
    if matches!(filter, Filter::Extension(it) if it.name.starts_with("test.")) {
        return true;
    }
    matches!(
        filter,
        Filter::Session(_)
            | Filter::RequestHeaders(_)
            | Filter::ResponseHeaders(_)
            | Filter::Rewrite(_)
            | Filter::Redirect(_)
            | Filter::DirectResponse(_)
            | Filter::Mirror(_)
            | Filter::Authorize(_)
            | Filter::Fault(_)
            | Filter::RateLimit(_)
            | Filter::GlobalRateLimit(_)
            | Filter::AdaptiveConcurrency(_)
            | Filter::AdmissionControl(_)
            | Filter::Throttle(_)
    )
}
