//! What headers of a request change of the settings of its route, where its policy lets them.

use super::{
    layers::By,
    retry::{Lists, ON, ON_HEADERS, ON_STATUS_RANGES},
    time,
};
use crate::mesh::{
    call::{Bound, Overrides},
    describe::{Setting, SettingOrigin},
    service::Policy,
};

/// Tells them as the call's own; `policy` is what they make of the route's. What the call says beside
/// them is told already, and stays.
pub(in crate::mesh) fn of_asked(list: &mut [Setting], asked: &Overrides, policy: &Policy) {
    let Overrides { timeout, attempt_timeout, response_timeout, attempts, retry } = asked;
    let bound = |Bound(time_of): Bound| time_of.map_or_else(|| "none".to_owned(), time);
    let is_asked = asked.asks_for_retries();
    let tries = (attempts.is_some() || is_asked).then(|| policy.retry.attempts().to_string());
    for (name, value) in [
        ("timeout", timeout.map(bound)),
        ("attempt_timeout", attempt_timeout.map(bound)),
        ("response_timeout", response_timeout.map(time)),
        ("retry.attempts", tries),
        ("retry.idempotent", is_asked.then(|| "true".to_owned())),
    ] {
        if let Some(value) = value {
            tell(list, name, |_| value);
        }
    }
    let Lists { on, statuses, headers } = Lists::of(retry);
    let (lists_statuses, lists_headers) = policy.retry.lists();
    for (name, more) in [
        (ON, on),
        (ON_STATUS_RANGES, statuses.filter(|_| lists_statuses)),
        (ON_HEADERS, headers.filter(|_| lists_headers)),
    ] {
        if let Some(more) = more {
            tell(list, name, |old| if old == "none" { more } else { format!("{old}, {more}") });
        }
    }
}

fn tell(list: &mut [Setting], name: &str, value: impl FnOnce(&str) -> String) {
    let setting = list.iter_mut().find(|it| it.name == name);
    if let Some(setting) = setting.filter(|it| it.origin != SettingOrigin::Call) {
        *setting = By::Call.says(setting.name.clone(), value(&setting.value));
    }
}
