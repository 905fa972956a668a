//! Explanations for reading.

use std::fmt::{Display, Formatter, Result};

use http::{
    HeaderMap, HeaderName, Uri,
    header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, SET_COOKIE},
};

use super::{
    rules::TOLD,
    types::{
        AnswerExplanation, ClusterExplanation, Explanation, HashExplanation, HeadExplanation,
        MirrorExplanation, PassedRule,
    },
};
use crate::{balance::Percent, mesh::describe::Setting};

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
        if let Some(share) = self.route.share {
            let share = Percent(share);
            writeln!(
                f,
                "  takes {share} of the calls like this one, drawn call by call: this follows them"
            )?;
        }
        if !self.route.filters.is_empty() {
            writeln!(f, "  filters {}", self.route.filters.join(", "))?;
        }
        if let Some(choice) = &self.route.choice {
            writeln!(f, "  to {choice}")?;
        }
        said(f, &self.route.settings)?;
        self.guards.iter().try_for_each(|guard| writeln!(f, "  {guard}"))?;
        if let Some(answer) = &self.answer {
            answer.fmt(f)?;
        }
        if let Some(hedge) = &self.hedge {
            writeln!(f, "hedged {hedge}")?;
        }
        self.clusters.iter().try_for_each(|cluster| cluster.fmt(f))?;
        self.doubts.iter().try_for_each(|doubt| writeln!(f, "doubtful: {doubt}"))
    }
}

/// The settings that somebody has said.
fn said(f: &mut Formatter<'_>, settings: &[Setting]) -> Result {
    settings.iter().filter(|it| it.is_said()).try_for_each(|it| writeln!(f, "  {it}"))
}

impl Display for AnswerExplanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "answered here: {}", self.status)?;
        headers(f, &self.headers)?;
        self.body.iter().try_for_each(|body| writeln!(f, "    body {body}"))
    }
}

impl Display for HeadExplanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let host = if self.host_of_endpoint { ", for the host name of the endpoint" } else { "" };
        writeln!(f, "{} {}{host}", self.method, without_query(&self.uri))?;
        headers(f, &self.headers)
    }
}

impl Display for MirrorExplanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "copied to cluster {}, {} of the calls: ", self.cluster, Percent(self.share))?;
        self.head.fmt(f)
    }
}

/// A query may hold secrets.
fn without_query(uri: &Uri) -> String {
    let text = uri.to_string();
    match text.split_once('?') {
        Some((text, _)) => format!("{text}?…"),
        None => text,
    }
}

/// Each on a line, but for the values that are nobody's business.
fn headers(f: &mut Formatter<'_>, headers: &HeaderMap) -> Result {
    for (name, value) in headers {
        let is_secret = value.is_sensitive() || SECRET.contains(name);
        match value.to_str() {
            Ok(value) if !is_secret => writeln!(f, "    {name}: {value}")?,
            _ => writeln!(f, "    {name}, which is not shown")?,
        }
    }
    Ok(())
}

/// Headers that usually hold a secret.
const SECRET: [HeaderName; 4] = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, SET_COOKIE];

impl Display for PassedRule {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.name {
            Some(name) => write!(f, "route {name}")?,
            None => write!(f, "route {} (no name)", self.route + 1)?,
        }
        write!(f, ", if {}: ", self.asks)?;
        if self.is_drawn {
            return write!(f, "those are drawn call by call, and this follows the others");
        }
        write!(f, "{} is another", self.unmet)
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
        if let Some(head) = &self.head {
            write!(f, "  sent as {head}")?;
        }
        self.guards.iter().try_for_each(|guard| writeln!(f, "  {guard}"))?;
        self.mirrors.iter().try_for_each(|mirror| write!(f, "  {mirror}"))?;
        said(f, &self.settings)?;
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
