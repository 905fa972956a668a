//! What a pick would do, and why: without picking.
//!
//! Sans I/O, and linear in the number of endpoints. Who is picked is found by trying picks out
//! (`dry.rs`): the code of a pick runs on a copy of what it counts by, with random words of its own, and
//! claims nothing. So there are no second rules here that could say something else than a pick does. How
//! each endpoint stands, and why it is none of those, is read beside it (`endpoints.rs`).

mod display;
mod dry;
mod endpoints;
mod places;
mod types;
mod words;

use std::sync::atomic::Ordering::Relaxed;

pub(crate) use self::display::Percent;
pub(super) use self::endpoints::standing_of;
pub use self::types::{
    Choice, EndpointExplanation, EndpointStanding, LocalityExplanation, NamedExplanation,
    PickExplanation, PickReason, PriorityExplanation,
};
use self::{
    dry::{Outcomes, outcomes},
    endpoints::Seeing,
};
use super::{
    ask::Ask,
    balancer::{Balancer, PickError},
    endpoint::Upstream,
    pick::{Avoid, Over, Picker, Pinned, Pins},
    planned::plan_of,
    subset::labels::Wanted,
    view::View,
};
use crate::core::Random;

/// What a call would ask the balancer for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked<'a> {
    /// What it is hashed to; None: a random hash, or none at all.
    pub(crate) hash: Option<u64>,
    /// The endpoint that it names.
    pub(crate) over: Option<&'a Over>,
    /// The labels that its endpoint must carry.
    pub(crate) wanted: Option<&'a Wanted>,
    /// A retry leaves the localities of what it has met.
    pub(crate) apart: bool,
    /// What else a retry avoids.
    pub(crate) avoid: Option<&'a Avoid>,
    /// What does not work will not do: there are other clusters.
    pub(crate) well: bool,
}

impl<X: Upstream> Balancer<X> {
    /// Whom a call would get, and why nobody else; `in_words` says what an error is.
    pub(crate) fn explain(
        &self,
        asked: &Asked<'_>,
        now: u64,
        in_words: impl Fn(PickError) -> String,
    ) -> PickExplanation {
        let view = self.view.load();
        let plan =
            view.placed.as_ref().and_then(|placed| plan_of(&view, placed, asked.wanted).ok());
        let trial = plan.map_or(0, |plan| plan.trial.load(Relaxed));
        let found = outcomes(&view, asked, now, trial);
        let named = asked.over.map(|over| named(&view, over, now));
        let is_named = named.as_ref().is_some_and(|named| named.is_honoured);
        let seeing = Seeing { view: &view, plan, asked, now, found: &found, is_named };
        let (priorities, outside) = seeing.places();
        PickExplanation {
            rule: words::rule(&view, now),
            shard: view
                .all
                .replicas
                .as_ref()
                .zip(asked.hash)
                .and_then(|(replicas, hash)| replicas.shard(hash).map(str::to_owned)),
            choice: choice(&found, in_words),
            trial: found.trial.iter().map(|it| it.spec().address().to_string()).collect(),
            named,
            priorities,
            outside,
        }
    }
}

fn choice<X: Upstream>(found: &Outcomes<X>, in_words: impl Fn(PickError) -> String) -> Choice {
    let address = |it: &super::endpoint::Endpoint<X>| it.spec().address().to_string();
    if found.fails == found.runs {
        let reasons: Vec<_> = found.errors.iter().copied().map(in_words).collect();
        let reason = reasons.join(" or ");
        return Choice::Nothing { reason };
    }
    if found.certain
        && let Some((first, then)) = found.chain.split_first()
    {
        let then = then.iter().map(|it| address(it)).collect();
        return Choice::Endpoint { address: address(first), then };
    }
    let part = |count: u32| f64::from(count) / f64::from(found.runs);
    let mut endpoints: Vec<_> = found.met.iter().map(|it| (address(it), found.share(it))).collect();
    endpoints.sort_by(|(one, its), (other, others)| others.total_cmp(its).then(one.cmp(other)));
    Choice::OneOf { endpoints, fails: part(found.fails), runs: found.runs }
}

/// What becomes of an endpoint that a call names.
fn named<X: Upstream>(view: &View<X>, over: &Over, now: u64) -> NamedExplanation {
    let random = Random::dry(0);
    let picker = Picker::new(&view.all.set, &Ask::any(now, &random, &[]));
    // Not those of the view: these would be kept from now on.
    let is_honoured = matches!(picker.pinned(&Pins::default(), over), Pinned::To(_));
    let known = view.all.set.iter().find(|it| *it.spec().address() == over.address);
    let mut reason = match known {
        None => "the cluster has no such endpoint".to_owned(),
        Some(endpoint) if !over.health.has(endpoint.spec().health()) => {
            "its source says something of its health for which it is not used".to_owned()
        }
        Some(endpoint) => standing_of(endpoint, now).to_string(),
    };
    if over.strict {
        reason += if is_honoured {
            "; no other will do"
        } else {
            "; no other will do, and the call fails"
        };
    }
    NamedExplanation { address: over.address.to_string(), is_honoured, reason }
}
