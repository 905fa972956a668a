//! Keys and roots: when they end, and how often their files are read.

use std::{collections::BTreeMap, path::Path, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair as Key};

use super::super::{Mesh, tests::mesh};
use crate::{
    config::{Address, ClusterSecurity, IdentityFiles},
    core::Event,
    security::{IdentityHandle, KeyPair, Trust, TrustHandle},
};

/// The first of January of these years, as seconds since 1970.
const JANUARY_2050: f64 = 2_524_608_000.0;
const JANUARY_2060: f64 = 2_840_140_800.0;
const JANUARY_2070: f64 = 3_155_760_000.0;

/// A root of this name, PEM, that ends with the year before this one; and who signs by it.
fn root(name: &str, until: i32) -> (String, Issuer<'static, Key>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let key = Key::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

/// A certificate of this name and its key, PEM.
fn issue(issuer: &Issuer<'_, Key>, name: &str, until: i32) -> (String, String) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let key = Key::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

/// What is told of ends: by label and its value.
fn ends(mesh: &Mesh) -> BTreeMap<(String, String), f64> {
    let metrics = mesh.metrics();
    let family = metrics.family("mesh.client.certificate.not_after").unwrap();
    let samples = family.samples.iter().map(|sample| {
        let mut attributes = sample.attributes();
        let (name, value) = attributes.next().unwrap();
        assert!(attributes.next().is_none());
        ((name.to_owned(), value), sample.value().as_f64())
    });
    samples.collect()
}

#[tokio::test]
async fn metrics_tell_when_the_first_of_the_roots_expires() {
    let ((soon, issuer), (late, _)) = (root("soon", 2060), root("late", 2070));
    let (chain, key) = issue(&issuer, "caller", 2050);
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("late.crt");
    std::fs::write(&bundle, &late).unwrap();
    let domain = [("prod.example", &bundle)];
    let mesh = Mesh::builder()
        .endpoints("users", ["127.0.0.1:1".parse::<Address>().unwrap()])
        .identity(KeyPair::pem(chain, key))
        .trust(Trust::pem(format!("{late}{soon}")))
        .named_trust("domains", Trust::bundles(domain).unwrap().and_system())
        .build()
        .unwrap();
    // Ready only when the system has roots.
    drop(mesh.ready().await);
    let told = ends(&mesh);
    assert_eq!(told[&("mesh.identity".into(), "key pair in memory".into())], JANUARY_2050);
    assert_eq!(told[&("mesh.trust".into(), "in memory".into())], JANUARY_2060);
    let domains = format!("prod.example: {}, of the system", bundle.display());
    // Those of the system are nobody's here to renew.
    if let Some(end) = told.get(&("mesh.trust".into(), domains)) {
        assert_eq!(*end, JANUARY_2070);
    }
    let text = mesh.prometheus();
    let line = "mesh_client_certificate_not_after_seconds{mesh_trust=\"in memory\"} 2840140800";
    assert!(text.contains(line), "{text}");
    #[cfg(feature = "otel-033")]
    {
        let metric = crate::observe::Metric::CertificateExpiry;
        let samples = super::super::metrics::samples(&mesh.inner, metric);
        assert_eq!(samples.len(), told.len(), "of both, to who asks for one metric");
    }
}

/// The keys that a cluster is secured with, by number.
fn in_force(mesh: &Mesh) -> (u64, Vec<u64>) {
    let resolved = mesh.inner.state().keys.resolve(&ClusterSecurity::mutual(), None);
    let trust = resolved.trust.unwrap();
    (resolved.identity.unwrap().id(), trust.iter().map(TrustHandle::id).collect())
}

fn files(folder: &Path, poll: Duration) -> IdentityFiles {
    let at = |name: &str| Some(folder.join(name).display().to_string());
    IdentityFiles {
        certificate: at("tls.crt"),
        key: at("tls.key"),
        roots: at("ca.crt"),
        poll_interval: Some(poll),
        ..IdentityFiles::default()
    }
}

#[tokio::test]
async fn how_often_files_are_read_may_change_and_the_keys_in_force_stay() {
    let (roots, issuer) = root("ca", 2060);
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let (chain, key) = issue(&issuer, name, 2050);
        for (file, content) in [("tls.crt", &chain), ("tls.key", &key), ("ca.crt", &roots)] {
            std::fs::write(folder.path().join(file), content).unwrap();
        }
    };
    write("first");
    let (mesh, publish) = mesh().await;
    let hour = files(folder.path(), Duration::from_secs(3600));
    publish.identity("default", hour.clone()).unwrap();
    publish.synced();
    mesh.ready().await.unwrap();
    let before = in_force(&mesh);
    let mut events = mesh.events();
    publish.identity("default", files(folder.path(), Duration::from_millis(100))).unwrap();
    // What was begun because of it is over.
    let awaited = mesh.inner.state().keys.awaited();
    awaited.await;
    while mesh.inner.state().keys.is_changing("default") {
        tokio::task::yield_now().await;
    }
    assert_eq!(in_force(&mesh), before);
    // An hour is not waited for.
    write("second");
    let names = |handle: &IdentityHandle| handle.state().good.unwrap().names();
    let own = mesh.inner.state().keys.resolve(&ClusterSecurity::mutual(), None).identity.unwrap();
    let rotated = async {
        while names(&own) != ["second"] {
            if let Some(Event::ConfigRefused { part, reason }) = events.recv().await {
                panic!("{part}: {reason}");
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), rotated).await.unwrap();
    assert_eq!(in_force(&mesh), before);
    // And back, with other files beside: those are other keys.
    let mut other = hour;
    other.crl = None;
    other.bundles.insert("prod.example".into(), other.roots.clone().unwrap());
    publish.identity("default", other).unwrap();
    let changed = async {
        while in_force(&mesh) == before {
            drop(events.recv().await);
        }
    };
    tokio::time::timeout(Duration::from_secs(30), changed).await.unwrap();
}
