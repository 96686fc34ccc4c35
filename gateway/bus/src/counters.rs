use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What is counted, for the whole gateway. Monotonic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// Publishes taken in, from whatever protocol.
    Accepted,
    /// Publishes refused, e.g. by a limit.
    Refused,
    /// Accepted publishes that no subscription wanted.
    Unrouted,
    /// Copies: one per accepted publish and matching session.
    Matched,
    /// Copies handed to their receiver (and acknowledged, above QoS 0).
    Delivered,
    SessionsOpened,
    SessionsResumed,
    SessionsTakenOver,
    SessionsEnded,
    /// Those of them that made way for a clean start.
    SessionsDiscarded,
    WillsPublished,
    /// Publishes held back by `$delayed/`: they are accepted when they are released.
    Delayed,
    /// Those of them whose time has come.
    DelayedReleased,
    /// Those of them that had expired by then.
    DelayedExpired,
}

/// Why a matched copy was not delivered. Every drop has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum DropReason {
    QueueFull,
    Expired,
    /// QoS 0 for a session that is away.
    Offline,
    SessionEnded,
    /// The receiver answered with an error.
    Refused,
    /// Larger than the receiver accepts.
    PacketTooLarge,
    /// A newer state of the same observation took its place.
    Superseded,
    /// The receiver did not answer.
    Timeout,
    /// The sink can never take it.
    Poison,
    /// A command the device cannot be asked.
    BadCommand,
    /// It could not be read again from where it was stored.
    Damaged,
    Other,
}

impl DropReason {
    pub const ALL: [DropReason; 12] = [
        Self::QueueFull,
        Self::Expired,
        Self::Offline,
        Self::SessionEnded,
        Self::Refused,
        Self::PacketTooLarge,
        Self::Superseded,
        Self::Timeout,
        Self::Poison,
        Self::BadCommand,
        Self::Damaged,
        Self::Other,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Expired => "expired",
            Self::Offline => "offline",
            Self::SessionEnded => "session_ended",
            Self::Refused => "refused",
            Self::PacketTooLarge => "packet_too_large",
            Self::Superseded => "superseded",
            Self::Timeout => "timeout",
            Self::Poison => "poison",
            Self::BadCommand => "bad_command",
            Self::Damaged => "damaged",
            Self::Other => "other",
        }
    }

    pub(crate) fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|reason| reason.name() == name).unwrap_or(Self::Other)
    }
}

const COUNTERS: usize = Counter::DelayedExpired as usize + 1;
const CELLS: usize = COUNTERS + DropReason::ALL.len();
/// More threads than this share a lane; counts stay right, only slower.
const LANES: usize = 16;

/// Counters that threads add to without touching each other's cache lines.
pub struct Counters {
    lanes: Box<[Lane; LANES]>,
}

#[repr(align(64))]
struct Lane([AtomicU64; CELLS]);

impl Counters {
    pub(crate) fn new() -> Self {
        Self { lanes: Box::new(std::array::from_fn(|_| Lane(std::array::from_fn(|_| AtomicU64::new(0))))) }
    }

    pub fn add(&self, counter: Counter, count: u64) {
        self.lane()[counter as usize].fetch_add(count, Ordering::Relaxed);
    }

    pub fn add_dropped(&self, reason: DropReason, count: u64) {
        self.lane()[COUNTERS + reason as usize].fetch_add(count, Ordering::Relaxed);
    }

    pub fn count(&self, counter: Counter) -> u64 {
        self.sum(counter as usize)
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.sum(COUNTERS + reason as usize)
    }

    fn sum(&self, cell: usize) -> u64 {
        self.lanes.iter().map(|lane| lane.0[cell].load(Ordering::Relaxed)).sum()
    }

    fn lane(&self) -> &[AtomicU64; CELLS] {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static LANE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % LANES;
        }
        &self.lanes[LANE.with(|lane| *lane)].0
    }
}
