//! Which requests a route takes.

use envoy_types::pb::envoy::{
    config::route::v3::{RouteMatch, route_match::PathSpecifier},
    extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig,
};
use http::Method;

use super::super::{
    metadata,
    read::{bools, type_name},
    text,
    walk::{Result, Walk},
};
use crate::config::{self, HeaderMatch, Match, PathMatch, Role, RuntimeFraction, StringMatch};

const TEMPLATE: &str = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig";

/// Reads the match of a route; false: it is never met here.
pub(super) fn rule(
    walk: &mut Walk,
    role: Role,
    pb: &RouteMatch,
    route: &mut config::Route,
) -> Result<bool> {
    let RouteMatch {
        case_sensitive,
        runtime_fraction,
        headers,
        query_parameters,
        cookies,
        grpc,
        tls_context,
        dynamic_metadata,
        filter_state,
        path_specifier,
    } = pb;
    let mut read = Match::default();
    let ignores_case = bools(case_sensitive.as_ref()) == Some(false);
    let Some(path) = path_specifier else {
        return walk.refuse("path_specifier", "none", "must be given");
    };
    if role == Role::Receiver {
        known_to_proxies(walk, pb, path)?;
    }
    if !self::path(walk, path, ignores_case, &mut read)? {
        return Ok(false);
    }
    for (index, pb) in headers.iter().enumerate() {
        walk.within(&format!("headers[{index}]"), |walk| {
            named(text::header(walk, pb)?, &mut read, route);
            Ok(())
        })?;
    }
    read.query = walk.each("query_parameters", query_parameters, text::query)?;
    read.cookies = walk.each("cookies", cookies, text::cookie)?;
    if grpc.is_some() {
        //= Envoy Grpc::Common::hasGrpcContentType: not `application/grpc-web`
        let grpc = StringMatch::Regex(r"application/grpc(\+.*)?".to_owned());
        read.headers.push(HeaderMatch::new("content-type", grpc));
    }
    let fraction = walk.keyed_fraction("runtime_fraction", runtime_fraction.as_ref())?;
    read.fraction = fraction.map(|(percent, key)| RuntimeFraction { percent, key });
    read.metadata = walk.each("dynamic_metadata", dynamic_metadata, metadata::matcher)?;
    // What stands there is known to a proxy: of a call of this process there is none of it.
    let is_met = filter_state.is_empty() && tls_context.is_none();
    if !is_met {
        walk.note("", "asks for what only a proxy knows: the route is left out");
        return Ok(false);
    }
    if read != Match::default() {
        route.matches = vec![read];
    }
    Ok(true)
}

/// Calls that come in are of all kinds: a route that is left out would leave them to others, and their rules.
fn known_to_proxies(walk: &Walk, pb: &RouteMatch, path: &PathSpecifier) -> Result<()> {
    for (is_said, field) in [
        (pb.tls_context.is_some(), "tls_context"),
        (!pb.filter_state.is_empty(), "filter_state"),
        (matches!(path, PathSpecifier::ConnectMatcher(_)), "connect_matcher"),
    ] {
        if is_said {
            return walk.refuse(field, "given", "not supported yet where calls come in");
        }
    }
    Ok(())
}

/// False: no path is one of these.
fn path(walk: &mut Walk, pb: &PathSpecifier, ignores_case: bool, read: &mut Match) -> Result<bool> {
    let path = match pb {
        PathSpecifier::Prefix(prefix) if prefix.is_empty() => return Ok(true),
        PathSpecifier::Prefix(prefix) if prefix == "/" => return Ok(true),
        PathSpecifier::Prefix(prefix) => PathMatch::StringPrefix(prefix.clone()),
        PathSpecifier::Path(path) => PathMatch::Exact(path.clone()),
        PathSpecifier::PathSeparatedPrefix(prefix) => {
            //= Envoy: no slash at its end, nor a query
            if prefix.is_empty() || prefix.ends_with('/') {
                return walk.refuse("path_separated_prefix", prefix, "must not end with `/`");
            }
            PathMatch::Prefix(prefix.clone())
        }
        PathSpecifier::SafeRegex(pattern) => {
            read.path = Some(PathMatch::Regex(text::regex(walk, "safe_regex", pattern, false)?));
            return Ok(true);
        }
        PathSpecifier::ConnectMatcher(_) => {
            walk.note("connect_matcher", "not supported yet: the route is left out");
            return Ok(false);
        }
        PathSpecifier::PathMatchPolicy(policy) => {
            let any = policy.typed_config.as_ref();
            let url = any.map_or("", |any| type_name(&any.type_url));
            let (Some(any), TEMPLATE) = (any, url) else {
                return walk.lacks("path_match_policy", url, "not supported yet");
            };
            let template: UriTemplateMatchConfig = walk.unpack("path_match_policy", any)?;
            read.path = Some(PathMatch::Template(template.path_template));
            return Ok(true);
        }
    };
    let (PathMatch::Exact(text) | PathMatch::Prefix(text) | PathMatch::StringPrefix(text)) = &path
    else {
        return Ok(true);
    };
    if !text.starts_with('/') || text.contains(['?', '#']) {
        //= gRFC A28: such a route is valid, and never met
        walk.note("path_specifier", format!("no path begins with {text:?}: the route is left out"));
        return Ok(false);
    }
    read.path_ignore_case = ignores_case;
    read.path = Some(path);
    Ok(true)
}

/// A header. Where a pseudo-header is to have one value, other fields of the model say it, which also say
/// hosts for any port.
fn named(header: HeaderMatch, read: &mut Match, route: &mut config::Route) {
    let mut header = header;
    //= Envoy: to it `host` is `:authority`, of any protocol
    if header.name.eq_ignore_ascii_case("host") {
        header.name = ":authority".to_owned();
    }
    let is_plain = !header.invert && !header.missing_as_empty;
    let name = header.name.to_ascii_lowercase();
    match (name.as_str(), &header.matcher) {
        (":method", StringMatch::Exact(value))
            if is_plain
                && !header.ignore_case
                && read.method.is_none()
                && Method::from_bytes(value.as_bytes()).is_ok() =>
        {
            read.method = Some(value.clone());
        }
        (":scheme", StringMatch::Exact(value))
            if is_plain && read.scheme.is_none() && matches!(value.as_str(), "http" | "https") =>
        {
            read.scheme = Some(value.clone());
        }
        (":authority", matcher) if is_plain && route.hosts.is_empty() => {
            // The star of a host stands for one character at least, and a suffix may be the whole.
            let host = match matcher {
                StringMatch::Exact(text) if !text.contains('*') => text.clone(),
                StringMatch::Suffix(text) if text.starts_with('.') => format!("*{text}"),
                _ => return read.headers.push(header),
            };
            if is_host(&host) {
                route.hosts.push(host);
            } else {
                read.headers.push(header);
            }
        }
        _ => read.headers.push(header),
    }
}

/// Whether the model has such a host.
fn is_host(host: &str) -> bool {
    let mut service = config::Service::default();
    let mut route = config::Route::default();
    route.hosts.push(host.to_owned());
    route.clusters.push(config::WeightedCluster::new("any"));
    service.routes.push(route);
    service.validate("host").is_ok()
}
