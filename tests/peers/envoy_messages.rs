//! Bodies, trailers and gRPC calls through Envoy and through the mesh: `traffic/messages.envoy.yaml` and
//! `traffic/messages.mesh.yaml`.

use http::Method;

use crate::twin::{Ask, Otherwise, Seen, Twin, alike, otherwise};

async fn twin() -> Twin {
    let theirs = include_str!("traffic/messages.envoy.yaml");
    Twin::new(theirs, include_str!("traffic/messages.mesh.yaml"), &[]).await
}

#[tokio::test]
async fn bodies_arrive_as_through_envoy() {
    let twin = twin().await;
    let doing = |what| Ask::get("/echo").with("x-do", what);
    let sent = |method| doing("echo").method(method);
    alike(
        &twin,
        [
            doing("echo"),
            sent(Method::GET).body(2),
            sent(Method::POST).body(2),
            sent(Method::POST).stream(2),
            sent(Method::PUT).body(300_000),
            sent(Method::PUT).stream(300_000),
            sent(Method::DELETE).stream(2),
            doing("bytes=300000"),
            doing("stream=300000"),
            doing("status=204"),
            doing("status=304"),
            doing("status=404").method(Method::HEAD),
            Ask::get("/echo").method(Method::HEAD),
        ],
    )
    .await;
    // A length that is said is told, and what says none is sent in chunks.
    let lengths = [
        (sent(Method::PUT).body(300_000), "[\"300000\", \"\"] 300000 bytes"),
        (sent(Method::PUT).stream(300_000), "[\"\", \"chunked\"] 300000 bytes"),
    ];
    for (ask, expected) in lengths {
        let [_, mesh] = twin.ask(&ask.time(1)).await;
        assert!(mesh.body.ends_with(expected), "{mesh:?}");
    }
    let [_, mesh] = twin.ask(&Ask::get("/echo").method(Method::HEAD).time(1)).await;
    assert!(mesh.headers.contains_key("content-length") && mesh.body.is_empty(), "{mesh:?}");
}

#[tokio::test]
async fn a_body_is_sent_again_whole_as_by_envoy() {
    let twin = twin().await;
    let failing = |what| Ask::get("/again").with("x-do", what).method(Method::PUT);
    alike(
        &twin,
        [
            failing("echo=1").body(2),
            failing("echo=2").body(60_000),
            failing("echo=2").stream(60_000),
            // What is given whole is kept by whom it is of.
            failing("echo=1").body(100_000),
            failing("echo=9").body(2),
        ],
    )
    .await;
}

#[tokio::test]
async fn grpc_calls_are_routed_and_answered_as_by_envoy() {
    let twin = twin().await;
    let calls = [
        "/shop.Carts/Add",
        "/shop.Carts/Remove",
        "/shop.Orders/List",
        "/shop.Carts/List",
        "/shop.Trails/Get",
    ];
    alike(&twin, calls.map(Ask::grpc)).await;
    // What is no gRPC call is none, whatever its path.
    let other = |kind| Ask::get("/shop.Carts/Add").method(Method::POST).with("content-type", kind);
    alike(&twin, ["application/json", "application/grpc-web"].map(other)).await;
    // A status, a text and more in trailers, behind a message.
    let trails = ["trail=0", "trail=5", "trail=14"];
    alike(&twin, trails.map(|what| Ask::grpc("/shop.Trails/Get").with("x-do", what))).await;
    let ask = Ask::grpc("/shop.Trails/Get").with("x-do", "trail=5").time(1);
    let [_, mesh] = twin.ask(&ask).await;
    let trailer = |name: &str| mesh.headers.get(&format!("trailer {name}")).map(String::as_str);
    assert_eq!(mesh.grpc, Some(5), "{mesh:?}");
    assert_eq!(trailer("grpc-message"), Some("it%20said%20so"), "{mesh:?}");
    assert_eq!(trailer("x-sum"), Some("7"), "{mesh:?}");
    assert!(mesh.body.starts_with("a POST /shop.Trails/Get"), "{mesh:?}");
    // Who says so in its head is asked again, and nobody is behind a message.
    let retried = ["grpc=14", "grpc=5", "trail=14"];
    let retried = retried.map(|what| Ask::grpc("/shop.Trails/Retry").with("x-do", what));
    alike(&twin, retried.clone()).await;
    assert_eq!(retried.map(|ask| twin.tries(&ask)), [[2; 2], [1; 2], [1; 2]]);
    // A cluster that is full.
    let asks: Vec<_> = (0..2)
        .map(|time| Ask::grpc("/shop.Full/Get").with("x-do", "sleep=200").time(time))
        .collect();
    let full = twin.together(&asks).await.map(|seen| {
        let seen = &seen[1].0;
        format!("{} {}", seen.grpc.unwrap_or_default(), seen.flag)
    });
    assert_eq!(full, ["14 UO", "14 UO"]);
    // Nobody is there.
    alike(&twin, [Ask::grpc("/shop.Dead/Get").without_flag()]).await;
}

#[tokio::test]
async fn what_messages_do_otherwise_than_in_envoy_is_what_the_document_says() {
    let twin = twin().await;
    let status = |seen: &Seen| seen.status.to_string();
    let code = |seen: &Seen| format!("{} {}", seen.grpc.unwrap_or_default(), seen.flag);
    let failing = || Ask::get("/again").with("x-do", "echo=1").method(Method::PUT);
    let rows: [Otherwise; 3] = [
        // Of a body that streams, 64 KiB are kept for another attempt, and 1 MiB there.
        (failing().stream(100_000), status, ["200", "503"]),
        // A failure on the way is told a gRPC caller by a code of its own.
        (Ask::grpc("/shop.Slow/Get").with("x-do", "sleep=450"), code, ["14 UT", "4 UT"]),
        (Ask::grpc("/shop.Nowhere/Get"), code, ["12 NR", "14 NR"]),
    ];
    otherwise(&twin, rows).await;
    // A status in trailers is met where no message is before it; Envoy looks at heads alone. The mesh waits
    // 2 ms for it, which is little on a busy machine.
    let mut again = [0, 0];
    for time in 0..20 {
        let ask = Ask::grpc("/shop.Trails/Retry").with("x-do", "bare=14").time(time);
        let seen = twin.ask(&ask).await;
        for ((seen, tries), again) in seen.iter().zip(twin.tries(&ask)).zip(&mut again) {
            assert_eq!((seen.grpc == Some(0), seen.grpc == Some(14)), (tries == 2, tries == 1));
            *again += usize::from(tries == 2);
        }
    }
    assert!(again[0] == 0 && again[1] >= 10, "{again:?}");
}
