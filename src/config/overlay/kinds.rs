//! The kinds of fields: how one of each is merged, told apart from silence, and told.

/// A field that is one value.
pub(super) mod one {
    use std::fmt::Debug;

    pub(in super::super) fn over<T: Clone>(near: &Option<T>, far: &Option<T>) -> Option<T> {
        near.as_ref().or(far.as_ref()).cloned()
    }

    pub(in super::super) fn parts<T: Clone>(near: &Option<T>) -> Vec<Option<T>> {
        near.iter().map(|value| Some(value.clone())).collect()
    }

    pub(in super::super) fn told<T: Debug>(
        near: &Option<T>,
        path: &str,
        into: &mut Vec<(String, String)>,
    ) {
        into.extend(near.iter().map(|value| (path.to_owned(), super::super::word(value))));
    }
}

/// A list, a map, or what has a default of its own.
pub(super) mod whole {
    use std::fmt::Debug;

    pub(in super::super) fn over<T: Clone + Default + PartialEq>(near: &T, far: &T) -> T {
        if *near == T::default() { far.clone() } else { near.clone() }
    }

    pub(in super::super) fn parts<T: Clone + Default + PartialEq>(near: &T) -> Vec<T> {
        if *near == T::default() { Vec::new() } else { vec![near.clone()] }
    }

    pub(in super::super) fn told<T: Debug + Default + PartialEq>(
        near: &T,
        path: &str,
        into: &mut Vec<(String, String)>,
    ) {
        if *near != T::default() {
            into.push((path.to_owned(), super::super::word(near)));
        }
    }
}

/// A block of fields that may be there.
pub(super) mod block {
    use super::super::Overlay;

    pub(in super::super) fn over<T: Overlay>(near: &Option<T>, far: &Option<T>) -> Option<T> {
        match (near, far) {
            (Some(near), Some(far)) => Some(near.laid_over(far)),
            (near, far) => near.as_ref().or(far.as_ref()).cloned(),
        }
    }

    pub(in super::super) fn parts<T: Overlay>(near: &Option<T>) -> Vec<Option<T>> {
        let Some(near) = near else { return Vec::new() };
        // That it is there says something, too.
        let parts = std::iter::once(T::default()).chain(near.parts());
        parts.map(Some).collect()
    }

    pub(in super::super) fn told<T: Overlay>(
        near: &Option<T>,
        path: &str,
        into: &mut Vec<(String, String)>,
    ) {
        let Some(near) = near else { return };
        let before = into.len();
        near.told(path, into);
        if into.len() == before {
            into.push((path.to_owned(), "{}".to_owned()));
        }
    }
}

/// The same in a box.
pub(super) mod boxed {
    use super::{super::Overlay, block};

    pub(in super::super) fn over<T: Overlay>(
        near: &Option<Box<T>>,
        far: &Option<Box<T>>,
    ) -> Option<Box<T>> {
        match (near, far) {
            (Some(near), Some(far)) => Some(Box::new(near.laid_over(far))),
            (near, far) => near.as_ref().or(far.as_ref()).cloned(),
        }
    }

    pub(in super::super) fn parts<T: Overlay>(near: &Option<Box<T>>) -> Vec<Option<Box<T>>> {
        let parts = block::parts(&near.as_deref().cloned());
        parts.into_iter().map(|part| part.map(Box::new)).collect()
    }

    pub(in super::super) fn told<T: Overlay>(
        near: &Option<Box<T>>,
        path: &str,
        into: &mut Vec<(String, String)>,
    ) {
        block::told(&near.as_deref().cloned(), path, into);
    }
}

/// A block that is always there.
pub(super) mod within {
    use super::super::Overlay;

    pub(in super::super) fn over<T: Overlay>(near: &T, far: &T) -> T {
        near.laid_over(far)
    }

    pub(in super::super) fn parts<T: Overlay>(near: &T) -> Vec<T> {
        near.parts()
    }

    pub(in super::super) fn told<T: Overlay>(
        near: &T,
        path: &str,
        into: &mut Vec<(String, String)>,
    ) {
        near.told(path, into);
    }
}

/// A choice that may be made.
pub(super) mod choice {
    use super::super::Choice;

    pub(in super::super) fn over<T: Choice>(near: &Option<T>, far: &Option<T>) -> Option<T> {
        match (near, far) {
            (Some(near), Some(far)) => Some(near.beside(far)),
            (near, far) => near.as_ref().or(far.as_ref()).cloned(),
        }
    }

    pub(in super::super) fn parts<T: Choice>(near: &Option<T>) -> Vec<Option<T>> {
        near.iter().flat_map(Choice::apart).map(Some).collect()
    }

    pub(in super::super) fn told<T: Choice>(
        near: &Option<T>,
        path: &str,
        into: &mut Vec<(String, String)>,
    ) {
        if let Some(near) = near {
            near.named(path, into);
        }
    }
}

/// A choice that has a default, which says nothing.
pub(super) mod pick {
    use super::super::Choice;

    pub(in super::super) fn over<T: Choice + Default + PartialEq>(near: &T, far: &T) -> T {
        if *near == T::default() { far.clone() } else { near.beside(far) }
    }

    pub(in super::super) fn parts<T: Choice + Default + PartialEq>(near: &T) -> Vec<T> {
        if *near == T::default() { Vec::new() } else { near.apart() }
    }

    pub(in super::super) fn told<T: Choice + Default + PartialEq>(
        near: &T,
        path: &str,
        into: &mut Vec<(String, String)>,
    ) {
        if *near != T::default() {
            near.named(path, into);
        }
    }
}

/// How connections are secured: what it does not say comes from below, whom to trust as one.
pub(super) mod secured {
    use crate::config::ClusterSecurity;

    pub(in super::super) fn over(
        near: &Option<ClusterSecurity>,
        far: &Option<ClusterSecurity>,
    ) -> Option<ClusterSecurity> {
        match (near, far) {
            (Some(near), Some(far)) => Some(near.over(far.clone())),
            (near, far) => near.as_ref().or(far.as_ref()).cloned(),
        }
    }

    pub(in super::super) fn parts(near: &Option<ClusterSecurity>) -> Vec<Option<ClusterSecurity>> {
        super::one::parts(near)
    }

    /// `describe()` tells it by itself.
    pub(in super::super) fn told(
        _near: &Option<ClusterSecurity>,
        _path: &str,
        _into: &mut Vec<(String, String)>,
    ) {
    }
}
