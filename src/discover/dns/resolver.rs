//! hickory as the one who is asked: sockets, ids, EDNS0, TCP where UDP does not suffice, aliases.
//!
//! Its cache is off, for the machine has its own rules; so are its search domains
//! ([`search`](super::search)). A question runs in a task of its own: should the library fail on
//! what a server sends, one question fails.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hickory_resolver::{
    Hosts, Resolver as Hickory, TokioResolver,
    config::{
        ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
        ServerOrderingStrategy,
    },
    lookup::Lookup,
    net::{DnsError, NetError, NoRecords, runtime::TokioRuntimeProvider},
    proto::{
        op::{Query, ResponseCode},
        rr::{self, Name, RData, RecordType},
    },
    system_conf,
};
use tokio::{sync::Mutex as AsyncMutex, task::JoinHandle, time::timeout};

use super::{
    answer::{Answer, Data, Kind, MAX_ALIASES, Question, Record, Service},
    options::Options,
    run::Ask,
    search::Search,
};
use crate::{
    config::{Address, DnsDiscovery, dns_name::DnsName},
    core::BoxFuture,
};

/// How long a question may take, all servers and repetitions included.
const LOOKUP: Duration = Duration::from_secs(5);
/// The same where the system's file asks for more.
const MAX_LOOKUP: Duration = Duration::from_secs(20);
/// How long one server may take for it.
const TRY: Duration = Duration::from_secs(2);
/// How often it is asked, failures included.
const ATTEMPTS: usize = 2;

/// What two clusters must have in common to share a resolver.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Key {
    /// The system's, if empty.
    servers: Vec<SocketAddr>,
    /// Over TCP alone; if not said, as the system says.
    tcp: Option<bool>,
    search: Vec<String>,
    ndots: Option<u32>,
}

/// The resolvers of a mesh, each made once for as long as somebody uses it.
#[derive(Debug, Default)]
pub(crate) struct Resolvers(Mutex<HashMap<Key, Weak<Resolver>>>);

/// One resolver, built at its first question, and anew when the system's files have changed.
#[derive(Debug)]
pub(crate) struct Resolver {
    key: Key,
    system: System,
    built: AsyncMutex<Option<Arc<Built>>>,
}

#[derive(Debug)]
struct Built {
    all: Servers,
    /// Each of them alone, if there are several: hickory takes the first answer for the answer of
    /// all, and be it that a server has failed.
    each: Vec<Servers>,
    /// What the system's file says of how to ask.
    options: Options,
    /// Which of them is asked first, where that is another one each time.
    turn: AtomicUsize,
    /// How long a question may take.
    within: Duration,
    hosts: Hosts,
    search: Search,
    /// What the system's files said.
    files: Files,
    /// Who is asked, for what is told of failures.
    servers: String,
}

/// Servers that are asked together.
#[derive(Debug)]
struct Servers {
    hickory: TokioResolver,
    /// The same without EDNS0, for servers that do not know it.
    plain: TokioResolver,
}

/// Where the system says whom to ask.
#[derive(Clone, Debug)]
pub(super) struct System {
    pub(super) resolv_conf: PathBuf,
    pub(super) hosts: PathBuf,
    /// `resolv.conf` cannot say another.
    pub(super) port: u16,
}

/// What the system's files say.
type Files = [Option<Vec<u8>>; 2];

/// Ends its task when it is dropped.
struct Aborting(JoinHandle<Answer>);

// === impl Resolvers ===

impl Resolvers {
    /// The resolver that these settings ask for.
    pub(crate) fn get(&self, dns: &DnsDiscovery) -> Arc<Resolver> {
        let said = dns.name.parse::<DnsName>().ok().and_then(|name| name.server);
        let listed = dns.resolvers.iter().filter_map(|server| match server {
            Address::Socket(server) => Some(*server),
            Address::Unix(_) => None,
        });
        let key = Key {
            servers: said.into_iter().chain(listed).collect(),
            tcp: dns.use_tcp,
            search: dns.search.clone(),
            ndots: dns.ndots,
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(resolver) = known.get(&key).and_then(Weak::upgrade) {
            return resolver;
        }
        known.retain(|_, resolver| resolver.strong_count() > 0);
        let resolver = Arc::new(Resolver::new(key.clone(), System::default()));
        known.insert(key, Arc::downgrade(&resolver));
        resolver
    }
}

// === impl Resolver ===

impl Resolver {
    fn new(key: Key, system: System) -> Self {
        Self { key, system, built: AsyncMutex::new(None) }
    }

    /// Asks whom these files name.
    #[cfg(test)]
    pub(super) fn of(system: System) -> Arc<Self> {
        let key = Key { servers: Vec::new(), tcp: None, search: Vec::new(), ndots: None };
        Arc::new(Self::new(key, system))
    }

    async fn built(&self) -> Result<Arc<Built>, String> {
        let mut place = self.built.lock().await;
        if let Some(built) = &*place {
            return Ok(Arc::clone(built));
        }
        let (key, system) = (self.key.clone(), self.system.clone());
        // It reads files.
        let made = tokio::task::spawn_blocking(move || build(&key, &system)).await;
        let built = Arc::new(made.map_err(|error| error.to_string())??);
        *place = Some(Arc::clone(&built));
        Ok(built)
    }

    /// Perhaps other servers are to be asked by now, or the file of hosts says something else; whether
    /// that is so.
    async fn look_again(&self, built: &Arc<Built>) -> bool {
        if !self.key.servers.is_empty() {
            return false;
        }
        let system = self.system.clone();
        let read = tokio::task::spawn_blocking(move || system.files()).await;
        if read.map_or(true, |files| files == built.files) {
            return false;
        }
        let mut place = self.built.lock().await;
        if place.as_ref().is_some_and(|now| Arc::ptr_eq(now, built)) {
            *place = None;
        }
        true
    }

    /// What there is to ask, and what the system's file of hosts says of the name now.
    async fn of_hosts(&self, question: &Question) -> Result<(Arc<Built>, Option<Answer>), String> {
        let mut built = self.built().await?;
        let mut answer = built.of_hosts(question);
        // Servers tell by a TTL how long to believe them; a file does not.
        if answer.is_some() && self.look_again(&built).await {
            built = self.built().await?;
            answer = built.of_hosts(question);
        }
        Ok((built, answer))
    }
}

impl Ask for Arc<Resolver> {
    fn names(&self, host: &str) -> BoxFuture<Vec<Arc<str>>> {
        let (resolver, host) = (Self::clone(self), host.to_owned());
        Box::pin(async move {
            match resolver.built().await {
                Ok(built) => built.names(&host),
                Err(_) => Search::default().names(&host),
            }
        })
    }

    fn ask(&self, question: Question) -> BoxFuture<Answer> {
        let resolver = Self::clone(self);
        Box::pin(async move {
            let built = match resolver.of_hosts(&question).await {
                Ok((_, Some(answer))) => return answer,
                Ok((built, None)) => built,
                Err(reason) => return Answer::Failed(reason),
            };
            let asked = Arc::clone(&built);
            let mut task = Aborting(tokio::spawn(async move { asked.ask(&question).await }));
            let answer = match timeout(built.within, &mut task.0).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Answer::Failed("the answer could not be read".to_owned()),
                Err(_) => {
                    let within = built.within.as_secs();
                    Answer::Failed(format!("no answer from {} within {within} s", built.servers))
                }
            };
            if matches!(answer, Answer::Failed(_) | Answer::Nothing { .. }) {
                resolver.look_again(&built).await;
            }
            answer
        })
    }

    fn note(&self) -> Option<String> {
        if !self.key.servers.is_empty() {
            return None;
        }
        // Whoever builds another tells of that.
        let built = self.built.try_lock().ok()?;
        Some(built.as_ref()?.options.note())
    }
}

impl Drop for Aborting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

// === impl Built ===

impl Built {
    /// A name of the system's file of hosts is used as it is.
    fn names(&self, host: &str) -> Vec<Arc<str>> {
        let plain: Arc<str> = format!("{}.", host.trim_end_matches('.')).into();
        if self.of_hosts(&Question::new(&plain, Kind::A)).is_some() {
            return vec![plain];
        }
        self.search.names(host)
    }

    /// What the system's file of hosts says of the name; nothing if it does not name it.
    fn of_hosts(&self, question: &Question) -> Option<Answer> {
        if question.kind == Kind::Srv {
            return None;
        }
        let name = Name::from_ascii(&question.name).ok()?;
        let of = |kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let (v4, v6) = (of(RecordType::A), of(RecordType::AAAA));
        if v4.is_none() && v6.is_none() {
            return None;
        }
        let found = if question.kind == Kind::A { v4 } else { v6 };
        Some(match found {
            Some(found) => Answer::Message {
                answers: found.answers().iter().filter_map(record).collect(),
                additionals: Vec::new(),
            },
            None => Answer::Nothing { exists: true, ttl: Some(u32::MAX >> 1) },
        })
    }

    async fn ask(&self, question: &Question) -> Answer {
        if self.options.no_aaaa && question.kind == Kind::Aaaa {
            //= resolv.conf(5): `no-aaaa` has such questions answered as if there were no records
            return Answer::Nothing { exists: true, ttl: Some(u32::MAX >> 1) };
        }
        let kind = match question.kind {
            Kind::A => RecordType::A,
            Kind::Aaaa => RecordType::AAAA,
            Kind::Srv => RecordType::SRV,
        };
        let answer = self.lookup(&question.name, kind).await;
        if kind == RecordType::SRV && !matches!(answer, Answer::Message { .. }) {
            return self.behind_alias(&question.name).await.unwrap_or(answer);
        }
        answer
    }

    /// SRV records behind an alias. hickory follows aliases, but where the records come in the same
    /// message it takes their target for one more.
    async fn behind_alias(&self, name: &Arc<str>) -> Option<Answer> {
        let (mut name, mut aliases) = (Arc::clone(name), Vec::new());
        while aliases.len() < MAX_ALIASES {
            let Answer::Message { answers, .. } = self.lookup(&name, RecordType::CNAME).await
            else {
                return None;
            };
            let alias = answers.into_iter().find(|record| record.owner == name)?;
            let Data::Alias(target) = &alias.data else { return None };
            name = Arc::clone(target);
            // Of those that lead back nothing is at the end.
            let is_circle = aliases.iter().any(|before: &Record| before.owner == name);
            if is_circle || alias.owner == name {
                return None;
            }
            aliases.push(alias);
            match self.lookup(&name, RecordType::SRV).await {
                Answer::Message { answers, additionals } => {
                    aliases.extend(answers);
                    return Some(Answer::Message { answers: aliases, additionals });
                }
                Answer::Nothing { .. } => {}
                failed @ Answer::Failed(_) => return Some(failed),
            }
        }
        None
    }

    async fn lookup(&self, name: &str, kind: RecordType) -> Answer {
        let name = match Name::from_ascii(name) {
            Ok(name) => name,
            Err(error) => return Answer::Failed(error.to_string()),
        };
        let said = if self.options.rotate {
            self.in_turn(&name, kind).await
        } else {
            self.of_all(&name, kind).await
        };
        match said {
            Ok(lookup) => Answer::Message {
                answers: lookup.answers().iter().filter_map(record).collect(),
                additionals: lookup.additionals().iter().filter_map(record).collect(),
            },
            Err(error) => failure(&error, &self.servers),
        }
    }

    /// The answer of all, and of each alone where one has failed.
    async fn of_all(&self, name: &Name, kind: RecordType) -> Result<Lookup, NetError> {
        let mut said = self.all.lookup(name, kind).await;
        for server in &self.each {
            if !said.as_ref().is_err_and(is_of_one) {
                break;
            }
            said = server.lookup(name, kind).await.or(said);
        }
        said
    }

    /// The answer of the first that has one, beginning with another server each time.
    //= resolv.conf(5): `rotate` spreads the query load among all listed servers
    async fn in_turn(&self, name: &Name, kind: RecordType) -> Result<Lookup, NetError> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.each.len();
        let asked = self.options.attempts.unwrap_or(ATTEMPTS) * self.each.len();
        let mut said = Err(NetError::NoConnections);
        for server in self.each.iter().cycle().skip(first).take(asked) {
            said = server.lookup(name, kind).await;
            if said.as_ref().map_or_else(is_denial, |_| true) {
                break;
            }
        }
        said
    }
}

// === impl Servers ===

impl Servers {
    fn new(config: &ResolverConfig, options: &ResolverOpts) -> Result<Self, String> {
        let make = |edns0| {
            let provider = TokioRuntimeProvider::default();
            let mut builder = Hickory::builder_with_config(config.clone(), provider);
            *builder.options_mut() = options.clone();
            builder.options_mut().edns0 = edns0;
            builder.build().map_err(|error| error.to_string())
        };
        //= RFC 6891 §6.1.1: answers over 512 bytes are asked for
        Ok(Self { hickory: make(true)?, plain: make(false)? })
    }

    async fn lookup(&self, name: &Name, kind: RecordType) -> Result<Lookup, NetError> {
        match self.hickory.lookup(name.clone(), kind).await {
            //= RFC 6891 §7: to FORMERR, the requestor may ask again without EDNS
            Err(NetError::Dns(DnsError::ResponseCode(
                ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::BADVERS,
            ))) => self.plain.lookup(name.clone(), kind).await,
            said => said,
        }
    }
}

/// Whether this says something of the server that was asked, and nothing of the name: another one
/// may know it. Where no answer came, all have been asked.
fn is_of_one(error: &NetError) -> bool {
    match error {
        NetError::Timeout | NetError::Io(_) | NetError::NoConnections => false,
        error => !is_denial(error),
    }
}

/// Whether this is an answer: that there is nothing.
fn is_denial(error: &NetError) -> bool {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. })) => {
            matches!(response_code, ResponseCode::NXDomain | ResponseCode::NoError)
        }
        _ => false,
    }
}

fn failure(error: &NetError, servers: &str) -> Answer {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(NoRecords {
            response_code: response_code @ (ResponseCode::NXDomain | ResponseCode::NoError),
            negative_ttl,
            ..
        })) => {
            Answer::Nothing { exists: *response_code == ResponseCode::NoError, ttl: *negative_ttl }
        }
        NetError::Dns(
            DnsError::NoRecordsFound(NoRecords { response_code, .. })
            | DnsError::ResponseCode(response_code),
        ) => Answer::Failed(format!("the server says {response_code} ({servers})")),
        NetError::Timeout => Answer::Failed(format!("no answer from {servers} in time")),
        error => Answer::Failed(format!("{error} ({servers})")),
    }
}

fn record(record: &rr::Record) -> Option<Record> {
    let data = match &record.data {
        RData::A(address) => Data::Address(IpAddr::V4(address.0)),
        RData::AAAA(address) => Data::Address(IpAddr::V6(address.0)),
        RData::CNAME(target) => Data::Alias(text(&target.0)),
        RData::SRV(service) => Data::Service(Service {
            priority: service.priority,
            target: text(&service.target),
            port: service.port,
            weight: service.weight,
        }),
        _ => return None,
    };
    Some(Record { owner: text(&record.name), ttl: record.ttl, data })
}

fn text(name: &Name) -> Arc<str> {
    let mut text = name.to_ascii();
    text.make_ascii_lowercase();
    if !text.ends_with('.') {
        text.push('.');
    }
    text.into()
}

fn build(key: &Key, system: &System) -> Result<Built, String> {
    let files = if key.servers.is_empty() { system.files() } else { Files::default() };
    let mut said = Options::read(files[0].as_deref().unwrap_or_default());
    let (mut config, mut options, hosts) = if key.servers.is_empty() {
        system.read(&files)
    } else {
        let servers = key.servers.iter().map(|server| name_server(*server)).collect();
        let config = ResolverConfig::from_name_servers(servers);
        (config, ResolverOpts::default(), Hosts::default())
    };
    let search = Search {
        domains: match &key.search[..] {
            [] if config.search.is_empty() => {
                config.domain.iter().map(ToString::to_string).collect()
            }
            [] => config.search.iter().map(ToString::to_string).collect(),
            given => given.to_vec(),
        },
        ndots: key.ndots.map_or(options.ndots, |ndots| ndots as usize),
    };
    // One server alone is always its turn.
    said.rotate &= config.name_servers.len() > 1;
    if key.tcp.unwrap_or(said.use_vc) {
        for server in &mut config.name_servers {
            server.connections.retain(|connection| {
                connection.protocol == hickory_resolver::config::ProtocolConfig::Tcp
            });
        }
    }
    let servers = config.name_servers.iter().map(|server| {
        let port = server.connections.first().map_or(53, |connection| connection.port);
        SocketAddr::new(server.ip, port).to_string()
    });
    let servers = servers.collect::<Vec<_>>().join(" or ");
    options.cache_size = 0;
    let attempts = said.attempts.unwrap_or(ATTEMPTS);
    options.timeout = said.timeout.unwrap_or(TRY);
    // hickory counts those after the first; of servers in turn each is asked once at a time.
    options.attempts = if said.rotate { 0 } else { attempts - 1 };
    options.use_hosts_file = ResolveHosts::Never;
    options.server_ordering_strategy = ServerOrderingStrategy::QueryStatistics;
    let all = Servers::new(&config, &options)?;
    let mut each = Vec::new();
    if config.name_servers.len() > 1 {
        for server in &config.name_servers {
            let alone = ResolverConfig::from_name_servers(vec![server.clone()]);
            each.push(Servers::new(&alone, &options)?);
        }
    }
    let rounds = if said.rotate { attempts * each.len() } else { attempts };
    let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
    let within = options.timeout.saturating_mul(rounds).clamp(LOOKUP, MAX_LOOKUP);
    let turn = AtomicUsize::new(0);
    Ok(Built { all, each, options: said, turn, within, hosts, search, files, servers })
}

// === impl System ===

impl System {
    /// What its files say now.
    fn files(&self) -> Files {
        [&self.resolv_conf, &self.hosts].map(|path| std::fs::read(path).ok())
    }

    /// What they mean.
    fn read(&self, [resolv_conf, hosts]: &Files) -> (ResolverConfig, ResolverOpts, Hosts) {
        #[cfg(all(unix, not(any(target_os = "android", target_vendor = "apple"))))]
        let said = resolv_conf.as_ref().map(system_conf::parse_resolv_conf).and_then(Result::ok);
        // What these keep is in no file.
        #[cfg(any(not(unix), target_os = "android", target_vendor = "apple"))]
        let said = system_conf::read_system_conf().ok();
        //= resolv.conf(5): without a server, the one on the local machine is asked
        let (mut config, options) = said.unwrap_or_else(|| {
            let local = IpAddr::from([127, 0, 0, 1]);
            let servers = vec![NameServerConfig::udp_and_tcp(local)];
            (ResolverConfig::from_name_servers(servers), ResolverOpts::default())
        });
        for server in &mut config.name_servers {
            server.connections.iter_mut().for_each(|connection| connection.port = self.port);
        }
        let mut known = Hosts::default();
        // What of it can be read is used.
        drop(hosts.as_ref().map(|hosts| known.read_hosts_conf(&hosts[..])));
        (config, options, known)
    }
}

impl Default for System {
    fn default() -> Self {
        let (resolv_conf, hosts) = ("/etc/resolv.conf".into(), "/etc/hosts".into());
        Self { resolv_conf, hosts, port: 53 }
    }
}

/// A server that is asked over UDP, and over TCP where that does not suffice.
fn name_server(server: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = server.port();
    }
    NameServerConfig::new(server.ip(), true, connections)
}
