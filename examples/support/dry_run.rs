//! The command `explain`: what a mesh file makes of a request, for reading and for CI.
#![allow(dead_code, reason = "shared: each program uses a part")]

use http::Request;
use tower_mesh::{Choice, Explanation, Mesh, Setting};

/// How it is called.
pub(crate) const USAGE: &str =
    "explain FILE [-X METHOD] [-H 'NAME: VALUE']... [--label NAME=VALUE]... [--service NAME]
        [--all] [--expect WHAT=VALUE]... URL

  -X METHOD          the method of the request; GET unless said
  -H 'NAME: VALUE'   a header of the request
  --label NAME=VALUE what this process is, for routes that ask for it
  --service NAME     the service whose client sends it; that of the URL unless said
  --all              tells every setting, not only those that somebody has set
  --expect route=NAME          the route that takes the request
  --expect cluster=NAME        a cluster that the request may go to
  --expect cluster=NAME:SHARE  the same, and its share in percent
  --expect status=NUMBER       what the request is answered without any cluster
  --expect uri=URI             what is sent
  --expect header:NAME=VALUE   the same, of a header
  --expect mirror=NAME         a cluster that gets a copy
  --expect SETTING=VALUE       a setting of the route or of its first cluster, as it is printed

Ends with 0 when the file is good, a route takes the request, and all is as expected; with 1 when
not; with 2 when it is called wrongly. Nothing is sent, and nothing needs to run.
";

/// What it is asked.
#[derive(Default)]
struct Asked {
    file: String,
    method: Option<String>,
    url: String,
    service: Option<String>,
    headers: Vec<(String, String)>,
    labels: Vec<(String, String)>,
    expected: Vec<(String, String)>,
    all: bool,
}

/// Runs the command; gives what it prints, and its exit code.
pub(crate) async fn run(arguments: &[String]) -> (String, u8) {
    let asked = match parse(arguments) {
        Ok(asked) => asked,
        Err(wrong) => return (format!("{wrong}\n\n{USAGE}"), 2),
    };
    match explain(&asked).await {
        Ok(said) => (said, 0),
        Err(said) => (said, 1),
    }
}

fn parse(arguments: &[String]) -> Result<Asked, String> {
    let mut asked = Asked::default();
    let mut words = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "-X" | "--request" => asked.method = Some(value()?.clone()),
            "-H" | "--header" => asked.headers.push(pair(value()?, ':')?),
            "--label" => asked.labels.push(pair(value()?, '=')?),
            "--expect" => asked.expected.push(pair(value()?, '=')?),
            "--service" => asked.service = Some(value()?.clone()),
            "--all" => asked.all = true,
            unknown if unknown.starts_with('-') => return Err(format!("unknown: {unknown}")),
            _ => words.push(argument.clone()),
        }
    }
    let [file, url] = <[String; 2]>::try_from(words)
        .map_err(|words| format!("a file and a URL are needed, not {} words", words.len()))?;
    (asked.file, asked.url) = (file, url);
    Ok(asked)
}

fn pair(text: &str, between: char) -> Result<(String, String), String> {
    let pair = text.split_once(between);
    let (name, value) = pair.ok_or_else(|| format!("`{text}` has no `{between}`"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

async fn explain(asked: &Asked) -> Result<String, String> {
    let mut builder = Mesh::builder().config_file(&asked.file).dry_run();
    for (name, value) in &asked.labels {
        builder = builder.label(name, value);
    }
    let mesh = builder.build().map_err(|error| error.to_string())?;
    if mesh.ready().await.is_err() {
        let refused = mesh.describe().refused.into_iter();
        let lines: Vec<_> = refused.map(|why| format!("refused: {why}")).collect();
        return Err(lines.join("\n") + "\n");
    }
    let mut request = Request::builder().uri(&asked.url);
    if let Some(method) = &asked.method {
        request = request.method(method.as_str());
    }
    for (name, value) in &asked.headers {
        request = request.header(name, value);
    }
    let request = request.body(()).map_err(|error| format!("no request: {error}\n"))?;
    let found = match &asked.service {
        Some(service) => mesh.client(service).and_then(|client| client.explain(&request)),
        None => mesh.explain(&request),
    };
    let found = found.map_err(|error| format!("{error}\n"))?;
    let mut said = found.to_string();
    if asked.all {
        all(&mut said, &found);
    }
    let unmet: Vec<_> =
        asked.expected.iter().filter_map(|(what, value)| unmet(&found, what, value)).collect();
    if unmet.is_empty() { Ok(said) } else { Err(said + &unmet.concat()) }
}

/// The settings that nobody has set.
fn all(said: &mut String, found: &Explanation) {
    let clusters = found.clusters.iter().map(|it| (it.name.as_str(), &it.settings));
    for (what, settings) in [("the route", &found.route.settings)].into_iter().chain(clusters) {
        *said += &format!("settings of {what}\n");
        for setting in settings {
            *said += &format!("  {setting}\n");
        }
    }
}

/// Why something is not as it is expected to be.
fn unmet(found: &Explanation, what: &str, value: &str) -> Option<String> {
    let is = reality(found, what, value);
    if is.iter().any(|it| it == value) {
        return None;
    }
    let is = if is.is_empty() { "nothing".to_owned() } else { is.join(", ") };
    Some(format!("expected {what}={value}, it is {is}\n"))
}

/// What there is of what is expected.
fn reality(found: &Explanation, what: &str, value: &str) -> Vec<String> {
    let heads = || found.clusters.iter().filter_map(|it| it.head.as_ref());
    match what {
        "route" => found.route.name.clone().into_iter().collect(),
        "cluster" => {
            let taken = found.clusters.iter().filter(|it| it.share > 0.0);
            let told = |it: &tower_mesh::ClusterExplanation| match value.contains(':') {
                true => format!("{}:{:.0}", it.name, it.share * 100.0),
                false => it.name.clone(),
            };
            taken.map(told).collect()
        }
        "status" => found.answer.iter().map(|it| it.status.as_u16().to_string()).collect(),
        "uri" => heads().map(|it| it.uri.to_string()).collect(),
        "mirror" => {
            let mirrors = found.clusters.iter().flat_map(|it| &it.mirrors);
            mirrors.map(|it| it.cluster.clone()).collect()
        }
        "endpoint" => {
            let picks = found.clusters.iter().map(|it| &it.pick.choice);
            let address = |choice: &Choice| match choice {
                Choice::Endpoint { address, .. } => Some(address.clone()),
                _ => None,
            };
            picks.filter_map(address).collect()
        }
        _ => match what.strip_prefix("header:") {
            Some(name) => {
                let values = heads().flat_map(|it| it.headers.get_all(name));
                values.filter_map(|it| it.to_str().ok()).map(str::to_owned).collect()
            }
            None => {
                let named = |it: &&Setting| it.name == what;
                let of_route = found.route.settings.iter();
                let of_cluster = found.clusters.iter().take(1).flat_map(|it| &it.settings);
                of_route.chain(of_cluster).filter(named).map(|it| it.value.clone()).collect()
            }
        },
    }
}
