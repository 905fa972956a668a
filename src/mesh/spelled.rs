//! Matches, filters and endpoints in words, for `describe()`.

use crate::config::{
    Endpoint, Filter, GrpcMatch, HeaderEdit, Health, HostRewrite, Match, Mirror, PathMatch,
    PathRewrite, Redirect, RegexRewrite, Rewrite, Security, Session, StringMatch, ValueMatch,
};

/// What a request must be for a match to take it.
pub(super) fn of_match(rule: &Match) -> String {
    let mut parts = Vec::new();
    parts.extend(rule.caller.iter().map(|(name, value)| format!("caller is {name}={value}")));
    match &rule.path {
        Some(PathMatch::Exact(path)) => parts.push(format!("path is {path}")),
        Some(PathMatch::Prefix(path)) => parts.push(format!("path is under {path}")),
        Some(PathMatch::StringPrefix(path)) => parts.push(format!("path begins with {path}")),
        Some(PathMatch::Regex(regex)) => parts.push(format!("path matches {regex}")),
        Some(PathMatch::Template(text)) => parts.push(format!("path is like {text}")),
        Some(PathMatch::Connect) => parts.push("connects".to_owned()),
        None => {}
    }
    if let Some(GrpcMatch { service, method }) = &rule.grpc {
        parts.push("is a gRPC call".to_owned());
        parts.extend(service.as_ref().map(|it| format!("service {}", of_text(it, false))));
        parts.extend(method.as_ref().map(|it| format!("gRPC method {}", of_text(it, false))));
    }
    parts.extend(rule.method.as_ref().map(|method| format!("method is {method}")));
    parts.extend(rule.scheme.as_ref().map(|scheme| format!("scheme is {scheme}")));
    let not = |invert| if invert { "not: " } else { "" };
    parts.extend(rule.headers.iter().map(|it| {
        format!("{}header {} {}", not(it.invert), it.name, of_text(&it.matcher, it.ignore_case))
    }));
    parts.extend(rule.query.iter().map(|it| {
        format!("{}query {} {}", not(it.invert), it.name, of_text(&it.matcher, it.ignore_case))
    }));
    parts.extend(rule.cookies.iter().map(|it| {
        format!("{}cookie {} {}", not(it.invert), it.name, of_text(&it.matcher, it.ignore_case))
    }));
    parts.extend(rule.metadata.iter().map(|it| {
        let way: Vec<_> = std::iter::once(&it.namespace).chain(&it.path).cloned().collect();
        format!("{}metadata {} {}", not(it.invert), way.join("."), of_value(&it.value))
    }));
    if let Some(share) = &rule.fraction {
        let by = share.key.as_ref().map(|key| format!(" (by runtime key {key})"));
        parts.push(format!("{} % of them{}", share.percent, by.unwrap_or_default()));
    }
    if parts.is_empty() { "any request".to_owned() } else { parts.join(", ") }
}

fn of_value(value: &ValueMatch) -> String {
    match value {
        ValueMatch::Present => "is there".to_owned(),
        ValueMatch::Null => "is nothing".to_owned(),
        ValueMatch::Bool(it) => format!("is {it}"),
        ValueMatch::Number(it) => format!("is {it}"),
        ValueMatch::Range(range) => format!("is in {}..{}", range.start, range.end),
        ValueMatch::Text(text) => of_text(text, false),
        ValueMatch::Item(item) => format!("has an item that {}", of_value(item)),
        ValueMatch::AnyOf(list) => list.iter().map(of_value).collect::<Vec<_>>().join(" or "),
    }
}

fn of_text(matcher: &StringMatch, ignore_case: bool) -> String {
    let text = match matcher {
        StringMatch::Exact(text) => format!("is {text}"),
        StringMatch::Prefix(text) => format!("begins with {text}"),
        StringMatch::Suffix(text) => format!("ends with {text}"),
        StringMatch::Contains(text) => format!("contains {text}"),
        StringMatch::Regex(text) => format!("matches {text}"),
        StringMatch::Range(range) => format!("is in {}..{}", range.start, range.end),
        StringMatch::Present => "is there".to_owned(),
    };
    if ignore_case { format!("{text} without case") } else { text }
}

/// What a filter does on the way of a call; nothing of guards, which tell of themselves. Of headers it
/// is the names: what is in them may be a secret.
pub(super) fn of_filter(filter: &Filter) -> Option<String> {
    match filter {
        Filter::RequestHeaders(edit) | Filter::ResponseHeaders(edit) => Some(of_edit(edit)),
        Filter::Rewrite(rewrite) => Some(of_rewrite(rewrite)),
        Filter::Redirect(redirect) => Some(of_redirect(redirect)),
        Filter::DirectResponse(answer) => Some(format!("status {}", answer.status)),
        Filter::Mirror(mirror) => Some(of_mirror(mirror)),
        Filter::Session(session) => Some(of_session(session)),
        Filter::Named(named) => of_filter(&named.filter),
        Filter::Fault(_)
        | Filter::RateLimit(_)
        | Filter::GlobalRateLimit(_)
        | Filter::Authorize(_)
        | Filter::AdaptiveConcurrency(_)
        | Filter::AdmissionControl(_)
        | Filter::Throttle(_)
        | Filter::Extension(_) => None,
    }
}

fn of_edit(edit: &HeaderEdit) -> String {
    let HeaderEdit { set, set_if_present, add, add_if_absent, remove, remove_matching } = edit;
    let matching: Vec<_> = remove_matching.iter().map(|it| of_text(it, false)).collect();
    let lists = [
        ("remove", remove.clone()),
        ("remove what", matching),
        ("set", set.keys().cloned().collect()),
        ("set if present", set_if_present.keys().cloned().collect()),
        ("add", add.iter().map(|pair| pair.name.clone()).collect()),
        ("add if absent", add_if_absent.keys().cloned().collect()),
    ];
    let told = lists.into_iter().filter(|(_, names)| !names.is_empty());
    listed(told.map(|(word, names)| format!("{word} {}", names.join(", "))))
}

fn of_rewrite(rewrite: &Rewrite) -> String {
    let host = rewrite.host.as_ref().map(|host| match host {
        HostRewrite::Literal(host) => format!("host to {host}"),
        HostRewrite::Endpoint => "host to that of the endpoint".to_owned(),
        HostRewrite::Header(name) => format!("host to header {name}"),
        HostRewrite::PathRegex(regex) => format!("host to the path, {}", of_regex(regex)),
    });
    let path = rewrite.path.as_ref().map(of_path);
    let forwarded = rewrite.forwarded_host.then(|| "old host to x-forwarded-host".to_owned());
    listed([host, path, forwarded].into_iter().flatten())
}

fn of_redirect(redirect: &Redirect) -> String {
    let Redirect { status, scheme, host, port, path, strip_query, .. } = redirect;
    let parts = [
        Some(format!("status {}", status.unwrap_or(302))),
        scheme.as_ref().map(|scheme| format!("scheme to {scheme}")),
        host.as_ref().map(|host| format!("host to {host}")),
        port.map(|port| format!("port to {port}")),
        path.as_ref().map(of_path),
        strip_query.then(|| "query left out".to_owned()),
    ];
    listed(parts.into_iter().flatten())
}

fn of_path(path: &PathRewrite) -> String {
    match path {
        PathRewrite::Full(path) => format!("path to {path}"),
        PathRewrite::Prefix(prefix) => format!("prefix to {prefix}"),
        PathRewrite::Regex(regex) => format!("path, {}", of_regex(regex)),
        PathRewrite::Template(template) => format!("path to template {template}"),
    }
}

fn of_regex(regex: &RegexRewrite) -> String {
    format!("{} for {}", regex.substitution, regex.pattern)
}

fn of_mirror(mirror: &Mirror) -> String {
    let cluster = mirror.cluster.as_deref().unwrap_or("none");
    let by = mirror.key.as_ref().map(|key| format!(" (by runtime key {key})"));
    let percent = mirror.percent.unwrap_or(100.0);
    format!("{percent} % to cluster {cluster}{}", by.unwrap_or_default())
}

/// What carries it.
pub(super) fn of_session(session: &Session) -> String {
    let cookie = session.cookie.as_ref().map(|cookie| format!("cookie {}", cookie.name));
    let header = session.header.as_ref().map(|header| format!("header {header}"));
    let strict = (session.strict == Some(true)).then(|| "strict".to_owned());
    listed([cookie, header, strict].into_iter().flatten())
}

fn listed(parts: impl Iterator<Item = String>) -> String {
    let parts: Vec<_> = parts.collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join("; ") }
}

/// What its source says of an endpoint beyond its address and weight, each with a comma before.
pub(super) fn of_endpoint(endpoint: &Endpoint) -> String {
    let mut parts = Vec::new();
    match endpoint.health {
        Health::Unhealthy => parts.push("unhealthy by its source".to_owned()),
        Health::Draining => parts.push("draining".to_owned()),
        _ => {}
    }
    parts.extend(endpoint.authority.as_ref().map(|it| format!("authority {it}")));
    parts.extend(
        endpoint.protocol.as_ref().map(|it| format!("protocol {}", super::settings::name_of(it))),
    );
    parts.extend(endpoint.security.as_ref().map(of_security));
    if !endpoint.labels.is_empty() {
        let labels = endpoint.labels.iter().map(|(name, value)| format!("{name}={value}"));
        parts.push(format!("labels {}", labels.collect::<Vec<_>>().join(" ")));
    }
    parts.iter().map(|part| format!(", {part}")).collect()
}

fn of_security(security: &Security) -> String {
    let Security::Tls(tls) = security else { return "plain".to_owned() };
    let mut text = tls.mode.as_ref().map_or_else(|| "tls".to_owned(), super::settings::name_of);
    if !tls.identities.is_empty() {
        let identities: Vec<_> = tls.identities.iter().map(super::settings::identity).collect();
        text = format!("{text} of {}", identities.join(" or "));
    }
    if let Some(sni) = &tls.sni {
        text = format!("{text} asked for as {sni}");
    }
    if let Some(rule) = &tls.rule {
        text = format!("{text} under rule {rule}");
    }
    if !tls.alpn.is_empty() {
        text = format!("{text} by {}", tls.alpn.join(" or "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        EndpointTls, HeaderMatch, HeaderPair, IdentityMatch, NamedFilter, SecurityMode,
    };

    #[test]
    fn how_an_endpoint_is_secured() {
        let mut endpoint = Endpoint::new("10.0.0.1:80".parse().unwrap());
        assert_eq!(of_endpoint(&endpoint), "");
        endpoint.security = Some(Security::Tls(Box::default()));
        assert_eq!(of_endpoint(&endpoint), ", tls");
        let mut own = EndpointTls::default();
        own.mode = Some(SecurityMode::Mutual);
        own.identities = vec![IdentityMatch::Exact("a".into()), IdentityMatch::Exact("b".into())];
        (own.sni, own.alpn) = (Some("c".into()), vec!["h2".into()]);
        endpoint.security = Some(Security::Tls(Box::new(own)));
        assert_eq!(of_endpoint(&endpoint), ", mutual of a or b asked for as c by h2");
    }

    #[test]
    fn what_a_match_asks_for() {
        let mut rule = Match::default();
        assert_eq!(of_match(&rule), "any request");
        let mut header = HeaderMatch::new("x-a", StringMatch::Present);
        header.invert = true;
        rule.headers = vec![HeaderMatch::new("x-b", StringMatch::Suffix("c".into())), header];
        rule.method = Some("PUT".into());
        let words = "method is PUT, header x-b ends with c, not: header x-a is there";
        assert_eq!(of_match(&rule), words);
    }

    #[test]
    fn what_a_filter_does_is_told_without_what_is_in_headers() {
        let mut edit = HeaderEdit::default();
        edit.set.insert("x-key".into(), "secret".into());
        let mut pair = HeaderPair::default();
        (pair.name, pair.value) = ("x-by".into(), "secret".into());
        edit.add = vec![pair];
        edit.remove_matching = vec![StringMatch::Prefix("x-old".into())];
        let words = "remove what begins with x-old; set x-key; add x-by";
        let named = NamedFilter::new("edit", Filter::ResponseHeaders(edit.clone()));
        for filter in [Filter::RequestHeaders(edit), Filter::Named(Box::new(named))] {
            assert_eq!(of_filter(&filter).unwrap(), words);
        }
        let mut rewrite = Rewrite::default();
        rewrite.host = Some(HostRewrite::Literal("a.b".into()));
        rewrite.path = Some(PathRewrite::Prefix("/v2".into()));
        let words = "host to a.b; prefix to /v2";
        assert_eq!(of_filter(&Filter::Rewrite(rewrite)).unwrap(), words);
        let redirect = Filter::Redirect(Redirect::default());
        assert_eq!(of_filter(&redirect).unwrap(), "status 302");
        assert_eq!(of_filter(&Filter::Rewrite(Rewrite::default())).unwrap(), "nothing");
        assert_eq!(of_filter(&Filter::Fault(Box::default())), None, "it is a guard");
    }
}
