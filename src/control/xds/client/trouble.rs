//! Why a resource cannot be had, or is not what the server last said.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    super::{
        kind::Kind,
        said::{quoted, short},
    },
    settings::Features,
};

/// Why, of which resource, and who says so. One line: what, where, probable cause, what to check.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trouble {
    pub(crate) kind: Kind,
    pub(crate) name: Arc<str>,
    /// The version that was refused, or is held.
    pub(crate) version: Option<Arc<str>>,
    /// The id of the node as which the server was asked.
    pub(crate) node: Arc<str>,
    /// The server, unless the name leads to none.
    pub(crate) server: Option<Arc<str>>,
    pub(crate) cause: Cause,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cause {
    /// The name cannot be asked for.
    Name(String),
    /// The server has not named it in time.
    Absent(Duration),
    /// The same, where the server's features say that its silence says nothing
    /// (`resource_timer_is_transient_error`).
    Unanswered(Duration),
    /// The server says that it is gone.
    Removed,
    /// Its time to live has passed.
    Expired,
    /// What the server sent was refused here.
    Refused(String),
    /// The server has an error for it: a code of gRPC and its text.
    Denied { code: i32, message: String },
    /// No stream to the server, for this reason.
    Unreachable(String),
    /// It is not asked for: the server ends the stream when it is, for this reason.
    Spared(String),
}

// === impl Trouble ===

impl Trouble {
    /// Whether it is the same to who was told already: another version of the same is no news.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.cause == other.cause && self.server == other.server
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, version, node, server, cause } = self;
        write!(f, "{kind} resource `{}`", quoted(name))?;
        if let Some(version) = version {
            write!(f, ", version `{}`", quoted(version))?;
        }
        write!(f, ": {cause} (")?;
        if let Some(server) = server {
            write!(f, "server `{}`, ", server.escape_debug())?;
        }
        write!(f, "node `{}`); check {}", node.escape_debug(), cause.check())
    }
}

// === impl Cause ===

impl Cause {
    pub(super) fn refused(reason: &str) -> Self {
        Self::Refused(short(reason))
    }

    pub(super) fn denied(code: i32, message: &str) -> Self {
        Self::Denied { code, message: short(message) }
    }

    pub(super) fn unreachable(reason: &str) -> Self {
        Self::Unreachable(short(reason))
    }

    pub(super) fn spared(reason: &str) -> Self {
        Self::Spared(short(reason))
    }

    /// Whether it speaks of the resource, and not of the way to it (gRFC A88).
    pub(crate) fn is_data_error(&self) -> bool {
        match self {
            Self::Absent(_) | Self::Removed | Self::Expired | Self::Refused(_) | Self::Name(_) => {
                true
            }
            // NOT_FOUND and PERMISSION_DENIED.
            Self::Denied { code, .. } => matches!(code, 5 | 7),
            Self::Unanswered(_) | Self::Unreachable(_) | Self::Spared(_) => false,
        }
    }

    /// Whether it takes away what is held, where the server whose word counts has these features (gRFC A53,
    /// A88). Its server has said itself how long it is good for: that it is over is no fault of data.
    pub(super) fn ends(&self, features: Features, is_cached: bool) -> bool {
        let keeps = features.ignore_resource_deletion;
        let is_kept = matches!(self, Self::Removed) && keeps;
        let fails = self.is_data_error() && features.fail_on_data_errors && !is_kept;
        // A live server knows better than what is left of an earlier process.
        let is_disowned = is_cached && self.is_denial() && !keeps;
        matches!(self, Self::Expired) || fails || is_disowned
    }

    /// The same, where the cache of an earlier process has it, and it cannot be used.
    pub(super) fn beside_stock(self, reason: &str) -> Self {
        let refused = format!("what the cache has of it is refused: {reason}");
        match self {
            Self::Unreachable(text) => Self::Unreachable(format!("{text}; {refused}")),
            Self::Unanswered(after) => {
                Self::Unreachable(format!("no answer named it within {after:?}; {refused}"))
            }
            other => other,
        }
    }

    /// Whether the server says that it is not there, or not for this node.
    pub(super) fn is_denial(&self) -> bool {
        self.is_data_error() && !matches!(self, Self::Refused(_) | Self::Name(_))
    }

    fn check(&self) -> &'static str {
        match self {
            Self::Name(_) => "the name, and the authorities of the bootstrap",
            Self::Absent(_) => "the name, and that the control plane has it for this node",
            Self::Unanswered(_) => "that the control plane is well and knows this node",
            Self::Removed => "whether it was meant to be removed from the control plane",
            Self::Expired => "that the control plane renews what it sends",
            Self::Refused(_) => "what the control plane was given for it",
            Self::Denied { .. } => "what the control plane says of it, and the rights of this node",
            Self::Spared(_) => "that the control plane serves resources of this type",
            Self::Unreachable(_) => {
                "that the control plane runs and its address and credentials are right"
            }
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(reason) => write!(f, "cannot be asked for: {reason}"),
            Self::Absent(after) => write!(f, "does not exist: no answer named it within {after:?}"),
            Self::Unanswered(after) => write!(f, "no answer named it within {after:?}"),
            Self::Removed => f.write_str("does not exist: the server no longer has it"),
            Self::Expired => f.write_str("does not exist: its time to live has passed"),
            Self::Refused(reason) => write!(f, "refused: {}", quoted(reason)),
            Self::Denied { code, message } => {
                write!(f, "the server has an error for it (code {code}): {}", quoted(message))
            }
            Self::Spared(reason) => {
                let reason = quoted(reason);
                write!(f, "not asked for now, as the server ends the stream for it: {reason}")
            }
            Self::Unreachable(reason) => {
                write!(f, "the server cannot be reached: {}", quoted(reason))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_cause_repeats_it_is_told_on_one_line_and_not_endless() {
        for letter in ["a", "\n", "\u{10ffff}", "日"] {
            let text = letter.repeat(1 << 20);
            let causes = [
                Cause::refused(&text),
                Cause::denied(5, &text),
                Cause::unreachable(&text),
                Cause::unreachable(&text).beside_stock(&text),
                Cause::Unanswered(Duration::from_secs(15)).beside_stock(&text),
                Cause::spared(&text),
            ];
            for cause in causes {
                let told = cause.to_string();
                assert!((1024..=2048 + 80).contains(&told.len()), "{letter:?}: {}", told.len());
                assert!(told.ends_with('…') && !told.contains(char::is_control), "{told}");
            }
        }
    }
}
