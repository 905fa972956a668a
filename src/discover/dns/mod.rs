//! Endpoints by DNS: A, AAAA and SRV records, on hickory (feature `dns`).
//!
//! A cluster of the mesh file or of any source whose `discovery` is
//! [`Dns`](crate::config::Discovery::Dns) is filled from here; [`Dns`] is a source of such clusters,
//! and [`UnknownNames::Dns`](crate::UnknownNames::Dns) makes them of names that nobody defines, as does a
//! [`Dns`] [without a name](Dns#without-a-name), by settings of its own.
//!
//! # What becomes of answers
//!
//! | what DNS says | what is called |
//! |---|---|
//! | A and AAAA records | each address is an endpoint |
//! | as many A as AAAA records | endpoints of two addresses, so that a host of both families gets one share: paired in sorted order |
//! | a change of them | pairs that still are there stay; the rest is paired where it is as many of each, else an endpoint each: a wrong pair would leave a host of one family without calls |
//! | SRV records | each target is an endpoint with its weight, its priority and all of its addresses; a priority is called when no target of a better one works ([below](#srv-records)) |
//! | aliases (CNAME) | what they lead to, within 16 of one answer; a loop has no address |
//! | fewer endpoints than before | those |
//! | an answer for one family, or of some targets, and an error for the others | what was answered, and of the others the last good answer; [`ConfigDoubted`](crate::Event::ConfigDoubted) tells it |
//! | nothing, an error, or no answer; SRV records of whose targets that is true of all | the last good answer, for the stale limit after its TTL |
//! | `0.0.0.0`, `::`, a multicast address | nothing: a connection to it would lead nowhere, or here |
//!
//! # SRV records
//!
//! The priorities of the records that have addresses become priorities of the endpoints, from 0 on. The
//! best one of which any target works gets all calls, and shares them by weight (RFC 2782): a target
//! that refuses connections, is ejected as an outlier or fails its checks is passed over at once, and
//! the next priority is called when that is true of all. It ends as soon as one of them works again.
//! With `balancing.overprovisioning_percent` in the cluster's settings priorities share as those of other clusters do:
//! one that has lost more than its reserve gives what it cannot carry to the next.
//!
//! Addresses of targets that come along with the records are used; a family that
//! [`family`](Dns::family) wants and that is not among them is asked for.
//!
//! # Addresses
//!
//! An endpoint of several addresses is connected to as RFC 8305 says: the families in turn, the
//! next address 250 ms after the one before, and the first that connects wins.
//!
//! Plain names do not tell which addresses are one host. Where some hosts of a name are of one family
//! alone, [`family`](Dns::family) says which is called: a pair's IPv4 address gets calls only while that of
//! IPv6 cannot be connected to. SRV records tell hosts apart. On a network without IPv6 an endpoint of
//! IPv6 alone is passed over like any other that cannot be connected to, and fails no call.
//!
//! # When it is asked
//!
//! | | when |
//! |---|---|
//! | after an answer | when its TTL is over, within 1 s and 60 s, and up to 10 % later |
//! | after "there is none" | the same, by the TTL of its SOA |
//! | after a failure | 1 s later, doubling to 60 s |
//! | after a connection attempt that failed | at once, but a second after the last question at the earliest |
//!
//! The names in search domains are asked until one has records; that one is then asked alone for
//! as long as it has. Nothing else wakes the task of a name.

mod answer;
mod endpoints;
mod lookup;
mod machine;
mod options;
mod presets;
mod resolver;
mod run;
mod search;
mod several;
mod source;
#[cfg(test)]
mod tests;
mod timing;
mod walk;

#[cfg(test)]
pub(crate) use self::answer::{Answer, Question, records::address};
pub use self::{
    lookup::Lookup,
    presets::{Consul, Docker, Kubernetes, Mesos},
    source::Dns,
};
pub(crate) use self::{
    machine::{Inherited, Outcome},
    resolver::Resolvers,
    run::{Ask, Tell, run},
    timing::STALE,
};
