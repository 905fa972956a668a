//! Checks of what a request must look like.

use super::{Checker, NOT_YET, not_yet};
use crate::config::{HeaderMatch, Match, PathMatch, QueryMatch, StringMatch};

impl Checker {
    pub(super) fn rule(&mut self, rule: &Match) {
        let Match {
            path,
            path_ignore_case,
            method,
            scheme,
            headers,
            query,
            cookies,
            grpc,
            fraction,
            caller,
            metadata,
            extension,
        } = rule;
        if let Some(path) = path {
            self.within("path", |checker| checker.path(path));
        }
        if let Some(method) = method
            && http::Method::from_bytes(method.as_bytes()).is_err()
        {
            self.refuse("method", method, "is not a method");
        }
        self.each("headers", headers, Self::header);
        self.each("query", query, Self::parameter);
        not_yet!(
            self,
            path_ignore_case,
            scheme,
            cookies,
            grpc,
            fraction,
            caller,
            metadata,
            extension,
        );
    }

    fn path(&mut self, path: &PathMatch) {
        match path {
            PathMatch::Exact(path) if !path.starts_with('/') => {
                self.refuse("exact", path, "must begin with `/`");
            }
            PathMatch::Prefix(path) if !path.starts_with('/') => {
                self.refuse("prefix", path, "must begin with `/`");
            }
            PathMatch::Exact(_) | PathMatch::Prefix(_) => {}
            PathMatch::StringPrefix(path) => self.refuse("string_prefix", path, NOT_YET),
            PathMatch::Regex(regex) => self.refuse("regex", regex, NOT_YET),
            PathMatch::Template(template) => self.refuse("template", template, NOT_YET),
            PathMatch::Connect => self.refuse("", "connect", NOT_YET),
        }
    }

    fn header(&mut self, header: &HeaderMatch) {
        let HeaderMatch { name, matcher, invert: _, ignore_case, missing_as_empty } = header;
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            self.refuse("name", name, "is not a header name");
        }
        self.text(matcher);
        not_yet!(self, ignore_case, missing_as_empty);
    }

    fn parameter(&mut self, parameter: &QueryMatch) {
        let QueryMatch { name, matcher, ignore_case, invert } = parameter;
        if name.is_empty() {
            self.refuse("name", "", "must not be empty");
        }
        self.text(matcher);
        not_yet!(self, ignore_case, invert);
    }

    fn text(&mut self, matcher: &StringMatch) {
        match matcher {
            StringMatch::Exact(_)
            | StringMatch::Prefix(_)
            | StringMatch::Suffix(_)
            | StringMatch::Contains(_)
            | StringMatch::Present => {}
            StringMatch::Regex(regex) => self.refuse("matcher.regex", regex, NOT_YET),
            StringMatch::Range(range) => {
                let range = format!("{}..{}", range.start, range.end);
                self.refuse("matcher.range", range, NOT_YET);
            }
        }
    }
}
