//! Compiled principals and permissions. What is not known is `None`: neither met nor missed.

use http::Method;

use super::{
    facts::{Caller, Facts},
    who::{self, Who},
};
use crate::config::{
    self, IdentityMatch, PortRange, SanKind, SanMatch, block::Block, header::Header, path::Path,
    text::Text,
};

/// Who calls.
#[derive(Debug)]
pub(super) enum Principal {
    Any,
    Authenticated,
    All(Vec<Self>),
    AnyOf(Vec<Self>),
    Not(Box<Self>),
    Identity(Identity),
    /// A name of the certificate; DNS names without case.
    Name {
        text: Text,
        folded: Text,
    },
    PeerIp(Block),
    RemoteIp(Block),
    /// What nothing has noted, and whether that is asked for.
    Noted {
        inverted: bool,
    },
    Namespace(Text),
    ServiceAccount(Text),
    Label(String, Text),
    Header(Header),
    Path(Path),
    PathAndQuery(Text),
}

/// What is called.
#[derive(Debug)]
pub(super) enum Permission {
    Any,
    All(Vec<Self>),
    AnyOf(Vec<Self>),
    Not(Box<Self>),
    Header(Header),
    Path(Path),
    PathAndQuery(Text),
    Method(Method),
    Service(Text),
    Host(Text),
    DestinationIp(Block),
    DestinationPort(u16),
    DestinationPorts(PortRange),
    ServerName(Text),
    /// What nothing has noted, and whether that is asked for.
    Noted {
        inverted: bool,
    },
}

/// An identity of the caller.
#[derive(Debug)]
pub(super) enum Identity {
    /// This SPIFFE id.
    Id(String),
    /// This name of any other kind.
    Name(String),
    /// A SPIFFE id that is this one or below it.
    Below(String),
    TrustDomain(String),
    /// A name of this kind; DNS names without case.
    San {
        kind: Option<SanKind>,
        text: Text,
        folded: Text,
    },
}

/// Compiles a list.
pub(super) fn list<T, C>(
    list: &[T],
    compile: impl Fn(&T) -> Result<C, String>,
) -> Result<Vec<C>, String> {
    list.iter().map(compile).collect()
}

/// Whether all are met; none: that depends on what is not known.
fn all(each: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut met = Some(true);
    for one in each {
        match one {
            Some(true) => {}
            Some(false) => return Some(false),
            None => met = None,
        }
    }
    met
}

/// Whether any is met.
fn any(each: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    all(each.map(|met| met.map(|met| !met))).map(|none| !none)
}

/// Whether one of each list is met; an empty list is met by all.
pub(super) fn is_met(
    principals: &[Principal],
    permissions: &[Permission],
    facts: &Facts<'_>,
) -> Option<bool> {
    let who = match principals {
        [] => Some(true),
        list => any(list.iter().map(|it| it.is_met(facts))),
    };
    if who == Some(false) {
        return who;
    }
    let what = match permissions {
        [] => Some(true),
        list => any(list.iter().map(|it| it.is_met(facts))),
    };
    all([who, what].into_iter())
}

// === impl Principal ===

impl Principal {
    /// # Errors
    ///
    /// What cannot be compiled.
    pub(super) fn new(principal: &config::Principal) -> Result<Self, String> {
        use config::Principal as Said;

        Ok(match principal {
            Said::Any => Self::Any,
            Said::Authenticated => Self::Authenticated,
            Said::All(all) => Self::All(list(all, Self::new)?),
            Said::AnyOf(any) => Self::AnyOf(list(any, Self::new)?),
            Said::Not(other) => Self::Not(Box::new(Self::new(other)?)),
            Said::Identity(identity) => Self::Identity(Identity::new(identity)?),
            Said::Name(text) => {
                Self::Name { text: Text::new(text, false)?, folded: Text::new(text, true)? }
            }
            Said::PeerIp(block) => Self::PeerIp(Block::new(block)?),
            Said::RemoteIp(block) => Self::RemoteIp(Block::new(block)?),
            Said::Metadata(rule) => Self::Noted { inverted: rule.invert },
            Said::Namespace(text) => Self::Namespace(Text::new(text, false)?),
            Said::ServiceAccount(text) => Self::ServiceAccount(Text::new(text, false)?),
            Said::Label(label) => {
                Self::Label(label.name.clone(), Text::new(&label.matcher, false)?)
            }
            Said::Header(header) => Self::Header(Header::new(header)?),
            Said::Path(path) => Self::Path(Path::new(path, false)?),
            Said::PathAndQuery(text) => Self::PathAndQuery(Text::new(text, false)?),
            other => return Err(format!("principal {other:?} is not supported yet")),
        })
    }

    fn is_met(&self, facts: &Facts<'_>) -> Option<bool> {
        let of_caller = |known: &dyn Fn(&Who) -> Option<bool>| match facts.caller {
            Caller::Unknown => None,
            Caller::Nobody => Some(false),
            Caller::Known(who) => known(who),
        };
        // Of a part of the id that is not there, nothing is met.
        let of_part = |key: &str, text: &Text| {
            of_caller(&|who| {
                who.has_id(|id| who::value_of(id, key).is_some_and(|value| text.matches(value)))
            })
        };
        match self {
            Self::Any => Some(true),
            // Others take a secured connection for that.
            Self::Authenticated => match facts.caller {
                Caller::Nobody if facts.is_secured() => None,
                Caller::Unknown | Caller::Nobody | Caller::Known(_) => of_caller(&|_| Some(true)),
            },
            Self::Name { text, folded } => match facts.caller {
                Caller::Nobody if facts.is_secured() => of_no_name(text),
                Caller::Unknown | Caller::Nobody | Caller::Known(_) => {
                    of_caller(&|who| is_named(who, text, folded))
                }
            },
            Self::PeerIp(block) => facts.connection.map(|it| block.contains(it.peer.ip())),
            Self::RemoteIp(block) => {
                let remote = facts.connection.and_then(|it| it.remote);
                remote.map(|address| block.contains(address))
            }
            Self::Noted { inverted } => facts.connection.map(|_| *inverted),
            Self::All(list) => all(list.iter().map(|it| it.is_met(facts))),
            Self::AnyOf(list) => any(list.iter().map(|it| it.is_met(facts))),
            Self::Not(other) => other.is_met(facts).map(|met| !met),
            Self::Identity(identity) => of_caller(&|who| identity.is_of(who)),
            Self::Namespace(text) => of_part("ns", text),
            Self::ServiceAccount(text) => of_part("sa", text),
            Self::Label(name, text) => {
                Some(facts.labels.get(name).is_some_and(|value| text.matches(value)))
            }
            Self::Header(header) => of_values(header, facts),
            Self::Path(path) => facts.path.are(|read| path.matches(read)),
            Self::PathAndQuery(text) => facts.path.are_with_query(|whole| text.matches(whole)),
        }
    }
}

// === impl Permission ===

impl Permission {
    /// # Errors
    ///
    /// What cannot be compiled.
    pub(super) fn new(permission: &config::Permission) -> Result<Self, String> {
        use config::Permission as Said;

        Ok(match permission {
            Said::Any => Self::Any,
            Said::All(all) => Self::All(list(all, Self::new)?),
            Said::AnyOf(any) => Self::AnyOf(list(any, Self::new)?),
            Said::Not(other) => Self::Not(Box::new(Self::new(other)?)),
            Said::Header(header) => Self::Header(Header::new(header)?),
            Said::Path(path) => Self::Path(Path::new(path, false)?),
            Said::PathAndQuery(text) => Self::PathAndQuery(Text::new(text, false)?),
            Said::Method(method) => Self::Method(
                Method::from_bytes(method.as_bytes())
                    .map_err(|_| format!("`{method}` is not a method"))?,
            ),
            Said::Service(text) => Self::Service(Text::new(text, true)?),
            Said::Host(text) => Self::Host(Text::new(text, true)?),
            Said::DestinationIp(block) => Self::DestinationIp(Block::new(block)?),
            Said::DestinationPort(port) => Self::DestinationPort(*port),
            Said::DestinationPorts(range) => Self::DestinationPorts(*range),
            Said::ServerName(text) => Self::ServerName(Text::new(text, true)?),
            Said::Metadata(rule) => Self::Noted { inverted: rule.invert },
            other @ Said::Extension(_) => {
                return Err(format!("permission {other:?} is not supported yet"));
            }
        })
    }

    fn is_met(&self, facts: &Facts<'_>) -> Option<bool> {
        match self {
            Self::Any => Some(true),
            Self::All(list) => all(list.iter().map(|it| it.is_met(facts))),
            Self::AnyOf(list) => any(list.iter().map(|it| it.is_met(facts))),
            Self::Not(other) => other.is_met(facts).map(|met| !met),
            Self::Header(header) => of_values(header, facts),
            Self::Path(path) => facts.path.are(|read| path.matches(read)),
            Self::PathAndQuery(text) => facts.path.are_with_query(|whole| text.matches(whole)),
            Self::Method(method) => Some(method == facts.method),
            Self::Service(text) => Some(text.matches(facts.service)),
            Self::Host(text) => facts.host.is(|host| text.matches(host)),
            Self::DestinationIp(block) => facts.connection.map(|it| block.contains(it.local.ip())),
            Self::DestinationPort(port) => facts.connection.map(|it| it.local.port() == *port),
            Self::DestinationPorts(PortRange { start, end }) => {
                facts.connection.map(|it| (*start..*end).contains(&it.local.port()))
            }
            Self::ServerName(text) => {
                facts.connection.map(|it| text.matches(it.server_name.unwrap_or_default()))
            }
            Self::Noted { inverted } => facts.connection.map(|_| *inverted),
        }
    }
}

/// What a header says that is no text is not known; nor, of a call that came in, what its values say where
/// each by itself and all as one differ in it.
fn of_values(header: &Header, facts: &Facts<'_>) -> Option<bool> {
    if !header.is_legible(facts.headers) {
        return None;
    }
    let met = header.matches(facts.headers);
    let is_other = facts.connection.is_some() && header.matches_joined(facts.headers) != met;
    if is_other { None } else { Some(met) }
}

/// Whether the certificate names it so.
//= gRFC A41: its URIs; where it has none its DNS names; where it has neither the subject
fn is_named(who: &Who, text: &Text, folded: &Text) -> Option<bool> {
    for (kind, text) in [(SanKind::Uri, text), (SanKind::Dns, folded)] {
        let mut names = who.names().filter(|(of, _)| *of == kind).peekable();
        if names.peek().is_some() {
            return Some(names.any(|(_, name)| text.matches(name)));
        }
    }
    match who.subject() {
        Some(subject) => Some(text.matches(subject)),
        None => of_no_name(text),
    }
}

/// To others, who has no name has an empty one: what that meets is not known to be met.
fn of_no_name(text: &Text) -> Option<bool> {
    if text.matches("") { None } else { Some(false) }
}

// === impl Identity ===

impl Identity {
    fn new(identity: &IdentityMatch) -> Result<Self, String> {
        Ok(match identity {
            IdentityMatch::Exact(name) if name.starts_with("spiffe://") => Self::Id(name.clone()),
            IdentityMatch::Exact(name) => Self::Name(name.clone()),
            IdentityMatch::Prefix(prefix) => {
                Self::Below(prefix.strip_suffix('/').unwrap_or(prefix).to_owned())
            }
            IdentityMatch::TrustDomain(domain) => {
                Self::TrustDomain(domain.strip_prefix("spiffe://").unwrap_or(domain).to_owned())
            }
            IdentityMatch::San(SanMatch { kind, matcher, ignore_case, .. }) => Self::San {
                kind: *kind,
                text: Text::new(matcher, *ignore_case)?,
                folded: Text::new(matcher, true)?,
            },
        })
    }

    fn is_of(&self, who: &Who) -> Option<bool> {
        match self {
            Self::Id(wanted) => who.has_id(|id| id == wanted),
            Self::Below(prefix) => who.has_id(|id| who::is_below(id, prefix)),
            Self::TrustDomain(domain) => who.has_id(|id| who::trust_domain(id) == domain),
            Self::Name(wanted) => Some(who.names().any(|(kind, name)| match kind {
                SanKind::Dns => name.eq_ignore_ascii_case(wanted),
                _ => name == wanted,
            })),
            Self::San { kind, text, folded } => Some(who.names().any(|(of, name)| {
                let text = if of == SanKind::Dns { folded } else { text };
                kind.is_none_or(|wanted| wanted == of) && text.matches(name)
            })),
        }
    }
}
