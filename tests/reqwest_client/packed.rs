//! What comes packed: unpacked where the builder asks for it, and given as it came otherwise.

use http::header;
use tower_mesh::{Mesh, adapt::reqwest::ClientBuilder};

use crate::{
    client, mesh,
    support::{Server, patience, reply},
};

const TEXT: &str = "hello, hello, hello";

/// The text as a command of the same name packs it: `gzip -n`, `brotli`, `zstd --no-check`; and in
/// zlib's frame.
const PACKED: [(&str, &[u8]); 4] = [
    (
        "gzip",
        &[
            0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0xcb, 0x48, 0xcd, 0xc9,
            0xc9, 0xd7, 0x51, 0xc8, 0x40, 0xa2, 0x00, 0x9f, 0xa1, 0xca, 0x09, 0x13, 0x00, 0x00,
            0x00,
        ],
    ),
    (
        "br",
        &[
            0x1b, 0x12, 0x00, 0xf8, 0x8d, 0x94, 0x6e, 0xde, 0x44, 0x09, 0x52, 0x86, 0x96, 0x6c,
            0x2c, 0x6f, 0x11, 0x4f, 0x24, 0xd0, 0x71, 0x00,
        ],
    ),
    (
        "zstd",
        &[
            0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58, 0x6d, 0x00, 0x00, 0x38, 0x68, 0x65, 0x6c, 0x6c,
            0x6f, 0x2c, 0x20, 0x01, 0x00, 0xe2, 0x8a, 0x11,
        ],
    ),
    (
        "deflate",
        &[
            0x78, 0x9c, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0xd7, 0x51, 0xc8, 0x40, 0xa2, 0x00, 0x44,
            0x28, 0x06, 0xd5,
        ],
    ),
];

/// Packs by the one coding that is asked for, and says `asked: …` if that is none or several. `/broken`
/// breaks off in the middle.
async fn packing() -> Server {
    Server::start(|request| async move {
        let asked = request.headers().get(header::ACCEPT_ENCODING);
        let asked = asked.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let Some((_, packed)) = PACKED.iter().find(|(coding, _)| *coding == asked) else {
            return reply(format!("asked: {asked}"));
        };
        let is_broken = request.uri().path() == "/broken";
        let mut reply = reply(&packed[..if is_broken { packed.len() / 2 } else { packed.len() }]);
        reply.headers_mut().insert(header::CONTENT_ENCODING, asked.parse().unwrap());
        reply
    })
    .await
}

/// It is unpacked when asked for; and nothing else is asked for, nor unpacked.
async fn works(coding: &str, ask: fn(ClientBuilder, bool) -> ClientBuilder) {
    let server = packing().await;
    let mesh = mesh(&server);
    let http = ask(mesh.reqwest(crate::plain()), true).build().unwrap();
    let response = http.get("http://users.prod/").send().await.unwrap();
    assert_eq!(response.url().as_str(), "http://users.prod/");
    assert!(!response.headers().contains_key(header::CONTENT_ENCODING));
    assert!(!response.headers().contains_key(header::CONTENT_LENGTH), "of what was packed");
    assert_eq!(response.text().await.unwrap(), TEXT);
    let head = patience(http.head("http://users.prod/").send()).await.unwrap();
    assert_eq!(head.bytes().await.unwrap(), "");
    let broken = http.get("http://users.prod/broken").send().await.unwrap();
    let error = patience(broken.bytes()).await.unwrap_err();
    assert!(error.is_decode() || error.is_body(), "{error:?}");
    for (other, packed) in PACKED.iter().filter(|(other, _)| *other != coding) {
        let request = http.get("http://users.prod/").header(header::ACCEPT_ENCODING, *other);
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()[header::CONTENT_ENCODING], *other);
        assert_eq!(response.bytes().await.unwrap(), packed);
    }
    let none = ask(ask(mesh.reqwest(crate::plain()), true), false).build().unwrap();
    let response = none.get("http://users.prod/").send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "asked: ");
}

#[tokio::test]
async fn gzip_is_unpacked_when_asked_for() {
    works("gzip", ClientBuilder::gzip).await;
}

#[tokio::test]
async fn brotli_is_unpacked_when_asked_for() {
    works("br", ClientBuilder::brotli).await;
}

#[tokio::test]
async fn zstd_is_unpacked_when_asked_for() {
    works("zstd", ClientBuilder::zstd).await;
}

#[tokio::test]
async fn deflate_is_unpacked_when_asked_for() {
    works("deflate", ClientBuilder::deflate).await;
}

#[tokio::test]
async fn several_are_asked_for_together() {
    let server = packing().await;
    let mesh = mesh(&server);
    let all =
        |mesh: &Mesh| mesh.reqwest(crate::plain()).gzip(true).brotli(true).zstd(true).deflate(true);
    let asked = all(&mesh).build().unwrap().get("http://users.prod/").send().await.unwrap();
    let text = asked.text().await.unwrap();
    for (coding, _) in PACKED {
        assert!(text.contains(coding), "{text}");
    }
    let zstd_alone = all(&mesh).no_gzip().no_brotli().no_deflate().build().unwrap();
    let response = zstd_alone.get("http://users.prod/").send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), TEXT);
}

#[tokio::test]
async fn what_comes_packed_is_left_alone_when_nothing_was_asked_for() {
    let server = packing().await;
    let http = client(&mesh(&server));
    let response = http.get("http://users.prod/").send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "asked: ");
    for (coding, packed) in PACKED {
        let request = http.get("http://users.prod/").header(header::ACCEPT_ENCODING, coding);
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()[header::CONTENT_ENCODING], coding);
        assert_eq!(response.bytes().await.unwrap(), packed);
    }
}
