//! The authorities that a route is for.

/// A compiled pattern of an authority, in lower case.
#[derive(Debug)]
pub(crate) enum Host {
    Exact(String),
    /// `*.b`, without the star.
    Suffix(String),
    /// `a.*`, without the star.
    Prefix(String),
    Any,
}

impl Host {
    /// Compiles a validated pattern.
    pub(crate) fn new(pattern: &str) -> Self {
        let pattern = pattern.to_ascii_lowercase();
        match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
            (Some(""), _) => Self::Any,
            (Some(suffix), _) => Self::Suffix(suffix.to_owned()),
            (None, Some(prefix)) => Self::Prefix(prefix.to_owned()),
            (None, None) => Self::Exact(pattern),
        }
    }

    /// Without case; a pattern without a port is for every port.
    //= Envoy VirtualHost.domains: a star stands for at least one character
    pub(super) fn matches(&self, host: &str) -> bool {
        let bare = match host.rsplit_once(':') {
            Some((bare, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => bare,
            _ => host,
        };
        let starts = |host: &str, text: &str| {
            host.len() > text.len()
                && host.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text))
        };
        let ends = |host: &str, text: &str| {
            let at = host.len().checked_sub(text.len()).filter(|at| *at > 0);
            at.and_then(|at| host.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(text))
        };
        match self {
            Self::Any => true,
            Self::Exact(exact) => {
                bare.eq_ignore_ascii_case(exact) || host.eq_ignore_ascii_case(exact)
            }
            Self::Suffix(suffix) => ends(bare, suffix) || ends(host, suffix),
            Self::Prefix(prefix) => starts(bare, prefix),
        }
    }

    pub(super) fn takes_all(&self) -> bool {
        matches!(self, Self::Any)
    }

    /// Whether it is certain that every host which the other matches is one of its own.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Exact(host)) => self.matches(host),
            (Self::Suffix(own), Self::Suffix(other)) => other.ends_with(own.as_str()),
            (Self::Prefix(own), Self::Prefix(other)) => other.starts_with(own.as_str()),
            _ => false,
        }
    }

    /// How specific it is: characters of a name without a star, then of one with it.
    //= Gateway API HTTPRouteSpec.hostnames
    pub(super) fn rank(&self) -> (usize, usize) {
        match self {
            Self::Exact(host) => (host.len(), host.len()),
            Self::Suffix(part) | Self::Prefix(part) => (0, part.len() + 1),
            Self::Any => (0, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_something() {
        for (pattern, host, expected) in [
            ("a.b", "A.B", true),
            ("a.b", "a.b:80", true),
            ("a.b:81", "a.b:80", false),
            ("a.b:80", "a.b:80", true),
            ("*.b", "a.b", true),
            ("*.b", "x.a.b:1", true),
            ("*.b", ".b", false),
            ("*.b", "b", false),
            ("a.*", "a.x", true),
            ("a.*", "a.", false),
            ("*", "anything", true),
            ("*", "", true),
        ] {
            assert_eq!(Host::new(pattern).matches(host), expected, "{pattern} {host}");
        }
    }
}
