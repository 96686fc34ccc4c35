use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use foldhash::fast::FixedState;
use gateway_model::{ClientId, Topic};

use crate::Session;
use crate::drops::Drops;

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
    /// Copies that an earlier run of the gateway had left and this one has found.
    Recovered,
    /// Copies handed to their receiver (and acknowledged, above QoS 0).
    Delivered,
    /// Copies that another member of their group has got instead; for a moment they are nowhere.
    Moved,
    SessionsOpened,
    /// Those that an earlier run of the gateway had left.
    SessionsRecovered,
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

/// Why what was accepted did not arrive. Every drop has one.
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
    /// The observation that it was for is over.
    Unobserved,
    /// The receiver did not answer.
    Timeout,
    /// The sink can never take it.
    Poison,
    /// A command the device cannot be asked.
    BadCommand,
    /// The store cannot read it again.
    Damaged,
    Other,
    /// A will, or a publish held back, that was refused when its time had come.
    Unpublished,
    /// A publish held back that had expired when its time had come.
    DelayedExpired,
    /// A retained message whose time was over.
    RetainedExpired,
}

impl DropReason {
    pub const ALL: [DropReason; 16] = [
        Self::QueueFull,
        Self::Expired,
        Self::Offline,
        Self::SessionEnded,
        Self::Refused,
        Self::PacketTooLarge,
        Self::Superseded,
        Self::Unobserved,
        Self::Timeout,
        Self::Poison,
        Self::BadCommand,
        Self::Damaged,
        Self::Other,
        Self::Unpublished,
        Self::DelayedExpired,
        Self::RetainedExpired,
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
            Self::Unobserved => "unobserved",
            Self::Timeout => "timeout",
            Self::Poison => "poison",
            Self::BadCommand => "bad_command",
            Self::Damaged => "damaged",
            Self::Other => "other",
            Self::Unpublished => "unpublished",
            Self::DelayedExpired => "delayed_expired",
            Self::RetainedExpired => "retained_expired",
        }
    }

    /// Whether it is a copy for one session that goes, not a message before or beside its copies.
    pub fn is_of_copies(self) -> bool {
        !matches!(self, Self::Unpublished | Self::DelayedExpired | Self::RetainedExpired)
    }

    pub(crate) fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|reason| reason.name() == name).unwrap_or(Self::Other)
    }
}

const COUNTERS: usize = Counter::DelayedExpired as usize + 1;
const CELLS: usize = COUNTERS + DropReason::ALL.len();
/// More threads than this share a lane; counts stay right, only slower.
pub(crate) const LANES: usize = 16;

/// Counters that threads add to without touching each other's cache lines.
pub struct Counters {
    lanes: Box<[Lane; LANES]>,
    pub(crate) drops: Drops,
}

#[repr(align(64))]
struct Lane([AtomicU64; CELLS]);

/// What all copies that there have been came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// Those recovered included.
    pub(crate) matched: u64,
    /// Delivered or dropped.
    pub(crate) settled: u64,
    pub(crate) moved: u64,
}

impl Counters {
    pub(crate) fn new(hasher: FixedState) -> Self {
        let lane = |_| Lane(std::array::from_fn(|_| AtomicU64::new(0)));
        Self { lanes: Box::new(std::array::from_fn(lane)), drops: Drops::new(hasher) }
    }

    pub fn add(&self, counter: Counter, count: u64) {
        self.lanes[lane()].0[counter as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// Counts what a client did not get, or what was not published for it; of which topic, if all
    /// were of one.
    pub(crate) fn add_dropped(
        &self,
        client_id: &ClientId,
        topic: Option<&Topic>,
        reason: DropReason,
        count: u32,
    ) {
        if count == 0 {
            return;
        }
        self.lanes[lane()].0[COUNTERS + reason as usize].fetch_add(count.into(), Ordering::Relaxed);
        self.drops.note(lane(), client_id, topic, reason, count);
    }

    /// The same for copies of whatever topics.
    pub(crate) fn count_dropped(
        &self,
        session: &Session,
        dropped: impl IntoIterator<Item = (DropReason, u32)>,
    ) {
        for (reason, count) in dropped {
            self.add_dropped(&session.client_id, None, reason, count);
        }
    }

    pub fn count(&self, counter: Counter) -> u64 {
        self.sum(counter as usize)
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.sum(COUNTERS + reason as usize)
    }

    pub(crate) fn ledger(&self) -> Ledger {
        let of_copies = DropReason::ALL.into_iter().filter(|reason| reason.is_of_copies());
        let dropped: u64 = of_copies.map(|reason| self.dropped(reason)).sum();
        Ledger {
            matched: self.count(Counter::Matched) + self.count(Counter::Recovered),
            settled: self.count(Counter::Delivered) + dropped,
            moved: self.count(Counter::Moved),
        }
    }

    fn sum(&self, cell: usize) -> u64 {
        self.lanes.iter().map(|lane| lane.0[cell].load(Ordering::Relaxed)).sum()
    }
}

/// This thread's.
fn lane() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static LANE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % LANES;
    }
    LANE.with(|lane| *lane)
}
