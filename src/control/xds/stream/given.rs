//! Credentials that the application gives, asked for each stream.

use http::HeaderMap;

use super::dial::{Aborted, CONNECT_TIMEOUT};
use crate::control::xds::bootstrap::{CallCredentials, is_free};

/// What is to be shown. It is asked on a task of its own: code that panics fails its stream and nothing else.
///
/// # Errors
///
/// Why there is nothing; what the application says of it, and no value.
pub(super) async fn given(credentials: &CallCredentials) -> Result<HeaderMap, String> {
    let asked = tokio::spawn(credentials.clone().provide());
    let _ends = Aborted::new(asked.abort_handle());
    let mut headers = match tokio::time::timeout(CONNECT_TIMEOUT, asked).await {
        Ok(Ok(Ok(headers))) => headers,
        Ok(Ok(Err(error))) => return Err(format!("the call credentials cannot be had: {error}")),
        Ok(Err(_)) => return Err("the code of the call credentials has panicked".to_owned()),
        Err(_) => {
            return Err(format!("the call credentials were not given within {CONNECT_TIMEOUT:?}"));
        }
    };
    for (name, value) in &mut headers {
        if !is_free(name.as_str()) {
            return Err(format!("the call credentials have `{name}`, which gRPC has for itself"));
        }
        value.set_sensitive(true);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use http::HeaderValue;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn what_is_given_is_shown_and_never_printed() {
        let header = || HeaderValue::from_static("Bearer secret");
        let credentials = CallCredentials::new(move || async move { Ok::<_, String>(header()) });
        let headers = given(&credentials).await.unwrap();
        assert_eq!(headers["authorization"], "Bearer secret");
        let shown = format!("{headers:?} {credentials:?}");
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[tokio::test]
    async fn headers_of_grpc_itself_are_not_the_applications() {
        for name in ["grpc-timeout", "x-bin", "te", "content-type"] {
            let credentials = CallCredentials::headers(move || async move {
                let value = HeaderValue::from_static("secret");
                Ok::<_, String>(HeaderMap::from_iter([(name.parse().unwrap(), value)]))
            });
            let error = given(&credentials).await.unwrap_err();
            assert!(error.contains(name) && !error.contains("secret"), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_that_fail_panic_or_never_come_end_in_time_and_are_told() {
        let fails = CallCredentials::new(|| async { Err("nobody is logged in") });
        assert!(given(&fails).await.unwrap_err().contains("nobody is logged in"));
        let panics = CallCredentials::new(|| async {
            assert!(std::hint::black_box(false), "it panics");
            Ok::<_, String>(HeaderValue::from_static("a"))
        });
        assert!(given(&panics).await.unwrap_err().contains("panicked"));
        let hangs = CallCredentials::new(pending::<Result<HeaderValue, String>>);
        let began = Instant::now();
        assert!(given(&hangs).await.unwrap_err().contains("within 10s"));
        assert_eq!(began.elapsed().as_secs(), 10);
    }
}
