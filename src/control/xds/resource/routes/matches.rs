//! Which requests a route takes.

use envoy_types::pb::envoy::{
    config::route::v3::{RouteMatch, route_match::PathSpecifier},
    extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig,
};

use super::super::{
    metadata,
    read::{bools, type_name},
    text,
    walk::{Result, Walk},
};
use crate::config::{self, HeaderMatch, Match, PathMatch, RuntimeFraction, StringMatch};

const TEMPLATE: &str = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig";

/// Reads the match of a route; false: it is never met here.
pub(super) fn rule(walk: &mut Walk, pb: &RouteMatch, route: &mut config::Route) -> Result<bool> {
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
    if !self::path(walk, path, ignores_case, &mut read)? {
        return Ok(false);
    }
    for (index, pb) in headers.iter().enumerate() {
        walk.within(&format!("headers[{index}]"), |walk| {
            let header = text::header(walk, pb)?;
            named(walk, header, &mut read, route)
        })?;
    }
    read.query = walk.each("query_parameters", query_parameters, text::query)?;
    read.cookies = walk.each("cookies", cookies, text::cookie)?;
    if grpc.is_some() {
        let prefix = StringMatch::Prefix("application/grpc".to_owned());
        read.headers.push(HeaderMatch::new("content-type", prefix));
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
                return walk.refuse("path_match_policy", url, "not supported yet");
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

/// Pseudo-headers are other fields of the model.
fn named(
    walk: &Walk,
    header: HeaderMatch,
    read: &mut Match,
    route: &mut config::Route,
) -> Result<()> {
    let name = header.name.to_ascii_lowercase();
    let value = match (&header.matcher, header.invert) {
        (StringMatch::Exact(value), false) => Some(value.clone()),
        _ => None,
    };
    match (name.as_str(), value) {
        (":method", Some(value)) if !header.ignore_case && read.method.is_none() => {
            read.method = Some(value);
        }
        (":scheme", Some(value)) if read.scheme.is_none() => read.scheme = Some(value),
        (":authority" | "host", Some(value)) if route.hosts.is_empty() => {
            route.hosts.push(value);
        }
        (":authority" | "host", None)
            if route.hosts.is_empty() && !header.invert && !header.missing_as_empty =>
        {
            match &header.matcher {
                StringMatch::Prefix(text) => route.hosts.push(format!("{text}*")),
                StringMatch::Suffix(text) => route.hosts.push(format!("*{text}")),
                StringMatch::Present => {}
                _ => return pseudo(walk, &header.name),
            }
        }
        (":path", Some(value)) if read.path.is_none() && !header.ignore_case => {
            read.path = Some(PathMatch::Exact(value));
        }
        (name, _) if name.starts_with(':') || name == "host" => return pseudo(walk, &header.name),
        _ => read.headers.push(header),
    }
    Ok(())
}

fn pseudo(walk: &Walk, name: &str) -> Result<()> {
    walk.refuse("name", name, "not supported yet with this match")
}
