use std::collections::HashMap;
use std::fmt;

use gateway_model::Message;
use sha2::{Digest, Sha256};

/// How many messages are remembered to tell equal ones apart, at least.
const RECENT: usize = 1024;

/// The identifier of a message, the same at every attempt: `webhook-id` and `id` in the body.
///
/// Laid out as a UUID version 7 (RFC 9562 section 5.7): 48 bits of the time of acceptance in
/// milliseconds, then, in the random bits' place, a SHA-256 of publisher, topic, flags and payload
/// and of how many equal messages came in that millisecond before. It is computed, not stored: a
/// message that is sent again after a restart of the gateway keeps its identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity(u128);

/// Assigns identifiers in the order in which messages come.
#[derive(Default)]
pub(crate) struct Identities {
    /// How often an identifier was wanted; two generations, so that forgetting is cheap.
    recent: HashMap<Identity, u32>,
    older: HashMap<Identity, u32>,
}

impl Identities {
    pub fn assign(&mut self, message: &Message) -> Identity {
        let first = Identity::of(message, 0);
        let times = match self.recent.get(&first).or_else(|| self.older.get(&first)) {
            None => 0,
            Some(before) => *before,
        };
        if self.recent.len() >= RECENT {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(first, times + 1);
        if times == 0 { first } else { Identity::of(message, times) }
    }
}

impl Identity {
    fn of(message: &Message, times: u32) -> Self {
        let mut hash = Sha256::new();
        // Lengths before texts: no two different messages hash the same bytes.
        for text in [message.publisher.as_str().as_bytes(), message.topic.as_bytes(), &message.payload] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        hash.update([message.qos as u8, message.retain.into()]);
        hash.update(times.to_be_bytes());
        let hash = hash.finalize();
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&message.accepted_unix_millis.get().to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&hash[..10]);
        bytes[6] = 0x70 | (bytes[6] & 0x0f);
        bytes[8] = 0x80 | (bytes[8] & 0x3f);
        Self(u128::from_be_bytes(bytes))
    }

    /// A number to spread retries with.
    pub fn seed(self) -> u64 {
        self.0 as u64
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0;
        let (a, b, c) = ((bits >> 96) as u32, (bits >> 80) as u16, (bits >> 64) as u16);
        let (d, e) = ((bits >> 48) as u16, bits as u64 & 0xffff_ffff_ffff);
        write!(f, "{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::tests::message;

    #[test]
    fn rfc9562_5_7_version_variant_and_time() {
        let text = Identities::default().assign(&message("a/b", "x")).to_string();
        assert!(text.starts_with("018bcfe5-687b-7"), "{text}: 1_700_000_000_123 is 0x18bcfe5687b");
        assert!(matches!(text.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{text}");
        assert_eq!(text.len(), 36);
    }

    #[test]
    fn the_same_after_a_restart_and_different_for_different_messages() {
        let assign = |topic, payload| Identities::default().assign(&message(topic, payload));
        assert_eq!(assign("a", "x"), assign("a", "x"));
        assert_ne!(assign("a", "x"), assign("a", "y"));
        assert_ne!(assign("a", "bx"), assign("ab", "x"));
    }

    #[test]
    fn equal_messages_of_one_millisecond_are_told_apart() {
        let mut identities = Identities::default();
        let mut seen: Vec<_> = (0..5).map(|_| identities.assign(&message("a", "x"))).collect();
        for number in 0..3 * RECENT {
            seen.push(identities.assign(&message("a", &number.to_string())));
        }
        assert!(identities.recent.len() + identities.older.len() <= 2 * RECENT);
        let count = seen.len();
        seen.sort_by_key(|identity| identity.0);
        seen.dedup();
        assert_eq!(seen.len(), count);
    }
}
