//! Matches that contradict themselves: two of their parts that nothing meets both.
//!
//! Only what is certain is found, as of rules that others cover.

use super::{MAX_COMPARED, Table, cover::covers_text};
use crate::config::{
    CookieMatch, HeaderMatch, Match, MetadataMatch, QueryMatch, StringMatch, ValueMatch,
    pattern::Whole,
};

/// Two parts of one match that do not go together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Contrary {
    /// The route, by its place in the list, and the match of it.
    pub(crate) route: usize,
    pub(crate) place: usize,
    /// The list of the match that both are in, by its name in the file.
    pub(crate) list: &'static str,
    /// Their places in it.
    pub(crate) both: (usize, usize),
    /// The header, parameter or cookie that they ask about; of what was noted, its namespace.
    pub(crate) name: String,
    pub(crate) fit: Fit,
}

/// How two parts of a match go together.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Fit {
    /// As far as can be told.
    Fine,
    /// Only by several values of one header.
    Several,
    Never,
}

/// What is asked of a text, and whether without case.
type Asked<'a> = (&'a StringMatch, bool);

impl<R> Table<R> {
    /// The matches that contradict themselves, in the order of the list, each by one pair.
    pub(crate) fn contrary(&self, matches: impl Fn(&R) -> &[Match]) -> Vec<Contrary> {
        let mut left = MAX_COMPARED;
        let mut found = Vec::new();
        for (route, said) in self.iter().map(matches).enumerate() {
            for (place, rule) in said.iter().enumerate() {
                let of_rule = |(list, both, name, fit): Worst<'_>| {
                    let name = name.to_owned();
                    Contrary { route, place, list, both, name, fit }
                };
                found.extend(contradiction(rule, &mut left).map(of_rule));
            }
        }
        found
    }
}

type Worst<'a> = (&'static str, (usize, usize), &'a str, Fit);

/// The two parts that go together worst; nothing where all do.
fn contradiction<'a>(rule: &'a Match, left: &mut usize) -> Option<Worst<'a>> {
    let Match { headers, query, cookies, metadata, .. } = rule;
    let headers = worst(headers, left, headers_fit);
    let query = worst(query, left, |first, second| {
        let asked = |it: &'a QueryMatch| ((&it.matcher, it.ignore_case), it.invert);
        if first.name == second.name { texts_fit(asked(first), asked(second)) } else { Fit::Fine }
    });
    let cookies = worst(cookies, left, |first, second| {
        let asked = |it: &'a CookieMatch| ((&it.matcher, it.ignore_case), it.invert);
        if first.name == second.name { texts_fit(asked(first), asked(second)) } else { Fit::Fine }
    });
    let metadata = worst(metadata, left, notes_fit);
    let all = [
        headers.map(|(both, it, fit)| ("headers", both, it.name.as_str(), fit)),
        query.map(|(both, it, fit)| ("query", both, it.name.as_str(), fit)),
        cookies.map(|(both, it, fit)| ("cookies", both, it.name.as_str(), fit)),
        metadata.map(|(both, it, fit)| ("metadata", both, it.namespace.as_str(), fit)),
    ];
    // The first of the worst.
    all.into_iter().flatten().reduce(|worst, it| if it.3 > worst.3 { it } else { worst })
}

/// The first of the pairs that fit worst, with the first of the two.
fn worst<'a, T>(
    parts: &'a [T],
    left: &mut usize,
    fit: impl Fn(&'a T, &'a T) -> Fit,
) -> Option<((usize, usize), &'a T, Fit)> {
    let mut worst = None;
    for (at, second) in parts.iter().enumerate() {
        for (before, first) in parts.iter().take(at).enumerate() {
            *left = left.checked_sub(1)?;
            let fit = fit(first, second);
            if fit > worst.map_or(Fit::Fine, |(_, _, fit)| fit) {
                worst = Some(((before, at), first, fit));
            }
        }
    }
    worst
}

/// A header may have several values, of which one must do; without any, only what asks for that is met.
fn headers_fit(first: &HeaderMatch, second: &HeaderMatch) -> Fit {
    if !first.name.eq_ignore_ascii_case(&second.name) {
        return Fit::Fine;
    }
    let is_absent = |it: &HeaderMatch| it.invert && it.matcher == StringMatch::Present;
    match (is_absent(first), is_absent(second)) {
        (true, true) => return Fit::Fine,
        (true, false) => return never(!is_met_by_none(second)),
        (false, true) => return never(!is_met_by_none(first)),
        (false, false) => {}
    }
    let (one, other) = ((&first.matcher, first.ignore_case), (&second.matcher, second.ignore_case));
    match (first.invert, second.invert) {
        (true, true) => Fit::Fine,
        (false, true) => never(covers_text(other, one)),
        (true, false) => never(covers_text(one, other)),
        (false, false) if are_apart(one, other) => Fit::Several,
        (false, false) => Fit::Fine,
    }
}

/// Whether a request without the header may meet it.
fn is_met_by_none(header: &HeaderMatch) -> bool {
    header.missing_as_empty && header.matcher != StringMatch::Present
}

/// Of a parameter and a cookie the first value counts; without one, what is inverted is met.
fn texts_fit(first: (Asked<'_>, bool), second: (Asked<'_>, bool)) -> Fit {
    never(match (first.1, second.1) {
        (true, true) => false,
        (false, true) => covers_text(second.0, first.0),
        (true, false) => covers_text(first.0, second.0),
        (false, false) => are_apart(first.0, second.0),
    })
}

fn notes_fit(first: &MetadataMatch, second: &MetadataMatch) -> Fit {
    if first.namespace != second.namespace || first.path != second.path {
        return Fit::Fine;
    }
    let is_within =
        |inner: &ValueMatch, outer: &ValueMatch| inner == outer || *outer == ValueMatch::Present;
    never(match (first.invert, second.invert) {
        (true, true) => false,
        (false, true) => is_within(&first.value, &second.value),
        (true, false) => is_within(&second.value, &first.value),
        (false, false) => are_other_values(&first.value, &second.value),
    })
}

const fn never(is_never: bool) -> Fit {
    if is_never { Fit::Never } else { Fit::Fine }
}

/// Whether no value is both.
fn are_other_values(first: &ValueMatch, second: &ValueMatch) -> bool {
    match (first, second) {
        (ValueMatch::Bool(first), ValueMatch::Bool(second)) => first != second,
        (ValueMatch::Text(first), ValueMatch::Text(second)) => {
            are_apart((first, false), (second, false))
        }
        (ValueMatch::Range(first), ValueMatch::Range(second)) => {
            first.end <= second.start || second.end <= first.start
        }
        _ => match (kind(first), kind(second)) {
            (Some(first), Some(second)) => first != second,
            _ => false,
        },
    }
}

/// The kind of the values that meet it, if they are of one.
fn kind(value: &ValueMatch) -> Option<u8> {
    match value {
        ValueMatch::Null => Some(0),
        ValueMatch::Bool(_) => Some(1),
        ValueMatch::Number(_) | ValueMatch::Range(_) => Some(2),
        ValueMatch::Text(_) => Some(3),
        ValueMatch::Item(_) => Some(4),
        ValueMatch::Present | ValueMatch::AnyOf(_) => None,
    }
}

/// Whether no text meets both. Where one is compared without case, both are, which makes more of them.
fn are_apart(first: Asked<'_>, second: Asked<'_>) -> bool {
    let is_free = first.1 || second.1;
    let case = |text: &str| if is_free { text.to_ascii_lowercase() } else { text.to_owned() };
    match (first.0, second.0) {
        (StringMatch::Range(first), StringMatch::Range(second)) => {
            first.end <= second.start || second.end <= first.start
        }
        (StringMatch::Prefix(first), StringMatch::Prefix(second)) => {
            let (first, second) = (case(first), case(second));
            !first.starts_with(&second) && !second.starts_with(&first)
        }
        (StringMatch::Suffix(first), StringMatch::Suffix(second)) => {
            let (first, second) = (case(first), case(second));
            !first.ends_with(&second) && !second.ends_with(&first)
        }
        (StringMatch::Exact(text), other) => !may_be(other, &case(text), second.1, is_free),
        (other, StringMatch::Exact(text)) => !may_be(other, &case(text), first.1, is_free),
        _ => false,
    }
}

/// Whether this text, or one that differs in case where none counts, may meet it.
fn may_be(matcher: &StringMatch, text: &str, is_own_free: bool, is_free: bool) -> bool {
    let case = |it: &String| if is_free { it.to_ascii_lowercase() } else { it.clone() };
    match matcher {
        StringMatch::Exact(it) => text == case(it),
        StringMatch::Prefix(it) => text.starts_with(&case(it)),
        StringMatch::Suffix(it) => text.ends_with(&case(it)),
        StringMatch::Contains(it) => text.contains(&case(it)),
        StringMatch::Range(range) => {
            text.parse::<i64>().is_ok_and(|number| (range.start..range.end).contains(&number))
        }
        // The text has lost its case where the pattern may want one.
        StringMatch::Regex(_) if is_free && !is_own_free => true,
        StringMatch::Regex(it) => {
            Whole::shared(it, is_own_free).map_or(true, |whole| whole.matches(text))
        }
        StringMatch::Present => true,
    }
}

#[cfg(test)]
#[path = "contrary/tests.rs"]
mod tests;
