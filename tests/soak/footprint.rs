//! What a process holds: tasks, descriptors, memory.

use std::{fs, time::Duration};

use tokio::runtime::Handle;

pub(crate) struct Footprint {
    pub(crate) tasks: usize,
    pub(crate) descriptors: usize,
    pub(crate) memory_kib: usize,
}

impl Footprint {
    pub(crate) fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        Self {
            tasks: Handle::current().metrics().num_alive_tasks(),
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            memory_kib: line.split_whitespace().nth(1).unwrap().parse().unwrap(),
        }
    }

    /// Waits until no more is held than before, for at most ten seconds.
    pub(crate) async fn settled(before: &Self) -> Self {
        for _ in 0..1_000 {
            let now = Self::now();
            if now.tasks <= before.tasks && now.descriptors <= before.descriptors {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Self::now()
    }
}
