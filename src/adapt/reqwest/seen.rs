//! What a `reqwest::Client` tells of its settings: no more than its `Debug` text does.
//!
//! reqwest has no way to read a client's settings. Its `Debug` text names those whose silent
//! absence would hurt: they are looked for, so that `build` can ask for a word on each. This is a
//! net, not a wall: what the calls of the mesh do is decided by the builder alone. The one
//! exception fails closed: a client that may call names outside of the mesh must be seen not to
//! follow redirects. `tests.rs` pins the text for the reqwest in use.

use std::fmt;

use super::packing::Packing;

/// The lines of a client's `Debug` text.
pub(super) struct Seen(pub(super) String);

/// A setting that a client was seen to have.
pub(super) struct Setting {
    /// The setter of the builder here that decides it.
    pub(super) setter: &'static str,
    pub(super) what: &'static str,
    pub(super) check: &'static str,
}

// === impl Seen ===

impl Seen {
    pub(super) fn of(client: &impl fmt::Debug) -> Self {
        Self(format!("{client:#?}"))
    }

    /// The settings, by the name of their field; values that span lines are given with all.
    fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        // Fields are indented by one step, what is inside of them by more.
        let is_start = |(at, _): &(usize, &str)| !self.0[at + 5..].starts_with([' ', '}', ']']);
        let mut starts = self.0.match_indices("\n    ").filter(is_start).map(|(at, _)| at + 5);
        let mut next = starts.next();
        std::iter::from_fn(move || {
            let start = next?;
            next = starts.next();
            Some(&self.0[start..next.unwrap_or(self.0.len())])
        })
        .filter_map(|field| field.split_once(": "))
    }

    /// Whether the client was built with `redirect(Policy::none())`.
    pub(super) fn follows_nothing(&self) -> bool {
        self.fields().any(|(name, value)| {
            name == "redirect_policy" && value.trim_end().starts_with("\"Policy(None)\"")
        })
    }

    /// The settings that it has and that matter to calls through the mesh.
    pub(super) fn settings(&self) -> impl Iterator<Item = Setting> {
        self.fields().flat_map(|(name, value)| {
            let unpacks = if name == "accepts" { &Packing::ALL[..] } else { &[] };
            let unpacks = unpacks.iter().filter(|packing| is_on(value, packing.setter()));
            let unpacks = unpacks.map(|packing| Setting {
                setter: packing.setter(),
                what: packing.what(),
                check: packing.check(),
            });
            setting(name, value).into_iter().chain(unpacks)
        })
    }
}

/// What a field says, if that matters.
fn setting(name: &str, value: &str) -> Option<Setting> {
    let inner = || value.lines().skip(1).map(str::trim);
    let (setter, what, check) = match name {
        "cookie_store" => (
            "cookie_store",
            "a cookie store",
            "`cookie_provider` or `cookie_store` of the builder (feature `reqwest-013-cookies`)",
        ),
        "proxies" if inner().any(is_proxy) => (
            "proxy",
            "a proxy, of its own or the system's",
            "`no_proxy` of the builder: the mesh's endpoints are called without one",
        ),
        "redirect_policy" => ("redirect", "a redirect policy", "`redirect` of the builder"),
        "default_headers" if inner().any(is_own_header) => (
            "default_headers",
            "default headers",
            "`default_headers` or `user_agent` of the builder",
        ),
        "read_timeout" => ("read_timeout", "a read timeout", "`read_timeout` of the builder"),
        name if name.ends_with("TotalTimeout") => {
            ("timeout", "a timeout", "`timeout` of the builder")
        }
        _ => return None,
    };
    Some(Setting { setter, what, check })
}

/// Whether a line of a value that has several says that this is so.
fn is_on(value: &str, name: &str) -> bool {
    value.lines().skip(1).any(|line| line.trim().split_once(": ") == Some((name, "true,")))
}

/// A line of the proxies: one for a scheme, or a function that decides.
fn is_proxy(line: &str) -> bool {
    line.starts_with("http:") || line.starts_with("https:") || line.starts_with('_')
}

/// A line of the default headers that is not the one that every client has.
fn is_own_header(line: &str) -> bool {
    line.starts_with('"') && line.trim_end_matches(',') != "\"accept\": \"*/*\""
}
