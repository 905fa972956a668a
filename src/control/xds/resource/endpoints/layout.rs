//! The bytes of two assignments beside each other, cut into those of endpoints and the rest, without
//! reading either.
//!
//! What both begin and end with is the same, whatever it says: of two that differ in a few endpoints, no more
//! than these are cut out. The others are counted, in one of the two.

/// A field as it stands in its message.
struct Field<'a> {
    number: u64,
    /// With its key.
    whole: &'a [u8],
    /// What it holds, if it is a message, text or bytes.
    content: Option<&'a [u8]>,
}

/// An assignment.
#[derive(Debug, Default, PartialEq)]
struct Layout<'a> {
    /// All but the localities.
    rest: Vec<&'a [u8]>,
    groups: Vec<&'a [u8]>,
}

/// A locality of both.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Group<'a> {
    /// All but the endpoints, which is the same in both.
    pub(super) rest: Vec<&'a [u8]>,
    /// So many endpoints are the same at the beginning,
    pub(super) head: usize,
    /// and so many at the end.
    pub(super) tail: usize,
    /// Those of the earlier one that stand between.
    pub(super) was: Vec<&'a [u8]>,
    /// Those of the later one.
    pub(super) is: Vec<&'a [u8]>,
}

/// `ClusterLoadAssignment.endpoints` and `LocalityLbEndpoints.lb_endpoints`.
const LIST: u64 = 2;
/// Before each of the list: its number, and that its length follows.
const KEY: u8 = 0x12;
const _: () = assert!(KEY as u64 == LIST << 3 | 2, "of the same field");
/// So many bytes are compared at once.
const STRIDE: usize = 512;

/// The localities of both. Nothing where the bytes are none of a message, have what is not looked into here,
/// or differ in anything but endpoints.
pub(super) fn beside<'a>(was: &'a [u8], is: &'a [u8]) -> Option<Vec<Group<'a>>> {
    let (was, is) = (Layout::of(was)?, Layout::of(is)?);
    if was.rest != is.rest || was.groups.len() != is.groups.len() {
        return None;
    }
    was.groups.into_iter().zip(is.groups).map(|(was, is)| Group::of(was, is)).collect()
}

// === impl Layout ===

impl<'a> Layout<'a> {
    fn of(mut bytes: &'a [u8]) -> Option<Self> {
        let mut layout = Self::default();
        while !bytes.is_empty() {
            take(&mut bytes, &mut layout.rest, |group| layout.groups.push(group))?;
        }
        Some(layout)
    }
}

// === impl Group ===

impl<'a> Group<'a> {
    fn of(mut was: &'a [u8], mut is: &'a [u8]) -> Option<Self> {
        let mut group = Self::default();
        // Fields that end within what is the same are the same fields.
        let end = is.len() - common(was, is);
        while !is.is_empty() {
            let all = is.len();
            group.head += run(&mut is, end);
            was = was.get(all - is.len()..)?;
            if is.is_empty() {
                break;
            }
            let (mut left, mut head) = (is, 0);
            let mut rest = Vec::new();
            take(&mut left, &mut rest, |_| head += 1)?;
            if left.len() < end {
                break;
            }
            group.rest.append(&mut rest);
            group.head += head;
            was = was.get(is.len() - left.len()..)?;
            is = left;
        }
        // Field by field, until both have the same left.
        let end = common_end(was, is);
        let (mut were, mut are) = (Vec::new(), Vec::new());
        while was.len() != is.len() || was.len() > end {
            if was.len() >= is.len() {
                take(&mut was, &mut were, |endpoint| group.was.push(endpoint))?;
            } else {
                take(&mut is, &mut are, |endpoint| group.is.push(endpoint))?;
            }
        }
        if were != are {
            return None;
        }
        group.rest.append(&mut are);
        while !is.is_empty() {
            group.tail += run(&mut is, 0);
            if !is.is_empty() {
                take(&mut is, &mut group.rest, |_| group.tail += 1)?;
            }
        }
        Some(group)
    }
}

/// How many bytes both begin with.
fn common(one: &[u8], other: &[u8]) -> usize {
    let strides = one.chunks_exact(STRIDE).zip(other.chunks_exact(STRIDE));
    let at = STRIDE * strides.take_while(|(one, other)| one == other).count();
    let bytes = one[at..].iter().zip(&other[at..]);
    at + bytes.take_while(|(one, other)| one == other).count()
}

/// How many bytes both end with.
fn common_end(one: &[u8], other: &[u8]) -> usize {
    let strides = one.rchunks_exact(STRIDE).zip(other.rchunks_exact(STRIDE));
    let at = STRIDE * strides.take_while(|(one, other)| one == other).count();
    let (one, other) = (&one[..one.len() - at], &other[..other.len() - at]);
    let bytes = one.iter().rev().zip(other.iter().rev());
    at + bytes.take_while(|(one, other)| one == other).count()
}

/// Takes short endpoints, as long as no fewer bytes than that are left: how many there are. There may be
/// ten thousand, and each is as [`take`] would have it.
#[inline]
fn run(bytes: &mut &[u8], least: usize) -> usize {
    let mut count = 0;
    while let [KEY, length @ 0..0x80, rest @ ..] = *bytes
        && let Some(left) = rest.get(usize::from(*length)..)
        && left.len() >= least
    {
        *bytes = left;
        count += 1;
    }
    count
}

/// Takes the first field: what it holds if it is of the list, else the whole of it.
#[inline]
fn take<'a>(
    bytes: &mut &'a [u8],
    rest: &mut Vec<&'a [u8]>,
    list: impl FnOnce(&'a [u8]),
) -> Option<()> {
    let Field { number, whole, content } = field(bytes)?;
    match (number, content) {
        (LIST, None) => return None,
        (LIST, Some(content)) => list(content),
        _ => rest.push(whole),
    }
    Some(())
}

#[inline]
fn field<'a>(bytes: &mut &'a [u8]) -> Option<Field<'a>> {
    let mut rest = *bytes;
    let key = varint(&mut rest)?;
    let mut content = None;
    match key & 7 {
        0 => drop(varint(&mut rest)?),
        1 => rest = rest.get(8..)?,
        2 => {
            let length = usize::try_from(varint(&mut rest)?).ok()?;
            let (own, after) = rest.split_at_checked(length)?;
            (content, rest) = (Some(own), after);
        }
        5 => rest = rest.get(4..)?,
        // Groups are of an older time.
        _ => return None,
    }
    let number = key >> 3;
    if number == 0 || key > u64::from(u32::MAX) {
        return None;
    }
    let whole = bytes.get(..bytes.len() - rest.len())?;
    *bytes = rest;
    Some(Field { number, whole, content })
}

#[inline]
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    if let [first @ 0..0x80, rest @ ..] = bytes {
        let first = u64::from(*first);
        *bytes = rest;
        return Some(first);
    }
    let length = prost::decode_length_delimiter(&mut *bytes).ok()?;
    u64::try_from(length).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether it is an endpoint, and what it holds.
    type Piece = (bool, Vec<u8>);

    fn pieces(most: usize) -> impl Strategy<Value = Vec<Piece>> {
        // Their lengths are one byte, or two.
        let content = prop_oneof![
            20 => prop::collection::vec(0..3_u8, 0..4),
            1 => prop::collection::vec(0..3_u8, 126..131),
        ];
        let piece = (prop::bool::weighted(0.95), content);
        prop::collection::vec(piece, 0..most)
    }

    fn message<'a>(pieces: impl IntoIterator<Item = &'a Piece>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (is_endpoint, content) in pieces {
            bytes.push(if *is_endpoint { 0x12 } else { 0x0a });
            prost::encode_length_delimiter(content.len(), &mut bytes).unwrap();
            bytes.extend_from_slice(content);
        }
        bytes
    }

    fn endpoints(pieces: &[Piece]) -> Vec<&[u8]> {
        pieces.iter().filter(|it| it.0).map(|it| it.1.as_slice()).collect()
    }

    fn rest(pieces: &[Piece]) -> Vec<u8> {
        message(pieces.iter().filter(|it| !it.0))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn what_two_have_in_common_is_cut_off_both_ends(
            before in pieces(600),
            edits in prop::collection::vec((0..600_usize, 0..4_usize, pieces(3)), 0..4),
        ) {
            let mut after = before.clone();
            for (from, count, by) in edits {
                let from = from.min(after.len());
                let to = (from + count).min(after.len());
                drop(after.splice(from..to, by));
            }
            let (was, is) = (message(&before), message(&after));
            let is_same_rest = rest(&before) == rest(&after);
            let Some(group) = Group::of(&was, &is) else {
                prop_assert!(!is_same_rest);
                return Ok(());
            };
            prop_assert!(is_same_rest);
            prop_assert_eq!(group.rest.concat(), rest(&after));
            for (all, between) in [(&before, &group.was), (&after, &group.is)] {
                let all = endpoints(all);
                prop_assert_eq!(all.len(), group.head + between.len() + group.tail);
                prop_assert_eq!(&all[group.head..all.len() - group.tail], &between[..]);
            }
            let (were, are) = (endpoints(&before), endpoints(&after));
            prop_assert_eq!(&were[..group.head], &are[..group.head]);
            let (of_were, of_are) = (were.len() - group.tail, are.len() - group.tail);
            prop_assert_eq!(&were[of_were..], &are[of_are..]);
        }

        #[test]
        fn any_two_strings_of_bytes_are_cut_or_not(
            was in prop::collection::vec(any::<u8>(), 0..60),
            is in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let _cut = beside(&was, &is);
        }
    }

    #[test]
    fn of_ten_thousand_no_more_than_what_differs_is_left() {
        let before: Vec<Piece> =
            (0..10_000_u32).map(|n| (true, n.to_string().into_bytes())).collect();
        for (at, by) in [(0, "x"), (5_000, "other"), (5_001, "5002"), (9_999, "a longer one")] {
            let mut after = before.clone();
            after[at].1 = by.as_bytes().to_vec();
            let (was, is) = (message(&before), message(&after));
            let group = Group::of(&was, &is).unwrap();
            assert_eq!((group.head, group.tail), (at, 9_999 - at));
            assert_eq!((group.was, group.is), (vec![&*before[at].1], vec![by.as_bytes()]));
        }
    }
}
