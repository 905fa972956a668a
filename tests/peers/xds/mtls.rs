//! Mutual TLS and authorisation told by xDS: gRPC C-core's server, its client, and ours.

use std::{path::Path, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    bed::{bootstrap, failed},
    peer::{Calls, Outcome, Peer, Who},
    plane::{Kind, Plane},
    resources::{
        at, cluster, cluster_with, downstream, listener, rbac, routes, server_listener, to,
        upstream,
    },
};
use crate::{
    program::{Program, folder, free_port, python},
    support::{Ca, swap},
};

const SERVER: &str = "spiffe://prod.example/ns/shop/sa/greeter";
const CALLER: &str = "spiffe://prod.example/ns/shop/sa/cart";
const STRANGER: &str = "spiffe://prod.example/ns/shop/sa/stranger";

/// A folder with `ca.crt` of the one, and `tls.crt` and `tls.key` that the other signs for this name.
pub(crate) fn keys(roots: &Ca, signer: &Ca, name: &str) -> TempDir {
    let dir = folder();
    swap(&dir.path().join("ca.crt"), roots.pem());
    signer.issue(&[name]).write(dir.path());
    dir
}

/// A bootstrap whose certificates are those of this folder.
pub(crate) fn with(port: u16, keys: &Path) -> String {
    let mut out: Value = serde_json::from_str(&bootstrap(&[port], &[])).unwrap();
    out["server_listener_resource_name_template"] = "server/%s".into();
    out["certificate_providers"] = json!({"default": {
        "plugin_name": "file_watcher",
        "config": {
            "certificate_file": keys.join("tls.crt"),
            "private_key_file": keys.join("tls.key"),
            "ca_certificate_file": keys.join("ca.crt"),
            "refresh_interval": "1s",
        },
    }});
    out.to_string()
}

/// A control plane with a server of C-core that asks for certificates and lets CALLER in, and ways there.
struct Scene {
    plane: Plane,
    ca: Ca,
    _server: (Program, TempDir, TempDir),
}

impl Scene {
    async fn new() -> Self {
        let ca = Ca::new("ca");
        let port = free_port();
        let mut resources = vec![server_listener(
            &format!("server/127.0.0.1:{port}"),
            port,
            &rbac(CALLER),
            &downstream(),
        )];
        let ways = [
            ("right", Some(upstream("matchSubjectAltNames", SERVER))),
            ("right-typed", Some(upstream("matchTypedSubjectAltNames", SERVER))),
            ("wrong", Some(upstream("matchSubjectAltNames", STRANGER))),
            ("wrong-typed", Some(upstream("matchTypedSubjectAltNames", STRANGER))),
            ("plaintext", None),
        ];
        for (name, tls) in ways {
            resources.push(listener(name, name, &[]));
            resources.push(routes(name, &[to(name)]));
            resources.push(tls.map_or_else(
                || cluster(name),
                |tls| cluster_with(name, json!({"transportSocket": tls})),
            ));
            resources.push(at(name, &[([127, 0, 0, 1], port).into()]));
        }
        let plane = Plane::start(Kind::Scripted, &resources).await;
        let (own, dir) = (keys(&ca, &ca, SERVER), folder());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/xds/server.py");
        let mut command = Command::new(python());
        let bootstrap = with(plane.port, own.path()).replace("NODE", "server");
        command.arg(script).args([&port.to_string(), "greeter"]);
        command.env("GRPC_XDS_BOOTSTRAP_CONFIG", bootstrap).env("GRPC_VERBOSITY", "ERROR");
        let mut program = Program::start("server", command, dir.path());
        program.listens(port).await;
        Self { plane, ca, _server: (program, own, dir) }
    }

    /// What a call of this client comes to, with a certificate that this authority signs for this name.
    async fn call(&self, who: Who, signer: &Ca, name: &str, way: &'static str) -> Outcome {
        let own = keys(&self.ca, signer, name);
        let bootstrap = with(self.plane.port, own.path());
        let mut peer = Peer::start(who, &bootstrap, None).await;
        let outcome = peer.call(&Calls::of(1).to(way).within(4)).await.remove(0);
        println!("{who:?}, {name}, {way}: {outcome:?}");
        outcome
    }
}

/// Who called, and was let in by the server that it meant.
fn let_in(outcome: &Outcome) -> bool {
    outcome.who.as_deref() == Some("greeter")
}

/// Whether a failure says who the server is and who was meant.
fn names_both(outcome: &Outcome) -> bool {
    [SERVER, STRANGER].iter().all(|name| outcome.text.contains(name))
}

#[tokio::test(flavor = "multi_thread")]
async fn five_answers_and_a_server_of_another_name() {
    let scene = Scene::new().await;
    let foreign = Ca::new("foreign");
    let mut clients = vec![Who::CCore, Who::Ours];
    if std::env::var_os("PEERS_GO").is_some() {
        clients.push(Who::GrpcGo);
    }
    for who in clients {
        // Whom the server lets in, and who means it.
        assert!(let_in(&scene.call(who, &scene.ca, CALLER, "right").await), "{who:?}");
        // Another one of the same authority: the server knows it, and says no.
        let stranger = scene.call(who, &scene.ca, STRANGER, "right").await;
        assert_eq!(failed(std::slice::from_ref(&stranger), 7), 1, "{who:?}: {stranger:?}");
        // Of another authority, without TLS, and a server that is not who was meant: no call at all.
        for (signer, way) in [(&foreign, "right"), (&scene.ca, "plaintext"), (&scene.ca, "wrong")] {
            let outcome = scene.call(who, signer, CALLER, way).await;
            assert_eq!(outcome.code, Some(14), "{who:?}, {way}: {outcome:?}");
            assert!(who != Who::Ours || way != "wrong" || names_both(&outcome), "{outcome:?}");
        }
        assert!(let_in(&scene.call(who, &scene.ca, CALLER, "right-typed").await), "{who:?}");
        // The typed field, which says the same, is not read by gRPC: the wrong server is let in.
        let wrong = scene.call(who, &scene.ca, CALLER, "wrong-typed").await;
        if who == Who::Ours {
            assert_eq!(wrong.code, Some(14), "{wrong:?}");
            assert!(names_both(&wrong), "{wrong:?}");
        } else {
            assert!(let_in(&wrong), "{who:?} checks the typed field: say so in docs/XDS-PEERS.md");
        }
    }
}
