//! Revocation lists and dates of roots, over real connections.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{future::Future, pin::Pin};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::PrivateKeyDer;
use tokio::sync::oneshot;
use tower_mesh::{
    DisconnectReason, Event, Mesh,
    config::{ClusterSecurity, IdentityMatch, SanKind, SanMatch, StringMatch},
    security::{Roots, TrustPublisher, Verify},
};

use crate::support::{Issued, Recorder, Tls, TlsServer, fetch, get, patience};

/// An authority whose certificates have the numbers that the test gives.
struct Ca(CertifiedIssuer<'static, KeyPair>);

/// Roots that the test publishes.
struct Held(oneshot::Sender<TrustPublisher>);

impl Verify for Held {
    fn name(&self) -> String {
        "held by the test".into()
    }

    fn run(self: Box<Self>, publish: TrustPublisher) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        drop(self.0.send(publish));
        Box::pin(std::future::pending())
    }
}

impl Ca {
    fn new(name: &str, from: i32) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(2200, 1, 1);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, name: SanType, serial: u64) -> Issued {
        let mut params = CertificateParams::default();
        params.subject_alt_names.push(name);
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Issued {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }

    /// A server that shows a certificate of this number.
    async fn server(&self, serial: u64) -> TlsServer {
        let name = SanType::DnsName("users".try_into().unwrap());
        Tls::new(self.issue(name, serial)).start().await
    }

    /// A list that revokes this number.
    fn revoke(&self, serial: u64) -> String {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: rcgen::date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

/// What these authorities vouch for, less what the lists revoke.
fn roots(all: &[&Ca], lists: &[&str]) -> Roots {
    let pem: String = all.iter().map(|ca| ca.0.pem()).collect();
    let roots = Roots::new().pem(pem.as_bytes()).unwrap();
    if lists.is_empty() { roots } else { roots.crl_pem(lists.concat().as_bytes()).unwrap() }
}

/// A mesh of these servers, each a cluster by its place in the list.
async fn mesh(servers: &[&TlsServer], security: &ClusterSecurity) -> (Mesh, TrustPublisher) {
    let (give, take) = oneshot::channel();
    let mut builder = Mesh::builder().trust(Held(give));
    for (place, server) in servers.iter().enumerate() {
        let (name, security) = (format!("users-{place}"), security.clone());
        builder =
            builder.endpoints(&name, [server.address()]).service(&name, |s| s.security(security));
    }
    (builder.build().unwrap(), take.await.unwrap())
}

fn of_users() -> ClusterSecurity {
    ClusterSecurity::tls().identity(IdentityMatch::Exact("users".into()))
}

/// What a call comes to: nothing, or the errors in a row.
async fn call(mesh: &Mesh, place: usize) -> Option<String> {
    let client = mesh.client(&format!("users-{place}")).unwrap();
    let error = patience(fetch(&client, get("/"))).await.err()?;
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        text.push_str(&format!(": {inner}"));
        source = inner.source();
    }
    Some(text)
}

#[tokio::test]
async fn a_ca_with_a_new_key_under_its_old_name_has_its_own_revocation_list() {
    let (old, new) = (Ca::new("root", 2020), Ca::new("root", 2020));
    let (of_old, of_new) = (old.revoke(7), new.revoke(9));
    for lists in [[&*of_old, &*of_new], [&*of_new, &*of_old]] {
        let servers = [
            (&old.server(7).await, true),
            (&old.server(9).await, false),
            (&new.server(7).await, false),
            (&new.server(9).await, true),
        ];
        let all = servers.map(|(server, _)| server);
        let (mesh, publish) = mesh(&all, &of_users()).await;
        publish.roots(roots(&[&old, &new], &[])).unwrap();
        for place in 0..4 {
            assert_eq!(call(&mesh, place).await, None);
        }
        let mut events = Recorder::of(&mesh);
        publish.roots(roots(&[&old, &new], &lists)).unwrap();
        let is_end = |event: &Event| {
            matches!(event, Event::Disconnected { reason: DisconnectReason::Revoked, .. })
        };
        patience(async {
            while events.count(is_end) < 2 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        for (place, (server, is_revoked)) in servers.iter().enumerate() {
            let told = call(&mesh, place).await;
            assert_eq!(told.is_some(), *is_revoked, "{place}: {told:?}");
            match told {
                Some(told) => assert!(told.contains("has been revoked"), "{place}: {told}"),
                None => assert_eq!(server.connections(), 1, "{place}"),
            }
        }
    }
}

#[tokio::test]
async fn of_two_revocation_lists_of_one_ca_both_count() {
    let ca = Ca::new("root", 2020);
    let servers = [&ca.server(7).await, &ca.server(8).await, &ca.server(9).await];
    let (one, two) = (ca.revoke(7), ca.revoke(9));
    for lists in [[&*one, &*two], [&*two, &*one]] {
        let (mesh, publish) = mesh(&servers, &of_users()).await;
        publish.roots(roots(&[&ca], &lists)).unwrap();
        for (place, is_revoked) in [true, false, true].into_iter().enumerate() {
            let told = call(&mesh, place).await;
            assert_eq!(told.is_some(), is_revoked, "{place}: {told:?}");
        }
    }
}

#[tokio::test]
async fn a_name_that_a_stranger_has_written_is_told_on_one_line() {
    let ca = Ca::new("root", 2020);
    let name = SanType::URI("https://a/\r\nall is well\u{1b}[2J".try_into().unwrap());
    let server = Tls::new(ca.issue(name, 1)).start().await;
    let mut san = SanMatch::new(StringMatch::Prefix("https://a/".into()));
    san.kind = Some(SanKind::Uri);
    let security = ClusterSecurity::tls().identity(IdentityMatch::San(san));
    let (mesh, publish) = mesh(&[&server], &security).await;
    let mut events = Recorder::of(&mesh);
    publish.roots(roots(&[&ca], &[])).unwrap();
    assert_eq!(call(&mesh, 0).await, None);
    events.until(|event| matches!(event, Event::Connected { .. })).await;
    let told: String = events.events().iter().map(Event::to_string).collect();
    assert!(told.contains("https://a/"), "{told:?}");
    assert!(!told.chars().any(char::is_control), "{told:?}");
}

#[tokio::test]
async fn a_root_that_is_not_valid_yet_vouches_for_nobody() {
    let ca = Ca::new("root", 2100);
    let server = ca.server(1).await;
    let (mesh, publish) = mesh(&[&server], &of_users()).await;
    publish.roots(roots(&[&ca], &[])).unwrap();
    let told = call(&mesh, 0).await.unwrap();
    assert!(told.contains("not valid yet"), "{told}");
    assert_eq!(server.requests(), 0);
}
