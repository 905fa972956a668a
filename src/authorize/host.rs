//! The authority of a request, and what else leads to the same place.
//!
//! `orders.example:80` and `orders.example.` come to the service that `orders.example` comes to. A
//! rule that is met by another way of writing the host than the caller's is not known to be met.

/// The authority of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hosts<'a> {
    Written(&'a str),
    /// There is a `host` header, which is no text.
    Illegible,
    Missing,
}

// === impl Hosts ===

impl<'a> Hosts<'a> {
    /// Whether it is so as it is written; none: as it may be written as well.
    pub(super) fn is(self, so: impl Fn(&str) -> bool) -> Option<bool> {
        let written = match self {
            Self::Written(written) => written,
            Self::Illegible => return None,
            Self::Missing => return Some(false),
        };
        if so(written) {
            // A rule that speaks of the port or of the dot means it.
            return Some(true);
        }
        let (name, port) = apart(written);
        let is_other = |other: &str| other.len() != written.len() && so(other);
        let is_so = is_other(name)
            || name.strip_suffix('.').is_some_and(|bare| {
                is_other(bare) || (!port.is_empty() && so(&format!("{bare}{port}")))
            });
        if is_so { None } else { Some(false) }
    }
}

/// The host, and its port with the colon before it.
fn apart(authority: &str) -> (&str, &str) {
    match authority.rfind(':') {
        Some(at) if authority.bytes().skip(at + 1).all(|byte| byte.is_ascii_digit()) => {
            authority.split_at(at)
        }
        _ => (authority, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_to_write_a_host() {
        for (written, expected) in [
            ("a.example", &["a.example"][..]),
            ("a.example:80", &["a.example:80", "a.example"]),
            ("a.example:", &["a.example:", "a.example"]),
            ("a.example.", &["a.example.", "a.example"]),
            ("a.example.:80", &["a.example.:80", "a.example.", "a.example", "a.example:80"]),
            ("[::1]", &["[::1]"]),
            ("[::1]:80", &["[::1]:80", "[::1]"]),
            ("", &[""]),
            (".", &[".", ""]),
        ] {
            let read = std::cell::RefCell::new(Vec::new());
            let met = Hosts::Written(written).is(|host| {
                read.borrow_mut().push(host.to_owned());
                false
            });
            assert_eq!(met, Some(false));
            assert_eq!(read.into_inner(), expected);
        }
    }
}
