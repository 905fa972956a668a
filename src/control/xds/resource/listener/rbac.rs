//! Who may call (RBAC, gRFC A41), as rules of authorisation.
//!
//! Where they are asked where calls are made, what only the receiving side could know (addresses,
//! ports) refuses the filter: a rule that never matches would deny nobody. Where calls come in, all that gRFC
//! A41 has is read, and what it has not refuses.

use std::collections::HashMap;

use envoy_types::pb::envoy::{
    config::{
        core::v3::CidrRange,
        rbac::v3::{
            Permission as PbPermission, Policy, Principal as PbPrincipal, Rbac as Rules,
            permission::Rule,
            principal::{Authenticated, Identifier},
            rbac::Action as PbAction,
        },
        route::v3::HeaderMatcher,
    },
    extensions::filters::http::rbac::v3::Rbac,
    r#type::{
        matcher::v3::{MetadataMatcher, PathMatcher, metadata_matcher::path_segment, path_matcher},
        v3::Int32Range,
    },
};

use super::super::{
    Context, Dialect,
    read::in_order,
    text,
    walk::{IGNORED, Result, Walk},
};
use crate::config::{
    Action, Authorization, AuthorizationRule, Filter, HeaderMatch, IdentityMatch, MetadataMatch,
    PathMatch, Permission, PortRange, Principal, Role, SanMatch, StringMatch,
};

const NOT_YET: &str = "not supported yet, and it decides who may call";
/// Headers of one hop, which are not of the request.
const OF_HOPS: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The filters of one: what decides, and what only reports.
pub(super) fn filters(walk: &mut Walk, context: &Context, pb: &Rbac) -> Result<Vec<Filter>> {
    let Rbac {
        rules,
        rules_stat_prefix: _,
        matcher,
        shadow_rules,
        shadow_matcher,
        shadow_rules_stat_prefix: _,
        track_per_rule_stats: _,
    } = pb;
    if matcher.is_some() {
        return walk.refuse("matcher", "given", NOT_YET);
    }
    walk.note_if(
        shadow_matcher.is_some(),
        "shadow_matcher",
        "not supported yet: nothing is reported",
    );
    let mut filters = Vec::new();
    if let Some(rules) = rules {
        filters.push(Filter::Authorize(
            walk.within("rules", |walk| read(walk, context, rules, false))?,
        ));
    }
    if let Some(rules) = shadow_rules {
        filters.push(Filter::Authorize(
            walk.within("shadow_rules", |walk| read(walk, context, rules, true))?,
        ));
    }
    for filter in &filters {
        if let Filter::Authorize(rules) = filter {
            walk.checked("", rules.validate_as(context.role, "rules"))?;
        }
    }
    Ok(filters)
}

fn read(walk: &mut Walk, context: &Context, pb: &Rules, is_dry: bool) -> Result<Authorization> {
    let Rules { action, policies, audit_logging_options } = pb;
    walk.note_if(audit_logging_options.is_some(), "audit_logging_options", IGNORED);
    let (does, otherwise) = match PbAction::try_from(*action) {
        Ok(PbAction::Allow) => (Action::Allow, Action::Deny),
        Ok(PbAction::Deny) => (Action::Deny, Action::Allow),
        Ok(PbAction::Log) => (Action::Log, Action::Allow),
        Err(_) => return walk.refuse("action", action, "is no action"),
    };
    let mut read = Authorization::default();
    read.otherwise = Some(if is_dry { Action::Allow } else { otherwise });
    read.rules = rules(walk, context, policies, (does, is_dry))?;
    Ok(read)
}

fn rules(
    walk: &mut Walk,
    context: &Context,
    policies: &HashMap<String, Policy>,
    (does, is_dry): (Action, bool),
) -> Result<Vec<AuthorizationRule>> {
    let mut rules = Vec::new();
    for (name, policy) in in_order(policies) {
        walk.within(&format!("policies.{name}"), |walk| {
            let Policy { permissions, principals, condition, checked_condition, cel_config: _ } =
                policy;
            if condition.is_some() || checked_condition.is_some() {
                return walk.refuse("condition", "given", NOT_YET);
            }
            //= Envoy, gRFC A41: neither list may be empty, and one of each must match
            if permissions.is_empty() || principals.is_empty() {
                let reason = "must have permissions and principals";
                return walk.refuse("", "{}", reason);
            }
            let mut rule = AuthorizationRule::default();
            rule.name = (!name.is_empty()).then(|| name.clone());
            rule.action = does;
            rule.dry_run = is_dry;
            rule.permissions =
                walk.each("permissions", permissions, |walk, it| permission(walk, context, it))?;
            rule.principals =
                walk.each("principals", principals, |walk, it| principal(walk, context, it))?;
            rules.push(rule);
            Ok(())
        })?;
    }
    Ok(rules)
}

fn permission(walk: &mut Walk, context: &Context, pb: &PbPermission) -> Result<Permission> {
    Ok(match &pb.rule {
        Some(Rule::Any(true)) => Permission::Any,
        Some(Rule::AndRules(set)) => {
            Permission::All(
                walk.each("and_rules", &set.rules, |walk, it| permission(walk, context, it))?,
            )
        }
        Some(Rule::OrRules(set)) => {
            Permission::AnyOf(
                walk.each("or_rules", &set.rules, |walk, it| permission(walk, context, it))?,
            )
        }
        Some(Rule::NotRule(other)) => Permission::Not(Box::new(
            walk.within("not_rule", |walk| permission(walk, context, other))?,
        )),
        Some(Rule::Header(header)) => {
            match walk.within("header", |walk| asked(walk, context, header))? {
                Asked::Method(method) => Permission::Method(method),
                Asked::Host(text) => Permission::Host(text),
                Asked::PathAndQuery(text) => Permission::PathAndQuery(text),
                Asked::Header(header) => Permission::Header(header),
                Asked::Not(other) => Permission::Not(Box::new(match *other {
                    Asked::Method(method) => Permission::Method(method),
                    Asked::Host(text) => Permission::Host(text),
                    Asked::PathAndQuery(text) => Permission::PathAndQuery(text),
                    Asked::Header(header) => Permission::Header(header),
                    Asked::Not(_) => return walk.refuse("header", "twice", NOT_YET),
                })),
            }
        }
        Some(Rule::UrlPath(path)) => Permission::Path(url_path(walk, path)?),
        Some(Rule::DestinationIp(range)) => Permission::DestinationIp(cidr(range)),
        Some(Rule::DestinationPort(port)) => match u16::try_from(*port) {
            Ok(port) => Permission::DestinationPort(port),
            Err(_) => return walk.refuse("destination_port", port, "must be in 0..=65535"),
        },
        Some(Rule::DestinationPortRange(range)) => ports(walk, *range)?,
        Some(Rule::RequestedServerName(text)) => {
            let (text, _) = text::text(walk, "requested_server_name", text)?;
            Permission::ServerName(text)
        }
        Some(Rule::Metadata(pb)) if has_no_metadata(context) => Permission::Metadata(metadata(pb)),
        Some(Rule::Metadata(_)) => return walk.refuse("metadata", "given", NOT_YET),
        Some(Rule::SourcedMetadata(_)) => return walk.refuse("sourced_metadata", "given", NOT_YET),
        Some(Rule::Matcher(_)) => return walk.refuse("matcher", "given", NOT_YET),
        Some(Rule::UriTemplate(_)) => return walk.refuse("uri_template", "given", NOT_YET),
        Some(Rule::Any(false)) => return walk.refuse("any", "false", "must be true"),
        None => return walk.refuse("rule", "none", "must be given"),
    })
}

fn principal(walk: &mut Walk, context: &Context, pb: &PbPrincipal) -> Result<Principal> {
    Ok(match &pb.identifier {
        Some(Identifier::Any(true)) => Principal::Any,
        Some(Identifier::AndIds(set)) => {
            Principal::All(walk.each("and_ids", &set.ids, |walk, it| principal(walk, context, it))?)
        }
        Some(Identifier::OrIds(set)) => {
            Principal::AnyOf(
                walk.each("or_ids", &set.ids, |walk, it| principal(walk, context, it))?,
            )
        }
        Some(Identifier::NotId(other)) => {
            Principal::Not(Box::new(walk.within("not_id", |walk| principal(walk, context, other))?))
        }
        Some(Identifier::Authenticated(Authenticated { principal_name: None })) => {
            Principal::Authenticated
        }
        Some(Identifier::Authenticated(Authenticated { principal_name: Some(name) })) => {
            let (matcher, ignore_case) = text::text(walk, "authenticated.principal_name", name)?;
            match context.role {
                Role::Caller => {
                    let mut san = SanMatch::new(matcher);
                    san.ignore_case = ignore_case;
                    Principal::Identity(IdentityMatch::San(san))
                }
                Role::Receiver if ignore_case => Principal::Name(without_case(&matcher)),
                Role::Receiver => Principal::Name(matcher),
            }
        }
        Some(Identifier::SourceIp(range) | Identifier::DirectRemoteIp(range)) => {
            Principal::PeerIp(cidr(range))
        }
        //= gRFC A41: no proxy is believed, so it is the peer
        Some(Identifier::RemoteIp(range)) if has_no_metadata(context) => {
            Principal::PeerIp(cidr(range))
        }
        Some(Identifier::RemoteIp(range)) => Principal::RemoteIp(cidr(range)),
        Some(Identifier::Header(header)) => {
            match walk.within("header", |walk| asked(walk, context, header))? {
                Asked::Header(header) => Principal::Header(header),
                Asked::PathAndQuery(text) => Principal::PathAndQuery(text),
                Asked::Not(other) => match *other {
                    Asked::PathAndQuery(text) => {
                        Principal::Not(Box::new(Principal::PathAndQuery(text)))
                    }
                    _ => return walk.refuse("header.name", &header.name, NOT_YET),
                },
                Asked::Method(_) | Asked::Host(_) => {
                    return walk.refuse("header.name", &header.name, NOT_YET);
                }
            }
        }
        Some(Identifier::UrlPath(path)) => Principal::Path(url_path(walk, path)?),
        Some(Identifier::Metadata(pb)) if has_no_metadata(context) => {
            Principal::Metadata(metadata(pb))
        }
        Some(Identifier::Metadata(_)) => return walk.refuse("metadata", "given", NOT_YET),
        Some(Identifier::FilterState(_)) => return walk.refuse("filter_state", "given", NOT_YET),
        Some(Identifier::SourcedMetadata(_)) => {
            return walk.refuse("sourced_metadata", "given", NOT_YET);
        }
        Some(Identifier::Custom(_)) => return walk.refuse("custom", "given", NOT_YET),
        Some(Identifier::Any(false)) => return walk.refuse("any", "false", "must be true"),
        None => return walk.refuse("identifier", "none", "must be given"),
    })
}

/// A header as rules ask for it; pseudo-headers are other things.
enum Asked {
    Method(String),
    Host(StringMatch),
    /// The path with its query.
    PathAndQuery(StringMatch),
    Header(HeaderMatch),
    Not(Box<Self>),
}

fn asked(walk: &mut Walk, context: &Context, pb: &HeaderMatcher) -> Result<Asked> {
    let header = text::header(walk, pb)?;
    let name = header.name.to_ascii_lowercase();
    if !name.starts_with(':') && name != "host" {
        //= gRFC A41: what gRPC itself sets is not asked for
        if name.starts_with("grpc-") {
            return walk.refuse("name", &header.name, "is gRPC's own");
        }
        if context.role == Role::Receiver && OF_HOPS.contains(&name.as_str()) {
            return walk.refuse("name", &header.name, "is of one hop");
        }
        return Ok(Asked::Header(header));
    }
    let asked = match (name.as_str(), &header.matcher) {
        (":method", StringMatch::Exact(method)) if !header.ignore_case => {
            Asked::Method(method.clone())
        }
        (":authority" | "host", matcher) => Asked::Host(matcher.clone()),
        (":path", matcher) if !matches!(matcher, StringMatch::Present | StringMatch::Range(_)) => {
            //= Envoy: this one has the query, which `url_path` has not
            Asked::PathAndQuery(if header.ignore_case {
                without_case(matcher)
            } else {
                matcher.clone()
            })
        }
        _ => return walk.refuse("name", &header.name, NOT_YET),
    };
    Ok(if header.invert { Asked::Not(Box::new(asked)) } else { asked })
}

fn url_path(walk: &mut Walk, pb: &PathMatcher) -> Result<PathMatch> {
    walk.within("url_path", |walk| {
        let Some(path_matcher::Rule::Path(matcher)) = &pb.rule else {
            return walk.refuse("path", "none", "must be given");
        };
        let (matcher, ignore_case) = text::text(walk, "path", matcher)?;
        Ok(path_match(&matcher, ignore_case))
    })
}

/// A match on the whole path; what the model has no word for is a pattern.
fn path_match(matcher: &StringMatch, ignore_case: bool) -> PathMatch {
    match (matcher, ignore_case) {
        (StringMatch::Exact(path), false) => PathMatch::Exact(path.clone()),
        (StringMatch::Prefix(path), false) => PathMatch::StringPrefix(path.clone()),
        (StringMatch::Regex(regex), _) => PathMatch::Regex(regex.clone()),
        (matcher, ignore_case) => PathMatch::Regex(pattern(matcher, ignore_case)),
    }
}

/// The same text without case.
fn without_case(matcher: &StringMatch) -> StringMatch {
    match matcher {
        StringMatch::Regex(_) | StringMatch::Range(_) | StringMatch::Present => matcher.clone(),
        matcher => StringMatch::Regex(pattern(matcher, true)),
    }
}

/// A pattern of what is a text, or the beginning, end or a part of one.
fn pattern(matcher: &StringMatch, ignore_case: bool) -> String {
    let flags = if ignore_case { "(?is)" } else { "(?s)" };
    match matcher {
        StringMatch::Exact(text) => format!("{flags}{}", literal(text)),
        StringMatch::Prefix(text) => format!("{flags}{}.*", literal(text)),
        StringMatch::Suffix(text) => format!("{flags}.*{}", literal(text)),
        StringMatch::Contains(text) => format!("{flags}.*{}.*", literal(text)),
        StringMatch::Regex(regex) => regex.clone(),
        StringMatch::Range(_) | StringMatch::Present => format!("{flags}.*"),
    }
}

/// A pattern of this text alone.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for letter in text.chars() {
        if "\\.+*?()|[]{}^$#&-~".contains(letter) {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

/// Whether nothing is noted about calls that come in: of a sidecar, filters that are not here would note it.
fn has_no_metadata(context: &Context) -> bool {
    context.role == Role::Receiver && context.dialect == Dialect::Proxyless
}

//= gRFC A41: it is never met, whatever it asks for, unless it is inverted
fn metadata(pb: &MetadataMatcher) -> MetadataMatch {
    let mut read = MetadataMatch::default();
    read.namespace.clone_from(&pb.filter);
    let keys = pb.path.iter().filter_map(|it| it.segment.as_ref());
    read.path = keys.map(|path_segment::Segment::Key(key)| key.clone()).collect();
    read.invert = pb.invert;
    read
}

/// Ports from the first up to, not including, the second.
fn ports(walk: &Walk, range: Int32Range) -> Result<Permission> {
    const LAST: i32 = 65_535;
    let Int32Range { start, end } = range;
    let (Ok(first), true) = (u16::try_from(start), start < end && end <= LAST + 1) else {
        let value = format!("{start}..{end}");
        return walk.refuse("destination_port_range", value, "must hold ports, and nothing else");
    };
    let mut ports = PortRange::default();
    (ports.start, ports.end) = (first, u16::try_from(end).unwrap_or(u16::MAX));
    let last = Permission::DestinationPort(u16::MAX);
    Ok(match (end > LAST, first) {
        (false, _) => Permission::DestinationPorts(ports),
        (true, u16::MAX) => last,
        (true, _) => Permission::AnyOf(vec![Permission::DestinationPorts(ports), last]),
    })
}

fn cidr(range: &CidrRange) -> String {
    let length = range.prefix_len.as_ref().map_or(0, |length| length.value);
    format!("{}/{length}", range.address_prefix)
}
