//! What rules say of calls that come in (gRFC A41), each asked as a list that allows and as one that denies.

use std::net::IpAddr;

use envoy_types::pb::envoy::{
    config::{
        core::v3::{CidrRange, TypedExtensionConfig},
        rbac::v3::{
            Permission as PbPermission, Principal as PbPrincipal, SourcedMetadata, permission,
            permission::Rule,
            principal,
            principal::{Authenticated, Identifier},
        },
        route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier},
    },
    extensions::filters::http::rbac::v3::Rbac,
    r#type::{
        matcher::v3::{
            MetadataMatcher, PathMatcher, RegexMatcher, StringMatcher, path_matcher,
            string_matcher::MatchPattern,
        },
        v3::Int32Range,
    },
};
use http::{HeaderMap, HeaderValue, Method};

use super::{
    listener::{named, router, rules},
    receiving::{here, read, server},
    *,
};
use crate::{
    authorize::{Caller, Connection, Facts, Rules, Who},
    config::{Authorization, SanKind},
};

const CART: &str = "spiffe://prod.example/ns/shop/sa/cart";
const HELLO: &str = "/helloworld.Greeter/SayHello";

/// A call that comes in, as tests change it.
struct Call {
    who: Option<Who>,
    secured: bool,
    /// With its query.
    path: &'static str,
    headers: HeaderMap,
    server_name: Option<&'static str>,
    remote: Option<IpAddr>,
}

fn hello() -> Call {
    Call {
        who: Some(Who::of_texts([CART])),
        secured: true,
        path: HELLO,
        headers: HeaderMap::new(),
        server_name: None,
        remote: None,
    }
}

impl Call {
    fn by(self, names: &[(SanKind, &str)]) -> Self {
        let names = names.iter().map(|(kind, name)| (*kind, (*name).to_owned()));
        Self { who: Some(Who::new(names)), ..self }
    }

    fn by_nobody(self) -> Self {
        Self { who: None, ..self }
    }

    fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.append(name, HeaderValue::from_static(value));
        self
    }

    /// Whether every list lets it go on.
    fn passes(&self, lists: &[Arc<Authorization>]) -> bool {
        let connection = Connection {
            local: "10.0.0.1:8080".parse().unwrap(),
            peer: "[::ffff:10.1.2.3]:4567".parse().unwrap(),
            remote: self.remote,
            server_name: self.server_name,
            is_secured: self.secured,
        };
        let caller = self.who.as_ref().map_or(Caller::Nobody, Caller::Known);
        let labels = std::collections::BTreeMap::new();
        let what = (&Method::POST, Some("greeter.example"));
        let path = match self.path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.path, None),
        };
        let facts = Facts::new((caller, &labels), "greeter", what, path, &self.headers);
        let facts = facts.over(&connection);
        lists.iter().all(|list| Rules::new(list).unwrap().decide(&facts).allowed)
    }

    /// Whether a rule is met; none: a list that denies by it denies, and one that allows does not allow.
    fn meets(&self, permission: &Rule, principal: &Identifier) -> Option<bool> {
        let asked = |action| {
            let lists = asks(rules(action, permission.clone(), principal.clone()));
            self.passes(&lists.unwrap_or_else(|reason| panic!("{reason}")))
        };
        match (asked(0), asked(1)) {
            (true, false) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
            (true, true) => panic!("{permission:?} of {principal:?} is met, and is not"),
        }
    }
}

/// The rules that a filter is read into.
fn asks(rbac: Rbac) -> Result<Vec<Arc<Authorization>>, String> {
    of_dialect(Dialect::Proxyless, rbac)
}

fn of_dialect(dialect: Dialect, rbac: Rbac) -> Result<Vec<Arc<Authorization>>, String> {
    let pb = server(vec![named("rbac", pack_any(rbac)), router()], vec![here("/")]);
    let read = read(dialect, &pb)?;
    Ok(read.chains[0].http.as_ref().unwrap().filters[0].rules.clone())
}

fn text(pattern: MatchPattern) -> StringMatcher {
    StringMatcher { match_pattern: Some(pattern), ignore_case: false }
}

fn exact(value: &str) -> StringMatcher {
    text(MatchPattern::Exact(value.into()))
}

fn path(matcher: StringMatcher) -> PathMatcher {
    PathMatcher { rule: Some(path_matcher::Rule::Path(matcher)) }
}

fn header(name: &str, matcher: StringMatcher) -> HeaderMatcher {
    HeaderMatcher {
        name: name.into(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(matcher)),
        ..HeaderMatcher::default()
    }
}

fn cidr(address: &str, length: u32) -> CidrRange {
    CidrRange { address_prefix: address.into(), prefix_len: wrapped(length) }
}

fn metadata(invert: bool) -> MetadataMatcher {
    MetadataMatcher { filter: "x".into(), invert, ..MetadataMatcher::default() }
}

fn may(rule: Rule) -> PbPermission {
    PbPermission { rule: Some(rule) }
}

fn is(identifier: Identifier) -> PbPrincipal {
    PbPrincipal { identifier: Some(identifier) }
}

fn not(rule: Rule) -> Rule {
    Rule::NotRule(Box::new(may(rule)))
}

fn named_so(matcher: StringMatcher) -> Identifier {
    Identifier::Authenticated(Authenticated { principal_name: Some(matcher) })
}

#[test]
fn each_permission_of_a_call_that_comes_in() {
    let url = |matcher| Rule::UrlPath(path(matcher));
    let head = |name: &str, value: &str| Rule::Header(header(name, exact(value)));
    let inverted = |name: &str, value: &str| {
        Rule::Header(HeaderMatcher { invert_match: true, ..header(name, exact(value)) })
    };
    let range = |start, end| Rule::DestinationPortRange(Int32Range { start, end });
    let without_case = StringMatcher { ignore_case: true, ..exact("/HelloWorld.greeter/sayhello") };
    let pattern = RegexMatcher { regex: "/helloworld\\..*".into(), ..RegexMatcher::default() };
    let set = |rules: Vec<Rule>| permission::Set { rules: rules.into_iter().map(may).collect() };
    for (rule, expected) in [
        (Rule::Any(true), Some(true)),
        (url(exact(HELLO)), Some(true)),
        (url(exact("/helloworld.Greeter/SayBye")), Some(false)),
        (url(text(MatchPattern::Prefix("/helloworld.".into()))), Some(true)),
        (url(text(MatchPattern::Suffix("/SayHello".into()))), Some(true)),
        // No letter stands for others.
        (url(text(MatchPattern::Suffix("/SayHell.".into()))), Some(false)),
        (url(text(MatchPattern::Contains("d.Gr".into()))), Some(true)),
        (url(text(MatchPattern::Contains("d+Gr".into()))), Some(false)),
        (url(without_case), Some(true)),
        (url(text(MatchPattern::SafeRegex(pattern))), Some(true)),
        (head(":path", HELLO), Some(true)),
        (head(":path", "/"), Some(false)),
        (head(":method", "POST"), Some(true)),
        (head(":method", "GET"), Some(false)),
        // Both are the authority.
        (head(":authority", "greeter.example"), Some(true)),
        (head("host", "greeter.example"), Some(true)),
        (head("host", "other.example"), Some(false)),
        (head("x-env", "test"), Some(true)),
        (head("x-env", "prod"), Some(false)),
        (head("x-none", "test"), Some(false)),
        (inverted("x-env", "prod"), Some(true)),
        (inverted("x-env", "test"), Some(false)),
        (not(head("x-none", "test")), Some(true)),
        // Two values are one list to gRPC, and two values to others.
        (head("x-list", "a"), None),
        (head("x-list", "a,b"), None),
        (head("x-list", "c"), Some(false)),
        (Rule::DestinationIp(cidr("10.0.0.0", 24)), Some(true)),
        (Rule::DestinationIp(cidr("10.0.1.0", 24)), Some(false)),
        (Rule::DestinationPort(8080), Some(true)),
        (Rule::DestinationPort(80), Some(false)),
        (range(8080, 8081), Some(true)),
        (range(8000, 8080), Some(false)),
        (range(8081, 65_536), Some(false)),
        (range(0, 65_536), Some(true)),
        // Nothing is noted about a call; whatever asks for it is met where it is inverted alone.
        (Rule::Metadata(metadata(false)), Some(false)),
        (Rule::Metadata(metadata(true)), Some(true)),
        (not(Rule::Metadata(metadata(false))), Some(true)),
        // Who asks for no name asks for an empty one.
        (Rule::RequestedServerName(exact("")), Some(true)),
        (Rule::RequestedServerName(exact("greeter.example")), Some(false)),
        (Rule::AndRules(set(vec![Rule::Any(true), Rule::DestinationPort(8080)])), Some(true)),
        (Rule::AndRules(set(vec![Rule::Any(true), Rule::DestinationPort(80)])), Some(false)),
        (
            Rule::OrRules(set(vec![Rule::DestinationPort(80), Rule::DestinationPort(8080)])),
            Some(true),
        ),
        (Rule::OrRules(set(vec![Rule::DestinationPort(80)])), Some(false)),
        (not(Rule::Any(true)), Some(false)),
    ] {
        let call = hello().header("x-env", "test").header("x-list", "a").header("x-list", "b");
        assert_eq!(call.meets(&rule, &Identifier::Any(true)), expected, "{rule:?}");
    }
    let asked = Call { server_name: Some("Greeter.Example"), ..hello() };
    let name = Rule::RequestedServerName(exact("greeter.example"));
    assert_eq!(asked.meets(&name, &Identifier::Any(true)), Some(true));
    // A path that servers read in two ways.
    let twice = Call { path: "//helloworld.Greeter/SayHello", ..hello() };
    assert_eq!(twice.meets(&url(exact(HELLO)), &Identifier::Any(true)), None);
    // Envoy has the first without merged slashes, the second with them alone.
    let dotted = Call { path: "/x//../admin", ..hello() };
    for path in ["/x/admin", "/x/../admin", "/admin", "/x//../admin"] {
        assert_eq!(dotted.meets(&url(exact(path)), &Identifier::Any(true)), None, "{path}");
    }
    assert_eq!(dotted.meets(&url(exact("/other")), &Identifier::Any(true)), Some(false));
}

/// As in Envoy, where the header has the query and `url_path` has not.
#[test]
fn the_header_of_the_path_has_the_query_which_its_url_has_not() {
    let pattern = |regex: &str| {
        let regex = RegexMatcher { regex: regex.into(), ..RegexMatcher::default() };
        text(MatchPattern::SafeRegex(regex))
    };
    let without_case = |matcher| StringMatcher { ignore_case: true, ..matcher };
    let contains = |part: &str| text(MatchPattern::Contains(part.into()));
    let suffix = |end: &str| text(MatchPattern::Suffix(end.into()));
    let prefix = |start: &str| text(MatchPattern::Prefix(start.into()));
    let anybody = Identifier::Any(true);
    let asked = "/files/a?drop=1&Debug=2";
    for (path_is, matcher, expected) in [
        (asked, exact("/files/a"), Some(false)),
        (asked, exact(asked), Some(true)),
        (asked, prefix("/files/"), Some(true)),
        (asked, prefix("/files/a?drop="), Some(true)),
        (asked, suffix("Debug=2"), Some(true)),
        (asked, suffix("/a"), Some(false)),
        (asked, contains("?drop="), Some(true)),
        (asked, contains("debug="), Some(false)),
        (asked, without_case(contains("debug=")), Some(true)),
        (asked, without_case(exact("/FILES/a?DROP=1&debug=2")), Some(true)),
        // All of it, or nothing.
        (asked, pattern("/files/[a-z]+"), Some(false)),
        (asked, pattern("/files/[a-z]+\\?.*"), Some(true)),
        ("/files/a", pattern("/files/[a-z]+"), Some(true)),
        ("/files/a?", exact("/files/a"), Some(false)),
        // Servers read it in several ways.
        ("//files/a?drop=1", exact("/files/a?drop=1"), None),
        ("//files/a?drop=1", contains("?drop="), Some(true)),
    ] {
        let call = Call { path: path_is, ..hello() };
        let head = || header(":path", matcher.clone());
        let what = format!("{path_is} of {matcher:?}");
        assert_eq!(call.meets(&Rule::Header(head()), &anybody), expected, "{what}");
        let who = Identifier::Header(head());
        assert_eq!(call.meets(&Rule::Any(true), &who), expected, "{what}");
        let inverted = HeaderMatcher { invert_match: true, ..head() };
        let not = expected.map(|it| !it);
        assert_eq!(call.meets(&Rule::Header(inverted.clone()), &anybody), not, "{what}");
        let who = Identifier::Header(inverted);
        assert_eq!(call.meets(&Rule::Any(true), &who), not, "{what}");
    }
    let call = Call { path: asked, ..hello() };
    for (matcher, expected) in [
        (exact("/files/a"), Some(true)),
        (suffix("/a"), Some(true)),
        (suffix("Debug=2"), Some(false)),
        (contains("?drop="), Some(false)),
        (pattern("/files/[a-z]+"), Some(true)),
    ] {
        let url = Rule::UrlPath(path(matcher.clone()));
        assert_eq!(call.meets(&url, &anybody), expected, "{matcher:?}");
        let who = Identifier::UrlPath(path(matcher.clone()));
        assert_eq!(call.meets(&Rule::Any(true), &who), expected, "{matcher:?}");
    }
}

#[test]
fn each_principal_of_a_call_that_comes_in() {
    let set = |ids: Vec<Identifier>| principal::Set { ids: ids.into_iter().map(is).collect() };
    let other = "spiffe://prod.example/ns/shop/sa/other";
    for (id, expected) in [
        (Identifier::Any(true), Some(true)),
        (Identifier::Authenticated(Authenticated { principal_name: None }), Some(true)),
        (named_so(exact(CART)), Some(true)),
        (named_so(exact(other)), Some(false)),
        (named_so(text(MatchPattern::Prefix("spiffe://prod.example/".into()))), Some(true)),
        (named_so(StringMatcher { ignore_case: true, ..exact(&CART.to_uppercase()) }), Some(true)),
        (named_so(exact(&CART.to_uppercase())), Some(false)),
        // No proxy is believed: each is the peer.
        (Identifier::SourceIp(cidr("10.1.0.0", 16)), Some(true)),
        (Identifier::DirectRemoteIp(cidr("10.1.2.3", 32)), Some(true)),
        (Identifier::DirectRemoteIp(cidr("10.1.2.4", 32)), Some(false)),
        (Identifier::RemoteIp(cidr("10.1.0.0", 16)), Some(true)),
        (Identifier::RemoteIp(cidr("10.2.0.0", 16)), Some(false)),
        (Identifier::Header(header("x-env", exact("test"))), Some(true)),
        (Identifier::Header(header("x-env", exact("prod"))), Some(false)),
        (Identifier::UrlPath(path(exact(HELLO))), Some(true)),
        (Identifier::Metadata(metadata(false)), Some(false)),
        (Identifier::Metadata(metadata(true)), Some(true)),
        (Identifier::AndIds(set(vec![Identifier::Any(true), named_so(exact(CART))])), Some(true)),
        (Identifier::AndIds(set(vec![Identifier::Any(true), named_so(exact(other))])), Some(false)),
        (Identifier::OrIds(set(vec![named_so(exact(other)), named_so(exact(CART))])), Some(true)),
        (Identifier::NotId(Box::new(is(named_so(exact(other))))), Some(true)),
        (Identifier::NotId(Box::new(is(named_so(exact(CART))))), Some(false)),
    ] {
        let call = hello().header("x-env", "test");
        assert_eq!(call.meets(&Rule::Any(true), &id), expected, "{id:?}");
    }
}

#[test]
fn a_name_is_a_uri_else_a_dns_name_else_the_subject() {
    let meets = |call: &Call, name: &str| call.meets(&Rule::Any(true), &named_so(exact(name)));
    let (uri, dns) = (SanKind::Uri, SanKind::Dns);
    let both = hello().by(&[(dns, "cart.example"), (uri, CART), (uri, "urn:cart")]);
    assert_eq!(meets(&both, CART), Some(true));
    assert_eq!(meets(&both, "urn:cart"), Some(true));
    // It has URIs: its other names are nobody's.
    assert_eq!(meets(&both, "cart.example"), Some(false));
    let by_dns = hello().by(&[(dns, "Cart.example"), (SanKind::Email, "a@cart.example")]);
    assert_eq!(meets(&by_dns, "cart.Example"), Some(true));
    assert_eq!(meets(&by_dns, "a@cart.example"), Some(false));
    let who = |who: Who| Call { who: Some(who), ..hello() };
    let subject = who(Who::new([]).with_subject("CN=cart,O=shop"));
    assert_eq!(meets(&subject, "CN=cart,O=shop"), Some(true));
    assert_eq!(meets(&subject, "CN=other,O=shop"), Some(false));
    assert_eq!(meets(&subject, ""), Some(false));
    let named = who(Who::of_texts(["cart.example"]).with_subject("CN=cart"));
    assert_eq!(meets(&named, "CN=cart"), Some(false));
}

#[test]
fn who_shows_no_certificate_is_let_in_by_no_name_and_in_doubt_by_an_empty_one() {
    let anyone = Identifier::Authenticated(Authenticated { principal_name: None });
    let nobody = hello().by_nobody();
    // To gRPC a secured connection is enough: what denies by it denies, what allows by it waits for a certificate.
    assert_eq!(nobody.meets(&Rule::Any(true), &anyone), None);
    assert_eq!(nobody.meets(&Rule::Any(true), &named_so(exact(""))), None);
    assert_eq!(nobody.meets(&Rule::Any(true), &named_so(exact(CART))), Some(false));
    let plain = Call { secured: false, ..hello().by_nobody() };
    for id in [anyone, named_so(exact("")), named_so(exact(CART))] {
        assert_eq!(plain.meets(&Rule::Any(true), &id), Some(false), "{id:?}");
    }
}

#[test]
fn what_is_logged_or_only_reported_lets_everybody_in() {
    let everybody = |action| rules(action, Rule::Any(true), Identifier::Any(true));
    let logged = asks(everybody(2)).unwrap();
    assert!(hello().passes(&logged));
    let denied = asks(everybody(1)).unwrap();
    assert!(!hello().passes(&denied));
    let shadow = Rbac { shadow_rules: everybody(1).rules, ..Rbac::default() };
    let shadow = asks(shadow).unwrap();
    assert!(shadow[0].rules[0].dry_run && hello().passes(&shadow));
    // Nothing is asked where nothing is said; a list that allows nothing lets nobody in.
    assert_eq!(asks(Rbac::default()).unwrap(), []);
    let nobody = Rbac { rules: Some(Default::default()), ..Rbac::default() };
    assert!(!hello().passes(&asks(nobody).unwrap()));
}

#[test]
fn a_sidecar_s_callers_may_be_known_by_proxies() {
    let read = |id| {
        let rbac = rules(0, Rule::Any(true), id);
        of_dialect(Dialect::Sidecar, rbac)
    };
    let remote = read(Identifier::RemoteIp(cidr("192.0.2.0", 24))).unwrap();
    let of =
        |remote: Option<&str>| Call { remote: remote.map(|it| it.parse().unwrap()), ..hello() };
    assert!(of(Some("192.0.2.7")).passes(&remote));
    assert!(!of(Some("10.1.2.3")).passes(&remote));
    // Whom it comes from is not who calls.
    assert!(!of(None).passes(&remote));
    // What filters note that are not here is not known: who is denied by it would be let in.
    refuses(read(Identifier::Metadata(metadata(false))), "metadata = given");
    refuses(
        of_dialect(
            Dialect::Sidecar,
            rules(1, Rule::Metadata(metadata(true)), Identifier::Any(true)),
        ),
        "metadata = given",
    );
}

#[test]
fn what_cannot_be_enforced_where_calls_come_in_refuses_the_listener() {
    let extension = || TypedExtensionConfig { name: "x".into(), ..TypedExtensionConfig::default() };
    let head = |name: &str| Rule::Header(header(name, exact("x")));
    for (rule, reason) in [
        (head("grpc-timeout"), "is gRPC's own"),
        (head("Grpc-Encoding"), "is gRPC's own"),
        (head(":scheme"), "header.name = :scheme"),
        (head("te"), "is of one hop"),
        (head("Connection"), "is of one hop"),
        (Rule::DestinationIp(cidr("10.0.0.0", 33)), "destination_ip = 10.0.0.0/33: is not"),
        (Rule::DestinationIp(cidr("a", 8)), "destination_ip = a/8: is not"),
        (Rule::DestinationPort(65_536), "destination_port = 65536"),
        (Rule::DestinationPortRange(Int32Range { start: 8, end: 8 }), "must hold ports"),
        (Rule::DestinationPortRange(Int32Range { start: -1, end: 8 }), "must hold ports"),
        (Rule::DestinationPortRange(Int32Range { start: 1, end: 65_537 }), "must hold ports"),
        (Rule::Matcher(extension()), "matcher = given"),
        (Rule::UriTemplate(extension()), "uri_template = given"),
        (Rule::SourcedMetadata(SourcedMetadata::default()), "sourced_metadata = given"),
        (Rule::Any(false), "any = false"),
        (Rule::AndRules(permission::Set::default()), "all = []"),
    ] {
        refuses(asks(rules(1, rule, Identifier::Any(true))), reason);
    }
    for (id, reason) in [
        (Identifier::Header(header("grpc-timeout", exact("x"))), "is gRPC's own"),
        (Identifier::DirectRemoteIp(cidr("10.0.0.0", 99)), "peer_ip = 10.0.0.0/99: is not"),
        (Identifier::FilterState(Default::default()), "filter_state = given"),
        (Identifier::Custom(extension()), "custom = given"),
        (Identifier::SourcedMetadata(SourcedMetadata::default()), "sourced_metadata = given"),
        (Identifier::OrIds(principal::Set::default()), "any_of = []"),
    ] {
        refuses(asks(rules(1, Rule::Any(true), id)), reason);
    }
    let mut conditional = rules(0, Rule::Any(true), Identifier::Any(true));
    let policies = &mut conditional.rules.as_mut().unwrap().policies;
    policies.get_mut("p").unwrap().checked_condition = Some(Default::default());
    refuses(asks(conditional), "policies.p.condition = given");
}

/// The calling side reads the same filter, and knows less of a call.
#[test]
fn what_only_the_receiving_side_knows_refuses_the_caller_s_listener() {
    let caller = |rbac| listener::with(vec![named("rbac", pack_any(rbac)), router()]);
    for (rule, reason) in [
        (Rule::DestinationIp(cidr("10.0.0.0", 8)), "destination_ip"),
        (Rule::DestinationPortRange(Int32Range { start: 1, end: 9 }), "destination_ports"),
        (Rule::RequestedServerName(exact("a")), "server_name"),
        (Rule::Metadata(metadata(true)), "metadata"),
    ] {
        refuses(caller(rules(1, rule, Identifier::Any(true))), reason);
    }
    let remote = Identifier::RemoteIp(cidr("10.0.0.0", 8));
    refuses(caller(rules(1, Rule::Any(true), remote)), "remote_ip");
}

#[test]
fn rules_are_nested_so_deep_and_no_deeper() {
    let deep = |levels: usize| {
        let rule = (0..levels).fold(Rule::Any(true), |rule, _| not(rule));
        asks(rules(0, rule, Identifier::Any(true)))
    };
    assert!(hello().passes(&deep(14).unwrap()));
    refuses(deep(20), "is nested more than 16 deep");
    // So deep that it is not read at all.
    assert!(deep(300).is_err());
}
