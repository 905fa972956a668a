//! Keys and roots of the connection to a control plane: files that are followed.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::runtime::Handle;

use super::dial::{Aborted, Bytes};
use crate::{
    config::{IdentityMatch, Protocol},
    control::xds::bootstrap::{ServerTls, Target},
    security::{
        ClientTls, Identity, IdentityHandle, KeyPair, Policy, Report, Reports, Secured, Trust,
        TrustHandle, Verify, provider,
    },
    transport::Io,
};

/// What secures the connections to one control plane.
pub(super) struct Secrets {
    tls: ClientTls,
    heard: Arc<Heard>,
    /// They follow the files.
    _tasks: Vec<Aborted>,
}

/// What is wrong with the files now.
#[derive(Default)]
struct Heard(Mutex<Vec<(Arc<str>, Arc<str>)>>);

impl Secrets {
    /// Begins to follow the files.
    pub(super) fn new(tls: &ServerTls, target: &Target, runtime: &Handle) -> Result<Self, String> {
        let heard = Arc::new(Heard::default());
        let reports: Arc<dyn Reports> = Arc::<Heard>::clone(&heard);
        let reports = Arc::downgrade(&reports);
        let provider = provider(None).map_err(|error| error.to_string())?;
        let refresh = tls.refresh.unwrap_or(REFRESH);
        let mut tasks = Vec::new();
        let trust = match &tls.roots {
            Some(roots) => Trust::pem_file(absolute(roots)).poll_interval(refresh),
            None => Trust::system(),
        };
        let (publish, trust_handle) = TrustHandle::trust(&trust.name(), reports.clone());
        tasks.push(Aborted::new(runtime.spawn(Box::new(trust).run(publish)).abort_handle()));
        let name = tls.server_name.as_deref().map_or_else(|| target.name(), str::to_owned);
        let mut policy =
            Policy::new(Arc::clone(&provider), trust_handle, vec![IdentityMatch::Exact(name)]);
        policy.alpn = vec!["h2".to_owned()];
        if let Some((chain, key)) = &tls.certificate {
            let pair = KeyPair::pem_files(absolute(chain), absolute(key)).poll_interval(refresh);
            let (publish, handle) = IdentityHandle::identity(&pair.name(), &provider, reports);
            tasks.push(Aborted::new(runtime.spawn(Box::new(pair).run(publish)).abort_handle()));
            policy.identity = Some(handle);
        }
        let tls = ClientTls::new(policy).map_err(|errors| errors.to_string())?;
        Ok(Self { tls, heard, _tasks: tasks })
    }

    /// Secures a byte stream; the server is verified before it returns.
    pub(super) async fn handshake(&self, io: Box<dyn Io>) -> Result<Bytes, String> {
        let made = self.tls.handshake(io).await;
        let Secured { io, protocol, vouched, .. } = made.map_err(|error| {
            let wrong = self.heard.all();
            if wrong.is_empty() { error.to_string() } else { format!("{error} ({wrong})") }
        })?;
        if protocol != Some(Protocol::Http2) {
            return Err("the server chose no HTTP/2 (ALPN): is it a gRPC server?".to_owned());
        }
        let distrusted = async move { format!("{:?}", vouched.withdrawn().await) };
        Ok(Bytes { io: Box::new(io), distrusted: Some(Box::pin(distrusted)) })
    }
}

/// A path that a change of the working directory does not change.
fn absolute(path: &Path) -> std::path::PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

impl Heard {
    fn all(&self) -> String {
        let wrong = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wrong = wrong.iter().map(|(part, why)| format!("{part}: {why}"));
        wrong.collect::<Vec<_>>().join("; ")
    }
}

impl Reports for Heard {
    fn report(&self, part: &Arc<str>, report: Report) {
        let mut wrong = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.retain(|(known, _)| known != part);
        if let Report::Refused(why) = report {
            wrong.push((Arc::clone(part), why));
        }
    }

    fn is_closed(&self) -> bool {
        false
    }
}

/// Between two readings of the files, where the bootstrap says nothing.
//= gRFC A65: the default of `refresh_interval` is that of `file_watcher`
const REFRESH: std::time::Duration = std::time::Duration::from_secs(600);
