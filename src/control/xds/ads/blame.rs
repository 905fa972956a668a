//! A type that a server cannot bear to be asked for: it ends the stream, which is everybody's, and so it would again
//! on each next one (go-control-plane's `MuxCache` does of a type that it has no cache for).
//!
//! Who is asked for something and ends the stream right after, by a status that refuses, is counted; a connection that
//! is lost refuses nothing. After so many streams in a row the type is not asked for, and all others are, for a pause
//! that grows each time. Then it is asked for again: once on a stream that lives, and never where the server has
//! answered it meanwhile. A server that is no better without it was not ended by it, and nothing is held against it
//! any more.

use std::time::Duration;

use super::backoff;
use crate::{
    control::xds::{kind::Kind, said::short},
    core::Instant,
};

/// Who ends a stream so soon after it was asked for something does so for that.
const RIGHT_AFTER: Duration = Duration::from_secs(3);
/// Streams in a row that ended so before a type is not asked for.
const STREAMS: u32 = 3;
/// The pauses are so many times those before a stream, and at most `LONGEST`: 10 s, 16 s and so on.
const TIMES: u32 = 10;
const LONGEST: Duration = Duration::from_secs(10 * 60);

/// What is held against a type.
#[derive(Debug, Default)]
struct Suspect {
    /// When it was last asked for on this stream, which has said nothing of it.
    asked_at: Option<Instant>,
    /// Something of it is not held from this server, which therefore has something to say.
    is_owed: bool,
    /// How many streams it has ended.
    streams: u32,
    pauses: u32,
    spared: Option<Spared>,
}

/// It is not asked for.
#[derive(Debug)]
struct Spared {
    until: Instant,
    why: String,
}

/// What is held against the types of a server.
#[derive(Debug, Default)]
pub(super) struct Blame {
    suspects: [Suspect; Kind::COUNT],
    /// Who watches one of the type was told that it is not asked for, and not yet that it is again.
    told: [bool; Kind::COUNT],
}

/// How a stream ended that was open.
pub(super) struct End<'a> {
    pub(super) now: Instant,
    /// Since when it was open.
    pub(super) since: Instant,
    /// A message had come.
    pub(super) was_answered: bool,
    /// Of gRPC.
    pub(super) code: i32,
    pub(super) message: &'a str,
    /// The types of which something is wanted.
    pub(super) wanted: [bool; Kind::COUNT],
}

// === impl Blame ===

impl Blame {
    /// A request of this type went out.
    pub(super) fn asked(&mut self, now: Instant, kind: Kind, is_owed: bool) {
        let suspect = &mut self.suspects[kind as usize];
        suspect.asked_at = Some(now);
        suspect.is_owed |= is_owed;
    }

    /// The server has said something of this type.
    pub(super) fn answered(&mut self, kind: Kind) {
        self.suspects[kind as usize] = Suspect::default();
        self.told[kind as usize] = false;
    }

    /// Whether the server has something to say of a type that it has not said on this stream.
    pub(super) fn is_owed(&self, kind: Kind) -> bool {
        self.suspects[kind as usize].is_owed
    }

    /// Whether who watches one of the type takes it for one that is not asked for.
    pub(super) fn is_told(&self, kind: Kind) -> bool {
        self.told[kind as usize]
    }

    /// When a stream has outlived that a type, which was not asked for, is again.
    fn outlives_at(&self, kind: Kind) -> Option<Instant> {
        let suspect = &self.suspects[kind as usize];
        let asked_at = suspect.asked_at.filter(|_| self.told[kind as usize])?;
        asked_at.checked_add(RIGHT_AFTER).filter(|_| suspect.spared.is_none())
    }

    /// The soonest of these.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        Kind::ALL.into_iter().filter_map(|kind| self.outlives_at(kind)).min()
    }

    /// A type that the stream has outlived by now; told once.
    pub(super) fn take_outlived(&mut self, now: Instant) -> Option<Kind> {
        let is_over = |kind: &Kind| self.outlives_at(*kind).is_some_and(|at| at <= now);
        let kind = Kind::ALL.into_iter().find(is_over)?;
        self.told[kind as usize] = false;
        Some(kind)
    }

    /// Why a type is not asked for; nothing: it is.
    pub(super) fn spared(&self, kind: Kind) -> Option<&str> {
        self.suspects[kind as usize].spared.as_ref().map(|spared| spared.why.as_str())
    }

    /// Until when.
    pub(super) fn until(&self, kind: Kind) -> Option<Instant> {
        self.suspects[kind as usize].spared.as_ref().map(|spared| spared.until)
    }

    /// Pauses that are over.
    pub(super) fn pass(&mut self, now: Instant) {
        for suspect in &mut self.suspects {
            drop(suspect.spared.take_if(|spared| spared.until <= now));
        }
    }

    /// What was of the stream is forgotten.
    pub(super) fn lost(&mut self) {
        for suspect in &mut self.suspects {
            (suspect.asked_at, suspect.is_owed) = (None, false);
        }
    }

    /// A stream ended; the type that is not asked for because of that, for a while.
    pub(super) fn ended(&mut self, end: &End<'_>) -> Option<Kind> {
        let soon = |at: Instant| end.now.saturating_duration_since(at) < RIGHT_AFTER;
        for suspect in &mut self.suspects {
            // The stream outlived it.
            if suspect.asked_at.is_some_and(|at| !soon(at)) {
                *suspect = Suspect::default();
            }
        }
        let Some(kind) = self.who(end) else {
            self.acquit(!end.was_answered && soon(end.since));
            return None;
        };
        let suspect = &mut self.suspects[kind as usize];
        suspect.streams = suspect.streams.saturating_add(1);
        if suspect.streams < STREAMS {
            return None;
        }
        let pause = LONGEST.min(backoff::plain(suspect.pauses) * TIMES);
        suspect.pauses = suspect.pauses.saturating_add(1);
        let until = end.now.checked_add(pause)?;
        let why = format!("stream ended with code {}: {}", end.code, short(end.message));
        suspect.spared = Some(Spared { until, why });
        self.told[kind as usize] = true;
        Some(kind)
    }

    /// The type that has ended this stream: whose URL the server names, or the one that was asked for last among those
    /// of which it had something to say.
    fn who(&self, end: &End<'_>) -> Option<Kind> {
        // Without the others there is nobody to be spared.
        let is_beside = |kind: Kind| {
            let mut others = Kind::ALL.into_iter().filter(|other| *other != kind);
            others.any(|other| end.wanted[other as usize] && self.spared(other).is_none())
        };
        let asked = Kind::ALL.into_iter().filter(|kind| {
            end.wanted[*kind as usize]
                && self.suspects[*kind as usize].asked_at.is_some()
                && is_beside(*kind)
        });
        let is_named = |kind: &Kind| end.message.contains(kind.url());
        if let Some(named) = asked.clone().find(is_named) {
            return Some(named);
        }
        let owed = asked.filter(|kind| self.suspects[*kind as usize].is_owed);
        owed.max_by_key(|kind| self.suspects[*kind as usize].asked_at).filter(|_| refuses(end.code))
    }

    /// A stream ended by none of them. `at_once`: it was no better without those that were not asked for. Otherwise
    /// whoever answers next may be another one, and is asked.
    fn acquit(&mut self, at_once: bool) {
        for suspect in self.suspects.iter_mut().filter(|suspect| suspect.spared.is_some()) {
            if at_once {
                *suspect = Suspect::default();
            } else {
                (suspect.spared, suspect.streams) = (None, STREAMS - 1);
            }
        }
    }
}

/// Whether a server may mean by this status that it was asked for something wrong: UNKNOWN and INTERNAL are said by
/// those that choose none. The others say that it is ill, or that this client may not ask. What no server has said is
/// none of these: an end of that kind comes as UNAVAILABLE, whatever was made of it on the way.
fn refuses(code: i32) -> bool {
    // UNKNOWN, INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION, UNIMPLEMENTED, INTERNAL.
    matches!(code, 2 | 3 | 5 | 9 | 12 | 13)
}
