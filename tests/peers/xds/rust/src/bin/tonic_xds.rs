//! Calls by tonic-xds, as it is told line by line. Its bootstrap is what `GRPC_XDS_BOOTSTRAP_CONFIG` says.

use tonic_xds::{XdsChannelBuilder, XdsChannelConfig, XdsUri};

#[tokio::main]
async fn main() {
    xds_callers::serve(|target| {
        let target = XdsUri::parse(&format!("xds:///{target}")).unwrap();
        XdsChannelBuilder::new(XdsChannelConfig::new(target)).build_grpc_channel().unwrap()
    })
    .await;
}
