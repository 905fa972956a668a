//! What holds of any bytes that are taken for a token: it can be shown as it is and stays secret, or it is refused in
//! few words; for the fuzz target and property tests.

use std::time::{Duration, SystemTime};

use http::HeaderValue;

use super::{google, token};

/// What is shown before every token.
const SCHEME: &[u8] = b"Bearer ";
/// Less than fits a token. Unit: bytes.
const FEW_WORDS: usize = 128;
/// When tokens are looked at, the latest last. Unit: seconds since 1970.
const TIMES: [u64; 4] = [0, 1_000, 1_800_000_000, 4_000_000_000];

/// Reads an answer of Google's metadata server, and the content of a file (gRFC A97); whether it is one of both.
///
/// # Panics
///
/// If what is read is not sound.
pub(crate) fn reads(bytes: &[u8]) -> bool {
    let answered = google::token(bytes);
    if let Some((header, lasts)) = &answered {
        assert!(!shown(header).is_empty(), "nothing is shown");
        assert!(*lasts <= Duration::from_secs(google::LONGEST), "{lasts:?}");
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return answered.is_some() };
    let text = text.trim();
    let good = TIMES.map(|seconds| {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        match token::header(text, now) {
            Ok(header) => {
                assert_eq!(shown(&header), text.as_bytes());
                true
            }
            Err(why) => {
                assert!(!why.is_empty() && why.len() < FEW_WORDS, "{why}");
                assert!(!why.chars().any(char::is_control), "{why:?}");
                false
            }
        }
    });
    // One that has expired never comes back.
    assert!(good.is_sorted_by_key(|is_good| !is_good), "{good:?}");
    answered.is_some() || good[0]
}

/// The token of a header, which is never printed.
fn shown(header: &HeaderValue) -> &[u8] {
    assert_eq!(format!("{header:?}"), "Sensitive");
    let token = header.as_bytes().strip_prefix(SCHEME);
    assert!(token.is_some(), "a header of another scheme");
    token.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    /// From these the fuzz target begins: tokens, and what is none.
    #[test]
    fn seeds_of_the_fuzz_target_are_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus-seeds/xds_token");
        let mut seen = [0, 0];
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_wrong = path.extension().is_some_and(|it| it == "wrong");
            assert_eq!(reads(&fs::read(&path).unwrap()), !is_wrong, "{}", path.display());
            seen[usize::from(is_wrong)] += 1;
        }
        assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _is_token: bool = reads(&bytes);
        }

        /// Words of the format, so that more than the parser of JSON is reached.
        #[test]
        fn whatever_is_a_token_is_shown_as_it_is_until_it_expires(
            secret in "[ -~\u{e9}\n]{0,12}",
            time in "-?[0-9]{0,20}(\\.[0-9]{1,3})?(e[0-9]{1,3})?",
            head in "[ -~]{0,4}",
            more in "(\\.[a-z]{0,3}){0,2}",
        ) {
            let secret = serde_json::Value::String(secret).to_string();
            let answer = format!(r#"{{"access_token": {secret}, "expires_in": {time}}}"#);
            let _is_token: bool = reads(answer.as_bytes());
            let claims = BASE64_URL_SAFE_NO_PAD.encode(format!(r#"{{"exp": {time}}}"#));
            let _is_token: bool = reads(format!("{head}.{claims}{more}").as_bytes());
        }
    }
}
