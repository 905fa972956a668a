use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::*;
use crate::{
    config::{ConfigErrors, SecurityMode, StringMatch, TlsVersion},
    discover::{Change, Sink, SourceId},
};

const GOOD: &str = "
services:
  users:
    policy: { timeout: 2s }
clusters:
  users:
    endpoints:
      - address: 127.0.0.1:8080
        weight: 3
";

#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Sink for Recorder {
    fn secures(&self, _: &str) -> bool {
        false
    }

    fn used(&self, _name: &str) -> Option<Instant> {
        None
    }

    fn is_closed(&self) -> bool {
        false
    }

    fn apply(&self, _source: SourceId, change: Change) -> Result<(), ConfigErrors> {
        let line = match change {
            Change::Service(name, service) => {
                service.validate(&name)?;
                format!("service {name} {:?}", service.policy.timeout)
            }
            Change::Cluster(name, cluster) => {
                cluster.validate(&name)?;
                format!("cluster {name} {}", cluster.endpoints.len())
            }
            Change::RemoveService(name) => format!("gone service {name}"),
            Change::RemoveCluster(name) => format!("gone cluster {name}"),
            Change::Refused { part, reason } => format!("refused {part}: {reason}"),
            Change::Places(_) => return Ok(()),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(line);
        Ok(())
    }
}

impl Recorder {
    fn take(&self) -> String {
        self.0.lock().unwrap().drain(..).collect::<Vec<_>>().join("\n")
    }
}

fn publisher() -> (Arc<Recorder>, Arc<dyn Sink>, Publisher) {
    let recorder = Arc::new(Recorder::default());
    let sink: Arc<dyn Sink> = Arc::<Recorder>::clone(&recorder);
    let publish = Publisher::new(&sink, SourceId::new(0));
    (recorder, sink, publish)
}

fn apply(published: &mut Published, publish: &Publisher, text: &str) {
    published.apply(publish, "file mesh.yaml", "".as_ref(), text.as_bytes());
}

#[test]
fn yaml_and_json_say_the_same() {
    let yaml = parse::parse(GOOD.as_bytes()).unwrap();
    let json = r#"{"services": {"users": {"policy": {"timeout": "2s"}}},
        "clusters": {"users": {"endpoints": [{"address": "127.0.0.1:8080", "weight": 3}]}}}"#;
    let json = parse::parse(json.as_bytes()).unwrap();
    assert_eq!(yaml.services.good, json.services.good);
    assert_eq!(yaml.clusters.good, json.clusters.good);
    assert_eq!(yaml.clusters.good["users"].endpoints[0].weight, 3);
}

#[test]
fn a_bad_part_is_named_with_its_path_and_leaves_the_others() {
    let text = GOOD.replace("weight: 3", "wieght: 3");
    let parsed = parse::parse(text.as_bytes()).unwrap();
    assert!(parsed.services.good.contains_key("users"));
    assert!(parsed.clusters.good.is_empty());
    let reason = &parsed.clusters.refused["users"];
    assert!(
        reason.contains("clusters.users.endpoints[0]") && reason.contains("wieght"),
        "{reason}"
    );
}

#[test]
fn a_key_that_is_given_twice_is_named_instead_of_one_value_being_dropped() {
    for text in [
        r#"{"services": {"users": {}}, "services": {}}"#,
        r#"{"services": {"users": {"policy": {"timeout": "1s", "timeout": "2s"}}}}"#,
        "services: {}\nservices: {}\n",
        "services:\n  users: {}\n  users: {}\n",
    ] {
        let error = parse::parse(text.as_bytes()).unwrap_err();
        assert!(error.contains("twice") || error.contains("duplicate"), "{error}");
    }
}

#[test]
fn security_mode_off_and_other_bare_words_need_no_quotes() {
    let text = "
services:
  users:
    routes:
      - matches: [{ headers: [{ name: x-a, matcher: { exact: yes } }, { name: x-b, matcher: { exact: 1 } }] }]
        clusters: [{ name: users }]
clusters:
  users:
    security: { mode: off, min_version: 1.2, max_version: 1.3 }
    labels: { version: 1.10, stable: on }
";
    let parsed = parse::parse(text.as_bytes()).unwrap();
    assert!(parsed.clusters.refused.is_empty(), "{:?}", parsed.clusters.refused);
    let users = &parsed.clusters.good["users"];
    let security = users.security.as_ref().unwrap();
    assert_eq!(security.mode, Some(SecurityMode::Off));
    assert_eq!(
        security.min_version.zip(security.max_version),
        Some((TlsVersion::V1_2, TlsVersion::V1_3))
    );
    assert_eq!(users.labels["version"], "1.10");
    assert_eq!(users.labels["stable"], "on");
    let headers = &parsed.services.good["users"].routes[0].matches[0].headers;
    let exact = |text: &str| StringMatch::Exact(text.to_owned());
    assert_eq!([&headers[0].matcher, &headers[1].matcher], [&exact("yes"), &exact("1")]);
}

#[test]
fn a_wrong_choice_is_refused_with_those_that_are_allowed() {
    for (text, wanted) in [
        (
            "clusters: {a: {endpoints: [{address: \"1.2.3.4:5\", health: on}]}}",
            "clusters.a.endpoints[0].health: unknown variant `on`, expected one of `unknown`, `healthy`",
        ),
        (
            r#"{"clusters": {"a": {"security": {"mode": false}}}}"#,
            "clusters.a.security.mode: invalid type: boolean `false`, expected a name or a map with a \
             single key: `off`, `tls`, `mutual`",
        ),
        (
            "clusters: {a: {security: [off]}}",
            "clusters.a.security: invalid type: sequence, expected a map",
        ),
    ] {
        let reason = &parse::parse(text.as_bytes()).unwrap().clusters.refused["a"];
        assert!(reason.starts_with(wanted), "{reason}");
    }
}

#[test]
fn two_parts_whose_names_differ_in_case_alone_are_refused() {
    let text = "services:\n  users: { policy: { timeout: 1s } }\n  Users: {}\n  orders: {}\n";
    let parsed = parse::parse(text.as_bytes()).unwrap();
    assert_eq!(parsed.services.good.keys().collect::<Vec<_>>(), ["orders"]);
    let refused = &parsed.services.refused;
    assert_eq!(refused.len(), 1);
    assert!(refused["users"].contains("services.users: is given twice"), "{refused:?}");
}

#[test]
fn a_half_written_file_changes_nothing_and_says_where() {
    let (recorder, _sink, publish) = publisher();
    let mut published = Published::default();
    apply(&mut published, &publish, GOOD);
    recorder.take();
    for cut in ["services:\n  users: {policy: {timeout", "{\"services\": {\"users\"", "", "- a"] {
        apply(&mut published, &publish, cut);
        let seen = recorder.take();
        assert!(seen.starts_with("refused file mesh.yaml"), "{cut}: {seen}");
        assert!(!seen.contains("gone"), "{seen}");
    }
    apply(&mut published, &publish, GOOD);
    assert!(!recorder.take().contains("cluster users"), "an unchanged part was published again");
}

/// Three services with a policy each, and their clusters.
const THREE: &str = "\
services:
  a.prod: { policy: { timeout: 1s } }
  b.prod:
    policy: { timeout: 2s }
clusters:
  a.prod:
    endpoints: [{ address: \"127.0.0.1:3000\" }]
  b.prod:
    endpoints:
      - address: 127.0.0.1:3001
";

/// What is left of the words of a source that tells good news.
fn takes_effect(line: &str) -> bool {
    ["service", "cluster", "gone", "Identity"].iter().any(|word| line.starts_with(word))
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_cut_at_any_byte_loses_no_service_and_is_reported() {
    let (recorder, _sink, publish) = publisher();
    let mut reader = Reader::new("file mesh.yaml".to_owned(), "".into());
    let mut now = Instant::now();
    let whole = Ok(THREE.as_bytes().to_vec());
    assert_eq!(reader.take(&publish, whole.clone(), now), None);
    recorder.take();
    for cut in 0..THREE.len() {
        now += Duration::from_millis(110);
        let soon = reader.take(&publish, Ok(THREE.as_bytes()[..cut].to_vec()), now).unwrap();
        assert_eq!(soon, Duration::from_secs(2));
        let seen = recorder.take();
        assert!(
            seen.starts_with(&format!("refused file mesh.yaml: holds the first {cut} of")),
            "{seen}"
        );
        assert!(!seen.lines().any(takes_effect), "{cut}: {seen}");
        assert!(!seen.contains("Confirmed"), "{seen}");
        now += Duration::from_millis(110);
        assert_eq!(reader.take(&publish, whole.clone(), now), None);
        let seen = recorder.take();
        assert!(seen.contains("Accepted { part: \"file mesh.yaml\" }"), "{seen}");
        assert!(!seen.lines().any(takes_effect), "{cut}: {seen}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_file_that_is_cut_takes_effect_at_the_ends_of_lines_alone() {
    let next = THREE.replace("3001", "3007").replace("1s", "4s");
    for cut in 0..next.len() {
        let (recorder, _sink, publish) = publisher();
        let mut reader = Reader::new("file mesh.yaml".to_owned(), "".into());
        let now = Instant::now();
        reader.take(&publish, Ok(THREE.as_bytes().to_vec()), now);
        recorder.take();
        let held = reader.take(&publish, Ok(next.as_bytes()[..cut].to_vec()), now);
        let seen = recorder.take();
        assert_eq!(
            held.is_none(),
            cut > 0 && next.as_bytes()[cut - 1] == b'\n' && !THREE.starts_with(&next[..cut])
        );
        assert!(held.is_none() || !seen.lines().any(takes_effect), "{cut}: {seen}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shorter_file_takes_effect_when_it_has_stood() {
    let (recorder, _sink, publish) = publisher();
    let mut reader = Reader::new("file mesh.yaml".to_owned(), "".into());
    let start = Instant::now();
    reader.take(&publish, Ok(THREE.as_bytes().to_vec()), start);
    recorder.take();
    let shorter = THREE.split_inclusive("  b.prod:\n    endpoints").next().unwrap();
    let shorter = shorter[..shorter.len() - "  b.prod:\n    endpoints".len()].to_owned();
    let content = Ok(shorter.into_bytes());
    assert!(reader.take(&publish, content.clone(), start).is_some());
    let soon = reader.take(&publish, content.clone(), start + Duration::from_millis(1500));
    assert_eq!(soon, Some(Duration::from_millis(500)));
    assert_eq!(recorder.take().matches("refused").count(), 1, "it is reported once");
    assert_eq!(reader.take(&publish, content, start + Duration::from_secs(2)), None);
    let seen = recorder.take();
    assert!(seen.contains("gone cluster b.prod") && seen.contains("Accepted"), "{seen}");
}

#[test]
fn what_has_no_value_is_refused_and_loses_nothing() {
    let (recorder, _sink, publish) = publisher();
    let mut published = Published::default();
    apply(&mut published, &publish, THREE);
    recorder.take();
    for (text, wanted) in [
        ("clusters:\n", "`clusters` has no value; none are written `clusters: {}`"),
        ("services: ~\n", "`services` must be a map"),
        (
            "services:\n  a.prod:\nclusters: {}\n",
            "services.a.prod: has no value; one that says nothing",
        ),
        ("services: {a.prod: null}\n", "services.a.prod: must be a map of fields"),
        (
            "clusters:\n  a.prod:\n    endpoints:\n",
            "clusters.a.prod.endpoints: has no value; write `null`",
        ),
        ("clusters: {a.prod: {security: }}", "clusters.a.prod.security: has no value"),
        ("clusters: {a.prod: {balancer: }}", "clusters.a.prod.balancer: has no value"),
        ("services: {a.prod: {policy: }}", "services.a.prod.policy: has no value"),
        (
            "services: {a.prod: {policy: {timeout: }}}",
            "services.a.prod.policy.timeout: has no value",
        ),
        ("services: {a.prod: {labels: {a: }}}", "services.a.prod.labels.a: has no value"),
    ] {
        apply(&mut published, &publish, text);
        let seen = recorder.take();
        assert!(seen.contains(wanted), "{text}: {seen}");
        let kind = if text.starts_with("clusters") { "cluster" } else { "service" };
        for lost in ["gone ", ""].map(|gone| format!("{gone}{kind} a.prod")) {
            assert!(!seen.lines().any(|line| line.starts_with(&lost)), "{text}: {seen}");
        }
        apply(&mut published, &publish, THREE);
        recorder.take();
    }
    // What is said to have its default has it.
    apply(&mut published, &publish, "services: {a.prod: {policy: {timeout: null, retry: ~}}}");
    assert!(recorder.take().contains("service a.prod None"));
}

#[test]
fn impossible_values_keep_the_last_good_part() {
    let (recorder, _sink, publish) = publisher();
    let mut published = Published::default();
    apply(&mut published, &publish, GOOD);
    recorder.take();
    for bad in ["timeout: 400d", "timeout: -1s", "timeout: .nan", "timeout: 2", "timeout: [2s]"] {
        apply(&mut published, &publish, &GOOD.replace("timeout: 2s", bad));
        let seen = recorder.take();
        assert!(!seen.contains("gone"), "{bad}: {seen}");
        assert!(!seen.lines().any(|line| line.starts_with("service users")), "{bad}: {seen}");
    }
}

#[test]
fn what_left_the_file_is_taken_back() {
    let (recorder, _sink, publish) = publisher();
    let mut published = Published::default();
    apply(&mut published, &publish, GOOD);
    recorder.take();
    apply(&mut published, &publish, "services: {}");
    let seen = recorder.take();
    assert!(seen.contains("gone service users") && seen.contains("gone cluster users"), "{seen}");
}

#[test]
fn an_unknown_top_level_field_is_reported_and_the_rest_works() {
    let (recorder, _sink, publish) = publisher();
    apply(&mut Published::default(), &publish, &format!("{GOOD}\nsevrices: {{}}\n"));
    let seen = recorder.take();
    assert!(seen.contains("unknown field `sevrices`"), "{seen}");
    assert!(seen.contains("cluster users 1"), "{seen}");
}

async fn until(recorder: &Recorder, what: &str) {
    for _ in 0..400 {
        if recorder.0.lock().unwrap().iter().any(|line| line.contains(what)) {
            recorder.take();
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never saw {what}: {}", recorder.take());
}

#[tokio::test]
async fn an_atomic_rename_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    fs::write(&path, GOOD).unwrap();
    let (recorder, _sink, publish) = publisher();
    let task = tokio::spawn(Box::new(File::new(&path)).run(publish));
    until(&recorder, "service users Some(2s)").await;
    fs::write(dir.path().join("new"), GOOD.replace("2s", "3s")).unwrap();
    fs::rename(dir.path().join("new"), &path).unwrap();
    until(&recorder, "service users Some(3s)").await;
    task.abort();
}

#[cfg(unix)]
#[tokio::test]
async fn a_kubernetes_symlink_swap_is_seen() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    for (version, timeout) in [("..v1", "2s"), ("..v2", "4s")] {
        fs::create_dir(dir.path().join(version)).unwrap();
        let text = GOOD.replace("2s", timeout);
        fs::write(dir.path().join(version).join("mesh.yaml"), text).unwrap();
    }
    symlink("..v1", dir.path().join("..data")).unwrap();
    let path = dir.path().join("mesh.yaml");
    symlink("..data/mesh.yaml", &path).unwrap();
    let (recorder, _sink, publish) = publisher();
    let task = tokio::spawn(Box::new(File::new(&path)).run(publish));
    until(&recorder, "service users Some(2s)").await;
    symlink("..v2", dir.path().join("..data_tmp")).unwrap();
    fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
    until(&recorder, "service users Some(4s)").await;
    task.abort();
}

#[tokio::test]
async fn a_missing_file_is_reported_and_found_when_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mesh.yaml");
    let (recorder, _sink, publish) = publisher();
    let task = tokio::spawn(Box::new(File::new(&path)).run(publish));
    until(&recorder, "cannot be read").await;
    fs::write(&path, GOOD).unwrap();
    until(&recorder, "service users Some(2s)").await;
    task.abort();
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_behind_a_link_to_another_directory_is_followed() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    for folder in ["app", "config", "other"] {
        fs::create_dir(dir.path().join(folder)).unwrap();
    }
    let real = dir.path().join("config/real.yaml");
    fs::write(&real, GOOD).unwrap();
    let path = dir.path().join("app/mesh.yaml");
    symlink("../config/real.yaml", &path).unwrap();
    let (recorder, _sink, publish) = publisher();
    let task = tokio::spawn(Box::new(File::new(&path)).run(publish));
    until(&recorder, "service users Some(2s)").await;
    // Edited there, replaced there, and the link put elsewhere.
    fs::write(&real, GOOD.replace("2s", "3s")).unwrap();
    until(&recorder, "service users Some(3s)").await;
    fs::write(dir.path().join("config/new"), GOOD.replace("2s", "4s")).unwrap();
    fs::rename(dir.path().join("config/new"), &real).unwrap();
    until(&recorder, "service users Some(4s)").await;
    let other = dir.path().join("other/mesh.yaml");
    fs::write(&other, GOOD.replace("2s", "5s")).unwrap();
    symlink(&other, dir.path().join("app/next")).unwrap();
    fs::rename(dir.path().join("app/next"), &path).unwrap();
    until(&recorder, "service users Some(5s)").await;
    fs::write(&other, GOOD.replace("2s", "6s")).unwrap();
    until(&recorder, "service users Some(6s)").await;
    task.abort();
}

// Elsewhere they are seen by the poll.
#[cfg(target_os = "linux")]
mod renames;

#[test]
fn yaml_that_begins_with_a_brace_is_yaml() {
    let flow =
        "{services: {users: {}}, clusters: {users: {endpoints: [{address: \"127.0.0.1:1\"}]}}}";
    let parsed = parse::parse(flow.as_bytes()).unwrap();
    assert_eq!(parsed.services.good.len() + parsed.clusters.good.len(), 2);
    let told = |text: &str| parse::parse(text.as_bytes()).err().unwrap();
    assert!(told("{\"services\": {").starts_with("is not valid JSON"));
    assert!(told("{services: [").starts_with("is not valid YAML"));
}
