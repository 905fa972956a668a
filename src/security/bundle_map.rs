//! SPIFFE bundle maps: the roots of several trust domains in one JSON document (gRFC A87).

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::TrustDomain;

/// The roots of each domain, DER.
pub(super) type Domains = Vec<(TrustDomain, Vec<Vec<u8>>)>;

/// Reads a map. Any bytes may be given.
pub(super) fn read(json: &[u8]) -> Result<Domains, String> {
    let map: Value = serde_json::from_slice(json)
        .map_err(|error| format!("it is no JSON: line {}", error.line()))?;
    let domains = map.get("trust_domains").and_then(Value::as_object);
    let domains = domains.ok_or("it has no `trust_domains`")?;
    if domains.is_empty() {
        return Err("its `trust_domains` are empty".to_owned());
    }
    let mut read = Vec::with_capacity(domains.len());
    for (name, bundle) in domains {
        let place = format!("trust_domains[{name:?}]");
        let domain: TrustDomain =
            name.parse().map_err(|_| format!("{place} is no trust domain"))?;
        let keys = bundle.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or_else(|| format!("{place} has no `keys`"))?;
        let mut roots = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            let root = root(key).map_err(|why| format!("{place}.keys[{index}]{why}"))?;
            roots.extend(root);
        }
        if roots.is_empty() {
            return Err(format!("{place} has no key for `x509-svid`"));
        }
        read.push((domain, roots));
    }
    Ok(read)
}

/// The certificate of a key; none if it is for something else.
//= SPIFFE Trust Domain and Bundle §4.2: a key whose `use` is unknown is ignored
fn root(key: &Value) -> Result<Option<Vec<u8>>, &'static str> {
    match key.get("use").and_then(Value::as_str) {
        Some("x509-svid") => {}
        Some(_) => return Ok(None),
        None => return Err(" has no `use`"),
    }
    if !matches!(key.get("kty").and_then(Value::as_str), Some("RSA" | "EC")) {
        return Err(".kty is neither `RSA` nor `EC`");
    }
    let Some([certificate]) = key.get("x5c").and_then(Value::as_array).map(Vec::as_slice) else {
        return Err(".x5c must have one certificate");
    };
    let text = certificate.as_str().ok_or(".x5c[0] is no text")?;
    STANDARD.decode(text).map(Some).map_err(|_| ".x5c[0] is not base64")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str) -> String {
        read(json.as_bytes()).unwrap_err()
    }

    #[test]
    fn keys_for_certificates_are_read_and_others_passed_over() {
        let map = r#"{"trust_domains": {
            "a.example": {"spiffe_sequence": 1, "keys": [
                {"kty": "RSA", "use": "x509-svid", "x5c": ["AQI="], "n": "x"},
                {"kty": "EC", "use": "jwt-svid", "kid": "k"},
                {"kty": "EC", "use": "x509-svid", "x5c": ["Aw=="]}
            ]},
            "b.example": {"keys": [{"kty": "EC", "use": "x509-svid", "x5c": ["BA=="]}]}
        }}"#;
        let read = read(map.as_bytes()).unwrap();
        let domain = |name: &str| name.parse::<TrustDomain>().unwrap();
        assert_eq!(
            read,
            [
                (domain("a.example"), vec![vec![1, 2], vec![3]]),
                (domain("b.example"), vec![vec![4]])
            ]
        );
    }

    #[test]
    fn what_cannot_be_used_is_named_by_its_place() {
        for (json, named) in [
            ("", "no JSON"),
            ("{}", "trust_domains"),
            (r#"{"trust_domains": {}}"#, "empty"),
            (r#"{"trust_domains": {"A B": {"keys": []}}}"#, "A B"),
            (r#"{"trust_domains": {"a": {}}}"#, "`keys`"),
            (r#"{"trust_domains": {"a": {"keys": []}}}"#, "x509-svid"),
            (r#"{"trust_domains": {"a": {"keys": [{"use": "jwt-svid"}]}}}"#, "x509-svid"),
            (r#"{"trust_domains": {"a": {"keys": [{}]}}}"#, "keys[0]"),
            (r#"{"trust_domains": {"a": {"keys": [{"use": "x509-svid"}]}}}"#, "kty"),
            (r#"{"trust_domains": {"a": {"keys": [{"use": "x509-svid", "kty": "EC"}]}}}"#, "x5c"),
            (
                r#"{"trust_domains": {"a": {"keys": [{"use": "x509-svid", "kty": "EC", "x5c": ["!"]}]}}}"#,
                "base64",
            ),
            (
                r#"{"trust_domains": {"a": {"keys": [{"use": "x509-svid", "kty": "EC", "x5c": ["AA==", "AA=="]}]}}}"#,
                "one certificate",
            ),
        ] {
            let error = error(json);
            assert!(error.contains(named), "{json}: {error}");
        }
    }
}
