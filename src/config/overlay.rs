//! Settings of several layers laid over each other, field by field.
//!
//! What a layer says counts; where it is silent, the next one does. A list or a map is one value, and
//! says something when it is not empty. A field that is no `Option` says something when it is not its
//! default. A choice is one value, but the fields of its block are merged where both layers have made
//! the same choice. A retry budget, a discovery and a failover are one value each: their parts mean
//! nothing without each other.

/// Settings that layers are made of.
pub(crate) trait Overlay: Clone + Default + PartialEq {
    /// What is said here, and the rest from `lower`.
    fn laid_over(&self, lower: &Self) -> Self;

    /// The fields that are said, each by itself. Laid over each other they are the whole.
    fn parts(&self) -> Vec<Self>;

    /// The fields that are said, by their paths in the file, with their values.
    fn told(&self, path: &str, into: &mut Vec<(String, String)>);
}

/// Says of every field how it is merged; a field that is left out does not compile.
macro_rules! overlay {
    ($type:ty { $($kind:ident: $($field:ident),+;)+ }) => {
        impl Overlay for $type {
            fn laid_over(&self, lower: &Self) -> Self {
                Self { $($($field: $kind::over(&self.$field, &lower.$field),)+)+ }
            }

            #[allow(clippy::needless_update, reason = "some have one field")]
            fn parts(&self) -> Vec<Self> {
                let mut parts = Vec::new();
                $($(for $field in $kind::parts(&self.$field) {
                    parts.push(Self { $field, ..Self::default() });
                })+)+
                parts
            }

            fn told(&self, path: &str, into: &mut Vec<(String, String)>) {
                $($($kind::told(&self.$field, &below(path, stringify!($field)), into);)+)+
            }
        }
    };
}

fn below(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

/// A value as `describe()` tells it: of a plain variant the file's name.
fn word(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    let is_name = text.starts_with(|letter: char| letter.is_ascii_uppercase())
        && text.chars().all(char::is_alphanumeric);
    if !is_name {
        return text;
    }
    let mut name = String::new();
    for letter in text.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// A choice, some of whose variants have a block of fields.
pub(crate) trait Choice: Clone {
    /// This choice, and of the fields of its block those of `far` where they are not said and it
    /// has made the same one.
    fn beside(&self, far: &Self) -> Self;

    /// The choice with each of its fields.
    fn apart(&self) -> Vec<Self>;

    /// The fields of its block, by their paths.
    fn named(&self, path: &str, into: &mut Vec<(String, String)>);
}

macro_rules! choice {
    ($type:ident { $($variant:ident = $name:literal),+ $(,)? } $($own:ident)?) => {
        impl Choice for $type {
            fn beside(&self, far: &Self) -> Self {
                match (self, far) {
                    $((Self::$variant(near), Self::$variant(far)) => {
                        Self::$variant(near.laid_over(far))
                    })+
                    $((Self::$own(near), Self::$own(far)) => Self::$own(near.laid_over(far)),)?
                    _ => self.clone(),
                }
            }

            fn apart(&self) -> Vec<Self> {
                match self {
                    $(Self::$variant(near) => {
                        let parts = std::iter::once(Default::default()).chain(near.parts());
                        parts.map(Self::$variant).collect()
                    })+
                    #[allow(unreachable_patterns, reason = "some have no others")]
                    _ => vec![self.clone()],
                }
            }

            fn named(&self, path: &str, into: &mut Vec<(String, String)>) {
                let (name, path) = match self {
                    $(Self::$variant(near) => {
                        near.told(&below(path, $name), into);
                        ($name.to_owned(), path)
                    })+
                    #[allow(unreachable_patterns, reason = "some have no others")]
                    _ => (word(self), path),
                };
                into.push((path.to_owned(), name));
            }
        }
    };
}

mod fields;
mod kinds;
#[cfg(all(test, feature = "schema"))]
mod tests;
