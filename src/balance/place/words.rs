//! A plan in words.

use super::{
    count::{By, Count},
    plan::Plan,
    priority::Census,
    settings::Placing,
};
use crate::{
    balance::{endpoint::Upstream, view::Group},
    config::Locality,
};

impl<X: Upstream> Plan<X> {
    /// One line per priority, and one for each of its parts.
    pub(in crate::balance) fn told(
        &self,
        all: &Group<X>,
        placing: &Placing,
        now: u64,
    ) -> Vec<String> {
        let (by, mut lines) = (By::of(placing), Vec::new());
        for level in &self.levels {
            let whole = level.whole.as_ref().unwrap_or(all);
            let Census { counted, .. } = Count::of(whole, &by, now).census;
            let load = level.load();
            let mut line = format!("priority {}", level.priority);
            if level.distance > 0 {
                line += &format!(", distance {}", level.distance);
            }
            line += &format!(
                ": {} % of calls, {} of {} healthy",
                load.all(),
                counted.healthy,
                counted.total
            );
            if counted.degraded > 0 {
                line += &format!(", {} degraded", counted.degraded);
            }
            if load.panic {
                line += ", in panic: all are called";
            }
            lines.push(line);
            for (part, share) in level.parts.iter().zip(level.shares()) {
                let name = match part.ring {
                    Some(ring) => format!("ring {}", ring + 1),
                    None => name_of(&part.locality),
                };
                lines.push(format!(
                    "  {name}: {:.1} % of them, {} endpoints",
                    share * 100.0,
                    part.group.set.len()
                ));
            }
        }
        lines
    }
}

/// A locality in words.
pub(in crate::balance) fn name_of(locality: &Locality) -> String {
    let parts = [&locality.region, &locality.zone, &locality.sub_zone];
    let parts: Vec<&str> = parts.iter().filter(|it| !it.is_empty()).map(|it| it.as_str()).collect();
    if parts.is_empty() { "no locality".to_owned() } else { parts.join("/") }
}
