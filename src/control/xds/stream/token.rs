//! Tokens in files (gRFC A97), read for each stream.

use std::{
    io,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;
use serde_json::Value;
use tokio::sync::{Semaphore, oneshot};

use super::dial::CONNECT_TIMEOUT;

/// Reads the tokens for one server, one at a time: a file that never answers keeps one thread, however
/// often a stream is begun.
pub(super) struct Tokens(Arc<Semaphore>);

// === impl Tokens ===

impl Default for Tokens {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Tokens {
    /// The `authorization` of the token in this file.
    ///
    /// # Errors
    ///
    /// Why it cannot be shown; never a part of it.
    pub(super) async fn read(&self, path: &Path) -> Result<HeaderValue, String> {
        let shown = path.display();
        let text = match tokio::time::timeout(CONNECT_TIMEOUT, self.content(path)).await {
            Ok(Ok(text)) => text,
            Ok(Err(error)) => return Err(format!("the token {shown} cannot be read: {error}")),
            Err(_) => {
                return Err(format!(
                    "the token {shown} was not read within {CONNECT_TIMEOUT:?}: does its file system \
                     answer, and is it a file?"
                ));
            }
        };
        let header = header(text.trim(), SystemTime::now());
        header.map_err(|why| format!("the token {shown} cannot be used: {why}"))
    }

    /// On a thread of its own: a runtime that ends waits for those that it has lent out.
    async fn content(&self, path: &Path) -> io::Result<String> {
        let turn = Arc::clone(&self.0).acquire_owned().await.map_err(io::Error::other)?;
        let (tell, told) = oneshot::channel();
        let path = path.to_owned();
        thread::Builder::new().name("mesh-xds-token".to_owned()).spawn(move || {
            drop(tell.send(content(&path)));
            drop(turn);
        })?;
        told.await.unwrap_or_else(|_| Err(io::Error::other("it was broken off")))
    }
}

fn content(path: &Path) -> io::Result<String> {
    use std::io::Read;

    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// Larger ones do not fit into a header.
const MAX_BYTES: u64 = 64 * 1024;

//= gRFC A97: a token that is no JWT, or has expired, is not sent
pub(super) fn header(token: &str, now: SystemTime) -> Result<HeaderValue, String> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("it is no JSON Web Token: it has not three parts".to_owned());
    };
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('='));
    let claims = claims.ok().and_then(|claims| serde_json::from_slice::<Value>(&claims).ok());
    let claims = claims.ok_or("it is no JSON Web Token: its claims cannot be read")?;
    let expires = claims.get("exp").and_then(Value::as_f64).filter(|at| *at >= 0.0);
    let expires = expires.ok_or("it does not say when it expires (`exp`)")?;
    let expires = Duration::try_from_secs_f64(expires).unwrap_or(Duration::MAX);
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    if let Some(over) = since.checked_sub(expires) {
        return Err(format!("it has expired {}s ago: is it still renewed?", over.as_secs()));
    }
    let mut header = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| "it cannot be sent in a header".to_owned())?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("aGVhZA.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_token_is_shown_until_it_expires() {
        let token = token(r#"{"exp": 1000}"#);
        let header = header(&token, at(999)).unwrap();
        assert_eq!(header.to_str().unwrap(), format!("Bearer {token}"));
        assert!(header.is_sensitive());
        let error = super::header(&token, at(1060)).unwrap_err();
        assert!(error.contains("60s ago"), "{error}");
    }

    #[test]
    fn what_is_no_token_is_refused_without_showing_it() {
        for text in [
            "",
            "secret",
            "secret.b.c",
            "a.b.c.secret",
            &token("secret"),
            &token("{}"),
            &token(r#"{"exp": "secret"}"#),
            &token(r#"{"exp": -1}"#),
            &format!("secret\n{}", token(r#"{"exp": 1000}"#)),
        ] {
            let error = header(text, at(1)).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(header(&token(r#"{"exp": 1e300}"#), at(1)).is_ok());
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_named() {
        let error = Tokens::default().read(Path::new("/nowhere/token")).await.unwrap_err();
        assert!(error.contains("/nowhere/token"), "{error}");
    }

    /// Nobody writes into it.
    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn a_file_that_does_not_answer_is_given_up_in_time_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let (tokens, began) = (Tokens::default(), tokio::time::Instant::now());
        for _ in 0..3 {
            let error = tokens.read(&path).await.unwrap_err();
            assert!(error.contains(&*path.to_string_lossy()), "{error}");
            assert!(error.contains("within 10s"), "{error}");
        }
        let waited = began.elapsed();
        assert!((30..31).contains(&waited.as_secs()), "{waited:?}");
    }
}
