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
use crate::{
    balance::Percent,
    core::legible::{line, part},
    mesh::describe::Setting,
};

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        line(f, format_args!("{} of service {}", self.request, self.service))?;
        if let Some(why) = &self.fails {
            line(f, format_args!("the call fails: {why}"))?;
        }
        for rule in self.route.passed.iter().take(TOLD) {
            line(f, format_args!("not {rule}"))?;
        }
        if let more @ 1.. = self.route.passed.len().saturating_sub(TOLD) {
            line(f, format_args!("not {more} more"))?;
        }
        match &self.route.name {
            Some(name) => line(f, format_args!("route {name}"))?,
            None => line(f, format_args!("route {} (no name)", self.route.index + 1))?,
        }
        if let Some(share) = self.route.share {
            let share = Percent(share);
            line(
                f,
                format_args!(
                    "  takes {share} of the calls like this one, drawn call by call: this follows them"
                ),
            )?;
        }
        if !self.route.filters.is_empty() {
            line(f, format_args!("  filters {}", self.route.filters.join(", ")))?;
        }
        if let Some(choice) = &self.route.choice {
            line(f, format_args!("  to {choice}"))?;
        }
        said(f, &self.route.settings)?;
        self.guards.iter().try_for_each(|guard| line(f, format_args!("  {guard}")))?;
        if let Some(answer) = &self.answer {
            answer.fmt(f)?;
        }
        if let Some(hedge) = &self.hedge {
            line(f, format_args!("hedged {hedge}"))?;
        }
        self.clusters.iter().try_for_each(|cluster| cluster.fmt(f))?;
        self.doubts.iter().try_for_each(|doubt| line(f, format_args!("doubtful: {doubt}")))
    }
}

/// The settings that somebody has said.
fn said(f: &mut Formatter<'_>, settings: &[Setting]) -> Result {
    settings.iter().filter(|it| it.is_said()).try_for_each(|it| line(f, format_args!("  {it}")))
}

impl Display for AnswerExplanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        line(f, format_args!("answered here: {}", self.status))?;
        headers(f, &self.headers)?;
        self.body.iter().try_for_each(|body| line(f, format_args!("    body {body}")))
    }
}

impl Display for HeadExplanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let host = if self.host_of_endpoint { ", for the host name of the endpoint" } else { "" };
        line(f, format_args!("{} {}{host}", self.method, without_query(&self.uri)))?;
        headers(f, &self.headers)
    }
}

impl Display for MirrorExplanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        part(
            f,
            format_args!(
                "copied to cluster {}, {} of the calls: ",
                self.cluster,
                Percent(self.share)
            ),
        )?;
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
            Ok(value) if !is_secret => line(f, format_args!("    {name}: {value}"))?,
            _ => line(f, format_args!("    {name}, which is not shown"))?,
        }
    }
    Ok(())
}

/// Headers that usually hold a secret.
const SECRET: [HeaderName; 4] = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, SET_COOKIE];

impl Display for PassedRule {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.name {
            Some(name) => part(f, format_args!("route {name}"))?,
            None => write!(f, "route {} (no name)", self.route + 1)?,
        }
        part(f, format_args!(", if {}: ", self.asks))?;
        if self.is_drawn {
            return write!(f, "those are drawn call by call, and this follows the others");
        }
        part(f, format_args!("{} is another", self.unmet))
    }
}

impl Display for ClusterExplanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        part(f, format_args!("cluster {}", self.name))?;
        if self.share < 1.0 {
            write!(f, ", {} of the route's calls", Percent(self.share))?;
        }
        line(f, format_args!(", by {}", self.balancer))?;
        if let Some(why) = &self.fails {
            line(f, format_args!("  the call fails: {why}"))?;
        }
        if let Some(head) = &self.head {
            write!(f, "  sent as {head}")?;
        }
        self.guards.iter().try_for_each(|guard| line(f, format_args!("  {guard}")))?;
        self.mirrors.iter().try_for_each(|mirror| write!(f, "  {mirror}"))?;
        said(f, &self.settings)?;
        if !self.labels.is_empty() {
            let labels: Vec<_> =
                self.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            line(f, format_args!("  of the endpoints labelled {}", labels.join(", ")))?;
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
            Some(name) => {
                line(f, format_args!("  of it and those that take over, {name} gets the call"))
            }
            None => line(
                f,
                format_args!("  nor has any of those that take over an endpoint for the call"),
            ),
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
            Some(hash) => line(f, format_args!("  hash {hash:#018x}"))?,
            None => line(f, format_args!("  no hash: nothing that is hashed is in the request"))?,
        }
        for key in &self.keys {
            part(f, format_args!("    by {}", key.on))?;
            match (&key.value, key.note) {
                (Some(value), _) => line(f, format_args!(" = {value}"))?,
                (None, Some(note)) => line(f, format_args!(", {note}"))?,
                (None, None) => line(f, format_args!(", which is not shown"))?,
            }
        }
        Ok(())
    }
}
