//! One control plane: where it is, how its stream is secured, and what it is known to do.

use std::{
    fmt,
    hash::{Hash, Hasher},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use http::{HeaderName, HeaderValue};

use super::{
    credentials::{CallCredentials, is_free},
    google::Google,
    target::Target,
};
use crate::config::ConfigError;

/// One control plane of a [`Bootstrap`](super::Bootstrap). Equal ones are the same, however their place is
/// spelled: all meshes of a process share one stream to it.
///
/// ```no_run
/// use tower_mesh::control::xds::{Bootstrap, Server, ServerTls};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = ServerTls::new().roots_file("/etc/xds/ca.pem");
/// let bootstrap = Bootstrap::builder()
///     .server(Server::tls("xds.example:443", tls).token_file("/run/token"))
///     .server(Server::insecure("unix:/run/xds-fallback.sock"))
///     .node_id("orders-1")
///     .build()?;
/// # drop(bootstrap);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Server {
    pub(crate) uri: Arc<str>,
    pub(crate) creds: Creds,
    pub(crate) call_creds: Vec<CallCreds>,
    /// Sent with each stream.
    pub(crate) headers: Vec<(Arc<str>, Arc<str>)>,
    pub(crate) features: Features,
}

/// How the connection is secured.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Creds {
    Insecure,
    Tls(ServerTls),
}

/// How the connection to a control plane is secured. Files are PEM, and read again when they change
/// (gRFC A65); what they hold is used by the next stream.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
#[must_use]
pub struct ServerTls {
    pub(crate) roots: Option<PathBuf>,
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
    pub(crate) refresh: Option<Duration>,
    pub(crate) server_name: Option<Arc<str>>,
}

/// Who the caller is, told with each stream.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum CallCreds {
    /// A JSON Web Token in a file, read for each stream (gRFC A97).
    TokenFile(PathBuf),
    /// What the application gives for each stream.
    Given(CallCredentials),
    /// An access token of Google's.
    Google(Google),
}

/// What a server is known to do.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent words of the bootstrap")]
pub(crate) struct Features {
    /// What it leaves out is not deleted (gRFC A53).
    pub(crate) ignore_resource_deletion: bool,
    /// Data errors end what was good (gRFC A88).
    pub(crate) fail_on_data_errors: bool,
    /// Its silence means that it cannot say, not that there is nothing (gRFC A88).
    pub(crate) resource_timer_is_transient_error: bool,
    /// It may rewrite authorities (gRFC A81).
    pub(crate) trusted: bool,
    /// It is asked for changes (delta) instead of the state of the world.
    pub(crate) delta: bool,
}

// === impl Server ===

impl Server {
    /// One that is reached in plaintext. For a Unix socket, and for networks that are secured
    /// otherwise: whoever stands between can change where every call goes.
    ///
    /// The forms of `uri` are gRPC's: `host:port`, `dns:///host:port`, `ipv4:10.0.0.1:80`,
    /// `ipv6:[::1]:80`, `unix:/path`. Without a port it is 443.
    pub fn insecure(uri: impl Into<Arc<str>>) -> Self {
        Self::new(uri.into(), Creds::Insecure)
    }

    /// One that is reached by TLS. Its certificate must have the host of the `uri`.
    ///
    /// `build` refuses it without a TLS feature.
    pub fn tls(uri: impl Into<Arc<str>>, tls: ServerTls) -> Self {
        Self::new(uri.into(), Creds::Tls(tls))
    }

    /// One that is reached as gRPC's `google_default` does: by TLS with the system's roots, and with an access
    /// token of the metadata server (of Compute Engine, GKE and Cloud Run), which is kept until it expires. The
    /// variable `GCE_METADATA_HOST` says another host of it.
    ///
    /// `build` refuses it without a TLS feature.
    pub fn google_default(uri: impl Into<Arc<str>>) -> Self {
        let mut server = Self::tls(uri, ServerTls::new());
        server.call_creds.push(CallCreds::Google(Google::of_env()));
        server
    }

    pub(crate) fn new(uri: Arc<str>, creds: Creds) -> Self {
        Self {
            uri,
            creds,
            call_creds: Vec::new(),
            headers: Vec::new(),
            features: Features::default(),
        }
    }

    /// Shows the JSON Web Token in this file, which is read for each stream (gRFC A97,
    /// `jwt_token_file`). Refused with a plaintext connection that leaves the machine.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.call_creds.push(CallCreds::TokenFile(path.into()));
        self
    }

    /// Shows what these credentials say, which are asked for each stream. Refused as
    /// [`token_file`](Self::token_file) is.
    pub fn call_credentials(mut self, credentials: CallCredentials) -> Self {
        self.call_creds.push(CallCreds::Given(credentials));
        self
    }

    /// Sends this header with each stream. Refused as [`token_file`](Self::token_file) is if its name
    /// is `authorization` or ends with `-token`.
    pub fn header(mut self, name: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Asks it for changes (delta) instead of the state of the world. Default: false. Trade-off: less
    /// is sent, and servers that do not know it refuse the stream. In a bootstrap file it is the
    /// server feature `delta`, which is our own.
    pub fn delta(mut self, delta: bool) -> Self {
        self.features.delta = delta;
        self
    }

    /// Whether what it leaves out stays as it was. Default: false. Source: gRFC A53.
    pub fn ignore_resource_deletion(mut self, ignore: bool) -> Self {
        self.features.ignore_resource_deletion = ignore;
        self
    }

    /// Whether what was good ends when the server says that it is gone, or says something that cannot
    /// be used. Default: false. Source: gRFC A88.
    pub fn fail_on_data_errors(mut self, fail: bool) -> Self {
        self.features.fail_on_data_errors = fail;
        self
    }

    /// Whether its silence means that it cannot say, and not that there is nothing. Default: false.
    /// Source: gRFC A88.
    pub fn resource_timer_is_transient_error(mut self, transient: bool) -> Self {
        self.features.resource_timer_is_transient_error = transient;
        self
    }

    /// Whether it may have authorities rewritten. Default: false. Source: gRFC A81.
    pub fn trusted(mut self, trusted: bool) -> Self {
        self.features.trusted = trusted;
        self
    }

    /// Where it is, for all spellings of its place; by its text where that is none.
    pub(crate) fn place(&self) -> Result<Target, Arc<str>> {
        self.target().map(Target::place).map_err(|_| Arc::clone(&self.uri))
    }

    /// Where it listens.
    pub(crate) fn target(&self) -> Result<Target, String> {
        Target::parse(&self.uri)
    }

    /// Checks every field; the paths are those of a bootstrap file.
    pub(crate) fn check(&self, path: &str, errors: &mut Vec<ConfigError>) {
        let mut refuse = |field: &str, value: &str, why: &str| {
            errors.push(ConfigError::new(format!("{path}.{field}"), value, why));
        };
        let target = self.target();
        if let Err(why) = &target {
            refuse("server_uri", &self.uri, why);
        }
        if let Creds::Tls(tls) = &self.creds {
            let field = "channel_creds";
            if cfg!(not(feature = "_tls")) {
                refuse(field, "tls", "needs the feature `tls` of this crate");
            }
            if tls.refresh.is_some_and(|refresh| refresh.is_zero()) {
                refuse(&format!("{field}.config.refresh_interval"), "0s", "must be above 0");
            }
            let empty = |path: &PathBuf| path.as_os_str().is_empty();
            if tls.roots.as_ref().is_some_and(empty) {
                refuse(&format!("{field}.config.ca_certificate_file"), "", "must not be empty");
            }
            if tls.certificate.as_ref().is_some_and(|(chain, key)| empty(chain) || empty(key)) {
                refuse(&format!("{field}.config.certificate_file"), "", "must not be empty");
            }
        }
        let in_the_clear =
            self.creds == Creds::Insecure && target.as_ref().is_ok_and(Target::is_remote);
        let why = "would be sent in plaintext: use `tls`, or a Unix socket";
        for creds in &self.call_creds {
            let (shown, what) = match creds {
                CallCreds::TokenFile(file) => {
                    let file = file.display().to_string();
                    if file.is_empty() {
                        refuse("call_creds", "", "the path of the token must not be empty");
                    }
                    (file, "the token")
                }
                CallCreds::Given(_) => ("given by the code".to_owned(), "what they show"),
                CallCreds::Google(_) => ("google_default".to_owned(), "the access token"),
            };
            if in_the_clear {
                //= gRFC A97: call credentials need a secure channel
                refuse("call_creds", &shown, &format!("{what} {why}"));
            }
        }
        for (name, value) in &self.headers {
            let parsed = HeaderName::try_from(name.as_bytes());
            if parsed.is_err() || !is_free(name) {
                refuse("headers", name, "cannot be sent with a stream");
            } else if HeaderValue::from_str(value).is_err() {
                refuse("headers", name, "its value cannot be sent in a header");
            }
            let name = name.to_ascii_lowercase();
            if in_the_clear && (name == "authorization" || name.ends_with("-token")) {
                refuse("headers", &name, why);
            }
        }
    }
}

impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        let Self { uri, creds, call_creds, headers, features } = self;
        *creds == other.creds
            && *call_creds == other.call_creds
            && *headers == other.headers
            && *features == other.features
            && (*uri == other.uri || self.place() == other.place())
    }
}

impl Eq for Server {}

impl Hash for Server {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { uri: _, creds, call_creds, headers, features } = self;
        self.place().hash(state);
        (creds, call_creds, headers, features).hash(state);
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Server")
            .field("uri", &self.uri)
            .field("creds", &self.creds)
            .field("call_creds", &self.call_creds)
            .field("headers", &headers)
            .field("features", &self.features)
            .finish()
    }
}

impl ServerTls {
    /// The system's roots, and no certificate of our own.
    pub fn new() -> Self {
        Self::default()
    }

    /// The roots of this file vouch for the server. Default: the system's.
    pub fn roots_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.roots = Some(path.into());
        self
    }

    /// Shows this certificate: its chain, and its private key.
    pub fn certificate_files(mut self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.certificate = Some((chain.into(), key.into()));
        self
    }

    /// How often the files are read. Default: 600 s, as gRPC's. Range: at least 100 ms; less counts as
    /// that.
    pub fn refresh_interval(mut self, interval: Duration) -> Self {
        self.refresh = Some(interval);
        self
    }

    /// The name that its certificate must have. Default: the host of the `uri`.
    pub fn server_name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.server_name = Some(name.into());
        self
    }
}
