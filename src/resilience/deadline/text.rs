//! What endpoints are told of the time that is left, in text. Most calls of a thread are told the same, as
//! they have just begun and are bounded by the same settings: such a text is made once, and shared.

use std::{cell::RefCell, time::Duration};

use http::HeaderValue;

use crate::core::grpc;

/// So many texts are kept for each thread: a power of two.
const KEPT: usize = 1 << BITS;
const BITS: u32 = 3;

/// A time that was told, and its text from the second time on.
struct Text {
    millis: u64,
    value: Option<HeaderValue>,
}

thread_local! {
    static TEXTS: RefCell<[Text; KEPT]> =
        const { RefCell::new([const { Text { millis: 0, value: None } }; KEPT]) };
}

/// The time that is left in whole milliseconds, at least 1.
pub(super) fn millis(left: Duration) -> HeaderValue {
    let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let known = TEXTS.try_with(|texts| known(&mut *texts.try_borrow_mut().ok()?, millis, left));
    known.ok().flatten().unwrap_or_else(|| grpc::millis_value(left))
}

/// Its text, if it has been told before.
fn known(texts: &mut [Text; KEPT], millis: u64, left: Duration) -> Option<HeaderValue> {
    let place = millis.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - BITS);
    let text = texts.get_mut(usize::try_from(place).ok()?)?;
    if text.millis != millis {
        // Of most times that are no setting, it is the only time.
        *text = Text { millis, value: None };
        return None;
    }
    Some(text.value.get_or_insert_with(|| grpc::millis_value(left)).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(left: Duration) -> String {
        let value = millis(left);
        assert!(value.is_sensitive(), "{left:?}");
        value.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_time_is_told_the_same_however_often() {
        for _ in 0..3 {
            for millis in [1, 2, 10_000, 9_999, 250, 123_456] {
                assert_eq!(told(Duration::from_millis(millis)), millis.to_string());
            }
        }
    }

    #[test]
    fn what_is_not_whole_is_rounded_down_and_nothing_is_one() {
        for _ in 0..3 {
            assert_eq!(told(Duration::ZERO), "1");
            assert_eq!(told(Duration::from_micros(1_999)), "1");
            assert_eq!(told(Duration::MAX), "99999999999");
        }
    }

    #[test]
    fn from_the_second_time_on_the_text_is_shared() {
        let left = Duration::from_millis(7_000);
        let [first, second, third] = [(); 3].map(|()| millis(left));
        let at = |value: &HeaderValue| value.as_bytes().as_ptr();
        assert_ne!(at(&first), at(&second));
        assert_eq!(at(&second), at(&third));
    }
}
