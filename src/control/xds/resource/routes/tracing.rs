//! How calls on a route are traced.

use envoy_types::pb::envoy::{
    config::route::v3::{Decorator, Tracing as Pb},
    r#type::tracing::v3::{CustomTag, custom_tag::Type},
};

use super::super::{
    read::said,
    walk::{Result, Walk},
};
use crate::config::Tracing;

pub(super) fn tracing(
    walk: &mut Walk,
    pb: Option<&Pb>,
    decorator: Option<&Decorator>,
) -> Result<Option<Tracing>> {
    let mut read = Tracing::default();
    if let Some(pb) = pb {
        walk.within("tracing", |walk| {
            let Pb {
                client_sampling,
                random_sampling,
                overall_sampling,
                custom_tags,
                operation,
                upstream_operation,
            } = pb;
            read.client_percent = walk.fraction("client_sampling", client_sampling.as_ref())?;
            read.random_percent = walk.fraction("random_sampling", random_sampling.as_ref())?;
            read.overall_percent = walk.fraction("overall_sampling", overall_sampling.as_ref())?;
            tags(walk, custom_tags, &mut read);
            read.operation = plain(walk, "operation", operation);
            walk.note_if(!upstream_operation.is_empty(), "upstream_operation", "not supported yet");
            Ok(())
        })?;
    }
    if let Some(Decorator { operation, propagate: _ }) = decorator {
        read.operation = read.operation.or_else(|| said(operation));
    }
    Ok((read != Tracing::default()).then_some(read))
}

fn plain(walk: &mut Walk, field: &str, text: &str) -> Option<String> {
    if text.contains('%') {
        walk.note(field, "is filled in by Envoy alone: is left out");
        return None;
    }
    said(text)
}

pub(in super::super) fn tags(walk: &mut Walk, list: &[CustomTag], read: &mut Tracing) {
    for CustomTag { tag, r#type } in list {
        let is_left = match r#type {
            _ if tag.is_empty() => true,
            Some(Type::Literal(it)) => {
                read.tags.insert(tag.clone(), it.value.clone());
                false
            }
            Some(Type::RequestHeader(it)) if http::HeaderName::try_from(&it.name).is_ok() => {
                read.header_tags.insert(tag.clone(), it.name.clone());
                false
            }
            _ => true,
        };
        walk.note_if(is_left, "custom_tags", "literals and request headers are all there is");
    }
}
