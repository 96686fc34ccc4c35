use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_model::{Peer, Refusal};
use parking_lot::Mutex;

/// Writes refused connections to the log: the first of each source and listener at once, then a summary, so
/// that a client that tries again for ever does not fill the disk.
#[derive(Default)]
pub(crate) struct Refusals {
    recent: Mutex<Vec<Recent>>,
}

struct Recent {
    source: IpAddr,
    listener: Arc<str>,
    reason: gateway_model::Reason,
    logged: Instant,
    suppressed: u64,
}

const QUIET: Duration = Duration::from_secs(10);
const SOURCES_MAX: usize = 64;

impl Refusals {
    pub(crate) fn log(&self, now: Instant, peer: &Peer, refusal: &Refusal) {
        let source = peer.address.ip();
        let mut recent = self.recent.lock();
        let known = recent.iter_mut().find(|entry| {
            entry.source == source && entry.listener == peer.listener && entry.reason == refusal.reason
        });
        let suppressed = match known {
            Some(entry) if now.duration_since(entry.logged) < QUIET => {
                entry.suppressed += 1;
                return;
            }
            Some(entry) => {
                entry.logged = now;
                std::mem::take(&mut entry.suppressed)
            }
            None => {
                if recent.len() >= SOURCES_MAX {
                    recent.remove(0);
                }
                let listener = peer.listener.clone();
                recent.push(Recent { source, listener, reason: refusal.reason, logged: now, suppressed: 0 });
                0
            }
        };
        drop(recent);
        tracing::warn!(
            peer = %peer.address, listener = %peer.listener, reason = %refusal.reason, suppressed,
            "connection refused: {}", refusal.text
        );
    }
}
