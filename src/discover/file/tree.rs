//! YAML and JSON as one tree that a part is read from by its type.
//!
//! YAML alone would make of `off` a boolean, of `1.2` a number, and of `1.10` the number 1.1. So a
//! bare word is kept as both, and the field that reads it decides ([`Written`]). A key that is given
//! twice is refused, so that neither value is silently dropped.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserializer,
    de::{Deserialize, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

use super::written::Written;

/// One value and all below it.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) node: Node,
    /// Where a bare word of YAML stands in the text, and how long it is. Unit: bytes.
    pub(super) at: Option<(usize, usize)>,
}

#[derive(Debug)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
    List(Vec<Tree>),
    Map(BTreeMap<String, Tree>),
}

/// A tree of JSON.
struct Json(Tree);

/// A tree of YAML, which knows where bare words stand.
struct Yaml(Tree);

/// The same before its place is known.
struct Unplaced(Node);

/// Builds nodes whose children are read as `T`.
struct Builder<T>(PhantomData<T>);

/// Reads JSON.
pub(super) fn json(text: &str) -> Result<Tree, String> {
    let read: Result<Json, _> = serde_json::from_str(text);
    read.map(Tree::from).map_err(|error| error.to_string())
}

/// Reads YAML.
pub(super) fn yaml(text: &str) -> Result<Tree, String> {
    // What is no finite number is refused by the field that holds it: only its part is.
    let options = serde_saphyr::options! {
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::PassThrough,
    };
    let read: Result<Yaml, _> = serde_saphyr::from_str_with_options(text, options);
    read.map(Tree::from).map_err(|error| error.to_string())
}

// === impl Tree ===

impl Tree {
    /// The fields of a map, each with the text that it was read from.
    pub(super) fn fields<'a>(
        &'a self,
        text: &'a str,
    ) -> Option<impl Iterator<Item = (&'a str, Written<'a>)>> {
        let Node::Map(fields) = &self.node else { return None };
        Some(fields.iter().map(move |(name, tree)| (name.as_str(), Written::new(tree, text))))
    }
}

impl From<Json> for Tree {
    fn from(Json(tree): Json) -> Self {
        tree
    }
}

impl From<Yaml> for Tree {
    fn from(Yaml(tree): Yaml) -> Self {
        tree
    }
}

// === impl Json, Yaml, Unplaced ===

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = deserializer.deserialize_any(Builder::<Self>(PhantomData))?;
        Ok(Self(Tree { node, at: None }))
    }
}

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Unplaced>::deserialize(deserializer)?;
        let span = spanned.defined.span();
        let at = span.byte_offset().zip(span.byte_len());
        let at = at.and_then(|(at, length)| Some((at.try_into().ok()?, length.try_into().ok()?)));
        Ok(Self(Tree { node: spanned.value.0, at }))
    }
}

impl<'de> Deserialize<'de> for Unplaced {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Builder::<Yaml>(PhantomData)).map(Self)
    }
}

// === impl Builder ===

impl<'de, T: Deserialize<'de> + Into<Tree>> Visitor<'de> for Builder<T> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Signed(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Unsigned(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<T>()? {
            list.push(item.into());
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = entries.next_entry::<String, T>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("`{key}` is given twice")));
            }
            map.insert(key, value.into());
        }
        Ok(Node::Map(map))
    }
}
