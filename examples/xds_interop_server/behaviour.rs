//! What a call asks the server to do to it: `rpc-behavior`.

use std::time::Duration;

use tonic::{Code, Status};

/// What becomes of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Behaviour {
    /// It waits so long first.
    pub(crate) sleep: Duration,
    pub(crate) end: End,
}

/// How it ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum End {
    #[default]
    Answered,
    /// It is never answered.
    KeptOpen,
    Failed(Code),
}

/// What is asked of the server of this hostname, for a call that was tried so often before: values of
/// `rpc-behavior`, in turn. Parts that begin with `hostname=NAME ` are for the server of that name alone.
pub(crate) fn asked<'a>(
    values: impl IntoIterator<Item = &'a str>,
    hostname: &str,
    tried: u32,
) -> Result<Behaviour, Status> {
    let mut behaviour = Behaviour::default();
    for part in values.into_iter().flat_map(|value| value.split(',')) {
        let mut part = part.trim();
        if let Some(named) = part.strip_prefix("hostname=") {
            let whole = named.split_once(' ');
            let (host, rest) = whole.ok_or_else(|| bad(part, "hostname=NAME BEHAVIOUR"))?;
            if host != hostname {
                continue;
            }
            part = rest.trim();
        }
        if let Some(seconds) = part.strip_prefix("sleep-") {
            let seconds: u32 = seconds.parse().map_err(|_| bad(part, "sleep-SECONDS"))?;
            behaviour.sleep += Duration::from_secs(seconds.into());
        } else if part.starts_with("keep-open") {
            behaviour.end = End::KeptOpen;
            break;
        } else if let Some(code) = part.strip_prefix("error-code-") {
            let code: i32 = code.parse().map_err(|_| bad(part, "error-code-NUMBER"))?;
            behaviour.end = End::Failed(Code::from_i32(code));
            break;
        } else if let Some(retry) = SUCCESS.iter().find_map(|word| part.strip_prefix(*word)) {
            let retry: u32 = retry.parse().map_err(|_| bad(part, "success-on-retry-attempt-N"))?;
            if retry == tried {
                break;
            }
        }
        // The description says nothing of other words: passed over, as by grpc-go, Java and Python.
    }
    Ok(behaviour)
}

/// As gRPC's description says it, and as its programs read it.
const SUCCESS: [&str; 2] = ["success-on-retry-attempt-", "succeed-on-retry-attempt-"];

fn bad(part: &str, wanted: &str) -> Status {
    Status::invalid_argument(format!("rpc-behavior `{part}` is to be `{wanted}`"))
}
