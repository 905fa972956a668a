//! How long a connection lives, and who finds out that its peer is gone.

use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

use super::super::{dial::lifetime, tcp::prepare};
use crate::{config::Transport, core::Random};

#[test]
fn connections_live_a_tenth_less_or_more_than_their_age() {
    let age = Duration::from_secs(1_000);
    let (mut shortest, mut longest) = (Duration::MAX, Duration::ZERO);
    for seed in 0..50 {
        let random = Random::seeded(seed);
        for _ in 0..20 {
            let life = lifetime(age, None, &random);
            assert!((900..=1_100).contains(&life.as_secs()), "seed {seed}: {life:?}");
            (shortest, longest) = (shortest.min(life), longest.max(life));
        }
    }
    // A thousand draws come near to both ends.
    assert!(shortest < Duration::from_secs(910), "{shortest:?}");
    assert!(longest > Duration::from_secs(1_090), "{longest:?}");
}

//= Envoy HttpProtocolOptions.max_connection_duration_jitter: the duration is extended by up to that
#[test]
fn connections_live_up_to_their_jitter_longer_than_their_age() {
    let age = Duration::from_secs(1_000);
    let random = Random::seeded(7);
    let lives: Vec<_> = (0..1_000).map(|_| lifetime(age, Some(50.0), &random).as_secs()).collect();
    assert!(lives.iter().all(|life| (1_000..=1_500).contains(life)), "{lives:?}");
    assert!(lives.iter().any(|life| *life < 1_010) && lives.iter().any(|life| *life > 1_490));
    assert_eq!(lifetime(age, Some(0.0), &random), age);
}

#[tokio::test]
async fn the_system_probes_a_silent_peer_by_default() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    assert!(!SockRef::from(&stream).keepalive().unwrap(), "the system's own default");
    prepare(&stream, Transport::default().settings().tcp_keepalive).unwrap();
    let socket = SockRef::from(&stream);
    assert!(socket.keepalive().unwrap());
    assert!(socket.tcp_nodelay().unwrap());
    #[cfg(target_os = "linux")]
    {
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(30));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(10));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
    }
}
