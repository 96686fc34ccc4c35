//! What one case has for itself: a folder, and the programs that it started.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::harness::process::{Finished, POLL, Transcript};
use crate::harness::{Outcome, Process, Stop, place};

pub struct World {
    pub dir: PathBuf,
    transcripts: Vec<(String, Arc<Transcript>)>,
}

impl World {
    /// With an empty folder of its own under the cache.
    pub fn new(case: &str) -> Outcome<Self> {
        let dir = place::cache().join("tmp").join(case.replace("::", "-"));
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir_all(&dir)?;
        Ok(Self { dir, transcripts: Vec::new() })
    }

    pub fn write(&self, name: &str, text: &str) -> Outcome<PathBuf> {
        let path = self.dir.join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// Starts a program. Its output is in the report if the case fails.
    pub fn spawn(&mut self, label: &str, command: &mut Command) -> Outcome<Process> {
        let process = Process::spawn(label, command)?;
        self.transcripts.push((label.to_owned(), Arc::clone(&process.transcript)));
        Ok(process)
    }

    /// Runs a program to its end.
    pub fn run(&mut self, label: &str, command: &mut Command, wait_secs: u64) -> Outcome<Finished> {
        self.spawn(label, command)?.finish(wait_secs)
    }

    /// Runs a program that has to succeed.
    pub fn succeed(&mut self, label: &str, command: &mut Command, wait_secs: u64) -> Outcome<Finished> {
        let finished = self.run(label, command, wait_secs)?;
        if finished.code == Some(0) {
            return Ok(finished);
        }
        Err(Stop::Failed(format!("{label} ended with {:?}", finished.code)))
    }

    /// The end of what every program of this case has printed.
    pub fn report(&self) -> String {
        self.transcripts.iter().fold(String::new(), |report, (label, transcript)| {
            format!("{report}  --- {label} ---\n{}", transcript.tail(40))
        })
    }

    /// The folder goes when the case has passed.
    pub fn tear_down(self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Polls until the probe yields something.
#[allow(clippy::disallowed_methods, reason = "a bounded poll of what sends no event")]
pub fn eventually<T>(
    what: &str,
    wait_secs: u64,
    mut probe: impl FnMut() -> Outcome<Option<T>>,
) -> Outcome<T> {
    let deadline = Instant::now() + Duration::from_secs(wait_secs);
    loop {
        if let Some(found) = probe()? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(Stop::Failed(format!("{what}: not within {wait_secs} s")));
        }
        std::thread::sleep(POLL);
    }
}
