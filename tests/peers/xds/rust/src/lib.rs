//! What both programs do: they call, as they are told line by line. See `../../caller.py`, whose answers are the same.

#[path = "../../../../../examples/support/greeter.rs"]
mod greeter;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http_body::Body;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};
use tonic::{
    Request, Status,
    client::GrpcService,
    codegen::StdError,
    metadata::{AsciiMetadataKey, AsciiMetadataValue},
};

use greeter::{GreeterClient, HelloRequest};

/// A line: calls, one after the other.
#[derive(Deserialize)]
struct Asked {
    target: String,
    count: usize,
    /// `{n}` is the number of the call.
    headers: BTreeMap<String, String>,
    /// Unit: s.
    timeout: f64,
}

/// What a call came to.
#[derive(Serialize)]
struct Outcome {
    /// Who answered.
    who: Option<String>,
    /// Otherwise, the status.
    code: Option<i32>,
    text: String,
    /// How long it took, the making of its client included.
    ms: f64,
}

/// Calls as it is told, until there is nothing more to read. `client` makes one for a name when it is first called.
pub async fn serve<C>(mut client: impl FnMut(&str) -> C)
where
    C: GrpcService<tonic::body::Body> + Clone,
    C::Error: Into<StdError>,
    C::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <C::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    println!("ready");
    let mut made: BTreeMap<String, C> = BTreeMap::new();
    // What is read here holds up no task: this thread runs none.
    for line in std::io::stdin().lines() {
        let asked: Asked = serde_json::from_str(&line.unwrap()).unwrap();
        let mut outcomes = Vec::with_capacity(asked.count);
        for number in 0..asked.count {
            let began = Instant::now();
            if !made.contains_key(&asked.target) {
                made.insert(asked.target.clone(), client(&asked.target));
            }
            let greeter = GreeterClient::new(made[&asked.target].clone());
            let answer = call(greeter, &asked, number).await;
            let ms = began.elapsed().as_secs_f64() * 1000.0;
            outcomes.push(match answer {
                Ok(who) => Outcome { who: Some(who), code: None, text: String::new(), ms },
                Err(status) => Outcome {
                    who: None,
                    code: Some(status.code().into()),
                    text: status.message().to_owned(),
                    ms,
                },
            });
        }
        println!("{}", serde_json::to_string(&outcomes).unwrap());
    }
}

async fn call<C>(
    mut greeter: GreeterClient<C>,
    asked: &Asked,
    number: usize,
) -> Result<String, Status>
where
    C: GrpcService<tonic::body::Body>,
    C::Error: Into<StdError>,
    C::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <C::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    let limit = Duration::from_secs_f64(asked.timeout);
    let mut request = Request::new(HelloRequest::default());
    request.set_timeout(limit);
    for (name, value) in &asked.headers {
        let name: AsciiMetadataKey = name.parse().unwrap();
        let value: AsciiMetadataValue = value.replace("{n}", &number.to_string()).parse().unwrap();
        request.metadata_mut().insert(name, value);
    }
    match timeout(limit, greeter.say_hello(request)).await {
        Ok(answer) => answer.map(|reply| reply.into_inner().message),
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}
