//! What rules of authorisation have to say of a call.

use std::fmt;

/// What rules of authorisation have said of a call beside that it may be made.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum AuthorizationVerdict {
    /// It is denied.
    Denied,
    /// A rule, or that no rule decides, asks for a note.
    Logged,
    /// By the rules that are dry, it would be denied.
    WouldDeny,
    /// By the rules that are dry, it would be allowed.
    WouldAllow,
}

// === impl AuthorizationVerdict ===

impl AuthorizationVerdict {
    /// All of them, in the order of their indices.
    pub(crate) const ALL: [Self; 4] =
        [Self::Denied, Self::Logged, Self::WouldDeny, Self::WouldAllow];

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Logged => "logged",
            Self::WouldDeny => "would be denied",
            Self::WouldAllow => "would be allowed",
        }
    }

    /// As the value of an attribute.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::WouldDeny => "would_deny",
            Self::WouldAllow => "would_allow",
            Self::Denied | Self::Logged => self.as_str(),
        }
    }
}

impl fmt::Display for AuthorizationVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_the_places_in_the_list() {
        assert!(AuthorizationVerdict::ALL.iter().enumerate().all(|(n, it)| it.index() == n));
    }
}
