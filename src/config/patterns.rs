//! Patterns that are in use, by their text: each is compiled once, however many rules have it, and what
//! validation has compiled is there for the route table.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
};

use super::pattern::Whole;

/// So many are kept that nobody uses yet: those of a table between its validation and its compilation.
const KEPT: usize = 1_024;

/// Those of the process. Locked by whoever compiles, never by a call.
static PATTERNS: LazyLock<Mutex<Patterns>> = LazyLock::new(Mutex::default);

/// # Errors
///
/// What is wrong with the pattern.
pub(super) fn shared(pattern: &str, ignore_case: bool) -> Result<Arc<Whole>, String> {
    let mut patterns = PATTERNS.lock().unwrap_or_else(PoisonError::into_inner);
    patterns.whole(pattern, ignore_case)
}

#[derive(Debug, Default)]
struct Patterns {
    /// By text, with case and without.
    known: [HashMap<Box<str>, Weak<Whole>>; 2],
    /// The newest, the oldest of them first.
    newest: VecDeque<Arc<Whole>>,
    /// How many were known when those that are gone were last forgotten.
    known_then: usize,
    /// How often one was compiled.
    compiled: u64,
}

// === impl Patterns ===

impl Patterns {
    fn whole(&mut self, pattern: &str, ignore_case: bool) -> Result<Arc<Whole>, String> {
        let [with_case, without] = &mut self.known;
        let known = if ignore_case { without } else { with_case };
        if let Some(whole) = known.get(pattern).and_then(Weak::upgrade) {
            return Ok(whole);
        }
        self.compiled += 1;
        let whole = Arc::new(Whole::new(pattern, ignore_case)?);
        known.insert(pattern.into(), Arc::downgrade(&whole));
        if self.newest.len() == KEPT {
            self.newest.pop_front();
        }
        self.newest.push_back(Arc::clone(&whole));
        self.forget();
        Ok(whole)
    }

    /// Forgets the texts of those that are gone, whenever there are twice as many as there were.
    fn forget(&mut self) {
        let count = |known: &[HashMap<_, _>; 2]| known.iter().map(HashMap::len).sum::<usize>();
        if count(&self.known) < (2 * self.known_then).max(2 * KEPT) {
            return;
        }
        for known in &mut self.known {
            known.retain(|_, whole| whole.strong_count() > 0);
        }
        self.known_then = count(&self.known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_patterns_are_compiled_once_each_by_validation_and_for_the_table() {
        let mut patterns = Patterns::default();
        let texts: Vec<_> = (0..1_000).map(|number| format!("/shop{number}/[0-9]+")).collect();
        // Validation keeps none of them.
        for text in &texts {
            drop(patterns.whole(text, false).unwrap());
        }
        assert_eq!(patterns.compiled, 1_000);
        let all = |patterns: &mut Patterns| -> Vec<_> {
            texts.iter().map(|text| patterns.whole(text, false).unwrap()).collect()
        };
        let table = all(&mut patterns);
        let again = all(&mut patterns);
        assert_eq!(patterns.compiled, 1_000);
        assert!(table.iter().zip(&again).all(|(one, other)| Arc::ptr_eq(one, other)));
        // Without case it is another.
        let free = patterns.whole(&texts[0], true).unwrap();
        assert!(!Arc::ptr_eq(&free, &table[0]) && patterns.compiled == 1_001);
    }

    #[test]
    fn what_nobody_uses_any_more_is_forgotten() {
        let mut patterns = Patterns::default();
        let used = patterns.whole("/used", false).unwrap();
        for number in 0..5 * KEPT {
            drop(patterns.whole(&format!("/{number}"), false).unwrap());
        }
        assert_eq!(patterns.newest.len(), KEPT);
        assert!(patterns.known[0].len() <= 3 * KEPT, "{}", patterns.known[0].len());
        assert!(Arc::ptr_eq(&used, &patterns.whole("/used", false).unwrap()));
        assert_eq!(patterns.compiled, 5 * KEPT as u64 + 1);
    }

    #[test]
    fn what_is_no_pattern_is_refused_each_time() {
        let mut patterns = Patterns::default();
        for _ in 0..2 {
            assert!(patterns.whole("a)(b", false).is_err());
        }
        assert!(patterns.known[0].is_empty());
    }
}
