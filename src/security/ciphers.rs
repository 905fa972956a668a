//! Cipher suites and groups by their names: those of rustls, and those that others have and it has not.

use rustls::{CipherSuite, NamedGroup};

#[cfg(feature = "xds")]
use crate::config::ClusterSecurity;

/// The suite of TLS 1.2 of this name.
pub(super) fn suite(name: &str) -> Option<CipherSuite> {
    let found = SUITES.iter().find(|(_, iana, openssl)| name == *iana || name == *openssl);
    found.map(|(suite, ..)| *suite)
}

/// The group of this name.
pub(super) fn group(name: &str) -> Option<NamedGroup> {
    let found = GROUPS.iter().find(|(_, names)| names.contains(&name));
    found.map(|(group, _)| *group)
}

/// Whether it is a suite that is well known, and that rustls never offers: a server can never choose it.
pub(super) fn is_foreign_suite(name: &str) -> bool {
    FOREIGN_SUITES.contains(&name)
}

/// The same of groups.
pub(super) fn is_foreign_group(name: &str) -> bool {
    FOREIGN_GROUPS.contains(&name)
}

/// These without the foreign ones, which is the stricter reading; all of them where nothing would be left,
/// for then nothing of them can be done.
pub(super) fn without_foreign(names: &[String], is_foreign: fn(&str) -> bool) -> Vec<&String> {
    let kept: Vec<&String> = names.iter().filter(|name| !is_foreign(name)).collect();
    if kept.is_empty() { names.iter().collect() } else { kept }
}

/// Makes what xDS says to one list of names each, without those that are foreign, and tells these, by the
/// field of `TlsParameters`. Suites of equal rank (`[A|B]`) stand one after the other.
#[cfg(feature = "xds")]
pub(crate) fn leave_out(security: &mut ClusterSecurity) -> Vec<(&'static str, String)> {
    let mut left_out = Vec::new();
    let ClusterSecurity { ciphers, groups, .. } = security;
    let (suite, group): (fn(&str) -> bool, fn(&str) -> bool) = (is_foreign_suite, is_foreign_group);
    for (field, names, is_foreign) in
        [("cipher_suites", ciphers, suite), ("ecdh_curves", groups, group)]
    {
        let all: Vec<String> = names.iter().flat_map(|name| of_rank(name)).collect();
        let kept: Vec<String> = without_foreign(&all, is_foreign).into_iter().cloned().collect();
        if kept.len() < all.len() {
            let foreign = all.into_iter().filter(|name| is_foreign(name));
            left_out.extend(foreign.map(|name| (field, name)));
        }
        *names = kept;
    }
    left_out
}

//= BoringSSL, "Cipher suite configuration": `[A|B]` are of equal preference
#[cfg(feature = "xds")]
fn of_rank(name: &str) -> Vec<String> {
    match name.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
        Some(equal) => equal.split('|').map(|it| it.trim().to_owned()).collect(),
        None => vec![name.to_owned()],
    }
}

/// By their names of IANA and of OpenSSL.
const SUITES: [(CipherSuite, &str, &str); 6] = [
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "ECDHE-RSA-CHACHA20-POLY1305",
    ),
];

const GROUPS: [(NamedGroup, &[&str]); 4] = [
    (NamedGroup::X25519MLKEM768, &["X25519MLKEM768"]),
    (NamedGroup::X25519, &["X25519"]),
    (NamedGroup::secp256r1, &["P-256", "secp256r1", "prime256v1"]),
    (NamedGroup::secp384r1, &["P-384", "secp384r1"]),
];

/// Suites of TLS 1.2 of `BoringSSL`, which Envoy has, and of OpenSSL: without forward secrecy, without
/// authenticated encryption, or by a key that both sides know.
const FOREIGN_SUITES: [&str; 46] = [
    "AES128-GCM-SHA256",
    "AES128-SHA",
    "AES128-SHA256",
    "AES256-GCM-SHA384",
    "AES256-SHA",
    "AES256-SHA256",
    "DES-CBC3-SHA",
    "DHE-RSA-AES128-GCM-SHA256",
    "DHE-RSA-AES128-SHA",
    "DHE-RSA-AES128-SHA256",
    "DHE-RSA-AES256-GCM-SHA384",
    "DHE-RSA-AES256-SHA",
    "DHE-RSA-AES256-SHA256",
    "DHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-ECDSA-AES256-SHA384",
    "ECDHE-PSK-AES128-CBC-SHA",
    "ECDHE-PSK-AES256-CBC-SHA",
    "ECDHE-PSK-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA256",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA384",
    "PSK-AES128-CBC-SHA",
    "PSK-AES256-CBC-SHA",
    "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384",
    "TLS_PSK_WITH_AES_128_CBC_SHA",
    "TLS_PSK_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
];

/// Groups that others have.
const FOREIGN_GROUPS: [&str; 9] = [
    "P-224",
    "P-521",
    "X25519Kyber768Draft00",
    "X448",
    "ffdhe2048",
    "ffdhe3072",
    "ffdhe4096",
    "secp224r1",
    "secp521r1",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_of_both_and_each_is_there_once() {
        let own = SUITES.iter().flat_map(|(_, iana, openssl)| [*iana, *openssl]);
        let own: Vec<&str> =
            own.chain(GROUPS.iter().flat_map(|(_, names)| names.to_vec())).collect();
        assert!(!own.iter().any(|name| is_foreign_suite(name) || is_foreign_group(name)));
        let mut all = own;
        all.extend(FOREIGN_SUITES);
        all.extend(FOREIGN_GROUPS);
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(suite("AES128-GCM-SHA256").is_none() && group("P-521").is_none());
    }

    #[cfg(feature = "xds")]
    #[test]
    fn suites_of_equal_rank_are_a_list_and_foreign_ones_are_told() {
        let names = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let mut security = ClusterSecurity::default();
        let (ecdsa, chacha) = ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-CHACHA20-POLY1305");
        let equal = format!("[{ecdsa}|{chacha}]");
        security.ciphers = names(&[equal.as_str(), "AES128-GCM-SHA256"]);
        security.groups = names(&["P-521", "X25519"]);
        let told = leave_out(&mut security);
        let is = |field, name: &str| (field, name.to_owned());
        assert_eq!(told, [is("cipher_suites", "AES128-GCM-SHA256"), is("ecdh_curves", "P-521")]);
        assert_eq!(security.ciphers, [ecdsa, chacha]);
        assert_eq!(security.groups, ["X25519"]);
        // With nothing left, none is left out: they are refused by their names.
        security.ciphers = names(&["AES128-SHA", "AES256-SHA"]);
        assert!(leave_out(&mut security).is_empty());
        assert_eq!(security.ciphers, ["AES128-SHA", "AES256-SHA"]);
    }
}
