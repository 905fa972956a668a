//! The `traceparent` header: which trace, which span of it, and whether that is sampled.

/// The caller may have recorded its span.
pub(crate) const SAMPLED: u8 = 1;
/// The trace id is random, as far as its last seven bytes go.
pub(crate) const RANDOM: u8 = 2;
/// The length of version 00.
pub(crate) const LENGTH: usize = 55;

/// The ids of a span in its trace; neither is all zeroes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Ids {
    pub(crate) trace: [u8; 16],
    pub(crate) span: [u8; 8],
    /// Those that version 00 knows, and no others.
    pub(crate) flags: u8,
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The value of each lowercase hexadecimal digit, and over 15 for every other byte.
const VALUES: [u8; 256] = {
    let mut values = [0xff; 256];
    let mut digit = 0_u8;
    while digit < 16 {
        values[DIGITS[digit as usize] as usize] = digit;
        digit += 1;
    }
    values
};

// === impl Ids ===

impl Ids {
    /// Reads a header value strictly; surrounding white space is the protocol's.
    ///
    //= W3C Trace Context §"Versioning of traceparent": of a higher version, its first 55 characters
    //= are read if they are its end, or a dash follows. Version ff is forbidden.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii();
        let (head, rest) = value.split_at_checked(LENGTH)?;
        let mut version = [0];
        hex(&head[..2], &mut version)?;
        let ends = match version[0] {
            0xff => false,
            0 => rest.is_empty(),
            _ => matches!(rest.first(), None | Some(b'-')),
        };
        if !ends || [head[2], head[35], head[52]] != [b'-'; 3] {
            return None;
        }
        let (mut trace, mut span, mut flags) = ([0; 16], [0; 8], [0]);
        hex(&head[3..35], &mut trace)?;
        hex(&head[36..52], &mut span)?;
        hex(&head[53..], &mut flags)?;
        //= W3C Trace Context §"Other Flags": vendors MUST set those to zero
        Self::new(trace, span, flags[0])
    }

    /// Nothing if either id is all zeroes.
    pub(crate) fn new(trace: [u8; 16], span: [u8; 8], flags: u8) -> Option<Self> {
        let is_valid = trace != [0; 16] && span != [0; 8];
        is_valid.then_some(Self { trace, span, flags: flags & (SAMPLED | RANDOM) })
    }

    pub(crate) fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Another span of the same trace, which nobody records.
    pub(crate) fn unsampled(self, span: u64) -> Self {
        Self { span: span.max(1).to_be_bytes(), flags: self.flags & !SAMPLED, ..self }
    }

    /// A trace of its own, which nobody records.
    pub(crate) fn unsampled_root(words: [u64; 3]) -> Self {
        let [high, low, span] = words;
        let trace = (u128::from(high) << 64 | u128::from(low)).max(1).to_be_bytes();
        Self { trace, span: span.max(1).to_be_bytes(), flags: RANDOM }
    }

    /// The header value, in version 00.
    pub(crate) fn text(self) -> [u8; LENGTH] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write(&self.trace, &mut text[3..35]);
        write(&self.span, &mut text[36..52]);
        write(&[self.flags], &mut text[53..]);
        text
    }
}

/// Lowercase hexadecimal digits, two for each byte.
fn hex(digits: &[u8], bytes: &mut [u8]) -> Option<()> {
    let mut wrong = 0;
    for (pair, byte) in digits.chunks_exact(2).zip(bytes) {
        let (high, low) = (VALUES[usize::from(pair[0])], VALUES[usize::from(pair[1])]);
        wrong |= high | low;
        *byte = high << 4 | low;
    }
    (wrong < 16).then_some(())
}

fn write(bytes: &[u8], digits: &mut [u8]) {
    for (byte, pair) in bytes.iter().zip(digits.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "12345678901234567890123456789012";
    const SPAN: &str = "1234567890123456";

    fn parse(value: &str) -> Option<Ids> {
        Ids::parse(value.as_bytes())
    }

    /// The cases of W3C's own test suite (`w3c/trace-context`, `test/test.py`).
    #[test]
    fn the_cases_of_the_w3cs_suite_are_judged_as_it_judges_them() {
        let good = [
            format!("00-{TRACE}-{SPAN}-01"),
            format!("cc-{TRACE}-{SPAN}-01"),
            format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"),
            format!(" 00-{TRACE}-{SPAN}-01"),
            format!("\t00-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01 "),
            format!("\t 00-{TRACE}-{SPAN}-01 \t"),
        ];
        for value in good {
            let ids = parse(&value).unwrap_or_else(|| panic!("{value:?} was refused"));
            assert_eq!(ids.text(), *format!("00-{TRACE}-{SPAN}-01").as_bytes(), "{value:?}");
        }
        let bad = [
            String::new(),
            format!("00-{TRACE}-{SPAN}-01."),
            format!("00-{TRACE}-{SPAN}-01-what-the-future-will-be-like"),
            format!("cc-{TRACE}-{SPAN}-01.what-the-future-will-be-like"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!(".0-{TRACE}-{SPAN}-01"),
            format!("0.-{TRACE}-{SPAN}-01"),
            format!("000-{TRACE}-{SPAN}-01"),
            format!("0000-{TRACE}-{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-01"),
            format!("00-00000000000000000000000000000000-{SPAN}-01"),
            format!("00-.2345678901234567890123456789012-{SPAN}-01"),
            format!("00-1234567890123456789012345678901.-{SPAN}-01"),
            format!("00-123456789012345678901234567890123-{SPAN}-01"),
            format!("00-1234567890123456789012345678901-{SPAN}-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{TRACE}-.234567890123456-01"),
            format!("00-{TRACE}-123456789012345.-01"),
            format!("00-{TRACE}-12345678901234567-01"),
            format!("00-{TRACE}-123456789012345-01"),
            format!("00-{TRACE}-{SPAN}-.0"),
            format!("00-{TRACE}-{SPAN}-0."),
            format!("00-{TRACE}-{SPAN}-001"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{}-{SPAN}-01", "ABCDEF78901234567890123456789012"),
            format!("00-{TRACE}-{SPAN}-0A"),
            format!("00_{TRACE}_{SPAN}_01"),
        ];
        for value in bad {
            assert_eq!(parse(&value), None, "{value:?} was accepted");
        }
    }

    #[test]
    fn unknown_flags_are_set_to_zero_and_known_ones_kept() {
        for (wire, kept) in [("ff", "03"), ("fe", "02"), ("fd", "01"), ("04", "00"), ("02", "02")] {
            let ids = parse(&format!("00-{TRACE}-{SPAN}-{wire}")).unwrap();
            assert_eq!(&ids.text()[53..], kept.as_bytes());
        }
    }

    #[test]
    fn what_nobody_records_keeps_its_trace() {
        let ids = parse(&format!("00-{TRACE}-{SPAN}-03")).unwrap();
        let child = ids.unsampled(0);
        assert_eq!((child.trace, child.flags), (ids.trace, RANDOM));
        assert_eq!(child.span, [0, 0, 0, 0, 0, 0, 0, 1], "an id of zeroes is none");
        assert_eq!(Ids::unsampled_root([0; 3]).trace[15], 1);
        assert!(!Ids::unsampled_root([1, 2, 3]).is_sampled());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(trace: [u8; 16], span: [u8; 8], flags: u8) {
            match Ids::new(trace, span, flags) {
                Some(ids) => prop_assert_eq!(Ids::parse(&ids.text()), Some(ids)),
                None => prop_assert!(trace == [0; 16] || span == [0; 8]),
            }
        }

        #[test]
        fn one_changed_byte_is_noticed(trace in 1..u128::MAX, span in 1..u64::MAX, flags in 0_u8..4,
            at in 0..LENGTH, byte: u8) {
            let ids = Ids::new(trace.to_be_bytes(), span.to_be_bytes(), flags).unwrap();
            let mut text = ids.text();
            text[at] = byte;
            // It is another context, the same one, or none: never one that is written otherwise.
            if let Some(read) = Ids::parse(&text) {
                let mut known = text;
                known[..2].copy_from_slice(b"00");
                known[53] = b'0';
                known[54] = DIGITS[usize::from(VALUES[usize::from(known[54])] & 3)];
                prop_assert_eq!(read.text(), known);
            }
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            if let Some(ids) = Ids::parse(&bytes) {
                prop_assert_eq!(Ids::parse(&ids.text()), Some(ids));
            }
        }
    }
}
