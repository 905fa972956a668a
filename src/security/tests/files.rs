//! PEM files that change under a running mesh.

use std::{fs, path::Path};

use super::*;

const WEB: &str = "spiffe://prod.example/ns/shop/sa/web";
const POLL: Duration = Duration::from_millis(100);

struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.at(name), content).unwrap();
    }

    fn pair(&self, issued: &Issued) {
        self.write("tls.crt", &issued.chain);
        self.write("tls.key", &issued.key);
    }
}

fn spawn_identity(sources: &Sources, identity: KeyPair) {
    let identity: Box<dyn Identity> = Box::new(identity.poll_interval(POLL));
    tokio::spawn(identity.run(sources.publish_identity.clone()));
}

fn spawn_trust(sources: &Sources, trust: Trust) {
    let trust: Box<dyn Verify> = Box::new(trust.poll_interval(POLL));
    tokio::spawn(trust.run(sources.publish_trust.clone()));
}

/// Time that passes for whoever follows files.
async fn a_while() {
    for _ in 0..20 {
        tokio::time::sleep(POLL).await;
    }
}

fn shown(sources: &Sources) -> Vec<CertificateDer<'static>> {
    sources.identity.state().good.unwrap().key.cert.clone()
}

#[tokio::test(start_paused = true)]
async fn a_pair_is_rotated() {
    let (ca, dir) = (Ca::new("root"), Directory::new());
    let (one, two) = (ca.issue(&Ask::none().uri(WEB)), ca.issue(&Ask::none().uri(WEB)));
    dir.pair(&one);
    let sources = Sources::silent();
    spawn_identity(&sources, KeyPair::pem_files(dir.at("tls.crt"), dir.at("tls.key")));
    assert_eq!(sources.identity.ready().await.unwrap().generation, 1);
    assert_eq!(shown(&sources), one.certificates());
    dir.pair(&two);
    a_while().await;
    assert_eq!(shown(&sources), two.certificates());
    assert_eq!(sources.heard.refused(), Vec::<String>::new());
    // The same content again is no rotation.
    dir.pair(&two);
    a_while().await;
    assert_eq!(sources.identity.state().generation, 2);
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_half_rotated_changes_nothing_and_is_named() {
    let (ca, dir) = (Ca::new("root"), Directory::new());
    let (one, two) = (ca.issue(&Ask::none().uri(WEB)), ca.issue(&Ask::none().uri(WEB)));
    dir.pair(&one);
    let sources = Sources::silent();
    spawn_identity(&sources, KeyPair::pem_files(dir.at("tls.crt"), dir.at("tls.key")));
    sources.identity.ready().await.unwrap();
    dir.write("tls.crt", &two.chain);
    a_while().await;
    assert_eq!(shown(&sources), one.certificates());
    let refused = sources.heard.refused();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].contains("are both of the same rotation?"), "{refused:?}");
    dir.write("tls.key", &two.key);
    a_while().await;
    assert_eq!(shown(&sources), two.certificates());
    assert_eq!(sources.identity.state().problem, None);
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn kubernetes_swaps_a_symlink() {
    use std::os::unix::fs::symlink;
    let (ca, dir) = (Ca::new("root"), Directory::new());
    let (one, two) = (ca.issue(&Ask::none().uri(WEB)), ca.issue(&Ask::none().uri(WEB)));
    for (name, issued) in [("..1", &one), ("..2", &two)] {
        fs::create_dir(dir.at(name)).unwrap();
        fs::write(dir.at(name).join("tls.crt"), &issued.chain).unwrap();
        fs::write(dir.at(name).join("tls.key"), &issued.key).unwrap();
    }
    symlink("..1", dir.at("..data")).unwrap();
    for file in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(file), dir.at(file)).unwrap();
    }
    let sources = Sources::silent();
    spawn_identity(&sources, KeyPair::pem_files(dir.at("tls.crt"), dir.at("tls.key")));
    sources.identity.ready().await.unwrap();
    symlink("..2", dir.at("..new")).unwrap();
    fs::rename(dir.at("..new"), dir.at("..data")).unwrap();
    a_while().await;
    assert_eq!(shown(&sources), two.certificates());
    assert_eq!(sources.heard.refused(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_an_error_at_the_start_and_mends_itself() {
    let (ca, dir) = (Ca::new("root"), Directory::new());
    let sources = Sources::silent();
    spawn_identity(&sources, KeyPair::pem_files(dir.at("tls.crt"), dir.at("tls.key")));
    let why = sources.identity.ready().await.unwrap_err();
    assert!(why.contains("tls.crt cannot be read"), "{why}");
    let one = ca.issue(&Ask::none().uri(WEB));
    dir.pair(&one);
    a_while().await;
    assert_eq!(shown(&sources), one.certificates());
    // Gone again: the last good pair stays.
    fs::remove_file(dir.at("tls.key")).unwrap();
    a_while().await;
    assert_eq!(shown(&sources), one.certificates());
    let problem = sources.identity.state().problem.unwrap();
    assert!(problem.contains("tls.key cannot be read"), "{problem}");
    // A directory in its place is no file either.
    fs::create_dir(dir.at("tls.key")).unwrap();
    a_while().await;
    assert_eq!(shown(&sources), one.certificates());
    fs::remove_dir(dir.at("tls.key")).unwrap();
    dir.pair(&one);
    a_while().await;
    assert_eq!(sources.identity.state().problem, None);
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_yet_is_taken_when_it_is() {
    let (ca, dir) = (Ca::new("root"), Directory::new());
    let from = ahead(Duration::from_secs(2));
    let early = ca.issue(&Ask::none().uri(WEB).lasting(from, ahead(DAY)));
    dir.pair(&early);
    let sources = Sources::silent();
    spawn_identity(&sources, KeyPair::pem_files(dir.at("tls.crt"), dir.at("tls.key")));
    let why = sources.identity.ready().await.unwrap_err();
    assert!(why.contains("not valid before"), "{why}");
    let mut state = sources.identity.watch();
    let taken = state.wait_for(|state| state.good.is_some());
    tokio::time::timeout(Duration::from_secs(10), taken).await.unwrap().unwrap();
    assert!(SystemTime::now() >= from - Duration::from_secs(1));
    assert_eq!(sources.heard.refused().len(), 1);
}

#[tokio::test]
async fn a_certificate_that_expires_without_a_successor_is_reported() {
    let (ca, dir) = (Ca::new("root"), Directory::new());
    let short = Ask::none().uri(WEB).lasting(ago(DAY), ahead(Duration::from_secs(2)));
    let short = ca.issue(&short);
    dir.pair(&short);
    let sources = Sources::silent();
    spawn_identity(&sources, KeyPair::pem_files(dir.at("tls.crt"), dir.at("tls.key")));
    assert_eq!(sources.identity.ready().await.unwrap().problem, None);
    let mut state = sources.identity.watch();
    let told = state.wait_for(|state| state.problem.is_some());
    tokio::time::timeout(Duration::from_secs(10), told).await.unwrap().unwrap();
    assert!(sources.heard.refused()[0].contains("was valid until"));
    assert_eq!(shown(&sources), short.certificates());
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_never_quiet_is_read_all_the_same() {
    let (ca, dir) = (Ca::new("root"), Directory::new());
    dir.write("ca.crt", &ca.pem());
    let sources = Sources::silent();
    spawn_trust(&sources, Trust::pem_file(dir.at("ca.crt")));
    sources.trust.ready().await.unwrap();
    let two = ca.pem() + &Ca::new("two").pem();
    for step in 0..1000 {
        dir.write("ca.crt", &format!("{two}\n# {step}"));
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert_eq!(sources.trust.state().good.unwrap().summary(), "2 roots for any name");
}

#[tokio::test(start_paused = true)]
async fn a_bundle_that_is_written_in_steps_is_not_read_in_the_middle() {
    let (one, two) = (Ca::new("one"), Ca::new("two"));
    let dir = Directory::new();
    dir.write("ca.crt", &(one.pem() + &two.pem()));
    let sources = Sources::silent();
    spawn_trust(&sources, Trust::pem_file(dir.at("ca.crt")));
    let state = sources.trust.ready().await.unwrap();
    assert_eq!(state.good.unwrap().summary(), "2 roots for any name");
    let new = one.pem() + &two.pem() + &Ca::new("three").pem();
    // Shorter steps than the content must have settled.
    for end in (0..=new.len()).step_by(200).chain([new.len()]) {
        dir.write("ca.crt", &new[..end]);
        tokio::time::sleep(Duration::from_millis(30)).await;
        let state = sources.trust.state();
        let summary = state.good.unwrap().summary();
        assert!(summary.starts_with('2') || end == new.len(), "{summary} at {end}");
    }
    a_while().await;
    assert_eq!(sources.trust.state().good.unwrap().summary(), "3 roots for any name");
    assert_eq!(sources.heard.refused(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn one_file_of_several_that_is_broken_changes_nothing() {
    let (prod, partner) = (Ca::new("prod"), Ca::new("partner"));
    let dir = Directory::new();
    dir.write("prod.pem", &prod.pem());
    dir.write("partner.pem", &partner.pem());
    dir.write("revoked.pem", &prod.revoke(&[7]));
    let sources = Sources::silent();
    let bundles =
        [("prod.example", dir.at("prod.pem")), ("partner.example", dir.at("partner.pem"))];
    let trust = Trust::bundles(bundles).unwrap().crl_file(dir.at("revoked.pem"));
    assert!(Verify::name(&trust).contains("prod.example: "), "{}", Verify::name(&trust));
    spawn_trust(&sources, trust);
    let all = "1 roots for partner.example, 1 roots for prod.example, 1 revocation lists";
    assert_eq!(sources.trust.ready().await.unwrap().good.unwrap().summary(), all);
    for broken in ["", "-----BEGIN CERTIFICATE-----\n", "nonsense"] {
        dir.write("partner.pem", broken);
        a_while().await;
        let state = sources.trust.state();
        assert_eq!((state.generation, state.good.unwrap().summary()), (1, all.to_owned()));
        assert!(state.problem.unwrap().contains("partner.pem: "), "{broken}");
    }
    dir.write("partner.pem", &partner.pem());
    a_while().await;
    assert_eq!((sources.trust.state().generation, sources.trust.state().problem), (1, None));
}

#[test]
fn bundles_name_their_trust_domain() {
    assert!(Trust::bundles([("Prod", "a.pem")]).is_err());
    assert!(Trust::bundles::<&str, &str>([]).is_err());
}

#[tokio::test]
async fn a_large_file_is_not_read_to_its_end() {
    let dir = Directory::new();
    let file = fs::File::create(dir.at("ca.crt")).unwrap();
    file.set_len(1 << 40).unwrap();
    let sources = Sources::silent();
    spawn_trust(&sources, Trust::pem_file(dir.at("ca.crt")));
    let why = sources.trust.ready().await.unwrap_err();
    assert!(why.contains("is too large"), "{why}");
}

#[tokio::test]
async fn memory_is_read_once() {
    let ca = Ca::new("root");
    let own = ca.issue(&Ask::none().uri(WEB));
    let sources = Sources::silent();
    let identity: Box<dyn Identity> = Box::new(KeyPair::pem(own.chain.clone(), own.key.clone()));
    identity.run(sources.publish_identity.clone()).await;
    let trust: Box<dyn Verify> = Box::new(Trust::pem(ca.pem()));
    trust.run(sources.publish_trust.clone()).await;
    assert_eq!(shown(&sources), own.certificates());
    assert_eq!(sources.trust.state().good.unwrap().summary(), "1 roots for any name");
}

#[tokio::test(start_paused = true)]
async fn the_systems_roots_beside_files_are_read_every_few_minutes() {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    let (own, of_system, dir) = (Ca::new("own"), Ca::new("system"), Directory::new());
    dir.write("ca.crt", &own.pem());
    let sources = Sources::silent();
    let (der, reads) = (of_system.certificate(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&reads);
    let system = move || {
        // The second time it cannot be read.
        let read = match count.fetch_add(1, SeqCst) {
            1 => Err("broken".to_owned()),
            _ => Ok(vec![der.to_vec()]),
        };
        std::future::ready(read)
    };
    let trust = Trust::pem_file(dir.at("ca.crt")).and_system().poll_interval(POLL);
    tokio::spawn(bundle::follow(trust, sources.publish_trust.clone(), system));
    sources.trust.ready().await.unwrap();
    a_while().await;
    dir.write("ca.crt", &(own.pem() + &Ca::new("another").pem()));
    a_while().await;
    assert_eq!(sources.trust.state().good.unwrap().summary(), "3 roots for any name");
    assert_eq!(reads.load(SeqCst), 1, "a file that changes is no reason to read them");
    tokio::time::sleep(Duration::from_secs(300)).await;
    a_while().await;
    // What failed is tried again with the next look at the files.
    assert_eq!(reads.load(SeqCst), 3);
    assert_eq!(sources.trust.state().problem, None);
    assert_eq!(sources.trust.state().good.unwrap().summary(), "3 roots for any name");
}
