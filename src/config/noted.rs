//! What was noted about a call, and what matches ask of it.

use std::collections::BTreeMap;

use super::{MetadataMatch, NumberRange, Value, ValueMatch, text::Text};

/// What the application, or a layer of its own, has noted about a call, for the matches of routes: an
/// extension of the request.
///
/// ```
/// use http::Request;
/// use tower_mesh::config::{CallMetadata, Value};
///
/// let mut request = Request::get("http://shop/").body(()).unwrap();
/// let metadata = CallMetadata::new().with("shop", "tier", Value::Text("gold".into()));
/// request.extensions_mut().insert(metadata);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallMetadata {
    namespaces: BTreeMap<String, BTreeMap<String, Value>>,
}

/// A compiled match on what was noted.
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    namespace: String,
    path: Vec<String>,
    value: Wanted,
    invert: bool,
}

#[derive(Clone, Debug)]
enum Wanted {
    Present,
    Null,
    Bool(bool),
    Number(f64),
    Range(NumberRange),
    Text(Text),
    Item(Box<Self>),
    AnyOf(Vec<Self>),
}

// === impl CallMetadata ===

impl CallMetadata {
    /// Nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a value by its name in a namespace, over one that is there.
    #[must_use]
    pub fn with(
        mut self,
        namespace: impl Into<String>,
        name: impl Into<String>,
        value: Value,
    ) -> Self {
        self.namespaces.entry(namespace.into()).or_default().insert(name.into(), value);
        self
    }
}

// === impl Noted ===

impl Noted {
    /// # Errors
    ///
    /// What cannot be compiled.
    pub(crate) fn new(said: &MetadataMatch) -> Result<Self, String> {
        let MetadataMatch { namespace, path, value, invert } = said;
        let (namespace, path) = (namespace.clone(), path.clone());
        Ok(Self { namespace, path, value: Wanted::new(value)?, invert: *invert })
    }

    //= Envoy MetadataMatcher: what is not there meets nothing, and then the match is inverted
    pub(crate) fn matches(&self, noted: Option<&CallMetadata>) -> bool {
        let is_met = noted.is_some_and(|noted| self.is_met(noted));
        is_met != self.invert
    }

    fn is_met(&self, noted: &CallMetadata) -> bool {
        let Some(mut map) = noted.namespaces.get(&self.namespace) else { return false };
        let Some((last, way)) = self.path.split_last() else {
            // All of it, which is there.
            return matches!(self.value, Wanted::Present);
        };
        for name in way {
            let Some(Value::Map(inner)) = map.get(name) else { return false };
            map = inner;
        }
        map.get(last).is_some_and(|value| self.value.is_met(value))
    }
}

// === impl Wanted ===

impl Wanted {
    fn new(said: &ValueMatch) -> Result<Self, String> {
        Ok(match said {
            ValueMatch::Present => Self::Present,
            ValueMatch::Null => Self::Null,
            ValueMatch::Bool(it) => Self::Bool(*it),
            ValueMatch::Number(it) => Self::Number(*it),
            ValueMatch::Range(it) => Self::Range(*it),
            ValueMatch::Text(text) => Self::Text(Text::new(text, false)?),
            ValueMatch::Item(item) => Self::Item(Box::new(Self::new(item)?)),
            ValueMatch::AnyOf(list) => {
                Self::AnyOf(list.iter().map(Self::new).collect::<Result<_, _>>()?)
            }
        })
    }

    fn is_met(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Present, _) | (Self::Null, Value::Null) => true,
            (Self::Bool(wanted), Value::Bool(it)) => wanted == it,
            (Self::Number(wanted), _) => {
                number(value).is_some_and(|it| (it - wanted).abs() <= f64::EPSILON * wanted.abs())
            }
            (Self::Range(range), _) => {
                number(value).is_some_and(|it| it >= range.start && it < range.end)
            }
            (Self::Text(text), Value::Text(it)) => text.matches(it),
            (Self::Item(wanted), Value::List(list)) => list.iter().any(|it| wanted.is_met(it)),
            (Self::AnyOf(list), _) => list.iter().any(|wanted| wanted.is_met(value)),
            _ => false,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "JSON has one kind of number")]
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StringMatch;

    fn met(path: &[&str], value: ValueMatch, noted: &CallMetadata) -> bool {
        let path: Vec<_> = path.iter().map(|name| (*name).to_owned()).collect();
        let said = MetadataMatch { namespace: "shop".into(), path, value, invert: false };
        let inverted = MetadataMatch { invert: true, ..said.clone() };
        let is_met = Noted::new(&said).unwrap().matches(Some(noted));
        assert_eq!(Noted::new(&inverted).unwrap().matches(Some(noted)), !is_met);
        is_met
    }

    #[test]
    fn values_are_found_and_compared() {
        let inner = [("b".to_owned(), Value::List(vec![Value::Integer(7), Value::Null]))].into();
        let noted = CallMetadata::new()
            .with("shop", "tier", Value::Text("gold".into()))
            .with("shop", "a", Value::Map(inner))
            .with("shop", "beta", Value::Bool(true))
            .with("other", "tier", Value::Text("lead".into()));
        let text = |text: &str| ValueMatch::Text(StringMatch::Exact(text.into()));
        let item = |it| ValueMatch::Item(Box::new(it));
        let range = |start, end| ValueMatch::Range(NumberRange { start, end });
        for (path, value, expected) in [
            (&["tier"][..], text("gold"), true),
            (&["tier"], text("lead"), false),
            (&["tier"], ValueMatch::AnyOf(vec![text("lead"), text("gold")]), true),
            (&["tier"], ValueMatch::Number(1.0), false),
            (&["nothing"], ValueMatch::Present, false),
            (&["nothing"], ValueMatch::Null, false),
            (&[], ValueMatch::Present, true),
            (&[], text("gold"), false),
            (&["a", "b"], item(ValueMatch::Number(7.0)), true),
            (&["a", "b"], item(range(7.0, 8.0)), true),
            (&["a", "b"], item(range(6.0, 7.0)), false),
            (&["a", "b"], item(ValueMatch::Null), true),
            (&["a", "b"], ValueMatch::Present, true),
            (&["a", "b", "c"], ValueMatch::Present, false),
            (&["tier", "b"], ValueMatch::Present, false),
            (&["beta"], ValueMatch::Bool(true), true),
            (&["beta"], ValueMatch::Bool(false), false),
        ] {
            assert_eq!(met(path, value.clone(), &noted), expected, "{path:?} {value:?}");
        }
    }

    #[test]
    fn a_call_of_which_nothing_is_noted_meets_the_contrary_alone() {
        let mut said = MetadataMatch::default();
        assert!(!Noted::new(&said).unwrap().matches(None));
        said.invert = true;
        assert!(Noted::new(&said).unwrap().matches(None));
    }
}
