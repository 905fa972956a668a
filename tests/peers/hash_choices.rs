//! The same choice as Envoy, and as gRPC C-core, for the same endpoints and the same key.

use std::{path::Path, process::Command};

use http::Request;
use tower_mesh::{
    Body, Client, Mesh,
    config::{
        Balancer, Cluster, Endpoint, HashCookie, HashFunction, HashOn, HashPolicy, Maglev,
        RingHash, Service,
    },
    discover::Static,
};

use crate::{
    envoy::{Envoy, Upstream},
    program::{free_port, python, scale},
    support::{GreeterClient, HelloRequest, Server, hello, reply},
};

/// Keys that are asked for.
fn keys() -> usize {
    300 * scale() as usize
}

/// Web servers that say at which port they are, in the order of their addresses as texts.
async fn servers(count: usize) -> Vec<Server> {
    let mut servers = Vec::new();
    for _ in 0..count {
        let port = free_port();
        let address = ([127, 0, 0, 1], port).into();
        servers
            .push(Server::start_at(address, move |_| async move { reply(port.to_string()) }).await);
    }
    servers.sort_by_key(|server| server.socket().to_string());
    servers
}

/// The same endpoints, policies and tables in Envoy and in the mesh.
struct Twin {
    envoy: Vec<Client>,
    ours: Vec<Client>,
    _envoy: Envoy,
    _meshes: Vec<Mesh>,
}

/// What is the same in both.
#[derive(Default)]
struct Said {
    weights: Vec<u32>,
    hash_keys: bool,
    /// For Envoy, and for us.
    policies: (String, Vec<HashPolicy>),
    ring: RingHash,
    /// The order in which Envoy's list has them is reversed.
    reversed: bool,
}

impl Twin {
    async fn new(servers: &[Server], said: Said) -> Self {
        let key = |n: usize| said.hash_keys.then(|| format!("shard-{n}"));
        let weight = |n: usize| said.weights.get(n).copied().unwrap_or(1);
        let port = |n: usize| servers[n].socket().port();
        let upstream = |n| Upstream { port: port(n), weight: weight(n), hash_key: key(n) };
        let mut upstreams: Vec<_> = (0..servers.len()).map(upstream).collect();
        if said.reversed {
            upstreams.reverse();
        }
        let function = match said.ring.function {
            HashFunction::MurmurHash2 => "MURMUR_HASH_2",
            _ => "XX_HASH",
        };
        let least = said.ring.minimum_ring_size.unwrap_or(1024);
        let ring = format!(
            "\n    ring_hash_lb_config: {{minimum_ring_size: {least}, hash_function: {function}}}"
        );
        let envoy = Envoy::start(&upstreams, &said.policies.0, &ring).await;
        let balancers = [Balancer::RingHash(said.ring), Balancer::Maglev(Maglev::default())];
        let mut meshes = Vec::new();
        for balancer in balancers {
            let mut cluster = Cluster::default();
            for n in 0..servers.len() {
                let mut endpoint = Endpoint::new(servers[n].address()).weight(weight(n));
                endpoint.hash_key = key(n);
                cluster.endpoints.push(endpoint);
            }
            cluster.balancer = Some(balancer);
            let mut service = Service::default();
            service.policy.hash = Some(said.policies.1.clone());
            let source = Static::default().cluster("them", cluster).service("them", service);
            let mesh = Mesh::builder().source(source).build().unwrap();
            mesh.ready().await.unwrap();
            meshes.push(mesh);
        }
        // Through a mesh of one endpoint: Envoy itself.
        let to_envoy = envoy.ports.iter().map(|port| {
            let address: std::net::SocketAddr = ([127, 0, 0, 1], *port).into();
            Mesh::builder().endpoints("envoy", [address]).build().unwrap()
        });
        let to_envoy: Vec<_> = to_envoy.collect();
        let ours = meshes.iter().map(|mesh| mesh.client("them").unwrap()).collect();
        let envoys = to_envoy.iter().map(|mesh| mesh.client("envoy").unwrap()).collect();
        meshes.extend(to_envoy);
        Self { envoy: envoys, ours, _envoy: envoy, _meshes: meshes }
    }

    /// How many of the keys both send to the same server, by ring and by table; how many servers
    /// answered.
    async fn agree(&self, request: impl Fn(usize) -> Request<Body>) -> [(usize, usize); 2] {
        let mut agreed = [(0, 0); 2];
        for (table, agreed) in agreed.iter_mut().enumerate() {
            let mut answered = std::collections::BTreeSet::new();
            for key in 0..keys() {
                let theirs = who(&self.envoy[table], request(key)).await;
                let ours = who(&self.ours[table], request(key)).await;
                agreed.0 += usize::from(theirs == ours);
                answered.insert(ours);
            }
            agreed.1 = answered.len();
        }
        agreed
    }
}

async fn who(client: &Client, request: Request<Body>) -> String {
    let response = client.send(request).await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body().text().await.unwrap()
}

fn with(uri: &str, headers: &[(&str, String)]) -> Request<Body> {
    let request = Request::get(uri);
    let request = headers.iter().fold(request, |it, (name, value)| it.header(*name, value));
    request.body(Body::empty()).unwrap()
}

fn user(key: usize) -> Request<Body> {
    with("/", &[("x-user", format!("user-{key}"))])
}

const BY_USER: &str = "[{header: {header_name: x-user}}]";

fn by_user() -> (String, Vec<HashPolicy>) {
    (BY_USER.into(), vec![HashPolicy::header("x-user")])
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_chooses_the_same_by_ring_and_by_table() {
    let servers = servers(7).await;
    for (weights, hash_keys, murmur) in [
        (vec![], false, false),
        (vec![1, 2, 3, 4, 5, 6, 7], false, false),
        (vec![1, 100, 1, 1, 30, 1, 1], false, false),
        (vec![], true, false),
        (vec![3, 1, 4, 1, 5, 9, 2], true, true),
    ] {
        let mut said = Said { policies: by_user(), hash_keys, ..Said::default() };
        said.weights.clone_from(&weights);
        if murmur {
            said.ring.function = HashFunction::MurmurHash2;
        }
        let twin = Twin::new(&servers, said).await;
        let what = format!("weights {weights:?}, keys {hash_keys}, murmur {murmur}");
        for (table, (agreed, answered)) in twin.agree(user).await.into_iter().enumerate() {
            assert_eq!(agreed, keys(), "{what}, table {table}");
            assert!(answered >= 2, "{what}: {answered} answered");
            println!("{what}, {}: {agreed} of {} keys", ["ring", "maglev"][table], keys());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_chooses_nearly_the_same_from_a_list_in_another_order() {
    let servers = servers(7).await;
    for weights in [vec![], vec![1, 2, 3, 4, 5, 6, 7]] {
        let mut said = Said { policies: by_user(), reversed: true, ..Said::default() };
        said.weights.clone_from(&weights);
        let twin = Twin::new(&servers, said).await;
        let [(ring, _), (maglev, _)] = twin.agree(user).await;
        println!("reversed, weights {weights:?}: ring {ring}, maglev {maglev} of {}", keys());
        assert_eq!(maglev, keys());
        // Of a ring of 1,029 entries or more, at most seven differ.
        assert!(ring * 100 >= keys() * 98, "{ring}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_hashes_the_same_of_a_request() {
    let servers = servers(5).await;
    let mut cookie = HashCookie::default();
    cookie.name = "session".into();
    let policies = (
        "[{header: {header_name: x-tenant}, terminal: true}, {header: {header_name: x-user}}, \
         {query_parameter: {name: q}}, {cookie: {name: session}}]"
            .to_owned(),
        vec![
            HashPolicy::header("x-tenant").terminal(),
            HashPolicy::header("x-user"),
            HashPolicy::new(HashOn::Query("q".into())),
            HashPolicy::new(HashOn::Cookie(cookie)),
        ],
    );
    let twin = Twin::new(&servers, Said { policies, ..Said::default() }).await;
    type Make = fn(usize) -> Request<Body>;
    let requests: [(&str, Make); 6] = [
        ("tenant", |key| with("/", &[("x-tenant", key.to_string()), ("x-user", "a".into())])),
        ("user", user),
        ("several values", |key| {
            let values =
                [("x-user", key.to_string()), ("x-user", "b".into()), ("x-user", "a".into())];
            with("/", &values)
        }),
        ("query", |key| with(&format!("/a?x=1&q={key}%20b&q=c"), &[])),
        ("cookie", |key| with("/", &[("cookie", format!("a=1; session={key}; b=2"))])),
        ("all but the tenant", |key| {
            let headers = [("x-user", key.to_string()), ("cookie", format!("session=s{key}"))];
            with(&format!("/?q=q{key}"), &headers)
        }),
    ];
    for (what, request) in requests {
        for (table, (agreed, answered)) in twin.agree(request).await.into_iter().enumerate() {
            assert_eq!(agreed, keys(), "{what}, table {table}");
            assert_eq!(answered, 5, "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_chooses_the_same_by_ring() {
    let mut greeters = Vec::new();
    for _ in 0..5 {
        let port = std::sync::Arc::new(std::sync::OnceLock::new());
        let own = std::sync::Arc::clone(&port);
        let greeter = hello(move |_| {
            let port: u16 = own.get().copied().unwrap_or_default();
            async move { Ok(port.to_string()) }
        });
        let server = Server::grpc(greeter).await;
        port.set(server.socket().port()).unwrap();
        greeters.push(server);
    }
    greeters.sort_by_key(|server| server.socket().to_string());
    for weights in [[1; 5], [1, 2, 3, 4, 5], [7, 1, 1, 2, 9]] {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/ring_caller.py");
        let mut command = Command::new(python());
        command.arg(script).arg(keys().to_string());
        for (server, weight) in greeters.iter().zip(weights) {
            command.arg(format!("{}={weight}", server.socket().port()));
        }
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {said}", output.status);
        let theirs: Vec<_> =
            String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        assert_eq!(theirs.len(), keys(), "{said}");

        let mut cluster = Cluster::default();
        for (server, weight) in greeters.iter().zip(weights) {
            cluster.endpoints.push(Endpoint::new(server.address()).weight(weight));
        }
        let mut ring = RingHash::default();
        ring.maximum_ring_size = Some(4096);
        cluster.balancer = Some(Balancer::RingHash(ring));
        let mut service = Service::default();
        service.policy.hash = Some(vec![HashPolicy::header("x-user")]);
        let source = Static::default().cluster("them", cluster).service("them", service);
        let mesh = Mesh::builder().source(source).build().unwrap();
        // Its source says the cluster before the service.
        mesh.ready().await.unwrap();
        let mut client = GreeterClient::new(mesh.client("them").unwrap());
        for (key, theirs) in theirs.iter().enumerate() {
            let mut request = tonic::Request::new(HelloRequest::default());
            request.metadata_mut().insert("x-user", format!("user-{key}").parse().unwrap());
            let ours = client.say_hello(request).await.unwrap().into_inner().message;
            assert_eq!(&ours, theirs, "key {key}, weights {weights:?}");
        }
        println!("C-core, weights {weights:?}: {} of {} keys", keys(), keys());
    }
}
