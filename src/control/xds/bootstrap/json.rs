//! The bootstrap file of gRPC (gRFC A27 and those that add to it). Unknown fields are ignored, but of
//! `tower_mesh`, which is ours.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use serde_json::{Map, Value};

use super::{
    Authority, Bootstrap, Dialect,
    google::Google,
    node::Node,
    server::{CallCreds, Creds, Features, Server, ServerTls},
    template::Template,
};
use crate::config::{ConfigError, ConfigErrors, IdentityFiles};

/// Reads a bootstrap. `origin` says where it comes from.
pub(super) fn parse(text: &str, origin: &str) -> Result<Bootstrap, ConfigErrors> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        ConfigErrors(vec![ConfigError::new(origin, short(text), format!("is no JSON: {error}"))])
    })?;
    let mut errors = Vec::new();
    let mut notes = Vec::new();
    let root = Field { path: String::new(), value: &value };
    let bootstrap = root.object(&mut errors).map(|_| {
        let read = &mut Read { errors: &mut errors, notes: &mut notes };
        let servers = servers(root.get("xds_servers"), read);
        let authorities = authorities(root.get("authorities"), read);
        let default_template = root
            .get("client_default_listener_resource_name_template")
            .and_then(|field| template(&field, read));
        let server_template = root
            .get("server_listener_resource_name_template")
            .and_then(|field| template(&field, read));
        let certificate_providers = providers(root.get("certificate_providers"), read);
        let mut node = root.get("node").map(|field| node(&field, read)).unwrap_or_default();
        read.notes.extend(node.without_unspoken());
        let own = root.get("tower_mesh").map(|field| own(&field, read)).unwrap_or_default();
        Bootstrap {
            servers,
            authorities,
            default_template,
            server_template,
            dialect: own.dialect.unwrap_or_else(|| Dialect::of(&node)),
            node,
            certificate_providers,
            secrets: own.secrets,
            notes: Vec::new(),
        }
    });
    let Some(mut bootstrap) = bootstrap else { return Err(named(errors, origin)) };
    bootstrap.notes = notes;
    bootstrap.note_losses();
    // What is checked of every bootstrap; what could not even be read is not told twice.
    if errors.is_empty()
        && let Err(ConfigErrors(found)) = bootstrap.check()
    {
        errors.extend(found);
    }
    if errors.is_empty() { Ok(bootstrap) } else { Err(named(errors, origin)) }
}

/// Errors with the place that they are in.
fn named(mut errors: Vec<ConfigError>, origin: &str) -> ConfigErrors {
    for error in &mut errors {
        error.path = match error.path.as_str() {
            "" => origin.to_owned(),
            path => format!("{origin}: {path}"),
        };
    }
    ConfigErrors(errors)
}

/// What is found while reading.
struct Read<'a> {
    errors: &'a mut Vec<ConfigError>,
    notes: &'a mut Vec<String>,
}

/// A value, and where it stands.
struct Field<'a> {
    path: String,
    value: &'a Value,
}

impl<'a> Field<'a> {
    /// The field of this name, if it is there. `null` is not, as in proto3.
    fn get(&self, name: &str) -> Option<Self> {
        let value = self.value.get(name).filter(|value| !value.is_null())?;
        Some(Self { path: self.path_of(name), value })
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn refuse(&self, errors: &mut Vec<ConfigError>, why: impl Into<String>) {
        errors.push(ConfigError::new(&*self.path, short(&self.value.to_string()), why));
    }

    fn text(&self, errors: &mut Vec<ConfigError>) -> Option<&'a str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.refuse(errors, "must be a string");
        }
        text
    }

    fn object(&self, errors: &mut Vec<ConfigError>) -> Option<&'a Map<String, Value>> {
        let object = self.value.as_object();
        if object.is_none() {
            self.refuse(errors, "must be an object");
        }
        object
    }

    /// The items of a list.
    fn items(&self, errors: &mut Vec<ConfigError>) -> Vec<Self> {
        let Some(list) = self.value.as_array() else {
            self.refuse(errors, "must be a list");
            return Vec::new();
        };
        let item = |(index, value)| Self { path: format!("{}[{index}]", self.path), value };
        list.iter().enumerate().map(item).collect()
    }

    /// The text of a field, if it is there.
    fn text_of(&self, name: &str, read: &mut Read<'_>) -> Option<String> {
        self.get(name)?.text(read.errors).map(str::to_owned)
    }

    fn path_in(&self, name: &str, read: &mut Read<'_>) -> Option<PathBuf> {
        let field = self.get(name)?;
        let text = field.text(read.errors)?;
        if text.is_empty() {
            field.refuse(read.errors, "must not be empty");
            return None;
        }
        Some(text.into())
    }

    /// A duration in the form of protobuf's JSON: `1.5s`.
    fn duration_of(&self, name: &str, read: &mut Read<'_>) -> Option<Duration> {
        let field = self.get(name)?;
        let text = field.text(read.errors)?;
        let parsed = duration(text);
        if parsed.is_none() {
            field.refuse(read.errors, "must be a duration above 0 like `600s` or `1.5s`");
        }
        parsed
    }
}

/// Seconds with up to nine digits behind the dot, and `s`.
fn duration(text: &str) -> Option<Duration> {
    let seconds = text.strip_suffix('s')?;
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 9 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u64 = whole.parse().ok().filter(|whole| *whole <= LONGEST)?;
    let nanos: u32 = format!("{fraction:0<9}").parse().ok()?;
    Some(Duration::new(whole, nanos)).filter(|duration| !duration.is_zero())
}

/// Protobuf's longest duration, in seconds.
const LONGEST: u64 = 315_576_000_000;

// === its parts ===

fn servers(field: Option<Field<'_>>, read: &mut Read<'_>) -> Vec<Server> {
    let Some(field) = field else { return Vec::new() };
    let items = field.items(read.errors);
    items.iter().filter_map(|item| server(item, read)).collect()
}

fn server(field: &Field<'_>, read: &mut Read<'_>) -> Option<Server> {
    field.object(read.errors)?;
    let Some(uri) = field.text_of("server_uri", read) else {
        if field.get("server_uri").is_none() {
            read.errors.push(ConfigError::new(
                field.path_of("server_uri"),
                "",
                "must be given: where the control plane listens",
            ));
        }
        return None;
    };
    let (creds, of_channel) = creds(field, read)?;
    let mut server = Server::new(uri.into(), creds);
    server.call_creds.extend(of_channel);
    if let Some(list) = field.get("call_creds") {
        for item in list.items(read.errors) {
            server.call_creds.extend(call_creds(&item, read));
        }
    }
    if let Some(list) = field.get("server_features") {
        for item in list.items(read.errors) {
            if let Some(name) = item.text(read.errors) {
                feature(name, &mut server.features);
            }
        }
    }
    Some(server)
}

/// The first of them that is supported, and what is shown by it with each stream.
//= gRFC A27: the client stops at the first channel credential type that it supports
fn creds(server: &Field<'_>, read: &mut Read<'_>) -> Option<(Creds, Option<CallCreds>)> {
    let Some(list) = server.get("channel_creds") else {
        read.errors.push(ConfigError::new(
            server.path_of("channel_creds"),
            "",
            "must be given: `insecure`, `tls` or `google_default`",
        ));
        return None;
    };
    let mut passed = Vec::new();
    for item in list.items(read.errors) {
        item.object(read.errors)?;
        let Some(kind) = item.get("type") else {
            item.refuse(read.errors, "must have a `type`");
            return None;
        };
        match kind.text(read.errors)? {
            "insecure" => return Some((Creds::Insecure, None)),
            "tls" => return Some((Creds::Tls(tls(&item, read)?), None)),
            //= gRFC A27: the system's roots, and a token of Application Default Credentials
            "google_default" => {
                let google = CallCreds::Google(Google::of_env());
                return Some((Creds::Tls(ServerTls::new()), Some(google)));
            }
            other => passed.push(other.to_owned()),
        }
    }
    let why = if passed.is_empty() {
        "names no credentials: `insecure`, `tls` or `google_default`".to_owned()
    } else {
        let passed = passed.join("`, `");
        format!("`{passed}` is not supported; `insecure`, `tls` and `google_default` are")
    };
    list.refuse(read.errors, why);
    None
}

//= gRFC A65: the configuration of `tls` is that of `file_watcher`, all of it optional
fn tls(creds: &Field<'_>, read: &mut Read<'_>) -> Option<ServerTls> {
    let Some(config) = creds.get("config") else { return Some(ServerTls::new()) };
    config.object(read.errors)?;
    let before = read.errors.len();
    if let Some(map) = config.get("spiffe_trust_bundle_map_file") {
        let why = "is not supported for the connection to a control plane; its certificate is \
                   checked by `ca_certificate_file` and its host name";
        map.refuse(read.errors, why);
    }
    let tls = ServerTls {
        roots: config.path_in("ca_certificate_file", read),
        certificate: pair(&config, read),
        refresh: config.duration_of("refresh_interval", read),
        server_name: None,
    };
    (read.errors.len() == before).then_some(tls)
}

/// Certificate and key: both or none.
fn pair(config: &Field<'_>, read: &mut Read<'_>) -> Option<(PathBuf, PathBuf)> {
    let before = read.errors.len();
    let certificate = config.path_in("certificate_file", read);
    let key = config.path_in("private_key_file", read);
    match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        // What could not be read has been told.
        _ if read.errors.len() > before => None,
        _ => {
            let why = "must have both of `certificate_file` and `private_key_file`, or none";
            config.refuse(read.errors, why);
            None
        }
    }
}

//= gRFC A97: all supported ones are used, others are ignored
fn call_creds(field: &Field<'_>, read: &mut Read<'_>) -> Option<CallCreds> {
    field.object(read.errors)?;
    let Some(kind) = field.get("type") else {
        field.refuse(read.errors, "must have a `type`");
        return None;
    };
    let kind = kind.text(read.errors)?;
    if kind != "jwt_token_file" {
        read.notes.push(format!("{}: `{kind}` is not supported and ignored", field.path));
        return None;
    }
    let file = field.get("config").and_then(|config| config.path_in("jwt_token_file", read));
    if file.is_none() {
        field.refuse(read.errors, "must have `config.jwt_token_file`");
    }
    file.map(CallCreds::TokenFile)
}

fn feature(name: &str, features: &mut Features) {
    match name {
        "ignore_resource_deletion" => features.ignore_resource_deletion = true,
        "fail_on_data_errors" => features.fail_on_data_errors = true,
        "resource_timer_is_transient_error" => features.resource_timer_is_transient_error = true,
        "trusted_xds_server" => features.trusted = true,
        "delta" => features.delta = true,
        // `xds_v3` is all that we speak; others are for other clients.
        _ => {}
    }
}

fn authorities(field: Option<Field<'_>>, read: &mut Read<'_>) -> BTreeMap<Arc<str>, Authority> {
    let Some(field) = field else { return BTreeMap::new() };
    let Some(object) = field.object(read.errors) else { return BTreeMap::new() };
    let mut authorities = BTreeMap::new();
    for (name, value) in object {
        let field = Field { path: format!("authorities[{name:?}]"), value };
        if field.object(read.errors).is_none() {
            continue;
        }
        let servers = servers(field.get("xds_servers"), read);
        let template = match field.get("client_listener_resource_name_template") {
            None => Template::of_authority(name),
            Some(field) => {
                let Some(text) = field.text(read.errors) else { continue };
                match Template::within(text, name) {
                    Ok(template) => template,
                    Err(why) => {
                        field.refuse(read.errors, why);
                        continue;
                    }
                }
            }
        };
        authorities.insert(name.as_str().into(), Authority { servers, template });
    }
    authorities
}

fn template(field: &Field<'_>, read: &mut Read<'_>) -> Option<Template> {
    let text = field.text(read.errors)?;
    Template::new(text).map_err(|why| field.refuse(read.errors, why)).ok()
}

//= gRFC A29: certificate_providers
fn providers(field: Option<Field<'_>>, read: &mut Read<'_>) -> BTreeMap<String, IdentityFiles> {
    let Some(field) = field else { return BTreeMap::new() };
    let Some(object) = field.object(read.errors) else { return BTreeMap::new() };
    let mut providers = BTreeMap::new();
    for (name, value) in object {
        let field = Field { path: format!("certificate_providers[{name:?}]"), value };
        if field.object(read.errors).is_none() {
            continue;
        }
        let Some(plugin) = field.get("plugin_name") else {
            field.refuse(read.errors, "must have a `plugin_name`");
            continue;
        };
        let Some(plugin) = plugin.text(read.errors) else { continue };
        if plugin != "file_watcher" {
            let note = format!("{}: the plugin `{plugin}` is not supported", field.path);
            read.notes.push(format!("{note}; clusters that name it are refused"));
            continue;
        }
        let Some(config) = field.get("config") else {
            field.refuse(read.errors, "must have a `config`");
            continue;
        };
        if let Some(files) = file_watcher(&config, read) {
            providers.insert(name.clone(), files);
        }
    }
    providers
}

fn file_watcher(config: &Field<'_>, read: &mut Read<'_>) -> Option<IdentityFiles> {
    config.object(read.errors)?;
    let before = read.errors.len();
    let mut files = IdentityFiles::default();
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    if let Some((certificate, key)) = pair(config, read) {
        files.certificate = Some(text(certificate));
        files.key = Some(text(key));
    }
    files.roots = config.path_in("ca_certificate_file", read).map(text);
    if let Some(map) = config.path_in("spiffe_trust_bundle_map_file", read) {
        files.bundle_map = Some(text(map));
        //= gRFC A87: with a bundle map the other roots are not used
        files.roots = None;
    }
    let interval = config.duration_of("refresh_interval", read);
    files.poll_interval = Some(interval.unwrap_or(REFRESH).clamp(SHORTEST, MOST));
    let has_any =
        files.certificate.is_some() || files.roots.is_some() || files.bundle_map.is_some();
    if read.errors.len() > before {
        return None;
    }
    if !has_any {
        let why = "must have `certificate_file` with `private_key_file`, `ca_certificate_file`, or \
                   `spiffe_trust_bundle_map_file`";
        config.refuse(read.errors, why);
        return None;
    }
    Some(files)
}

/// What gRPC's `file_watcher` takes where nothing is said.
pub(super) const REFRESH: Duration = Duration::from_secs(600);
/// The range of [`IdentityFiles::poll_interval`].
pub(super) const SHORTEST: Duration = Duration::from_millis(100);
const MOST: Duration = Duration::from_secs(365 * 86_400);

fn node(field: &Field<'_>, read: &mut Read<'_>) -> Node {
    if field.object(read.errors).is_none() {
        return Node::default();
    }
    let mut node = Node {
        id: field.text_of("id", read).unwrap_or_default(),
        cluster: field.text_of("cluster", read).unwrap_or_default(),
        ..Node::default()
    };
    if let Some(locality) = field.get("locality")
        && locality.object(read.errors).is_some()
    {
        node.region = locality.text_of("region", read).unwrap_or_default();
        node.zone = locality.text_of("zone", read).unwrap_or_default();
        let sub_zone = locality.text_of("sub_zone", read);
        node.sub_zone = sub_zone.or_else(|| locality.text_of("subZone", read)).unwrap_or_default();
    }
    if let Some(metadata) = field.get("metadata")
        && let Some(object) = metadata.object(read.errors)
    {
        node.metadata = object.clone();
    }
    node
}

/// What other clients know nothing of.
#[derive(Default)]
struct Own {
    dialect: Option<Dialect>,
    secrets: BTreeMap<String, String>,
}

/// Ours alone: what is not known of it is an error.
fn own(field: &Field<'_>, read: &mut Read<'_>) -> Own {
    let mut own = Own::default();
    for name in field.object(read.errors).into_iter().flat_map(Map::keys) {
        let Some(field) = field.get(name) else { continue };
        match name.as_str() {
            "dialect" => own.dialect = dialect(&field, read),
            "secrets" => own.secrets = secrets(&field, read),
            _ => field.refuse(read.errors, "is not known: `dialect` and `secrets` are"),
        }
    }
    own
}

fn dialect(field: &Field<'_>, read: &mut Read<'_>) -> Option<Dialect> {
    match field.text(read.errors)? {
        "proxyless" => Some(Dialect::Proxyless),
        "sidecar" => Some(Dialect::Sidecar),
        "envoy" => Some(Dialect::Envoy),
        _ => {
            field.refuse(read.errors, "must be `proxyless`, `sidecar` or `envoy`");
            None
        }
    }
}

fn secrets(field: &Field<'_>, read: &mut Read<'_>) -> BTreeMap<String, String> {
    let mut secrets = BTreeMap::new();
    for (name, value) in field.object(read.errors).into_iter().flatten() {
        let field = Field { path: format!("{}[{name:?}]", field.path), value };
        if let Some(provider) = field.text(read.errors) {
            secrets.insert(name.clone(), provider.to_owned());
        }
    }
    secrets
}

/// The beginning of a value.
fn short(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

const SHOWN: usize = 80;
