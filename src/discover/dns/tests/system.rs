//! The system's own name servers: `resolv.conf` and `hosts`, read from a folder, and read again.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{net::UdpSocket, task::JoinHandle};

use super::super::{
    answer::{Answer, Data, Kind, Question},
    resolver::{Resolver, System},
    run::Ask,
};

/// A name server that knows every name by one address, or answers SERVFAIL.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) fails: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    pub(super) async fn at(address: SocketAddr, says: [u8; 4]) -> Self {
        let socket = UdpSocket::bind(address).await.unwrap();
        let address = socket.local_addr().unwrap();
        let (fails, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (is_failing, count) = (Arc::clone(&fails), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            let mut buffer = [0; 1500];
            loop {
                let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
                count.fetch_add(1, Ordering::SeqCst);
                let says = (!is_failing.load(Ordering::SeqCst)).then_some(says);
                drop(socket.send_to(&answer(&buffer[..length], says), from).await);
            }
        });
        Self { address, fails, asked, task }
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The question with one address of 30 s, if it is for one.
pub(super) fn answer(question: &[u8], says: Option<[u8; 4]>) -> Vec<u8> {
    let name = question[12..].iter().position(|byte| *byte == 0).unwrap();
    let end = 12 + name + 5;
    let is_a = question[end - 3] == 1;
    let says = says.filter(|_| is_a);
    let code = if says.is_none() && is_a { 2 } else { 0 };
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80 | code, 0, 1, 0, says.is_some().into(), 0, 0, 0, 0]);
    answer.extend(&question[12..end]);
    if let Some(says) = says {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4]);
        answer.extend(says);
    }
    answer
}

pub(super) fn write(folder: &Path, resolv_conf: &str, hosts: &str) {
    fs::write(folder.join("resolv.conf"), resolv_conf).unwrap();
    fs::write(folder.join("hosts"), hosts).unwrap();
}

/// The address that a name has, or what is told instead.
pub(super) async fn address(resolver: &Arc<Resolver>, name: &str) -> Result<String, String> {
    match resolver.ask(Question::new(&name.into(), Kind::A)).await {
        Answer::Message { answers, .. } => match &answers[..] {
            [one] => match &one.data {
                Data::Address(address) => Ok(address.to_string()),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        },
        Answer::Nothing { .. } => Err("nothing".into()),
        Answer::Failed(reason) => Err(reason),
    }
}

#[tokio::test]
async fn the_systems_servers_are_asked_and_others_once_its_files_have_changed() {
    let first = Server::at("127.0.0.1:0".parse().unwrap(), [10, 0, 0, 1]).await;
    let port = first.address.port();
    let second = Server::at(([127, 0, 0, 2], port).into(), [10, 0, 0, 2]).await;
    let folder = tempfile::tempdir().unwrap();
    let conf = "nameserver 127.0.0.1\nsearch prod.test test\noptions ndots:2\n";
    write(folder.path(), conf, "10.9.9.9 known.test # ours\n");
    let resolver = Resolver::of(System {
        resolv_conf: folder.path().join("resolv.conf"),
        hosts: folder.path().join("hosts"),
        port,
    });
    assert_eq!(address(&resolver, "users.prod.test.").await.unwrap(), "10.0.0.1");
    let names = resolver.names("users").await;
    assert_eq!(
        names.iter().map(|name| &**name).collect::<Vec<_>>(),
        ["users.prod.test.", "users.test.", "users."]
    );
    let names = resolver.names("users.a.b").await;
    assert_eq!(&*names[0], "users.a.b.", "it has two dots");
    // The file of hosts comes first.
    let asked = first.asked();
    assert_eq!(address(&resolver, "known.test.").await.unwrap(), "10.9.9.9");
    assert_eq!(&*resolver.names("known.test").await, [Arc::from("known.test.")]);
    assert_eq!((first.asked(), second.asked()), (asked, 0));
    // Other servers are named, and other hosts: that is seen when a question fails.
    write(folder.path(), "nameserver 127.0.0.2\n", "10.8.8.8 known.test\n");
    assert_eq!(address(&resolver, "users.prod.test.").await.unwrap(), "10.0.0.1");
    first.fails.store(true, Ordering::SeqCst);
    let reason = address(&resolver, "users.prod.test.").await.unwrap_err();
    assert!(reason.contains(&first.address.to_string()), "{reason}");
    assert_eq!(address(&resolver, "users.prod.test.").await.unwrap(), "10.0.0.2");
    assert_eq!(address(&resolver, "known.test.").await.unwrap(), "10.8.8.8");
    // Nothing has changed: a failure is a failure.
    second.fails.store(true, Ordering::SeqCst);
    address(&resolver, "users.prod.test.").await.unwrap_err();
    second.fails.store(false, Ordering::SeqCst);
    assert_eq!(address(&resolver, "users.prod.test.").await.unwrap(), "10.0.0.2");
}

#[tokio::test]
async fn what_the_file_of_hosts_says_is_what_it_says_now() {
    let server = Server::at("127.0.0.1:0".parse().unwrap(), [10, 0, 0, 1]).await;
    let folder = tempfile::tempdir().unwrap();
    let conf = "nameserver 127.0.0.1\n";
    write(folder.path(), conf, "10.9.9.9 known.test\n");
    let resolver = Resolver::of(System {
        resolv_conf: folder.path().join("resolv.conf"),
        hosts: folder.path().join("hosts"),
        port: server.address.port(),
    });
    assert_eq!(address(&resolver, "known.test.").await.unwrap(), "10.9.9.9");
    // Nothing has failed in between, and no server was asked.
    write(folder.path(), conf, "10.8.8.8 known.test\n");
    assert_eq!(address(&resolver, "known.test.").await.unwrap(), "10.8.8.8");
    assert_eq!(server.asked(), 0);
    write(folder.path(), conf, "# nobody\n");
    assert_eq!(address(&resolver, "known.test.").await.unwrap(), "10.0.0.1");
    // What does not exist may be in the file by now.
    write(folder.path(), conf, "2001:db8::1 other.test\n");
    let ask = || resolver.ask(Question::new(&"other.test.".into(), Kind::Aaaa));
    assert!(matches!(ask().await, Answer::Nothing { exists: true, .. }));
    assert!(matches!(ask().await, Answer::Message { .. }));
}

#[tokio::test]
async fn without_the_systems_files_the_machine_itself_is_asked() {
    let local = Server::at("127.0.0.1:0".parse().unwrap(), [10, 0, 0, 3]).await;
    let folder = tempfile::tempdir().unwrap();
    let system = System {
        resolv_conf: folder.path().join("resolv.conf"),
        hosts: folder.path().join("hosts"),
        port: local.address.port(),
    };
    for content in [None, Some("# nobody\n"), Some("nameserver of.names.test\n\0\n")] {
        if let Some(content) = content {
            write(folder.path(), content, "no hosts here\n");
        }
        let resolver = Resolver::of(system.clone());
        assert_eq!(address(&resolver, "users.test.").await.unwrap(), "10.0.0.3", "{content:?}");
    }
}
