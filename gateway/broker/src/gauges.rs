use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

/// Counts of the driver, per listener.
#[derive(Default)]
pub(crate) struct Gauges {
    listeners: Mutex<Vec<Arc<ListenerGauges>>>,
}

#[derive(Default)]
pub(crate) struct ListenerGauges {
    pub(crate) name: Box<str>,
    pub(crate) connections: AtomicI64,
    pub(crate) connects: AtomicU64,
    /// Turned away because `connections_max` was reached.
    pub(crate) over_limit: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    /// Datagrams that the socket could not take.
    pub(crate) datagrams_lost: AtomicU64,
}

impl Gauges {
    pub(crate) fn listener(&self, name: &str) -> Arc<ListenerGauges> {
        let gauges = Arc::new(ListenerGauges { name: name.into(), ..ListenerGauges::default() });
        self.listeners.lock().push(gauges.clone());
        gauges
    }

    pub(crate) fn listeners(&self) -> Vec<Arc<ListenerGauges>> {
        self.listeners.lock().clone()
    }
}

impl ListenerGauges {
    /// Takes a place if there is one.
    pub(crate) fn enter(&self, connections_max: usize) -> bool {
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        if usize::try_from(before).is_ok_and(|before| before >= connections_max) {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            let refused = self.over_limit.fetch_add(1, Ordering::Relaxed) + 1;
            // Each time the number has doubled: a flood may not fill the log as well.
            if refused.is_power_of_two() {
                tracing::warn!(listener = %self.name, refused, "listener.{}.connections_max is reached", self.name);
            }
            return false;
        }
        self.connects.fetch_add(1, Ordering::Relaxed);
        true
    }

    pub(crate) fn leave(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
