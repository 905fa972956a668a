//! Texts that others wrote, as far as they are repeated.

/// No longer than this is one repeated. Unit: characters.
const LONGEST: usize = 1024;
/// Nor, with what cannot be shown written out. Unit: bytes.
const LONGEST_SHOWN: usize = 2048;

/// A bounded part of a text that others wrote.
pub(super) fn short(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The same, on one line: what cannot be shown is written out.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = short(text).escape_debug().to_string();
    if quoted.len() > LONGEST_SHOWN {
        let mut ends = (0..=LONGEST_SHOWN).rev();
        let end = ends.find(|at| quoted.is_char_boundary(*at)).unwrap_or(0);
        quoted.truncate(end);
        quoted.push('…');
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_shown_on_one_line_and_not_endless() {
        assert_eq!(quoted("ein Täßchen\n\0\u{1b}[31m"), r"ein Täßchen\n\0\u{1b}[31m");
        for letter in ["a", "\n", "ß", "\u{10ffff}", "日"] {
            let text = quoted(&letter.repeat(1 << 20));
            assert!((1024..=LONGEST_SHOWN + 3).contains(&text.len()), "{letter:?}: {}", text.len());
            assert!(text.ends_with('…') && !text.contains(char::is_control));
        }
    }
}
