//! Explanations for reading.

use std::fmt::{Display, Formatter, Result};

use super::{
    rules::TOLD,
    types::{ClusterExplanation, Explanation, HashExplanation, PassedRule},
};
use crate::balance::Percent;

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "{} of service {}", self.request, self.service)?;
        if let Some(why) = &self.fails {
            writeln!(f, "the call fails: {why}")?;
        }
        for rule in self.route.passed.iter().take(TOLD) {
            writeln!(f, "not {rule}")?;
        }
        if let more @ 1.. = self.route.passed.len().saturating_sub(TOLD) {
            writeln!(f, "not {more} more")?;
        }
        match &self.route.name {
            Some(name) => writeln!(f, "route {name}")?,
            None => writeln!(f, "route {} (no name)", self.route.index + 1)?,
        }
        self.guards.iter().try_for_each(|guard| writeln!(f, "  {guard}"))?;
        if let Some(hedge) = &self.hedge {
            writeln!(f, "hedged {hedge}")?;
        }
        self.clusters.iter().try_for_each(|cluster| cluster.fmt(f))
    }
}

impl Display for PassedRule {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.name {
            Some(name) => write!(f, "route {name}")?,
            None => write!(f, "route {} (no name)", self.route + 1)?,
        }
        write!(f, ", if {}: {} is another", self.asks, self.unmet)
    }
}

impl Display for ClusterExplanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "cluster {}", self.name)?;
        if self.share < 1.0 {
            write!(f, ", {} of the route's calls", Percent(self.share))?;
        }
        writeln!(f, ", by {}", self.balancer)?;
        if let Some(why) = &self.fails {
            writeln!(f, "  the call fails: {why}")?;
        }
        if !self.labels.is_empty() {
            let labels: Vec<_> =
                self.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            writeln!(f, "  of the endpoints labelled {}", labels.join(", "))?;
        }
        if let Some(hash) = &self.hash {
            hash.fmt(f)?;
        }
        self.pick.fmt(f)?;
        if self.failover.is_empty() {
            return Ok(());
        }
        let taken_by = self.taken_by.as_deref();
        match taken_by {
            Some(name) => writeln!(f, "  of it and those that take over, {name} gets the call"),
            None => writeln!(f, "  nor has any of those that take over an endpoint for the call"),
        }?;
        self.failover.iter().try_for_each(|cluster| {
            write!(f, "failover to ")?;
            cluster.fmt(f)
        })
    }
}

impl Display for HashExplanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.hash {
            Some(hash) => writeln!(f, "  hash {hash:#018x}")?,
            None => writeln!(f, "  no hash: nothing that is hashed is in the request")?,
        }
        for key in &self.keys {
            write!(f, "    by {}", key.on)?;
            match (&key.value, key.note) {
                (Some(value), _) => writeln!(f, " = {value}")?,
                (None, Some(note)) => writeln!(f, ", {note}")?,
                (None, None) => writeln!(f, ", which is not shown")?,
            }
        }
        Ok(())
    }
}
