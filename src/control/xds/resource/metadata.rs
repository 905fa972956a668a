//! Matches on what was noted about a call (`dynamic_metadata`).

use envoy_types::pb::envoy::r#type::matcher::v3::{
    ListMatcher, MetadataMatcher, OrMatcher, ValueMatcher,
    double_matcher::MatchPattern as Number,
    list_matcher::MatchPattern as Item,
    metadata_matcher::{PathSegment, path_segment::Segment},
    value_matcher::MatchPattern,
};

use super::{
    text,
    walk::{Result, Walk},
};
use crate::config::{MetadataMatch, NumberRange, ValueMatch};

/// How deep matches may be in each other.
const DEEPEST: usize = 16;

pub(super) fn matcher(walk: &mut Walk, pb: &MetadataMatcher) -> Result<MetadataMatch> {
    let MetadataMatcher { filter, path, value, invert } = pb;
    let mut read = MetadataMatch::default();
    if filter.is_empty() {
        return walk.refuse("filter", "", "must not be empty");
    }
    read.namespace.clone_from(filter);
    read.path = walk.each("path", path, |walk, PathSegment { segment }| match segment {
        Some(Segment::Key(key)) if !key.is_empty() => Ok(key.clone()),
        _ => walk.refuse("key", "", "must not be empty"),
    })?;
    if path.is_empty() {
        return walk.refuse("path", "[]", "must not be empty");
    }
    let Some(value) = value else { return walk.refuse("value", "none", "must be given") };
    read.invert = *invert;
    //= Envoy: `present_match: false` is met by what is not there
    if value.match_pattern == Some(MatchPattern::PresentMatch(false)) {
        read.invert = !read.invert;
        return Ok(read);
    }
    read.value = walk.within("value", |walk| self::value(walk, value, DEEPEST))?;
    Ok(read)
}

fn value(walk: &mut Walk, pb: &ValueMatcher, deeper: usize) -> Result<ValueMatch> {
    let Some(deeper) = deeper.checked_sub(1) else {
        return walk.refuse("", "nested", format!("must be at most {DEEPEST} deep"));
    };
    Ok(match &pb.match_pattern {
        None => return walk.refuse("match_pattern", "none", "must be given"),
        Some(MatchPattern::NullMatch(_)) => ValueMatch::Null,
        Some(MatchPattern::BoolMatch(wanted)) => ValueMatch::Bool(*wanted),
        Some(MatchPattern::PresentMatch(true)) => ValueMatch::Present,
        Some(MatchPattern::PresentMatch(false)) => {
            let reason = "not supported yet inside of another match";
            return walk.refuse("present_match", false, reason);
        }
        Some(MatchPattern::DoubleMatch(number)) => match number.match_pattern {
            Some(Number::Exact(number)) => ValueMatch::Number(number),
            Some(Number::Range(range)) => {
                let mut read = NumberRange::default();
                (read.start, read.end) = (range.start, range.end);
                ValueMatch::Range(read)
            }
            None => return walk.refuse("double_match", "none", "must be given"),
        },
        Some(MatchPattern::StringMatch(matcher)) => {
            let (text, without_case) = text::text(walk, "string_match", matcher)?;
            if without_case {
                return walk.lacks("string_match.ignore_case", true, "not supported yet here");
            }
            ValueMatch::Text(text)
        }
        Some(MatchPattern::ListMatch(list)) => {
            let ListMatcher { match_pattern: Some(Item::OneOf(one)) } = &**list else {
                return walk.refuse("list_match", "none", "must be given");
            };
            let item = walk.within("list_match.one_of", |walk| value(walk, one, deeper))?;
            ValueMatch::Item(Box::new(item))
        }
        Some(MatchPattern::OrMatch(OrMatcher { value_matchers })) => {
            let all = walk.each("or_match.value_matchers", value_matchers, |walk, it| {
                value(walk, it, deeper)
            })?;
            ValueMatch::AnyOf(all)
        }
    })
}
