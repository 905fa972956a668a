//! What the fuzz targets of resources begin with: resources that say much, all of it sound. The files in
//! `fuzz/corpus-seeds` are made here; `WRITE_SEEDS=1` writes them.

mod clusters;
mod endpoints;
mod listeners;
mod routes;
mod secrets;

use std::{fs, path::Path};

use envoy_types::pb::envoy::r#type::v3::Percent;

use super::{
    super::sound::{beside, reads, secret},
    *,
};

/// Of a hundred.
fn percent(value: f64) -> Option<Percent> {
    Some(Percent { value })
}

struct Seed {
    name: &'static str,
    kind: Kind,
    bytes: Vec<u8>,
}

/// By the target that begins with them.
fn all() -> Vec<(&'static str, Vec<Seed>)> {
    vec![
        ("xds_cluster", seeds(Kind::Cluster, clusters::all())),
        ("xds_listener", seeds(Kind::Listener, listeners::all())),
        ("xds_routes", seeds(Kind::Routes, routes::all())),
        ("xds_endpoints", seeds(Kind::Endpoints, endpoints::all())),
        ("xds_secret", seeds(Kind::Secret, secrets::all())),
    ]
}

fn seeds<M: Message>(kind: Kind, list: Vec<(&'static str, M)>) -> Vec<Seed> {
    let seed = |(name, pb): (&'static str, M)| Seed { name, kind, bytes: pb.encode_to_vec() };
    list.into_iter().map(seed).collect()
}

/// Secrets of every kind, those that are refused too.
pub(super) fn secrets() -> Vec<Vec<u8>> {
    let all = secrets::all().into_iter().chain(secrets::refused());
    all.map(|(_, pb)| pb.encode_to_vec()).collect()
}

/// The same for the target of assignments beside others: how long the older one is, and both.
fn pairs() -> Vec<(&'static str, Vec<u8>)> {
    let pair =
        |(name, older, newer): (&'static str, ClusterLoadAssignment, ClusterLoadAssignment)| {
            let (older, newer) = (older.encode_to_vec(), newer.encode_to_vec());
            let length = u16::try_from(older.len()).unwrap();
            (name, [&length.to_le_bytes()[..], &older, &newer].concat())
        };
    endpoints::pairs().into_iter().map(pair).collect()
}

/// A seed that is refused at its first field leads nowhere.
#[test]
fn every_seed_is_read_to_its_end() {
    for (target, seeds) in all() {
        assert!(!seeds.is_empty(), "{target}");
        for Seed { name, kind, bytes } in seeds {
            let place = format!("{target}/{name}");
            let (_, resource) = sidecar()
                .decode(kind, &bytes)
                .unwrap_or_else(|refused| panic!("{place}: {}", refused.reason));
            let hosts = match &resource {
                Resource::Routes(routes) => routes.hosts.as_slice(),
                Resource::Listener(listener) => match &listener.routes {
                    RoutesFrom::Inline(routes) => routes.hosts.as_slice(),
                    RoutesFrom::Named(_) => &[],
                },
                Resource::Cluster(_) | Resource::Endpoints(_) | Resource::Secret(_) => &[],
            };
            for host in hosts {
                assert_eq!(host.refused, None, "{place}");
            }
            reads(kind, &bytes);
            if kind == Kind::Secret {
                secret(&bytes);
            }
            // A longer one is never taken whole.
            assert!(bytes.len() <= 4096, "{place}: {} bytes", bytes.len());
        }
    }
    for (name, bytes) in pairs() {
        assert!(bytes.len() <= 4096, "{name}: {} bytes", bytes.len());
        beside(&bytes);
    }
    for (name, pb) in secrets::refused() {
        let refused = sidecar().decode(Kind::Secret, &pb.encode_to_vec());
        assert!(refused.is_err_and(|it| it.name.is_some()), "{name}");
        secret(&pb.encode_to_vec());
    }
}

#[test]
fn the_seeds_of_the_tree_are_these() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus-seeds"));
    let writes = std::env::var_os("WRITE_SEEDS").is_some();
    let of_all = all().into_iter().flat_map(|(target, seeds)| {
        seeds.into_iter().map(move |seed| (target, seed.name, seed.bytes))
    });
    let of_pairs = pairs().into_iter().map(|(name, bytes)| ("xds_again", name, bytes));
    let of_refused = secrets::refused().into_iter();
    let of_refused = of_refused.map(|(name, pb)| ("xds_secret", name, pb.encode_to_vec()));
    for (target, name, bytes) in of_all.chain(of_pairs).chain(of_refused) {
        let folder = root.join(target);
        let path = folder.join(name);
        if writes {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        let is_this = fs::read(&path).is_ok_and(|found| found == bytes);
        assert!(is_this, "{} is another: `WRITE_SEEDS=1` writes it", path.display());
    }
}
