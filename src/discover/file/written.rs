//! A value of a mesh file, read by the type of its field.
//!
//! A field of text takes a bare word as it is written: `off`, `1.2`, `1.10`. A list is never taken
//! for a map in the order of its fields.

use std::fmt;

use serde::{
    Deserializer,
    de::{
        DeserializeOwned, Error as _, IntoDeserializer, Unexpected, Visitor,
        value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};

use super::tree::{Node, Tree};

/// A value with the text that it was read from.
#[derive(Clone, Copy)]
pub(super) struct Written<'a> {
    tree: &'a Tree,
    text: &'a str,
}

/// The names that a field may have.
struct OneOf(&'static [&'static str]);

// === impl Written ===

impl<'a> Written<'a> {
    pub(super) fn new(tree: &'a Tree, text: &'a str) -> Self {
        Self { tree, text }
    }

    pub(super) fn is_map(self) -> bool {
        matches!(self.tree.node, Node::Map(_))
    }

    fn is_null(self) -> bool {
        matches!(self.tree.node, Node::Null)
    }

    /// Whether nothing is written, not even `null`: a file may have been cut there.
    pub(super) fn is_missing(self) -> bool {
        self.is_null() && matches!(self.tree.at, Some((_, 0)))
    }

    /// What is written; an error where nothing is.
    fn given(self) -> Result<Self, serde_json::Error> {
        if self.is_missing() {
            return Err(serde_json::Error::custom(
                "has no value; write `null` for its default, `{}` for an empty map or `[]` for an \
                 empty list",
            ));
        }
        Ok(self)
    }

    /// The fields, where it is a map.
    pub(super) fn fields(self) -> Option<impl Iterator<Item = (&'a str, Self)>> {
        self.tree.fields(self.text)
    }

    /// Reads it as `T`; an error has the path in it and the reason.
    pub(super) fn read<T: DeserializeOwned>(self) -> Result<T, (String, String)> {
        serde_path_to_error::deserialize(self).map_err(|error| {
            let path = match error.path().to_string().as_str() {
                "." => String::new(),
                path => format!(".{path}"),
            };
            (path, error.inner().to_string())
        })
    }

    /// Text in quotes, or a bare word as it is written.
    fn word(self) -> Option<&'a str> {
        match &self.tree.node {
            Node::Text(text) => Some(text),
            Node::Bool(_) | Node::Signed(_) | Node::Unsigned(_) | Node::Float(_) => {
                let (at, length) = self.tree.at?;
                let word = self.text.get(at..at.checked_add(length)?)?;
                // `!!int "3"` is a number by its tag.
                (!word.starts_with(['"', '\'', '|', '>'])).then_some(word)
            }
            Node::Null | Node::List(_) | Node::Map(_) => None,
        }
    }

    fn unexpected(self) -> Unexpected<'a> {
        match &self.tree.node {
            Node::Null => Unexpected::Unit,
            Node::Bool(value) => Unexpected::Bool(*value),
            Node::Signed(value) => Unexpected::Signed(*value),
            Node::Unsigned(value) => Unexpected::Unsigned(*value),
            Node::Float(value) => Unexpected::Float(*value),
            Node::Text(text) => Unexpected::Str(text),
            Node::List(_) => Unexpected::Seq,
            Node::Map(_) => Unexpected::Map,
        }
    }

    fn is_bare(self) -> bool {
        use Node::{Bool, Float, Signed, Unsigned};
        matches!(self.tree.node, Bool(_) | Signed(_) | Unsigned(_) | Float(_))
    }
}

impl<'de> Deserializer<'de> for Written<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match &self.given()?.tree.node {
            Node::Null => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(*value),
            Node::Signed(value) => visitor.visit_i64(*value),
            Node::Unsigned(value) => visitor.visit_u64(*value),
            // The model holds only numbers that JSON has.
            Node::Float(value) if !value.is_finite() => visitor.visit_str(&value.to_string()),
            Node::Float(value) => visitor.visit_f64(*value),
            Node::Text(text) => visitor.visit_borrowed_str(text),
            Node::List(items) => {
                let items = items.iter().map(|tree| Written { tree, text: self.text });
                SeqDeserializer::new(items).deserialize_any(visitor)
            }
            Node::Map(fields) => {
                let fields = fields
                    .iter()
                    .map(|(key, tree)| (key.as_str(), Written { tree, text: self.text }));
                MapDeserializer::new(fields).deserialize_any(visitor)
            }
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.word() {
            Some(word) => visitor.visit_borrowed_str(word),
            None if self.is_bare() => {
                Err(Self::Error::invalid_type(self.unexpected(), &"text, which stands in quotes"))
            }
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        if self.given()?.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        if self.given()?.is_map() {
            return self.deserialize_any(visitor);
        }
        Err(Self::Error::invalid_type(self.unexpected(), &"a map of fields"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        if let Some(word) = self.given()?.word() {
            return visitor.visit_enum(word.into_deserializer());
        }
        let Node::Map(fields) = &self.tree.node else {
            return Err(Self::Error::invalid_type(self.unexpected(), &OneOf(variants)));
        };
        if fields.len() != 1 {
            return Err(Self::Error::invalid_value(Unexpected::Map, &"a map with a single key"));
        }
        let fields =
            fields.iter().map(|(key, tree)| (key.as_str(), Written { tree, text: self.text }));
        visitor.visit_enum(MapAccessDeserializer::new(MapDeserializer::new(fields)))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        seq tuple tuple_struct map identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, serde_json::Error> for Written<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

// === impl OneOf ===

impl serde::de::Expected for OneOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a name or a map with a single key: `{}`", self.0.join("`, `"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        super::tree::{json, yaml},
        *,
    };

    /// The fields of a map of texts.
    fn texts(tree: &Tree, text: &str) -> Result<BTreeMap<String, String>, String> {
        Written { tree, text }.read().map_err(|(path, reason)| format!("{path}: {reason}"))
    }

    #[test]
    fn bare_words_of_yaml_are_texts_as_they_are_written() {
        for word in
            ["off", "yes", "Null_", "1.10", "1.20e3", "0x1F", "007", "+1", "-0", ".inf", "1_0"]
        {
            for text in [
                format!("é: é\nword: {word}\n"),
                format!("\u{feff}word: {word} # a comment\r\né: 1\r\n"),
                format!("{{é: \"é\", word: {word}}}"),
                format!("é: &it {word}\nword: *it\n"),
            ] {
                let tree = yaml(&text).unwrap();
                assert_eq!(texts(&tree, &text).unwrap()["word"], word, "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_text_is_none() {
        for text in ["word: ~", "word: [a]", "word: {a: b}", "word: !!int \"3\""] {
            texts(&yaml(text).unwrap(), text).unwrap_err();
        }
        let text = r#"{"word": 1.10}"#;
        let reason = texts(&json(text).unwrap(), text).unwrap_err();
        assert_eq!(
            reason,
            ".word: invalid type: floating point `1.1`, expected text, which stands in quotes"
        );
    }

    #[test]
    fn numbers_stay_numbers_where_numbers_are_read() {
        let text = "a: 0x1F\nb: 1e3\nc: -7\n";
        let tree = yaml(text).unwrap();
        let read: BTreeMap<String, f64> = Written { tree: &tree, text }.read().unwrap();
        assert_eq!(read.into_values().collect::<Vec<_>>(), [31.0, 1e3, -7.0]);
    }
}
