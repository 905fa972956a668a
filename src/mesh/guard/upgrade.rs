//! Which protocols a connection may change to, by what its route says.

use std::sync::Arc;

use http::{
    HeaderMap, StatusCode,
    header::{HeaderValue, UPGRADE},
};

use super::{Asked, Dry, Entry, Foretold, Guard};
use crate::{
    config,
    core::{Error, ErrorKind, Phase},
    mesh::{describe::Setting, settings::By},
};

/// What a route says of upgrades.
#[derive(Debug)]
pub(super) struct Upgrades {
    /// In lower case. Empty: all that are not refused.
    allowed: Vec<String>,
    refused: Vec<String>,
}

// === impl Upgrades ===

impl Upgrades {
    /// None: it says nothing.
    pub(super) fn of(said: &[config::Upgrade]) -> Option<Arc<dyn Guard>> {
        if said.is_empty() {
            return None;
        }
        let those = |disabled| {
            let those = said.iter().filter(move |it| it.disabled == disabled);
            those.map(|it| it.protocol.to_ascii_lowercase()).collect()
        };
        Some(Arc::new(Self { allowed: those(false), refused: those(true) }))
    }

    /// The protocol that is asked for and not to be spoken.
    //= RFC 9110 §7.8: a list of protocols, each with its version or without, in any case
    fn unwanted<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let lines = headers.get_all(UPGRADE).iter();
        // What is no text is nothing that was allowed.
        let lines = lines.map(|line| HeaderValue::to_str(line).unwrap_or("?"));
        let mut protocols = lines.flat_map(|line| line.split(',')).map(str::trim);
        protocols.find(|protocol| !protocol.is_empty() && !self.may_be(protocol))
    }

    fn may_be(&self, protocol: &str) -> bool {
        let whole = protocol.to_ascii_lowercase();
        let bare = whole.split_once('/').map_or(whole.as_str(), |(name, _)| name);
        let is_in = |list: &[String]| list.iter().any(|it| *it == whole || *it == bare);
        !is_in(&self.refused) && (self.allowed.is_empty() || is_in(&self.allowed))
    }

    fn error(protocol: &str) -> Error {
        Error::new(ErrorKind::InvalidRequest, Phase::Route)
            //= Envoy: an upgrade that is not allowed is answered 403
            .with_status(StatusCode::FORBIDDEN)
            .detail(format!("it asks for an upgrade to `{protocol}`, which its route refuses"))
            .check("`upgrades` of the route")
    }
}

impl Guard for Upgrades {
    fn enter(self: Arc<Self>, asked: Asked<'_>) -> Entry {
        match self.unwanted(asked.request.headers()) {
            Some(protocol) => Entry::Refuse(Self::error(protocol)),
            None => Entry::Pass,
        }
    }

    fn explain(&self, dry: &Dry<'_>) -> Foretold {
        match self.unwanted(dry.request.headers()) {
            Some(protocol) => Foretold::said(format!("upgrades: to `{protocol}` is refused"), true),
            None => Foretold::default(),
        }
    }

    fn settings(&self, by: By<'_>) -> Vec<Setting> {
        let told = |word: &str, list: &[String]| {
            (!list.is_empty()).then(|| format!("{word} {}", list.join(", ")))
        };
        let told = [told("allowed:", &self.allowed), told("refused:", &self.refused)];
        let told = told.into_iter().flatten().collect::<Vec<_>>().join("; ");
        vec![by.says("upgrades".into(), told)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upgrades(allowed: &[&str], refused: &[&str]) -> Upgrades {
        let lower = |list: &[&str]| list.iter().map(|it| it.to_ascii_lowercase()).collect();
        Upgrades { allowed: lower(allowed), refused: lower(refused) }
    }

    #[test]
    fn a_list_decides() {
        for (allowed, refused, asked, expected) in [
            (&["WebSocket"][..], &[][..], "websocket", None),
            (&["websocket"], &[], "h2c", Some("h2c")),
            (&["websocket"], &[], "websocket, h2c", Some("h2c")),
            (&[], &["h2c"], "websocket", None),
            (&[], &["h2c"], "H2C", Some("H2C")),
            (&[], &["irc"], "IRC/6.9", Some("IRC/6.9")),
            (&["irc/6.9"], &[], "irc/6.9", None),
            (&["irc/6.9"], &[], "irc/7", Some("irc/7")),
            (&["websocket"], &["websocket"], "websocket", Some("websocket")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(UPGRADE, asked.parse().unwrap());
            assert_eq!(upgrades(allowed, refused).unwanted(&headers), expected, "{asked}");
        }
        assert_eq!(upgrades(&["websocket"], &[]).unwanted(&HeaderMap::new()), None);
    }

    #[test]
    fn what_is_no_text_and_what_comes_in_a_second_line_are_seen() {
        let only = upgrades(&["websocket"], &[]);
        let mut headers = HeaderMap::new();
        headers.append(UPGRADE, HeaderValue::from_static("websocket"));
        headers.append(UPGRADE, HeaderValue::from_static("h2c"));
        assert_eq!(only.unwanted(&headers), Some("h2c"));
        headers.insert(UPGRADE, HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(only.unwanted(&headers), Some("?"));
    }
}
