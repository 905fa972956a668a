//! Resources without the private keys that stand in them.

const BEGIN: &[u8] = b"PRIVATE KEY-----";
const END: &[u8] = b"-----END ";

/// The bytes of a resource in which private keys (PEM) are made unreadable. Nothing becomes longer or
/// shorter, so the message is read as before, however deep a key stands in it.
pub(super) fn redacted(mut resource: Vec<u8>) -> Vec<u8> {
    let mut from = 0;
    while let Some(begin) = position(&resource, BEGIN, from) {
        let key = begin + BEGIN.len();
        // Up to its end, and without one as far as it could reach.
        let is_text = |byte: &&u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
        let rest = resource.get(key..).unwrap_or_default();
        let run = key + rest.iter().take_while(is_text).count();
        let end = position(&resource, END, key).map_or(run, |end| end.min(run));
        for byte in resource.get_mut(key..end).unwrap_or_default() {
            if !byte.is_ascii_whitespace() {
                *byte = b'*';
            }
        }
        // Behind it may be the end of the same key.
        let close = position(&resource, BEGIN, end).filter(|close| *close < end + 40);
        from = match close {
            Some(close) if resource.get(end..).is_some_and(|it| it.starts_with(END)) => {
                close + BEGIN.len()
            }
            _ => end.max(key),
        };
    }
    resource
}

fn position(bytes: &[u8], wanted: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.windows(wanted.len()).position(|it| it == wanted).map(|place| from + place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_unreadable_and_nothing_else() {
        let key = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQ+/=\nAA\n-----END EC PRIVATE KEY-----\n";
        let certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        let text = format!("\u{1}{certificate}\u{2}{key}\u{3}{key}{certificate}end");
        let hidden = String::from_utf8(redacted(text.clone().into_bytes())).unwrap();
        assert_eq!(hidden.len(), text.len());
        assert!(!hidden.contains("MHcCAQ"), "{hidden}");
        assert_eq!(hidden.matches("MIIB").count(), 2);
        assert_eq!(hidden.matches("PRIVATE KEY-----").count(), 4);
        assert!(hidden.ends_with("end"));
    }

    #[test]
    fn a_key_without_an_end_is_hidden_and_the_rest_stays() {
        let hidden = redacted(b"-----BEGIN PRIVATE KEY-----\nAAAA\x00rest".to_vec());
        assert_eq!(hidden, b"-----BEGIN PRIVATE KEY-----\n****\x00rest");
        assert_eq!(redacted(b"nothing".to_vec()), b"nothing");
    }
}
