//! A path, and what a server may read it as.
//!
//! A path is sent as it is written, and servers differ in what they make of it: `//admin`, `/%61dmin`
//! and `/x/../admin` may all be `/admin`. A rule that is met by one reading and not by another is
//! not known to be met.

use std::cell::OnceCell;

/// The path of a request, in all of its readings, and its query.
#[derive(Debug)]
pub(crate) struct Paths<'a> {
    written: &'a str,
    query: Option<&'a str>,
    /// What else it may be read as.
    others: OnceCell<Vec<String>>,
    /// All of them with the query, the one that is written first; nobody may ask for them.
    whole: OnceCell<Vec<String>>,
}

// === impl Paths ===

impl<'a> Paths<'a> {
    pub(super) fn new(written: &'a str, query: Option<&'a str>) -> Self {
        Self { written, query, others: OnceCell::new(), whole: OnceCell::new() }
    }

    /// Whether all readings are so, or none is; none: they differ.
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
        let others = self.others.get_or_init(|| others(self.written));
        std::iter::once(self.written).chain(others.iter().map(String::as_str))
    }
}

/// What all answers are; none: they differ.
fn agreed(mut answers: impl Iterator<Item = bool>) -> Option<bool> {
    let first = answers.next()?;
    answers.all(|it| it == first).then_some(first)
}

/// What the path may be read as beside what is written, each once: after normalisation as a whole, and after each
/// part of it alone, for servers do as much of it as they are told to.
//= RFC 3986 §6.2.2: unreserved characters and slashes are decoded, slashes are merged, dot segments are resolved
//= Envoy: `path_with_escaped_slashes_action`, then `normalize_path`, then `merge_slashes`, or any of them
fn others(path: &str) -> Vec<String> {
    if is_plain(path) || !path.starts_with('/') {
        return Vec::new();
    }
    let mut others = vec![normal(path)];
    let unescaped = unescaped(path);
    let differs = unescaped != path;
    for unescaped in std::iter::once(path.to_owned()).chain(differs.then_some(unescaped)) {
        others.push(decode(&unescaped, false, is_unreserved));
        for canonical in [canonical(&unescaped), unescaped] {
            others.push(merged(&canonical));
            others.push(canonical);
        }
    }
    others.retain(|other| other != path);
    others.sort_unstable();
    others.dedup();
    others
}

/// All that can be done: what is encoded without need, and slashes, are decoded before dots are resolved.
fn normal(path: &str) -> String {
    let slashes = |byte: u8| matches!(byte, b'/' | b'\\');
    let decoded = decode(path, true, |byte| slashes(byte) || is_unreserved(byte));
    resolved(&merged(&decoded.replace('\\', "/")))
}

/// With its slashes decoded.
fn unescaped(path: &str) -> String {
    decode(path, false, |byte| matches!(byte, b'/' | b'\\'))
}

/// As Envoy has it: encoded slashes stay, and two slashes have a segment between them, which dots take away.
fn canonical(path: &str) -> String {
    resolved(&decode(path, false, is_unreserved).replace('\\', "/"))
}

/// Without dot segments.
fn resolved(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut ends_open = false;
    for segment in path.split('/').skip(1) {
        ends_open = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let mut resolved = String::with_capacity(path.len());
    for segment in &segments {
        resolved.push('/');
        resolved.push_str(segment);
    }
    if ends_open {
        resolved.push('/');
    }
    resolved
}

/// With one slash where there are several.
fn merged(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for letter in path.chars() {
        if letter != '/' || !merged.ends_with('/') {
            merged.push(letter);
        }
    }
    merged
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

/// Decodes these bytes, which are ASCII; what stays encoded is in upper case, if that is asked for.
fn decode(path: &str, in_upper_case: bool, is_one: impl Fn(u8) -> bool) -> String {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(place) = rest.find('%') {
        let (before, encoded) = rest.split_at(place);
        decoded.push_str(before);
        let (length, byte) = match encoded.as_bytes() {
            [_, high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (3, Some((hex(*high) << 4) | hex(*low)))
            }
            _ => (1, None),
        };
        let (written, after) = encoded.split_at(length);
        match byte.filter(|byte| is_one(*byte)) {
            Some(byte) => decoded.push(char::from(byte)),
            None if in_upper_case => decoded.push_str(&written.to_ascii_uppercase()),
            None => decoded.push_str(written),
        }
        rest = after;
    }
    decoded.push_str(rest);
    decoded
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
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
        let table: &[(&str, &[&str])] = &[
            ("/admin", &[]),
            ("/a.b/c", &[]),
            ("/.well-known/x", &[]),
            ("*", &[]),
            ("/a%20b", &[]),
            ("/100%", &[]),
            ("/%zz", &[]),
            ("//admin", &["/admin"]),
            ("/%61dmin", &["/admin"]),
            ("/x/../admin", &["/admin"]),
            ("/x/%2e%2E/admin", &["/admin", "/x/../admin"]),
            ("/x%2F..%5cadmin", &["/admin", "/x/..\\admin"]),
            ("/admin/.", &["/admin/"]),
            ("/..", &["/"]),
            ("/caf%c3%a9", &["/caf%C3%A9"]),
            ("/%2561", &[]),
            // Dots take away what stands between two slashes, unless these have been merged.
            ("/x//../admin", &["/admin", "/x/../admin", "/x/admin"]),
            ("/a%2fb%2f%2fc", &["/a/b//c", "/a/b/c"]),
        ];
        for (path, expected) in table {
            assert_eq!(others(path), *expected, "{path}");
        }
    }

    #[test]
    fn a_path_of_several_readings_is_neither() {
        let is_admin = |path: &str| path.starts_with("/admin");
        assert_eq!(Paths::new("/admin/x", None).are(is_admin), Some(true));
        assert_eq!(Paths::new("//admin/x", None).are(is_admin), None);
        assert_eq!(Paths::new("//orders", None).are(is_admin), Some(false));
        // Of two slashes and dots there are several, and one is met.
        let is_it = |path: &str| path == "/x/admin";
        assert_eq!(Paths::new("/x//../admin", None).are(is_it), None);
    }

    #[test]
    fn a_path_with_its_query_is_one_text_in_all_readings() {
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
            // What was encoded twice is decoded once, so that only its dots and slashes may go on.
            let once = normal(&path);
            proptest::prop_assert!(once.starts_with('/'));
            proptest::prop_assert!(!once.contains("//") && !once.contains('\\'));
            proptest::prop_assert!(!once.split('/').any(|it| it == "." || it == ".."));
            proptest::prop_assert!(once == path || others(&path).contains(&once));
            // As few as it may be read as, the written one never.
            let others = others(&path);
            proptest::prop_assert!(others.len() <= 10 && !others.contains(&path));
            proptest::prop_assert!(others.iter().all(|it| it.starts_with('/')));
        }
    }
}
