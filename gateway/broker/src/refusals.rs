use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use gateway_model::{Peer, Reason, Refusal};
use parking_lot::Mutex;

use crate::log_limit::{LeftOut, LogLimit};

/// Logs refused connections, within bounds for each source.
#[derive(Default)]
pub(crate) struct Refusals {
    logged: Mutex<LogLimit<Source>>,
}

struct Source {
    address: IpAddr,
    listener: Arc<str>,
    reason: Reason,
}

impl Refusals {
    pub(crate) fn log(&self, now: Instant, peer: &Peer, refusal: &Refusal) {
        let (address, reason) = (peer.address.ip(), refusal.reason);
        let is_source = |source: &Source| {
            source.address == address && source.reason == reason && source.listener == *peer.listener()
        };
        let source = || Source { address, listener: peer.listener().clone(), reason };
        let due = self.logged.lock().due(now, is_source, source);
        let Some(LeftOut { suppressed, unlogged }) = due else { return };
        tracing::warn!(
            peer = %peer.address, listener = %peer.listener(), %reason, suppressed, unlogged,
            "connection refused: {}", refusal.text
        );
    }
}
