//! Explanations for reading. Of many endpoints, a few of each kind.

use std::{
    collections::BTreeMap,
    fmt::{Display, Formatter, Result},
    time::Duration,
};

use super::types::{
    Choice, EndpointExplanation, EndpointStanding, LocalityExplanation, PickExplanation,
    PickReason, PriorityExplanation,
};
use crate::core::legible::line;

/// As many endpoints of a locality are told one by one.
const EACH: usize = 12;
/// Of more, so many of each kind, and of a choice.
const FEW: usize = 3;

/// A share in percent.
pub(crate) struct Percent(pub(crate) f64);

/// A time in seconds.
struct Seconds(Duration);

impl Display for Percent {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0 * 100.0 {
            percent if percent <= 0.0 => f.write_str("0 %"),
            percent if percent < 0.1 => f.write_str("under 0.1 %"),
            percent if percent < 10.0 => write!(f, "{percent:.1} %"),
            percent => write!(f, "{percent:.0} %"),
        }
    }
}

impl Display for Seconds {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{:.1} s", self.0.as_secs_f64())
    }
}

impl Display for EndpointStanding {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let probed = |f: &mut Formatter<'_>, probe_in: &Duration| {
            if probe_in.is_zero() {
                f.write_str(", its probe is due")
            } else {
                write!(f, ", probed in {}", Seconds(*probe_in))
            }
        };
        match self {
            Self::Good => f.write_str("good"),
            Self::Part(part) => write!(f, "good, takes {} of its calls", Percent(*part)),
            Self::Degraded => f.write_str("degraded by its source"),
            Self::Suspect { probe_in } => {
                f.write_str("suspect: it fails more often than not")?;
                probed(f, probe_in)
            }
            Self::Unhealthy => f.write_str("unhealthy by its source"),
            Self::Unchecked => f.write_str("not found well by a check yet"),
            Self::ChecksFail => f.write_str("its checks fail"),
            Self::Unavailable { back_off } if back_off.is_zero() => {
                f.write_str("unavailable: no connection could be made")
            }
            Self::Unavailable { back_off } => write!(
                f,
                "unavailable: no connection could be made, back-off for {}",
                Seconds(*back_off)
            ),
            Self::Untried => f.write_str("no connection could be made, and none was tried since"),
            Self::Ejected { by, probe_in } => {
                write!(f, "ejected by {by}")?;
                probed(f, probe_in)
            }
            Self::Probing => f.write_str("ejected, its probe is out"),
            Self::Draining => f.write_str("draining"),
        }
    }
}

impl Display for PickReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(self.as_str())
    }
}

impl EndpointExplanation {
    /// Why it is not picked, where its standing does not say that.
    fn why(&self) -> Option<PickReason> {
        let says_all = matches!(self.reason, PickReason::Picked | PickReason::Standing);
        (!says_all).then_some(self.reason)
    }

    fn details(&self, f: &mut Formatter<'_>) -> Result {
        if self.weight != 1 {
            write!(f, ", weight {}", self.weight)?;
        }
        if let Some(in_flight) = self.in_flight {
            write!(f, ", {in_flight} in flight")?;
        }
        if let Some(latency) = self.latency {
            write!(f, ", {:.2} ms", latency.as_secs_f64() * 1e3)?;
        }
        if let Some(note) = &self.note {
            write!(f, ", {note}")?;
        }
        Ok(())
    }
}

/// What is said of it after its address.
impl Display for EndpointExplanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if self.reason == PickReason::Picked {
            write!(f, "{}, {}", Percent(self.share), self.standing)?;
        } else {
            write!(f, "no: {}", self.standing)?;
        }
        if let Some(why) = self.why() {
            write!(f, "; {why}")?;
        }
        self.details(f)
    }
}

/// Endpoints, one by one or a few of each kind.
fn tell(f: &mut Formatter<'_>, indent: &str, endpoints: &[EndpointExplanation]) -> Result {
    let width = endpoints.iter().map(|it| it.address.len()).max().unwrap_or(0);
    let mut sorted: Vec<_> = endpoints.iter().collect();
    sorted.sort_by(|one, other| other.share.total_cmp(&one.share));
    if endpoints.len() <= EACH {
        for endpoint in sorted {
            line(f, format_args!("{indent}{:width$}  {endpoint}", endpoint.address))?;
        }
        return Ok(());
    }
    // By what is said of each, but for numbers.
    let mut kinds = BTreeMap::<(bool, String), (usize, Vec<&EndpointExplanation>)>::new();
    for endpoint in sorted {
        let mut kind = kind_of(&endpoint.standing).to_owned();
        if let Some(why) = endpoint.why() {
            kind = format!("{kind}; {why}");
        }
        let (count, few) = kinds.entry((endpoint.reason != PickReason::Picked, kind)).or_default();
        *count += 1;
        if *count <= FEW {
            few.push(endpoint);
        }
    }
    for ((is_out, kind), (count, few)) in kinds {
        let what = if is_out { "no: " } else { "picked in trials: " };
        line(f, format_args!("{indent}{count} {what}{kind}"))?;
        for endpoint in &few {
            line(f, format_args!("{indent}  {:width$}  {endpoint}", endpoint.address))?;
        }
        if count > few.len() {
            line(f, format_args!("{indent}  … and {} more", count - few.len()))?;
        }
    }
    Ok(())
}

/// A standing without its numbers.
fn kind_of(standing: &EndpointStanding) -> &'static str {
    match standing {
        EndpointStanding::Good => "good",
        EndpointStanding::Part(_) => "good, takes a part of its calls",
        EndpointStanding::Degraded => "degraded by its source",
        EndpointStanding::Suspect { .. } => "suspect",
        EndpointStanding::Unhealthy => "unhealthy by its source",
        EndpointStanding::Unchecked => "not checked yet",
        EndpointStanding::ChecksFail => "checks fail",
        EndpointStanding::Unavailable { .. } => "unavailable, in back-off",
        EndpointStanding::Untried => "unavailable, not tried since",
        EndpointStanding::Ejected { .. } => "ejected",
        EndpointStanding::Probing => "ejected, probe is out",
        EndpointStanding::Draining => "draining",
    }
}

impl LocalityExplanation {
    fn tell(&self, f: &mut Formatter<'_>) -> Result {
        let Some(name) = &self.name else { return tell(f, "    ", &self.endpoints) };
        match self.share {
            Some(share) => line(f, format_args!("    {name}: {} of them", Percent(share)))?,
            None => line(f, format_args!("    {name}: called as one with the others"))?,
        }
        tell(f, "      ", &self.endpoints)
    }
}

impl PriorityExplanation {
    fn tell(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "  priority {}", self.priority)?;
        if self.distance > 0 {
            write!(f, ", distance {}", self.distance)?;
        }
        write!(f, ": ")?;
        match &self.skipped {
            Some(why) => write!(f, "nothing, for {why}")?,
            None => write!(f, "{} of calls", Percent(self.share))?,
        }
        write!(f, "; {} of {} healthy", self.healthy, self.total)?;
        if self.degraded > 0 {
            write!(f, ", {} degraded", self.degraded)?;
        }
        if self.degraded_share > 0.0 {
            write!(f, ", to whom go {} of calls", Percent(self.degraded_share))?;
        }
        if self.is_panicking {
            write!(f, "; in panic: all are called")?;
        }
        writeln!(f)?;
        self.localities.iter().try_for_each(|locality| locality.tell(f))
    }
}

impl Display for Choice {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Endpoint { address, then } => {
                write!(f, "{address}")?;
                match then.as_slice() {
                    [] => Ok(()),
                    then => write!(f, "; a retry goes to {}", then.join(", then ")),
                }
            }
            Self::OneOf { endpoints, fails, runs } => {
                match endpoints.as_slice() {
                    [(only, _)] => write!(f, "{only}")?,
                    _ => write!(f, "one of {}", endpoints.len())?,
                }
                if *fails > 0.0 {
                    write!(f, "; {} of calls fail", Percent(*fails))?;
                }
                write!(f, " (in {runs} picks that were tried out)")
            }
            Self::Nothing { reason } => write!(f, "the call fails: {reason}"),
        }
    }
}

impl Display for PickExplanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        line(f, format_args!("  {}", self.rule))?;
        if let Some(shard) = &self.shard {
            line(f, format_args!("  it belongs to shard {shard}"))?;
        }
        if let Some(named) = &self.named {
            let is = if named.is_honoured { "" } else { " not" };
            line(
                f,
                format_args!(
                    "  the call names {}, which is{is} used: {}",
                    named.address, named.reason
                ),
            )?;
        }
        if !self.trial.is_empty() {
            let of = self.trial.join(" or ");
            line(
                f,
                format_args!(
                    "  the next call may be a trial of {of}; if not, and for those after it:"
                ),
            )?;
        }
        line(f, format_args!("  => {}", self.choice))?;
        self.priorities.iter().try_for_each(|priority| priority.tell(f))?;
        if !self.outside.is_empty() {
            line(f, format_args!("  in no priority"))?;
            tell(f, "    ", &self.outside)?;
        }
        Ok(())
    }
}
