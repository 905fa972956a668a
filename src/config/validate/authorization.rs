//! Checks of rules of authorisation. Of rules that are asked where calls are made, what only the receiving
//! side could know is refused: a rule that can never match would deny nobody.

use super::{Checker, NOT_YET, not_yet};
use crate::config::{
    Authorization, AuthorizationRule, ConfigErrors, HeaderMatch, IdentityMatch, LabelMatch,
    PathMatch, Permission, Principal, Role, SanKind, SanMatch, StringMatch, block::Block,
};

/// So deep may principals and permissions be nested.
const DEEPEST: usize = 16;

impl Checker {
    pub(super) fn authorization(&mut self, authorization: &Authorization, role: Role) {
        let Authorization { evaluation: _, rules, otherwise, status } = authorization;
        if rules.is_empty() && otherwise.is_none() {
            self.refuse("rules", "[]", "must say rules, or what happens `otherwise`");
        }
        self.each("rules", rules, |checker, rule| checker.authorization_rule(rule, role));
        if let Some(status) = status.filter(|status| !(400..=599).contains(status)) {
            self.refuse("status", status, "must be in 400..=599");
        }
    }

    fn authorization_rule(&mut self, rule: &AuthorizationRule, role: Role) {
        let AuthorizationRule { name, action: _, principals, permissions, condition, dry_run: _ } =
            rule;
        if name.as_deref() == Some("") {
            self.refuse("name", "\"\"", "must not be empty");
        }
        self.each("principals", principals, |checker, it| checker.principal(it, role, DEEPEST));
        self.each("permissions", permissions, |checker, it| {
            checker.permission(it, role, DEEPEST);
        });
        not_yet!(self, condition);
    }

    fn principal(&mut self, principal: &Principal, role: Role, deeper: usize) {
        if deeper == 0 {
            return self.refuse("", "", format!("is nested more than {DEEPEST} deep"));
        }
        let comes_in = role == Role::Receiver;
        match principal {
            Principal::Any | Principal::Authenticated => {}
            Principal::All(list) => self.some_of("all", list, |checker, it| {
                checker.principal(it, role, deeper - 1);
            }),
            Principal::AnyOf(list) => self.some_of("any_of", list, |checker, it| {
                checker.principal(it, role, deeper - 1);
            }),
            Principal::Not(other) => {
                self.within("not", |checker| checker.principal(other, role, deeper - 1));
            }
            Principal::Identity(identity) => {
                self.within("identity", |checker| checker.caller(identity));
            }
            Principal::Namespace(text) => self.text("namespace", text, false),
            Principal::ServiceAccount(text) => self.text("service_account", text, false),
            Principal::Label(LabelMatch { name, matcher }) => self.within("label", |checker| {
                if name.is_empty() {
                    checker.refuse("name", "\"\"", "a label has a name");
                }
                checker.text("matcher", matcher, false);
            }),
            Principal::Header(header) => {
                self.within("header", |checker| checker.asked_header(header));
            }
            Principal::Path(path) => self.within("path", |checker| checker.asked_path(path)),
            Principal::PathAndQuery(text) => self.text("path_and_query", text, false),
            Principal::Name(text) if comes_in => self.certificate_name(text),
            Principal::Name(_) => {
                self.refuse("name", "", format!("{NOT_YET} by the caller: say `identity`"));
            }
            Principal::PeerIp(address) if comes_in => self.block("peer_ip", address),
            Principal::PeerIp(address) => self.refuse(
                "peer_ip",
                address,
                format!("{NOT_YET} by the caller, which has no peer: say it where calls come in"),
            ),
            Principal::RemoteIp(address) if comes_in => self.block("remote_ip", address),
            Principal::RemoteIp(address) => self.refuse(
                "remote_ip",
                address,
                format!("{NOT_YET} by the caller, which is the remote: say it where calls come in"),
            ),
            // Nothing is noted there: whether it is inverted is all that counts.
            Principal::Metadata(_) if comes_in => {}
            Principal::Metadata(_) => self.refuse("metadata", "", NOT_YET),
            Principal::Claim(_) => {
                self.refuse("claim", "", format!("{NOT_YET}: nothing here verifies tokens"));
            }
            Principal::Extension(extension) => self.refuse("extension", &extension.name, NOT_YET),
        }
    }

    fn permission(&mut self, permission: &Permission, role: Role, deeper: usize) {
        if deeper == 0 {
            return self.refuse("", "", format!("is nested more than {DEEPEST} deep"));
        }
        let comes_in = role == Role::Receiver;
        let inbound = format!("{NOT_YET} by the caller: it is said of connections that come in");
        match permission {
            Permission::Any => {}
            Permission::All(list) => self.some_of("all", list, |checker, it| {
                checker.permission(it, role, deeper - 1);
            }),
            Permission::AnyOf(list) => self.some_of("any_of", list, |checker, it| {
                checker.permission(it, role, deeper - 1);
            }),
            Permission::Not(other) => {
                self.within("not", |checker| checker.permission(other, role, deeper - 1));
            }
            Permission::Header(header) => {
                self.within("header", |checker| checker.asked_header(header));
            }
            Permission::Path(path) => self.within("path", |checker| checker.asked_path(path)),
            Permission::PathAndQuery(text) => self.text("path_and_query", text, false),
            Permission::Method(method) => {
                if http::Method::from_bytes(method.as_bytes()).is_err() {
                    self.refuse("method", method, "is not a method");
                }
            }
            Permission::Service(text) => self.text("service", text, true),
            Permission::Host(text) => self.text("host", text, true),
            Permission::DestinationIp(address) if comes_in => self.block("destination_ip", address),
            Permission::DestinationPort(_) if comes_in => {}
            Permission::DestinationPorts(range) if comes_in => {
                if range.start >= range.end {
                    let range = format!("{}..{}", range.start, range.end);
                    self.refuse("destination_ports", range, "holds no port");
                }
            }
            Permission::ServerName(text) if comes_in => self.text("server_name", text, true),
            Permission::Metadata(_) if comes_in => {}
            Permission::DestinationIp(address) => self.refuse("destination_ip", address, inbound),
            Permission::DestinationPort(port) => self.refuse("destination_port", port, inbound),
            Permission::DestinationPorts(range) => {
                let range = format!("{}..{}", range.start, range.end);
                self.refuse("destination_ports", range, inbound);
            }
            Permission::ServerName(_) => self.refuse("server_name", "", inbound),
            Permission::Metadata(_) => self.refuse("metadata", "", NOT_YET),
            Permission::Extension(extension) => self.refuse("extension", &extension.name, NOT_YET),
        }
    }

    fn block(&mut self, field: &str, block: &str) {
        if let Err(reason) = Block::new(block) {
            self.refuse(field, block, reason);
        }
    }

    /// A name of a certificate: DNS names are compared without case, the others with it.
    fn certificate_name(&mut self, text: &StringMatch) {
        if *text == StringMatch::Present {
            self.refuse("name", "present", "any name would do: say `authenticated`");
        }
        let before = self.errors.len();
        self.text("name", text, false);
        if self.errors.len() == before {
            self.text("name", text, true);
        }
    }

    /// A list that is not empty: all of nothing would be everything.
    fn some_of<T>(&mut self, field: &str, list: &[T], check: impl Fn(&mut Self, &T)) {
        if list.is_empty() {
            self.refuse(field, "[]", "must not be empty");
        }
        self.each(field, list, check);
    }

    fn asked_header(&mut self, header: &HeaderMatch) {
        if header.name.eq_ignore_ascii_case("host") {
            self.refuse("name", &header.name, "say it by the permission `host`");
        } else {
            self.header(header);
        }
    }

    fn asked_path(&mut self, path: &PathMatch) {
        self.path(path, false);
    }

    /// Who calls: unlike what is expected of an endpoint, no name to look up.
    fn caller(&mut self, identity: &IdentityMatch) {
        match identity {
            IdentityMatch::Exact(name) => {
                if name.is_empty() {
                    self.refuse("exact", "\"\"", "must not be empty");
                } else if is_spiffe(name) && !is_spiffe_id(name, true) {
                    self.refuse("exact", name, "is not the SPIFFE id of a workload");
                }
            }
            IdentityMatch::Prefix(prefix) => {
                let bare = prefix.strip_suffix('/').unwrap_or(prefix);
                if !is_spiffe_id(bare, false) {
                    self.refuse("prefix", prefix, "is not the beginning of a SPIFFE id");
                }
            }
            IdentityMatch::TrustDomain(domain) => {
                let name = domain.strip_prefix(SCHEME).unwrap_or(domain);
                if !is_trust_domain(name) {
                    self.refuse("trust_domain", domain, "is not a trust domain");
                }
            }
            IdentityMatch::San(san) => self.within("san", |checker| checker.own_name(san)),
        }
    }

    fn own_name(&mut self, san: &SanMatch) {
        let SanMatch { kind, matcher, ignore_case, oid } = san;
        if *kind == Some(SanKind::Other) {
            self.refuse("kind", "other", NOT_YET);
        }
        if *matcher == StringMatch::Present {
            self.refuse("matcher", "present", "any name would do: say `authenticated`");
        }
        self.text("matcher", matcher, *ignore_case);
        not_yet!(self, oid);
    }
}

impl Authorization {
    /// Checks every field, of rules that are asked where calls are made; `path` says where it stands.
    pub(crate) fn validate(&self, path: &str) -> Result<(), ConfigErrors> {
        self.validate_as(Role::Caller, path)
    }

    /// The same of rules that are asked in this role.
    pub(crate) fn validate_as(&self, role: Role, path: &str) -> Result<(), ConfigErrors> {
        let mut checker = Checker::new(path);
        checker.authorization(self, role);
        checker.done()
    }
}

const SCHEME: &str = "spiffe://";

fn is_spiffe(name: &str) -> bool {
    name.split_once(':').is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("spiffe"))
}

/// Whether the text has the form of a SPIFFE id. A rule that is spelled otherwise would never match.
fn is_spiffe_id(text: &str, with_path: bool) -> bool {
    let Some(rest) = text.strip_prefix(SCHEME) else { return false };
    let mut parts = rest.split('/');
    let is_segment = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        !part.is_empty() && part != "." && part != ".." && part.bytes().all(allowed)
    };
    let is_domain = parts.next().is_some_and(is_trust_domain);
    is_domain && (!with_path || rest.contains('/')) && parts.all(is_segment)
}

//= SPIFFE-ID §2.1: lower-case letters, digits, dots, dashes and underscores
fn is_trust_domain(name: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    !name.is_empty() && name.len() <= 255 && name.bytes().all(allowed)
}
