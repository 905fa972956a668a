//! A walk through a resource: where it stands, what it notes, and how it refuses.

use std::fmt::Display;

/// Why a resource, or a part of it, is refused: the field's place, its value and the reason.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Bad {
    /// It is wrong, whoever reads it.
    Wrong(String),
    /// It is valid, and what it asks for is not done here.
    Lacking(String),
}

pub(super) type Result<T> = std::result::Result<T, Bad>;

/// The longest value that a report repeats. Unit: characters.
const SHOWN: usize = 120;
/// The longest report. Unit: characters.
const MOST_SHOWN: usize = 2_000;
/// The most notes of one resource: one more says how many there are.
const MOST_NOTES: usize = 50;

#[derive(Debug, Default)]
pub(super) struct Walk {
    path: String,
    notes: Vec<String>,
    left_out: usize,
}

// === impl Walk ===

impl Walk {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn notes(self) -> Vec<String> {
        let mut notes = self.notes;
        if self.left_out > 0 {
            notes.push(format!("and {} notes more", self.left_out));
        }
        notes
    }

    /// Goes into a field; one without a name is where it stands.
    pub(super) fn within<T>(&mut self, field: &str, step: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        if length > 0 && !field.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(field);
        let result = step(self);
        self.path.truncate(length);
        result
    }

    /// Goes into a place of a list, `field[7]`: it costs no text of its own, for there may be many.
    pub(super) fn at<T>(
        &mut self,
        field: &str,
        index: usize,
        step: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(field);
        self.path.push('[');
        push_number(&mut self.path, index);
        self.path.push(']');
        let result = step(self);
        self.path.truncate(length);
        result
    }

    /// Goes through a list.
    pub(super) fn each<I, T>(
        &mut self,
        field: &str,
        items: &[I],
        mut step: impl FnMut(&mut Self, &I) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut all = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            all.push(self.at(field, index, |walk| step(walk, item))?);
        }
        Ok(all)
    }

    /// Refuses a field.
    pub(super) fn refuse<T>(
        &self,
        field: &str,
        value: impl Display,
        reason: impl Display,
    ) -> Result<T> {
        Err(self.bad(field, value, reason))
    }

    pub(super) fn bad(&self, field: &str, value: impl Display, reason: impl Display) -> Bad {
        Bad::Wrong(self.reason(field, value, reason))
    }

    /// Refuses a field that is valid, and asks for what is not done here: of a route, its virtual host alone
    /// is refused for it.
    pub(super) fn lacks<T>(
        &self,
        field: &str,
        value: impl Display,
        reason: impl Display,
    ) -> Result<T> {
        Err(Bad::Lacking(self.reason(field, value, reason)))
    }

    fn reason(&self, field: &str, value: impl Display, reason: impl Display) -> String {
        let text = format!("{} = {}: {reason}", self.place(field), shown(&value.to_string()));
        legible(&text)
    }

    /// Says that a field counts for nothing, or for something else.
    pub(super) fn note(&mut self, field: &str, reason: impl Display) {
        if self.notes.len() < MOST_NOTES {
            self.notes.push(legible(&format!("{}: {reason}", self.place(field))));
        } else {
            self.left_out += 1;
        }
    }

    /// Says so of a field that is said.
    pub(super) fn note_if(&mut self, is_said: bool, field: &str, reason: &str) {
        if is_said {
            self.note(field, reason);
        }
    }

    /// Refuses what the model's own checks refuse: its bounds are narrower than those of xDS.
    pub(super) fn checked(
        &self,
        field: &str,
        result: std::result::Result<(), crate::config::ConfigErrors>,
    ) -> Result<()> {
        result.map_err(|errors| Bad::Lacking(legible(&format!("{}: {errors}", self.place(field)))))
    }

    fn place(&self, field: &str) -> String {
        match (self.path.as_str(), field) {
            ("", "") => "resource".to_owned(),
            (path, "") => path.to_owned(),
            ("", field) => field.to_owned(),
            (path, field) => format!("{path}.{field}"),
        }
    }
}

fn push_number(text: &mut String, number: usize) {
    if number > 9 {
        push_number(text, number / 10);
    }
    text.push(char::from(b'0' + u8::try_from(number % 10).unwrap_or(0)));
}

/// A value as a report can show it: no control characters, and not endless.
fn shown(value: &str) -> String {
    let mut text: String = value.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if value.chars().nth(SHOWN).is_some() {
        text.push('…');
    }
    if text.is_empty() { "\"\"".to_owned() } else { text }
}

/// Text for a report, whatever names of a resource it repeats.
fn legible(text: &str) -> String {
    let mut legible = String::with_capacity(text.len());
    for (place, letter) in text.chars().enumerate() {
        if place == MOST_SHOWN {
            legible.push('…');
            break;
        }
        if letter.is_control() {
            legible.extend(letter.escape_debug());
        } else {
            legible.push(letter);
        }
    }
    legible
}

/// What stands at notes of what the stack has no place for.
pub(super) const IGNORED: &str = "counts for nothing here";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_of_a_list_is_told_by_its_number() {
        for index in [0, 9, 10, 99, 100, 10_000, usize::MAX] {
            let mut walk = Walk::new();
            let place = walk.within("a", |walk| walk.at("b", index, |walk| walk.place("c")));
            assert_eq!(place, format!("a.b[{index}].c"));
            assert_eq!(walk.at("b", index, |walk| walk.place("")), format!("b[{index}]"));
            assert_eq!(walk.place(""), "resource");
        }
    }
}
