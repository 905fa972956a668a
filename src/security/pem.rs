//! PEM, read by rustls's own reader.

use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer,
    pem::{Error, PemObject},
};

/// Every certificate, in order. Any bytes may be given.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => Err("no certificate in it".to_owned()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(broken(&error)),
    }
}

/// Every revocation list. Any bytes may be given.
pub(super) fn revocation_lists(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let read: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    match read {
        Ok(lists) if lists.is_empty() => Err("no revocation list in it".to_owned()),
        Ok(lists) => Ok(lists.iter().map(|list| list.to_vec()).collect()),
        Err(error) => Err(broken(&error)),
    }
}

/// Why no key could be read, of the file if it is one. Never says anything of the key's bytes.
pub(super) fn no_key(pem: &[u8], file: Option<&str>, error: &Error) -> String {
    let place = file.unwrap_or("the key's file");
    let has = |words: &[u8]| pem.windows(words.len()).any(|window| window == words);
    match error {
        _ if has(b"ENCRYPTED") => {
            let whose = file.map(|file| format!(" of {file}")).unwrap_or_default();
            format!("the key{whose} is encrypted: it must be given without a password")
        }
        Error::NoItemsFound if has(b"-----BEGIN CERTIFICATE") => {
            format!("no private key in {place}: it holds a certificate")
        }
        Error::NoItemsFound => format!("no private key in {place}"),
        error => format!("{}: {}", file.unwrap_or("the key"), broken(error)),
    }
}

/// What is wrong, without a word of the content.
fn broken(error: &Error) -> String {
    match error {
        Error::MissingSectionEnd { .. } => "it ends in the middle of a section".to_owned(),
        Error::IllegalSectionStart { .. } => "a section begins in a broken line".to_owned(),
        Error::Base64Decode(_) => "a section is not base64".to_owned(),
        Error::NoItemsFound => "there is no section in it".to_owned(),
        _ => "it is not PEM".to_owned(),
    }
}
