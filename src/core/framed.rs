//! The frame of a gRPC message: a byte that says whether it is compressed, four that say how long it is.

#[cfg(feature = "orca")]
use bytes::Buf as _;
use bytes::{BufMut as _, Bytes, BytesMut};

const PREFIX: usize = 5;

/// A message in its frame, not compressed.
pub(crate) fn framed(message: &impl prost::Message) -> Bytes {
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(PREFIX + length);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    framed.put_slice(&message.encode_to_vec());
    framed.freeze()
}

/// The message whose frame is all of these bytes; nothing if that is compressed.
pub(crate) fn lone(bytes: &[u8]) -> Option<&[u8]> {
    let (is_plain, length) = prefix(bytes)?;
    let message = bytes.get(PREFIX..)?;
    (is_plain && message.len() == length).then_some(message)
}

/// Takes the next whole message from what was read, and whether it is one that is not compressed;
/// nothing while its end has not come.
#[cfg(feature = "orca")]
pub(crate) fn next(read: &mut BytesMut) -> Option<(bool, Bytes)> {
    let (is_plain, length) = prefix(read)?;
    if read.len() < PREFIX.checked_add(length)? {
        return None;
    }
    read.advance(PREFIX);
    Some((is_plain, read.split_to(length).freeze()))
}

fn prefix(bytes: &[u8]) -> Option<(bool, usize)> {
    let (compressed, length) = bytes.get(..PREFIX)?.split_first()?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    Some((*compressed == 0, usize::try_from(length).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message that is nothing but its bytes.
    fn of(text: &str) -> Bytes {
        framed(&text.to_owned())
    }

    #[test]
    fn what_is_framed_is_found_again() {
        let message = of("name");
        assert_eq!(message[..PREFIX], [0, 0, 0, 0, 6]);
        assert_eq!(lone(&message), Some(&message[PREFIX..]));
        assert_eq!(lone(&of("")), Some(&[][..]));
    }

    #[test]
    fn what_is_cut_too_long_or_compressed_is_no_message() {
        let message = of("name");
        for end in 0..message.len() {
            assert_eq!(lone(&message[..end]), None, "{end}");
        }
        assert_eq!(lone(&[&message[..], b"x"].concat()), None);
        assert_eq!(lone(&[&[1], &message[1..]].concat()), None);
        assert_eq!(lone(&[0, 0xff, 0xff, 0xff, 0xff, 1]), None);
    }

    #[cfg(feature = "orca")]
    #[test]
    fn messages_are_taken_one_by_one_as_they_come() {
        let all = [of("one"), of("two")].concat();
        let (mut read, mut met) = (BytesMut::new(), Vec::new());
        for byte in all {
            read.put_u8(byte);
            while let Some((is_plain, message)) = next(&mut read) {
                assert!(is_plain);
                met.push(message);
            }
        }
        assert_eq!(met, [of("one").slice(PREFIX..), of("two").slice(PREFIX..)]);
        assert!(read.is_empty());
        read.put_slice(&[1, 0, 0, 0, 0]);
        assert_eq!(next(&mut read), Some((false, Bytes::new())));
        read.put_slice(&[0, 0xff, 0xff, 0xff, 0xff, 1]);
        assert_eq!(next(&mut read), None);
    }
}
