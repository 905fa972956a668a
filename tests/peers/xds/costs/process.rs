//! What a process has used, as the kernel tells it: the same for all, whatever they are written in.

use std::{collections::BTreeMap, fs, time::Duration};

use tokio::time::{Instant, sleep};

/// Between two looks at its threads.
const LOOK: Duration = Duration::from_millis(10);
/// It rests once it has used next to nothing for so long.
const REST: Duration = Duration::from_millis(100);
const NEXT_TO_NOTHING: Duration = Duration::from_micros(500);
/// For one that never rests.
const PATIENCE: Duration = Duration::from_secs(30);
/// A tick of `/proc/<pid>/stat`: there are 100 in a second, on every machine (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);
/// What two readings in ticks may differ by from what was used, rounded up.
const TICKS_OFF: Duration = Duration::from_millis(30);

/// A running process.
pub(super) struct Process {
    id: u32,
    /// Of each thread that was seen, those that have ended among them.
    threads: BTreeMap<u32, Duration>,
    /// Of threads whose number another one has now.
    ended: Duration,
}

/// Processor time so far, in user mode and in the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    /// Of its threads, one by one: exact, but for what one did that came and went between two looks.
    threads: Duration,
    /// Of all that it ever had: in ticks.
    ticks: Duration,
}

impl Used {
    /// What was used since then. Where threads have come and gone unseen, the ticks tell more.
    pub(super) fn since(self, before: Self) -> Duration {
        let ticks = self.ticks.saturating_sub(before.ticks);
        self.threads.saturating_sub(before.threads).max(ticks.saturating_sub(TICKS_OFF))
    }
}

impl Process {
    pub(super) fn of(id: u32) -> Self {
        let mut process = Self { id, threads: BTreeMap::new(), ended: Duration::ZERO };
        process.used();
        process
    }

    fn read(&self, what: &str) -> String {
        let path = format!("/proc/{}/{what}", self.id);
        fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{path}: {error}: has the process ended?"))
    }

    /// What it has used so far.
    pub(super) fn used(&mut self) -> Used {
        let path = format!("/proc/{}/task", self.id);
        let tasks = fs::read_dir(&path)
            .unwrap_or_else(|error| panic!("{path}: {error}: has the process ended?"));
        for task in tasks.flatten() {
            // One may end between the two.
            let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
            let Ok(number) = task.file_name().to_string_lossy().parse() else { continue };
            // Time on a processor, time in a queue for one (ns), turns.
            let time = text.split_whitespace().next().and_then(|time| time.parse().ok());
            let Some(time) = time.map(Duration::from_nanos) else { continue };
            let before = self.threads.insert(number, time);
            self.ended += before.filter(|before| *before > time).unwrap_or_default();
        }
        assert!(
            !self.threads.is_empty(),
            "this kernel tells no times of threads: {path}/<thread>/schedstat"
        );
        Used { threads: self.ended + self.threads.values().sum::<Duration>(), ticks: self.ticks() }
    }

    fn ticks(&self) -> Duration {
        let stat = self.read("stat");
        // Behind its name, which may hold anything: the state is field 3, `utime` 14 and `stime` 15.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = fields[11].parse::<u32>().unwrap() + fields[12].parse::<u32>().unwrap();
        TICK * ticks
    }

    /// What it has used once it is at rest.
    pub(super) async fn rest(&mut self) -> Used {
        let began = Instant::now();
        let (mut mark, mut since) = (self.used(), began);
        loop {
            sleep(LOOK).await;
            let now = self.used();
            if now.threads.saturating_sub(mark.threads) > NEXT_TO_NOTHING {
                (mark, since) = (now, Instant::now());
            } else if since.elapsed() >= REST {
                return now;
            }
            if began.elapsed() > PATIENCE {
                println!("process {} is not at rest after {PATIENCE:?}", self.id);
                return now;
            }
        }
    }

    /// The memory that it holds. Unit: MB.
    pub(super) fn resident(&self) -> f64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kilobytes: u32 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
        f64::from(kilobytes) * 1024.0 / 1e6
    }
}
