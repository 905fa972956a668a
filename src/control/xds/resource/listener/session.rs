//! Sessions that stay with their endpoint (gRFC A55).

use envoy_types::pb::envoy::{
    extensions::{
        filters::http::stateful_session::v3::StatefulSession,
        http::stateful_session::{
            cookie::v3::CookieBasedSessionState, header::v3::HeaderBasedSessionState,
        },
    },
    r#type::http::v3::{Cookie, CookieAttribute},
};

use super::super::{
    read::{said, type_name},
    walk::{IGNORED, Result, Walk},
};
use crate::config::{Filter, Session, SessionCookie};

const COOKIE: &str = "envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState";
const HEADER: &str = "envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState";

/// None: it keeps nobody anywhere.
pub(super) fn filter(walk: &mut Walk, pb: &StatefulSession) -> Result<Option<Filter>> {
    let StatefulSession {
        session_state,
        strict,
        stat_prefix: _,
        status_on_strict_destination_not_found,
    } = pb;
    let Some(state) = session_state else { return Ok(None) };
    walk.note_if(
        *status_on_strict_destination_not_found != 0,
        "status_on_strict_destination_not_found",
        IGNORED,
    );
    let mut read = Session::default();
    read.strict = strict.then_some(true);
    walk.within("session_state", |walk| {
        let any = state.typed_config.as_ref();
        match (any, any.map_or("none", |any| type_name(&any.type_url))) {
            (Some(any), COOKIE) => {
                let pb: CookieBasedSessionState = walk.unpack("typed_config", any)?;
                let Some(Cookie { name, ttl, path, attributes }) = pb.cookie else {
                    return walk.refuse("cookie", "none", "must be given");
                };
                let mut cookie = SessionCookie::default();
                cookie.ttl = walk.time("cookie.ttl", ttl.as_ref())?;
                cookie.name = name;
                cookie.path = said(&path);
                cookie.attributes = attributes
                    .into_iter()
                    .map(|CookieAttribute { name, value }| (name, value))
                    .collect();
                read.cookie = Some(cookie);
                Ok(())
            }
            (Some(any), HEADER) => {
                let pb: HeaderBasedSessionState = walk.unpack("typed_config", any)?;
                read.header = Some(pb.name);
                Ok(())
            }
            (_, url) => walk.lacks("typed_config", url, "not supported yet"),
        }
    })?;
    Ok(Some(Filter::Session(Box::new(read))))
}
