//! What is run as it is said, and does nothing: told, not refused. Which of two rules is meant nobody
//! can tell, and the order between them is the source's word.

use crate::{
    discover::SourceId,
    mesh::{inner::Inner, service::Route, state::State},
    route::{Contrary, Fit, Idle, Table},
};

/// So many are told of one service.
const SHOWN: usize = 20;

impl Inner {
    /// Tells which routes of a service no request comes to, and which contradict themselves, once for as
    /// long as it is so.
    pub(super) fn doubt(
        &self,
        state: &mut State,
        service: &str,
        routed_by: Option<SourceId>,
        table: &Table<Route>,
    ) {
        let idle = table.idle(|route| &route.matches);
        let contrary = table.contrary(|route| &route.matches);
        if idle.is_empty() && contrary.is_empty() {
            state.doubts.remove(service);
            return;
        }
        let stands =
            |path: String| routed_by.and_then(|source| state.place(source, &path)).unwrap_or(path);
        let place = |route: usize, rule: Option<usize>| {
            let path = format!("services.{service}.routes[{route}]");
            stands(rule.map_or_else(|| path.clone(), |rule| format!("{path}.matches[{rule}]")))
        };
        let part = |it: &Contrary, at: usize| {
            let Contrary { route, place, list, .. } = it;
            stands(format!("services.{service}.routes[{route}].matches[{place}].{list}[{at}]"))
        };
        let mut doubts: Vec<_> = contrary
            .iter()
            .map(|contrary| contradicts(contrary, table, &part))
            .chain(idle.iter().map(|idle| told(idle, table, &place)))
            .take(SHOWN)
            .collect();
        if let more @ 1.. = (contrary.len() + idle.len()).saturating_sub(SHOWN) {
            doubts.push(format!("and {more} more"));
        }
        if state.doubts.get(service) != Some(&doubts) {
            self.hub.doubted(&format!("service {service}"), &doubts.join("; "));
            state.doubts.insert(service.to_owned(), doubts);
        }
    }
}

/// What two parts of a match ask that nothing meets both, or only a header that comes several times.
fn contradicts(
    contrary: &Contrary,
    table: &Table<Route>,
    part: &dyn Fn(&Contrary, usize) -> String,
) -> String {
    let Contrary { route, place, list, both: (first, second), name, fit } = contrary;
    let has_others = table.get(*route).is_some_and(|it| it.matches.len() > 1);
    let which = if has_others { format!("match {} of ", place + 1) } else { String::new() };
    let which = format!("{which}{}", named(*route, table));
    let parts = format!(
        "`{list}[{first}]` ({}) and `{list}[{second}]` ({})",
        part(contrary, *first),
        part(contrary, *second)
    );
    let what = match *list {
        "headers" => "header",
        "query" => "parameter",
        "cookies" => "cookie",
        _ => "note of",
    };
    match fit {
        Fit::Several => {
            format!(
                "{which} takes none but requests with several `{name}`: no value meets both {parts}"
            )
        }
        Fit::Never | Fit::Fine => {
            format!("no request comes to {which}: no {what} `{name}` meets both {parts}")
        }
    }
}

fn named(route: usize, table: &Table<Route>) -> String {
    let name = table.get(route).and_then(|route| route.name.as_deref());
    name.map_or_else(|| format!("route {} (no name)", route + 1), |name| format!("route {name}"))
}

fn told(
    idle: &Idle,
    table: &Table<Route>,
    place: &dyn Fn(usize, Option<usize>) -> String,
) -> String {
    let named = |route| named(route, table);
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
