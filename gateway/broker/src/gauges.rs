use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use gateway_model::Peer;
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
    pub(crate) over_limit: Tally,
    /// Turned away because `connect_rate_max` was.
    pub(crate) over_rate: Tally,
    /// The system could not give us a connection.
    pub(crate) accepts_failed: Tally,
    /// By [`Handshake`].
    pub(crate) handshakes_failed: [Tally; 4],
    /// Closed because of `write_stall_secs`.
    pub(crate) stalled: Tally,
    /// Pauses in reading because of `message_rate_max` or `byte_rate_max`.
    pub(crate) slowed: Tally,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    /// Bytes that waited for their peer when its connection ended.
    pub(crate) bytes_unsent: AtomicU64,
    /// Datagrams that the socket could not take.
    pub(crate) datagrams_lost: AtomicU64,
}

/// A step before the protocol's first byte.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Handshake {
    Proxy,
    Tls,
    WebSocket,
    TimedOut,
}

/// Counts what is refused, and says when to log it: a flood may not fill the log as well.
#[derive(Default)]
pub(crate) struct Tally(AtomicU64);

impl Handshake {
    pub(crate) const ALL: [Self; 4] = [Self::Proxy, Self::Tls, Self::WebSocket, Self::TimedOut];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::WebSocket => "websocket",
            Self::TimedOut => "timed_out",
        }
    }
}

impl Tally {
    /// The count, each time that it has doubled.
    pub(crate) fn add(&self) -> Option<u64> {
        let count = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        count.is_power_of_two().then_some(count)
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
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
            if let Some(refused) = self.over_limit.add() {
                tracing::warn!(listener = %self.name, refused, "listener.{}.connections_max is reached", self.name);
            }
            return false;
        }
        self.connects.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// A client's socket has taken nothing for too long.
    pub(crate) fn stall(&self, peer: &Peer) {
        if let Some(closed) = self.stalled.add() {
            tracing::warn!(
                peer = %peer.address, listener = %self.name, closed,
                "a client that took nothing for limits.write_stall_secs was closed; its session stays"
            );
        }
    }

    /// A client sends more than it may, and is read from later.
    pub(crate) fn slow(&self, peer: &Peer) {
        if let Some(pauses) = self.slowed.add() {
            tracing::warn!(
                peer = %peer.address, listener = %self.name, pauses,
                "a client is slowed down: limits.message_rate_max or limits.byte_rate_max"
            );
        }
    }

    pub(crate) fn leave(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
