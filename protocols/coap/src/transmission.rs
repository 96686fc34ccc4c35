//! How hard and how often a message is tried (RFC 7252 section 4.8).

use std::time::Duration;

/// How long a Confirmable message ID stays taken (RFC 7252 section 4.8.2).
pub const EXCHANGE_LIFETIME: Duration = Duration::from_secs(247);
/// How long a Non-confirmable message ID stays taken (RFC 7252 section 4.8.2).
pub const NON_LIFETIME: Duration = Duration::from_secs(145);
/// The transmission parameters (RFC 7252 section 4.8) and our limits.
#[derive(Clone, Copy, Debug)]
pub struct Transmission {
    /// ACK_TIMEOUT; the first timeout is random between this and 1.5 times this (ACK_RANDOM_FACTOR).
    pub ack_timeout: Duration,
    /// MAX_RETRANSMIT: transmissions after the first.
    pub max_retransmit: u8,
    /// NSTART: Confirmable messages in flight at a time.
    pub nstart: usize,
    /// Confirmable messages that may wait for their turn.
    pub queue_max: usize,
    /// Messages of the peer remembered for deduplication.
    pub recent_max: usize,
    /// Bytes of their replies.
    pub recent_bytes_max: usize,
    /// How long a request of ours waits for its response: MAX_TRANSMIT_WAIT.
    pub response_timeout: Duration,
}

impl Default for Transmission {
    fn default() -> Self {
        Self {
            ack_timeout: Duration::from_secs(2),
            max_retransmit: 4,
            nstart: 1,
            queue_max: 32,
            recent_max: 64,
            recent_bytes_max: 16 * 1024,
            response_timeout: Duration::from_secs(93),
        }
    }
}
