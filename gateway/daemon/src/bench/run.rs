use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use gateway_model::Qos;
use parking_lot::Mutex;

use super::clock::Clock;
use super::heard::Heard;
use super::pace::Pace;
use super::publisher::Subject;
use super::ready::ReadyList;
use super::roster::Roster;
use super::tally::Live;
use super::target::Target;

/// What all threads of a run share: the plan, and how far it has come.
pub struct Run {
    pub clock: Clock,
    pub target: Target,
    pub roster: Roster,
    pub subject: Subject,
    pub subscription_qos: Qos,
    pub loop_: Loop,
    /// Messages of each publisher.
    pub count_max: u64,
    /// New connections per second of all threads together, if that is limited.
    pub connect_pace: Option<Pace>,
    /// Connections that a thread opens at a time.
    pub concurrency: usize,
    pub connect_timeout: Duration,
    /// What all members of a shared subscription have received.
    pub group: Option<Heard>,
    pub threads: Vec<Seat>,
    pub progress: Progress,
}

/// How far it has come.
#[derive(Default)]
pub struct Progress {
    stage: AtomicU8,
    published_from: AtomicU64,
}

/// What makes a publisher send.
#[derive(Clone, Copy, Debug)]
pub enum Loop {
    /// What is under way, at most this many messages.
    Closed { window: u16 },
    /// The clock.
    Open(Pace),
}

/// What others see of a thread.
pub struct Seat {
    /// The thread holds it while it works, so that counting costs nothing.
    pub live: Mutex<Live>,
    pub ready: Arc<ReadyList>,
    /// Copies that have arrived in other threads: publisher and number.
    pub settled: Mutex<Vec<(u32, u64)>>,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Clients connect and subscribe.
    Opening,
    Publishing,
    /// Nothing new is sent; what is under way may arrive.
    Draining,
    /// Clients disconnect.
    Closing,
}

impl Run {
    pub fn seats(threads: u32) -> Vec<Seat> {
        let seat = |_| Seat {
            live: Mutex::new(Live::new()),
            ready: Arc::new(ReadyList::default()),
            settled: Mutex::new(Vec::new()),
        };
        (0..threads).map(seat).collect()
    }

    pub fn stage(&self) -> Stage {
        match self.progress.stage.load(Ordering::Acquire) {
            0 => Stage::Opening,
            1 => Stage::Publishing,
            2 => Stage::Draining,
            _ => Stage::Closing,
        }
    }

    /// Goes on to a later stage, and tells the threads.
    pub fn enter(&self, stage: Stage, now: u64) {
        if stage == Stage::Publishing {
            self.progress.published_from.store(now, Ordering::Release);
        }
        self.progress.stage.store(stage as u8, Ordering::Release);
        self.threads.iter().for_each(|seat| seat.ready.wake());
    }

    /// When publishing began.
    pub fn published_from(&self) -> u64 {
        self.progress.published_from.load(Ordering::Acquire)
    }
}
