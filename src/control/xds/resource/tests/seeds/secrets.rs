//! Secrets: each kind, and each place where a key or roots may stand.

use envoy_types::pb::envoy::{
    config::core::v3::{DataSource, data_source::Specifier},
    extensions::transport_sockets::tls::v3::{
        CertificateValidationContext, GenericSecret, TlsCertificate, TlsSessionTicketKeys,
        certificate_validation_context::SystemRootCerts, secret::Type,
    },
};

use super::{super::tls, *};

pub(super) fn all() -> Vec<(&'static str, PbSecret)> {
    let trusting = |trusted_ca: Option<DataSource>| CertificateValidationContext {
        trusted_ca,
        ..CertificateValidationContext::default()
    };
    let mut named = trusting(text("CERTIFICATE"));
    named.match_typed_subject_alt_names = vec![tls::uri("spiffe://prod.example/ns/shop/sa/cart")];
    named.match_subject_alt_names = vec![tls::exact("old.example")];
    let mut system = trusting(None);
    system.system_root_certs = Some(SystemRootCerts {});
    vec![
        ("key", own(text("CERTIFICATE"), text("PRIVATE KEY"))),
        ("key-bytes", own(bytes("CERTIFICATE"), bytes("PRIVATE KEY"))),
        ("key-files", own(file("/etc/a.pem"), file("/etc/k.pem"))),
        ("roots", trust(trusting(text("CERTIFICATE")))),
        ("roots-bytes", trust(trusting(bytes("CERTIFICATE")))),
        ("roots-file", trust(trusting(file("/etc/ca.pem")))),
        ("roots-and-names", trust(named)),
        ("roots-of-the-system", trust(system)),
    ]
}

/// Those that no cluster can use.
pub(super) fn refused() -> Vec<(&'static str, PbSecret)> {
    let locked = TlsCertificate {
        certificate_chain: text("CERTIFICATE"),
        private_key: text("ENCRYPTED PRIVATE KEY"),
        password: text("PASSWORD"),
        ..TlsCertificate::default()
    };
    let packed = TlsCertificate { pkcs12: bytes("PKCS12"), ..TlsCertificate::default() };
    let tickets = TlsSessionTicketKeys { keys: text("TICKET").into_iter().collect() };
    let generic = GenericSecret { secret: text("TOKEN"), ..GenericSecret::default() };
    vec![
        ("key-without-a-certificate", own(None, text("PRIVATE KEY"))),
        ("key-with-a-password", of(Type::TlsCertificate(locked))),
        ("key-in-a-pkcs12", of(Type::TlsCertificate(packed))),
        ("tickets", of(Type::SessionTicketKeys(tickets))),
        ("generic", of(Type::GenericSecret(generic))),
        ("nothing", PbSecret { name: "s".into(), r#type: None }),
    ]
}

fn of(kind: Type) -> PbSecret {
    PbSecret { name: "s".into(), r#type: Some(kind) }
}

fn own(certificate_chain: Option<DataSource>, private_key: Option<DataSource>) -> PbSecret {
    let certificate =
        TlsCertificate { certificate_chain, private_key, ..TlsCertificate::default() };
    of(Type::TlsCertificate(certificate))
}

fn trust(context: CertificateValidationContext) -> PbSecret {
    of(Type::ValidationContext(context))
}

fn pem(of: &str) -> String {
    format!("-----BEGIN {of}-----\nAA==\n-----END {of}-----\n")
}

fn source(specifier: Specifier) -> Option<DataSource> {
    Some(DataSource { specifier: Some(specifier), ..DataSource::default() })
}

fn text(of: &str) -> Option<DataSource> {
    source(Specifier::InlineString(pem(of)))
}

fn bytes(of: &str) -> Option<DataSource> {
    source(Specifier::InlineBytes(pem(of).into_bytes()))
}

fn file(path: &str) -> Option<DataSource> {
    source(Specifier::Filename(path.to_owned()))
}
