use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Instant;

use gateway_model::Message;

/// Publishes that wait for their time, by it; those of one moment in order of arrival.
#[derive(Default)]
pub(crate) struct Delayed {
    heap: BinaryHeap<Reverse<Held>>,
    bytes: usize,
    next_serial: u64,
}

struct Held {
    due: Instant,
    serial: u64,
    message: Arc<Message>,
}

impl Delayed {
    /// Whether there was room.
    pub(crate) fn hold(
        &mut self,
        due: Instant,
        message: Arc<Message>,
        messages_max: usize,
        bytes_max: usize,
    ) -> bool {
        let size = message.size();
        if self.heap.len() >= messages_max || self.bytes + size > bytes_max {
            return false;
        }
        self.bytes += size;
        self.next_serial += 1;
        self.heap.push(Reverse(Held { due, serial: self.next_serial, message }));
        true
    }

    /// The next one whose time has come.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Arc<Message>> {
        if self.next()? > now {
            return None;
        }
        let Reverse(held) = self.heap.pop()?;
        self.bytes -= held.message.size();
        if self.heap.is_empty() {
            self.heap = BinaryHeap::new();
        }
        Some(held.message)
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(held)| held.due)
    }

    pub(crate) fn count(&self) -> usize {
        self.heap.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.serial).cmp(&(other.due, other.serial))
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.serial == other.serial
    }
}

impl Eq for Held {}
