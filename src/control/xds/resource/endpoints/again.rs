//! An assignment that differs from the last good one in some of its endpoints: only these are read.
//!
//! What is read so is what a whole reading gives: wherever that is not certain (a note on them, a locality
//! more or less, an address that may be another's, whatever would be refused) nothing is said here, and the
//! whole is read.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, LocalityLbEndpoints};
use prost::Message;

use super::{
    super::{Dialect, Endpoints, read::u32s, walk::Walk},
    HEAVIEST, POLICY,
    layout::{Group, beside},
    list::{Builder, addresses},
    one, place,
    sample::are_others,
};
use crate::{
    config::{Address, Endpoint},
    control::xds::bulk::{self, MOST_ENDPOINTS},
};

/// So many endpoints of any weight have a sum that protobuf's numbers hold.
const MOST_OF_A_LOCALITY: usize = (u32::MAX / HEAVIEST) as usize;
/// As many as that may differ where the order is the same; of more, those that moved are looked for.
const MOST_IN_PLACE: usize = 64;

/// What comes next in the new list.
#[derive(Debug, PartialEq)]
enum Step {
    /// These of the old one.
    Keep(Range<usize>),
    /// The endpoint at this place of those of this locality that are looked at.
    New(usize, usize),
}

/// Reads what differs; nothing where the whole is to be read. `bytes` is what `before` was read from.
pub(in super::super) fn again(
    dialect: Dialect,
    before: (&[u8], &Endpoints),
    value: &[u8],
) -> Option<Endpoints> {
    at_most(MOST_ENDPOINTS, dialect, before, value)
}

/// The same, of no more than so many localities and endpoints: more are to be refused.
pub(super) fn at_most(
    most: usize,
    dialect: Dialect,
    (bytes, before): (&[u8], &Endpoints),
    value: &[u8],
) -> Option<Endpoints> {
    // Notes say where things stand, and speak of endpoints that are left out or weigh otherwise; but those
    // of the policy, which is the same.
    if !before.notes.iter().all(|note| note.starts_with(POLICY)) {
        return None;
    }
    let groups = beside(bytes, value)?;
    let heads = heads(dialect, &groups)?;
    let all: usize = groups.iter().map(|it| it.head + it.was.len() + it.tail).sum();
    let now: usize = groups.iter().map(|it| it.head + it.is.len() + it.tail).sum();
    if all != before.endpoints.len() || now + groups.len() > most {
        return None;
    }
    let steps = steps(&groups)?;
    let new: Vec<(usize, usize)> = steps.iter().filter_map(Step::added).collect();
    let read = read(&heads, &groups, &new)?;
    if !are_alone(before, &steps, &read) {
        return None;
    }
    let (mut builder, mut read) = (Builder::default(), read.into_iter());
    for step in &steps {
        match step {
            Step::Keep(range) => builder.keep(&before.endpoints, range),
            Step::New(..) => builder.push(read.next()?),
        }
    }
    let Endpoints {
        name,
        endpoints: _,
        localities,
        drops,
        overprovisioning,
        weighted_health,
        stale_after,
        notes,
    } = before.clone();
    let endpoints = builder.done();
    Some(Endpoints {
        name,
        endpoints,
        localities,
        drops,
        overprovisioning,
        weighted_health,
        stale_after,
        notes,
    })
}

/// The localities without their endpoints, where none is left out.
fn heads(dialect: Dialect, groups: &[Group<'_>]) -> Option<Vec<LocalityLbEndpoints>> {
    if groups.iter().any(|it| it.head + it.is.len() + it.tail > MOST_OF_A_LOCALITY) {
        return None;
    }
    let read = |group: &Group<'_>| LocalityLbEndpoints::decode(group.rest.concat().as_slice()).ok();
    let heads: Vec<_> = groups.iter().map(read).collect::<Option<_>>()?;
    let weight = |head: &LocalityLbEndpoints| u32s(head.load_balancing_weight.as_ref());
    let is_weighted = heads.iter().any(|head| weight(head) > Some(0));
    let is_left_out = |head: &LocalityLbEndpoints| {
        dialect == Dialect::Proxyless && is_weighted && weight(head).unwrap_or(0) == 0
    };
    let has_list = heads.iter().all(|head| head.lb_config.is_none() && !is_left_out(head));
    has_list.then_some(heads)
}

/// How the new list comes from the old one, where no more is new than stays.
fn steps(groups: &[Group<'_>]) -> Option<Vec<Step>> {
    let all: usize = groups.iter().map(|group| group.head + group.is.len() + group.tail).sum();
    let (mut steps, mut spare, mut first) = (Vec::new(), all / 2, 0);
    for (place, group) in groups.iter().enumerate() {
        of_locality(&mut steps, &mut spare, place, first, group)?;
        first += group.head + group.was.len() + group.tail;
    }
    Some(steps)
}

/// The same of a locality, whose first endpoint stands at this place of the old list, and of which as
/// many as are `spare` may be new.
fn of_locality(
    steps: &mut Vec<Step>,
    spare: &mut usize,
    place: usize,
    first: usize,
    group: &Group<'_>,
) -> Option<()> {
    let Group { rest: _, head, tail, was, is } = group;
    let between = first + head;
    keep(steps, first..between);
    let is_in_place = was.len() == is.len()
        && was.iter().zip(is).filter(|(was, is)| was != is).nth(MOST_IN_PLACE).is_none();
    let known: HashMap<&[u8], usize> = if is_in_place {
        HashMap::new()
    } else {
        let least = is.len().saturating_sub(*spare);
        let (ours, theirs) = (|at: usize| was[at], |at: usize| is[at]);
        if are_others(least, (was.len(), ours), (is.len(), theirs)) {
            return None;
        }
        was.iter().enumerate().map(|(at, bytes)| (*bytes, at)).collect()
    };
    let mut used = vec![false; was.len()];
    for (at, bytes) in is.iter().enumerate() {
        let found =
            if is_in_place { (was[at] == *bytes).then_some(at) } else { known.get(bytes).copied() };
        match found {
            // Named twice.
            Some(found) if std::mem::replace(&mut used[found], true) => return None,
            Some(found) => {
                keep(steps, between + found..between + found + 1);
            }
            None => {
                *spare = spare.checked_sub(1)?;
                steps.push(Step::New(place, at));
            }
        }
    }
    let end = between + was.len();
    keep(steps, end..end + tail);
    Some(())
}

fn keep(steps: &mut Vec<Step>, range: Range<usize>) {
    match steps.last_mut() {
        _ if range.is_empty() => {}
        Some(Step::Keep(last)) if last.end == range.start => last.end = range.end,
        _ => steps.push(Step::Keep(range)),
    }
}

/// Reads the new endpoints.
fn read(
    heads: &[LocalityLbEndpoints],
    groups: &[Group<'_>],
    new: &[(usize, usize)],
) -> Option<Vec<Endpoint>> {
    // As deep in other messages as they stand.
    let list: Vec<&[u8]> = new.iter().map(|(group, at)| groups[*group].is[*at]).collect();
    let assignment = wrapped(&[&wrapped(&list)?])?;
    bulk::check(&assignment, true).ok()?;
    let assignment = ClusterLoadAssignment::decode(assignment.as_slice()).ok()?;
    let items = assignment.endpoints.first().map_or(&[][..], |group| &group.lb_endpoints);
    let (mut walk, mut read) = (Walk::new(), Vec::with_capacity(new.len()));
    for ((group, _), item) in new.iter().zip(items) {
        let mut endpoint = one(&mut walk, item).ok()?;
        if endpoint.weight > HEAVIEST {
            return None;
        }
        endpoint.priority = heads[*group].priority;
        endpoint.locality = heads[*group].locality.as_ref().map(|it| Box::new(place(it)));
        read.push(endpoint);
    }
    (walk.notes().is_empty() && read.len() == new.len()).then_some(read)
}

/// A message whose second field is a list of these.
fn wrapped(list: &[&[u8]]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for item in list {
        bytes.push(0x12);
        prost::encode_length_delimiter(item.len(), &mut bytes).ok()?;
        bytes.extend_from_slice(item);
    }
    Some(bytes)
}

/// Whether no address of a new endpoint is another's.
fn are_alone(before: &Endpoints, steps: &[Step], read: &[Endpoint]) -> bool {
    let mut new: HashSet<&Address> = HashSet::new();
    if !read.iter().flat_map(addresses).all(|address| new.insert(address)) {
        return false;
    }
    // What belonged to one that is not kept belongs to nobody else.
    let mut at = 0;
    let mut keeps: Vec<&Range<usize>> = steps.iter().filter_map(Step::kept).collect();
    keeps.sort_unstable_by_key(|range| range.start);
    for range in keeps.iter().copied().chain([&(before.endpoints.len()..before.endpoints.len())]) {
        if at < range.start {
            let gone = before.endpoints.range(at..range.start);
            for address in gone.flat_map(addresses) {
                new.remove(address);
            }
        }
        at = range.end;
    }
    new.is_empty() || !before.endpoints.has_any(&keeps, &new)
}

// === impl Step ===

impl Step {
    fn added(&self) -> Option<(usize, usize)> {
        match self {
            Self::New(group, at) => Some((*group, *at)),
            Self::Keep(_) => None,
        }
    }

    fn kept(&self) -> Option<&Range<usize>> {
        match self {
            Self::Keep(range) => Some(range),
            Self::New(..) => None,
        }
    }
}
