//! Reports beside the traffic: the streams of gRPC C-core's servers steer our picks, though no call says anything.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;
use tower_mesh::{Client, config::Balancer};

use crate::{
    load_reports::{mesh_of, share, weighted},
    program::{folder, scale},
    reporter::{Asked, Reporter},
    support::{GreeterClient, HelloRequest, swap},
};

/// How often the streams are to report.
const PERIOD: Duration = Duration::from_millis(100);
/// By so much a share may be off.
const OFF: f64 = 0.02;

/// So many calls whose answers carry no report; who answered how many.
async fn silent(client: &Client, calls: usize) -> BTreeMap<String, usize> {
    let mut client = GreeterClient::new(client.clone());
    let mut answers = BTreeMap::new();
    for _ in 0..calls {
        let request = HelloRequest { name: "silent".to_owned() };
        let reply = client.say_hello(request).await.unwrap();
        *answers.entry(reply.into_inner().message).or_default() += 1;
    }
    answers
}

/// Calls until the share of `a` is such, for at most ten seconds.
async fn until(client: &Client, such: impl Fn(f64) -> bool) {
    let began = Instant::now();
    let mut answers = BTreeMap::new();
    while began.elapsed() < Duration::from_secs(10) {
        answers = silent(client, 40).await;
        if such(share(&answers, "a")) {
            return;
        }
        tokio::time::sleep(PERIOD / 2).await;
    }
    panic!("not in 10 s: {answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn c_cores_streams_steer_our_weights_and_are_followed() {
    let dir = folder();
    let files = ["a", "b"].map(|name| dir.path().join(name));
    let say = |a: &str, b: &str| {
        swap(&files[0], a);
        swap(&files[1], b);
    };
    say("0.2", "0.8");
    let [a, b] = files.each_ref().map(|file| file.to_str().unwrap());
    let servers =
        [Reporter::start("a", a, "100", "0").await, Reporter::start("b", b, "100", "0").await];
    let ports = servers.each_ref().map(|server| server.port);

    // Without the streams nobody tells anything, and all are called alike.
    let mesh = mesh_of(&ports, Balancer::ClientWeighted(weighted()));
    let client = mesh.client("greeter.prod").unwrap();
    for _ in 0..4 {
        silent(&client, 10).await;
        tokio::time::sleep(PERIOD).await;
    }
    let alike = silent(&client, 200).await;
    println!("without streams: {alike:?}");
    assert!((share(&alike, "a") - 0.5).abs() < OFF, "{alike:?}");
    assert!(servers.iter().all(|server| server.asked().is_empty()));

    // 500 and 125, by rate over utilisation.
    let mut config = weighted();
    (config.out_of_band, config.out_of_band_period) = (Some(true), Some(PERIOD));
    let mesh = mesh_of(&ports, Balancer::ClientWeighted(config));
    let client = mesh.client("greeter.prod").unwrap();
    until(&client, |share| share > 0.7).await;
    let shares = silent(&client, 500 * scale() as usize).await;
    println!("our weights by C-core's streams: {shares:?}");
    assert!((share(&shares, "a") - 0.8).abs() < OFF, "{shares:?}");

    // What they say next moves the picks, too.
    say("0.8", "0.2");
    until(&client, |share| share < 0.3).await;
    let shares = silent(&client, 500 * scale() as usize).await;
    println!("and after they have changed places: {shares:?}");
    assert!((share(&shares, "a") - 0.2).abs() < OFF, "{shares:?}");

    // One stream each, as often as the configuration says.
    let once = [Asked { interval: 0.1, costs: vec![] }];
    for server in &servers {
        assert_eq!(server.asked(), once);
    }
}
