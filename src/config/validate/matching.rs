//! Checks of what a request must look like.

use super::{Checker, not_yet};
use crate::config::{
    CookieMatch, GrpcMatch, HeaderMatch, Match, MetadataMatch, PathMatch, QueryMatch,
    RuntimeFraction, StringMatch, ValueMatch, pattern::Whole, template::Template,
};
use crate::core::uri::is_authority;

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
            self.within("path", |checker| checker.path(path, *path_ignore_case));
        }
        if let Some(method) = method
            && http::Method::from_bytes(method.as_bytes()).is_err()
        {
            self.refuse("method", method, "is not a method");
        }
        if let Some(scheme) = scheme
            && !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
        {
            self.refuse("scheme", scheme, "must be `http` or `https`");
        }
        self.each("headers", headers, Self::any_header);
        self.each("query", query, Self::parameter);
        self.each("cookies", cookies, Self::matched_cookie);
        if let Some(grpc) = grpc {
            if path.is_some() {
                self.refuse("grpc", "", "a match has either `path` or `grpc`");
            }
            self.within("grpc", |checker| checker.grpc(grpc));
        }
        if let Some(fraction) = fraction {
            self.within("fraction", |checker| checker.share(fraction));
        }
        if caller.keys().any(String::is_empty) {
            self.refuse("caller", "\"\"", "a label has a name");
        }
        self.each("metadata", metadata, |checker, rule| {
            let MetadataMatch { namespace, path: _, value, invert: _ } = rule;
            if namespace.is_empty() {
                checker.refuse("namespace", "\"\"", "must not be empty");
            }
            checker.noted("value", value);
        });
        not_yet!(self, extension);
    }

    fn noted(&mut self, field: &str, value: &ValueMatch) {
        match value {
            ValueMatch::Present | ValueMatch::Null | ValueMatch::Bool(_) => {}
            ValueMatch::Number(number) => {
                if !number.is_finite() {
                    self.refuse(&format!("{field}.number"), number, "must be a finite number");
                }
            }
            ValueMatch::Range(range) => {
                if range.start.is_nan() || range.end.is_nan() || range.start >= range.end {
                    let range = format!("{}..{}", range.start, range.end);
                    self.refuse(&format!("{field}.range"), range, "holds no number");
                }
            }
            ValueMatch::Text(text) => self.text(&format!("{field}.text"), text, false),
            ValueMatch::Item(item) => self.noted(&format!("{field}.item"), item),
            ValueMatch::AnyOf(list) => {
                if list.is_empty() {
                    self.refuse(&format!("{field}.any_of"), "[]", "must have at least one");
                }
                for (index, one) in list.iter().enumerate() {
                    self.noted(&format!("{field}.any_of[{index}]"), one);
                }
            }
        }
    }

    /// The pattern of an authority.
    pub(super) fn host(&mut self, field: &str, host: &str) {
        let bare = host.strip_prefix('*').or_else(|| host.strip_suffix('*'));
        let (bare, is_pattern) = (bare.unwrap_or(host), bare.is_some());
        let is_whole = if is_pattern { bare.is_empty() } else { false };
        if !is_whole && (bare.contains('*') || !is_authority(bare.trim_matches('.'))) {
            self.refuse(field, host, "must be `a.b`, `*.b`, `a.*` or `*`");
        }
    }

    pub(super) fn path(&mut self, path: &PathMatch, ignore_case: bool) {
        let begins = |checker: &mut Self, field: &str, path: &str| {
            if !path.starts_with('/') {
                checker.refuse(field, path, "must begin with `/`");
            } else if path.contains(['?', '#']) {
                checker.refuse(field, path, "a path has no `?` or `#`: it would never match");
            }
        };
        match path {
            PathMatch::Exact(path) => begins(self, "exact", path),
            PathMatch::Prefix(path) => begins(self, "prefix", path),
            PathMatch::StringPrefix(path) => begins(self, "string_prefix", path),
            PathMatch::Regex(regex) => self.regex("regex", regex, ignore_case),
            PathMatch::Template(text) => {
                if let Err(reason) = Template::new(text) {
                    self.refuse("template", text, reason);
                } else if ignore_case {
                    self.refuse("template", text, "has no `path_ignore_case`");
                }
            }
            PathMatch::Connect => self.refuse("", "connect", super::NOT_YET),
        }
    }

    /// A pattern is larger without case.
    fn regex(&mut self, field: &str, regex: &str, ignore_case: bool) {
        if let Err(reason) = Whole::shared(regex, ignore_case) {
            self.refuse(field, regex, reason);
        }
    }

    /// A match on a header, or on what HTTP/2 has as one.
    pub(super) fn any_header(&mut self, header: &HeaderMatch) {
        let is_pseudo = [":method", ":scheme", ":authority", ":path"]
            .iter()
            .any(|name| header.name.eq_ignore_ascii_case(name));
        if is_pseudo {
            self.text("matcher", &header.matcher, header.ignore_case);
        } else {
            self.header(header);
        }
    }

    pub(super) fn header(&mut self, header: &HeaderMatch) {
        let HeaderMatch { name, matcher, invert: _, ignore_case, missing_as_empty: _ } = header;
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            self.refuse("name", name, "is not a header name");
        } else if name.eq_ignore_ascii_case("host") {
            // The table reads it of the request's address, too, and so do `hosts`.
            self.refuse("name", name, "say it in `hosts`");
        }
        self.text("matcher", matcher, *ignore_case);
    }

    pub(super) fn parameter(&mut self, parameter: &QueryMatch) {
        let QueryMatch { name, matcher, ignore_case, invert: _ } = parameter;
        if name.is_empty() {
            self.refuse("name", "", "must not be empty");
        }
        self.text("matcher", matcher, *ignore_case);
    }

    fn matched_cookie(&mut self, cookie: &CookieMatch) {
        let CookieMatch { name, matcher, ignore_case, invert: _ } = cookie;
        if name.is_empty() {
            self.refuse("name", "", "must not be empty");
        }
        self.text("matcher", matcher, *ignore_case);
    }

    fn grpc(&mut self, grpc: &GrpcMatch) {
        let GrpcMatch { service, method } = grpc;
        for (field, text) in [("service", service), ("method", method)] {
            if let Some(text) = text {
                self.text(field, text, false);
            }
        }
    }

    fn share(&mut self, share: &RuntimeFraction) {
        let RuntimeFraction { percent, key } = share;
        if !(0.0..=100.0).contains(percent) {
            self.refuse("percent", percent, "must be in 0..=100");
        }
        if key.as_deref() == Some("") {
            self.refuse("key", "\"\"", "must not be empty");
        }
    }

    pub(super) fn text(&mut self, field: &str, matcher: &StringMatch, ignore_case: bool) {
        match matcher {
            StringMatch::Exact(_)
            | StringMatch::Prefix(_)
            | StringMatch::Suffix(_)
            | StringMatch::Contains(_)
            | StringMatch::Present => {}
            StringMatch::Regex(regex) => {
                self.regex(&format!("{field}.regex"), regex, ignore_case);
            }
            StringMatch::Range(range) => {
                if range.start >= range.end {
                    let range = format!("{}..{}", range.start, range.end);
                    self.refuse(&format!("{field}.range"), range, "holds no number");
                }
            }
        }
    }
}
