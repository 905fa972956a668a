//! Credentials that the application gives for each stream.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

use crate::core::{BoxError, BoxFuture};

/// Who the caller is, as the application says it for each stream to a control plane
/// ([`Server::call_credentials`](super::Server::call_credentials)): for tokens that are no files, as those of
/// clouds are.
///
/// It is asked for every stream that is begun, one of load reports included, and has 10 s; what it says may be
/// kept by it until that expires. Its values are shown to the control plane and to nobody else. What its error
/// says is told, so it must hold no secret.
///
/// Clones are the same, and meshes share a stream only where they have the same.
///
/// ```no_run
/// use http::HeaderValue;
/// use tower_mesh::control::xds::{Bootstrap, CallCredentials, Server, ServerTls};
///
/// # async fn token() -> Result<String, std::io::Error> { Ok("secret".to_owned()) }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let credentials = CallCredentials::new(|| async {
///     let token = token().await.map_err(|error| error.to_string())?;
///     HeaderValue::try_from(format!("Bearer {token}")).map_err(|error| error.to_string())
/// });
/// let server = Server::tls("xds.example:443", ServerTls::new()).call_credentials(credentials);
/// let bootstrap = Bootstrap::builder().server(server).node_id("orders-1").build()?;
/// # drop(bootstrap);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct CallCredentials(Arc<Given>);

struct Given {
    provide: Box<Provide>,
}

type Provide = dyn Fn() -> BoxFuture<Result<HeaderMap, BoxError>> + Send + Sync;

// === impl CallCredentials ===

impl CallCredentials {
    /// The value of the header `authorization`.
    pub fn new<F, T, E>(provide: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<HeaderValue, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self::headers(move || {
            let value = provide();
            async move {
                let value = value.await.map_err(Into::<BoxError>::into)?;
                Ok::<_, BoxError>(HeaderMap::from_iter([(AUTHORIZATION, value)]))
            }
        })
    }

    /// Headers of any names. Those of gRPC's own fail the stream (`grpc-…`, `…-bin`, `content-type`, `te`).
    pub fn headers<F, T, E>(provide: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<HeaderMap, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let provide = move || -> BoxFuture<Result<HeaderMap, BoxError>> {
            let headers = provide();
            Box::pin(async move { headers.await.map_err(Into::into) })
        };
        Self(Arc::new(Given { provide: Box::new(provide) }))
    }

    /// What is to be shown with a stream.
    pub(crate) async fn provide(self) -> Result<HeaderMap, BoxError> {
        (self.0.provide)().await
    }
}

/// Those of one origin.
impl PartialEq for CallCredentials {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for CallCredentials {}

impl Hash for CallCredentials {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl fmt::Debug for CallCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallCredentials").finish_non_exhaustive()
    }
}

/// Whether a header of this name, in lower case, may be sent with a stream beside those of gRPC.
pub(crate) fn is_free(name: &str) -> bool {
    let is_of_grpc = name.starts_with("grpc-") || name == "content-type" || name == "te";
    !is_of_grpc && !name.ends_with("-bin")
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Bootstrap, Server},
        *,
    };

    #[test]
    fn credentials_of_the_code_are_the_same_only_if_they_are_of_one_origin() {
        let new = || CallCredentials::new(|| async { Err("nobody") });
        let build = |uri: &str, credentials: &CallCredentials| {
            let server = Server::insecure(uri).call_credentials(credentials.clone());
            Bootstrap::builder().server(server).build()
        };
        let (one, other) = (new(), new());
        let first = build("unix:/a", &one).unwrap();
        assert!(first.asks_as(&build("unix:/a", &one).unwrap()));
        assert!(!first.asks_as(&build("unix:/a", &other).unwrap()));
        let error = build("a:1", &one).unwrap_err().to_string();
        assert!(error.contains("would be sent in plaintext"), "{error}");
    }
}
