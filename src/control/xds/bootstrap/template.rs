//! Templates of the names of listeners (gRFC A27, A47).

use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What a listener is called for a name that is called; `%s` stands for the name.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Template(Arc<str>);

impl Template {
    /// What an authority without a template of its own has.
    //= gRFC A47: the default is `xdstp://<authority_name>/envoy.config.listener.v3.Listener/%s`
    pub(crate) fn of_authority(authority: &str) -> Self {
        Self(format!("xdstp://{authority}/envoy.config.listener.v3.Listener/%s").into())
    }

    pub(crate) fn new(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("must not be empty");
        }
        Ok(Self(text.into()))
    }

    /// One of an authority.
    //= gRFC A47: it must start with `xdstp://<authority_name>/`
    pub(crate) fn within(text: &str, authority: &str) -> Result<Self, String> {
        let start = format!("xdstp://{authority}/");
        if !text.starts_with(&start) {
            return Err(format!("must begin with `{start}`"));
        }
        Ok(Self(text.into()))
    }

    /// The listener's name. In a name of the new style what is put in is percent-encoded.
    pub(crate) fn name(&self, called: &str) -> String {
        if self.0.starts_with("xdstp:") {
            self.0.replace("%s", &utf8_percent_encode(called, KEPT_OUT).to_string())
        } else {
            self.0.replace("%s", called)
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// All but what a path may have: RFC 3986's `pchar`, and `/`.
const KEPT_OUT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@')
    .remove(b'/');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_template_takes_the_name_as_it_is() {
        assert_eq!(Template::new("%s").unwrap().name("a b.prod:80"), "a b.prod:80");
        assert_eq!(Template::new("x/%s/%s").unwrap().name("é"), "x/é/é");
        assert_eq!(Template::new("fixed").unwrap().name("a"), "fixed");
    }

    #[test]
    fn names_of_the_new_style_are_percent_encoded() {
        let template = Template::of_authority("a.example");
        let start = "xdstp://a.example/envoy.config.listener.v3.Listener/";
        assert_eq!(template.name("server:80/x@y"), format!("{start}server:80/x@y"));
        assert_eq!(template.name("a b?c#d%e[é]"), format!("{start}a%20b%3Fc%23d%25e%5B%C3%A9%5D"));
    }

    #[test]
    fn a_template_stays_in_its_authority() {
        assert!(Template::within("xdstp://a/envoy.config.listener.v3.Listener/%s", "a").is_ok());
        for text in ["xdstp://b/x/%s", "xdstp://ab/x/%s", "%s", "xdstp:///x/%s"] {
            assert!(Template::within(text, "a").is_err(), "{text}");
        }
    }
}
