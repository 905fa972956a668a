use std::collections::BTreeMap;

use http::Request;
use proptest::prelude::*;

use super::*;
use crate::{
    config::{CallMetadata, IntegerRange, NumberRange, RouteOrder, Value},
    core::Random,
    route::Builder,
};

fn table(rules: &[Match]) -> Table<Vec<Match>> {
    let labels = BTreeMap::new();
    let mut builder = Builder::new(RouteOrder::Listed, &labels);
    for rule in rules {
        builder.add(&[], std::slice::from_ref(rule), vec![rule.clone()]).unwrap();
    }
    builder.build()
}

fn of(rule: Match) -> Option<Contrary> {
    table(&[rule]).contrary(|matches| matches).pop()
}

fn exact(text: &str) -> StringMatch {
    StringMatch::Exact(text.into())
}

fn range(start: i64, end: i64) -> StringMatch {
    StringMatch::Range(IntegerRange { start, end })
}

#[test]
fn two_texts() {
    let begins = |text: &str| StringMatch::Prefix(text.into());
    let ends = |text: &str| StringMatch::Suffix(text.into());
    let has = |text: &str| StringMatch::Contains(text.into());
    for (first, second, are_apart) in [
        (exact("a"), exact("b"), true),
        (exact("a"), exact("a"), false),
        (exact("ab"), begins("b"), true),
        (exact("ab"), begins("a"), false),
        (exact("ab"), ends("a"), true),
        (exact("ab"), has("c"), true),
        (exact("7"), range(0, 7), true),
        (exact("7"), range(7, 8), false),
        (exact("a"), range(0, 7), true),
        (exact("a"), StringMatch::Present, false),
        (begins("ab"), begins("ac"), true),
        (begins("ab"), begins("a"), false),
        (ends("ab"), ends("cb"), true),
        (ends("ab"), ends("b"), false),
        (begins("a"), ends("b"), false),
        (has("a"), has("b"), false),
        (range(0, 7), range(7, 9), true),
        (range(0, 7), range(6, 9), false),
    ] {
        for (first, second) in [(&first, &second), (&second, &first)] {
            let header = |matcher: &StringMatch| HeaderMatch::new("x", matcher.clone());
            let headers = vec![header(first), HeaderMatch::new("X", second.clone())];
            let found = of(Match { headers, ..Match::default() }).map(|it| it.fit);
            assert_eq!(found, are_apart.then_some(Fit::Several), "{first:?} {second:?}");
            let query = vec![
                QueryMatch::new("q", first.clone()),
                QueryMatch::new("other", exact("x")),
                QueryMatch::new("q", second.clone()),
            ];
            let found = of(Match { query, ..Match::default() });
            assert_eq!(found.is_some(), are_apart, "{first:?} {second:?}");
            if let Some(found) = found {
                assert_eq!((found.list, found.both, &*found.name), ("query", (0, 2), "q"));
                assert_eq!(found.fit, Fit::Never);
            }
        }
    }
}

#[test]
fn a_text_and_its_contrary() {
    let said = |invert, missing_as_empty, matcher: &StringMatch| HeaderMatch {
        invert,
        missing_as_empty,
        ..HeaderMatch::new("x", matcher.clone())
    };
    let (a, any) = (exact("a"), StringMatch::Present);
    for (first, second, expected) in [
        (said(false, false, &a), said(true, false, &a), true),
        (said(false, false, &a), said(true, false, &StringMatch::Prefix("a".into())), true),
        (said(false, false, &StringMatch::Prefix("a".into())), said(true, false, &a), false),
        (said(false, false, &a), said(true, false, &exact("b")), false),
        (said(false, false, &any), said(true, false, &any), true),
        (said(false, false, &a), said(true, false, &any), true),
        // Without one it counts as empty, which is not `a`.
        (said(true, true, &a), said(true, false, &any), false),
        (said(true, false, &a), said(true, false, &any), true),
        (said(true, false, &a), said(true, false, &exact("b")), false),
    ] {
        for headers in [vec![first.clone(), second.clone()], vec![second.clone(), first.clone()]] {
            let found = of(Match { headers, ..Match::default() }).map(|it| it.fit);
            assert_eq!(found, expected.then_some(Fit::Never), "{first:?} {second:?}");
        }
    }
    let cookie = |invert| CookieMatch { invert, ..CookieMatch::new("s", exact("a")) };
    let found = of(Match { cookies: vec![cookie(false), cookie(true)], ..Match::default() });
    assert_eq!(found.unwrap().list, "cookies");
}

#[test]
fn case_makes_no_more_of_it_than_is_sure() {
    let said = |ignore_case, matcher| HeaderMatch { ignore_case, ..HeaderMatch::new("x", matcher) };
    let fits = |first, second| of(Match { headers: vec![first, second], ..Match::default() });
    assert!(fits(said(false, exact("A")), said(true, exact("a"))).is_none());
    assert!(fits(said(false, exact("A")), said(false, exact("a"))).is_some());
    assert!(fits(said(true, exact("A")), said(true, exact("b"))).is_some());
}

#[cfg(feature = "regex")]
#[test]
fn a_pattern_is_asked_about_a_whole_text() {
    let said = |ignore_case, matcher| HeaderMatch { ignore_case, ..HeaderMatch::new("x", matcher) };
    let pattern = || StringMatch::Regex("[A-Z]+".into());
    let fits = |first, second| of(Match { headers: vec![first, second], ..Match::default() });
    assert!(fits(said(false, exact("a")), said(false, pattern())).is_some());
    assert!(fits(said(false, exact("A")), said(false, pattern())).is_none());
    assert!(fits(said(true, exact("a")), said(false, pattern())).is_none(), "`A` meets both");
    assert!(fits(said(false, exact("a")), said(true, pattern())).is_none());
}

#[test]
fn notes() {
    let said = |value: ValueMatch, invert| MetadataMatch {
        namespace: "shop".into(),
        path: vec!["tier".into()],
        value,
        invert,
    };
    let text = |text: &str| ValueMatch::Text(exact(text));
    let range = |start, end| ValueMatch::Range(NumberRange { start, end });
    for (first, second, expected) in [
        (said(text("a"), false), said(text("b"), false), true),
        (said(text("a"), false), said(text("a"), true), true),
        (said(text("a"), false), said(text("b"), true), false),
        (said(text("a"), false), said(ValueMatch::Present, true), true),
        (said(ValueMatch::Bool(true), false), said(ValueMatch::Bool(false), false), true),
        (said(ValueMatch::Null, false), said(ValueMatch::Bool(false), false), true),
        (said(range(0.0, 1.0), false), said(range(1.0, 2.0), false), true),
        (said(range(0.0, 1.0), false), said(ValueMatch::Number(0.5), false), false),
        (said(ValueMatch::AnyOf(vec![text("a")]), false), said(text("b"), false), false),
    ] {
        let metadata = vec![first.clone(), second.clone()];
        let found = of(Match { metadata, ..Match::default() });
        assert_eq!(found.is_some(), expected, "{first:?} {second:?}");
    }
    let elsewhere = MetadataMatch { path: vec!["other".into()], ..said(text("b"), false) };
    let metadata = vec![said(text("a"), false), elsewhere];
    assert_eq!(of(Match { metadata, ..Match::default() }), None);
}

#[test]
fn the_worst_is_told_and_what_is_compared_is_bounded() {
    let header = |text: &str| HeaderMatch::new("x", exact(text));
    let rule = Match {
        headers: vec![header("a"), header("b")],
        query: vec![QueryMatch::new("q", exact("a")), QueryMatch::new("q", exact("b"))],
        ..Match::default()
    };
    let found = of(rule).unwrap();
    assert_eq!((found.list, found.fit), ("query", Fit::Never));
    // As many as there may be pairs of: the last of them come too late.
    let others = (0..1_000).map(|number| HeaderMatch::new(format!("x-{number}"), exact("a")));
    let headers = others.chain([header("a"), header("b")]).collect();
    assert_eq!(of(Match { headers, ..Match::default() }), None);
}

fn some_text() -> impl Strategy<Value = StringMatch> {
    let text = prop_oneof![Just("a"), Just("A"), Just("ab"), Just("7"), Just("")];
    (text, 0..7_u8, 0..8_i64).prop_map(|(text, kind, start)| match kind {
        0 | 1 => exact(text),
        2 => StringMatch::Prefix(text.into()),
        3 => StringMatch::Suffix(text.into()),
        4 => StringMatch::Contains(text.into()),
        5 => range(start, start + 2),
        _ => StringMatch::Present,
    })
}

fn some_value() -> impl Strategy<Value = ValueMatch> {
    prop_oneof![
        Just(ValueMatch::Present),
        Just(ValueMatch::Null),
        any::<bool>().prop_map(ValueMatch::Bool),
        (0..3_i8).prop_map(|number| ValueMatch::Number(number.into())),
        (0..3_i8).prop_map(|start| {
            let start = f64::from(start);
            ValueMatch::Range(NumberRange { start, end: start + 1.0 })
        }),
        some_text().prop_map(ValueMatch::Text),
    ]
}

fn some_rule() -> impl Strategy<Value = Match> {
    let header = (some_text(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(matcher, invert, ignore_case, missing_as_empty)| HeaderMatch {
            invert,
            ignore_case,
            missing_as_empty,
            ..HeaderMatch::new("x", matcher)
        },
    );
    let query = (some_text(), any::<bool>(), any::<bool>());
    let note = (some_value(), any::<bool>());
    (
        prop::collection::vec(header, 0..3),
        prop::collection::vec(query, 0..3),
        prop::collection::vec(note, 0..3),
    )
        .prop_map(|(headers, query, notes)| {
            let query = query.into_iter().map(|(matcher, invert, ignore_case)| QueryMatch {
                invert,
                ignore_case,
                ..QueryMatch::new("q", matcher)
            });
            let metadata = notes.into_iter().map(|(value, invert)| MetadataMatch {
                namespace: "n".into(),
                path: vec!["k".into()],
                value,
                invert,
            });
            Match {
                headers,
                query: query.collect(),
                metadata: metadata.collect(),
                ..Match::default()
            }
        })
}

fn some_value_of_text() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("A"), Just("AB"), Just("ab"), Just("7"), Just("3"), Just("")]
}

fn some_note() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (0..3_i64).prop_map(Value::Integer),
        (0..3_i8).prop_map(|number| Value::Number(f64::from(number) + 0.5)),
        some_value_of_text().prop_map(|text| Value::Text(text.into())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// What is told to contradict itself takes no request, or one with several values alone.
    #[test]
    fn no_request_comes_to_what_contradicts_itself(
        rule in some_rule(),
        requests in prop::collection::vec(
            (prop::collection::vec(some_value_of_text(), 0..3), prop::option::of(some_value_of_text()),
             prop::option::of(some_note())),
            1..24),
    ) {
        // Another beside it, so that the table asks.
        let table = table(&[rule, Match { method: Some("NONE".into()), ..Match::default() }]);
        let fit = table.contrary(|matches| matches).first().map_or(Fit::Fine, |it| it.fit);
        for (headers, query, note) in requests {
            let query = query.map(|value| format!("?q={value}")).unwrap_or_default();
            let mut request = Request::get(format!("/{query}"));
            for value in &headers {
                request = request.header("x", *value);
            }
            let mut request = request.body(()).unwrap();
            if let Some(note) = note {
                request.extensions_mut().insert(CallMetadata::new().with("n", "k", note));
            }
            if table.find(&request, &Random::seeded(1)).is_some() {
                prop_assert!(fit != Fit::Never, "{request:?}");
                prop_assert!(fit == Fit::Fine || headers.len() > 1, "{request:?}");
            }
        }
    }
}
