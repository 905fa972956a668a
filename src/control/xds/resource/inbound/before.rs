//! What becomes of a request before a route is looked for and rules are asked.

use envoy_types::pb::envoy::{
    config::core::v3::http_protocol_options::HeadersWithUnderscoresAction as Underscores,
    extensions::filters::network::http_connection_manager::v3::{
        HttpConnectionManager as Manager,
        http_connection_manager::{PathWithEscapedSlashesAction as Slashes, StripPortMode},
    },
};

use super::{
    super::walk::{Result, Walk},
    types::{InboundPort, InboundSlashes, InboundUnderscores},
};

/// What becomes of encoded slashes, where nobody else says what becomes of a path.
pub(super) fn slashes(walk: &Walk, pb: &Manager) -> Result<InboundSlashes> {
    for (is_said, field) in [
        (pb.path_normalization_options.is_some(), "path_normalization_options"),
        (pb.typed_header_validation_config.is_some(), "typed_header_validation_config"),
    ] {
        if is_said {
            let reason = "not supported yet, and it decides which route is taken";
            return walk.refuse(field, "given", reason);
        }
    }
    let action = pb.path_with_escaped_slashes_action;
    Ok(match Slashes::try_from(action) {
        //= Envoy: by default they are kept
        Ok(Slashes::ImplementationSpecificDefault | Slashes::KeepUnchanged) => InboundSlashes::Keep,
        Ok(Slashes::RejectRequest) => InboundSlashes::Refuse,
        Ok(Slashes::UnescapeAndRedirect) => InboundSlashes::Redirect,
        Ok(Slashes::UnescapeAndForward) => InboundSlashes::Decode,
        Err(_) => return walk.refuse("path_with_escaped_slashes_action", action, "is no action"),
    })
}

/// What becomes of the port of an authority.
pub(super) fn port(walk: &Walk, pb: &Manager) -> Result<InboundPort> {
    let drops_any = matches!(pb.strip_port_mode, Some(StripPortMode::StripAnyHostPort(true)));
    Ok(match (drops_any, pb.strip_matching_host_port) {
        (false, false) => InboundPort::Keep,
        (false, true) => InboundPort::DropOwn,
        (true, false) => InboundPort::Drop,
        //= Envoy: only one of them can be set
        (true, true) => {
            let reason = "must not be said beside `strip_any_host_port`";
            return walk.refuse("strip_matching_host_port", true, reason);
        }
    })
}

/// What becomes of headers with underscores.
pub(super) fn underscores(walk: &Walk, pb: &Manager) -> Result<InboundUnderscores> {
    let Some(options) = &pb.common_http_protocol_options else {
        return Ok(InboundUnderscores::Keep);
    };
    let action = options.headers_with_underscores_action;
    Ok(match Underscores::try_from(action) {
        Ok(Underscores::Allow) => InboundUnderscores::Keep,
        Ok(Underscores::RejectRequest) => InboundUnderscores::Refuse,
        Ok(Underscores::DropHeader) => InboundUnderscores::Drop,
        Err(_) => {
            let field = "common_http_protocol_options.headers_with_underscores_action";
            return walk.refuse(field, action, "is no action");
        }
    })
}
