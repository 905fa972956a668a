//! Keys, chains and a server that OpenSSL has made.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::program::{Program, find, folder, free_port};

/// An authority of OpenSSL's, and what it has signed, as files.
pub(crate) struct Pki {
    dir: TempDir,
    algorithm: Algorithm,
    /// Names of the authorities, the root first.
    chain: Vec<String>,
}

/// What `openssl genpkey` is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Algorithm(pub(crate) &'static str, pub(crate) &'static [&'static str]);

/// Every kind of key that is used in the field.
pub(crate) const ALGORITHMS: [Algorithm; 5] = [
    Algorithm("RSA", &["-pkeyopt", "rsa_keygen_bits:2048"]),
    Algorithm("RSA", &["-pkeyopt", "rsa_keygen_bits:4096"]),
    Algorithm("EC", &["-pkeyopt", "ec_paramgen_curve:P-256"]),
    Algorithm("EC", &["-pkeyopt", "ec_paramgen_curve:P-384"]),
    Algorithm("ED25519", &[]),
];

impl Pki {
    /// A root, and so many intermediates, each signed by the one before.
    pub(crate) fn new(algorithm: Algorithm, intermediates: usize) -> Self {
        let mut pki = Self { dir: folder(), algorithm, chain: Vec::new() };
        for depth in 0..=intermediates {
            let name = format!("ca{depth}");
            let extensions = "basicConstraints=critical,CA:TRUE\n\
                              keyUsage=critical,keyCertSign,cRLSign\n\
                              subjectKeyIdentifier=hash\n";
            pki.sign(&name, extensions);
            pki.chain.push(name);
        }
        pki
    }

    /// A key and a certificate for these subject alternative names, by the last of the chain; made
    /// once for each name. The file of the certificate holds all intermediates too.
    pub(crate) fn issue(&self, name: &str, sans: &str) -> (PathBuf, PathBuf) {
        let (file, key) = (self.file(name, "chain.pem"), self.file(name, "key"));
        if file.exists() {
            return (file, key);
        }
        let extensions = format!(
            "basicConstraints=critical,CA:FALSE\n\
             keyUsage=critical,digitalSignature\n\
             extendedKeyUsage=serverAuth,clientAuth\n\
             authorityKeyIdentifier=keyid\n\
             subjectAltName={sans}\n"
        );
        self.sign(name, &extensions);
        let mut chain = fs::read_to_string(self.file(name, "pem")).unwrap();
        for ca in self.chain.iter().skip(1).rev() {
            chain += &fs::read_to_string(self.file(ca, "pem")).unwrap();
        }
        fs::write(&file, chain).unwrap();
        (file, key)
    }

    /// The root.
    pub(crate) fn root(&self) -> PathBuf {
        self.file("ca0", "pem")
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Certificates of authorities between leaf and root.
    pub(crate) fn intermediates(&self) -> usize {
        self.chain.len() - 1
    }

    fn file(&self, name: &str, kind: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.{kind}"))
    }

    /// A key, and its certificate by the last authority so far; by itself if there is none.
    fn sign(&self, name: &str, extensions: &str) {
        let (key, request) = (self.file(name, "key"), self.file(name, "csr"));
        let (certificate, said) = (self.file(name, "pem"), self.file(name, "ext"));
        fs::write(&said, extensions).unwrap();
        let mut generate = openssl("genpkey");
        generate
            .args(["-algorithm", self.algorithm.0])
            .args(self.algorithm.1)
            .arg("-out")
            .arg(&key);
        run(generate);
        let mut ask = openssl("req");
        ask.args(["-new", "-subj", &format!("/CN={name}"), "-key"]).arg(&key);
        run_with(ask.arg("-out").arg(&request));
        let mut sign = openssl("x509");
        sign.args(["-req", "-days", "2", "-in"]).arg(&request);
        sign.arg("-extfile").arg(&said).arg("-out").arg(&certificate);
        match self.chain.last() {
            None => sign.arg("-signkey").arg(&key),
            Some(ca) => {
                let (certificate, key) = (self.file(ca, "pem"), self.file(ca, "key"));
                sign.arg("-CA").arg(certificate).arg("-CAkey").arg(key).arg("-CAcreateserial")
            }
        };
        run(sign);
    }
}

/// `openssl s_server`, which tells of each connection in its answer.
pub(crate) struct Server {
    _program: Program,
    pub(crate) port: u16,
}

impl Server {
    /// It shows this pair, and demands a certificate of its clients by this root.
    pub(crate) async fn start(pki: &Pki, pair: &(PathBuf, PathBuf), more: &[&str]) -> Self {
        let port = free_port();
        let mut command = openssl("s_server");
        command.args(["-accept", &format!("127.0.0.1:{port}"), "-www", "-alpn", "http/1.1"]);
        command.arg("-cert").arg(&pair.0).arg("-key").arg(&pair.1);
        command.arg("-cert_chain").arg(&pair.0).arg("-CAfile").arg(pki.root());
        command.args(["-Verify", "20", "-verify_return_error"]).args(more);
        let mut program = Program::start("openssl", command, pki.path());
        program.listens(port).await;
        Self { _program: program, port }
    }
}

fn openssl(command: &str) -> Command {
    let mut openssl = Command::new(find("openssl"));
    openssl.arg(command);
    openssl
}

fn run(mut command: Command) {
    run_with(&mut command);
}

fn run_with(command: &mut Command) {
    let ran = command.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{command:?}: {said}");
}
