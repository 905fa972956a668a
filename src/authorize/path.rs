//! A path, and what a server may read it as.
//!
//! A path is sent as it is written, and servers differ in what they make of it: `//admin`, `/%61dmin`
//! and `/x/../admin` may all be `/admin`. A rule that is met by one reading and not by the other is
//! not known to be met.

use std::cell::OnceCell;

/// The path of a request, in its two readings, and its query.
#[derive(Debug)]
pub(crate) struct Paths<'a> {
    written: &'a str,
    query: Option<&'a str>,
    /// What it is after normalisation, where that is another.
    normal: OnceCell<Option<String>>,
    /// Both with the query, the one that is written first; nobody may ask for them.
    whole: OnceCell<Vec<String>>,
}

// === impl Paths ===

impl<'a> Paths<'a> {
    pub(super) fn new(written: &'a str, query: Option<&'a str>) -> Self {
        Self { written, query, normal: OnceCell::new(), whole: OnceCell::new() }
    }

    /// Whether both readings are so, or neither; none: they differ.
    pub(super) fn are(&self, so: impl Fn(&str) -> bool) -> Option<bool> {
        agreed(self.readings().map(so))
    }

    /// The same of the path with its query, which nobody reads otherwise than it is written.
    pub(super) fn are_with_query(&self, so: impl Fn(&str) -> bool) -> Option<bool> {
        let Some(query) = self.query else { return self.are(so) };
        let whole = self
            .whole
            .get_or_init(|| self.readings().map(|path| format!("{path}?{query}")).collect());
        agreed(whole.iter().map(|whole| so(whole)))
    }

    fn readings(&self) -> impl Iterator<Item = &str> {
        let normal = self.normal.get_or_init(|| normal(self.written));
        std::iter::once(self.written).chain(normal.as_deref())
    }
}

/// What all answers are; none: they differ.
fn agreed(mut answers: impl Iterator<Item = bool>) -> Option<bool> {
    let first = answers.next()?;
    answers.all(|it| it == first).then_some(first)
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
        assert_eq!(Paths::new("/admin/x", None).are(is_admin), Some(true));
        assert_eq!(Paths::new("//admin/x", None).are(is_admin), None);
        assert_eq!(Paths::new("//orders", None).are(is_admin), Some(false));
    }

    #[test]
    fn a_path_with_its_query_is_one_text_in_both_readings() {
        let meets = |path, query, wanted: &str| {
            let paths = Paths::new(path, query);
            let (whole, bare) =
                (paths.are_with_query(|it| it == wanted), paths.are(|it| it == wanted));
            assert!(bare != Some(true) || query.is_none() || whole == Some(false));
            whole
        };
        assert_eq!(meets("/a", Some("b=1"), "/a?b=1"), Some(true));
        assert_eq!(meets("/a", Some("b=1"), "/a"), Some(false));
        assert_eq!(meets("/a", Some(""), "/a?"), Some(true));
        assert_eq!(meets("/a", None, "/a"), Some(true));
        assert_eq!(meets("//a", Some("b=1"), "/a?b=1"), None);
        // The query is what is written, whatever that is as a path.
        assert_eq!(meets("/a", Some("b=//%61/../c"), "/a?b=//%61/../c"), Some(true));
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
