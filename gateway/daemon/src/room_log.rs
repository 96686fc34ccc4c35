use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use gateway_model::Notify;
use gateway_store::{Room, Store};
use parking_lot::Mutex;

/// Says in the log that the store has no room, or a disk that fails, and when that is over: meanwhile
/// publishers are refused, and it may take an operator to end that.
pub struct RoomLog {
    /// The store holds its watchers.
    store: Weak<dyn Store>,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    is_full: bool,
    at: Option<Instant>,
}

/// A store at its limit may be full and not full many times a second, as segments come and go.
const PAUSE: Duration = Duration::from_secs(60);

impl RoomLog {
    pub fn start(store: &Arc<dyn Store>) {
        let log = Arc::new(Self { store: Arc::downgrade(store), told: Mutex::default() });
        store.watch(log.clone());
        // It may be full from the beginning.
        log.notify();
    }
}

impl Told {
    /// Whether the change is to be told.
    fn change(&mut self, is_full: bool, now: impl FnOnce() -> Instant) -> bool {
        if is_full == self.is_full {
            return false;
        }
        if is_full {
            let now = now();
            if self.at.is_some_and(|at| now < at + PAUSE) {
                return false;
            }
            self.at = Some(now);
        }
        self.is_full = is_full;
        true
    }
}

impl Notify for RoomLog {
    fn notify(&self) {
        let Some(store) = self.store.upgrade() else { return };
        let is_full = store.room() == Room::Full;
        if !self.told.lock().change(is_full, || gateway_broker::moment().instant) {
            return;
        }
        match (is_full, store.figures().is_failing) {
            (true, true) => {
                tracing::warn!(
                    "store: the disk fails: what would have to be stored is refused until it works"
                );
            }
            (true, false) => tracing::warn!(
                "store: no room on the disk, or up to store.bytes_max, or no other file can be made: what would have \
                 to be stored is refused until there is"
            ),
            (false, _) => tracing::info!("store: there is room again, and the disk works"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_and_goes_is_told_once_a_minute() {
        let start = gateway_broker::moment().instant;
        let mut told = Told::default();
        let mut change = |is_full, secs| told.change(is_full, || start + Duration::from_secs(secs));
        assert!(!change(false, 0));
        assert!(change(true, 0));
        assert!(!change(true, 1));
        assert!(change(false, 2));
        assert!(!change(true, 3) && !change(false, 4) && !change(true, 59));
        // Still full.
        assert!(change(true, 60));
        assert!(change(false, 61));
    }
}
