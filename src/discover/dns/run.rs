//! One name, asked for as long as its cluster wants it: the thin shell of the machine.

use std::{collections::VecDeque, future::poll_fn, sync::Arc, task::Poll, time::Duration};

use tokio::{
    sync::Notify,
    time::{sleep_until, timeout_at},
};

use super::{
    answer::{Answer, Question},
    machine::{Inherited, Machine, Outcome, Plan},
    several,
};
use crate::{
    config::{
        DnsDiscovery, Endpoint,
        dns_name::{DnsName, Host},
    },
    core::{BoxFuture, Instant, Random, earliest},
};

/// Questions of one name under way at once.
const AT_ONCE: usize = 16;
/// How long a round may last; what has no answer by then has failed.
const ROUND: Duration = Duration::from_secs(30);
/// How long the first endpoints wait for those of other questions.
//= RFC 8305 §3: the recommended value for the Resolution Delay is 50 ms
const PREVIEW: Duration = Duration::from_millis(50);

/// Who is asked.
pub(crate) trait Ask: Send + Sync {
    /// The absolute names that a name may stand for, in order.
    fn names(&self, host: &str) -> BoxFuture<Vec<Arc<str>>>;

    fn ask(&self, question: Question) -> BoxFuture<Answer>;

    /// What is to be told of the system's settings, empty for none; nothing if others count.
    fn note(&self) -> Option<String> {
        None
    }
}

/// Who is told.
pub(crate) trait Tell: Send {
    /// Takes the outcome of a round; may ask to be told again at a time of its own.
    fn tell(&mut self, outcome: Outcome) -> Option<Instant>;
}

/// Asks for as long as it is polled. `inherited`: endpoints are there.
pub(crate) async fn run(
    dns: DnsDiscovery,
    inherited: Option<Inherited>,
    ask: Arc<dyn Ask>,
    tell: impl Tell,
    unreachable: Arc<Notify>,
    random: Arc<Random>,
) {
    if dns.targets.is_empty() {
        one(dns, inherited, ask, tell, unreachable, random).await;
    } else {
        several::run(dns, inherited, ask, tell, unreachable, random).await;
    }
}

/// The same of one name.
pub(super) async fn one(
    dns: DnsDiscovery,
    inherited: Option<Inherited>,
    ask: Arc<dyn Ask>,
    mut tell: impl Tell,
    unreachable: Arc<Notify>,
    random: Arc<Random>,
) {
    let name: DnsName = match dns.name.parse() {
        Ok(name) => name,
        // Validation has refused it.
        Err(reason) => {
            tell.tell(Outcome { is_over: true, failure: Some(reason), ..Outcome::default() });
            return;
        }
    };
    let port = name.port.unwrap_or(80);
    let names = match &name.host {
        Host::Address(address) => {
            return literal(Plan::literal(*address, port), tell).await;
        }
        Host::Name(host) => ask.names(host).await,
    };
    let plan = Plan { names, kind: dns.kind, family: dns.family.unwrap_or_default(), port };
    let mut machine = Machine::new(plan, &dns, inherited);
    let mut forced = false;
    loop {
        machine.begin(Instant::now(), random.ratio(), forced);
        round(&mut machine, &*ask, &mut tell).await;
        let mut outcome = machine.finish(Instant::now());
        outcome.note = ask.note();
        let wake = outcome.wake;
        let wake = earliest(wake, tell.tell(outcome));
        forced = sleep(&machine, wake, &unreachable).await;
    }
}

/// An address needs no question.
async fn literal(endpoint: Endpoint, mut tell: impl Tell) {
    let now = Instant::now();
    let (endpoints, last_good) = (Some(vec![endpoint]), Some(now));
    let mut outcome = Outcome { is_over: true, endpoints, last_good, ..Outcome::default() };
    loop {
        match tell.tell(outcome) {
            Some(again) => sleep_until(again).await,
            None => std::future::pending().await,
        }
        let last_good = Some(Instant::now());
        outcome = Outcome { is_over: true, last_good, ..Outcome::default() };
    }
}

/// Sleeps until the next round; true if an endpoint could not be connected to, and all is to be
/// asked ahead of its time.
async fn sleep(machine: &Machine, wake: Option<Instant>, unreachable: &Notify) -> bool {
    match wake {
        Some(wake) => {
            if timeout_at(wake, unreachable.notified()).await.is_err() {
                return false;
            }
        }
        None => unreachable.notified().await,
    }
    let soon = machine.unreachable(Instant::now());
    let Some(at) = earliest(soon, wake) else { return false };
    sleep_until(at).await;
    let is_forced = soon == Some(at);
    if is_forced {
        // What failed meanwhile is answered by what is asked now.
        drop(timeout_at(at, unreachable.notified()).await);
    }
    is_forced
}

/// Asks until nothing is left to ask.
async fn round(machine: &mut Machine, ask: &dyn Ask, tell: &mut impl Tell) {
    let over = Instant::now() + ROUND;
    let mut preview = None;
    let mut waiting = VecDeque::new();
    let mut asking: Vec<(Question, BoxFuture<Answer>)> = Vec::new();
    loop {
        while asking.len() < AT_ONCE
            && let Some(question) = waiting.pop_front()
        {
            asking.push((Question::clone(&question), ask.ask(question)));
        }
        if asking.is_empty() {
            waiting.extend(machine.need(Instant::now()));
            if waiting.is_empty() {
                return;
            }
            continue;
        }
        let bound = preview.unwrap_or(over).min(over);
        match timeout_at(bound, first(&mut asking)).await {
            Ok((question, answer)) => {
                let now = Instant::now();
                machine.answered(question, answer, now);
                if preview.is_none() && machine.is_silent() {
                    preview = Some(now + PREVIEW);
                }
            }
            Err(_) if Instant::now() >= over => {
                let left = asking.drain(..).map(|(question, _)| question);
                for question in left.chain(waiting.drain(..)) {
                    let reason = format!("no answer within {} s", ROUND.as_secs());
                    machine.answered(question, Answer::Failed(reason), Instant::now());
                }
            }
            Err(_) => {
                preview = Some(over);
                if let Some(endpoints) = machine.preview(Instant::now()) {
                    let endpoints = Some(endpoints);
                    tell.tell(Outcome { endpoints, ..Outcome::default() });
                }
            }
        }
    }
}

/// The first answer of those that are awaited.
async fn first(asking: &mut Vec<(Question, BoxFuture<Answer>)>) -> (Question, Answer) {
    poll_fn(|cx| {
        let ready = asking.iter_mut().enumerate().find_map(|(index, (_, answer))| {
            match answer.as_mut().poll(cx) {
                Poll::Ready(answer) => Some((index, answer)),
                Poll::Pending => None,
            }
        });
        match ready {
            Some((index, answer)) => Poll::Ready((asking.swap_remove(index).0, answer)),
            None => Poll::Pending,
        }
    })
    .await
}
