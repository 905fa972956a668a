//! The next message of a stream is read when everybody who was told of the one before has worked it off, or
//! has had 5 s for it; what they ask for goes out meanwhile. As grpc-go's tests of flow control have it, where a watcher's call
//! that is not done yet is a batch that is not dropped yet.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::{
    super::{
        driver::{Driver, Input, Left},
        figures,
        mail::mail,
    },
    *,
};
use crate::control::xds::client::Client;

const MODES: [bool; 2] = [false, true];

/// One that says nothing of what is not there.
async fn plane() -> AdsServer {
    let plane = AdsServer::start().await.unwrap();
    plane.quiet_about_missing(true);
    plane
}

/// Two meshes that share a stream.
fn pair(server: impl Fn() -> Server) -> (Mesh, Mesh) {
    (Mesh::to([server()]), Mesh::to([server()]))
}

/// What a mesh is told next, which it works on until this is dropped.
async fn told(mesh: &mut Mesh) -> Batch<Known> {
    within(mesh.subscriber.next()).await
}

async fn both_told(one: &mut Mesh, two: &mut Mesh) -> (Batch<Known>, Batch<Known>) {
    (told(one).await, told(two).await)
}

/// What is good of it: name and version.
fn versions(batch: &Batch<Known>) -> Vec<(&str, &str)> {
    batch.told.iter().map(version).collect()
}

fn version(told: &Told<Known>) -> (&str, &str) {
    match &told.watched {
        Watched::Resource { version, .. } => (&*told.name, &**version),
        other => panic!("{other:?}"),
    }
}

fn is_missing(batch: &Batch<Known>, why: &str) {
    let [Told { watched: Watched::Missing(trouble), .. }] = &batch.told[..] else {
        panic!("{batch:?}")
    };
    assert!(trouble.to_string().contains(why), "{trouble}");
}

/// The mesh asks for something, and the plane hears it.
async fn asks(mesh: &mut Mesh, plane: &AdsServer, name: &str) {
    mesh.watch(Kind::Endpoints, name);
    within(plane.until(|plane| plane.subscriptions(EDS).iter().any(|it| it.contains(name)))).await;
}

/// What the plane has sent is there for long enough: twice something was asked for since, and was heard.
async fn goes_on_asking(mesh: &mut Mesh, plane: &AdsServer) {
    asks(mesh, plane, "more").await;
    asks(mesh, plane, "most").await;
}

/// After `one` and `two` were told something: what comes next by the stream is read when both are done.
async fn is_read_when_both_are_done(
    plane: &AdsServer,
    one: (&mut Mesh, Batch<Known>),
    two: (&mut Mesh, Batch<Known>),
) {
    let (one, first) = one;
    let (two, second) = two;
    asks(one, plane, "e").await;
    plane.set([Resource::endpoints("e", [address()])]);
    goes_on_asking(two, plane).await;
    assert!(plane.acks(EDS).is_empty(), "both work on it");
    drop(first);
    asks(one, plane, "last").await;
    assert!(plane.acks(EDS).is_empty(), "one still does");
    drop(second);
    assert_eq!(one.gets(Kind::Endpoints, "e").await, "1");
    within(plane.until(|plane| !plane.acks(EDS).is_empty())).await;
    assert_eq!(plane.streams(), 1);
}

/// grpc-go: `TestADSFlowControl_ResourceUpdates_SingleResource`.
#[tokio::test]
async fn ads_flow_control_resource_updates_single_resource() {
    for delta in MODES {
        let plane = plane().await;
        let (mut one, mut two) = pair(|| plain(&plane).delta(delta));
        one.watch(Kind::Listener, "l");
        two.watch(Kind::Listener, "l");
        asks(&mut two, &plane, "after").await;
        plane.set([Resource::listener("l", "r")]);
        let (first, second) = both_told(&mut one, &mut two).await;
        assert_eq!((versions(&first), versions(&second)), (vec![("l", "1")], vec![("l", "1")]));
        within(plane.until(|plane| plane.acks(LDS).len() == 1)).await;
        plane.set([Resource::listener("l", "s")]);
        goes_on_asking(&mut one, &plane).await;
        assert_eq!(plane.acks(LDS).len(), 1, "both work on the first");
        drop(first);
        asks(&mut one, &plane, "last").await;
        assert_eq!(plane.acks(LDS).len(), 1, "one still does");
        drop(second);
        let (first, second) = both_told(&mut one, &mut two).await;
        assert_eq!((versions(&first), versions(&second)), (vec![("l", "2")], vec![("l", "2")]));
        // What is not done does not keep the stream from ending.
        drop((one, two));
        within(plane.until(|plane| plane.streams() == 0 && plane.connections() == 0)).await;
        drop((first, second));
    }
}

/// grpc-go: `TestADSFlowControl_ResourceUpdates_MultipleResources`.
#[tokio::test]
async fn ads_flow_control_resource_updates_multiple_resources() {
    for delta in MODES {
        let plane = plane().await;
        let (mut one, mut two) = pair(|| plain(&plane).delta(delta));
        one.watch(Kind::Listener, "l");
        one.watch(Kind::Listener, "m");
        two.watch(Kind::Listener, "m");
        asks(&mut two, &plane, "after").await;
        // One answer with both.
        plane.set([Resource::listener("l", "r"), Resource::listener("m", "r")]);
        let (first, second) = both_told(&mut one, &mut two).await;
        assert_eq!(versions(&first), [("l", "1"), ("m", "1")], "at once");
        assert_eq!(versions(&second), [("m", "1")]);
        within(plane.until(|plane| plane.acks(LDS).len() == 1)).await;
        plane.set([Resource::listener("l", "s"), Resource::listener("m", "s")]);
        goes_on_asking(&mut one, &plane).await;
        assert_eq!(plane.acks(LDS).len(), 1, "both work on the first");
        // Whichever is done first.
        drop(second);
        asks(&mut one, &plane, "last").await;
        assert_eq!(plane.acks(LDS).len(), 1, "one still does");
        drop(first);
        let (first, second) = both_told(&mut one, &mut two).await;
        assert_eq!(versions(&first), [("l", "2"), ("m", "2")]);
        assert_eq!(versions(&second), [("m", "2")]);
    }
}

/// grpc-go: `TestADSFlowControl_ResourceErrors`.
#[tokio::test]
async fn ads_flow_control_resource_errors() {
    for delta in MODES {
        let plane = plane().await;
        let (mut one, mut two) = pair(|| plain(&plane).delta(delta));
        one.watch(Kind::Listener, "bad");
        two.watch(Kind::Listener, "bad");
        asks(&mut two, &plane, "after").await;
        plane.set([Resource::listener("bad", "r")]);
        let (first, second) = both_told(&mut one, &mut two).await;
        is_missing(&first, "its name is bad");
        is_missing(&second, "its name is bad");
        // The refusal goes out meanwhile.
        within(plane.until(|plane| plane.nacks(LDS).len() == 1)).await;
        is_read_when_both_are_done(&plane, (&mut one, first), (&mut two, second)).await;
    }
}

/// grpc-go: `TestADSFlowControl_ResourceDoesNotExist`.
#[tokio::test]
async fn ads_flow_control_resource_does_not_exist() {
    for delta in MODES {
        let plane = plane().await;
        plane.set([Resource::listener("l", "r")]);
        let (mut one, mut two) = pair(|| plain(&plane).delta(delta).fail_on_data_errors(true));
        one.watch(Kind::Listener, "l");
        two.watch(Kind::Listener, "l");
        let (first, second) = both_told(&mut one, &mut two).await;
        assert_eq!((versions(&first), versions(&second)), (vec![("l", "1")], vec![("l", "1")]));
        drop((first, second));
        plane.quiet_about_missing(false);
        plane.remove(LDS, "l");
        plane.quiet_about_missing(true);
        let (first, second) = both_told(&mut one, &mut two).await;
        is_missing(&first, "no longer has it");
        is_missing(&second, "no longer has it");
        // It is acknowledged meanwhile.
        within(plane.until(|plane| plane.acks(LDS).len() == 2)).await;
        is_read_when_both_are_done(&plane, (&mut one, first), (&mut two, second)).await;
    }
}

/// Tells the task something without end: there is always something to take.
fn flood(inbox: &UnboundedSender<Input<Plain>>, is_over: Arc<AtomicBool>) {
    let again = inbox.clone();
    let look = move |_: &Client<Plain>| {
        if !is_over.load(Relaxed) {
            flood(&again, is_over);
        }
    };
    drop(inbox.send(Input::Inspect(Box::new(look))));
}

#[tokio::test(start_paused = true)]
async fn a_mesh_that_hangs_is_given_up_in_time_though_there_is_always_something_else_to_take() {
    let plane = AdsServer::start_in_memory().await.unwrap();
    plane.quiet_about_missing(true);
    plane.set([Resource::listener("l", "r")]);
    let (inbox, inputs) = unbounded_channel::<Input<Plain>>();
    let (tell, mailbox) = mail();
    let (kind, name) = (Kind::Listener, "l".into());
    drop(inbox.send(Input::Join { subscriber: 1, tell, cache: None }));
    drop(inbox.send(Input::Watch { subscriber: 1, kind, name, before: None }));
    let client = (Plain, 1, figures::Shared::default(), Left::default());
    let bootstrap = Arc::new(bootstrap([plain(&plane)]));
    let driver = Driver::new(&bootstrap, client, inbox.clone(), &Handle::current());
    let driver = tokio::spawn(driver.run(inputs, |_| true));
    let hangs = within(mailbox.next()).await.unwrap();
    assert_eq!(versions(&hangs), [("l", "1")]);
    within(plane.until(|plane| plane.acks(LDS).len() == 1)).await;
    plane.set([Resource::listener("l", "s")]);
    let is_over = Arc::new(AtomicBool::new(false));
    flood(&inbox, Arc::clone(&is_over));
    tokio::time::advance(Duration::from_secs(6)).await;
    let is_read = || plane.acks(LDS).len() == 2;
    for _ in 0..100 {
        if is_read() {
            break;
        }
        tokio::task::yield_now().await;
    }
    is_over.store(true, Relaxed);
    assert!(is_read(), "it is not given up");
    driver.abort();
    drop(hangs);
}
