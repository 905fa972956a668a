//! What narrows who is accepted and cannot be enforced refuses the cluster.

use envoy_types::pb::{
    envoy::{
        config::core::v3::{DataSource, TypedExtensionConfig, data_source::Specifier},
        extensions::transport_sockets::tls::v3::TlsParameters,
    },
    google::protobuf::BoolValue,
};

use super::*;

#[test]
fn what_narrows_who_is_accepted_is_never_skipped() {
    let refused = |change: &dyn Fn(&mut CertificateValidationContext), text: &str| {
        let mut validation = trusting();
        change(&mut validation);
        refuses(read(tls(validation)), text);
    };
    let inline = || DataSource {
        specifier: Some(Specifier::InlineString("pem".into())),
        ..Default::default()
    };
    refused(&|it| it.crl = Some(inline()), "validation_context.crl = given");
    refused(&|it| it.verify_certificate_hash = vec!["a".into()], "verify_certificate_hash");
    refused(&|it| it.verify_certificate_spki = vec!["a".into()], "verify_certificate_spki");
    refused(
        &|it| it.custom_validator_config = Some(TypedExtensionConfig::default()),
        "custom_validator",
    );
    refused(
        &|it| it.trust_chain_verification = 1,
        "trust_chain_verification = 1: not supported yet, nor ever",
    );
    refused(
        &|it| it.require_signed_certificate_timestamp = Some(BoolValue { value: true }),
        "require_signed_certificate_timestamp",
    );
    for (pattern, text) in [
        (".*", "identities[1].san.matcher.regex = .*: not supported yet, nor ever"),
        ("", "match_subject_alt_names[0].safe_regex.regex = \"\": must not be empty"),
        ("(", "match_subject_alt_names[0].safe_regex.regex = (: is not a regular expression"),
        ("((a{100}){100}){100}", "is too large"),
    ] {
        refused(&|it| it.match_subject_alt_names = vec![regex(pattern)], text);
        let typed = SubjectAltNameMatcher { matcher: Some(regex(pattern)), ..uri("") };
        let text = text.replace("match_subject_alt_names[0]", "alt_names[0].matcher");
        let text = text.replace("identities[1]", "identities[0]");
        refused(&|it| it.match_typed_subject_alt_names = vec![typed.clone()], &text);
    }
    refused(&|it| it.match_typed_subject_alt_names[0].san_type = 0, "san_type = 0");
    refused(&|it| it.match_typed_subject_alt_names[0].san_type = 5, "san_type = OTHER_NAME");
    refused(&|it| it.match_typed_subject_alt_names[0].matcher = None, "matcher = none");
    refused(
        &|it| it.match_subject_alt_names = vec![StringMatcher::default()],
        "match_pattern = none",
    );
    let empty = |pattern: MatchPattern| StringMatcher {
        match_pattern: Some(pattern),
        ..Default::default()
    };
    for pattern in [
        MatchPattern::Prefix(String::new()),
        MatchPattern::Suffix(String::new()),
        MatchPattern::Contains(String::new()),
    ] {
        let matcher = empty(pattern);
        refused(&|it| it.match_subject_alt_names = vec![matcher.clone()], "must not be empty");
    }
    refused(&|it| it.ca_certificate_provider_instance = None, "must say whom to trust");
    refused(&|it| it.match_typed_subject_alt_names.clear(), "says nobody whom to expect");
    refused(
        &|it| it.ca_certificate_provider_instance.as_mut().unwrap().instance_name = "x".into(),
        "instance_name = x: is no certificate provider of the bootstrap",
    );
    refused(
        &|it| {
            it.ca_certificate_provider_instance = None;
            it.trusted_ca = Some(inline());
        },
        "trusted_ca = inline: is not PEM",
    );
}

#[test]
fn what_of_a_context_is_not_known_refuses() {
    let refused = |change: &dyn Fn(&mut CommonTlsContext), text: &str| {
        let mut context = mutual();
        change(common(&mut context));
        refuses(read(context), text);
    };
    let extension = || Some(TypedExtensionConfig::default());
    refused(&|it| it.custom_handshaker = extension(), "custom_handshaker = given");
    refused(&|it| it.custom_tls_certificate_selector = extension(), "selector = given");
    refused(&|it| it.validation_context_type = None, "must say whom to trust");
    let signatures =
        || TlsParameters { signature_algorithms: vec!["x".into()], ..Default::default() };
    refused(&|it| it.tls_params = Some(signatures()), "signature_algorithms = x");
    let compliant = || TlsParameters { compliance_policies: vec![0], ..Default::default() };
    refused(&|it| it.tls_params = Some(compliant()), "compliance_policies");
    refuses(read(UpstreamTlsContext::default()), "common_tls_context = none");
}

/// What only the library could judge is judged where it is answered.
#[cfg(feature = "_tls")]
#[test]
fn what_no_library_could_do_is_refused_with_the_resource() {
    let mut validation = trusting();
    validation.match_typed_subject_alt_names.clear();
    let mut context = tls(validation);
    context.sni = "a b".into();
    refuses(read(context), "must be a DNS name");
    let mut context = tls(trusting());
    let ciphers = TlsParameters { cipher_suites: vec!["FOO".into()], ..Default::default() };
    context.common_tls_context.as_mut().unwrap().tls_params = Some(ciphers);
    refuses(read(context), "FOO");
}
