//! The bytes of an assignment, cut into those of its endpoints and the rest, without reading either.

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
pub(super) struct Layout<'a> {
    /// All but the localities.
    pub(super) rest: Vec<&'a [u8]>,
    pub(super) groups: Vec<Group<'a>>,
}

/// A locality.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Group<'a> {
    /// All but the endpoints.
    pub(super) rest: Vec<&'a [u8]>,
    /// The endpoints.
    pub(super) list: Vec<&'a [u8]>,
}

/// `ClusterLoadAssignment.endpoints` and `LocalityLbEndpoints.lb_endpoints`.
const LIST: u64 = 2;

// === impl Layout ===

impl<'a> Layout<'a> {
    /// Nothing where the bytes are none of a message, or have what is not looked into here. `about` is how
    /// many endpoints there may be.
    pub(super) fn of(bytes: &'a [u8], about: usize) -> Option<Self> {
        let mut layout = Self::default();
        each(bytes, |field| {
            match (field.number, field.content) {
                (LIST, None) => return None,
                (LIST, Some(content)) => layout.groups.push(Group::of(content, about)?),
                _ => layout.rest.push(field.whole),
            }
            Some(())
        })?;
        Some(layout)
    }
}

// === impl Group ===

impl<'a> Group<'a> {
    fn of(bytes: &'a [u8], about: usize) -> Option<Self> {
        // No endpoint is smaller than its key and its length.
        let list = Vec::with_capacity(about.min(bytes.len() / 2));
        let mut group = Self { rest: Vec::new(), list };
        each(bytes, |field| {
            match (field.number, field.content) {
                (LIST, None) => return None,
                (LIST, Some(content)) => group.list.push(content),
                _ => group.rest.push(field.whole),
            }
            Some(())
        })?;
        Some(group)
    }
}

/// Goes through the fields of a message.
fn each<'a>(mut bytes: &'a [u8], mut step: impl FnMut(Field<'a>) -> Option<()>) -> Option<()> {
    while !bytes.is_empty() {
        let mut rest = bytes;
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
        let (whole, after) = bytes.split_at_checked(bytes.len() - rest.len())?;
        step(Field { number, whole, content })?;
        bytes = after;
    }
    Some(())
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
