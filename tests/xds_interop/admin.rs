//! What the programs tell of themselves where they are asked: CSDS (gRFC A40), as grpc-go's administration services.

use envoy_types::pb::envoy::{
    admin::v3::ClientResourceStatus,
    service::status::v3::{
        ClientStatusRequest,
        client_status_discovery_service_client::ClientStatusDiscoveryServiceClient,
    },
};
use tonic::Code;
use tower_mesh::testing::xds::{CDS, EDS, LDS, RDS};

use super::{
    bed::{Bed, backend, channel, to, words},
    server::{Options, Server},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_client_tells_what_it_knows_of_its_control_plane() {
    let a = backend("a", 0).await;
    let bed = Bed::start("--qps=50", to("a", &[&a])).await;
    bed.until_peers(&["a"]).await;
    let known = bed.known().await;
    assert_eq!(known.node.unwrap().id, "client");
    let mut known: Vec<_> = known
        .generic_xds_configs
        .iter()
        .map(|it| (&*it.type_url, &*it.name, &*it.version_info, it.client_status()))
        .collect();
    known.sort_by_key(|it| (it.0, it.1));
    let acked = ClientResourceStatus::Acked;
    let mut wanted = [
        (LDS, "test", "1", acked),
        (RDS, "routes", "1", acked),
        (CDS, "a", "1", acked),
        (EDS, "a", "1", acked),
    ];
    wanted.sort_by_key(|it| (it.0, it.1));
    assert_eq!(known, wanted);
}

#[tokio::test]
async fn the_server_has_csds_where_its_health_is_asked() {
    let line = "--port=0 --maintenance_port=0 --host_name_override=a";
    let options = Options::parse(words(line)).unwrap();
    let server = Server::start([127, 0, 0, 1], options).await.unwrap();
    let asked = async |at| {
        let mut csds = ClientStatusDiscoveryServiceClient::new(channel(at).await);
        csds.fetch_client_status(ClientStatusRequest::default()).await
    };
    // It is no client of a control plane itself, and whoever is one in this process is told of.
    asked(server.maintenance).await.unwrap();
    assert_eq!(asked(server.address).await.unwrap_err().code(), Code::Unimplemented);
}
