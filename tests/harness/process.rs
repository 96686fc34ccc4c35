//! A child program whose every line is kept, so that one can wait for what it says.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::harness::{Outcome, Stop};

/// How often a child's exit or a port is looked at while waiting.
pub const POLL: Duration = Duration::from_millis(10);

/// Everything that a program has printed so far, standard error included.
#[derive(Default)]
pub struct Transcript {
    state: Mutex<Printed>,
    changed: Condvar,
}

#[derive(Default)]
struct Printed {
    lines: Vec<String>,
    open_streams: u8,
}

/// Killed when dropped.
pub struct Process {
    pub label: String,
    pub transcript: Arc<Transcript>,
    child: Child,
    stdin: Option<ChildStdin>,
}

pub struct Finished {
    pub code: Option<i32>,
    pub lines: Vec<String>,
}

impl Process {
    pub fn spawn(label: &str, command: &mut Command) -> Outcome<Self> {
        let mut child = bound_to_us(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Stop::Failed(format!("cannot start {label}: {error}")))?;
        let transcript = Arc::new(Transcript::default());
        transcript.lock().open_streams = 2;
        read_lines(child.stdout.take(), Arc::clone(&transcript));
        read_lines(child.stderr.take(), Arc::clone(&transcript));
        Ok(Self { label: label.to_owned(), transcript, stdin: child.stdin.take(), child })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for `count` lines that match, and returns them; `what` names them in the failure.
    pub fn lines(
        &self,
        what: &str,
        count: usize,
        wait_secs: u64,
        matches: impl Fn(&str) -> bool,
    ) -> Outcome<Vec<String>> {
        let deadline = Instant::now() + Duration::from_secs(wait_secs);
        let mut printed = self.transcript.lock();
        loop {
            let found: Vec<String> = printed.lines.iter().filter(|line| matches(line)).cloned().collect();
            if found.len() >= count {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || printed.open_streams == 0 {
                let why =
                    if left.is_zero() { format!("within {wait_secs} s") } else { "before it ended".into() };
                return Err(Stop::Failed(format!(
                    "{}: {} of {count} lines with {what} {why}",
                    self.label,
                    found.len()
                )));
            }
            printed = self.transcript.changed.wait_timeout(printed, left).expect("not poisoned").0;
        }
    }

    /// Waits for one line that contains the text.
    pub fn line(&self, text: &str, wait_secs: u64) -> Outcome<String> {
        Ok(self.lines(text, 1, wait_secs, |line| line.contains(text))?.remove(0))
    }

    pub fn say(&mut self, line: &str) -> Outcome {
        let stdin = self.stdin.as_mut().ok_or_else(|| Stop::Failed("standard input is closed".into()))?;
        writeln!(stdin, "{line}")?;
        stdin.flush()?;
        Ok(())
    }

    /// Closes standard input and waits for the end.
    #[allow(clippy::disallowed_methods, reason = "a bounded poll of what sends no event")]
    pub fn finish(&mut self, wait_secs: u64) -> Outcome<Finished> {
        self.stdin = None;
        let deadline = Instant::now() + Duration::from_secs(wait_secs);
        while self.is_running()? {
            if Instant::now() > deadline {
                return Err(Stop::Failed(format!("{} still runs after {wait_secs} s", self.label)));
            }
            std::thread::sleep(POLL);
        }
        let code = self.child.wait()?.code();
        let mut printed = self.transcript.lock();
        while printed.open_streams > 0 && Instant::now() < deadline {
            printed = self.transcript.changed.wait_timeout(printed, POLL).expect("not poisoned").0;
        }
        Ok(Finished { code, lines: printed.lines.clone() })
    }

    pub fn is_running(&mut self) -> Outcome<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    pub fn signal(&self, name: &str) -> Outcome {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status()?;
        if status.success() {
            return Ok(());
        }
        Err(Stop::Failed(format!("cannot send {name} to {}", self.label)))
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) -> Outcome {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a child that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }
}

impl Transcript {
    fn lock(&self) -> MutexGuard<'_, Printed> {
        self.state.lock().expect("a reader thread panicked")
    }

    pub fn snapshot(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// The last lines, for a failure's report.
    pub fn tail(&self, lines: usize) -> String {
        let printed = self.lock();
        let from = printed.lines.len().saturating_sub(lines);
        printed.lines[from..].iter().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "    {}", line.chars().take(400).collect::<String>());
            text
        })
    }
}

/// So that nothing outlives a test run that is killed.
fn bound_to_us(command: &mut Command) -> &mut Command {
    const SETPRIV: &str = "/usr/bin/setpriv";
    if !Path::new(SETPRIV).is_file() {
        return command;
    }
    let mut bound = Command::new(SETPRIV);
    bound.args(["--pdeathsig", "KILL"]).arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(key, value),
            None => bound.env_remove(key),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        bound.current_dir(dir);
    }
    *command = bound;
    command
}

fn read_lines(stream: Option<impl Read + Send + 'static>, transcript: Arc<Transcript>) {
    let Some(stream) = stream else { return };
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(stream.read_until(b'\n', &mut line), Ok(count) if count > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
            transcript.lock().lines.push(text);
            transcript.changed.notify_all();
            line.clear();
        }
        transcript.lock().open_streams -= 1;
        transcript.changed.notify_all();
    });
}
