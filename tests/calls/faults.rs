//! Faults on purpose over real servers: delays, failures and slow responses, of calls and of attempts,
//! told apart from real ones.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{fs, time::Duration};

use crate::support::{
    GreeterClient, HelloRequest, Recorder, Server, fetch, get, hello, patience, post, storm, within,
};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tokio::time::Instant;
use tower_mesh::{
    Body, Client, ErrorKind, Event, InjectedFault, Mesh, MeshBuilder, Phase, Refusal, Retry,
    SettingOrigin,
    config::{Fault, FaultAbort, FaultDelay, FaultRate, HeaderMatch, StringMatch},
};

/// A mesh of the one service `users`, with this fault.
fn faulty(server: &Server, fault: Fault) -> MeshBuilder {
    Mesh::builder()
        .endpoints("users", [server.address()])
        .service("users", |it| it.fault(fault))
        .seed(7)
}

fn client(mesh: &Mesh) -> Client {
    mesh.client("users").unwrap()
}

/// What was injected, by these events.
fn injected(events: &mut Recorder) -> Vec<InjectedFault> {
    let fault = |event: &Event| match event {
        Event::FaultInjected { fault, .. } => Some(*fault),
        _ => None,
    };
    events.events().iter().filter_map(fault).collect()
}

fn counted(mesh: &Mesh, kind: &str) -> f64 {
    let labels = [("mesh.service", "users"), ("mesh.fault", kind)];
    mesh.metrics().total("mesh.client.faults", &labels)
}

#[tokio::test]
async fn an_abort_is_answered_here_and_told_apart_from_real_failures() {
    let server = Server::named("hello").await;
    let mesh = faulty(&server, Fault::abort(503)).build().unwrap();
    let mut events = Recorder::of(&mesh);
    let answer = patience(client(&mesh).send(get("http://users/"))).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.extensions().get(), Some(&Refusal::Fault));
    assert_eq!(Refusal::Fault.flag(), "FI");
    assert_eq!(answer.into_body().text().await.unwrap(), "injected fault");
    assert_eq!(injected(&mut events), [InjectedFault::Status(503)]);
    // Nobody is called, tried again or blamed.
    assert_eq!((server.connections(), events.retries().len()), (0, 0));
    assert_eq!(events.count(|event| matches!(event, Event::AttemptStarted { .. })), 0);
    assert_eq!((counted(&mesh, "abort"), counted(&mesh, "delay")), (1.0, 0.0));
}

//= RFC 9110 §9.3.2 and §15.3.6: neither has content
#[tokio::test]
async fn an_abort_that_may_have_no_body_has_none() {
    let server = Server::named("hello").await;
    for (method, status) in [("HEAD", 503), ("GET", 204), ("GET", 205), ("GET", 304)] {
        let mesh = faulty(&server, Fault::abort(status)).build().unwrap();
        let request = Request::builder().method(method).uri("http://users/");
        let request = request.body(Body::empty()).unwrap();
        let answer = patience(client(&mesh).send(request)).await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.into_body().text().await.unwrap(), "", "{method} {status}");
    }
}

#[tokio::test]
async fn a_grpc_caller_gets_the_code_and_the_text() {
    let server = Server::grpc(hello(|_| async { Ok("hello".to_owned()) })).await;
    let mut fault = Fault::grpc(9);
    fault.abort.as_mut().unwrap().message = Some("drill: naïve".into());
    let mesh = faulty(&server, fault).build().unwrap();
    let mut greeter = GreeterClient::new(client(&mesh));
    let status = greeter.say_hello(HelloRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    assert_eq!(status.message(), "drill: naïve");
    assert_eq!(server.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_share_of_the_calls_is_delayed_and_another_fails() {
    use tower_mesh::testing::Network;

    let network = Network::new();
    let endpoint = network.endpoint("10.0.0.1:80");
    let mut fault = Fault::delay(Duration::from_secs(2)).percent(20.0);
    fault.abort = Fault::abort(500).percent(10.0).abort;
    let mesh = Mesh::builder()
        .endpoints("users", [endpoint.address()])
        .service("users", |it| it.fault(fault))
        .connect_layer(network)
        .seed(7)
        .build()
        .unwrap();
    let (client, started) = (client(&mesh), Instant::now());
    let answers = storm(500, 500, |_| {
        let client = client.clone();
        async move {
            let answer = fetch(&client, get("http://users/")).await.unwrap();
            (answer.status(), started.elapsed() >= Duration::from_secs(2))
        }
    })
    .await;
    let share = |is: fn(&(StatusCode, bool)) -> bool| answers.iter().filter(|it| is(it)).count();
    let (failed, late) = (share(|it| it.0 == 500), share(|it| it.1));
    assert!((25..=75).contains(&failed), "{failed}");
    assert!((75..=125).contains(&late), "{late}");
    assert!((counted(&mesh, "abort") - failed as f64).abs() < 0.5);
    assert!((counted(&mesh, "delay") - late as f64).abs() < 0.5);
}

#[tokio::test]
async fn a_delay_ends_with_the_deadline_and_says_so() {
    let server = Server::named("hello").await;
    let mesh = faulty(&server, Fault::delay(Duration::from_secs(60))).build().unwrap();
    let asked = within(Duration::from_millis(50), get("http://users/"));
    let error = patience(client(&mesh).send(asked)).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Admission));
    assert_eq!((error.refusal(), error.response_flag()), (Some(Refusal::Delay), "DI"));
    let told = error.to_string();
    assert!(told.contains("(50ms) passed in an injected delay of 60s"), "{told}");
    assert_eq!((server.connections(), error.attempts().len()), (0, 0));
}

#[tokio::test]
async fn a_deadline_that_passes_in_the_delay_of_an_attempt_says_so() {
    let server = Server::named("hello").await;
    let mut fault = Fault::delay(Duration::from_secs(60));
    fault.per_attempt = Some(true);
    let short = Duration::from_millis(300);
    for bound in ["deadline of the call", "attempt timeout"] {
        let mesh = faulty(&server, fault.clone())
            .service("users", |it| match bound {
                "attempt timeout" => it.attempt_timeout(short),
                _ => it.timeout(short),
            })
            .build()
            .unwrap();
        let error = patience(client(&mesh).send(post("http://users/", "new"))).await.unwrap_err();
        assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Request));
        assert_eq!((error.refusal(), error.response_flag()), (Some(Refusal::Delay), "DI"));
        let told = error.to_string();
        assert!(
            told.contains(&format!("the {bound} passed in an injected delay: 300ms")),
            "{told}"
        );
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_delay_ends_with_the_deadline_that_a_header_says() {
    let server = Server::named("hello").await;
    let asked = |millis: &str| {
        let request = Request::get("http://users/");
        request.header("x-envoy-upstream-rq-timeout-ms", millis).body(Body::empty()).unwrap()
    };
    let mesh = |delay, timeout| {
        let mesh = faulty(&server, Fault::delay(delay));
        mesh.service("users", |it| it.caller_overrides(true).timeout(timeout)).build().unwrap()
    };
    let long = mesh(Duration::from_secs(60), Duration::from_secs(30));
    let error = patience(client(&long).send(asked("50"))).await.unwrap_err();
    assert_eq!((error.refusal(), error.response_flag()), (Some(Refusal::Delay), "DI"), "{error}");
    assert!(error.to_string().contains("(50ms) passed in an injected delay"), "{error}");
    // It may allow more than its route does.
    let short = mesh(Duration::from_millis(60), Duration::from_millis(20));
    let answer = patience(fetch(&client(&short), asked("20000"))).await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn the_caller_may_choose_by_headers_where_it_is_let() {
    let server = Server::named("hello").await;
    let mut fault = Fault::default();
    fault.delay = Some({
        let mut delay = FaultDelay::default();
        delay.from_header = true;
        delay
    });
    fault.abort = Some({
        let mut abort = FaultAbort::default();
        abort.from_header = true;
        abort
    });
    fault.response_rate = Some({
        let mut rate = FaultRate::default();
        rate.from_header = true;
        rate
    });
    fault.max_active = Some(1);
    let mesh = faulty(&server, fault).build().unwrap();
    let (client, mut events) = (client(&mesh), Recorder::of(&mesh));
    let with = |name: &str, value: &str| {
        Request::get("http://users/").header(name, value).body(Body::empty()).unwrap()
    };
    assert_eq!(patience(fetch(&client, get("http://users/"))).await.unwrap().status(), 200);
    let asked = with("x-envoy-fault-abort-request", "418");
    assert_eq!(patience(fetch(&client, asked)).await.unwrap().status(), 418);
    let started = Instant::now();
    let asked = || with("x-envoy-fault-delay-request", "2000");
    let (first, second) = patience(async {
        let slow = tokio::spawn({
            let (client, asked) = (client.clone(), asked());
            async move { fetch(&client, asked).await.unwrap().status() }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        // No more than one at a time.
        let second = fetch(&client, asked()).await.unwrap().status();
        assert!(started.elapsed() < Duration::from_millis(2000));
        (slow.await.unwrap(), second)
    })
    .await;
    assert_eq!((first, second), (StatusCode::OK, StatusCode::OK));
    assert!(started.elapsed() >= Duration::from_millis(2000));
    let told = [
        InjectedFault::Status(418),
        InjectedFault::Delay(Duration::from_millis(2000)),
        InjectedFault::Overflow,
    ];
    assert_eq!(injected(&mut events), told);
}

#[tokio::test]
async fn a_response_is_passed_on_at_its_rate() {
    const SIZE: usize = 40_000;
    let server = Server::start(|_| async { crate::support::reply(vec![b'x'; SIZE]) }).await;
    let mesh = faulty(&server, Fault::response_rate(100_000)).build().unwrap();
    let mut events = Recorder::of(&mesh);
    let started = Instant::now();
    let answer = patience(client(&mesh).send(get("http://users/"))).await.unwrap();
    assert!(started.elapsed() < Duration::from_millis(200), "its head is not late");
    let mut body = answer.into_body();
    let (mut largest, mut size) = (0, 0);
    while let Some(frame) = patience(body.frame()).await {
        let data = frame.unwrap().into_data().unwrap();
        (largest, size) = (largest.max(data.len()), size + data.len());
    }
    assert_eq!(size, SIZE);
    // 40 kB at 100 kB/s, of which a part goes at once.
    assert!(started.elapsed() >= Duration::from_millis(330), "{:?}", started.elapsed());
    assert!(largest <= 5_000, "{largest}");
    assert_eq!(injected(&mut events), [InjectedFault::ResponseRate(100_000)]);
}

#[tokio::test]
async fn a_slow_response_still_ends_at_its_deadline() {
    let server = Server::start(|_| async { crate::support::reply(vec![b'x'; 1_000_000]) }).await;
    let mut fault = Fault::response_rate(1_024);
    fault.max_active = Some(1);
    let mesh = faulty(&server, fault).build().unwrap();
    let asked = || within(Duration::from_millis(300), get("http://users/"));
    let started = Instant::now();
    let answer = patience(client(&mesh).send(asked())).await.unwrap();
    let error = patience(answer.into_body().bytes()).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Timeout, Phase::Body));
    // Not only when the next of the connection's frames is asked for.
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    // Its place is free again.
    let answer = patience(client(&mesh).send(asked())).await.unwrap();
    drop(answer);
    assert_eq!((counted(&mesh, "response_rate"), counted(&mesh, "overflow")), (2.0, 0.0));
}

#[tokio::test]
async fn grpc_trailers_come_behind_a_slow_body() {
    let server = Server::grpc(hello(|_| async { Ok("x".repeat(20_000)) })).await;
    let mesh = faulty(&server, Fault::response_rate(100_000)).build().unwrap();
    let mut greeter = GreeterClient::new(client(&mesh));
    let started = Instant::now();
    let answer = patience(greeter.say_hello(HelloRequest::default())).await.unwrap();
    assert_eq!(answer.into_inner().message.len(), 20_000);
    assert!(started.elapsed() >= Duration::from_millis(140), "{:?}", started.elapsed());
    let labels = [("rpc.response.status_code", "OK")];
    let calls = mesh.metrics().total("rpc.client.call.duration", &labels);
    assert!((calls - 1.0).abs() < 0.5, "{calls}");
}

#[tokio::test]
async fn attempts_meet_faults_inside_of_retries() {
    let server = Server::named("hello").await;
    let mut fault = Fault::abort(503).percent(50.0);
    fault.per_attempt = Some(true);
    let mesh = faulty(&server, fault)
        .service("users", |it| {
            let backoff = Duration::from_millis(1);
            it.retry(Retry::standard().attempts(10).backoff(backoff, backoff))
        })
        .build()
        .unwrap();
    let (client, mut events) = (client(&mesh), Recorder::of(&mesh));
    for _ in 0..10 {
        assert_eq!(patience(fetch(&client, get("http://users/"))).await.unwrap().status(), 200);
    }
    let aborted = injected(&mut events).len();
    assert!(aborted > 0);
    assert_eq!(events.retries(), vec!["status 503"; aborted]);
    assert_eq!(server.requests(), 10);
    // What is not to be repeated meets one alone, and its answer is returned.
    let mut statuses = Vec::new();
    for _ in 0..20 {
        let answer = patience(fetch(&client, post("http://users/", "new"))).await.unwrap();
        statuses.push(answer.status().as_u16());
    }
    assert!(statuses.contains(&503) && statuses.contains(&200), "{statuses:?}");
    assert_eq!(events.count(|event| matches!(event, Event::EndpointEjected { .. })), 0);
}

#[tokio::test]
async fn a_delayed_attempt_meets_its_timeout_and_another_is_made() {
    let server = Server::named("hello").await;
    let mut fault = Fault::delay(Duration::from_secs(60)).percent(50.0);
    fault.per_attempt = Some(true);
    let mesh = faulty(&server, fault)
        .service("users", |it| {
            let backoff = Duration::from_millis(1);
            it.attempt_timeout(Duration::from_millis(30))
                .retry(Retry::standard().attempts(20).backoff(backoff, backoff))
        })
        .build()
        .unwrap();
    let (client, mut events) = (client(&mesh), Recorder::of(&mesh));
    for _ in 0..8 {
        assert_eq!(patience(fetch(&client, get("http://users/"))).await.unwrap().status(), 200);
    }
    let delayed = injected(&mut events).len();
    assert!(delayed > 0);
    // One that was not delayed may be late, too.
    let retries = events.retries();
    assert!(retries.len() >= delayed, "{retries:?} of {delayed}");
    assert!(retries.iter().all(|it| *it == "attempt timeout"), "{retries:?}");
}

#[tokio::test]
async fn by_file_for_some_headers_and_a_cluster_and_gone_with_the_next_edit() {
    let (blue, green) = (Server::named("blue").await, Server::named("green").await);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let write = |fault: &str| {
        let text = format!(
            "services: {{users: {{filters: [{fault}], routes: [\
             {{matches: [{{path: {{prefix: /green}}}}], clusters: [{{name: green}}]}},\
             {{clusters: [{{name: blue}}]}}]}}}}\n\
             clusters: {{blue: {{endpoints: [{{address: \"{}\"}}]}}, \
             green: {{endpoints: [{{address: \"{}\"}}]}}}}\n",
            blue.address(),
            green.address()
        );
        let next = path.with_extension("next");
        fs::write(&next, text).unwrap();
        fs::rename(next, &path).unwrap();
    };
    write(
        "{fault: {abort: {status: 500}, cluster: green, callers: [n1], \
         headers: [{name: x-drill, matcher: present}]}}",
    );
    let mesh = |node: &str| Mesh::builder().config_file(&path).node(node).build().unwrap();
    let (mesh, other) = (mesh("n1"), mesh("n2"));
    mesh.ready().await.unwrap();
    other.ready().await.unwrap();
    let status = async |mesh: &Mesh, path: &str, drill: bool| {
        let mut request = get(&format!("http://users{path}"));
        if drill {
            request.headers_mut().insert("x-drill", "1".parse().unwrap());
        }
        patience(mesh.http().send(request)).await.unwrap().status().as_u16()
    };
    assert_eq!(status(&mesh, "/green", true).await, 500);
    assert_eq!(status(&mesh, "/green", false).await, 200);
    assert_eq!(status(&mesh, "/blue", true).await, 200);
    assert_eq!(status(&other, "/green", true).await, 200);
    let mut events = Recorder::of(&mesh);
    write("{fault: {abort: {status: 99}}}");
    events.until(|event| matches!(event, Event::ConfigRefused { .. })).await;
    assert!(events.refused()[0].contains("filters[0].fault.abort.status = 99: must be in 200"));
    assert_eq!(status(&mesh, "/green", true).await, 500, "the last good one stays");
    write("");
    events.until(|event| matches!(event, Event::ConfigApplied { .. })).await;
    assert_eq!(status(&mesh, "/green", true).await, 200);
}

#[tokio::test]
async fn what_is_active_is_counted_on_when_something_else_is_edited() {
    let server = Server::named("hello").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let write = |fault: &str, timeout: &str| {
        let text = format!(
            "services: {{users: {{policy: {{timeout: {timeout}}}, filters: [{fault}]}}}}\n\
             clusters: {{users: {{endpoints: [{{address: \"{}\"}}]}}}}\n",
            server.address()
        );
        let next = path.with_extension("next");
        fs::write(&next, text).unwrap();
        fs::rename(next, &path).unwrap();
    };
    let slow = "{fault: {delay: {fixed: 60s}, max_active: 1}}";
    write(slow, "100s");
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    mesh.ready().await.unwrap();
    let mut events = Recorder::of(&mesh);
    let delayed = tokio::spawn(client(&mesh).send(get("http://users/")));
    events.until(|event| matches!(event, Event::FaultInjected { .. })).await;
    write(slow, "200s");
    events.until(|event| matches!(event, Event::ConfigApplied { .. })).await;
    let answer = patience(client(&mesh).send(get("http://users/"))).await.unwrap();
    assert_eq!((answer.status().as_u16(), counted(&mesh, "overflow")), (200, 1.0));
    // One that is another begins anew, and the call under way keeps its own.
    write("{fault: {abort: {status: 500}, max_active: 1}}", "200s");
    while patience(client(&mesh).send(get("http://users/"))).await.unwrap().status() != 500 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!delayed.is_finished());
    delayed.abort();
}

#[tokio::test]
async fn it_is_told_and_described_as_it_is() {
    let server = Server::named("hello").await;
    let mut fault = Fault::delay(Duration::from_secs(2)).percent(10.0);
    fault.headers = vec![HeaderMatch::new("x-drill", StringMatch::Present)];
    let mut attempts = Fault::abort(503);
    attempts.per_attempt = Some(true);
    let mesh = faulty(&server, fault).service("users", |it| it.fault(attempts)).build().unwrap();
    mesh.ready().await.unwrap();
    let mut asked = get("http://users/");
    asked.headers_mut().insert("x-drill", "1".parse().unwrap());
    let told = mesh.explain(&asked).unwrap();
    let expected = ["fault: delay of 2s, for 10 %", "fault of each attempt: status 503"];
    assert_eq!((told.guards.as_slice(), told.fails), (&expected.map(str::to_owned)[..], None));
    assert_eq!(mesh.explain(&get("http://users/")).unwrap().guards.len(), 1);
    let described = mesh.describe();
    let settings = &described.services[0].routes[0].settings;
    let faults: Vec<_> = settings.iter().filter(|it| it.name == "fault").collect();
    assert_eq!(faults[0].value, "delay of 2s for 10 %, by headers x-drill");
    assert_eq!(faults[1].value, "abort by status 503, for each attempt");
    assert!(faults.iter().all(|it| it.origin == SettingOrigin::Code));
    assert_eq!(server.connections(), 0);
}
