//! Edits of headers.

use envoy_types::pb::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction,
};
use http::{HeaderName, HeaderValue as Value};

use super::super::{
    read::bools,
    walk::{Result, Walk},
};
use crate::config::{
    Filter, HeaderEdit, HeaderPair,
    format::{Parsed, Side},
    headers::is_editable,
};

/// Edits of requests and of responses.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Edits {
    pub(in super::super) request: HeaderEdit,
    pub(in super::super) response: HeaderEdit,
}

// === impl Edits ===

impl Edits {
    pub(in super::super) fn read(
        walk: &mut Walk,
        request_add: &[HeaderValueOption],
        request_remove: &[String],
        response_add: &[HeaderValueOption],
        response_remove: &[String],
    ) -> Result<Self> {
        let mut edits = Self::default();
        for (list, field, side, edit) in [
            (request_add, "request_headers_to_add", Side::Request, &mut edits.request),
            (response_add, "response_headers_to_add", Side::Response, &mut edits.response),
        ] {
            for (index, option) in list.iter().enumerate() {
                walk.within(&format!("{field}[{index}]"), |walk| {
                    option_edit(walk, option, side, edit)
                })?;
            }
        }
        for (list, field, edit) in [
            (request_remove, "request_headers_to_remove", &mut edits.request),
            (response_remove, "response_headers_to_remove", &mut edits.response),
        ] {
            for (index, name) in list.iter().enumerate() {
                if let Some(name) = editable(walk, &format!("{field}[{index}]"), name)? {
                    edit.remove.push(name);
                }
            }
        }
        Ok(edits)
    }

    pub(in super::super) fn filters(&self) -> impl Iterator<Item = Filter> {
        let request =
            (!self.request.is_empty()).then(|| Filter::RequestHeaders(self.request.clone()));
        let response =
            (!self.response.is_empty()).then(|| Filter::ResponseHeaders(self.response.clone()));
        request.into_iter().chain(response)
    }
}

/// A name that may be edited; none, and a note, where it frames the message.
pub(in super::super) fn editable(
    walk: &mut Walk,
    field: &str,
    name: &str,
) -> Result<Option<String>> {
    if name.starts_with(':') {
        walk.note(field, format!("{name} is not edited as a header: is left out"));
        return Ok(None);
    }
    match HeaderName::try_from(name) {
        Err(_) => walk.refuse(field, name, "is not a header name"),
        Ok(name) if !is_editable(&name) => {
            walk.note(field, format!("{name} frames the message or names its host: is left out"));
            Ok(None)
        }
        Ok(name) => Ok(Some(name.as_str().to_owned())),
    }
}

pub(in super::super) fn option_edit(
    walk: &mut Walk,
    option: &HeaderValueOption,
    side: Side,
    edit: &mut HeaderEdit,
) -> Result<()> {
    let HeaderValueOption { header, append, append_action, keep_empty_value } = option;
    let Some(HeaderValue { key, value, raw_value }) = header else {
        return walk.refuse("header", "none", "must be given");
    };
    let Some(name) = editable(walk, "header.key", key)? else { return Ok(()) };
    let text = if raw_value.is_empty() {
        value.clone()
    } else {
        match String::from_utf8(raw_value.clone()) {
            Ok(text) => text,
            Err(_) => {
                return walk.lacks("header.raw_value", "bytes", "not supported yet: is not text");
            }
        }
    };
    if text.is_empty() && !keep_empty_value {
        // Envoy: a header without a value is not added.
        return Ok(());
    }
    if let Err(reason) = Parsed::new(&text, side) {
        walk.note("header.value", format!("{text}: {reason}: is left out"));
        return Ok(());
    }
    if Value::try_from(text.as_str()).is_err() {
        return walk.refuse("header.value", text.escape_debug(), "is not the value of a header");
    }
    let action = match (bools(append.as_ref()), HeaderAppendAction::try_from(*append_action)) {
        (_, Err(_)) => return walk.refuse("append_action", append_action, "is no action"),
        (Some(false), Ok(HeaderAppendAction::AppendIfExistsOrAdd)) => {
            HeaderAppendAction::OverwriteIfExistsOrAdd
        }
        (_, Ok(action)) => action,
    };
    match action {
        HeaderAppendAction::AppendIfExistsOrAdd => {
            edit.add.push(HeaderPair { name, value: text });
        }
        HeaderAppendAction::AddIfAbsent => {
            edit.add_if_absent.insert(name, text);
        }
        HeaderAppendAction::OverwriteIfExistsOrAdd => {
            edit.set.insert(name, text);
        }
        HeaderAppendAction::OverwriteIfExists => {
            edit.set_if_present.insert(name, text);
        }
    }
    Ok(())
}
