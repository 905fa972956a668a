//! What is run as it is said, and does nothing: told, not refused. Which of two rules is meant nobody
//! can tell, and the order between them is the source's word.

use crate::{
    discover::SourceId,
    mesh::{inner::Inner, service::Route, state::State},
    route::{Idle, Table},
};

/// So many are told of one service.
const SHOWN: usize = 20;

impl Inner {
    /// Tells which routes of a service no request comes to, once for as long as it is so.
    pub(super) fn doubt(
        &self,
        state: &mut State,
        service: &str,
        routed_by: Option<SourceId>,
        table: &Table<Route>,
    ) {
        let idle = table.idle(|route| &route.matches);
        if idle.is_empty() {
            state.doubts.remove(service);
            return;
        }
        let place = |route: usize, rule: Option<usize>| {
            let path = format!("services.{service}.routes[{route}]");
            let path = rule.map_or_else(|| path.clone(), |rule| format!("{path}.matches[{rule}]"));
            routed_by.and_then(|source| state.place(source, &path)).unwrap_or(path)
        };
        let mut doubts: Vec<_> =
            idle.iter().take(SHOWN).map(|idle| told(idle, table, &place)).collect();
        if let more @ 1.. = idle.len().saturating_sub(SHOWN) {
            doubts.push(format!("and {more} more"));
        }
        if state.doubts.get(service) != Some(&doubts) {
            self.hub.doubted(&format!("service {service}"), &doubts.join("; "));
            state.doubts.insert(service.to_owned(), doubts);
        }
    }
}

fn told(
    idle: &Idle,
    table: &Table<Route>,
    place: &dyn Fn(usize, Option<usize>) -> String,
) -> String {
    let named = |route: usize| {
        let name = table.get(route).and_then(|route| route.name.as_deref());
        name.map_or_else(
            || format!("route {} (no name)", route + 1),
            |name| format!("route {name}"),
        )
    };
    let Idle { route, place: rule, by, is_same } = *idle;
    let which = rule.map(|rule| format!("match {} of ", rule + 1)).unwrap_or_default();
    let by_rule = table.get(by.0).is_some_and(|it| it.matches.len() > 1).then_some(by.1);
    let takes = if is_same { "asks for the same" } else { "takes all that it would" };
    format!(
        "no request comes to {which}{} ({}): {} ({}), which is asked before it, {takes}",
        named(route),
        place(route, rule),
        named(by.0),
        place(by.0, by_rule),
    )
}
