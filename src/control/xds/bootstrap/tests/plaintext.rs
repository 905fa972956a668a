//! Nothing secret is sent in plaintext, and plaintext is nobody's last resort.

use super::*;

#[test]
fn credentials_that_are_not_supported_are_passed_over_and_never_taken_for_plaintext() {
    let only =
        |creds: &str| with_server(&format!(r#"{{"server_uri": "a:1", "channel_creds": {creds}}}"#));
    let error = refused(&only(r#"[{"type": "local"}, {"type": "alts"}]"#));
    assert!(error.contains("`local`, `alts` is not supported"), "{error}");
    // A broken one that counts is an error, though a laxer one follows.
    refused(&only(r#"[{"type": "tls", "config": 7}, {"type": "insecure"}]"#));
    let read = Bootstrap::from_json(&only(r#"[{"type": "alts"}, {"type": "insecure"}]"#)).unwrap();
    assert_eq!(read.servers[0].creds, Creds::Insecure);
}

#[test]
fn a_token_is_never_sent_in_plaintext_over_a_network() {
    let build = |server: Server| Bootstrap::builder().server(server).build();
    let error = build(Server::insecure("a:1").token_file("t")).unwrap_err().to_string();
    assert!(error.contains("plaintext"), "{error}");
    assert!(build(Server::insecure("a:1").header("x-consul-token", "t")).is_err());
    assert!(build(Server::insecure("unix:/a").token_file("t")).is_ok());
    assert!(build(Server::tls("a:1", ServerTls::new()).token_file("t")).is_ok());
    assert!(build(Server::insecure("a:1").header("clusterid", "c")).is_ok());
    for (name, value) in
        [("", "a"), ("a b", "a"), ("grpc-timeout", "1S"), ("a", "\n"), ("a-bin", "a")]
    {
        assert!(build(Server::insecure("a:1").header(name, value)).is_err(), "{name}");
    }
    let shown = format!("{:?}", Server::tls("a:1", ServerTls::new()).header("x-token", "secret"));
    assert!(!shown.contains("secret"), "{shown}");
}
