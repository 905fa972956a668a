//! Certificates of the tests' own authorities.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// An authority that signs what a test asks for.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
}

/// A certificate with its key.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) chain_pem: String,
    pub(crate) key_pem: String,
}

impl Ca {
    /// An authority of this name.
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let (der, pem) = (certificate.der().clone(), certificate.pem());
        Self { issuer: Issuer::new(params, key), der, pem }
    }

    /// Its certificate.
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.der.clone()
    }

    /// Its certificate.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for these names: DNS names, addresses, or URIs.
    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        self.issue_between(names, 2020, 2100)
    }

    /// The same, valid from the one year to the other.
    pub(crate) fn issue_between(&self, names: &[&str], from: i32, until: i32) -> Issued {
        let (uris, plain): (Vec<&str>, Vec<&str>) =
            names.iter().partition(|name| name.contains("://"));
        let plain: Vec<String> = plain.into_iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(plain).unwrap();
        let uris = uris.into_iter().map(|uri| SanType::URI(uri.try_into().unwrap()));
        params.subject_alt_names.extend(uris);
        params.distinguished_name.push(DnType::CommonName, names[0]);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }
}

impl Issued {
    /// Writes `tls.crt` and `tls.key` into this folder, each by a rename.
    pub(crate) fn write(&self, folder: &Path) -> (PathBuf, PathBuf) {
        let (chain, key) = (folder.join("tls.crt"), folder.join("tls.key"));
        swap(&chain, &self.chain_pem);
        swap(&key, &self.key_pem);
        (chain, key)
    }
}

impl Clone for Issued {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
            chain_pem: self.chain_pem.clone(),
            key_pem: self.key_pem.clone(),
        }
    }
}

/// Writes a file by a rename, as a rotation does.
pub(crate) fn swap(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(&new, path).unwrap();
}
