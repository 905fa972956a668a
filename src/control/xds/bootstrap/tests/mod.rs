//! Bootstraps as files, variables, code and the pods of Istio say them.

mod built;
mod chance;
mod plaintext;
mod pods;
mod text;

use super::*;

const SERVER: &str =
    r#"{"server_uri": "xds.example:18000", "channel_creds": [{"type": "insecure"}]}"#;

fn with_server(server: &str) -> String {
    format!(r#"{{"xds_servers": [{server}], "node": {{"id": "n"}}}}"#)
}

/// Every error of a text, as it is told.
fn refused(text: &str) -> String {
    Bootstrap::from_json(text).unwrap_err().to_string()
}
