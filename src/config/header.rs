//! What a header must be: compiled once, asked for each request.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{HeaderMatch, text::Text};

/// A compiled match on the values of one header.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    name: HeaderName,
    text: Text,
    invert: bool,
    missing_as_empty: bool,
}

// === impl Header ===

impl Header {
    /// # Errors
    ///
    /// What cannot be compiled.
    pub(crate) fn new(header: &HeaderMatch) -> Result<Self, String> {
        let name = HeaderName::from_bytes(header.name.as_bytes())
            .map_err(|_| format!("`{}` is not a header name", header.name))?;
        let text = Text::new(&header.matcher, header.ignore_case)?;
        let HeaderMatch { invert, missing_as_empty, .. } = *header;
        Ok(Self { name, text, invert, missing_as_empty })
    }

    /// Whether what it asks of each value can be answered: it is text, or asked for alone.
    pub(crate) fn is_legible(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(&self.name).iter();
        matches!(self.text, Text::Present)
            || values.all(|value| std::str::from_utf8(value.as_bytes()).is_ok())
    }

    /// The same of all of its values as one, as lists of them are written.
    //= gRFC A41: values of one name are concatenated, with a comma
    pub(crate) fn matches_joined(&self, headers: &HeaderMap) -> bool {
        let values: Vec<&[u8]> =
            headers.get_all(&self.name).iter().map(HeaderValue::as_bytes).collect();
        if values.len() < 2 {
            return self.matches(headers);
        }
        let joined = values.join(&b',');
        std::str::from_utf8(&joined).is_ok_and(|text| self.text.matches(text)) != self.invert
    }

    pub(crate) fn matches(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(&self.name).iter().peekable();
        if values.peek().is_some() {
            let text = |value: &HeaderValue| {
                // It is there, whatever it says.
                matches!(self.text, Text::Present)
                    || std::str::from_utf8(value.as_bytes())
                        .is_ok_and(|value| self.text.matches(value))
            };
            return values.any(text) != self.invert;
        }
        //= Envoy HeaderUtility::matchHeaders, gRFC A28: no value meets nothing, and not the
        //= contrary either, unless it counts as an empty one
        match (&self.text, self.missing_as_empty) {
            (Text::Present, _) => self.invert,
            (text, true) => text.matches("") != self.invert,
            (_, false) => false,
        }
    }
}
