//! `--name=value`, `--name value`, `--name`, each with one dash or two, as gRPC's programs take them.

use std::{collections::BTreeMap, fmt::Display, str::FromStr, time::Duration};

/// What was said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags(BTreeMap<String, String>);

impl Flags {
    /// Reads the arguments; `known` are the flags that there are, those with a trailing `?` need no value.
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = String>,
        known: &[&str],
    ) -> Result<Self, String> {
        let mut said = BTreeMap::new();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let flag = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
            let flag = flag.ok_or_else(|| format!("`{argument}` is no flag"))?;
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            let is_switch = known.iter().any(|it| it.strip_suffix('?') == Some(name));
            if !is_switch && !known.contains(&name) {
                return Err(format!("`--{name}` is not known"));
            }
            let value = match value {
                Some(value) => value,
                None if is_switch => "true".to_owned(),
                None => arguments.next().ok_or_else(|| format!("`--{name}` needs a value"))?,
            };
            said.insert(name.to_owned(), value);
        }
        Ok(Self(said))
    }

    /// A flag that was given.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A value, or what it is where nothing is said.
    pub(crate) fn value<T: FromStr<Err: Display>>(&self, name: &str, or: T) -> Result<T, String> {
        self.get(name).map_or(Ok(or), |text| {
            text.parse().map_err(|error| format!("`--{name}={text}`: {error}"))
        })
    }

    /// Whether a switch is on: `--name`, `--name=true`; spelled as gRPC's programs read it, and psm-interop writes it.
    pub(crate) fn switch(&self, name: &str) -> Result<bool, String> {
        let Some(text) = self.get(name) else { return Ok(false) };
        match text.to_ascii_lowercase().as_str() {
            "1" | "t" | "true" => Ok(true),
            "0" | "f" | "false" => Ok(false),
            _ => Err(format!("`--{name}={text}` is neither true nor false")),
        }
    }

    /// A time: seconds, or with a unit (`500ms`, `20s`, `1m`).
    pub(crate) fn time(&self, name: &str, or: Duration) -> Result<Duration, String> {
        let Some(text) = self.get(name) else { return Ok(or) };
        let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("", 1.0)];
        let read = units.into_iter().find_map(|(unit, seconds)| {
            let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
            Duration::try_from_secs_f64(number * seconds).ok()
        });
        read.ok_or_else(|| format!("`--{name}={text}` is no time, as `20s` is"))
    }
}
