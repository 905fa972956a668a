//! The options of `resolv.conf`, by what servers and callers see of them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    time::Instant,
};

use super::{
    super::{
        answer::{Answer, Kind, Question},
        resolver::{Resolver, System},
        run::Ask,
    },
    system::{Server, address, answer, write},
};

/// Whom a file of this content names, all at this port.
fn said(resolv_conf: &str, port: u16) -> Arc<Resolver> {
    let folder = tempfile::tempdir().unwrap().keep();
    write(&folder, resolv_conf, "");
    Resolver::of(System {
        resolv_conf: folder.join("resolv.conf"),
        hosts: folder.join("hosts"),
        port,
    })
}

/// One place over both transports, and how often it was asked over TCP.
async fn both() -> (Server, Arc<AtomicUsize>) {
    let (udp, listener) = loop {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        if UdpSocket::bind(place).await.is_ok() {
            break (Server::at(place, [10, 0, 0, 1]).await, listener);
        }
    };
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                while let Ok(length) = stream.read_u16().await {
                    let mut question = vec![0; usize::from(length)];
                    stream.read_exact(&mut question).await.unwrap();
                    count.fetch_add(1, Ordering::SeqCst);
                    let said = answer(&question, Some([10, 0, 0, 2]));
                    stream.write_u16(u16::try_from(said.len()).unwrap()).await.unwrap();
                    stream.write_all(&said).await.unwrap();
                }
            });
        }
    });
    (udp, asked)
}

#[tokio::test]
async fn use_vc_asks_over_tcp_alone() {
    let (udp, tcp) = both().await;
    for (options, expected, over) in [
        ("options use-vc\n", "10.0.0.2", (0, 1)),
        ("options edns0 use-vc trust-ad\n", "10.0.0.2", (0, 2)),
        ("", "10.0.0.1", (1, 2)),
    ] {
        let resolver = said(&format!("nameserver 127.0.0.1\n{options}"), udp.address.port());
        assert_eq!(address(&resolver, "users.test.").await.unwrap(), expected, "{options}");
        assert_eq!((udp.asked(), tcp.load(Ordering::SeqCst)), over, "{options}");
    }
}

#[tokio::test]
async fn rotate_asks_the_servers_in_turn_and_the_others_for_one_that_fails() {
    let first = Server::at("127.0.0.1:0".parse().unwrap(), [10, 0, 0, 1]).await;
    let port = first.address.port();
    let second = Server::at(([127, 0, 0, 2], port).into(), [10, 0, 0, 2]).await;
    let resolver = said("nameserver 127.0.0.1\nnameserver 127.0.0.2\noptions rotate\n", port);
    for turn in 0..6 {
        let expected = ["10.0.0.1", "10.0.0.2"][turn % 2];
        let name = format!("users-{turn}.test.");
        assert_eq!(address(&resolver, &name).await.unwrap(), expected);
    }
    assert_eq!((first.asked(), second.asked()), (3, 3));
    first.fails.store(true, Ordering::SeqCst);
    for turn in 6..10 {
        assert_eq!(address(&resolver, &format!("users-{turn}.test.")).await.unwrap(), "10.0.0.2");
    }
    assert_eq!((first.asked(), second.asked()), (5, 7));
}

/// How long a question takes that nobody answers.
async fn silence(options: &str, servers: &[SocketAddr]) -> Duration {
    let port = servers[0].port();
    let servers = servers.iter().map(|server| format!("nameserver {}\n", server.ip()));
    let resolver = said(&(servers.collect::<String>() + options), port);
    let began = Instant::now();
    let answer = resolver.ask(Question::new(&"users.test.".into(), Kind::A)).await;
    assert!(matches!(answer, Answer::Failed(_)), "{answer:?}");
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn timeout_and_attempts_say_how_long_nobody_may_answer() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = [silent.local_addr().unwrap()];
    for (options, seconds) in [
        ("options timeout:1 attempts:1\n", 1.0),
        ("options attempts:3\noptions timeout:1\n", 3.0),
        ("options timeout:7\n", 14.0),
        ("options attempts:1\n", 2.0),
        // The bound of a round of questions.
        ("options timeout:30 attempts:5\n", 20.0),
        // What is no number says nothing.
        ("options timeout:x attempts:\n", 4.0),
    ] {
        let took = silence(options, &server).await.as_secs_f64();
        assert!((seconds..seconds + 0.5).contains(&took), "{options}: {took}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_servers_in_turn_a_silent_one_costs_its_timeout() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let _good = Server::at(([127, 0, 0, 2], port).into(), [10, 0, 0, 2]).await;
    let options = "nameserver 127.0.0.1\nnameserver 127.0.0.2\noptions rotate timeout:3\n";
    let resolver = said(options, port);
    for expected in [3.0, 0.0, 3.0] {
        let began = Instant::now();
        assert_eq!(address(&resolver, "users.test.").await.unwrap(), "10.0.0.2");
        let took = began.elapsed().as_secs_f64();
        assert!((expected..expected + 0.5).contains(&took), "{expected}: {took}");
    }
}

#[tokio::test]
async fn no_aaaa_asks_for_no_address_of_ipv6() {
    let server = Server::at("127.0.0.1:0".parse().unwrap(), [10, 0, 0, 1]).await;
    let options = "nameserver 127.0.0.1\noptions no-aaaa\n";
    let resolver = said(options, server.address.port());
    let six = resolver.ask(Question::new(&"users.test.".into(), Kind::Aaaa)).await;
    assert!(matches!(six, Answer::Nothing { exists: true, .. }), "{six:?}");
    assert_eq!(server.asked(), 0);
    assert_eq!(address(&resolver, "users.test.").await.unwrap(), "10.0.0.1");
}

#[tokio::test]
async fn what_is_not_obeyed_is_noted_once_the_file_has_been_read() {
    let server = Server::at("127.0.0.1:0".parse().unwrap(), [10, 0, 0, 1]).await;
    for (options, note) in [
        (
            "options single-request\n",
            "not obeyed: `single-request` (both families are asked at once)",
        ),
        ("options rotate\n", ""),
    ] {
        let resolver = said(&format!("nameserver 127.0.0.1\n{options}"), server.address.port());
        assert_eq!(resolver.note(), None);
        assert_eq!(address(&resolver, "users.test.").await.unwrap(), "10.0.0.1");
        assert_eq!(resolver.note().as_deref(), Some(note));
    }
}
