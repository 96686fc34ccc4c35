use std::fs;
use std::time::Duration;

/// A process of this machine, as /proc shows it (Linux): a broker's.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pid: u32,
}

/// What it had used at some moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time of its threads that live.
    pub cpu_nanos: u64,
    pub rss_bytes: u64,
    pub threads: u64,
}

impl Process {
    /// `None`: there is no such process, or no /proc.
    pub fn find(pid: u32) -> Option<Self> {
        let process = Self { pid };
        fs::metadata(process.path("task")).ok().map(|_| process)
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Zeros when it has ended.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage { rss_bytes: self.rss_bytes(), ..Usage::default() };
        let Ok(tasks) = fs::read_dir(self.path("task")) else { return usage };
        for task in tasks.flatten() {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            usage.cpu_nanos += running_nanos(&text);
            usage.threads += 1;
        }
        usage
    }

    fn rss_bytes(&self) -> u64 {
        // What `status` says lags behind by some pages for each thread.
        let exact = fs::read_to_string(self.path("smaps_rollup")).ok().and_then(|text| kib(&text, "Rss:"));
        let known = || kib(&fs::read_to_string(self.path("status")).ok()?, "VmRSS:");
        exact.or_else(known).unwrap_or(0) * 1024
    }

    fn path(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.pid)
    }
}

/// CPU time of this process.
#[cfg(target_os = "linux")]
pub fn own_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(not(target_os = "linux"))]
pub fn own_cpu() -> Duration {
    Duration::ZERO
}

/// proc(5), /proc/PID/schedstat: nanoseconds on a CPU, nanoseconds waiting for one, turns.
fn running_nanos(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The number after a name at the beginning of a line.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_threads_and_time() {
        let process = Process::find(std::process::id()).unwrap();
        let usage = process.usage();
        assert!(usage.rss_bytes > 1 << 20 && usage.threads >= 1 && usage.cpu_nanos > 0, "{usage:?}");
        assert!(own_cpu() > Duration::ZERO);
        assert!(Process::find(u32::MAX).is_none());
    }

    #[test]
    fn what_proc_says_is_read() {
        assert_eq!(kib("Pss:  1 kB\nRss:     1234 kB\n", "Rss:"), Some(1234));
        assert_eq!(kib("", "Rss:"), None);
        assert_eq!((running_nanos("79931 12 3\n"), running_nanos("")), (79_931, 0));
    }
}
