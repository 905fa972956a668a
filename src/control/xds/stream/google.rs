//! Access tokens of Google's metadata server, which every machine of its cloud has.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header, uri::Authority};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, sync::Mutex};

use super::dial::{Aborted, CONNECT_TIMEOUT, chain};
use crate::{control::xds::bootstrap::Google, core::Instant};

/// Has the tokens for one server, and keeps the last one until it is about to expire.
#[derive(Default)]
pub(super) struct AccessTokens(Mutex<Option<Token>>);

struct Token {
    header: HeaderValue,
    until: Instant,
}

// === impl AccessTokens ===

impl AccessTokens {
    /// The `authorization` of the moment.
    ///
    /// # Errors
    ///
    /// Why there is none; never a part of it.
    pub(super) async fn token(&self, google: &Google) -> Result<HeaderValue, String> {
        if let Some(why) = google.trouble() {
            return Err(why);
        }
        let Google { host, key_file: _ } = google;
        match tokio::time::timeout(CONNECT_TIMEOUT, self.kept(host)).await {
            Ok(token) => token.map_err(|why| format!("Google's metadata server {host} {why}")),
            Err(_) => Err(format!(
                "Google's metadata server {host} has said nothing within {CONNECT_TIMEOUT:?}"
            )),
        }
    }

    /// The last one was refused.
    pub(super) fn forget(&self) {
        // Whoever has the lock asks for another one.
        if let Ok(mut last) = self.0.try_lock() {
            *last = None;
        }
    }

    /// One asks, and others that need one wait for it.
    async fn kept(&self, host: &str) -> Result<HeaderValue, String> {
        let mut last = self.0.lock().await;
        let now = Instant::now();
        if let Some(token) = last.as_ref().filter(|token| now < token.until) {
            return Ok(token.header.clone());
        }
        let (header, lasts) = ask(host).await?;
        *last = Some(Token { header: header.clone(), until: now + lasts.saturating_sub(EARLY) });
        Ok(header)
    }
}

//= Google Cloud, "Authenticate workloads to Google Cloud APIs using service accounts": the path, and the header
// that is asked for in both directions
async fn ask(host: &str) -> Result<(HeaderValue, Duration), String> {
    let authority = host.parse::<Authority>();
    let authority = authority.map_err(|_| "is no host (`GCE_METADATA_HOST`)".to_owned())?;
    let name = authority.host().trim_matches(['[', ']']);
    let stream = TcpStream::connect((name, authority.port_u16().unwrap_or(80))).await;
    let stream = stream.map_err(|error| {
        format!("cannot be reached: {error}; is this a machine of Google Cloud? Else give credentials by \
                 `Bootstrap::google_default`")
    })?;
    let broken = |error: &hyper::Error| format!("gives no answer: {}", chain(error));
    let made = http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await;
    let (mut sender, connection) = made.map_err(|error| broken(&error))?;
    let _driver = Aborted::new(tokio::spawn(connection).abort_handle());
    let request = Request::get(PATH)
        .header(header::HOST, authority.as_str())
        .header(FLAVOR, GOOGLE)
        .body(Empty::new())
        .map_err(|error| format!("cannot be asked: {error}"))?;
    let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let flavor = answer.headers().get(FLAVOR).map(HeaderValue::as_bytes);
    if flavor != Some(GOOGLE.as_bytes()) {
        return Err(format!("is another server: its answer has no `{FLAVOR}: {GOOGLE}`"));
    }
    if answer.status() != StatusCode::OK {
        return Err(format!("answers {}: has the machine a service account?", answer.status()));
    }
    let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
    let body = body.map_err(|_| "gives an answer that cannot be read".to_owned())?.to_bytes();
    token(&body).ok_or_else(|| "gives an answer without a token".to_owned())
}

/// The token of an answer, and how long it lasts.
pub(super) fn token(body: &[u8]) -> Option<(HeaderValue, Duration)> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let token = answer.get("access_token")?.as_str().filter(|token| !token.is_empty())?;
    let lasts = answer.get("expires_in")?.as_u64()?;
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    Some((header, Duration::from_secs(lasts.min(LONGEST))))
}

const PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
const FLAVOR: &str = "metadata-flavor";
const GOOGLE: &str = "Google";
/// Before a token expires the server has a new one.
const EARLY: Duration = Duration::from_secs(225);
/// No token is kept longer. Unit: seconds.
pub(super) const LONGEST: u64 = 86_400;
/// What of an answer is read at most.
const MAX_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_token_is_none() {
        let (header, lasts) =
            token(br#"{"access_token": "a.b", "expires_in": 3599, "token_type": "Bearer"}"#)
                .unwrap();
        assert_eq!((header.to_str().unwrap(), lasts.as_secs()), ("Bearer a.b", 3599));
        assert!(header.is_sensitive());
        for body in [
            "",
            "[]",
            "{}",
            r#"{"access_token": "a"}"#,
            r#"{"access_token": "", "expires_in": 1}"#,
            r#"{"access_token": "a\nb", "expires_in": 1}"#,
            r#"{"access_token": 1, "expires_in": 1}"#,
            r#"{"access_token": "a", "expires_in": "1"}"#,
        ] {
            assert!(token(body.as_bytes()).is_none(), "{body}");
        }
        let long = format!(r#"{{"access_token": "a", "expires_in": {}}}"#, u64::MAX);
        assert_eq!(token(long.as_bytes()).unwrap().1, Duration::from_secs(LONGEST));
    }
}
