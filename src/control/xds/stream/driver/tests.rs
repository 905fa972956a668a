//! What the task does, without streams that run.

use envoy_types::pb::{
    envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource},
    google::protobuf::Any,
};
use futures_util::FutureExt as _;
use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::control::xds::{
    client::{Decoded, Invalid},
    stream::mail::mail,
};

/// The bytes of a resource are its name.
struct Plain;

impl Decode for Plain {
    type Resource = u8;

    fn decode(&self, _: Kind, value: &[u8]) -> Result<Decoded<u8>, Invalid> {
        Ok(Decoded { name: String::from_utf8_lossy(value).into(), resource: 1 })
    }
}

#[tokio::test]
async fn a_mesh_that_hangs_is_not_waited_for_anew_where_its_message_has_closed_the_stream() {
    let (server, kind) = (ServerId(0), Kind::Cluster);
    let bootstrap = Bootstrap::builder().node_id("n").server(Server::insecure("a:1").delta(true));
    let (sender, mut inbox) = unbounded_channel::<Input<Plain>>();
    let client = (Plain, 1, figures::Shared::default(), Left::default());
    let bootstrap = Arc::new(bootstrap.build().unwrap());
    let mut driver = Driver::new(&bootstrap, client, sender, &Handle::current());
    let (tell, mailbox) = mail();
    driver.take(Input::Join { subscriber: 1, tell, cache: None });
    driver.take(Input::Watch { subscriber: 1, kind, name: "a".into(), before: None });
    driver.act(None);
    let stream = driver.live[&server].stream;
    driver.take(Input::Stream { server, stream, event: Event::Opened });
    driver.act(None);
    // The server reads nothing.
    for _ in driver.live[&server].requests.waiting()..MOST_WAITING {
        driver.send(server, stream, Request::Delta(DeltaDiscoveryRequest::default()));
    }
    let any = Any { type_url: kind.url().to_owned(), value: b"a".to_vec() };
    let resource = Resource {
        name: "a".to_owned(),
        version: "1".to_owned(),
        resource: Some(any),
        ..Resource::default()
    };
    let answer = Message::Delta(DeltaDiscoveryResponse {
        nonce: "1".to_owned(),
        type_url: kind.url().to_owned(),
        resources: vec![resource],
        ..DeltaDiscoveryResponse::default()
    });
    driver.take(Input::Stream { server, stream, event: Event::Received(answer) });
    assert!(driver.live.get(&server).is_none_or(|live| live.stream != stream), "it is closed");
    let hangs = mailbox.next().now_or_never().flatten().unwrap();
    assert_eq!(hangs.working.len(), 1);

    let tell_more = |driver: &mut Driver<Plain>, message: u64| {
        let watched = Watched::Resource { resource: 1, version: "2".into() };
        let told = Told { kind, name: "a".into(), watched };
        driver.batches.entry(1).or_default().push(told);
        driver.act(Some((server, stream + 1, message)))
    };
    assert_eq!(tell_more(&mut driver, 1), BTreeSet::new());
    // Until it has worked it off.
    drop(hangs);
    while let Ok(input) = inbox.try_recv() {
        driver.take(input);
    }
    assert_eq!(tell_more(&mut driver, 2), BTreeSet::from([1]));
}
