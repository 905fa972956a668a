//! `%NAME%` in the value of a header: Envoy's command operators that a client has, compiled once by
//! validation to refuse them, and by the route table to fill them in.

mod clock;

use std::{env, fs, sync::OnceLock};

use http::HeaderName;

pub(crate) use self::clock::Clock;

/// Whose headers are edited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    Request,
    Response,
}

/// The parts of a value, in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Format(pub(crate) Box<[Part]>);

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Parsed {
    /// The same for every message.
    Plain(String),
    Made(Format),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    Text(String),
    /// A fact of the message, cut to so many bytes.
    Fact(Fact, Option<usize>),
}

/// What is filled in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fact {
    /// A header of the request, or of two the first that is there.
    Request(Field, Option<Field>),
    /// The same of the response.
    Response(HeaderName, Option<HeaderName>),
    /// `HTTP/1.1`, `HTTP/2`: of the request as the caller has made it.
    Protocol,
    /// The address of the endpoint that answered.
    Endpoint,
    Started(Clock),
    Status,
    Route,
    Cluster,
}

/// A header of a request, or what HTTP/2 has as one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Field {
    Header(HeaderName),
    Path,
    Method,
    Authority,
    Scheme,
}

/// The operators, for who has said another one.
const KNOWN: &str = "REQ, RESP, PROTOCOL, UPSTREAM_HOST, START_TIME, RESPONSE_CODE, ROUTE_NAME, \
                     UPSTREAM_CLUSTER, HOSTNAME, ENVIRONMENT";

/// One operator, as it stands.
struct Operator<'a> {
    name: &'a str,
    argument: Option<&'a str>,
    most: Option<usize>,
}

// === impl Parsed ===

impl Parsed {
    /// # Errors
    ///
    /// The operator that cannot be filled in there, and why.
    //= Envoy "Command operators": `%NAME(argument):length%`, and `%%` is a `%`
    pub(crate) fn new(value: &str, side: Side) -> Result<Self, String> {
        let (mut parts, mut text, mut rest) = (Vec::new(), String::new(), value);
        while let Some((before, after)) = rest.split_once('%') {
            text.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                text.push('%');
                rest = after;
                continue;
            }
            let Some((operator, after)) = Operator::first(after)? else {
                text.push('%');
                rest = after;
                continue;
            };
            rest = after;
            match operator.part(side)? {
                Part::Text(more) => text.push_str(&more),
                fact @ Part::Fact(..) => {
                    if !text.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut text)));
                    }
                    parts.push(fact);
                }
            }
        }
        text.push_str(rest);
        if parts.is_empty() {
            return Ok(Self::Plain(text));
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Self::Made(Format(parts.into())))
    }
}

// === impl Format ===

impl Format {
    pub(crate) fn names(&self, is_meant: impl Fn(&Fact) -> bool) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Fact(fact, _) if is_meant(fact)))
    }
}

// === impl Operator ===

impl<'a> Operator<'a> {
    /// The operator that a text begins with, behind its `%`, and what follows it; none: that is a
    /// percent sign.
    fn first(text: &'a str) -> Result<Option<(Self, &'a str)>, String> {
        let is_of_name =
            |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
        let length = text.bytes().take_while(is_of_name).count();
        let (name, rest) = text.split_at(length);
        if length < 2
            || !name.starts_with(|first: char| first.is_ascii_uppercase())
            || !rest.starts_with(['%', '(', ':'])
        {
            return Ok(None);
        }
        let open = || format!("`%{name}` is not closed by `%`");
        let (argument, rest) = match rest.strip_prefix('(') {
            None => (None, rest),
            Some(rest) => {
                let (argument, rest) = rest.split_once(')').ok_or_else(open)?;
                (Some(argument), rest)
            }
        };
        let (most, rest) = match rest.strip_prefix(':') {
            None => (None, rest.strip_prefix('%').ok_or_else(open)?),
            Some(rest) => {
                let (most, rest) = rest.split_once('%').ok_or_else(open)?;
                let number = most.parse();
                let number = number.map_err(|_| format!("`{most}` of `%{name}` is no length"))?;
                (Some(number), rest)
            }
        };
        Ok(Some((Self { name, argument, most }, rest)))
    }

    fn part(&self, side: Side) -> Result<Part, String> {
        let name = self.name;
        let fact = match name {
            "REQ" => {
                let (first, second) = self.pair()?;
                let second = second.map(|it| self.field(it)).transpose()?;
                Fact::Request(self.field(first)?, second)
            }
            "RESP" | "RESPONSE_CODE" | "UPSTREAM_HOST" if side == Side::Request => {
                return Err(format!(
                    "`%{name}%` is of responses, and a request has none of it yet"
                ));
            }
            "RESP" => {
                let (first, second) = self.pair()?;
                let second = second.map(|it| self.header(it)).transpose()?;
                Fact::Response(self.header(first)?, second)
            }
            "START_TIME" => {
                let clock = Clock::new(self.argument.filter(|it| !it.is_empty()))?;
                return Ok(Part::Fact(Fact::Started(clock), self.most));
            }
            "ENVIRONMENT" => {
                let argument = self.argument.filter(|it| !it.is_empty());
                let argument =
                    argument.ok_or("`%ENVIRONMENT%` needs the name of a variable in brackets")?;
                return Ok(self.same(&env::var(argument).unwrap_or_default()));
            }
            "PROTOCOL" => Fact::Protocol,
            "UPSTREAM_HOST" => Fact::Endpoint,
            "RESPONSE_CODE" => Fact::Status,
            "ROUTE_NAME" => Fact::Route,
            "UPSTREAM_CLUSTER" => Fact::Cluster,
            "HOSTNAME" => {
                self.alone()?;
                return Ok(self.same(hostname()));
            }
            _ => {
                let reason = super::validate::NOT_YET;
                return Err(format!("`%{name}%` is {reason}: what is filled in is {KNOWN}"));
            }
        };
        if !matches!(fact, Fact::Request(..) | Fact::Response(..)) {
            self.alone()?;
        }
        Ok(Part::Fact(fact, self.most))
    }

    /// What is the same for every message.
    fn same(&self, text: &str) -> Part {
        let most = self.most.unwrap_or(usize::MAX);
        // A header has no control characters.
        let text = text.chars().filter(|it| !it.is_control());
        Part::Text(text.take(most).collect())
    }

    fn alone(&self) -> Result<(), String> {
        match self.argument {
            None => Ok(()),
            Some(argument) => Err(format!("`%{}%` takes no `({argument})`", self.name)),
        }
    }

    fn pair(&self) -> Result<(&'a str, Option<&'a str>), String> {
        let argument = self.argument.filter(|it| !it.is_empty());
        let argument =
            argument.ok_or_else(|| format!("`%{}%` needs a header in brackets", self.name))?;
        Ok(match argument.split_once('?') {
            Some((first, second)) => (first, Some(second)),
            None => (argument, None),
        })
    }

    fn header(&self, name: &str) -> Result<HeaderName, String> {
        let bad = |_| format!("`{name}` of `%{}%` is not a header name", self.name);
        HeaderName::try_from(name).map_err(bad)
    }

    fn field(&self, name: &str) -> Result<Field, String> {
        Ok(match name.to_ascii_lowercase().as_str() {
            ":path" => Field::Path,
            ":method" => Field::Method,
            ":authority" | "host" => Field::Authority,
            ":scheme" => Field::Scheme,
            _ => Field::Header(self.header(name)?),
        })
    }
}

/// The name of this machine; `-`, if nobody knows (Envoy).
fn hostname() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let kernel = || fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let of = |name| env::var(name).ok();
        let known = [kernel(), of("HOSTNAME"), of("COMPUTERNAME")].into_iter().flatten();
        let known = known.map(|name| name.trim().to_owned()).find(|name| !name.is_empty());
        known.unwrap_or_else(|| "-".to_owned())
    })
}

#[cfg(test)]
mod tests;
