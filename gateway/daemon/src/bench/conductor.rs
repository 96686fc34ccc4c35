//! Leads a run through its stages, and watches it. `findings.rs` makes the summary.

mod findings;

use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use gateway_model::Qos;
use tokio::time::{Interval, MissedTickBehavior, interval};

use findings::Marks;

use super::clock::{nanos, seconds};
use super::histogram::Histogram;
use super::plan::Plan;
use super::process::{Process, Usage, own_cpu};
use super::run::{Run, Stage};
use super::summary::{Percentiles, Summary, time};
use super::tally::{Live, Tally};
use super::worker::Worker;
use crate::client::ClientError;

pub struct Conductor<'a> {
    plan: &'a Plan,
    run: Arc<Run>,
    threads: Vec<JoinHandle<std::io::Result<()>>>,
    broker: Option<Process>,
    /// Everything that was measured, without the warm-up.
    total: Live,
    /// Since the last line.
    second: Live,
    line_at: u64,
    line_tally: Tally,
    ticks: Interval,
    interrupt: Interrupt,
    /// How often it was asked to end.
    interrupts: u32,
}

type Interrupt = Pin<Box<dyn Future<Output = std::io::Result<()>>>>;

/// A moment between which and another one something is measured.
#[derive(Clone, Copy, Default)]
struct Mark {
    at: u64,
    tally: Tally,
    broker: Usage,
    own_cpu: Duration,
}

/// How often it is looked whether a stage is over.
const TICK: Duration = Duration::from_millis(20);
const LINE_NANOS: u64 = 1_000_000_000;

impl<'a> Conductor<'a> {
    pub fn new(plan: &'a Plan, run: Run) -> Result<Self, ClientError> {
        let broker = match plan.clients.pid {
            Some(pid) => Some(Process::find(pid).ok_or_else(|| {
                ClientError::Usage(format!("--pid {pid}: there is no such process in /proc"))
            })?),
            None => None,
        };
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            plan,
            threads: Vec::new(),
            broker,
            total: Live::new(),
            second: Live::new(),
            line_at: run.clock.now() + LINE_NANOS,
            line_tally: Tally::default(),
            ticks,
            interrupt: Box::pin(interrupt()),
            interrupts: 0,
            run: Arc::new(run),
        })
    }

    /// From the first connection to the summary.
    pub async fn conduct(mut self) -> Result<Summary, ClientError> {
        let before = self.mark();
        self.start()?;
        let members = self.plan.members();
        self.until(|tally, _| tally.decided() == members).await;
        let connected = self.mark();
        self.say_connected(&before, &connected);
        let mut from = connected;
        if connected.tally.connected > 0 && self.interrupts == 0 {
            from = self.go_through(connected).await;
        }
        let mut to = self.mark();
        self.run.enter(Stage::Draining, to.at);
        if self.plan.flow.is_some() && to.tally.connected > 0 && self.interrupts < 2 {
            self.drain().await;
            // What was counted has an end when the last has arrived, not when the time is over.
            if self.plan.end.after.is_none() {
                to = self.mark();
            }
        }
        let end = self.mark();
        self.run.enter(Stage::Closing, end.at);
        self.line(end.at);
        for thread in std::mem::take(&mut self.threads) {
            match thread.join() {
                Ok(result) => result.map_err(|error| ClientError::System(error.to_string()))?,
                Err(_) => return Err(ClientError::System("a thread panicked".to_owned())),
            }
        }
        self.collect();
        Ok(self.summary(&Marks { before, connected, from, to, end }))
    }

    /// The main part; the mark from which it is measured.
    async fn go_through(&mut self, connected: Mark) -> Mark {
        let end = self.plan.end;
        let mut from = connected;
        let mut warmup_nanos = 0;
        if let Some(flow) = &self.plan.flow {
            self.run.enter(Stage::Publishing, self.run.clock.now());
            warmup_nanos = nanos(flow.warmup);
        }
        if warmup_nanos > 0 {
            let until = connected.at + warmup_nanos;
            self.until(|tally, now| now >= until || tally.connected == 0).await;
            self.collect();
            // What was measured so far is not part of it; what was counted is.
            (self.total.delivery, self.total.acknowledgement) = (Histogram::new(), Histogram::new());
            from = self.mark();
        }
        let until = end.after.map_or(u64::MAX, |after| from.at.saturating_add(nanos(after)));
        let has_publishers = self.run.roster.publishers > 0;
        self.until(|tally, now| {
            let is_sent = has_publishers && tally.unfinished == 0;
            let is_received = end.received.is_some_and(|count| tally.arrived() >= count);
            now >= until || is_sent || is_received || tally.connected == 0
        })
        .await;
        from
    }

    /// Until everything has arrived, or nothing comes any more.
    async fn drain(&mut self) {
        let patience = self.plan.flow.as_ref().map_or(0, |flow| nanos(flow.drain));
        let is_acknowledged = self.run.subject.qos > Qos::AtMostOnce;
        let from = self.run.clock.now();
        self.until(|tally, now| {
            let is_answered = !is_acknowledged || tally.acknowledged + tally.denied >= tally.sent;
            let is_all = is_answered && tally.arrived() >= tally.owed && tally.blocked == 0;
            is_all || now.saturating_sub(tally.progress_at.max(from)) > patience || tally.connected == 0
        })
        .await;
    }

    /// Waits, with a line each second. A signal ends it too, and a thread that has ended before its time.
    async fn until(&mut self, is_over: impl Fn(&Tally, u64) -> bool) {
        loop {
            tokio::select! {
                _ = self.ticks.tick() => {}
                _ = &mut self.interrupt => {
                    self.interrupts += 1;
                    self.interrupt = Box::pin(interrupt());
                    return;
                }
            }
            let now = self.run.clock.now();
            if now >= self.line_at {
                self.line(now);
                self.line_at = now + LINE_NANOS;
            }
            let is_broken = self.threads.iter().any(JoinHandle::is_finished);
            if is_broken || is_over(&self.tally(), now) {
                return;
            }
        }
    }

    fn start(&mut self) -> Result<(), ClientError> {
        for thread in 0..self.run.threads.len() {
            let run = Arc::clone(&self.run);
            let name = format!("bench-{thread}");
            let started = std::thread::Builder::new().name(name).spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    let worker = Worker::new(run, thread)?;
                    // As a task of its own: to wake the outermost future takes a system call.
                    let task = tokio::spawn(tokio::task::unconstrained(worker.work()));
                    task.await.map_err(std::io::Error::other)?
                })
            });
            let failed = |error: std::io::Error| ClientError::System(format!("no thread: {error}"));
            self.threads.push(started.map_err(failed)?);
        }
        Ok(())
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        self.run.threads.iter().for_each(|seat| tally.add(&seat.live.lock().tally));
        tally
    }

    fn mark(&self) -> Mark {
        let broker = self.broker.map_or_else(Usage::default, |broker| broker.usage());
        Mark { tally: self.tally(), at: self.run.clock.now(), broker, own_cpu: own_cpu() }
    }

    /// Takes over what the threads have measured since the last time.
    fn collect(&mut self) {
        let mut second = Live::new();
        for seat in &self.run.threads {
            second.absorb(&mut seat.live.lock());
        }
        let known: Vec<String> = self.total.failures.iter().map(|(kind, _)| kind.to_owned()).collect();
        for (kind, failure) in second.failures.iter() {
            if !self.plan.clients.quiet && !known.iter().any(|known| known == kind) {
                eprintln!("tidegate: {}", failure.first);
            }
        }
        self.second = Live::new();
        self.second.delivery = second.delivery.clone();
        self.second.acknowledgement = second.acknowledgement.clone();
        self.total.tally = Tally::default();
        self.total.absorb(&mut second);
    }

    fn say_connected(&mut self, before: &Mark, connected: &Mark) {
        self.collect();
        if !self.plan.clients.quiet {
            let (there, members) = (connected.tally.connected, self.plan.members());
            let elapsed = seconds(connected.tally.established_at.saturating_sub(before.at));
            eprintln!("connected {there} of {members} in {elapsed:.2} s");
        }
    }

    /// What has happened since the last line.
    fn line(&mut self, now: u64) {
        self.collect();
        let tally = self.total.tally;
        let before = std::mem::replace(&mut self.line_tally, tally);
        if self.plan.clients.quiet {
            return;
        }
        let elapsed = (now + LINE_NANOS).saturating_sub(self.line_at).max(1);
        let rate = |now: u64, before: u64| per_second(now - before, elapsed);
        let times = match (self.second.delivery.count(), self.second.acknowledgement.count()) {
            (0, 0) => None,
            (0, _) => Percentiles::of(&self.second.acknowledgement),
            _ => Percentiles::of(&self.second.delivery),
        };
        let times = times
            .map_or_else(String::new, |times| format!("  p50 {}  p99 {}", time(times.p50), time(times.p99)));
        eprintln!(
            "connected {}  sent {:.0}/s  received {:.0}/s  acknowledged {:.0}/s{times}  errors {}",
            tally.connected,
            rate(tally.sent, before.sent),
            rate(tally.received, before.received),
            rate(tally.acknowledged, before.acknowledged),
            self.total.failures.count()
        );
    }
}

fn per_second(count: u64, elapsed_nanos: u64) -> f64 {
    count as f64 * 1e9 / elapsed_nanos.max(1) as f64
}

/// Ctrl-C, or a polite request to end.
async fn interrupt() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
