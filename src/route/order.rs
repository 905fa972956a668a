//! Which rule goes first where the most specific one wins.

use std::cmp::Reverse;

use super::Host;
use crate::config::{Match, PathMatch, StringMatch, template::Template};

/// How specific a rule is; the greater goes first, equal ones in list order.
type Specific = ((usize, usize), (u8, usize), bool, usize, usize);

/// What rules are sorted by.
pub(super) type Rank = Reverse<Specific>;

//= Gateway API HTTPRouteSpec.hostnames, HTTPRouteRule.matches: host, exact path, longest prefix,
//= method, most headers, most query parameters; GRPCRouteRule.matches: characters of service and
//= method, most headers. Istio has regular expressions behind prefixes, the longest first.
pub(super) fn rank(rule: Option<&Match>, host: Option<&Host>) -> Rank {
    let host = host.map_or((0, 0), Host::rank);
    let Some(rule) = rule else { return Reverse((host, BARE, false, 0, 0)) };
    let headers = rule.headers.len() + rule.cookies.len();
    Reverse((host, of_path(rule), rule.method.is_some(), headers, rule.query.len()))
}

/// No path is the prefix `/` (Gateway API): every path begins so, and all that asks for more goes first.
const BARE: (u8, usize) = (0, 0);

fn of_path(rule: &Match) -> (u8, usize) {
    match (&rule.path, &rule.grpc) {
        (Some(PathMatch::Exact(path)), _) => (3, path.chars().count()),
        (Some(PathMatch::Prefix(path)), _) => {
            let bare = path.strip_suffix('/').unwrap_or(path);
            if bare.is_empty() { BARE } else { (2, bare.chars().count()) }
        }
        // Every path begins so, too; of a longer one the last slash is a part.
        (Some(PathMatch::StringPrefix(path)), _) if path == "/" => BARE,
        (Some(PathMatch::StringPrefix(path)), _) => (2, path.chars().count()),
        (Some(PathMatch::Template(text)), _) => {
            (1, Template::new(text).map_or(0, |template| template.characters()))
        }
        (Some(PathMatch::Regex(text)), _) => (1, text.chars().count()),
        (Some(PathMatch::Connect), _) => (3, 0),
        (None, Some(grpc)) => match (&grpc.service, &grpc.method) {
            (Some(service), method) => {
                let (kind, length) = of_text(service);
                let more = method.as_ref().map(of_text);
                // As the path that it is: `/service/method`, or all under `/service/`.
                match (kind, more) {
                    (3, Some((3, more))) => (3, length + more + 2),
                    (3, _) => (2, length + 2),
                    _ => (1, length + more.map_or(0, |(_, more)| more)),
                }
            }
            (None, Some(method)) => (1, of_text(method).1),
            (None, None) => BARE,
        },
        (None, None) => BARE,
    }
}

fn of_text(text: &StringMatch) -> (u8, usize) {
    match text {
        StringMatch::Exact(text) => (3, text.chars().count()),
        StringMatch::Prefix(text)
        | StringMatch::Suffix(text)
        | StringMatch::Contains(text)
        | StringMatch::Regex(text) => (1, text.chars().count()),
        StringMatch::Range(_) | StringMatch::Present => (1, 0),
    }
}
