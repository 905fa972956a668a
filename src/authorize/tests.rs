use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;

use super::*;
use crate::{
    config::{
        Action, Authorization, AuthorizationRule as Rule, Evaluation, HeaderMatch, IdentityMatch,
        LabelMatch, PathMatch, Permission, Principal, SanKind, SanMatch, StringMatch,
    },
    core::AuthorizationVerdict as Verdict,
};

const CART: &str = "spiffe://prod.example/ns/shop/sa/cart";

fn exact(text: &str) -> StringMatch {
    StringMatch::Exact(text.into())
}

fn prefix(path: &str) -> Permission {
    Permission::Path(PathMatch::Prefix(path.into()))
}

fn rules(rules: impl IntoIterator<Item = Rule>) -> Authorization {
    Authorization { rules: rules.into_iter().collect(), ..Authorization::default() }
}

/// A call, as tests change it.
struct Asked {
    who: Option<Who>,
    known: bool,
    labels: BTreeMap<String, String>,
    service: &'static str,
    method: Method,
    host: Option<&'static str>,
    path: &'static str,
    headers: HeaderMap,
}

fn get(path: &'static str) -> Asked {
    Asked {
        who: Some(Who::of_texts([CART])),
        known: true,
        labels: BTreeMap::from([("app".into(), "cart".into())]),
        service: "orders",
        method: Method::GET,
        host: Some("orders.example"),
        path,
        headers: HeaderMap::new(),
    }
}

impl Asked {
    fn by(self, name: &str) -> Self {
        Self { who: Some(Who::of_texts([name])), ..self }
    }

    fn by_nobody(self) -> Self {
        Self { who: None, ..self }
    }

    fn unknown(self) -> Self {
        Self { known: false, ..self }
    }

    fn header(mut self, name: &'static str, value: &[u8]) -> Self {
        self.headers.append(name, HeaderValue::from_bytes(value).unwrap());
        self
    }

    fn facts(&self) -> Facts<'_> {
        let caller = match &self.who {
            _ if !self.known => Caller::Unknown,
            None => Caller::Nobody,
            Some(who) => Caller::Known(who),
        };
        let (path, query) = match self.path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.path, None),
        };
        let (who, what) = ((caller, &self.labels), (&self.method, self.host));
        Facts::new(who, self.service, what, (path, query), &self.headers)
    }

    /// Whether it is allowed, and why.
    fn judge(&self, said: &Authorization) -> (bool, String) {
        said.validate("a").unwrap();
        let rules = Rules::new(said).unwrap();
        let facts = self.facts();
        let decided = rules.decide(&facts);
        (decided.allowed, decided.words(&facts))
    }

    fn reports(&self, said: &Authorization) -> Vec<(Verdict, String)> {
        let rules = Rules::new(said).unwrap();
        let (facts, mut told) = (self.facts(), Vec::new());
        let decided = rules.decide(&facts);
        rules.report(&facts, &decided, |verdict, rule| {
            told.push((verdict, rule.map_or_else(String::new, ToString::to_string)));
        });
        told
    }
}

#[test]
fn a_denial_wins_over_what_is_allowed_whatever_the_order() {
    let said = rules([Rule::allow("all"), Rule::deny("admin").permission(prefix("/admin"))]);
    assert_eq!(get("/admin/x").judge(&said), (false, "rule `admin` denies it".into()));
    assert_eq!(get("/orders").judge(&said), (true, "rule `all` allows it".into()));
}

#[test]
fn the_first_match_decides_where_that_is_asked_for() {
    let mut said = rules([
        Rule::allow("reports").permission(prefix("/admin/reports")),
        Rule::deny("admin").permission(prefix("/admin")),
    ]);
    said.evaluation = Evaluation::FirstMatch;
    assert!(get("/admin/reports").judge(&said).0);
    assert!(!get("/admin/users").judge(&said).0);
    assert_eq!(get("/").judge(&said).1, "no rule allows it; this process is ".to_owned() + CART);
}

#[test]
fn what_no_rule_decides() {
    let deny = rules([Rule::deny("admin").permission(prefix("/admin"))]);
    assert_eq!(get("/").judge(&deny), (true, "no rule denies it".into()));
    let mut allow = rules([Rule::allow("admin").permission(prefix("/admin"))]);
    assert!(!get("/").judge(&allow).0);
    allow.otherwise = Some(Action::Allow);
    assert!(get("/").judge(&allow).0);
    let closed = Authorization { otherwise: Some(Action::Deny), ..Authorization::default() };
    assert!(!get("/").judge(&closed).0);
    let noted = Authorization { otherwise: Some(Action::Log), ..Authorization::default() };
    assert!(get("/").judge(&noted).0);
    assert_eq!(get("/").reports(&noted), [(Verdict::Logged, String::new())]);
    let unnamed = rules([Rule { action: Action::Deny, ..Rule::default() }]);
    assert_eq!(get("/").judge(&unnamed).1, "rule `rule 1` denies it");
}

#[test]
fn each_principal() {
    let is = |identity| Principal::Identity(identity);
    let id = |text: &str| is(IdentityMatch::Exact(text.into()));
    let below = |text: &str| is(IdentityMatch::Prefix(text.into()));
    let domain = |text: &str| is(IdentityMatch::TrustDomain(text.into()));
    let san = |kind, matcher| is(IdentityMatch::San(SanMatch { kind, ..SanMatch::new(matcher) }));
    let label = |name: &str, text: &str| Principal::Label(LabelMatch::new(name, exact(text)));
    let header = Principal::Header(HeaderMatch::new("x-user", exact("eve")));
    let dns = "Cart.Shop.Example";
    for (principal, by, expected) in [
        (Principal::Any, CART, true),
        (Principal::Authenticated, CART, true),
        (id(CART), CART, true),
        (id("spiffe://prod.example/ns/shop/sa/car"), CART, false),
        (id("cart.shop.example"), dns, true),
        (id("*.shop.example"), dns, false),
        (below("spiffe://prod.example/ns/shop"), CART, true),
        (below("spiffe://prod.example/ns/shop/"), CART, true),
        (below("spiffe://prod.example/ns/sh"), CART, false),
        (domain("prod.example"), CART, true),
        (domain("spiffe://prod.example"), CART, true),
        (domain("prod"), CART, false),
        (domain("prod.example"), dns, false),
        (san(Some(SanKind::Dns), StringMatch::Suffix(".SHOP.example".into())), dns, true),
        (san(Some(SanKind::Uri), StringMatch::Suffix(".shop.example".into())), dns, false),
        (san(None, StringMatch::Contains("/sa/cart".into())), CART, true),
        (Principal::Namespace(exact("shop")), CART, true),
        (Principal::Namespace(exact("sa")), CART, false),
        (Principal::ServiceAccount(exact("cart")), CART, true),
        (Principal::ServiceAccount(exact("cart")), dns, false),
        // Consul's ids have no service account, and a namespace.
        (Principal::Namespace(exact("web")), "spiffe://a/ap/x/ns/web/dc/d/svc/s", true),
        (Principal::ServiceAccount(StringMatch::Present), "spiffe://a/ns/web/dc/d/svc/s", false),
        (label("app", "cart"), CART, true),
        (label("app", "car"), CART, false),
        (label("zone", ""), CART, false),
        (header, CART, false),
        (Principal::Path(PathMatch::Exact("/a".into())), CART, true),
        (Principal::Not(Box::new(id(CART))), dns, true),
        (Principal::All(vec![Principal::Any, id(CART)]), CART, true),
        (Principal::AnyOf(vec![id("x"), id(CART)]), CART, true),
        (Principal::AnyOf(vec![id("x"), id("y")]), CART, false),
    ] {
        let said = rules([Rule::allow("it").principal(principal.clone())]);
        assert_eq!(get("/a").by(by).judge(&said).0, expected, "{principal:?} of {by}");
    }
}

#[test]
fn each_permission() {
    let mut inverted = HeaderMatch::new("x-trace", exact("1"));
    inverted.invert = true;
    for (permission, expected) in [
        (Permission::Any, true),
        (prefix("/orders"), true),
        (prefix("/order"), false),
        (Permission::Method("GET".into()), true),
        (Permission::Method("get".into()), false),
        (Permission::Service(exact("Orders")), true),
        (Permission::Service(exact("users")), false),
        (Permission::Host(StringMatch::Suffix(".EXAMPLE".into())), true),
        (Permission::Host(exact("users.example")), false),
        (Permission::Header(HeaderMatch::new("x-env", exact("test"))), true),
        // As everywhere: what is not there has no other value either.
        (Permission::Header(inverted), false),
        (
            Permission::Not(Box::new(Permission::Header(HeaderMatch::new("x-trace", exact("1"))))),
            true,
        ),
        (Permission::All(vec![prefix("/orders"), Permission::Method("PUT".into())]), false),
        (Permission::AnyOf(vec![prefix("/x"), Permission::Method("GET".into())]), true),
        (Permission::PathAndQuery(exact("/orders/7")), true),
        (Permission::PathAndQuery(StringMatch::Suffix("/8".into())), false),
    ] {
        let said = rules([Rule::allow("it").permission(permission.clone())]);
        let asked = get("/orders/7").header("x-env", b"test");
        assert_eq!(asked.judge(&said).0, expected, "{permission:?}");
    }
}

#[test]
fn one_of_the_principals_and_one_of_the_permissions_must_match() {
    let said = rules([Rule::allow("it")
        .principal(Principal::Namespace(exact("x")))
        .principal(Principal::Namespace(exact("shop")))
        .permission(prefix("/x"))
        .permission(prefix("/orders"))]);
    assert!(get("/orders").judge(&said).0);
    assert!(!get("/users").judge(&said).0);
    assert!(!get("/orders").by("spiffe://prod.example/ns/y/sa/cart").judge(&said).0);
}

#[test]
fn a_process_without_identity_is_nobody() {
    let said = rules([Rule::allow("meshed").principal(Principal::Authenticated)]);
    let (allowed, why) = get("/").by_nobody().judge(&said);
    assert_eq!((allowed, &*why), (false, "no rule allows it; this process has no identity"));
    let said = rules([
        Rule::deny("strangers").principal(Principal::Not(Box::new(Principal::Authenticated)))
    ]);
    assert!(!get("/").by_nobody().judge(&said).0);
}

#[test]
fn in_doubt_of_the_identity_a_rule_denies_and_none_allows() {
    let cart = || Principal::ServiceAccount(exact("cart"));
    let deny = rules([Rule::deny("cart").principal(cart())]);
    let (allowed, why) = get("/").unknown().judge(&deny);
    let told = "rule `cart` may deny it: the own identity is not known yet";
    assert_eq!((allowed, &*why), (false, told));
    let not = rules([Rule::deny("others").principal(Principal::Not(Box::new(cart())))]);
    assert!(!get("/").unknown().judge(&not).0);
    let allow = rules([Rule::allow("cart").principal(cart())]);
    assert!(!get("/").unknown().judge(&allow).0);
    // What does not depend on it is decided.
    let of_path = rules([Rule::deny("cart").principal(cart()).permission(prefix("/admin"))]);
    assert!(get("/orders").unknown().judge(&of_path).0);
    // An id that is not one either.
    let two = Asked { who: Some(Who::of_texts([CART, "spiffe://a/ns/x/sa/y"])), ..get("/") };
    assert!(!two.judge(&deny).0);
    assert!(!two.judge(&allow).0);
}

#[test]
fn a_path_of_two_readings_is_denied_and_not_allowed() {
    let deny = rules([Rule::deny("admin").permission(prefix("/admin"))]);
    let allow = rules([Rule::allow("orders").permission(prefix("/orders"))]);
    for path in ["//admin", "/%61dmin", "/orders/../admin", "/orders/..%2fadmin", "/\\admin"] {
        let (allowed, why) = get(path).judge(&deny);
        assert!(!allowed && why.contains("two ways"), "{path}: {why}");
        assert!(!get(path).judge(&allow).0, "{path}");
    }
    // What others merge, or resolve, alone.
    let exact = |path: &str| Permission::Path(PathMatch::Exact(path.into()));
    assert!(!get("/x//../admin").judge(&rules([Rule::deny("it").permission(exact("/x/admin"))])).0);
    for path in ["/orders/a%20b", "/orders//", "/orders/."] {
        assert!(get(path).judge(&allow).0 && get(path).judge(&deny).0, "{path}");
    }
}

#[test]
fn a_path_with_its_query_is_asked_for_as_one_text() {
    let text = || StringMatch::Contains("?debug=".into());
    let deny = rules([Rule::deny("debug").permission(Permission::PathAndQuery(text()))]);
    let who = rules([Rule::deny("debug").principal(Principal::PathAndQuery(text()))]);
    for said in [&deny, &who] {
        assert!(!get("/orders?debug=1").judge(said).0);
        assert!(get("/orders?id=7&debug=1").judge(said).0);
        assert!(get("/orders").judge(said).0);
    }
    let allow = |text| rules([Rule::allow("it").permission(Permission::PathAndQuery(text))]);
    let whole = allow(exact("/orders"));
    assert!(get("/orders").judge(&whole).0);
    assert!(!get("/orders?id=7").judge(&whole).0);
    // A path of several readings is in doubt with its query, too.
    let whole = allow(exact("//orders?id=7"));
    assert!(!get("//orders?id=7").judge(&whole).0);
    assert!(!get("//orders?debug=1").judge(&deny).0);
    let exactly = rules([Rule::deny("it").permission(Permission::PathAndQuery(exact("/a?b")))]);
    assert!(!get("//a?b").judge(&exactly).0);
    assert!(get("//a?c").judge(&exactly).0);
    // A rule on the path alone knows no query.
    let path = |path: &str| Permission::Path(PathMatch::Exact(path.into()));
    assert!(get("/orders?id=7").judge(&rules([Rule::allow("it").permission(path("/orders"))])).0);
}

#[test]
fn a_host_with_a_port_or_a_final_dot_passes_no_denial_of_it() {
    let of_host = |text: &str| Permission::Host(exact(text));
    let asked = |host| Asked { host: Some(host), ..get("/") };
    let deny = rules([Rule::deny("orders").permission(of_host("orders.example"))]);
    let others = Permission::Not(Box::new(of_host("orders.example")));
    let allow = rules([Rule::allow("others").permission(others)]);
    for host in ["orders.example:80", "Orders.Example.", "orders.example.:8080", "orders.example:"]
    {
        let (allowed, why) = asked(host).judge(&deny);
        assert!(!allowed && why.contains("two ways"), "{host}: {why}");
        assert!(!asked(host).judge(&allow).0, "{host}");
    }
    for host in ["users.example:80", "orders.example.evil.", "orders.example:x"] {
        assert!(asked(host).judge(&deny).0 && asked(host).judge(&allow).0, "{host}");
    }
    // A rule that speaks of the port means it.
    let of_port = || of_host("orders.example:8080");
    let deny = rules([Rule::deny("port").permission(of_port())]);
    let allow = rules([Rule::allow("port").permission(of_port())]);
    for (host, is_it) in [
        ("orders.example:8080", Some(true)),
        ("orders.example.:8080", None),
        ("orders.example:80", Some(false)),
        ("orders.example", Some(false)),
    ] {
        assert_eq!(asked(host).judge(&deny).0, is_it == Some(false), "{host}");
        assert_eq!(asked(host).judge(&allow).0, is_it == Some(true), "{host}");
    }
    // Nobody knows what a server makes of it.
    let illegible = || Asked { host: None, ..get("/") }.header("host", b"orders\xff");
    let any = || Permission::Host(StringMatch::Prefix("orders".into()));
    assert!(!illegible().judge(&rules([Rule::deny("it").permission(any())])).0);
    assert!(!illegible().judge(&rules([Rule::allow("it").permission(any())])).0);
}

#[test]
fn a_value_that_is_no_text_is_neither() {
    let header = || Permission::Header(HeaderMatch::new("x-a", exact("b")));
    let asked = get("/").header("x-a", b"\xff");
    assert!(!asked.judge(&rules([Rule::deny("it").permission(header())])).0);
    assert!(!asked.judge(&rules([Rule::allow("it").permission(header())])).0);
}

#[test]
fn a_dry_rule_is_reported_and_decides_nothing() {
    let said =
        rules([Rule::allow("all"), Rule::deny("admin").permission(prefix("/admin")).dry_run()]);
    assert!(get("/admin").judge(&said).0);
    assert_eq!(get("/admin").reports(&said), [(Verdict::WouldDeny, "admin".into())]);
    assert_eq!(get("/orders").reports(&said), []);
    // A list of what is allowed, before it is in force.
    let said = rules([Rule::allow("orders").permission(prefix("/orders")).dry_run()]);
    assert!(get("/users").judge(&said).0);
    assert_eq!(get("/users").reports(&said), [(Verdict::WouldDeny, String::new())]);
    assert_eq!(get("/orders").reports(&said), [(Verdict::WouldAllow, "orders".into())]);
    // What is denied, and would not be any more.
    let mut said = rules([Rule::allow("orders").permission(prefix("/orders")).dry_run()]);
    said.otherwise = Some(Action::Deny);
    let told = [(Verdict::Denied, String::new()), (Verdict::WouldAllow, "orders".into())];
    assert_eq!(get("/orders").reports(&said), told);
}

#[test]
fn a_rule_that_notes_lets_go_on_and_others_decide() {
    let noted = || Rule { action: Action::Log, ..Rule::allow("noted") };
    let said = rules([noted(), Rule::deny("admin").permission(prefix("/admin"))]);
    assert!(get("/").judge(&said).0);
    assert_eq!(get("/").reports(&said), [(Verdict::Logged, "noted".into())]);
    let told = [(Verdict::Denied, "admin".into()), (Verdict::Logged, "noted".into())];
    assert_eq!(get("/admin").reports(&said), told);
}

#[test]
fn what_cannot_be_said_is_refused_by_name() {
    use crate::config::{ClaimMatch, Extension, MetadataMatch, PortRange};

    let of = |principal| rules([Rule::deny("it").principal(principal)]);
    let to = |permission| rules([Rule::deny("it").permission(permission)]);
    let mut deep = Principal::Any;
    for _ in 0..20 {
        deep = Principal::Not(Box::new(deep));
    }
    let mut condition = rules([Rule::deny("it")]);
    condition.rules[0].condition = Some("true".into());
    let mut unnamed = rules([Rule::deny("")]);
    unnamed.status = Some(200);
    let identity = |text: &str| of(Principal::Identity(IdentityMatch::Exact(text.into())));
    for (said, expected) in [
        (Authorization::default(), "rules = []: must say rules"),
        (unnamed.clone(), "rules[0].name = \"\": must not be empty"),
        (unnamed, "status = 200: must be in 400..=599"),
        (condition, "rules[0].condition = "),
        (of(Principal::PeerIp("10.0.0.0/8".into())), "peer_ip = 10.0.0.0/8: not supported yet"),
        (of(Principal::RemoteIp("::1".into())), "remote_ip = ::1: not supported yet"),
        (of(Principal::Metadata(MetadataMatch::default())), "metadata = : not supported yet"),
        (of(Principal::Claim(ClaimMatch::default())), "claim = : not supported yet"),
        (of(Principal::Extension(Extension::new("a"))), "extension = a: not supported yet"),
        (of(Principal::All(Vec::new())), "all = []: must not be empty"),
        (of(Principal::AnyOf(Vec::new())), "any_of = []: must not be empty"),
        (of(deep), "is nested more than 16 deep"),
        (identity(""), "identity.exact = \"\": must not be empty"),
        (identity("spiffe://Prod/a"), "is not the SPIFFE id of a workload"),
        (identity("SPIFFE://prod/a"), "is not the SPIFFE id of a workload"),
        (identity("spiffe://prod"), "is not the SPIFFE id of a workload"),
        (identity("spiffe://prod/a/../b"), "is not the SPIFFE id of a workload"),
        (
            of(Principal::Identity(IdentityMatch::Prefix("prod".into()))),
            "is not the beginning of a SPIFFE id",
        ),
        (
            of(Principal::Identity(IdentityMatch::TrustDomain("a/b".into()))),
            "is not a trust domain",
        ),
        (
            of(Principal::Identity(IdentityMatch::San(SanMatch::new(StringMatch::Present)))),
            "san.matcher = present",
        ),
        (of(Principal::Label(LabelMatch::new("", exact("a")))), "label.name = \"\""),
        (
            of(Principal::Header(HeaderMatch::new("host", exact("a")))),
            "say it by the permission `host`",
        ),
        (of(Principal::Path(PathMatch::Exact("a".into()))), "path.exact = a: must begin with `/`"),
        (to(Permission::Method("G T".into())), "method = G T: is not a method"),
        (to(Permission::DestinationIp("::1".into())), "destination_ip = ::1: not supported yet"),
        (to(Permission::DestinationPort(80)), "destination_port = 80: not supported yet"),
        (
            to(Permission::DestinationPorts(PortRange::default())),
            "destination_ports = 0..0: not supported yet",
        ),
        (to(Permission::ServerName(exact("a"))), "server_name = : not supported yet"),
        (to(Permission::Metadata(MetadataMatch::default())), "metadata = : not supported yet"),
        (to(Permission::Extension(Extension::new("a"))), "extension = a: not supported yet"),
        (to(Permission::Path(PathMatch::Connect)), "path = connect: not supported yet"),
    ] {
        let told = said.validate("a").unwrap_err().to_string();
        assert!(told.contains(expected), "{told}\nand not {expected}");
    }
}

#[cfg(feature = "regex")]
#[test]
fn hostile_patterns_take_their_turn() {
    let regex = |text: &str| Permission::Path(PathMatch::Regex(text.into()));
    let said = rules([Rule::deny("it").permission(regex("/(a+)+b"))]);
    let path: &'static str = Box::leak(format!("/{}", "a".repeat(50_000)).into_boxed_str());
    assert!(get(path).judge(&said).0);
    let told = rules([Rule::deny("it").permission(regex("("))]).validate("a").unwrap_err();
    assert!(told.to_string().contains("path.regex = (: is not a regular expression"), "{told}");
}

fn any_permission() -> impl Strategy<Value = Permission> {
    let leaf = prop_oneof![
        Just(Permission::Any),
        Just(prefix("/admin")),
        Just(prefix("/orders")),
        Just(Permission::Method("GET".into())),
        Just(Permission::Header(HeaderMatch::new("x-a", exact("b")))),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(Permission::All),
            prop::collection::vec(inner.clone(), 1..3).prop_map(Permission::AnyOf),
            inner.prop_map(|it| Permission::Not(Box::new(it))),
        ]
    })
}

fn any_principal() -> impl Strategy<Value = Principal> {
    let leaf = prop_oneof![
        Just(Principal::Any),
        Just(Principal::Authenticated),
        Just(Principal::Namespace(exact("shop"))),
        Just(Principal::Identity(IdentityMatch::Exact(CART.into()))),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(Principal::All),
            prop::collection::vec(inner.clone(), 1..3).prop_map(Principal::AnyOf),
            inner.prop_map(|it| Principal::Not(Box::new(it))),
        ]
    })
}

proptest! {
    /// What is allowed while the identity is not known is allowed whatever it turns out to be.
    #[test]
    fn doubt_never_allows_what_any_answer_would_deny(
        list in prop::collection::vec(
            (any_principal(), any_permission(), any::<bool>()), 1..5),
        first: bool,
        path in prop_oneof![Just("/admin"), Just("/orders"), Just("//admin"), Just("/%6frders")],
    ) {
        let list = list.into_iter().map(|(principal, permission, denies)| {
            let rule = if denies { Rule::deny("d") } else { Rule::allow("a") };
            rule.principal(principal).permission(permission)
        });
        let mut said = rules(list);
        if first {
            said.evaluation = Evaluation::FirstMatch;
        }
        if get(path).unknown().judge(&said).0 {
            prop_assert!(get(path).judge(&said).0);
            prop_assert!(get(path).by_nobody().judge(&said).0);
            prop_assert!(get(path).by("spiffe://b/x").judge(&said).0);
        }
    }
}
