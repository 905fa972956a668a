//! What the layers of a policy or a cluster say, and who says it.

use std::borrow::Cow;

use crate::{
    config::Overlay,
    mesh::{
        describe::{Setting, SettingOrigin},
        inner::Inner,
        overlay::Whose,
    },
};

/// Whose words a layer is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By<'a> {
    Call,
    Code,
    /// A source, by its name.
    Source(Option<&'a str>),
}

/// What the layers say, nearest first.
pub(super) struct Layers<'a, T> {
    pub(super) said: Vec<(By<'a>, &'a T)>,
}

// === impl Layers ===

impl<'a, T> Layers<'a, T> {
    /// What only the code says.
    pub(super) fn of_code(code: &'a T) -> Self {
        Self::of_one(code, By::Code)
    }

    /// What only these words say.
    pub(super) fn of_one(said: &'a T, by: By<'a>) -> Self {
        Self { said: vec![(by, said)] }
    }

    /// The setting that `of` reads: that of the nearest layer that says it, else the default.
    pub(super) fn setting(
        &self,
        name: &'static str,
        default: &str,
        of: impl Fn(&T) -> Option<String>,
    ) -> Setting {
        let said = self.said.iter().find_map(|(by, layer)| Some((*by, of(layer)?)));
        match said {
            Some((by, value)) => by.says(name.into(), value),
            None => Setting {
                name: name.into(),
                value: default.to_owned(),
                origin: SettingOrigin::Default,
                source: None,
            },
        }
    }

    /// Whether any layer says it.
    pub(super) fn is_said(&self) -> bool {
        !self.said.is_empty()
    }

    /// The layers of a part.
    pub(super) fn within<U>(&self, of: impl Fn(&'a T) -> Option<&'a U>) -> Layers<'a, U> {
        Layers { said: self.said.iter().filter_map(|(by, it)| Some((*by, of(it)?))).collect() }
    }
}

impl<T: Overlay> Layers<'_, T> {
    /// What is said and has no line of its own in `list`.
    pub(super) fn rest(&self, list: &mut Vec<Setting>) {
        for (by, layer) in &self.said {
            let mut told = Vec::new();
            layer.told("", &mut told);
            for (name, value) in told {
                let is_told = |it: &Setting| {
                    let below = it.name.strip_prefix(name.as_str());
                    below.is_some_and(|below| below.is_empty() || below.starts_with('.'))
                };
                if !list.iter().any(is_told) {
                    list.push(by.says(name.into(), value));
                }
            }
        }
    }
}

// === impl By ===

impl<'a> By<'a> {
    /// The layer of a mesh that these words are.
    pub(in crate::mesh) fn of(inner: &'a Inner, whose: Whose) -> Self {
        match whose {
            Whose::Code => Self::Code,
            Whose::Source(source) => Self::Source(Some(inner.source_name(source))),
        }
    }

    /// Where they come from, and which source that is.
    pub(in crate::mesh) fn origin(self) -> (SettingOrigin, Option<String>) {
        match self {
            Self::Call => (SettingOrigin::Call, None),
            Self::Code => (SettingOrigin::Code, None),
            Self::Source(source) => (SettingOrigin::ControlPlane, source.map(str::to_owned)),
        }
    }

    pub(crate) fn says(self, name: Cow<'static, str>, value: String) -> Setting {
        let (origin, source) = self.origin();
        Setting { name, value, origin, source }
    }
}
