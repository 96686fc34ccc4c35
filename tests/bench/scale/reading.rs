use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::HEAP;

/// What this process has used at a moment.
#[derive(Clone, Copy)]
pub struct Reading {
    pub at: Instant,
    pub cpu: Duration,
    /// Resident, in bytes.
    pub rss: u64,
    /// Bytes asked of the allocator and not given back, without what it adds.
    pub heap: u64,
}

impl Reading {
    pub fn now() -> Self {
        Self { at: Instant::now(), cpu: cpu(), rss: kib_of("VmRSS"), heap: HEAP.allocated() as u64 }
    }

    /// The most that was ever resident, in bytes.
    pub fn rss_peak() -> u64 {
        kib_of("VmHWM")
    }
}

/// Of this process, by all its threads.
pub fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A line of `/proc/self/status`, in bytes.
fn kib_of(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells of its processes");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.expect("a number of kB") * 1024
}
