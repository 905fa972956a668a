//! A client: the crate's balancer, or one by the book.

use tower_mesh::balance::bench::{
    self,
    caller::{self, Caller, ServerSays},
};

use super::{
    random::Stream,
    scenario::Policy,
    textbook::{Sight, Textbook},
};

pub(crate) enum Client {
    Ours(Caller),
    Textbook(Box<Textbook>),
}

/// One attempt under way, for its client.
pub(crate) enum Flight {
    Ours(caller::Flight),
    Textbook(u32),
}

/// What a call has met.
#[derive(Default)]
pub(crate) struct Tried {
    ours: caller::Tried,
    textbook: Vec<u32>,
}

/// How an attempt ended for its client.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ended<'a> {
    Success(Option<&'a ServerSays>),
    Failure,
    Refused,
    /// The call has no more use for it.
    Left,
}

impl Client {
    /// The client of this number, of so many.
    pub(crate) fn new(
        policy: &Policy,
        (number, clients): (u32, u32),
        list: Vec<u32>,
        mut random: Stream,
    ) -> Self {
        match policy {
            Policy::Ours(..) | Policy::Part(..) => {
                let cluster = policy.cluster(number, clients);
                let caller = Caller::new(&cluster, random.word());
                caller.replace(list.into_iter().map(bench::endpoint).collect());
                Self::Ours(caller)
            }
            policy => Self::Textbook(Textbook::new(policy.clone(), list, random).into()),
        }
    }

    /// Its source says that these are the servers.
    pub(crate) fn replace(&mut self, list: Vec<u32>) {
        match self {
            Self::Ours(caller) => caller.replace(list.into_iter().map(bench::endpoint).collect()),
            Self::Textbook(textbook) => textbook.replace(list),
        }
    }

    /// Whether its periodic work is to be looked at now: it has some, or has been woken.
    pub(crate) fn is_due(&self) -> bool {
        match self {
            Self::Ours(caller) => caller.woken() || caller.takes_keeper(),
            Self::Textbook(_) => false,
        }
    }

    /// Does what is due; when more will be, if not because of a call.
    pub(crate) fn keep(&self, now: u64) -> Option<u64> {
        match self {
            Self::Ours(caller) => caller.keep(now),
            Self::Textbook(_) => None,
        }
    }

    /// Picks for a call of this hash, if it has one.
    pub(crate) fn pick(
        &mut self,
        now: u64,
        sight: &Sight<'_>,
        tried: &Tried,
        hash: Option<u64>,
    ) -> Option<Flight> {
        match self {
            Self::Ours(caller) => caller.pick(now, &tried.ours, hash).map(Flight::Ours),
            Self::Textbook(textbook) => {
                Some(Flight::Textbook(textbook.pick(now, sight, &tried.textbook)))
            }
        }
    }

    pub(crate) fn ended(&mut self, now: u64, flight: Flight, ended: Ended<'_>) {
        match (self, flight) {
            (Self::Ours(caller), Flight::Ours(flight)) => match ended {
                Ended::Success(says) => {
                    if let Some(says) = says {
                        flight.told(now, says);
                    }
                    flight.succeeded(now);
                }
                Ended::Failure => flight.failed(now),
                Ended::Refused => caller.refused(now, flight),
                Ended::Left => flight.left(now),
            },
            (Self::Textbook(textbook), Flight::Textbook(server)) => textbook.ended(server),
            // An attempt ends at the client that made it.
            (Self::Ours(_), Flight::Textbook(_)) | (Self::Textbook(_), Flight::Ours(_)) => {}
        }
    }

    /// Whether there is a server that a call has not met.
    pub(crate) fn has_other(&self, tried: &Tried, hash: Option<u64>, servers: usize) -> bool {
        match self {
            Self::Ours(caller) => caller.has_other(&tried.ours, hash),
            Self::Textbook(_) => tried.textbook.len() < servers,
        }
    }

    pub(crate) fn probes(&self) -> u64 {
        match self {
            Self::Ours(_) => 0,
            Self::Textbook(textbook) => textbook.probes,
        }
    }
}

impl Flight {
    pub(crate) fn server(&self) -> u32 {
        match self {
            Self::Ours(flight) => flight.endpoint(),
            Self::Textbook(server) => *server,
        }
    }
}

impl Tried {
    pub(crate) fn note(&mut self, flight: &Flight) {
        match flight {
            Flight::Ours(flight) => self.ours.note(flight),
            Flight::Textbook(server) => self.textbook.push(*server),
        }
    }
}
