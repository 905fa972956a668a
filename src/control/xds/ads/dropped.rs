//! Names that were given up on a stream: a server that is asked for one of them again may stay
//! silent (go-control-plane does), which then says nothing about the resource. And names that came unasked.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

/// Beyond so many, every name counts as one of them: then silence restarts a stream needlessly, or a name is given up
/// before it is asked for.
const MOST: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Dropped {
    names: HashSet<u64>,
    is_full: bool,
}

// === impl Dropped ===

impl Dropped {
    pub(super) fn add(&mut self, name: &str) {
        if self.names.len() >= MOST {
            self.is_full = true;
            self.names = HashSet::new();
        }
        if !self.is_full {
            self.names.insert(hash(name));
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.is_full || self.names.contains(&hash(name))
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_forgets_none_and_is_bounded() {
        let mut dropped = Dropped::default();
        assert!(!dropped.has("a"));
        dropped.add("a");
        assert!(dropped.has("a") && !dropped.has("b"));
        for name in 0..10_000 {
            dropped.add(&name.to_string());
        }
        assert!(dropped.has("a") && dropped.names.len() <= MOST);
        dropped.clear();
        assert!(!dropped.has("a"));
    }
}
