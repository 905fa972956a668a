//! Who may call (RBAC, gRFC A41), as rules of authorisation.
//!
//! They are asked where calls are made. What of them only the receiving side could know (addresses,
//! ports) refuses the filter: a rule that never matches would deny nobody.

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
    r#type::matcher::v3::{PathMatcher, path_matcher},
};

use super::super::{
    read::in_order,
    text,
    walk::{IGNORED, Result, Walk},
};
use crate::config::{
    Action, Authorization, AuthorizationRule, Filter, HeaderMatch, IdentityMatch, PathMatch,
    Permission, Principal, SanMatch, StringMatch,
};

const NOT_YET: &str = "not supported yet, and it decides who may call";

/// The filters of one: what decides, and what only reports.
pub(super) fn filters(walk: &mut Walk, pb: &Rbac) -> Result<Vec<Filter>> {
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
        filters.push(Filter::Authorize(walk.within("rules", |walk| read(walk, rules, false))?));
    }
    if let Some(rules) = shadow_rules {
        filters
            .push(Filter::Authorize(walk.within("shadow_rules", |walk| read(walk, rules, true))?));
    }
    for filter in &filters {
        if let Filter::Authorize(rules) = filter {
            walk.checked("", rules.validate("rules"))?;
        }
    }
    Ok(filters)
}

fn read(walk: &mut Walk, pb: &Rules, is_dry: bool) -> Result<Authorization> {
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
    read.rules = rules(walk, policies, does, is_dry)?;
    Ok(read)
}

fn rules(
    walk: &mut Walk,
    policies: &HashMap<String, Policy>,
    does: Action,
    is_dry: bool,
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
            rule.permissions = walk.each("permissions", permissions, permission)?;
            rule.principals = walk.each("principals", principals, principal)?;
            rules.push(rule);
            Ok(())
        })?;
    }
    Ok(rules)
}

fn permission(walk: &mut Walk, pb: &PbPermission) -> Result<Permission> {
    Ok(match &pb.rule {
        Some(Rule::Any(true)) => Permission::Any,
        Some(Rule::AndRules(set)) => {
            Permission::All(walk.each("and_rules", &set.rules, permission)?)
        }
        Some(Rule::OrRules(set)) => {
            Permission::AnyOf(walk.each("or_rules", &set.rules, permission)?)
        }
        Some(Rule::NotRule(other)) => {
            Permission::Not(Box::new(walk.within("not_rule", |walk| permission(walk, other))?))
        }
        Some(Rule::Header(header)) => match walk.within("header", |walk| asked(walk, header))? {
            Asked::Method(method) => Permission::Method(method),
            Asked::Host(text) => Permission::Host(text),
            Asked::Path(path) => Permission::Path(path),
            Asked::Header(header) => Permission::Header(header),
            Asked::Not(other) => Permission::Not(Box::new(match *other {
                Asked::Method(method) => Permission::Method(method),
                Asked::Host(text) => Permission::Host(text),
                Asked::Path(path) => Permission::Path(path),
                Asked::Header(header) => Permission::Header(header),
                Asked::Not(_) => return walk.refuse("header", "twice", NOT_YET),
            })),
        },
        Some(Rule::UrlPath(path)) => Permission::Path(url_path(walk, path)?),
        Some(Rule::DestinationIp(range)) => Permission::DestinationIp(cidr(range)),
        Some(Rule::DestinationPort(port)) => match u16::try_from(*port) {
            Ok(port) => Permission::DestinationPort(port),
            Err(_) => return walk.refuse("destination_port", port, "must be in 0..=65535"),
        },
        Some(Rule::DestinationPortRange(_)) => {
            return walk.refuse("destination_port_range", "given", NOT_YET);
        }
        Some(Rule::RequestedServerName(text)) => {
            let (text, _) = text::text(walk, "requested_server_name", text)?;
            Permission::ServerName(text)
        }
        Some(Rule::Metadata(_)) => return walk.refuse("metadata", "given", NOT_YET),
        Some(Rule::SourcedMetadata(_)) => return walk.refuse("sourced_metadata", "given", NOT_YET),
        Some(Rule::Matcher(_)) => return walk.refuse("matcher", "given", NOT_YET),
        Some(Rule::UriTemplate(_)) => return walk.refuse("uri_template", "given", NOT_YET),
        Some(Rule::Any(false)) => return walk.refuse("any", "false", "must be true"),
        None => return walk.refuse("rule", "none", "must be given"),
    })
}

fn principal(walk: &mut Walk, pb: &PbPrincipal) -> Result<Principal> {
    Ok(match &pb.identifier {
        Some(Identifier::Any(true)) => Principal::Any,
        Some(Identifier::AndIds(set)) => Principal::All(walk.each("and_ids", &set.ids, principal)?),
        Some(Identifier::OrIds(set)) => Principal::AnyOf(walk.each("or_ids", &set.ids, principal)?),
        Some(Identifier::NotId(other)) => {
            Principal::Not(Box::new(walk.within("not_id", |walk| principal(walk, other))?))
        }
        Some(Identifier::Authenticated(Authenticated { principal_name: None })) => {
            Principal::Authenticated
        }
        Some(Identifier::Authenticated(Authenticated { principal_name: Some(name) })) => {
            let (matcher, ignore_case) = text::text(walk, "authenticated.principal_name", name)?;
            let mut san = SanMatch::new(matcher);
            san.ignore_case = ignore_case;
            Principal::Identity(IdentityMatch::San(san))
        }
        Some(Identifier::SourceIp(range) | Identifier::DirectRemoteIp(range)) => {
            Principal::PeerIp(cidr(range))
        }
        Some(Identifier::RemoteIp(range)) => Principal::RemoteIp(cidr(range)),
        Some(Identifier::Header(header)) => {
            match walk.within("header", |walk| asked(walk, header))? {
                Asked::Header(header) => Principal::Header(header),
                Asked::Path(path) => Principal::Path(path),
                _ => return walk.refuse("header.name", &header.name, NOT_YET),
            }
        }
        Some(Identifier::UrlPath(path)) => Principal::Path(url_path(walk, path)?),
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
    Path(PathMatch),
    Header(HeaderMatch),
    Not(Box<Self>),
}

fn asked(walk: &mut Walk, pb: &HeaderMatcher) -> Result<Asked> {
    let header = text::header(walk, pb)?;
    let name = header.name.to_ascii_lowercase();
    if !name.starts_with(':') && name != "host" {
        //= gRFC A41: what gRPC itself sets is not asked for
        if name.starts_with("grpc-") {
            return walk.refuse("name", &header.name, "is gRPC's own");
        }
        return Ok(Asked::Header(header));
    }
    let asked = match (name.as_str(), &header.matcher) {
        (":method", StringMatch::Exact(method)) if !header.ignore_case => {
            Asked::Method(method.clone())
        }
        (":authority" | "host", matcher) => Asked::Host(matcher.clone()),
        (":path", StringMatch::Exact(path)) if !header.ignore_case => {
            Asked::Path(PathMatch::Exact(path.clone()))
        }
        (":path", StringMatch::Prefix(path)) if !header.ignore_case => {
            Asked::Path(PathMatch::StringPrefix(path.clone()))
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
        if ignore_case {
            return walk.refuse("path.ignore_case", "true", NOT_YET);
        }
        Ok(match matcher {
            StringMatch::Exact(path) => PathMatch::Exact(path),
            StringMatch::Prefix(path) => PathMatch::StringPrefix(path),
            StringMatch::Regex(regex) => PathMatch::Regex(regex),
            _ => return walk.refuse("path", "suffix or contains", NOT_YET),
        })
    })
}

fn cidr(range: &CidrRange) -> String {
    let length = range.prefix_len.as_ref().map_or(0, |length| length.value);
    format!("{}/{length}", range.address_prefix)
}
