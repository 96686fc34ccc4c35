use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use gateway_model::Message;
use gateway_store::Place;

/// Publishes that wait for their time, by it; those of one moment in order of arrival.
#[derive(Default)]
pub(crate) struct Delayed {
    queue: BTreeMap<(Instant, u64), Arc<Message>>,
    /// When those that are in the log are due, by serial.
    stored: HashMap<u64, Instant>,
    bytes: usize,
    last_serial: u64,
}

/// The one whose time comes first.
#[derive(Clone, Copy)]
pub(crate) struct Next {
    pub(crate) due: Instant,
    pub(crate) serial: u64,
    pub(crate) is_stored: bool,
}

impl Delayed {
    /// The serial of what is held from now on, if there was room.
    pub(crate) fn hold(
        &mut self,
        due: Instant,
        message: Arc<Message>,
        messages_max: usize,
        bytes_max: usize,
    ) -> Option<u64> {
        if self.queue.len() >= messages_max || self.bytes + message.size() > bytes_max {
            return None;
        }
        let serial = self.last_serial + 1;
        self.restore(serial, due, message);
        Some(serial)
    }

    /// Takes in what was held before a restart, whatever the limits.
    pub(crate) fn restore(&mut self, serial: u64, due: Instant, message: Arc<Message>) {
        self.last_serial = self.last_serial.max(serial);
        self.bytes += message.size();
        if place(&message) != Place::NOWHERE {
            self.stored.insert(serial, due);
        }
        self.queue.insert((due, serial), message);
    }

    /// Serials below this one were used before a restart.
    pub(crate) fn continue_from(&mut self, next_serial: u64) {
        self.last_serial = self.last_serial.max(next_serial.saturating_sub(1));
    }

    pub(crate) fn next(&self) -> Option<Next> {
        let ((due, serial), message) = self.queue.first_key_value()?;
        Some(Next { due: *due, serial: *serial, is_stored: place(message) != Place::NOWHERE })
    }

    pub(crate) fn take(&mut self, next: Next) -> Option<Arc<Message>> {
        let message = self.queue.remove(&(next.due, next.serial))?;
        self.bytes -= message.size();
        self.stored.remove(&next.serial);
        Some(message)
    }

    /// Where the log has what is held under a serial.
    pub(crate) fn place(&self, serial: u64) -> Option<Place> {
        self.get(serial).map(|message| place(message))
    }

    pub(crate) fn moved(&self, serial: u64, to: Place) {
        if let Some(message) = self.get(serial) {
            message.stored.set(to.number());
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn get(&self, serial: u64) -> Option<&Arc<Message>> {
        self.queue.get(&(*self.stored.get(&serial)?, serial))
    }
}

fn place(message: &Message) -> Place {
    Place::from_number(message.stored.get())
}
