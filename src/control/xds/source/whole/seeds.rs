//! What the fuzz target begins with: a name that is asked for and all that it leads to, in each dialect. The files
//! in `fuzz/corpus-seeds/xds_whole` are made here; `WRITE_SEEDS=1` writes them.
//!
//! A seed says each choice of [`resources`](super::resources) in its order: where one is put in between, it is put
//! in here, too.

use std::{collections::BTreeSet, fs, path::Path};

use super::{Met, WAYS, run};
use crate::control::xds::bootstrap::Dialect;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus-seeds/xds_whole");

/// What is there comes to the mesh at once.
const SETTLE: u8 = 1;
/// The first name, on the first listener.
const ASK: &[u8] = &[0, 0, 0, SETTLE];
/// The same, whose host has addresses.
const ASK_BY_PORT: &[u8] = &[0, 0, 0, 1, SETTLE];
/// One listener is found at the addresses of the first name: the second.
const FOUND: &[u8] = &[8, 0, 2, 1, SETTLE];

/// The domain of the first name, and of all.
const OWN: u8 = 1;
const ALL: u8 = 0;

/// A cluster that says nothing of how it is secured.
const SILENT: &[u8] = &[1, 1];
/// Endpoints of `istio` are behind a tunnel, others in plaintext.
const TUNNEL: &[u8] = &[1, 0, 2, 0, 1, 2, 0];
/// Endpoints of `istio` by TLS, with the roots of the first secret; others in plaintext.
const TLS: &[u8] = &[1, 0, 2, 0, 2, 0, 0, 1, 1, 2, 0];
/// Roots.
const SECRET: &[u8] = &[1, 0];
/// An endpoint of `istio`, and one that says nothing, at a place of weight 100.
const ENDPOINTS: &[u8] = &[1, 1, 1, 2, 0, 0, 0, 0, 1, 1, 0, 1, 0, 2, 1, 1, 3, 1, 0];

/// The resource that is watched at this place is told, as it is.
fn tell(at: u8, resource: &[u8]) -> Vec<u8> {
    let (is_whole, word) = (&[1], &[0; 8]);
    [&[4, at][..], resource, is_whole, word, &[SETTLE]].concat()
}

/// With a router, and these routes.
fn listener(routes: u8) -> Vec<u8> {
    vec![1, routes, 1, 1, 1, 1, 1]
}

/// Of one host of this domain: all of it goes to the first cluster.
fn routes(domain: u8) -> Vec<u8> {
    vec![0, 0, domain, 0, 1, 0, 1, 1, 0, 0, 1, 1, 1]
}

/// With its endpoints in a resource of its name, secured so.
fn cluster(security: &[u8]) -> Vec<u8> {
    [&[3, 1][..], security, &[1, 1, 1, 1, 1]].concat()
}

/// The first name leads to a cluster by its first listener.
fn chain(ask: &[u8], security: &[u8]) -> Vec<u8> {
    let told = [listener(0), routes(OWN), cluster(security), ENDPOINTS.to_vec()];
    let told = (0..).zip(told).flat_map(|(at, resource)| tell(at, &resource));
    ask.iter().copied().chain(told).collect()
}

/// By the second, at the address of its host: the first one has a host for all names alone.
fn elsewhere() -> Vec<u8> {
    [
        ASK_BY_PORT,
        &tell(0, &listener(0)),
        &tell(1, &routes(ALL)),
        FOUND,
        &tell(1, &listener(1)),
        &tell(3, &routes(ALL)),
        &tell(4, &cluster(TUNNEL)),
        &tell(5, ENDPOINTS),
    ]
    .concat()
}

/// By its name: how the control plane is asked, what it says, and what it comes to.
fn all() -> Vec<(&'static str, u8, Vec<u8>, Vec<Met>)> {
    let tls = [chain(ASK_BY_PORT, TLS), tell(4, SECRET)].concat();
    vec![
        ("proxyless", 0, chain(ASK, TUNNEL), vec![Met::Service, Met::Joined]),
        ("proxyless-silent", 1, chain(ASK, SILENT), vec![Met::Service, Met::Silent]),
        ("proxyless-told", 2, chain(ASK, SILENT), vec![Met::Service, Met::Silent]),
        ("sidecar", 3, chain(ASK_BY_PORT, TUNNEL), vec![Met::Service, Met::Joined]),
        ("sidecar-tls", 3, tls, vec![Met::Service, Met::Joined]),
        ("sidecar-elsewhere", 3, elsewhere(), vec![Met::Elsewhere, Met::Joined]),
        ("envoy", 4, chain(ASK, TUNNEL), vec![Met::Service, Met::Joined]),
    ]
}

#[test]
fn every_dialect_has_a_seed_that_leads_to_the_end() {
    let writes = std::env::var_os("WRITE_SEEDS").is_some();
    let mut dialects = vec![Dialect::Proxyless, Dialect::Sidecar, Dialect::Envoy];
    for (name, way, script, comes_to) in all() {
        let script = [&[way][..], &script].concat();
        let met = run(&script);
        assert_eq!(met, BTreeSet::from_iter(comes_to), "{name}");
        dialects.retain(|it| *it != WAYS[usize::from(way)].dialect);
        let path = Path::new(FOLDER).join(name);
        if writes {
            fs::write(&path, &script).unwrap();
        }
        let is_this = fs::read(&path).is_ok_and(|found| found == script);
        assert!(is_this, "{} is another: `WRITE_SEEDS=1` writes it", path.display());
    }
    assert!(dialects.is_empty(), "{dialects:?}");
    for entry in fs::read_dir(FOLDER).unwrap() {
        drop(run(&fs::read(entry.unwrap().path()).unwrap()));
    }
}
