//! What of a request is hashed, for explanations.

use http::{HeaderMap, HeaderName, Request, header};

use super::{Beside, Hashing, On, value_of};

/// One thing that is hashed, or would be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HashKey {
    /// `header x-user`, `cookie session`, …
    pub(crate) on: String,
    pub(crate) found: KeyFound,
}

/// What the request has of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum KeyFound {
    /// This value; None where it is not to be shown.
    Value(Option<String>),
    Absent,
    /// A value is made, at random.
    Made,
    /// What comes before it is enough.
    NotAsked,
}

impl HashKey {
    /// Whether it is the number of the mesh, and counts.
    pub(crate) fn is_channel(&self) -> bool {
        self.on == CHANNEL && matches!(self.found, KeyFound::Value(_))
    }
}

const CHANNEL: &str = "the mesh itself";
/// As much of a value is shown.
const SHOWN: usize = 64;

impl Hashing {
    /// What it asks of a request, in order, and what it finds.
    pub(crate) fn keys<B>(&self, request: &Request<B>, beside: Beside) -> Vec<HashKey> {
        if let Some(key) = beside.key
            && !self.reads_key
        {
            let found = KeyFound::Value(Some(key.to_string()));
            return vec![HashKey { on: "the key of the call".to_owned(), found }];
        }
        let mut over = false;
        let mut any = false;
        let mut keys = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let found = if over { KeyFound::NotAsked } else { part.on.found(request, beside) };
            any |= matches!(found, KeyFound::Value(_) | KeyFound::Made);
            over |= part.terminal && any;
            keys.push(HashKey { on: part.on.told(), found });
        }
        keys
    }
}

impl On {
    fn told(&self) -> String {
        match self {
            Self::Header(name) | Self::Joined(name) => format!("header {name}"),
            #[cfg(feature = "regex")]
            Self::Rewritten(by) => format!("header {}, rewritten", by.0),
            Self::Cookie(cookie) => format!("cookie {}", cookie.name),
            Self::Query(name) => format!("query {name}"),
            Self::Segment(place) => format!("part {place} of the path"),
            Self::Channel => CHANNEL.to_owned(),
            Self::CallKey => "the key of the call".to_owned(),
        }
    }

    /// Whether there is a value, by the code that hashes it; and the value, if it may be shown.
    fn found<B>(&self, request: &Request<B>, beside: Beside) -> KeyFound {
        if let Self::Cookie(cookie) = self
            && value_of(request.headers(), &cookie.name).is_none()
        {
            return if cookie.made.is_some() { KeyFound::Made } else { KeyFound::Absent };
        }
        if self.hash(request, beside, || 0, &mut None).is_none() {
            return KeyFound::Absent;
        }
        KeyFound::Value(match self {
            Self::Header(name) | Self::Joined(name) => shown(request.headers(), name),
            // As it came.
            #[cfg(feature = "regex")]
            Self::Rewritten(by) => shown(request.headers(), &by.0),
            Self::Segment(place) => {
                let path = request.uri().path();
                let segment = path.strip_prefix('/').unwrap_or(path).split('/').nth(*place);
                segment.map(short)
            }
            Self::CallKey => beside.key.map(|key| key.to_string()),
            // Sessions and queries are the caller's secrets.
            Self::Cookie(_) | Self::Query(_) | Self::Channel => None,
        })
    }
}

/// The values of a header, unless they are marked as sensitive or are known to be.
fn shown(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let secret = [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE];
    if secret.contains(name) || headers.get_all(name).iter().any(|value| value.is_sensitive()) {
        return None;
    }
    let values: Option<Vec<_>> =
        headers.get_all(name).iter().map(|value| value.to_str().ok()).collect();
    values.map(|values| short(&values.join(",")))
}

fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HashCookie, HashOn, HashPolicy};

    fn told(policies: &[HashPolicy], request: &Request<()>) -> Vec<KeyFound> {
        let keys = Hashing::new(policies).keys(request, Beside::default());
        keys.into_iter().map(|key| key.found).collect()
    }

    #[test]
    fn what_is_there_is_told_and_what_is_secret_is_not() {
        let cookie = HashCookie { name: "at".into(), ..HashCookie::default() };
        let policies = [
            HashPolicy::header("x-a"),
            HashPolicy::header("authorization"),
            HashPolicy::header("x-none"),
            HashPolicy::new(HashOn::Cookie(cookie)),
            HashPolicy::new(HashOn::Query("q".into())),
            HashPolicy::new(HashOn::PathSegment(1)),
            HashPolicy::new(HashOn::PathSegment(9)),
        ];
        let request = Request::get("/a/b?q=sesame")
            .header("x-a", "1")
            .header("x-a", "2")
            .header("authorization", "sesame")
            .header("cookie", "at=sesame");
        let found = told(&policies, &request.body(()).unwrap());
        let text = |text: &str| KeyFound::Value(Some(text.into()));
        let hidden = || KeyFound::Value(None);
        let absent = || KeyFound::Absent;
        assert_eq!(
            found,
            [text("1,2"), hidden(), absent(), hidden(), hidden(), text("b"), absent()]
        );
    }

    #[test]
    fn after_a_terminal_one_that_is_there_nothing_is_asked() {
        let policies = [HashPolicy::header("x-a").terminal(), HashPolicy::header("x-b")];
        let request = |name: &str| Request::get("/").header(name, "1").body(()).unwrap();
        let value = || KeyFound::Value(Some("1".into()));
        assert_eq!(told(&policies, &request("x-a")), [value(), KeyFound::NotAsked]);
        assert_eq!(told(&policies, &request("x-b")), [KeyFound::Absent, value()]);
    }

    #[test]
    fn long_values_are_cut() {
        let long = "é".repeat(100);
        assert_eq!(short(&long).chars().count(), SHOWN + 1);
        assert_eq!(short("é"), "é");
    }
}
