//! DNS that lies, stalls, truncates, answers nothing, loops, floods, or speaks for others: a clear
//! report or the last good state, and calls that go on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use hickory_server::proto::{op::ResponseCode, rr::RecordType};
use tower_mesh::{
    Event, Mesh,
    config::{DnsFamily, DnsKind},
    discover::dns::{Consul, Dns, Docker, Kubernetes, Lookup, Mesos},
};

use crate::support::{
    Recorder, Server, fetch, get, patience,
    rogue::{Asked, Rogue, say},
};

const GOOD: &str = "users.test. 1 A 127.0.0.1";

/// Answers A questions well and everything else with nothing.
fn good(asked: &Asked) -> Vec<Vec<u8>> {
    match asked.kind() {
        RecordType::A => say(&asked.answer(&[GOOD])),
        _ => say(&asked.answer(&[])),
    }
}

/// A mesh whose `users` this server knows, by IPv4 alone.
fn mesh(rogue: &Rogue, server: &Server) -> Mesh {
    let name = Lookup::new(format!("dns:///users.test.:{}", server.socket().port()));
    let dns = Dns::servers([rogue.address]).family(DnsFamily::V4Only).service("users", name);
    Mesh::builder().source(dns).build().unwrap()
}

/// What is reported when a server that was good does this, while calls go on.
async fn meanwhile(
    does: impl Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync + 'static,
) -> (String, Rogue) {
    let (server, rogue) = (Server::named("users").await, Rogue::start(good).await);
    let mesh = mesh(&rogue, &server);
    let mut events = Recorder::of(&mesh);
    mesh.ready().await.unwrap();
    rogue.now(does);
    events.until(|event| matches!(event, Event::ConfigRefused { .. })).await;
    let client = mesh.client("users").unwrap();
    for _ in 0..10 {
        let answer = patience(fetch(&client, get("/"))).await.unwrap();
        assert_eq!(answer.body(), "users");
    }
    let reason = events.refused().remove(0);
    let start = "endpoints of cluster users: DNS: ";
    assert!(
        reason.starts_with(start) && reason.ends_with("; the last good answer stays"),
        "{reason}"
    );
    // And it is mended by the next good answer.
    rogue.now(good);
    let mended = |event: &Event| matches!(event, Event::ConfigApplied { part, .. } if &**part == "endpoints of cluster users");
    events.until(mended).await;
    mesh.ready().await.unwrap();
    (reason, rogue)
}

#[tokio::test]
async fn lies_about_other_names_are_no_answer() {
    let (reason, _) = meanwhile(|asked| say(&asked.answer(&["bank.test. 1 A 127.0.0.66"]))).await;
    assert!(reason.contains("users.test. "), "{reason}");
}

#[tokio::test]
async fn addresses_that_lead_here_are_no_answer() {
    let (reason, _) = meanwhile(|asked| say(&asked.answer(&["users.test. 1 A 0.0.0.0"]))).await;
    assert!(reason.contains("users.test. has no address"), "{reason}");
}

#[tokio::test]
async fn nothing_in_any_form_is_not_believed() {
    let (reason, _) = meanwhile(|asked| say(&asked.answer(&[]))).await;
    assert!(reason.contains("users.test. has no address"), "{reason}");
    let (reason, _) = meanwhile(|asked| say(&asked.code(ResponseCode::NXDomain))).await;
    assert!(reason.contains("users.test. does not exist"), "{reason}");
}

#[tokio::test]
async fn errors_are_told_as_the_server_says_them() {
    for (code, text) in [
        (ResponseCode::ServFail, "Server Failure"),
        (ResponseCode::Refused, "Query Refused"),
        (ResponseCode::NotImp, "Not Implemented"),
    ] {
        let (reason, _) = meanwhile(move |asked| say(&asked.code(code))).await;
        assert!(reason.contains(text), "{reason}");
    }
}

#[tokio::test]
async fn a_family_or_a_target_that_fails_for_ever_is_doubtful_and_refuses_nothing() {
    let server = Server::named("users").await;
    let port = server.socket().port();
    let of_host = |asked: &Asked| match asked.kind() {
        RecordType::A => say(&asked.answer(&[GOOD])),
        _ => say(&asked.code(ResponseCode::ServFail)),
    };
    let of_service = move |asked: &Asked| match (asked.kind(), asked.question().as_str()) {
        (RecordType::SRV, _) => {
            let target =
                |name: &str| format!("_http._tcp.users.test. 1 SRV 0 1 {port} {name}.test.");
            say(&asked.answer(&[&target("users"), &target("dead")]))
        }
        (_, "users.test. A") => say(&asked.answer(&[GOOD])),
        (_, "users.test. AAAA") => say(&asked.answer(&[])),
        _ => say(&asked.code(ResponseCode::ServFail)),
    };
    for (rogue, name, doubt) in [
        (Rogue::start(of_host).await, format!("dns:///users.test.:{port}"), "users.test. AAAA"),
        (Rogue::start(of_service).await, "dns:///_http._tcp.users.test.".into(), "dead.test. A"),
    ] {
        let dns = Dns::servers([rogue.address]).service("users", name);
        let mesh = Mesh::builder().source(dns).build().unwrap();
        let mut events = Recorder::of(&mesh);
        let is_told = |event: &Event| {
            matches!(event, Event::ConfigDoubted { .. } | Event::ConfigRefused { .. })
        };
        events.until(is_told).await;
        let client = mesh.client("users").unwrap();
        assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "users");
        mesh.ready().await.unwrap();
        assert_eq!(events.refused(), [""; 0]);
        let described = mesh.describe().to_string();
        assert!(described.contains(doubt), "{described}");
        assert!(described.contains("the rest is in force"), "{described}");
    }
}

#[tokio::test]
async fn silence_is_told_after_five_seconds() {
    let (reason, rogue) = meanwhile(|_| Vec::new()).await;
    let server = rogue.address;
    assert!(reason.contains(&format!("no answer from {server}")), "{reason}");
    assert!(rogue.asked().len() < 30, "it is not asked in a storm: {}", rogue.asked().len());
}

#[tokio::test]
async fn an_answer_that_is_cut_and_silence_over_tcp_end_in_time() {
    let began = tokio::time::Instant::now();
    let (reason, rogue) = meanwhile(|asked| {
        let mut answer = asked.answer(&["users.test. 1 A 127.0.0.66"]);
        answer.metadata.truncation = true;
        if asked.is_tcp { Vec::new() } else { say(&answer) }
    })
    .await;
    let server = rogue.address;
    assert!(reason.contains(&format!("no answer from {server}")), "{reason}");
    assert!(rogue.asked().contains(&"tcp users.test. A".to_owned()), "{:?}", rogue.asked());
    assert!(rogue.asked().len() < 30, "it is not asked in a storm: {:?}", rogue.asked());
    // A TTL of a second, five for the question, and at most two until it is asked again.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_answer_that_comes_late_is_not_that_of_another_question() {
    for tcp in [false, true] {
        let (server, rogue) = (Server::named("users").await, Rogue::start(good).await);
        let name = Lookup::new(format!("dns:///users.test.:{}", server.socket().port()));
        let name = name.use_tcp(tcp);
        let dns = Dns::servers([rogue.address]).family(DnsFamily::V4Only).service("users", name);
        let mesh = Mesh::builder().source(dns).build().unwrap();
        let mut events = Recorder::of(&mesh);
        mesh.ready().await.unwrap();
        let applied = |events: &mut Recorder| {
            let all = events.events();
            all.iter().filter(|event| matches!(event, Event::ConfigApplied { .. })).count()
        };
        let before = applied(&mut events);
        // Later than any question is waited for; others are under way by then.
        tokio::time::pause();
        rogue.now(|asked| say(&asked.answer(&["users.test. 600 A 127.0.0.66"])));
        rogue.takes(Duration::from_millis(6500));
        events.until(|event| matches!(event, Event::ConfigRefused { .. })).await;
        while rogue.late() < 6 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::resume();
        assert_eq!(applied(&mut events), before, "{:?}", events.events());
        let description = mesh.describe();
        let found = &description.services[0].routes[0].clusters[0].endpoints;
        assert!(found.len() == 1 && found[0].starts_with("127.0.0.1:"), "{description}");
        let client = mesh.client("users").unwrap();
        assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "users");
    }
}

/// Services behind so many aliases, each in a message of its own; behind the last the first comes again,
/// or the record.
async fn behind(aliases: usize, is_circle: bool) -> (Result<(), String>, usize) {
    let rogue = Rogue::start(move |asked| {
        let question = asked.question();
        let (owner, kind) = question.split_once(' ').unwrap();
        let number = owner.strip_prefix("_n").and_then(|rest| rest.split('.').next());
        let Some(number) = number.and_then(|number| number.parse::<usize>().ok()) else {
            return good(asked);
        };
        let is_last = number == aliases && !is_circle;
        let next = if number == aliases { 0 } else { number + 1 };
        match kind {
            "SRV" if is_last => {
                say(&asked.answer(&[&format!("{owner} 60 SRV 0 1 80 users.test.")]))
            }
            "SRV" | "CNAME" if !is_last => {
                say(&asked.answer(&[&format!("{owner} 60 CNAME _n{next}._tcp.test.")]))
            }
            _ => say(&asked.answer(&[])),
        }
    })
    .await;
    let lookup = Lookup::new("dns:///_n0._tcp.test.").kind(DnsKind::Srv);
    let dns = Dns::servers([rogue.address]).family(DnsFamily::V4Only).service("users", lookup);
    let mesh = Mesh::builder().source(dns).build().unwrap();
    let said = patience(mesh.ready()).await.map_err(|error| error.chain());
    (said, rogue.asked().len())
}

#[tokio::test]
async fn aliases_of_services_are_followed_and_end_in_a_circle_or_after_sixteen() {
    for (aliases, is_found) in [(0, true), (1, true), (16, true), (17, false), (40, false)] {
        let (said, asked) = behind(aliases, false).await;
        assert_eq!(said.is_ok(), is_found, "{aliases}: {said:?}");
        // hickory follows some aliases of each, too.
        assert!(asked <= 160, "{aliases}: {asked}");
    }
    for (last, most) in [(0, 40), (1, 40), (2, 40), (1000, 160)] {
        let (said, asked) = behind(last, true).await;
        let reason = said.unwrap_err();
        assert!(reason.contains("_n0._tcp.test. has no service"), "{reason}");
        assert!(asked <= most, "{last}: {asked}");
    }
}

#[tokio::test]
async fn aliases_in_a_circle_end() {
    let (reason, rogue) = meanwhile(|asked| {
        let (from, to) = if asked.question().starts_with("users.") {
            ("users.test.", "loop.test.")
        } else {
            ("loop.test.", "users.test.")
        };
        say(&asked.answer(&[&format!("{from} 1 CNAME {to}")]))
    })
    .await;
    assert!(reason.contains("users.test. "), "{reason}");
    assert!(rogue.asked().len() < 200, "{}", rogue.asked().len());
}

#[tokio::test]
async fn bytes_that_are_no_message_are_no_answer() {
    let http = b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec();
    let all = [vec![], vec![0], vec![0xff; 600], http].map(|bytes| {
        meanwhile(move |asked| {
            let mut answer = bytes.clone();
            if let Some(id) = answer.get_mut(..2) {
                id.copy_from_slice(&asked.message.metadata.id.to_be_bytes());
            }
            vec![answer]
        })
    });
    for (reason, _) in futures_util::future::join_all(all).await {
        assert!(reason.contains("users.test. A: "), "{reason}");
    }
}

#[tokio::test]
async fn a_header_that_promises_ten_thousand_records_is_no_answer() {
    let (reason, _) = meanwhile(|asked| {
        let mut answer = say(&asked.answer(&[GOOD])).remove(0);
        answer[6..8].copy_from_slice(&10_000_u16.to_be_bytes());
        vec![answer]
    })
    .await;
    assert!(reason.contains("users.test. A: "), "{reason}");
}

#[tokio::test]
async fn an_answer_to_another_question_is_no_answer() {
    for strip in [false, true] {
        let (reason, _) = meanwhile(move |asked| {
            let mut answer = asked.answer(&[GOOD]);
            let other = Asked { message: answer.clone(), is_tcp: false }.answer(&[]).queries;
            answer.queries = other;
            if strip {
                answer.queries.clear();
            } else {
                answer.queries[0].set_name(crate::support::zone::name("bank.test."));
            }
            say(&answer)
        })
        .await;
        assert!(reason.contains("users.test. A: "), "{reason}");
    }
}

#[tokio::test]
async fn wrong_ids_are_ignored_and_the_right_one_behind_them_is_taken() {
    let forged = |asked: &Asked| {
        let mut answer = asked.answer(&["users.test. 60 A 127.0.0.66"]);
        (1..20_u16)
            .map(|n| {
                answer.metadata.id = asked.message.metadata.id.wrapping_add(n);
                answer.to_vec().unwrap()
            })
            .collect::<Vec<_>>()
    };
    let (server, rogue) = (Server::named("users").await, Rogue::start(|_| Vec::new()).await);
    rogue.now(move |asked| [forged(asked), good(asked)].concat());
    let mesh = mesh(&rogue, &server);
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "users");
    // Forgeries alone are silence.
    let (reason, rogue) = meanwhile(forged).await;
    let server = rogue.address;
    assert!(reason.contains(&format!("no answer from {server}")), "{reason}");
}

#[tokio::test]
async fn truncated_answers_are_asked_for_over_tcp() {
    let (server, rogue) = (Server::named("users").await, Rogue::start(good).await);
    rogue.now(|asked| {
        let mut answer = asked.answer(&[GOOD]);
        if !asked.is_tcp {
            // What is cut may not be used.
            answer = asked.answer(&["users.test. 1 A 127.0.0.66"]);
            answer.metadata.truncation = true;
        }
        say(&answer)
    });
    let mesh = mesh(&rogue, &server);
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "users");
    assert_eq!(rogue.asked()[..2], ["udp users.test. A", "tcp users.test. A"]);
    // Truncated over both: it is told, and the last good answer stays.
    let (reason, _) = meanwhile(|asked| {
        let mut answer = asked.answer(&[GOOD]);
        answer.metadata.truncation = true;
        say(&answer)
    })
    .await;
    assert!(reason.contains("truncated"), "{reason}");
}

#[tokio::test]
async fn what_fills_a_message_over_tcp_becomes_endpoints() {
    let (server, rogue) = (Server::named("users").await, Rogue::start(good).await);
    rogue.now(|asked| {
        let mut answer = asked.answer(&[]);
        if !asked.is_tcp {
            answer.metadata.truncation = true;
            return say(&answer);
        }
        // As many as 64 KiB hold, each by a pointer to the name of the question.
        let mut bytes = say(&answer).remove(0);
        bytes[6..8].copy_from_slice(&4000_u16.to_be_bytes());
        for n in 1..=4000_u32 {
            bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            bytes.extend((0x7f00_0000 + n).to_be_bytes());
        }
        vec![bytes]
    });
    let mesh = mesh(&rogue, &server);
    mesh.ready().await.unwrap();
    let description = mesh.describe();
    assert_eq!(description.services[0].routes[0].clusters[0].endpoints.len(), 4000);
}

#[tokio::test]
async fn questions_carry_edns0_and_answers_of_its_size_need_no_tcp() {
    let (server, rogue) = (Server::named("users").await, Rogue::start(good).await);
    rogue.now(|asked| {
        let size = asked.message.edns.as_ref().map(|edns| edns.max_payload());
        assert_eq!(size, Some(1232));
        let records: Vec<String> =
            (1..=60).map(|n| format!("users.test. 60 A 127.0.0.{n}")).collect();
        say(&asked.answer(&records.iter().map(String::as_str).collect::<Vec<_>>()))
    });
    let mesh = mesh(&rogue, &server);
    mesh.ready().await.unwrap();
    let description = mesh.describe();
    assert_eq!(description.services[0].routes[0].clusters[0].endpoints.len(), 60);
    assert!(rogue.asked().iter().all(|asked| asked.starts_with("udp")), "{:?}", rogue.asked());
}

#[tokio::test]
async fn a_server_that_does_not_know_edns0_is_asked_without_it() {
    let (server, rogue) = (Server::named("users").await, Rogue::start(good).await);
    rogue.now(|asked| match asked.message.edns {
        Some(_) => say(&asked.code(ResponseCode::FormErr)),
        None => good(asked),
    });
    let mesh = mesh(&rogue, &server);
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "users");
}

/// What a bad name server does. One that says that there is nothing is believed, as any is.
#[derive(Clone, Copy, Debug)]
enum Bad {
    NotThere,
    Silent,
    Fails,
    Refuses,
    Garbage,
    NotAsked,
}

#[tokio::test]
async fn of_two_servers_one_may_be_dead_or_talk_nonsense() {
    use Bad::{Fails, Garbage, NotAsked, NotThere, Refuses, Silent};
    let server = Server::named("users").await;
    let name = || Lookup::new(format!("dns:///users.test.:{}", server.socket().port()));
    let bads = [NotThere, Silent, Fails, Refuses, Garbage, NotAsked];
    let tries = bads.into_iter().flat_map(|bad| [(bad, true), (bad, false)]);
    let ask = async |(bad, comes_first): (Bad, bool)| {
        let good = Rogue::start(good).await;
        let other = Rogue::start(move |asked| match bad {
            NotThere | Silent => Vec::new(),
            Fails => say(&asked.code(ResponseCode::ServFail)),
            Refuses => say(&asked.code(ResponseCode::Refused)),
            Garbage => vec![vec![0xff; 100]],
            NotAsked => {
                let mut answer = asked.answer(&["users.test. 1 A 127.0.0.66"]);
                answer.metadata.id = answer.metadata.id.wrapping_add(1);
                say(&answer)
            }
        })
        .await;
        let address = other.address;
        let _kept = (!matches!(bad, NotThere)).then_some(other);
        let servers = if comes_first { [address, good.address] } else { [good.address, address] };
        let dns = Dns::servers(servers).family(DnsFamily::V4Only).service("users", name());
        let mesh = Mesh::builder().source(dns).build().unwrap();
        let mut events = Recorder::of(&mesh);
        let told = format!("{bad:?}, first: {comes_first}");
        patience(mesh.ready()).await.unwrap_or_else(|error| panic!("{told}: {error}"));
        let client = mesh.client("users").unwrap();
        let answer = patience(fetch(&client, get("/"))).await;
        let answer = answer.unwrap_or_else(|error| panic!("{told}: {}", error.chain()));
        assert_eq!(answer.body(), "users", "{told}");
        // It stays so: the TTL is a second.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(events.refused(), Vec::<String>::new(), "{told}");
        let description = mesh.describe();
        let found = &description.services[0].routes[0].clusters[0].endpoints;
        assert!(found.len() == 1 && found[0].starts_with("127.0.0.1:"), "{told}: {description}");
    };
    futures_util::future::join_all(tries.map(ask)).await;
}

#[tokio::test]
async fn docker_is_told_that_more_than_512_bytes_are_taken() {
    let anywhere = "0.0.0.0:0".parse().unwrap();
    let server = Server::start_at(anywhere, |_| async { crate::support::reply("web") }).await;
    let rogue = Rogue::start(|asked| {
        if asked.kind() != RecordType::A {
            return say(&asked.answer(&[]));
        }
        let all: Vec<String> = (1..=40).map(|n| format!("tasks.web. 600 A 127.0.0.{n}")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        // Its resolver cuts what is over 512 bytes, unless EDNS0 says more; it has no TCP.
        match &asked.message.edns {
            _ if asked.is_tcp => Vec::new(),
            Some(edns) if edns.max_payload() > 512 => say(&asked.answer(&all)),
            _ => {
                let mut answer = asked.answer(&all[..20]);
                answer.metadata.truncation = true;
                say(&answer)
            }
        }
    })
    .await;
    let docker = Docker::swarm("web").port(server.socket().port());
    let dns = Dns::servers([rogue.address]).service("web", docker);
    let mesh = Mesh::builder().source(dns).build().unwrap();
    mesh.ready().await.unwrap();
    let description = mesh.describe();
    assert_eq!(description.services[0].routes[0].clusters[0].endpoints.len(), 40);
    let client = mesh.client("web").unwrap();
    for _ in 0..40 {
        assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "web");
    }
    assert!(rogue.asked().iter().all(|asked| asked.starts_with("udp")), "{:?}", rogue.asked());
}

#[tokio::test]
async fn kubernetes_is_asked_for_the_one_name_and_outlives_that_no_pod_is_ready() {
    const NAME: &str = "users.prod.svc.cluster.local.";
    let server = Server::named("pod").await;
    let pods = |asked: &Asked| match (asked.question().split(' ').next(), asked.kind()) {
        (Some(NAME), RecordType::A) => say(&asked.answer(&[&format!("{NAME} 1 A 127.0.0.1")])),
        (Some(NAME), _) => say(&asked.answer(&[])),
        // A wildcard in the domain of the company, which the search domains lead to.
        _ => say(&asked.answer(&[&asked.question().replace(" A", " 1 A 127.0.0.66")])),
    };
    let rogue = Rogue::start(pods).await;
    // As kubelet writes it.
    let dns = Dns::servers([rogue.address])
        .search(["prod.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.test"])
        .ndots(5)
        .service("users", Kubernetes::headless("users", "prod").port(server.socket().port()));
    let mesh = Mesh::builder().source(dns).build().unwrap();
    let mut events = Recorder::of(&mesh);
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "pod");
    // The last pod is not ready for a while.
    rogue.now(|asked| say(&asked.code(ResponseCode::NXDomain)));
    events.until(|event| matches!(event, Event::ConfigRefused { .. })).await;
    for _ in 0..10 {
        assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "pod");
    }
    let asked = rogue.asked();
    assert!(asked.iter().all(|asked| asked.contains(&format!(" {NAME} "))), "{asked:?}");
}

#[tokio::test]
async fn each_preset_asks_its_systems_questions_and_survives_its_traps() {
    let server = Server::named("users").await;
    let port = server.socket().port();
    let rogue = Rogue::start(move |asked| {
        let owner = asked.question();
        let (owner, kind) = owner.split_once(' ').unwrap();
        match (owner, kind) {
            // A TTL that lies.
            ("tasks.web.", "A") => say(&asked.answer(&["tasks.web. 600 A 127.0.0.1"])),
            // An address in a name that nobody resolves.
            ("_web._tcp.service.consul.", "SRV") if asked.is_tcp => {
                say(&asked
                    .answer(&[&format!("{owner} 0 SRV 1 1 {port} 7f000001.addr.dc1.consul.")]))
            }
            ("_web._tcp.service.dc1.corp.", "SRV") if asked.is_tcp => {
                say(&asked.answer(&[&format!("{owner} 0 SRV 1 1 {port} 7f000001.addr.dc1.corp.")]))
            }
            ("_web._tcp.marathon.mesos.", "SRV") => {
                let mut answer =
                    asked.answer(&[&format!("{owner} 60 SRV 0 0 {port} web-1.slave.mesos.")]);
                answer.add_additional(crate::support::rogue::record(
                    "web-1.slave.mesos. 60 A 127.0.0.1",
                ));
                say(&answer)
            }
            _ => say(&asked.code(ResponseCode::NXDomain)),
        }
    })
    .await;
    let dns = Dns::servers([rogue.address])
        .service("docker", Docker::swarm("web").port(port))
        .service("consul", Consul::service("web"))
        .service("corp", Consul::service("web").datacenter("dc1").domain("corp"))
        .service("mesos", Mesos::task("web", "marathon"));
    let mesh = Mesh::builder().source(dns).build().unwrap();
    mesh.ready().await.unwrap();
    for name in ["docker", "consul", "corp", "mesos"] {
        let client = mesh.client(name).unwrap();
        assert_eq!(patience(fetch(&client, get("/"))).await.unwrap().body(), "users", "{name}");
    }
    let again = async {
        while rogue.asked().iter().filter(|it| it.ends_with("consul. SRV")).count() < 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // A TTL of 0 is a second.
    patience(again).await;
    let asked = rogue.asked();
    let count = |question: &str| asked.iter().filter(|it| it.ends_with(question)).count();
    let of_targets = ["consul. A", "consul. AAAA", "corp. A", "corp. AAAA", "mesos. A"];
    assert_eq!(of_targets.map(count), [0; 5], "{asked:?}");
    assert!(asked.iter().all(|it| !it.contains("udp _web._tcp.service.consul.")), "{asked:?}");
}
