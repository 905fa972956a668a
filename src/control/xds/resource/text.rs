//! Matches on text, headers, query parameters and paths.

use envoy_types::pb::envoy::{
    config::route::v3::{
        CookieMatcher, HeaderMatcher, QueryParameterMatcher, header_matcher::HeaderMatchSpecifier,
        query_parameter_matcher::QueryParameterMatchSpecifier,
    },
    r#type::{
        matcher::v3::{
            RegexMatchAndSubstitute, RegexMatcher, StringMatcher, string_matcher::MatchPattern,
        },
        v3::Int64Range,
    },
};

use super::walk::{Result, Walk};
use crate::config::{
    CookieMatch, HeaderMatch, IntegerRange, QueryMatch, RegexRewrite, StringMatch, pattern::Whole,
};

/// A match on text, and whether it is without case.
pub(super) fn text(
    walk: &mut Walk,
    field: &str,
    pb: &StringMatcher,
) -> Result<(StringMatch, bool)> {
    walk.within(field, |walk| {
        let matcher = match &pb.match_pattern {
            Some(MatchPattern::Exact(text)) => StringMatch::Exact(text.clone()),
            //= gRFC A63, Envoy: these must say something
            Some(MatchPattern::Prefix(text)) => StringMatch::Prefix(some(walk, "prefix", text)?),
            Some(MatchPattern::Suffix(text)) => StringMatch::Suffix(some(walk, "suffix", text)?),
            Some(MatchPattern::Contains(text)) => {
                StringMatch::Contains(some(walk, "contains", text)?)
            }
            Some(MatchPattern::SafeRegex(pattern)) => {
                // Envoy: the case counts for patterns whatever is said.
                return Ok((StringMatch::Regex(regex(walk, "safe_regex", pattern, false)?), false));
            }
            Some(MatchPattern::Custom(_)) => {
                return walk.lacks("custom", "given", "not supported yet");
            }
            None => return walk.refuse("match_pattern", "none", "must be given"),
        };
        Ok((matcher, pb.ignore_case))
    })
}

fn some(walk: &Walk, field: &str, text: &str) -> Result<String> {
    if text.is_empty() {
        return walk.refuse(field, "", "must not be empty");
    }
    Ok(text.to_owned())
}

pub(super) fn regex(
    walk: &Walk,
    field: &str,
    pb: &RegexMatcher,
    ignore_case: bool,
) -> Result<String> {
    if pb.regex.is_empty() {
        return walk.refuse(&format!("{field}.regex"), "", "must not be empty");
    }
    match Whole::shared(&pb.regex, ignore_case) {
        Ok(_) => Ok(pb.regex.clone()),
        Err(reason) => walk.refuse(&format!("{field}.regex"), &pb.regex, reason),
    }
}

pub(super) fn rewrite(
    walk: &Walk,
    field: &str,
    pb: &RegexMatchAndSubstitute,
) -> Result<RegexRewrite> {
    let RegexMatchAndSubstitute { pattern, substitution } = pb;
    let Some(pattern) = pattern else {
        return walk.refuse(&format!("{field}.pattern"), "none", "must be given");
    };
    let pattern = regex(walk, &format!("{field}.pattern"), pattern, false)?;
    Ok(RegexRewrite { pattern, substitution: substitution.clone() })
}

pub(super) fn header(walk: &mut Walk, pb: &HeaderMatcher) -> Result<HeaderMatch> {
    let HeaderMatcher { name, invert_match, treat_missing_header_as_empty, header_match_specifier } =
        pb;
    let mut ignore_case = false;
    let mut invert = *invert_match;
    let matcher = match header_match_specifier {
        // Envoy: a header that is named and no more is to be there.
        None => StringMatch::Present,
        Some(HeaderMatchSpecifier::ExactMatch(text)) => StringMatch::Exact(text.clone()),
        Some(HeaderMatchSpecifier::PrefixMatch(text)) => {
            StringMatch::Prefix(some(walk, "prefix_match", text)?)
        }
        Some(HeaderMatchSpecifier::SuffixMatch(text)) => {
            StringMatch::Suffix(some(walk, "suffix_match", text)?)
        }
        Some(HeaderMatchSpecifier::ContainsMatch(text)) => {
            StringMatch::Contains(some(walk, "contains_match", text)?)
        }
        Some(HeaderMatchSpecifier::SafeRegexMatch(pattern)) => {
            StringMatch::Regex(regex(walk, "safe_regex_match", pattern, false)?)
        }
        Some(HeaderMatchSpecifier::RangeMatch(Int64Range { start, end })) => {
            if start >= end {
                let value = format!("{start}..{end}");
                return walk.refuse("range_match", value, "holds no number");
            }
            let mut range = IntegerRange::default();
            (range.start, range.end) = (*start, *end);
            StringMatch::Range(range)
        }
        Some(HeaderMatchSpecifier::PresentMatch(wanted)) => {
            invert = invert == *wanted;
            StringMatch::Present
        }
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => {
            let (matcher, without_case) = text(walk, "string_match", matcher)?;
            ignore_case = without_case;
            matcher
        }
    };
    let mut read = HeaderMatch::new(name.clone(), matcher);
    read.invert = invert;
    read.ignore_case = ignore_case;
    read.missing_as_empty = *treat_missing_header_as_empty;
    Ok(read)
}

pub(super) fn query(walk: &mut Walk, pb: &QueryParameterMatcher) -> Result<QueryMatch> {
    let QueryParameterMatcher { name, query_parameter_match_specifier } = pb;
    let mut ignore_case = false;
    let mut invert = false;
    let matcher = match query_parameter_match_specifier {
        None => StringMatch::Present,
        Some(QueryParameterMatchSpecifier::PresentMatch(wanted)) => {
            invert = !wanted;
            StringMatch::Present
        }
        Some(QueryParameterMatchSpecifier::StringMatch(matcher)) => {
            let (matcher, without_case) = text(walk, "string_match", matcher)?;
            ignore_case = without_case;
            matcher
        }
    };
    let mut read = QueryMatch::new(name.clone(), matcher);
    (read.ignore_case, read.invert) = (ignore_case, invert);
    Ok(read)
}

pub(super) fn cookie(walk: &mut Walk, pb: &CookieMatcher) -> Result<CookieMatch> {
    let CookieMatcher { name, string_match, invert_match } = pb;
    let Some(matcher) = string_match else {
        return walk.refuse("string_match", "none", "must be given");
    };
    let (matcher, ignore_case) = text(walk, "string_match", matcher)?;
    let mut read = CookieMatch::new(name.clone(), matcher);
    (read.ignore_case, read.invert) = (ignore_case, *invert_match);
    Ok(read)
}
