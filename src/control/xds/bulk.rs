//! Of how much a message is made, told before it is read.
//!
//! A message, a text or a list of bytes may take two bytes on the wire and some hundred in memory: what is
//! within the bound of its size may still be made of so many that nobody has room for them.

/// The longest name of a resource: it is said in each request. Unit: bytes.
pub(crate) const LONGEST_NAME: usize = 4096;
/// Resources, names and errors of one answer.
pub(crate) const MOST_OF_ANSWER: usize = 262_144;
/// Localities and endpoints of a resource of endpoints.
pub(crate) const MOST_ENDPOINTS: usize = 1_048_576;
/// What a resource of another type is made of, and what these parts are: virtual hosts and routes.
const MOST_PARTS: usize = 262_144;
/// All that a resource is made of, however deep.
const MOST_IN_ALL: usize = 16_777_216;
/// What a smaller resource is made of does not matter, and of one that is not large, not what that is made
/// of. Unit: bytes.
const SMALL: usize = 64 * 1024;
const LARGE: usize = 1024 * 1024;
/// As deep as messages are read.
const DEEPEST: usize = 100;

/// The text that a message begins with: of a resource, its name. Only to find what may be meant: whatever
/// writes a message begins with its first field.
pub(crate) fn first_text(message: &[u8]) -> Option<&str> {
    let mut rest = message.strip_prefix(&[0x0a])?;
    let length = prost::decode_length_delimiter(&mut rest).ok()?;
    std::str::from_utf8(rest.get(..length)?).ok()
}

/// Whether a resource can be read.
///
/// # Errors
///
/// What of it is too much.
pub(crate) fn check(value: &[u8], is_endpoints: bool) -> Result<(), String> {
    if value.len() <= SMALL {
        return Ok(());
    }
    let (most, what) = if is_endpoints {
        (MOST_ENDPOINTS, "localities and endpoints")
    } else {
        (MOST_PARTS, "parts, and parts of these")
    };
    if has_more(value, 2, most) {
        return Err(format!("it has more than {most} {what}"));
    }
    if value.len() > LARGE && has_more(value, DEEPEST, MOST_IN_ALL) {
        return Err(format!("it is made of more than {MOST_IN_ALL} parts"));
    }
    Ok(())
}

/// Whether there are more messages, texts and lists of bytes in it than that, so many levels deep. A text
/// that could be a message counts as one.
pub(crate) fn has_more(message: &[u8], levels: usize, most: usize) -> bool {
    let mut left = most;
    !count(message, levels, &mut left)
}

/// Whether there are as many `left`, of which those are taken.
fn count(mut message: &[u8], levels: usize, left: &mut usize) -> bool {
    while let Some(Field { content, is_number }) = field(&mut message) {
        if is_number {
            continue;
        }
        let Some(fewer) = left.checked_sub(1) else { return false };
        *left = fewer;
        if levels > 1 && !count(content, levels - 1, left) {
            return false;
        }
    }
    true
}

/// What a field holds.
struct Field<'a> {
    content: &'a [u8],
    is_number: bool,
}

/// Takes the first field; nothing at the end, and where the bytes are none of a message.
fn field<'a>(bytes: &mut &'a [u8]) -> Option<Field<'a>> {
    let mut rest = *bytes;
    let key = prost::decode_length_delimiter(&mut rest).ok()?;
    let mut field = Field { content: &[], is_number: true };
    match key & 7 {
        0 => drop(prost::decode_length_delimiter(&mut rest).ok()?),
        1 => rest = rest.get(8..)?,
        2 => {
            let length = prost::decode_length_delimiter(&mut rest).ok()?;
            let (own, after) = rest.split_at_checked(length)?;
            (field, rest) = (Field { content: own, is_number: false }, after);
        }
        5 => rest = rest.get(4..)?,
        // Groups have no content that is kept.
        3 | 4 => {}
        _ => return None,
    }
    *bytes = rest;
    Some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many empty messages, in a field of as many messages.
    fn nested(outer: usize, inner: usize) -> Vec<u8> {
        let mut one = vec![0x12];
        prost::encode_length_delimiter(2 * inner, &mut one).unwrap();
        one.extend([0x12_u8, 0].repeat(inner));
        one.repeat(outer)
    }

    #[test]
    fn what_a_message_is_made_of_is_counted_as_deep_as_it_is_looked_at() {
        let message = nested(3, 5);
        for (levels, all) in [(1, 3), (2, 18), (3, 18)] {
            assert!(has_more(&message, levels, all - 1), "{levels}");
            assert!(!has_more(&message, levels, all), "{levels}");
        }
        // Numbers are none, nor is what is no message.
        for bytes in [&[0x08, 1, 0x0d, 0, 0, 0, 0, 0x09, 0, 0, 0, 0, 0, 0, 0, 0][..], &[0xff], &[]]
        {
            assert!(!has_more(bytes, DEEPEST, 0), "{bytes:?}");
        }
        assert!(!has_more(b"\x0a\x03abc", 9, 1));
    }

    #[test]
    fn a_resource_of_too_many_parts_is_refused_by_their_number() {
        for (is_endpoints, most, name) in
            [(true, MOST_ENDPOINTS, "endpoints"), (false, MOST_PARTS, "parts")]
        {
            assert_eq!(check(&nested(1, most - 1), is_endpoints), Ok(()));
            let why = check(&nested(1, most), is_endpoints).unwrap_err();
            assert!(why.contains(&most.to_string()) && why.contains(name), "{why}");
        }
        // Deeper, more of them may be.
        let deep = |count: usize| {
            let mut all = nested(1, count);
            for _ in 0..2 {
                let mut outer = vec![0x12];
                prost::encode_length_delimiter(all.len(), &mut outer).unwrap();
                outer.append(&mut all);
                all = outer;
            }
            all
        };
        assert_eq!(check(&deep(MOST_PARTS + 1), false), Ok(()));
        assert!(has_more(&deep(100), DEEPEST, 102) && !has_more(&deep(100), DEEPEST, 103));
    }

    #[test]
    fn however_deep_it_is_nested_it_is_looked_at_to_its_bound() {
        let mut message = vec![0; LARGE];
        for _ in 0..200 {
            let mut outer = vec![0x12];
            prost::encode_length_delimiter(message.len(), &mut outer).unwrap();
            outer.append(&mut message);
            message = outer;
        }
        assert_eq!(check(&message, false), Ok(()));
    }
}
