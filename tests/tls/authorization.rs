//! Rules of authorisation on the calling side: asked before anything is done to a call, and closed
//! where they cannot be answered.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{fs, path::Path, time::Duration};

use crate::support::{
    GreeterClient, HelloRequest, Recorder, Server, cluster, fetch, get, hello, patience,
};
use http::{Request, StatusCode};
use tower_mesh::{
    AuthorizationVerdict as Verdict, Body, Error, ErrorKind, Event, Mesh, MeshBuilder, Phase,
    Refusal, SettingOrigin,
    config::{
        Action, Authorization, AuthorizationRule as Rule, Filter, LabelMatch, PathMatch,
        Permission, Principal, RateLimit, Route, Service, StringMatch, TokenBucket,
        WeightedCluster,
    },
    discover::Static,
};

fn exact(text: &str) -> StringMatch {
    StringMatch::Exact(text.into())
}

fn prefix(path: &str) -> Permission {
    Permission::Path(PathMatch::Prefix(path.into()))
}

fn rules(list: impl IntoIterator<Item = Rule>) -> Authorization {
    let mut rules = Authorization::default();
    rules.rules = list.into_iter().collect();
    rules
}

/// A mesh of the one service `users`.
fn over(server: &Server) -> MeshBuilder {
    Mesh::builder().endpoints("users", [server.address()])
}

async fn called(mesh: &Mesh, path: &str) -> Result<StatusCode, Error> {
    Ok(patience(mesh.http().send(get(path))).await?.status())
}

async fn denied(mesh: &Mesh, path: &str) -> Error {
    called(mesh, path).await.unwrap_err()
}

/// What rules have said in these events.
fn verdicts(events: &mut Recorder) -> Vec<(Verdict, Option<String>)> {
    let said = |event: &Event| match event {
        Event::Authorization { verdict, rule, .. } => {
            Some((*verdict, rule.as_deref().map(str::to_owned)))
        }
        _ => None,
    };
    events.events().iter().filter_map(said).collect()
}

#[tokio::test]
async fn a_denied_call_names_its_rule_and_opens_no_connection() {
    let server = Server::named("hello").await;
    let admin = || rules([Rule::deny("no admin").permission(prefix("/admin"))]);
    let mesh = over(&server).service("users", |it| it.authorize(admin())).build().unwrap();
    let mut events = Recorder::of(&mesh);
    let error = denied(&mesh, "http://users/admin/x").await;
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Denied, Phase::Authorize));
    assert!(error.is_denied() && !error.is_retryable());
    assert_eq!((error.refusal(), error.response_flag()), (Some(Refusal::Denied), "AZ"));
    assert_eq!(error.http_status(), StatusCode::FORBIDDEN);
    let told = error.to_string();
    assert!(
        told.contains("denied by policy: rule `no admin` denies it (authorize phase"),
        "{told}"
    );
    assert_eq!((server.connections(), error.attempts().len()), (0, 0));
    let said = events.events().iter().find_map(|event| match event {
        Event::Authorization { service, call, .. } => Some((service.to_string(), *call)),
        _ => None,
    });
    assert_eq!(said, Some(("users".to_owned(), 1)));
    assert_eq!(verdicts(&mut events), [(Verdict::Denied, Some("no admin".into()))]);
    let counted = |verdict| {
        let labels = [("mesh.service", "users"), ("mesh.authorization.verdict", verdict)];
        mesh.metrics().total("mesh.client.authorization.verdicts", &labels)
    };
    assert_eq!((counted("denied"), counted("logged")), (1.0, 0.0));
    // What is allowed is called, and makes no noise.
    assert_eq!(called(&mesh, "http://users/orders").await.unwrap(), StatusCode::OK);
    assert_eq!(verdicts(&mut events).len(), 1);
    assert_eq!(events.count(|event| matches!(event, Event::AttemptStarted { .. })), 1);
}

#[tokio::test]
async fn a_rule_on_the_path_with_its_query_is_asked_about_both() {
    let server = Server::named("hello").await;
    let debug = Permission::PathAndQuery(StringMatch::Contains("?debug=".into()));
    let said = rules([Rule::deny("debug").permission(debug)]);
    let mesh = over(&server).service("users", |it| it.authorize(said)).build().unwrap();
    assert!(denied(&mesh, "http://users/orders?debug=1").await.is_denied());
    assert!(called(&mesh, "http://users/orders?id=7").await.is_ok());
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn what_no_rule_allows_is_denied_with_the_status_that_is_asked_for() {
    let server = Server::named("hello").await;
    let mut said = rules([
        Rule::allow("orders").permission(prefix("/orders")),
        Rule::deny("drafts").permission(prefix("/orders/drafts")),
    ]);
    said.status = Some(404);
    let mesh = over(&server).service("users", |it| it.authorize(said)).build().unwrap();
    assert!(called(&mesh, "http://users/orders/7").await.is_ok());
    let error = denied(&mesh, "http://users/orders/drafts").await;
    assert!(error.to_string().contains("rule `drafts` denies it"), "{error}");
    let error = denied(&mesh, "http://users/users").await;
    let told = "no rule allows it; this process has no identity";
    assert!(error.to_string().contains(told), "{error}");
    assert_eq!(error.http_status(), StatusCode::NOT_FOUND);
    assert!(denied(&mesh, "http://users/orders/../admin").await.is_denied());
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_grpc_caller_gets_permission_denied() {
    let server = Server::grpc(hello(|_| async { Ok("hello".to_owned()) })).await;
    let method = Permission::Path(PathMatch::Exact("/helloworld.Greeter/SayHello".into()));
    let said = rules([Rule::deny("no greetings").permission(method)]);
    let mesh = over(&server).service("users", |it| it.authorize(said)).build().unwrap();
    let mut client = GreeterClient::new(mesh.client("users").unwrap());
    let status = client.say_hello(HelloRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::PermissionDenied, "{status:?}");
    assert!(status.message().contains("rule `no greetings` denies it"), "{status:?}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn rules_of_the_mesh_are_for_every_service_and_its_labels() {
    let (users, orders) = (Server::named("users").await, Server::named("orders").await);
    let said = || {
        rules([
            Rule::allow("shop")
                .principal(Principal::Label(LabelMatch::new("team", exact("shop"))))
                .permission(Permission::Service(exact("users"))),
            Rule::allow("reads").permission(Permission::Service(exact("orders"))),
        ])
    };
    let mesh = |team: &str| {
        Mesh::builder()
            .endpoints("users", [users.address()])
            .endpoints("orders", [orders.address()])
            .label("team", team)
            .authorize(said())
            .build()
            .unwrap()
    };
    let (shop, other) = (mesh("shop"), mesh("other"));
    assert!(called(&shop, "http://users/").await.is_ok());
    assert!(denied(&other, "http://users/").await.is_denied());
    for mesh in [shop, other] {
        let client = mesh.client("orders").unwrap();
        assert!(patience(fetch(&client, get("http://orders/"))).await.is_ok());
    }
    assert_eq!(users.requests(), 1);
    // As strict as what a source says.
    let refused = Mesh::builder().endpoints("users", [users.address()]);
    let refused = refused.authorize(Authorization::default()).build().unwrap_err();
    assert!(refused.to_string().contains("authorize.rules = []: must say rules"), "{refused}");
}

#[tokio::test]
async fn dry_rules_and_notes_are_told_and_deny_nothing() {
    let server = Server::named("hello").await;
    let mut note = Rule::allow("notes");
    note.action = Action::Log;
    let said = rules([Rule::deny("admin").permission(prefix("/admin")).dry_run(), note]);
    let mesh = over(&server).service("users", |it| it.authorize(said)).build().unwrap();
    let mut events = Recorder::of(&mesh);
    assert!(called(&mesh, "http://users/admin").await.is_ok());
    let told = [
        (Verdict::Logged, Some("notes".to_owned())),
        (Verdict::WouldDeny, Some("admin".to_owned())),
    ];
    assert_eq!(verdicts(&mut events), told);
}

#[tokio::test]
async fn it_is_told_and_described_as_it_is() {
    let server = Server::named("hello").await;
    let said = rules([
        Rule::allow("reads").permission(Permission::Method("GET".into())),
        Rule::deny("admin").permission(prefix("/admin")),
        Rule::deny("late").permission(prefix("/late")).dry_run(),
    ]);
    let mesh = over(&server).service("users", |it| it.authorize(said)).build().unwrap();
    mesh.ready().await.unwrap();
    let told = mesh.explain(&get("http://users/x")).unwrap();
    assert_eq!(told.guards, ["authorize: allowed: rule `reads` allows it"]);
    assert_eq!(told.fails, None);
    let told = mesh.explain(&get("http://users/admin")).unwrap();
    assert_eq!(told.fails.as_deref(), Some("authorize: denied: rule `admin` denies it"));
    let late = mesh.explain(&get("http://users/late")).unwrap();
    assert!(late.guards[0].contains("allows it; would be denied by rule `late`"), "{late}");
    let request = Request::post("http://users/x").body(()).unwrap();
    let told = mesh.explain(&request).unwrap();
    assert!(told.to_string().contains("the call fails: authorize: denied: no rule"), "{told}");
    let described = mesh.describe();
    let settings = &described.services[0].routes[0].settings;
    let setting = settings.iter().find(|setting| setting.name == "authorize").unwrap();
    let value = "a denial wins, allow `reads`, deny `admin`, deny `late`, dry, otherwise deny";
    assert_eq!((&*setting.value, setting.origin), (value, SettingOrigin::Code));
    assert_eq!(server.connections(), 0);
}

/// A mesh file with this authorisation for the service `users`.
fn file(server: &Server, authorization: &str, route: &str) -> String {
    format!(
        "services: {{users: {{filters: [{{authorize: {authorization}}}], routes: [{route}]}}}}\n\
         clusters: {{users: {{endpoints: [{{address: \"{}\"}}]}}}}\n",
        server.address()
    )
}

const ALL: &str = "{clusters: [{name: users}]}";

fn write(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(next, path).unwrap();
}

#[tokio::test]
async fn a_bad_edit_of_the_file_keeps_the_last_good_rules() {
    let server = Server::named("hello").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let admin = "{rules: [{name: admin, action: deny, permissions: [{path: {prefix: /admin}}]}]}";
    write(&path, &file(&server, admin, ALL));
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    mesh.ready().await.unwrap();
    assert!(denied(&mesh, "http://users/admin").await.is_denied());
    let mut events = Recorder::of(&mesh);
    for (bad, expected) in [
        ("{rules: []}", "services.users.filters[0].authorize.rules = []: must say rules"),
        (
            "{rules: [{action: deny, permissions: [{path: {regex: \"(\"}}]}]}",
            "rules[0].permissions[0].path.regex = (: is not a regular expression",
        ),
        (
            "{rules: [{action: deny, principals: [{peer_ip: 10.0.0.0/8}]}]}",
            "rules[0].principals[0].peer_ip = 10.0.0.0/8: not supported yet",
        ),
        ("{rules: [{action: deny, when: now}]}", "unknown field `when`"),
    ] {
        write(&path, &file(&server, bad, ALL));
        let is_so = |event: &Event| match event {
            Event::ConfigRefused { reason, .. } => reason.contains(expected),
            _ => false,
        };
        events.until(is_so).await;
        assert!(denied(&mesh, "http://users/admin").await.is_denied(), "{bad}");
        assert!(called(&mesh, "http://users/x").await.is_ok());
    }
    let all = "{rules: [{name: all}]}";
    write(&path, &file(&server, all, ALL));
    events.until(|event| matches!(event, Event::ConfigApplied { .. })).await;
    assert!(called(&mesh, "http://users/admin").await.is_ok());
}

#[tokio::test]
async fn a_service_whose_first_rules_are_refused_does_not_run_open() {
    let server = Server::named("hello").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let bad = "{rules: [{action: deny, principals: [{claim: {path: [sub]}}]}]}";
    write(&path, &file(&server, bad, ALL));
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    let mut events = Recorder::of(&mesh);
    events.until(|event| matches!(event, Event::ConfigRefused { .. })).await;
    // Neither open, nor by the cluster of the same name.
    let error = denied(&mesh, "http://users/").await;
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("nothing here verifies tokens"), "{error}");
    assert_eq!(server.connections(), 0);
    write(&path, &file(&server, "{otherwise: allow}", ALL));
    while called(&mesh, "http://users/").await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_route_that_answers_by_itself_is_judged_as_well() {
    let server = Server::named("hello").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let direct = "{filters: [{direct_response: {status: 200, body: open}}]}";
    write(&path, &file(&server, "{otherwise: deny}", direct));
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    mesh.ready().await.unwrap();
    let error = denied(&mesh, "http://users/").await;
    assert!(error.to_string().contains("no rule allows it"), "{error}");
}

#[tokio::test]
async fn the_request_is_judged_as_its_caller_has_made_it() {
    let server = Server::start(|request| async move {
        crate::support::reply(request.headers()["x-team"].as_bytes().to_vec())
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let shop = "{rules: [{name: shop, permissions: [{header: {name: x-team, matcher: {exact: \
                shop}}}]}]}";
    let edits = "{clusters: [{name: users}], filters: [{request_headers: {set: {x-team: other}}}]}";
    write(&path, &file(&server, shop, edits));
    let mesh = Mesh::builder().config_file(&path).build().unwrap();
    mesh.ready().await.unwrap();
    let client = mesh.client("users").unwrap();
    let asked = Request::get("http://users/").header("x-team", "shop");
    let answer = patience(fetch(&client, asked.body(Body::empty()).unwrap())).await.unwrap();
    assert_eq!(&answer.body()[..], b"other");
    assert!(denied(&mesh, "http://users/").await.is_denied());
}

#[cfg(feature = "tls-aws-lc-rs")]
mod identity {
    use std::pin::Pin;

    use crate::support::{Ca, Issued};
    use tokio::sync::oneshot;
    use tower_mesh::{
        config::IdentityMatch,
        security::{Identity, IdentityPublisher, KeyPair},
    };

    use super::*;

    const CART: &str = "spiffe://prod.example/ns/shop/sa/cart";

    fn cart() -> Authorization {
        let account = Principal::ServiceAccount(exact("cart"));
        let named = Principal::All(vec![Principal::Namespace(exact("shop")), account]);
        rules([Rule::allow("cart").principal(named)])
    }

    #[tokio::test]
    async fn the_own_certificate_says_who_calls_and_its_rotation_is_followed() {
        let (ca, server) = (Ca::new("ca"), Server::named("hello").await);
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = ca.issue(&[CART]).write(dir.path());
        let pair = KeyPair::pem_files(&certificate, &key).poll_interval(Duration::from_millis(100));
        let mesh = over(&server).identity(pair).service("users", |it| it.authorize(cart()));
        let mesh = mesh.build().unwrap();
        mesh.ready().await.unwrap();
        assert!(called(&mesh, "http://users/").await.is_ok());
        let mut events = Recorder::of(&mesh);
        ca.issue(&["spiffe://prod.example/ns/shop/sa/till"]).write(dir.path());
        events.until(|event| matches!(event, Event::ConfigApplied { .. })).await;
        let error = denied(&mesh, "http://users/").await.to_string();
        let told = "no rule allows it; this process is spiffe://prod.example/ns/shop/sa/till";
        assert!(error.contains(told), "{error}");
        // A pair that cannot be used takes nothing away.
        fs::write(&key, "no key").unwrap();
        events.until(|event| matches!(event, Event::ConfigRefused { .. })).await;
        assert!(denied(&mesh, "http://users/").await.to_string().contains("/sa/till"));
    }

    /// An identity that speaks when the test does.
    struct Late(oneshot::Receiver<Issued>);

    impl Identity for Late {
        fn name(&self) -> String {
            "late".to_owned()
        }

        fn run(
            self: Box<Self>,
            publish: IdentityPublisher,
        ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(async move {
                if let Ok(issued) = self.0.await {
                    publish.pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes()).unwrap();
                }
                std::future::pending::<()>().await;
            })
        }
    }

    #[tokio::test]
    async fn a_call_waits_for_an_identity_that_is_on_its_way() {
        let (ca, server) = (Ca::new("ca"), Server::named("hello").await);
        let (send, late) = oneshot::channel();
        let mesh = over(&server).identity(Late(late)).service("users", |it| it.authorize(cart()));
        let mesh = mesh.build().unwrap();
        let calls = tokio::spawn({
            let mesh = mesh.clone();
            async move { called(&mesh, "http://users/").await }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!calls.is_finished());
        drop(send.send(ca.issue(&[CART])));
        assert_eq!(calls.await.unwrap().unwrap(), StatusCode::OK);
    }

    #[tokio::test]
    async fn an_identity_that_does_not_come_denies_and_never_opens() {
        let server = Server::named("hello").await;
        let (_send, late) = oneshot::channel();
        let stranger = Principal::Identity(IdentityMatch::Exact("spiffe://a/b".into()));
        let said = rules([Rule::deny("stranger").principal(stranger)]);
        let mesh = over(&server)
            .identity(Late(late))
            .resolve_timeout(Duration::from_millis(100))
            .service("users", |it| it.authorize(said))
            .build()
            .unwrap();
        let error = denied(&mesh, "http://users/").await.to_string();
        let told = "rule `stranger` may deny it: the own identity is not known yet";
        assert!(error.contains(told), "{error}");
        // The call's own deadline ends the wait, too.
        let asked = crate::support::within(Duration::from_millis(20), get("http://users/"));
        let client = mesh.client("users").unwrap();
        assert!(patience(fetch(&client, asked)).await.unwrap_err().is_timeout());
        assert_eq!(server.connections(), 0);
    }

    #[tokio::test]
    async fn an_identity_that_the_file_has_wrong_is_none_and_not_nobody() {
        let server = Server::named("hello").await;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mesh.yaml");
        let strangers = "{rules: [{name: meshed, action: deny, principals: [authenticated]}]}";
        let wrong = "identities: {default: {certificate: none.crt}}\n";
        write(&path, &(file(&server, strangers, ALL) + wrong));
        let mesh = Mesh::builder()
            .config_file(&path)
            .resolve_timeout(Duration::from_millis(100))
            .build()
            .unwrap();
        let mut events = Recorder::of(&mesh);
        events.until(|event| matches!(event, Event::ConfigRefused { .. })).await;
        let error = denied(&mesh, "http://users/").await.to_string();
        assert!(error.contains("rule `meshed` may deny it"), "{error}");
    }
}

/// A cluster alone is the service of its name: its rules must be there before it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_passes_between_a_new_cluster_and_its_rules() {
    use tower_mesh::config;
    let server = Server::named("hello").await;
    for _ in 0..200 {
        let mut cluster = config::Cluster::default();
        cluster.endpoints.push(config::Endpoint::new(server.address()));
        let mut service = Service::default();
        service.filters.push(Filter::Authorize(rules([Rule::deny("nobody")])));
        let source = Static::default().cluster("users", cluster).service("users", service);
        let mesh = Mesh::builder().source(source).build().unwrap();
        // Before the source has spoken.
        let error = denied(&mesh, "http://users/").await;
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    }
    assert_eq!((server.connections(), server.requests()), (0, 0));
}

/// One token for an hour.
fn one_token() -> Filter {
    let hour = Duration::from_secs(3_600);
    Filter::RateLimit(Box::new(RateLimit::new(TokenBucket::new(1, 1, hour))))
}

fn no_admin() -> Filter {
    Filter::Authorize(rules([Rule::deny("no admin").permission(prefix("/admin"))]))
}

/// Denials come before the limit, which has its token still.
async fn denies_for_nothing(mesh: &Mesh, server: &Server) {
    for _ in 0..3 {
        let error = denied(mesh, "http://users/admin").await;
        assert!(error.is_denied(), "{error}");
    }
    assert_eq!(called(mesh, "http://users/").await.unwrap(), StatusCode::OK);
    let error = denied(mesh, "http://users/").await;
    assert_eq!(error.refusal(), Some(Refusal::RateLimited), "{error}");
    assert!(denied(mesh, "http://users/admin").await.is_denied());
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn who_is_denied_by_a_route_takes_no_token_of_its_service() {
    let server = Server::named("hello").await;
    let mut route = Route::default();
    route.clusters = vec![WeightedCluster::new("users")];
    route.filters = vec![no_admin()];
    let mut service = Service::default();
    service.filters = vec![one_token()];
    service.routes = vec![route];
    let source = Static::default().cluster("users", cluster([server.address()]));
    let mesh = Mesh::builder().source(source.service("users", service)).build().unwrap();
    denies_for_nothing(&mesh, &server).await;
}

#[tokio::test]
async fn who_is_denied_by_another_source_takes_no_token_and_each_is_told_as_its_own() {
    let server = Server::named("hello").await;
    let (mut first, mut second) = (Service::default(), Service::default());
    first.filters = vec![one_token()];
    second.filters = vec![no_admin()];
    let source = Static::default().cluster("users", cluster([server.address()]));
    let mesh = Mesh::builder()
        .source(source.service("users", first))
        .source(Static::default().service("users", second))
        .service("users", |it| it.authorize(rules([Rule::deny("x").permission(prefix("/x"))])))
        .build()
        .unwrap();
    denies_for_nothing(&mesh, &server).await;
    let told = mesh.describe();
    let told = told.services[0].routes[0].settings.iter();
    let told = told.filter(|it| ["authorize", "rate_limit"].contains(&&*it.name));
    let told: Vec<_> = told.map(|it| (&*it.name, it.origin, it.source.is_some())).collect();
    let code = ("authorize", SettingOrigin::Code, false);
    let [rules, limit] =
        ["authorize", "rate_limit"].map(|it| (it, SettingOrigin::ControlPlane, true));
    assert_eq!(told, [code, rules, limit]);
}
