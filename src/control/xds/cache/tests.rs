//! The file: its format, when it is written, and how.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    disk,
    format::{self, Found, Snapshot},
    identity::Identity,
    schedule::Schedule,
};
use crate::{
    control::xds::{bootstrap::Bootstrap, client::Kept, kind::Kind},
    core::Instant,
};

fn identity() -> Identity {
    Identity { node: "n".to_owned(), asks: "as".to_owned(), planes: "a:1".to_owned() }
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)
}

fn bytes(all: &[(Kind, &str, &[u8], u64)]) -> Vec<u8> {
    let all: Vec<_> = all
        .iter()
        .map(|(kind, name, value, age)| {
            (*kind, Arc::<str>::from(*name), Bytes::copy_from_slice(value), *age)
        })
        .collect();
    let (version, server): (Arc<str>, Arc<str>) = ("7".into(), "a:1".into());
    let kept = all.iter().map(|(kind, name, value, age)| Kept {
        kind: *kind,
        name,
        version: &version,
        value,
        server: &server,
        age: Duration::from_secs(*age),
        is_live: true,
    });
    Snapshot::of(&identity(), now(), kept).bytes()
}

fn read(bytes: &[u8]) -> Result<Vec<Found>, String> {
    format::read(bytes, &identity(), now() + Duration::from_secs(10))
}

#[test]
fn what_is_written_is_read() {
    let bytes = bytes(&[(Kind::Cluster, "b", b"2", 5), (Kind::Cluster, "a", b"", 0)]);
    let found = read(&bytes).unwrap();
    let seen = found.iter().map(|it| (it.kind, &*it.name, &*it.value, it.age.as_secs()));
    assert_eq!(
        seen.collect::<Vec<_>>(),
        [(Kind::Cluster, "a", &b""[..], 10), (Kind::Cluster, "b", &b"2"[..], 15)]
    );
    assert_eq!((&*found[0].version, &*found[0].server), ("7", "a:1"));
    // The clock went back.
    let found = format::read(&bytes, &identity(), SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(found[1].age, Duration::ZERO);
}

#[test]
fn no_resource_is_copied_before_it_is_written() {
    let value = Bytes::from(b"as it came".to_vec());
    let (name, version): (Arc<str>, Arc<str>) = ("a".into(), "7".into());
    let kept = Kept {
        kind: Kind::Cluster,
        name: &name,
        version: &version,
        value: &value,
        server: &name,
        age: Duration::ZERO,
        is_live: true,
    };
    let snapshot = Snapshot::of(&identity(), now(), std::iter::once(kept));
    assert!(!value.is_unique(), "it is shared");
    assert_eq!(Arc::strong_count(&version), 2);
    assert_eq!(read(&snapshot.bytes()).unwrap()[0].value, value);
}

#[test]
fn what_is_not_whole_is_refused_whole() {
    let good = bytes(&[(Kind::Cluster, "a", b"1", 5), (Kind::Routes, "b", b"2", 5)]);
    for end in 0..good.len() {
        assert!(read(&good[..end]).is_err(), "cut off after {end}");
    }
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            assert!(read(&bad).is_err(), "bit {bit} of byte {at}");
        }
    }
    let mut long = good;
    long.push(0);
    assert!(read(&long).is_err());
    let twice = bytes(&[(Kind::Cluster, "a", b"1", 5), (Kind::Cluster, "a", b"2", 5)]);
    assert_eq!(read(&twice).unwrap_err(), "it has the CDS resource `a` twice");
}

#[test]
fn what_another_version_wrote_is_refused() {
    let mut other = bytes(&[]);
    other[16] = 2;
    let why = "its format is number 2, and this version reads number 1";
    assert_eq!(read(&other).unwrap_err(), why);
}

#[test]
fn what_is_of_somebody_else_is_refused_and_whose_it_is_is_said() {
    let bytes = bytes(&[(Kind::Cluster, "a", b"1", 5)]);
    let node = Identity { node: "m".to_owned(), ..identity() };
    let planes = Identity { planes: "b:2".to_owned(), ..identity() };
    let asks = Identity { asks: "other".to_owned(), ..identity() };
    for (identity, why) in [
        (node, "it is of node `n`, and this is node `m`"),
        (
            planes,
            "it was heard from other control planes (a:1), and those of this bootstrap are b:2",
        ),
        (asks, "its node had another cluster, locality, metadata or dialect"),
    ] {
        let refused = format::read(&bytes, &identity, now()).unwrap_err();
        assert!(refused.starts_with(why), "{refused}");
    }
}

fn bootstrap(json: &str) -> Identity {
    Identity::of(&Bootstrap::from_json(json).unwrap())
}

#[test]
fn who_asks_and_who_is_asked_make_it_another() {
    let base = r#"{"xds_servers": [{"server_uri": "a:1", "channel_creds": [{"type": "insecure"}]}],
        "node": {"id": "n", "metadata": {"x": 1}, "locality": {"zone": "z"}}}"#;
    let same = bootstrap(base);
    let changed = |from: &str, to: &str| {
        assert!(base.contains(from));
        bootstrap(&base.replace(from, to)).differs(&same)
    };
    assert_eq!(bootstrap(base).differs(&same), None);
    for (from, to) in [
        ("\"n\"", "\"m\""),
        ("a:1", "a:2"),
        ("\"x\": 1", "\"x\": 2"),
        ("\"zone\": \"z\"", "\"zone\": \"y\""),
        ("\"id\": \"n\"", "\"id\": \"n\", \"cluster\": \"c\""),
        ("\"node\"", "\"authorities\": {\"b\": {}}, \"node\""),
    ] {
        assert!(changed(from, to).is_some(), "{from}: {to}");
    }
    // What the planes are known to do changes nothing of what they have said.
    let features = "\"server_features\": [\"fail_on_data_errors\"], \"channel_creds\"";
    assert_eq!(changed("\"channel_creds\"", features), None);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut junk in proptest::collection::vec(any::<u8>(), 0..200), head in any::<bool>()) {
        if head {
            let mut good = bytes(&[]);
            good.truncate(28);
            good.append(&mut junk);
            junk = good;
        }
        drop(read(&junk));
        format::fuzz(&junk);
    }
}

#[test]
fn it_is_written_a_moment_after_a_change_and_seldom() {
    let mut schedule = Schedule::default();
    let start = Instant::now();
    let at = |millis: u64| start + Duration::from_millis(millis);
    assert!(!schedule.take_due(at(0), 0));
    assert_eq!(schedule.wake_at(), None, "nothing has changed");
    assert!(!schedule.take_due(at(0), 1));
    assert!(!schedule.take_due(at(900), 9), "changes go on");
    assert_eq!(schedule.wake_at(), Some(at(1000)));
    assert!(schedule.take_due(at(1000), 10));
    schedule.begun(at(1000), 10);
    // One is under way: the next waits, and as long again as the share says.
    assert!(!schedule.take_due(at(1100), 11));
    assert_eq!(schedule.wake_at(), None);
    schedule.ended(at(1200), true);
    assert!(!schedule.take_due(at(5000), 11));
    assert_eq!(schedule.wake_at(), Some(at(5200)), "20 times 200 ms after");
    assert!(schedule.take_due(at(5200), 11));
    schedule.begun(at(5200), 11);
    schedule.ended(at(5200), true);
    assert!(!schedule.take_due(at(6000), 11));
    // That all is still so is said, too.
    assert_eq!(schedule.wake_at(), Some(at(605_200)));
    assert!(schedule.take_due(at(605_200), 11));
}

#[test]
fn what_could_not_be_written_is_tried_again() {
    let mut schedule = Schedule::default();
    let start = Instant::now();
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    schedule.take_due(at(0), 1);
    schedule.begun(at(1), 1);
    schedule.ended(at(1), false);
    assert!(!schedule.take_due(at(10), 1));
    assert!(schedule.take_due(at(11), 1));
    // However long it takes, it is written again within a minute.
    schedule.begun(at(11), 1);
    schedule.ended(at(100), true);
    assert!(!schedule.take_due(at(101), 2));
    assert_eq!(schedule.wake_at(), Some(at(160)));
}

#[test]
fn it_is_written_whole_or_not_at_all_and_for_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    assert_eq!(disk::read(&path), Ok(None));
    disk::write(&path, b"one", 1).unwrap();
    disk::write(&path, b"two", 2).unwrap();
    assert_eq!(disk::read(&path), Ok(Some(b"two".to_vec())));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    // What stands where it would be written first is not written through.
    let target = folder.path().join("target");
    std::os::unix::fs::symlink(&target, folder.path().join(".cache.0000000000000003.tmp")).unwrap();
    assert!(disk::write(&path, b"three", 3).is_err());
    assert!(!target.exists());
    assert_eq!(disk::read(&path), Ok(Some(b"two".to_vec())));
    // Where there is no folder, nothing is made.
    assert!(disk::write(&folder.path().join("no/cache"), b"x", 4).is_err());
    // A folder in its place stays, and nothing beside it.
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).unwrap();
    assert!(disk::write(&taken, b"x", 5).is_err());
    assert!(!folder.path().join(".taken.0000000000000005.tmp").exists());
}

#[test]
fn what_others_could_have_written_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    fs::write(&path, b"x").unwrap();
    for (mode, is_read) in [(0o600, true), (0o640, true), (0o620, false), (0o602, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(disk::read(&path).is_ok(), is_read, "{mode:o}");
    }
    assert_eq!(disk::read(folder.path()), Err("it is no file".to_owned()));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    // Where a link leads is not for others to say.
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(disk::read(&link), Err("it is no file".to_owned()));
    let names = || fs::read_dir(folder.path()).unwrap().count();
    assert_eq!((disk::read(&path), names()), (Ok(Some(b"x".to_vec())), 2));
    // Only root may give a file away.
    if std::os::unix::fs::chown(&path, Some(54321), None).is_ok() {
        let refused = disk::read(&path).unwrap_err();
        assert!(refused.starts_with("it is another user's (54321, "), "{refused}");
    }
}

#[test]
fn what_a_process_left_behind_is_removed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    let file = |name: &str, age: u64| {
        let file = fs::File::create(folder.path().join(name)).unwrap();
        let at = SystemTime::now() - Duration::from_secs(age);
        file.set_modified(at).unwrap();
    };
    file("cache", 1000);
    file(".cache.0000000000000001.tmp", 1000);
    file(".cache.0000000000000002.tmp", 10);
    file(".cachet.0000000000000003.tmp", 1000);
    disk::tidy(&path);
    let mut left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    let expected = [".cache.0000000000000002.tmp", ".cachet.0000000000000003.tmp", "cache"];
    assert_eq!(left, expected);
}
