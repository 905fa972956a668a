//! What an explanation is made of.

use http::{HeaderMap, Method, StatusCode, Uri};

use crate::{balance::PickExplanation, mesh::describe::Setting};

/// Where a call would go, and why nowhere else; print it.
///
/// It is what [`Mesh::explain`](crate::Mesh::explain) says of one request at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// Method and path of the request.
    pub request: String,
    /// The service that it names.
    pub service: String,
    /// Why the call would fail, or might, whatever is picked: what filters and limits refuse, in the order
    /// in which it meets them.
    pub fails: Option<String>,
    /// What the filters say that decide before its first attempt, in order: rules of authorisation,
    /// faults. Nothing is counted, taken or injected.
    pub guards: Vec<String>,
    /// The route that takes it.
    pub route: RouteExplanation,
    /// What the call is answered here, without any cluster: a redirect, or a direct response.
    pub answer: Option<AnswerExplanation>,
    /// Whether and when it would be sent beside itself, where its route hedges.
    pub hedge: Option<String>,
    /// The clusters that the route splits its calls among; none where it answers itself.
    pub clusters: Vec<ClusterExplanation>,
    /// What of the service's routes does nothing: those that no request comes to, since one before them
    /// takes all of theirs.
    pub doubts: Vec<String>,
}

/// The route of a call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RouteExplanation {
    /// Its place in the list of the service's routes, from 0 on: the first that matches is taken.
    pub index: usize,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The source that defines it, if it has a name there or not; none for a cluster that is called as
    /// the service of its name.
    pub source: Option<String>,
    /// The filters of its service and its own, in order, by their names in the mesh file.
    pub filters: Vec<String>,
    /// The share of the calls like this one that it takes, in 0..=1, where it does not take all of them:
    /// they are drawn call by call, and the explanation follows the larger part.
    pub share: Option<f64>,
    /// How one of its clusters is chosen, where that is not by weight at random.
    pub choice: Option<String>,
    /// The policy of the call: every setting with its value and origin. What the call says itself is of
    /// [`SettingOrigin::Call`](crate::SettingOrigin).
    pub settings: Vec<Setting>,
    /// The rules that were asked before the one that took the request, in that order.
    pub passed: Vec<PassedRule>,
}

/// The head of a request: as the first attempt sends it, but for what a tracer adds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HeadExplanation {
    /// The method.
    pub method: Method,
    /// The URI, after rewrites. Its authority is what HTTP calls the endpoint, not where it is.
    pub uri: Uri,
    /// Whether each attempt gives the host name of its endpoint in place of the authority.
    pub host_of_endpoint: bool,
    /// The headers, after edits, secrets among them. Printed, those that usually hold one
    /// (`authorization`, `cookie`, what is marked as sensitive) have no value.
    pub headers: HeaderMap,
}

/// Who gets a copy.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MirrorExplanation {
    /// The cluster that gets it.
    pub cluster: String,
    /// The share of the calls that is copied, in 0..=1.
    pub share: f64,
    /// The head of the copy.
    pub head: HeadExplanation,
}

/// What a call is answered here.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AnswerExplanation {
    /// The status.
    pub status: StatusCode,
    /// The headers: where a redirect leads to is `location`.
    pub headers: HeaderMap,
    /// The body, if it has one.
    pub body: Option<String>,
}

/// A match of a route that did not take a request.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PassedRule {
    /// Its route's place in the list of the service's routes, from 0 on.
    pub route: usize,
    /// Its route's name, if it has one.
    pub name: Option<String>,
    /// What it asks for, in words.
    pub asks: String,
    /// The first part of it that the request does not meet: `path`, `header x-canary`, …
    pub unmet: String,
    /// Whether it takes a share of the calls like this one all the same: they are drawn call by call, and
    /// the explanation follows the others, which are more.
    pub is_drawn: bool,
}

/// What becomes of a call that the split gives to this cluster.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClusterExplanation {
    /// The cluster's name.
    pub name: String,
    /// Its share of the route's calls, in 0..=1.
    pub share: f64,
    /// The picking policy, as the file spells it.
    pub balancer: String,
    /// The settings of the cluster: every one with its value and origin.
    pub settings: Vec<Setting>,
    /// What is sent. None for a cluster that takes over, which is sent the same, and where the call
    /// fails before it.
    pub head: Option<HeadExplanation>,
    /// Who gets copies of it.
    pub mirrors: Vec<MirrorExplanation>,
    /// The labels that the route asks for.
    pub labels: Vec<(String, String)>,
    /// What the call is hashed to, where the balancer hashes.
    pub hash: Option<HashExplanation>,
    /// What the filters say that are of this cluster of the route, in place of those of the route.
    pub guards: Vec<String>,
    /// Why the call would fail whatever is picked: a limit is reached, or it asks for TLS that the cluster
    /// does not have.
    pub fails: Option<String>,
    /// Who would be picked, and why none of the others. Where other clusters take over: who of those that
    /// work.
    pub pick: PickExplanation,
    /// The clusters that take over from it, in order. The first of it and them of which anything works
    /// gets the call.
    pub failover: Vec<Self>,
    /// Which of them gets it, where there are any.
    pub taken_by: Option<String>,
}

/// What a call is hashed to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HashExplanation {
    /// The hash. None: it is random, or where that will not do, there is none.
    pub hash: Option<u64>,
    /// What is asked of the request, in order.
    pub keys: Vec<HashKeyExplanation>,
}

/// Something of a request that is hashed.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct HashKeyExplanation {
    /// `header x-user`, `cookie session`, `part 1 of the path`, …
    pub on: String,
    /// Whether it counts: the request has it, and nothing before it was enough.
    pub is_used: bool,
    /// Its value, where it counts and is no secret: never that of a cookie, a query, or a header that is
    /// marked as sensitive.
    pub value: Option<String>,
    /// Why it does not count, or that its value would be made.
    pub note: Option<&'static str>,
}
