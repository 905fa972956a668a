//! The grammar of service names: `[scheme://]name[:port]`.
//!
//! A name is a registered name of RFC 3986 (labels of letters, digits, `-` and `_`, with dots
//! between them) or an IPv6 address in brackets, compared without case; one trailing dot is
//! dropped. With a port, the service `name:port` is looked up first, then `name`: by a client
//! when it is made, if every source has spoken by then, else by each of its calls. The scheme may
//! be `http` or `https`, in any case: both mean the service, and what secures the
//! connection is the cluster's setting; `https` is never sent over plaintext that nobody has asked
//! for.

use std::{borrow::Cow, fmt, net::Ipv6Addr};

/// A service name as a user wrote it, taken apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Name {
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    /// Whether the scheme asks for TLS.
    pub(crate) https: bool,
}

impl Name {
    /// Parses `[scheme://]name[:port]`.
    ///
    /// The reason why it is none repeats no user that stands before the name, nor a password.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        //= RFC 3986 §3.1: schemes are compared without case
        let (https, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, rest)) => {
                let (name, text) = (shown(rest.trim_start_matches('/')), shown(text));
                let hint = match &*scheme.to_ascii_lowercase() {
                    "dns" => format!(
                        "; call `{name}`, and `unknown_names(UnknownNames::Dns)` for plain DNS"
                    ),
                    "grpc" | "grpcs" | "h2" | "h2c" => {
                        format!("; call `{name}`: the cluster's `protocol` says what it speaks")
                    }
                    "unix" => "; a Unix socket is the address of an endpoint".to_owned(),
                    _ => String::new(),
                };
                let reason = format!("scheme `{scheme}` of `{text}` is neither http nor https");
                return Err(reason + &hint);
            }
            None => (false, text),
        };
        if let Some(at) = rest.find(['/', '?', '#', '@']) {
            let text = shown(text);
            return Err(match &rest[at..=at] {
                "@" => format!("`{text}` has a user before its name"),
                after => format!("`{text}` has `{after}` after its name"),
            });
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                let digits = port.bytes().all(|byte| byte.is_ascii_digit());
                let port = port
                    .parse()
                    .ok()
                    .filter(|port| digits && *port > 0)
                    .ok_or_else(|| format!("port `{port}` of `{text}` is not in 1..=65535"))?;
                (host, Some(port))
            }
            _ => (rest, None),
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        if host.len() > 253 || !(is_registered(host) || is_ipv6(host)) {
            return Err(format!("`{text}` is not a service name"));
        }
        Ok(Self { host: host.to_ascii_lowercase(), port, https })
    }
}

/// A text without what may be a user and a password in it.
fn shown(text: &str) -> Cow<'_, str> {
    match text.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}").into(),
        None => text.into(),
    }
}

/// Why nobody could call a service that a configuration names so.
pub(crate) fn callable(name: &str) -> Result<(), String> {
    let called = Name::parse(name)?;
    if called.to_string().eq_ignore_ascii_case(name) {
        return Ok(());
    }
    Err(format!("a service is named as it is looked up: `{called}`"))
}

/// Labels of letters, digits, `-` and `_`, with one dot between them.
fn is_registered(host: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    host.split('.').all(|label| !label.is_empty() && label.bytes().all(legal))
}

fn is_ipv6(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(host: &str, port: Option<u16>) -> Result<Name, String> {
        Ok(Name { host: host.into(), port, https: false })
    }

    #[test]
    fn names_ports_and_schemes_are_taken_apart() {
        assert_eq!(Name::parse("greeter.prod"), name("greeter.prod", None));
        assert_eq!(Name::parse("Greeter.PROD."), name("greeter.prod", None));
        assert_eq!(Name::parse("http://users.prod:8080"), name("users.prod", Some(8080)));
        assert!(Name::parse("https://users").unwrap().https);
        assert!(!Name::parse("http://users").unwrap().https);
        assert_eq!(Name::parse("HTTP://users"), name("users", None));
        assert!(Name::parse("Https://users").unwrap().https);
        assert_eq!(Name::parse("[::1]:80"), name("[::1]", Some(80)));
        assert_eq!(Name::parse("[::1]"), name("[::1]", None));
    }

    #[test]
    fn what_is_no_name_is_refused_with_its_reason() {
        for bad in ["", ".", "ftp://x", "a b", "users:0", "users:99999", "users/1", "u@h", "a:b:c "]
        {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_as_other_systems_write_them_get_a_hint() {
        for (text, hint) in [
            ("dns:///users.prod:80", "call `users.prod:80`, and `unknown_names"),
            ("grpc://users", "call `users`: the cluster's `protocol`"),
            ("gRPC://users", "call `users`: the cluster's `protocol`"),
            ("unix:///run/app.sock", "the address of an endpoint"),
        ] {
            let reason = Name::parse(text).unwrap_err();
            assert!(reason.contains(hint), "{reason}");
        }
    }

    #[test]
    fn no_reason_repeats_a_password() {
        for text in [
            "me:secret@users",
            "http://me:secret@users",
            "ftp://me:secret@users",
            "dns:///me:secret@users",
            "grpc://me:secret@users:80",
            "me:secret@users/path",
            "me:secret@@users",
        ] {
            let reason = Name::parse(text).unwrap_err();
            assert!(!reason.contains("secret") && reason.contains("users"), "{reason}");
        }
    }

    #[test]
    fn empty_labels_and_stray_brackets_are_no_names() {
        for bad in ["2j..", "a..b", ".a", "]", "[a]", "[::1", "a:", "a::80", "[::1]x"] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_called_by_another_name_is_not_callable() {
        for good in ["users", "Users.PROD", "a_b-c.1:80", "[::1]", "[::1]:80"] {
            assert_eq!(callable(good), Ok(()), "{good}");
        }
        for (bad, reason) in [
            ("users prod", "`users prod` is not a service name"),
            ("dns:///a:80", "call `a:80`"),
            ("a/b", "has `/` after its name"),
            ("http://x", "as it is looked up: `x`"),
            ("a..b", "is not a service name"),
            ("user@x", "`…@x` has a user before its name"),
            ("naïve", "is not a service name"),
            ("a:0", "is not in 1..=65535"),
            ("a:080", "as it is looked up: `a:80`"),
            ("users.", "as it is looked up: `users`"),
            ("", "is not a service name"),
        ] {
            let found = callable(bad).unwrap_err();
            assert!(found.contains(reason), "{bad}: {found}");
        }
    }

    #[test]
    fn a_port_is_digits() {
        for bad in ["users:+80", "users:-1", "users:8o", "users: 80"] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Name::parse("users:080"), name("users", Some(80)));
    }

    #[test]
    fn a_name_that_was_read_is_read_again_as_itself() {
        for text in ["Greeter.PROD.", "users:080", "[::1]:80", "http://a-b_c.1"] {
            let name = Name::parse(text).unwrap();
            assert_eq!(Name::parse(&name.to_string()), Ok(name));
        }
    }
}
