//! How a call or an attempt ended, and the attributes that say so.

use http::Method;

use super::family::{Label, LabelValue};
use crate::core::{BodyEnd, Error, ErrorKind, grpc};

/// The method of a request, as far as it is counted by: gRPC's is always the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Verb(u8);

/// How it ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// With a response: its HTTP status.
    Status(u16),
    /// With a gRPC status.
    Grpc(i32),
    /// With a failure of this client or of the connection.
    Error(ErrorKind),
    /// With one of which a gRPC caller sees another code than its kind's.
    Coded(ErrorKind, i32),
    /// The caller has left before.
    Left,
}

/// A verb and an end in one word: what one cell counts.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Key(u32);

/// The methods of RFC 9110 and RFC 5789; the convention knows any other as `_OTHER`.
const METHODS: [&str; 10] =
    ["_OTHER", "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE"];

/// gRPC's code of a stream that ended without one.
const UNKNOWN: i32 = 2;

/// What stands for ends beyond those that are kept apart.
pub(super) const OTHER: &str = "_OTHER";

// === impl Verb ===

impl Verb {
    pub(crate) const GRPC: Self = Self(u8::MAX);

    #[inline]
    pub(crate) fn of(method: &Method, is_grpc: bool) -> Self {
        if is_grpc {
            return Self::GRPC;
        }
        Self(match *method {
            Method::GET => 1,
            Method::POST => 2,
            Method::PUT => 3,
            Method::DELETE => 4,
            Method::PATCH => 5,
            Method::HEAD => 6,
            Method::OPTIONS => 7,
            Method::CONNECT => 8,
            Method::TRACE => 9,
            _ => 0,
        })
    }

    pub(crate) fn is_grpc(self) -> bool {
        self == Self::GRPC
    }
}

// === impl End ===

impl End {
    /// What a response head comes to; nothing for a gRPC response whose status is still to come.
    #[inline]
    pub(crate) fn of_head(verb: Verb, status: u16, code: Option<i32>) -> Option<Self> {
        if verb.is_grpc() && (200..300).contains(&status) {
            return code.map(Self::Grpc);
        }
        Some(Self::Status(status))
    }

    /// What a failure comes to.
    pub(crate) fn of_error(error: &Error) -> Self {
        let (kind, code) = (error.kind(), error.grpc_code());
        if code == kind.grpc_code() { Self::Error(kind) } else { Self::Coded(kind, code) }
    }

    /// What the end of a gRPC response's body comes to.
    pub(crate) fn of_body(end: BodyEnd) -> Self {
        match end {
            BodyEnd::Complete(code) => Self::Grpc(code.unwrap_or(UNKNOWN)),
            BodyEnd::Failed => Self::Error(ErrorKind::Transport),
            BodyEnd::Stalled | BodyEnd::Expired => Self::Error(ErrorKind::Timeout),
            BodyEnd::Dropped => Self::Left,
        }
    }
}

// === impl Key ===

impl Key {
    /// Whatever has no cell of its own.
    pub(super) const REST: Self = Self(u32::MAX);

    #[inline]
    pub(super) fn new(verb: Verb, end: End) -> Self {
        let (tag, value) = match end {
            End::Status(status) => (0, u32::from(status)),
            End::Grpc(code) => (1, known(code)),
            End::Error(kind) => (2, kind as u32),
            End::Left => (3, 0),
            End::Coded(kind, code) => (4, known(code) << 8 | kind as u32),
        };
        Self(u32::from(verb.0) << 24 | tag << 16 | value)
    }

    pub(super) fn is_grpc(self) -> bool {
        self != Self::REST && Verb((self.0 >> 24) as u8).is_grpc()
    }

    fn end(self) -> Option<End> {
        let value = self.0 & 0xFFFF;
        Some(match self.0 >> 16 & 0xFF {
            _ if self == Self::REST => return None,
            0 => End::Status(u16::try_from(value).ok()?),
            1 => End::Grpc(i32::try_from(value).ok()?),
            2 => End::Error(*ErrorKind::ALL.get(value as usize)?),
            3 => End::Left,
            _ => {
                let kind = *ErrorKind::ALL.get((value & 0xFF) as usize)?;
                End::Coded(kind, i32::try_from(value >> 8).ok()?)
            }
        })
    }

    /// In one word, whether the endpoint has answered well.
    pub(super) fn result(self) -> &'static str {
        match self.end() {
            Some(End::Status(status)) if status < 500 => "ok",
            Some(End::Grpc(code)) if !matches!(code, 4 | 8 | 13 | 14 | 15) => "ok",
            Some(End::Left) => "cancelled",
            _ => "failed",
        }
    }

    /// The attributes of an HTTP request.
    pub(super) fn http(self, labels: &mut Vec<Label>) {
        let method = METHODS.get((self.0 >> 24) as usize).copied().unwrap_or(OTHER);
        labels.push(("http.request.method", method.into()));
        match self.end() {
            Some(End::Status(status)) => status_labels(status, labels),
            Some(End::Grpc(_)) | None => labels.push(("error.type", OTHER.into())),
            Some(End::Error(kind) | End::Coded(kind, _)) => {
                labels.push(("error.type", kind.code().into()));
            }
            Some(End::Left) => labels.push(("error.type", "cancelled".into())),
        }
    }

    /// The attributes of a gRPC call; `status` is the name of the attribute of gRPC's status.
    pub(super) fn grpc(self, status: &'static str, labels: &mut Vec<Label>) {
        // A key has no other code.
        let name = |code: i32| grpc::name(code).unwrap_or(OTHER);
        match self.end() {
            // Something that is not gRPC has answered.
            Some(End::Status(http)) => status_labels(http, labels),
            Some(End::Grpc(0)) => labels.push((status, name(0).into())),
            Some(End::Grpc(code)) => {
                labels.push((status, name(code).into()));
                labels.push(("error.type", name(code).into()));
            }
            Some(End::Error(kind)) => {
                labels.push((status, name(kind.grpc_code()).into()));
                labels.push(("error.type", kind.code().into()));
            }
            Some(End::Coded(kind, code)) => {
                labels.push((status, name(code).into()));
                labels.push(("error.type", kind.code().into()));
            }
            Some(End::Left) => {
                labels.push((status, name(1).into()));
                labels.push(("error.type", "cancelled".into()));
            }
            None => labels.push(("error.type", OTHER.into())),
        }
    }
}

/// A code that is none is as good as none.
fn known(code: i32) -> u32 {
    u32::try_from(code).ok().filter(|code| *code < 17).unwrap_or(UNKNOWN as u32)
}

/// A status, which is an error from 400 on.
fn status_labels(status: u16, labels: &mut Vec<Label>) {
    labels.push(("http.response.status_code", LabelValue::Number(i64::from(status))));
    if status >= 400 {
        labels.push(("error.type", LabelValue::Shared(status.to_string().into())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Phase, Refusal};

    #[test]
    fn a_failure_is_counted_by_the_code_that_its_caller_sees() {
        let limited = Error::new(ErrorKind::Overloaded, Phase::Admission);
        let cases = [
            (limited.clone(), "RESOURCE_EXHAUSTED"),
            (limited.clone().refused(Refusal::Concurrency), "RESOURCE_EXHAUSTED"),
            (limited.refused(Refusal::MaxRequests), "UNAVAILABLE"),
        ];
        for (error, code) in cases {
            let key = Key::new(Verb::GRPC, End::of_error(&error));
            let mut labels = Vec::new();
            key.grpc("status", &mut labels);
            let expected: [Label; 2] =
                [("status", code.into()), ("error.type", ErrorKind::Overloaded.code().into())];
            assert_eq!(labels, expected, "{error}");
            assert_eq!(key.result(), "failed");
        }
    }

    #[test]
    fn a_body_that_stalls_is_counted_as_its_error_says() {
        assert_eq!(End::of_body(BodyEnd::Stalled), End::Error(ErrorKind::Timeout));
        assert_eq!(End::of_body(BodyEnd::Expired), End::Error(ErrorKind::Timeout));
        assert_eq!(End::of_body(BodyEnd::Failed), End::Error(ErrorKind::Transport));
    }
}
