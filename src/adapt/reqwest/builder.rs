//! What a client is made of, and what is refused when it is built.

#[cfg(feature = "reqwest-013-cookies")]
use std::sync::Arc;
use std::{fmt, time::Duration};

use http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT, USER_AGENT},
};
use reqwest::Url;

use super::{
    client::{Client, Settings},
    outside::Outside,
    packing::Packing,
    redirect,
    seen::Seen,
};
use crate::{
    core::{Error, ErrorKind, Phase},
    mesh,
};

/// Configures a [`Client`]; made by [`Mesh::reqwest`](crate::Mesh::reqwest).
///
/// Its setters have the names of reqwest's `ClientBuilder`, and hold for the names of the mesh;
/// those outside of it get what the wrapped client is configured with. What concerns connections
/// (proxies, TLS, pools, keepalive, protocol versions) is a setting of the mesh's clusters.
#[must_use = "a builder does nothing until it is built"]
pub struct ClientBuilder {
    mesh: mesh::Client,
    plain: reqwest::Client,
    settings: Settings,
    /// The settings that were decided here, by reqwest's names.
    said: Vec<&'static str>,
    refused: Option<Error>,
}

// === impl ClientBuilder ===

impl ClientBuilder {
    pub(super) fn new(mesh: mesh::Client, plain: reqwest::Client) -> Self {
        let mut settings = Settings::default();
        //= reqwest 0.13 ClientBuilder::new: the only header that every request has
        settings.headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        Self { mesh, plain, settings, said: Vec::new(), refused: None }
    }

    /// Adds headers to every request to a name of the mesh that does not have them itself.
    ///
    /// Default: `accept: */*`. They are not sent to names outside of the mesh: those get the
    /// default headers of the wrapped client.
    pub fn default_headers(mut self, headers: HeaderMap) -> Self {
        let mut last = None;
        for (name, value) in headers {
            // A name stands before the first of its values.
            match (name, &last) {
                (Some(name), _) => {
                    self.settings.headers.insert(name.clone(), value);
                    last = Some(name);
                }
                (None, Some(name)) => {
                    self.settings.headers.append(name.clone(), value);
                }
                (None, None) => {}
            }
        }
        self.said("default_headers")
    }

    /// Sets the `user-agent` of every request to a name of the mesh that has none.
    ///
    /// Default: none. A value that is no header is refused by [`ClientBuilder::build`].
    pub fn user_agent<V>(mut self, value: V) -> Self
    where
        V: TryInto<HeaderValue>,
        V::Error: Into<http::Error>,
    {
        match value.try_into() {
            Ok(value) => {
                self.settings.headers.insert(USER_AGENT, value);
            }
            Err(error) => {
                let refused = invalid("the user agent is no header value");
                self.refused = Some(refused.caused_by(error.into()));
            }
        }
        self.said("default_headers")
    }

    /// Bounds each request to the end of its response body, all hops of its redirects together.
    ///
    /// Unit: time. Default: none, which leaves the timeout to the policy of the service. The
    /// request's own timeout rules over this; the policy's, if it is shorter, over both.
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.timeout = timeout.into();
        self.said("timeout")
    }

    /// Bounds each wait: for the head of a response, and for each part of its body.
    ///
    /// Unit: time. Default: none, which leaves it to the `idle_timeout` of the service's policy.
    pub fn read_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.read_timeout = timeout.into();
        self.said("read_timeout")
    }

    /// Says which redirects are followed.
    ///
    /// Default: [at most 10](redirect::Policy::limited) (reqwest). Each hop is a call of its own
    /// through the mesh.
    pub fn redirect(mut self, policy: redirect::Policy) -> Self {
        self.settings.redirect = policy;
        self.said("redirect")
    }

    /// Tells the target of a redirect the URL that led to it, in a `referer` header.
    ///
    /// Default: off, where reqwest has it on: a service need not learn what another was asked.
    pub fn referer(mut self, enable: bool) -> Self {
        self.settings.referer = enable;
        self
    }

    /// Refuses `http://` URLs, those of redirects too.
    ///
    /// Default: off. It is about the URL alone: what secures the connections of a name of the mesh
    /// is the setting of its cluster, whatever the scheme.
    pub fn https_only(mut self, enable: bool) -> Self {
        self.settings.https_only = enable;
        self
    }

    /// Keeps the cookies of the mesh's names in a jar of this client's own.
    ///
    /// Default: off. Names outside of the mesh use the store of the wrapped client.
    #[cfg(feature = "reqwest-013-cookies")]
    pub fn cookie_store(mut self, enable: bool) -> Self {
        self.settings.cookies = None;
        if enable {
            return self.cookie_provider(Arc::new(reqwest::cookie::Jar::default()));
        }
        self.said("cookie_store")
    }

    /// Keeps the cookies of the mesh's names in this store, which may be shared with a
    /// `reqwest::Client`.
    ///
    /// Default: none.
    #[cfg(feature = "reqwest-013-cookies")]
    pub fn cookie_provider<C>(mut self, store: Arc<C>) -> Self
    where
        C: reqwest::cookie::CookieStore + 'static,
    {
        self.settings.cookies = Some(store);
        self.said("cookie_store")
    }

    /// Asks the mesh's names for gzip and unpacks what comes packed so.
    ///
    /// Default: off, so that what an endpoint answers is what the caller gets. A request that has an
    /// `accept-encoding` of its own keeps it.
    #[cfg(feature = "reqwest-013-gzip")]
    pub fn gzip(self, enable: bool) -> Self {
        self.packing(Packing::Gzip, enable)
    }

    /// Declares that gzip is not asked for, though the wrapped client has it.
    ///
    /// Without this word, and without `gzip`, a client that unpacks gzip is refused by
    /// [`ClientBuilder::build`]: reqwest's feature gives it to every client that does not decline it.
    pub fn no_gzip(self) -> Self {
        self.packing(Packing::Gzip, false)
    }

    /// Asks the mesh's names for brotli and unpacks what comes packed so.
    ///
    /// Default: off, so that what an endpoint answers is what the caller gets. A request that has an
    /// `accept-encoding` of its own keeps it.
    #[cfg(feature = "reqwest-013-brotli")]
    pub fn brotli(self, enable: bool) -> Self {
        self.packing(Packing::Brotli, enable)
    }

    /// Declares that brotli is not asked for, though the wrapped client has it.
    ///
    /// Without this word, and without `brotli`, a client that unpacks brotli is refused by
    /// [`ClientBuilder::build`]: reqwest's feature gives it to every client that does not decline it.
    pub fn no_brotli(self) -> Self {
        self.packing(Packing::Brotli, false)
    }

    /// Asks the mesh's names for zstd and unpacks what comes packed so.
    ///
    /// Default: off, so that what an endpoint answers is what the caller gets. A request that has an
    /// `accept-encoding` of its own keeps it.
    #[cfg(feature = "reqwest-013-zstd")]
    pub fn zstd(self, enable: bool) -> Self {
        self.packing(Packing::Zstd, enable)
    }

    /// Declares that zstd is not asked for, though the wrapped client has it.
    ///
    /// Without this word, and without `zstd`, a client that unpacks zstd is refused by
    /// [`ClientBuilder::build`]: reqwest's feature gives it to every client that does not decline it.
    pub fn no_zstd(self) -> Self {
        self.packing(Packing::Zstd, false)
    }

    /// Asks the mesh's names for deflate and unpacks what comes packed so.
    ///
    /// Default: off, so that what an endpoint answers is what the caller gets. A request that has an
    /// `accept-encoding` of its own keeps it.
    #[cfg(feature = "reqwest-013-deflate")]
    pub fn deflate(self, enable: bool) -> Self {
        self.packing(Packing::Deflate, enable)
    }

    /// Declares that deflate is not asked for, though the wrapped client has it.
    ///
    /// Without this word, and without `deflate`, a client that unpacks deflate is refused by
    /// [`ClientBuilder::build`]: reqwest's feature gives it to every client that does not decline it.
    pub fn no_deflate(self) -> Self {
        self.packing(Packing::Deflate, false)
    }

    /// Declares that the names of the mesh are called without the proxies of the wrapped client.
    ///
    /// The mesh's endpoints are never called through a proxy. Without this word a client that has
    /// one, from its builder or from `HTTP_PROXY`, is refused by [`ClientBuilder::build`].
    pub fn no_proxy(self) -> Self {
        self.said("proxy")
    }

    /// Lets the wrapped client call these names, if the mesh does not have them.
    ///
    /// Default: none. A name that a source of the mesh defines, or tried to define, is never sent
    /// past the mesh, whatever is said here; nor is any before every source has spoken. With
    /// [`UnknownNames::Dns`](crate::UnknownNames), or a `Dns` without a name, every name is one of the mesh.
    ///
    /// The wrapped client must not follow redirects itself, or a server outside could lead it to a
    /// name of the mesh; the hops are followed here, by [`ClientBuilder::redirect`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mesh = tower_mesh::Mesh::builder().endpoints("users", ["10.0.0.1:80"
    /// #     .parse::<std::net::SocketAddr>()?]).build()?;
    /// let plain = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    /// let http = mesh
    ///     .reqwest(plain)
    ///     .outside(|url| url.scheme() == "https" && url.host_str() == Some("api.example.com"))
    /// #   .no_gzip()
    ///     .build()?;
    /// # drop(http);
    /// # Ok(())
    /// # }
    /// ```
    pub fn outside(mut self, allow: impl Fn(&Url) -> bool + Send + Sync + 'static) -> Self {
        self.settings.outside = Some(Outside::new(allow));
        self
    }

    /// Builds the client.
    ///
    /// # Errors
    ///
    /// When the wrapped client shows a setting that the calls of the mesh would silently lack, and
    /// that was not decided here: a cookie store, default headers, a redirect policy, a timeout, a
    /// proxy, unpacking. When [`ClientBuilder::outside`] is used with a client that follows
    /// redirects. When a value that was given is none: a user agent that is no header, a timeout of
    /// zero.
    pub fn build(self) -> Result<Client, Error> {
        let Self { mesh, plain, settings, said, refused } = self;
        if let Some(error) = refused {
            return Err(error);
        }
        for (name, timeout) in
            [("timeout", settings.timeout), ("read_timeout", settings.read_timeout)]
        {
            if timeout.is_some_and(|timeout| timeout.is_zero()) {
                return Err(invalid(&format!("{name} = 0ns: must be over 0")));
            }
        }
        let seen = Seen::of(&plain);
        let is_for_outside = settings.outside.is_some();
        if is_for_outside && !seen.follows_nothing() {
            return Err(invalid(
                "the wrapped client follows redirects by itself, and a server outside of the mesh \
                 could lead it to a name of the mesh",
            )
            .check("that it is built with `.redirect(reqwest::redirect::Policy::none())`"));
        }
        let unsaid = seen.settings().find(|setting| {
            // The policy that is asked for above says nothing of the mesh's names.
            let asked_for = setting.setter == "redirect" && is_for_outside;
            !asked_for && !said.contains(&setting.setter)
        });
        if let Some(setting) = unsaid {
            return Err(invalid(&format!(
                "the wrapped client has {}, which calls through the mesh would lack",
                setting.what
            ))
            .check(setting.check));
        }
        Ok(Client::new(mesh, plain, settings))
    }

    fn packing(mut self, packing: Packing, enable: bool) -> Self {
        self.settings.packings.retain(|asked| *asked != packing);
        if enable {
            self.settings.packings.push(packing);
        }
        self.said(packing.setter())
    }

    fn said(mut self, setting: &'static str) -> Self {
        self.said.push(setting);
        self
    }
}

/// A client that cannot be built.
fn invalid(detail: &str) -> Error {
    Error::new(ErrorKind::Config, Phase::Resolve).detail(format!("reqwest client: {detail}"))
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}
