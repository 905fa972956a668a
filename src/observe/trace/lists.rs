//! The lists that travel beside `traceparent`: `tracestate` and `baggage`.
//!
//! Both are passed on, in order, as they came; only their limits are applied here.

use http::HeaderValue;

/// The most of `tracestate` that is passed on. Unit: bytes.
///
/// Source: W3C Trace Context §"tracestate Limits", which asks for at least so many.
pub(crate) const STATE_BYTES: usize = 512;
/// Entries over this go first. Unit: bytes. Source: the same.
const LONG_ENTRY: usize = 128;
/// Source: W3C Trace Context §"list".
const STATE_MEMBERS: usize = 32;
/// Source: W3C Baggage §"Limits", which asks for at least so much.
pub(crate) const BAGGAGE_BYTES: usize = 8192;
/// Source: the same.
pub(crate) const BAGGAGE_MEMBERS: usize = 64;

/// The combined `tracestate` of a request; nothing if it is empty or breaks its grammar.
pub(crate) fn tracestate<'a>(values: impl Iterator<Item = &'a HeaderValue>) -> Option<HeaderValue> {
    let values: Vec<&HeaderValue> = values.collect();
    let mut members = members(&values);
    //= W3C Trace Context §"A traceparent is Received": if the tracestate header cannot be parsed
    //= the vendor MAY discard the entire header
    if members.len() > STATE_MEMBERS || !members.iter().all(|member| is_state(member)) {
        return None;
    }
    if length(&members) > STATE_BYTES {
        //= W3C Trace Context §"tracestate Limits": whole entries; those larger than 128 characters
        //= first, then from the end
        while length(&members) > STATE_BYTES
            && let Some(long) = members.iter().rposition(|member| member.len() > LONG_ENTRY)
        {
            members.remove(long);
        }
        while length(&members) > STATE_BYTES {
            members.pop();
        }
    }
    joined(&values, &members)
}

/// The combined `baggage` of a request, whole members of it within the limits.
pub(crate) fn baggage<'a>(values: impl Iterator<Item = &'a HeaderValue>) -> Option<HeaderValue> {
    let values: Vec<&HeaderValue> = values.collect();
    let mut members = members(&values);
    members.truncate(BAGGAGE_MEMBERS);
    while length(&members) > BAGGAGE_BYTES {
        members.pop();
    }
    joined(&values, &members)
}

/// The members of all values, without the white space around them.
fn members<'a>(values: &[&'a HeaderValue]) -> Vec<&'a [u8]> {
    values
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
        .collect()
}

fn length(members: &[&[u8]]) -> usize {
    let bytes: usize = members.iter().map(|member| member.len()).sum();
    bytes + members.len().saturating_sub(1)
}

/// One value: the same that came, if it can stay as it is.
fn joined(values: &[&HeaderValue], members: &[&[u8]]) -> Option<HeaderValue> {
    if members.is_empty() {
        return None;
    }
    let text = members.join(&b","[..]);
    let mut value = match values {
        [one] if one.as_bytes() == text => (*one).clone(),
        _ => HeaderValue::from_bytes(&text).ok()?,
    };
    value.set_sensitive(true);
    Some(value)
}

/// Whether a member of `tracestate` keeps to its grammar.
fn is_state(member: &[u8]) -> bool {
    //= W3C Trace Context §"Key": ( lcalpha / DIGIT ) 0*255 ( keychar )
    let Some(at) = member.iter().position(|byte| *byte == b'=') else { return false };
    let (key, value) = (&member[..at], &member[at + 1..]);
    let is_start = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_key = |byte: u8| is_start(byte) || b"_-*/@".contains(&byte);
    //= W3C Trace Context §"Value": 0*255(chr) nblk-chr
    let is_value = |byte: u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b',' | b'=');
    key.first().is_some_and(|byte| is_start(*byte))
        && key.len() <= 256
        && key.iter().all(|byte| is_key(*byte))
        && (1..=256).contains(&value.len())
        && value.iter().all(|byte| is_value(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn values(texts: &[&str]) -> Vec<HeaderValue> {
        texts.iter().map(|text| HeaderValue::from_bytes(text.as_bytes()).unwrap()).collect()
    }

    fn state(texts: &[&str]) -> Option<String> {
        let value = tracestate(values(texts).iter())?;
        assert!(value.is_sensitive());
        Some(value.to_str().unwrap().to_owned())
    }

    /// The cases of W3C's own test suite (`w3c/trace-context`, `test/test.py`).
    #[test]
    fn the_cases_of_the_w3cs_suite_are_judged_as_it_judges_them() {
        for (texts, kept) in [
            (&["foo=1,bar=2"][..], Some("foo=1,bar=2")),
            (&["foo=1,bar=2", "rojo=1,congo=2", "baz=3"], Some("foo=1,bar=2,rojo=1,congo=2,baz=3")),
            (&[""], None),
            (&["foo=1", ""], Some("foo=1")),
            (&["", "foo=1"], Some("foo=1")),
            (&["foo=1,foo=2"], Some("foo=1,foo=2")),
            (&["foo=1 \t , \t bar=2, \t baz=3"], Some("foo=1,bar=2,baz=3")),
            (&["\t foo=1 \t"], Some("foo=1")),
            (&["foo=1,,bar=2,"], Some("foo=1,bar=2")),
            (&["foo =1"], None),
            (&["FOO=1"], None),
            (&["foo.bar=1"], None),
            (&["foo@=1,bar=2"], Some("foo@=1,bar=2")),
            (&["@foo=1,bar=2"], None),
            (&["foo@@bar=1,bar=2"], Some("foo@@bar=1,bar=2")),
            (&["0foo=1"], Some("0foo=1")),
            (&["foo=bar=baz"], None),
            (&["foo=,bar=3"], None),
            (&["foo"], None),
            (&["=1"], None),
        ] {
            assert_eq!(state(texts).as_deref(), kept, "{texts:?}");
        }
        let all: String = (' '..='~').filter(|letter| !matches!(letter, ',' | '=')).collect();
        let key = "abcdefghijklmnopqrstuvwxyz0123456789_-*/@a-z0-9_-*/";
        let member = format!("{key}={all}");
        assert_eq!(state(&[&member]), Some(member));
    }

    #[test]
    fn thirty_two_members_are_a_list_and_thirty_three_are_none() {
        let list = |count| (0..count).map(|at| format!("k{at}=1")).collect::<Vec<_>>().join(",");
        assert_eq!(state(&[&list(32)]), Some(list(32)));
        assert_eq!(state(&[&list(33)]), None);
    }

    #[test]
    fn keys_and_values_have_256_characters_at_most() {
        let (most, more) = ("z".repeat(256), "z".repeat(257));
        assert!(is_state(format!("{most}={most}").as_bytes()));
        assert!(!is_state(format!("{more}=1").as_bytes()));
        assert!(!is_state(format!("k={more}").as_bytes()));
    }

    #[test]
    fn of_a_long_state_the_long_entries_go_first_then_the_last() {
        let long = format!("long={}", "x".repeat(200));
        let short: Vec<String> = (0..8).map(|at| format!("s{at}={}", "y".repeat(50))).collect();
        let kept = short.join(",");
        assert_eq!(kept.len(), 431);
        assert_eq!(state(&[&format!("{long},{kept}")]), Some(kept));
        let many: Vec<String> = (0..20).map(|at| format!("s{at}={}", "y".repeat(50))).collect();
        assert_eq!(state(&[&many.join(",")]), Some(many[..9].join(",")));
    }

    #[test]
    fn a_list_within_its_limits_is_not_copied() {
        let given = values(&["a=1,b=2"]);
        let kept = tracestate(given.iter()).unwrap();
        assert_eq!(kept.as_bytes().as_ptr(), given[0].as_bytes().as_ptr());
    }

    #[test]
    fn baggage_passes_within_its_limits() {
        let list = |count: usize| (0..count).map(|at| format!("k{at}=v;p=1")).collect::<Vec<_>>();
        let pass = |text: &str| baggage(values(&[text]).iter());
        assert_eq!(pass(&list(64).join(",")).unwrap(), list(64).join(","));
        assert_eq!(pass(&list(70).join(",")).unwrap(), list(64).join(","));
        let big = format!("a=1,b={}", "x".repeat(BAGGAGE_BYTES));
        assert_eq!(pass(&big).unwrap(), "a=1");
        assert_eq!(pass(" , "), None);
        assert_eq!(pass(&"x".repeat(BAGGAGE_BYTES + 1)), None);
    }

    proptest! {
        #[test]
        fn what_is_passed_on_is_a_part_of_what_came_in_its_order(
            texts in vec("[ -~]{0,200}", 0..6),
        ) {
            let given: Vec<HeaderValue> =
                texts.iter().map(|text| HeaderValue::from_str(text).unwrap()).collect();
            for (kept, most) in [
                (tracestate(given.iter()), STATE_BYTES),
                (baggage(given.iter()), BAGGAGE_BYTES),
            ] {
                let Some(kept) = kept else { continue };
                prop_assert!(kept.len() <= most && !kept.is_empty());
                let refs: Vec<&HeaderValue> = given.iter().collect();
                let mut all = members(&refs).into_iter();
                for member in members(&[&kept]) {
                    prop_assert!(all.any(|given| given == member));
                }
            }
        }

        #[test]
        fn a_state_that_was_passed_on_passes_again(
            list in vec(("[a-z0-9][a-z0-9_*/@-]{0,20}", "[!-+.-<>-~]{1,200}"), 1..40),
        ) {
            let text =
                list.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
            let given = [HeaderValue::from_str(&text).unwrap()];
            let kept = tracestate(given.iter());
            prop_assert_eq!(kept.is_some(), list.len() <= STATE_MEMBERS);
            if let Some(kept) = kept {
                prop_assert_eq!(tracestate([kept.clone()].iter()), Some(kept));
            }
        }
    }
}
