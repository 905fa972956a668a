//! Where the bootstrap is looked for: the variables of gRPC.

use std::{ffi::OsString, io::Read, path::Path};

use super::{Bootstrap, json};
use crate::config::{ConfigError, ConfigErrors};

pub(super) const FILE: &str = "GRPC_XDS_BOOTSTRAP";
pub(super) const INLINE: &str = "GRPC_XDS_BOOTSTRAP_CONFIG";
/// Larger ones are no bootstrap.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// By these variables.
//= gRFC A27: the file wins; what is wrong with it is an error, not a reason to look further
pub(super) fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Bootstrap, ConfigErrors> {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some(path) = given(FILE) {
        return file(Path::new(&path), FILE);
    }
    let Some(text) = given(INLINE) else {
        let why = format!("must name the bootstrap file, or `{INLINE}` be its content");
        return Err(ConfigErrors(vec![ConfigError::new(FILE, "", why)]));
    };
    let text = text.into_string().map_err(|_| one(INLINE, "", "is no UTF-8"))?;
    json::parse(&text, INLINE)
}

/// The bootstrap in this file.
pub(super) fn file(path: &Path, named_by: &str) -> Result<Bootstrap, ConfigErrors> {
    let shown = path.display().to_string();
    let refuse = |why: String| one(named_by, &shown, &why);
    let open = std::fs::File::open(path);
    let open = open.map_err(|error| refuse(format!("cannot be read: {error}")))?;
    let mut content = Vec::new();
    let read = open.take(MAX_BYTES + 1).read_to_end(&mut content);
    read.map_err(|error| refuse(format!("cannot be read: {error}")))?;
    if content.len() as u64 > MAX_BYTES {
        return Err(refuse(format!("is larger than {} MiB", MAX_BYTES >> 20)));
    }
    let text = String::from_utf8(content).map_err(|_| refuse("is no UTF-8".to_owned()))?;
    json::parse(&text, &format!("bootstrap {shown}"))
}

fn one(path: &str, value: &str, why: &str) -> ConfigErrors {
    ConfigErrors(vec![ConfigError::new(path, value, why)])
}
