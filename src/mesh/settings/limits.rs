//! The settings of what limits a cluster.

use super::{Layers, retry, text, time};
use crate::{
    config::{Breakers, Cluster, Queue, Thresholds},
    mesh::Setting,
};

pub(super) fn of(cluster: &Layers<'_, Cluster>) -> Vec<Setting> {
    let breakers = cluster.within(|cluster| cluster.breakers.as_ref());
    let mut list = vec![
        breakers.setting("breakers.max_requests", "none", |b: &Breakers| text(b.max_requests)),
        breakers.setting("breakers.max_connections", "none", |b| text(b.max_connections)),
        breakers.setting("breakers.max_pending", "none", |b| text(b.max_pending)),
        breakers.setting("breakers.max_connections_per_endpoint", "none", |b| {
            text(b.max_connections_per_endpoint)
        }),
        breakers.setting("breakers.max_retries", "none", |b| text(b.max_retries)),
        breakers.setting("breakers.retry_budget", "none", |b| {
            b.retry_budget.as_deref().map(retry::in_flight)
        }),
    ];
    if breakers.is_said() {
        list.push(breakers.setting("breakers.shared", "none", |b| b.shared.clone()));
    }
    let high = breakers.within(|breakers| breakers.high.as_deref());
    if high.is_said() {
        list.extend([
            high.setting("breakers.high.max_requests", "none", |t: &Thresholds| {
                text(t.max_requests)
            }),
            high.setting("breakers.high.max_connections", "none", |t| text(t.max_connections)),
            high.setting("breakers.high.max_pending", "none", |t| text(t.max_pending)),
            high.setting("breakers.high.max_retries", "none", |t| text(t.max_retries)),
            high.setting("breakers.high.retry_budget", "none", |t| {
                t.retry_budget.as_deref().map(retry::in_flight)
            }),
        ]);
    } else {
        list.push(breakers.setting("breakers.high", "none", |_| None));
    }
    let queue = cluster.within(|cluster| cluster.queue.as_ref());
    if queue.is_said() {
        let usual = Queue::default();
        list.extend([
            queue.setting("queue.capacity", &usual.capacity().to_string(), |q: &Queue| {
                text(q.capacity)
            }),
            queue.setting("queue.failfast_timeout", &time(usual.failfast_timeout()), |q| {
                q.failfast_timeout.map(time)
            }),
        ]);
    } else {
        list.push(cluster.setting("queue", "none", |_| None));
    }
    list.extend([cluster.setting("drops", "none", |c| {
        let drops = c.drops.iter().map(|it| format!("{} % {}", it.percent, it.category));
        (!c.drops.is_empty()).then(|| drops.collect::<Vec<_>>().join(", "))
    })]);
    list
}
