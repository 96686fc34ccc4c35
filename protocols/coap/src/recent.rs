//! The peer's last messages and our replies, for deduplication (RFC 7252 section 4.5).

use std::time::{Duration, Instant};

use gateway_model::Tick;
use smallvec::SmallVec;

use crate::ongoing::push;

/// Bounded in count and bytes: the oldest makes way. Most peers have said one thing lately.
#[derive(Default)]
pub(crate) struct Recent {
    /// Oldest first; it is short.
    seen: Vec<Seen>,
}

struct Seen {
    message_id: u16,
    expires: Tick,
    /// The reply as sent; empty while there is none. One to an observation or to a registration fits
    /// inline.
    reply: SmallVec<[u8; 32]>,
}

impl Recent {
    /// The reply (perhaps still empty) to a message seen before and not yet expired.
    pub(crate) fn find(&self, now: Instant, message_id: u16) -> Option<&[u8]> {
        let seen = self.seen.iter().rev().find(|seen| seen.message_id == message_id)?;
        (seen.expires > now.into()).then_some(&seen.reply[..])
    }

    pub(crate) fn remember(&mut self, now: Instant, message_id: u16, lifetime: Duration, count_max: usize) {
        if self.seen.len() >= count_max.max(1) {
            self.seen.remove(0);
        }
        push(&mut self.seen, Seen { message_id, expires: (now + lifetime).into(), reply: SmallVec::new() });
    }

    /// Keeps the reply to a message, unless that was pushed out meanwhile.
    pub(crate) fn answer(&mut self, message_id: u16, reply: &[u8], bytes_max: usize) {
        let Some(seen) = self.seen.iter_mut().rev().find(|seen| seen.message_id == message_id) else {
            return;
        };
        seen.reply = SmallVec::from_slice(reply);
        let mut bytes = self.bytes();
        while bytes > bytes_max && self.seen.len() > 1 {
            bytes -= self.seen.remove(0).reply.len();
        }
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        while self.seen.first().is_some_and(|seen| seen.expires <= now.into()) {
            self.seen.remove(0);
        }
        if self.seen.is_empty() {
            self.seen = Vec::new();
        }
    }

    /// When the oldest may be forgotten.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.seen.first()?.expires.instant()
    }

    fn bytes(&self) -> usize {
        self.seen.iter().map(|seen| seen.reply.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_in_count_and_bytes() {
        let now = Instant::now();
        let mut recent = Recent::default();
        for id in 0..1000 {
            recent.remember(now, id, Duration::from_secs(247), 8);
            recent.answer(id, &[0; 30], 100);
            assert!(recent.seen.len() <= 8 && recent.bytes() <= 100);
        }
        assert!(recent.find(now, 999).is_some() && recent.find(now, 990).is_none());
        recent.expire(now + Duration::from_secs(247));
        assert_eq!((recent.seen.len(), recent.bytes()), (0, 0));
    }
}
