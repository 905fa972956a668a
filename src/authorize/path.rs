//! A path, and what a server may read it as.
//!
//! A path is sent as it is written, and servers differ in what they make of it: `//admin`, `/%61dmin`
//! and `/x/../admin` may all be `/admin`. A rule that is met by one reading and not by the other is
//! not known to be met.

use std::cell::OnceCell;

/// The path of a request, in its two readings.
#[derive(Debug)]
pub(crate) struct Paths<'a> {
    written: &'a str,
    /// What it is after normalisation, where that is another.
    normal: OnceCell<Option<String>>,
}

// === impl Paths ===

impl<'a> Paths<'a> {
    pub(super) fn new(written: &'a str) -> Self {
        Self { written, normal: OnceCell::new() }
    }

    /// Whether both readings are so, or neither; none: they differ.
    pub(super) fn are(&self, so: impl Fn(&str) -> bool) -> Option<bool> {
        let written = so(self.written);
        match self.normal.get_or_init(|| normal(self.written)) {
            Some(normal) if so(normal) != written => None,
            _ => Some(written),
        }
    }
}

/// The path after normalisation, if that changes it.
//= RFC 3986 §6.2.2, Envoy `normalize_path`, `merge_slashes`, `path_with_escaped_slashes_action`:
//= unreserved characters and slashes are decoded, slashes are merged, dot segments are resolved
fn normal(path: &str) -> Option<String> {
    if is_plain(path) || !path.starts_with('/') {
        return None;
    }
    let decoded = decode(path)?;
    let mut segments: Vec<&str> = Vec::new();
    let mut ends_open = false;
    for segment in decoded.split('/').skip(1) {
        ends_open = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let mut normal = String::with_capacity(decoded.len());
    for segment in &segments {
        normal.push('/');
        normal.push_str(segment);
    }
    if ends_open {
        normal.push('/');
    }
    (normal != path).then_some(normal)
}

/// Whether nothing is encoded, no slash is another's neighbour, and no segment begins with a dot: seen in one
/// pass, for it is asked of each call.
fn is_plain(path: &str) -> bool {
    let mut is_after_slash = false;
    path.bytes().all(|byte| {
        let is_odd = matches!(byte, b'%' | b'\\');
        let is_plain = !(is_odd || is_after_slash && matches!(byte, b'/' | b'.'));
        is_after_slash = byte == b'/';
        is_plain
    })
}

/// Decodes what need not be encoded, and slashes; what stays encoded is in upper case.
fn decode(path: &str) -> Option<String> {
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'%', [high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                rest = after;
                let value = (hex(*high) << 4) | hex(*low);
                match value {
                    b'/' | b'\\' => decoded.push(b'/'),
                    value if value.is_ascii_alphanumeric() || b"-._~".contains(&value) => {
                        decoded.push(value);
                    }
                    _ => {
                        let upper = [b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()];
                        decoded.extend(upper);
                    }
                }
            }
            (b'\\', _) => decoded.push(b'/'),
            _ => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).ok()
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_path_may_be_read_as() {
        for (path, expected) in [
            ("/admin", None),
            ("/a.b/c", None),
            ("/.well-known/x", None),
            ("*", None),
            ("/a%20b", None),
            ("/100%", None),
            ("/%zz", None),
            ("//admin", Some("/admin")),
            ("/%61dmin", Some("/admin")),
            ("/x/../admin", Some("/admin")),
            ("/x/%2e%2E/admin", Some("/admin")),
            ("/x%2F..%5cadmin", Some("/admin")),
            ("/admin/.", Some("/admin/")),
            ("/..", Some("/")),
            ("/caf%c3%a9", Some("/caf%C3%A9")),
            ("/%2561", None),
        ] {
            assert_eq!(normal(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn a_path_of_two_readings_is_neither() {
        let is_admin = |path: &str| path.starts_with("/admin");
        assert_eq!(Paths::new("/admin/x").are(is_admin), Some(true));
        assert_eq!(Paths::new("//admin/x").are(is_admin), None);
        assert_eq!(Paths::new("//orders").are(is_admin), Some(false));
    }

    proptest::proptest! {
        #[test]
        fn what_is_plain_is_seen_in_one_pass(path in "[/a.%é\\\\]{0,12}") {
            let plain = !path.contains(['%', '\\']) && !path.contains("//") && !path.contains("/.");
            proptest::prop_assert_eq!(is_plain(&path), plain);
        }

        #[test]
        fn what_is_normal_stays_so(path in "/[a./%25F2\\\\]{0,24}") {
            if let Some(once) = normal(&path) {
                // What was encoded twice is decoded once, so that only its dots and slashes may go on.
                proptest::prop_assert!(once.starts_with('/'));
                proptest::prop_assert!(!once.contains("//") && !once.contains('\\'));
                proptest::prop_assert!(!once.split('/').any(|it| it == "." || it == ".."));
            }
        }
    }
}
