//! What `build` refuses, and what it does not do.

use std::{fs, time::Duration};

use tower_mesh::{ErrorKind, Mesh, Retry, config::Budget};

#[tokio::test]
async fn impossible_values_in_code_fail_the_build() {
    let long = Mesh::builder().service("users", |s| s.timeout(Duration::MAX)).build().unwrap_err();
    assert_eq!(long.kind(), ErrorKind::Config);
    let text = long.chain();
    assert!(text.contains("users") && text.contains("timeout = 184"), "{text}");

    let nan = Mesh::builder()
        .service("users", |s| s.retry(Retry::standard().budget(Budget::new(f64::NAN))))
        .build()
        .unwrap_err();
    let text = nan.chain();
    assert!(text.contains("ratio") && text.contains("NaN"), "{text}");

    for timeout in [Duration::ZERO, Duration::MAX] {
        let error = Mesh::builder().resolve_timeout(timeout).build().unwrap_err();
        let wanted = "must be over 0 and at most 365 days";
        let text = error.chain();
        assert!(text.contains("resolve_timeout = ") && text.contains(wanted), "{text}");
    }

    let none = Mesh::builder().service("users", |s| s.max_requests(0)).build().unwrap_err();
    assert!(none.chain().contains("max_requests"), "{}", none.chain());
}

#[test]
fn without_a_runtime_the_build_fails_and_does_not_panic() {
    let error = Mesh::builder().build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let text = error.to_string();
    assert!(text.ends_with("check that `build` is called in a tokio runtime"), "{text}");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let address: std::net::SocketAddr = "127.0.0.1:1".parse().unwrap();
    let builder = Mesh::builder().endpoints("users", [address]);
    let mesh = builder.runtime(runtime.handle().clone()).build().unwrap();
    runtime.block_on(mesh.shutdown(Duration::from_secs(1)));
}

/// A runtime that nobody drives runs nothing: what is read or waited for, `build` does itself.
#[cfg(target_os = "linux")]
#[test]
fn building_opens_no_file_and_waits_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["mesh.yaml", "tls.crt", "tls.key", "ca.crt"] {
        // Whoever opens it to read waits for somebody who writes.
        let made = std::process::Command::new("mkfifo").arg(path(name)).status().unwrap();
        assert!(made.success());
    }
    let folder = dir.path().to_owned();
    let opened = move || {
        let all = fs::read_dir("/proc/self/fd").unwrap();
        let targets = all.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        targets.filter(|target| target.starts_with(&folder)).count()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    let (done, wait) = std::sync::mpsc::channel();
    let files = ["mesh.yaml", "tls.crt", "tls.key", "ca.crt"].map(path);
    std::thread::spawn(move || {
        let [config, chain, key, roots] = files;
        let mut builder = Mesh::builder().config_file(config).runtime(handle.clone());
        #[cfg(feature = "tls-aws-lc-rs")]
        {
            use tower_mesh::security::{KeyPair, Trust};
            builder = builder
                .identity(KeyPair::pem_files(&chain, &key))
                .trust(Trust::pem_file(&roots))
                .service("users", |s| s.mutual_tls());
        }
        #[cfg(feature = "dns")]
        {
            use tower_mesh::discover::dns::Dns;
            builder = builder.source(Dns::system().service("orders", "dns:///orders.test:80"));
        }
        drop((chain, key, roots));
        let address: std::net::SocketAddr = "127.0.0.1:1".parse().unwrap();
        let mesh = builder.endpoints("users", [address]).build().unwrap();
        // Missing files are no more of its business.
        Mesh::builder().config_file("/nowhere/mesh.yaml").runtime(handle).build().unwrap();
        let mut client = mesh.client("users").unwrap();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let ready = tower::Service::<http::Request<tower_mesh::Body>>::poll_ready(
            &mut client,
            &mut context,
        );
        assert!(ready.is_ready());
        done.send((opened(), mesh)).unwrap();
    });
    let (opened, mesh) = wait.recv_timeout(Duration::from_secs(10)).expect("`build` waits");
    assert_eq!(opened, 0);
    drop((mesh, runtime));
}
