//! Matches and endpoints in words, for `describe()`.

use crate::config::{
    Endpoint, GrpcMatch, Health, Match, PathMatch, Security, StringMatch, ValueMatch,
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
    use crate::config::{EndpointTls, HeaderMatch, IdentityMatch, SecurityMode};

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
}
