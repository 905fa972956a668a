//! Whether one rule takes all that another does.

use crate::{
    config::{
        CookieMatch, GrpcMatch, HeaderMatch, IntegerRange, Match, PathMatch, QueryMatch,
        StringMatch, path::Path,
    },
    route::table::Rule,
};

/// What a rule asks for, as it is said and as it is compiled.
#[derive(Debug)]
pub(super) struct Asks<'a> {
    rule: &'a Rule,
    /// None: it takes everything of its hosts.
    said: Option<&'a Match>,
}

/// The paths that a rule takes: no others, be it not all of them. Texts are in lower case.
#[derive(Debug)]
pub(super) enum Reach<'a> {
    Any,
    Exact(String),
    Start(String),
    Pattern(&'a str),
}

/// The same as it is said.
enum Within<'a> {
    Any,
    Exact(String),
    /// Whole elements from the start, without a slash behind them.
    Under(&'a str),
    Start(String),
    Pattern,
}

// === impl Asks ===

impl<'a> Asks<'a> {
    pub(super) fn new(rule: &'a Rule, said: Option<&'a Match>) -> Self {
        Self { rule, said }
    }

    pub(super) fn reach(&self) -> Reach<'a> {
        match self.within() {
            Within::Any | Within::Under("") => Reach::Any,
            Within::Exact(path) => Reach::Exact(path.to_ascii_lowercase()),
            Within::Under(path) => Reach::Start(path.to_ascii_lowercase()),
            Within::Start(path) => Reach::Start(path.to_ascii_lowercase()),
            Within::Pattern => match self.path() {
                Some((PathMatch::Regex(text), _)) if text == ".*" => Reach::Any,
                Some((PathMatch::Regex(text) | PathMatch::Template(text), _)) => {
                    Reach::Pattern(text)
                }
                _ => Reach::Any,
            },
        }
    }

    fn path(&self) -> Option<(&'a PathMatch, bool)> {
        let said = self.said?;
        Some((said.path.as_ref()?, said.path_ignore_case))
    }

    fn grpc(&self) -> Option<&'a GrpcMatch> {
        self.said?.grpc.as_ref()
    }

    fn within(&self) -> Within<'a> {
        match self.path() {
            Some((PathMatch::Exact(path), _)) => return Within::Exact(path.clone()),
            Some((PathMatch::Prefix(path), _)) => {
                return Within::Under(path.strip_suffix('/').unwrap_or(path));
            }
            Some((PathMatch::StringPrefix(path), _)) => return Within::Start(path.clone()),
            Some(_) => return Within::Pattern,
            None => {}
        }
        // A gRPC call has a path, too.
        match self.grpc().map(|grpc| (&grpc.service, &grpc.method)) {
            Some((Some(StringMatch::Exact(service)), Some(StringMatch::Exact(method)))) => {
                Within::Exact(format!("/{service}/{method}"))
            }
            Some((Some(StringMatch::Exact(service)), _)) => Within::Start(format!("/{service}/")),
            _ => Within::Any,
        }
    }

    /// Whether this one takes every request that the other does. No share is all requests: what it is
    /// may be changed.
    pub(super) fn covers(&self, other: &Self) -> bool {
        if !self.covers_hosts(other) {
            return false;
        }
        let Some(said) = self.said else { return true };
        let nothing = Match::default();
        let others = other.said.unwrap_or(&nothing);
        let Match {
            path: _,
            path_ignore_case: _,
            method,
            scheme,
            headers,
            query,
            cookies,
            grpc,
            fraction,
            caller,
            metadata,
            extension,
        } = said;
        fraction.is_none()
            && extension.is_none()
            && self.covers_path(other)
            && (method.is_none() || *method == others.method)
            && scheme.as_ref().is_none_or(|scheme| {
                others.scheme.as_ref().is_some_and(|it| it.eq_ignore_ascii_case(scheme))
            })
            && caller.iter().all(|(name, value)| others.caller.get(name) == Some(value))
            && metadata.iter().all(|it| others.metadata.contains(it))
            && grpc.as_ref().is_none_or(|grpc| {
                others.grpc.as_ref().is_some_and(|others| covers_grpc(grpc, others))
            })
            && headers.iter().all(|it| others.headers.iter().any(|other| covers_header(it, other)))
            && query.iter().all(|it| others.query.iter().any(|other| covers_query(it, other)))
            && cookies.iter().all(|it| others.cookies.iter().any(|other| covers_cookie(it, other)))
    }

    fn covers_hosts(&self, other: &Self) -> bool {
        let (own, others) = (self.rule.hosts(), other.rule.hosts());
        own.is_empty()
            || own.iter().any(|host| host.takes_all())
            || !others.is_empty()
                && others.iter().all(|other| own.iter().any(|host| host.covers(other)))
    }

    fn covers_path(&self, other: &Self) -> bool {
        let Some((said, ignores_case)) = self.path() else { return true };
        let Some(path) = self.rule.path() else { return true };
        if path.takes_all() || matches!(said, PathMatch::Regex(text) if text == ".*") {
            return true;
        }
        if let Some((others, case_too)) = other.path()
            && said == others
            && (ignores_case || !case_too)
        {
            return true;
        }
        // What is compared without case is more than what is compared with it.
        let is_free = other.path().is_some_and(|(_, ignores_case)| ignores_case);
        if is_free && !ignores_case {
            return false;
        }
        match other.within() {
            Within::Any | Within::Pattern => false,
            Within::Exact(text) => path.matches(&text),
            Within::Under("") => false,
            Within::Under(text) => match path {
                // `/a/b` begins with `/a`, and so does all under it.
                Path::Prefix(_)
                | Path::PrefixNoCase(_)
                | Path::StringPrefix(_)
                | Path::StringPrefixNoCase(_) => path.matches(text),
                _ => false,
            },
            Within::Start(text) => match path {
                Path::StringPrefix(_) | Path::StringPrefixNoCase(_) => path.matches(&text),
                // Only behind a slash is it sure that an element ends there.
                Path::Prefix(prefix) | Path::PrefixNoCase(prefix) => {
                    text.len() > prefix.len() && path.matches(&text)
                }
                _ => false,
            },
        }
    }
}

fn covers_grpc(own: &GrpcMatch, other: &GrpcMatch) -> bool {
    let covers = |own: &Option<StringMatch>, other: &Option<StringMatch>| match (own, other) {
        (None, _) => true,
        (Some(own), Some(other)) => covers_text((own, false), (other, false)),
        (Some(_), None) => false,
    };
    covers(&own.service, &other.service) && covers(&own.method, &other.method)
}

fn covers_header(own: &HeaderMatch, other: &HeaderMatch) -> bool {
    if !own.name.eq_ignore_ascii_case(&other.name) {
        return false;
    }
    let is_same = (&own.matcher, own.invert, own.ignore_case, own.missing_as_empty)
        == (&other.matcher, other.invert, other.ignore_case, other.missing_as_empty);
    is_same
        || !own.invert
            && !other.invert
            && (own.missing_as_empty && own.matcher != StringMatch::Present
                || !other.missing_as_empty
                || other.matcher == StringMatch::Present)
            && covers_text((&own.matcher, own.ignore_case), (&other.matcher, other.ignore_case))
}

fn covers_query(own: &QueryMatch, other: &QueryMatch) -> bool {
    own == other
        || own.name == other.name
            && !own.invert
            && !other.invert
            && covers_text((&own.matcher, own.ignore_case), (&other.matcher, other.ignore_case))
}

fn covers_cookie(own: &CookieMatch, other: &CookieMatch) -> bool {
    own == other
        || own.name == other.name
            && !own.invert
            && !other.invert
            && covers_text((&own.matcher, own.ignore_case), (&other.matcher, other.ignore_case))
}

/// Whether every text that the other match is met by meets this one, too. The flag: without case.
pub(super) fn covers_text(own: (&StringMatch, bool), other: (&StringMatch, bool)) -> bool {
    let ((own, own_free), (other, other_free)) = (own, other);
    if *own == StringMatch::Present {
        return true;
    }
    if let (StringMatch::Range(own), other) = (own, other) {
        return covers_range(*own, other);
    }
    if other_free && !own_free {
        return false;
    }
    if own == other {
        return true;
    }
    let case = |text: &String| if own_free { text.to_ascii_lowercase() } else { text.clone() };
    match (own, other) {
        (StringMatch::Exact(own), StringMatch::Exact(other)) => case(own) == case(other),
        (StringMatch::Prefix(own), StringMatch::Exact(other) | StringMatch::Prefix(other)) => {
            case(other).starts_with(&case(own))
        }
        (StringMatch::Suffix(own), StringMatch::Exact(other) | StringMatch::Suffix(other)) => {
            case(other).ends_with(&case(own))
        }
        (
            StringMatch::Contains(own),
            StringMatch::Exact(other)
            | StringMatch::Prefix(other)
            | StringMatch::Suffix(other)
            | StringMatch::Contains(other),
        ) => case(other).contains(&case(own)),
        _ => false,
    }
}

fn covers_range(own: IntegerRange, other: &StringMatch) -> bool {
    match other {
        StringMatch::Range(other) => own.start <= other.start && other.end <= own.end,
        StringMatch::Exact(text) => {
            text.parse::<i64>().is_ok_and(|number| (own.start..own.end).contains(&number))
        }
        _ => false,
    }
}
