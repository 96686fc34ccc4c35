use std::sync::atomic::{AtomicU64, Ordering};

/// What waits for all sessions together, in memory or on the disk.
///
/// A queue is counted in whole steps, so that short ones cost nothing to keep account of. Once the
/// budget is spent, a queue of at least one step does not grow: a new copy has to take the place of
/// others, as if the queue were full. So who piles up stops, and whoever reads goes on.
pub(crate) struct Budget {
    steps: AtomicU64,
    steps_max: u64,
}

const STEP_BYTES: usize = 64 * 1024;

impl Budget {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { steps: AtomicU64::new(0), steps_max: bytes_max / STEP_BYTES as u64 }
    }

    /// How many whole steps a queue is.
    #[inline]
    pub(crate) fn steps(queue_bytes: usize) -> u16 {
        (queue_bytes / STEP_BYTES) as u16
    }

    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        self.steps.load(Ordering::Relaxed) >= self.steps_max
    }

    /// A queue that was so many steps long is so many long now.
    pub(crate) fn change(&self, from: u16, to: u16) {
        // Wrapping, as all changes together are never below nothing.
        self.steps.fetch_add(u64::from(to).wrapping_sub(u64::from(from)), Ordering::Relaxed);
    }
}
