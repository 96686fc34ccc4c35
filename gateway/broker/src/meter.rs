use std::time::{Duration, Instant};

use crate::bucket::Bucket;

/// What each client may do, beyond what the door looks at.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientLimits {
    /// Publishes per second. Who sends more is read from more slowly.
    pub message_rate_max: Option<u32>,
    /// Bytes per second, likewise.
    pub byte_rate_max: Option<u32>,
    /// How long a socket may take nothing while bytes wait for it; then the connection is closed.
    pub write_stall: Option<Duration>,
}

/// The buckets of one client, there only if a rate is limited.
pub(crate) struct Meter {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    /// What was read and the adapter has not seen: less than one read, in order before the rest.
    pub(crate) held: Vec<u8>,
    /// Nothing is read before.
    pub(crate) until: Option<Instant>,
}

impl Meter {
    /// Bytes that are shown to the adapter between two looks at the buckets: some 30 of the smallest
    /// publishes.
    pub(crate) const PIECE: usize = 256;

    pub(crate) fn new(now: Instant, limits: &ClientLimits) -> Option<Box<Self>> {
        let bucket = |rate: Option<u32>| rate.map(|rate| Bucket::new(now, rate));
        let (messages, bytes) = (bucket(limits.message_rate_max), bucket(limits.byte_rate_max));
        let limited = messages.is_some() || bytes.is_some();
        limited.then(|| Box::new(Self { messages, bytes, held: Vec::new(), until: None }))
    }

    pub(crate) fn published(&mut self) {
        self.messages.iter_mut().for_each(|bucket| bucket.take(1.0));
    }

    pub(crate) fn received(&mut self, bytes: usize) {
        self.bytes.iter_mut().for_each(|bucket| bucket.take(bytes as f64));
    }

    /// Whether reading has to pause now: until when.
    pub(crate) fn pause(&mut self, now: Instant) -> Option<Instant> {
        let buckets = self.messages.iter_mut().chain(&mut self.bytes);
        self.until = buckets.filter_map(|bucket| bucket.is_empty_until(now)).max();
        self.until
    }
}
