//! Templates of paths, as Envoy's `uri_template`: `/users/{id}/files/**`.
//!
//! `*` is one element of the path, `**` the rest, `{name}` an element with a name, `{name=…}` what
//! follows the `=` with a name. Text may stand before and after a `*` in its element. Each element
//! is looked at once, so matching is linear.

use std::ops::Range;

/// A compiled template.
#[derive(Debug)]
pub(crate) struct Template {
    elements: Vec<Element>,
    /// The last element is a `**`: it takes all that is left.
    rest: bool,
    /// The names, and the elements that each of them stands for.
    names: Vec<(String, Range<usize>)>,
}

/// One element: text, and in it perhaps one `*`.
#[derive(Debug, Default)]
struct Element {
    before: String,
    wild: bool,
    after: String,
}

/// What a path becomes: text, and what the template named.
#[derive(Debug)]
pub(crate) struct Filled {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Named(String),
}

// === impl Template ===

impl Template {
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let mut template = Self { elements: Vec::new(), rest: false, names: Vec::new() };
        let mut left = text.strip_prefix('/').ok_or("must begin with `/`")?;
        loop {
            let at = left.find(['/', '{']).unwrap_or(left.len());
            let more = if left[at..].starts_with('{') {
                let (inner, after) = left[at + 1..].split_once('}').ok_or("a `{` is not closed")?;
                let end = after.find('/').unwrap_or(after.len());
                template.named(&left[..at], inner, &after[..end])?;
                &after[end..]
            } else {
                template.push(&left[..at])?;
                &left[at..]
            };
            match more.strip_prefix('/') {
                Some(more) => left = more,
                None => return Ok(template),
            }
        }
    }

    fn push(&mut self, text: &str) -> Result<(), String> {
        if self.rest {
            return Err("nothing may follow the element with `**`".to_owned());
        }
        if text.contains(['{', '}']) {
            return Err("an element may have one name, in `{` and `}`".to_owned());
        }
        let (wild, length) = if text.contains("**") { (true, 2) } else { (text.contains('*'), 1) };
        if !wild {
            self.elements.push(Element { before: text.to_owned(), ..Element::default() });
            return Ok(());
        }
        let at = text.find('*').unwrap_or_default();
        let (before, after) = (&text[..at], &text[at + length..]);
        if after.contains('*') {
            return Err("an element may have one `*` or one `**`".to_owned());
        }
        self.rest = length == 2;
        let (before, after) = (before.to_owned(), after.to_owned());
        self.elements.push(Element { before, wild, after });
        Ok(())
    }

    /// `{name}` or `{name=a/*/b}`, with text before and after it in its element.
    fn named(&mut self, before: &str, inner: &str, after: &str) -> Result<(), String> {
        let (name, pattern) = inner.split_once('=').unwrap_or((inner, "*"));
        let mut chars = name.chars();
        let is_name = chars.next().is_some_and(|first| first.is_ascii_alphabetic())
            && chars.all(|char| char.is_ascii_alphanumeric() || char == '_');
        if !is_name {
            return Err(format!("`{name}` is not a name: letters, digits and `_`, a letter first"));
        }
        if self.names.iter().any(|(known, _)| known == name) {
            return Err(format!("`{name}` is there twice"));
        }
        if !(before.is_empty() && after.is_empty()) && pattern.contains('/') {
            return Err("text stands beside a name of several elements".to_owned());
        }
        if pattern.is_empty() {
            return Err(format!("`{name}` stands for nothing"));
        }
        let first = self.elements.len();
        for element in pattern.split('/') {
            self.push(&format!("{before}{element}{after}"))?;
        }
        self.names.push((name.to_owned(), first..self.elements.len()));
        Ok(())
    }

    /// The elements of text that it begins with: every path that matches begins so.
    pub(crate) fn literal(&self) -> impl Iterator<Item = &str> {
        let is_text = |element: &&Element| !element.wild;
        self.elements.iter().take_while(is_text).map(|element| element.before.as_str())
    }

    /// How many characters of it stand for themselves.
    pub(crate) fn characters(&self) -> usize {
        let of =
            |element: &Element| 1 + element.before.chars().count() + element.after.chars().count();
        self.elements.iter().map(of).sum()
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        self.walk(path, |_, _| {})
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|(known, _)| known == name)
    }

    /// What a name stands for in a path that matches.
    pub(crate) fn value<'a>(&self, path: &'a str, name: &str) -> Option<&'a str> {
        let (_, elements) = self.names.iter().find(|(known, _)| known == name)?;
        let (mut from, mut to) = (0, 0);
        let matches = self.walk(path, |element, place| {
            if element == elements.start {
                from = place.start;
            }
            if element + 1 == elements.end {
                to = place.end;
            }
        });
        if matches { path.get(from..to) } else { None }
    }

    /// Tells each element's place in the path: of one with a `*`, the place of what that matched.
    fn walk(&self, path: &str, mut tell: impl FnMut(usize, Range<usize>)) -> bool {
        let Some(mut left) = path.strip_prefix('/') else { return false };
        for (index, element) in self.elements.iter().enumerate() {
            let is_last = index + 1 == self.elements.len();
            let from = path.len() - left.len();
            let (text, more) = if is_last && self.rest {
                (left, None)
            } else {
                left.split_once('/').map_or((left, None), |(text, more)| (text, Some(more)))
            };
            let place = if element.wild {
                let inner = text
                    .strip_prefix(element.before.as_str())
                    .and_then(|text| text.strip_suffix(element.after.as_str()));
                let Some(inner) = inner else { return false };
                // An element has a character at least; the rest may be empty.
                if inner.is_empty() && !(is_last && self.rest) {
                    return false;
                }
                let from = from + element.before.len();
                from..from + inner.len()
            } else if text == element.before {
                from..from + text.len()
            } else {
                return false;
            };
            tell(index, place);
            match (more, is_last) {
                (None, true) => return true,
                (Some(more), false) => left = more,
                _ => return false,
            }
        }
        false
    }
}

// === impl Filled ===

impl Filled {
    /// # Errors
    ///
    /// What is wrong with it, such as a name that the template has not.
    pub(crate) fn new(text: &str, template: &Template) -> Result<Self, String> {
        let filled = Self::of_any(text)?;
        if let Some(name) = filled.names().find(|name| !template.has(name)) {
            return Err(format!("the path's template has no `{name}`"));
        }
        Ok(filled)
    }

    /// For whichever template takes the path; what that does not name is left out.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn of_any(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err("must begin with `/`".to_owned());
        }
        let mut parts = Vec::new();
        let mut left = text;
        while let Some((before, after)) = left.split_once('{') {
            let (name, more) = after.split_once('}').ok_or("a `{` is not closed")?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Named(name.to_owned()));
            left = more;
        }
        if left.contains('}') {
            return Err("a `}` is not opened".to_owned());
        }
        parts.push(Part::Text(left.to_owned()));
        Ok(Self { parts })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Named(name) => Some(name.as_str()),
        })
    }

    /// The path that a template has taken becomes this; nothing where it does not name all of it.
    pub(crate) fn fill_all(&self, template: &Template, path: &str) -> Option<String> {
        self.names().all(|name| template.has(name)).then(|| self.fill(template, path))
    }

    pub(crate) fn fill(&self, template: &Template, path: &str) -> String {
        let part = |part: &'_ Part| match part {
            Part::Text(text) => text.clone(),
            Part::Named(name) => template.value(path, name).unwrap_or_default().to_owned(),
        };
        self.parts.iter().map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_names_and_the_rest() {
        for (template, path, expected) in [
            ("/users/{id}", "/users/7", true),
            ("/users/{id}", "/users/", false),
            ("/users/{id}", "/users/7/", false),
            ("/users/*/files", "/users/7/files", true),
            ("/users/**", "/users/", true),
            ("/users/**", "/users", false),
            ("/users/**", "/users/a/b/c", true),
            ("/{all=**}", "/", true),
            ("/**.mpd", "/a/b/c.mpd", true),
            ("/**.mpd", "/a/b/c.mp4", false),
            ("/{file}.ts", "/a.ts", true),
            ("/{file}.ts", "/.ts", false),
            ("/{path=v1/*}/x", "/v1/a/x", true),
            ("/{path=v1/*}/x", "/v2/a/x", false),
        ] {
            assert_eq!(
                Template::new(template).unwrap().matches(path),
                expected,
                "{template} {path}"
            );
        }
    }

    #[test]
    fn what_is_no_template_is_told() {
        for text in
            ["users", "/{a", "/{1}", "/{a}/{a}", "/**/b", "/a*b*", "/x{a=b/*}", "/{a=}", "/{a}{b}"]
        {
            assert!(Template::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_path_is_filled_with_what_was_named() {
        let template = Template::new("/{lang}/{rest=docs/**}").unwrap();
        let filled = Filled::new("/x/{rest}/in/{lang}", &template).unwrap();
        assert_eq!(filled.fill(&template, "/en/docs/a/b"), "/x/docs/a/b/in/en");
        assert!(Filled::new("/{nobody}", &template).unwrap_err().contains("nobody"));
        assert!(Filled::new("/{lang", &template).is_err());
    }
}
