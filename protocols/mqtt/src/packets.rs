use std::cell::Cell;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::codec::PacketType;
use crate::config::Config;

/// What all connections of a listener share: its settings, and the packets it has counted.
pub(crate) struct Shared {
    config: Config,
    pub(crate) packets: Packets,
}

/// Packets by type, received and sent.
///
/// Each thread counts in a lane of its own, where counting is no more than an addition. Threads that
/// find no free lane share the last one, and add there as threads must that share.
pub(crate) struct Packets(Box<[Lane; LANES]>);

#[repr(align(64))]
struct Lane {
    received: [AtomicU64; TYPES],
    sent: [AtomicU64; TYPES],
}

/// The upper half of a packet's first byte.
const TYPES: usize = 16;
const LANES: usize = 32;

/// What clients send, and what they are sent, by the names of `$SYS`.
const RECEIVED: [(PacketType, &str); 11] = [
    (PacketType::Connect, "packets/connect/received"),
    (PacketType::Publish, "packets/publish/received"),
    (PacketType::Puback, "packets/puback/received"),
    (PacketType::Pubrec, "packets/pubrec/received"),
    (PacketType::Pubrel, "packets/pubrel/received"),
    (PacketType::Pubcomp, "packets/pubcomp/received"),
    (PacketType::Subscribe, "packets/subscribe/received"),
    (PacketType::Unsubscribe, "packets/unsubscribe/received"),
    (PacketType::Pingreq, "packets/pingreq/received"),
    (PacketType::Disconnect, "packets/disconnect/received"),
    (PacketType::Auth, "packets/auth/received"),
];
const SENT: [(PacketType, &str); 11] = [
    (PacketType::Connack, "packets/connack/sent"),
    (PacketType::Publish, "packets/publish/sent"),
    (PacketType::Puback, "packets/puback/sent"),
    (PacketType::Pubrec, "packets/pubrec/sent"),
    (PacketType::Pubrel, "packets/pubrel/sent"),
    (PacketType::Pubcomp, "packets/pubcomp/sent"),
    (PacketType::Suback, "packets/suback/sent"),
    (PacketType::Unsuback, "packets/unsuback/sent"),
    (PacketType::Pingresp, "packets/pingresp/sent"),
    (PacketType::Disconnect, "packets/disconnect/sent"),
    (PacketType::Auth, "packets/auth/sent"),
];

impl Shared {
    pub(crate) fn new(config: Config) -> Self {
        let cells = || std::array::from_fn(|_| AtomicU64::new(0));
        let lane = |_| Lane { received: cells(), sent: cells() };
        Self { config, packets: Packets(Box::new(std::array::from_fn(lane))) }
    }
}

impl Deref for Shared {
    type Target = Config;
    fn deref(&self) -> &Config {
        &self.config
    }
}

/// Packets of one type in a row, counted together: in one read they are nearly always of one type.
#[derive(Default)]
pub(crate) struct Run {
    first: u8,
    count: u64,
}

impl Run {
    #[inline]
    pub(crate) fn count(&mut self, first: u8, packets: &Packets) {
        if first != self.first {
            self.end(packets);
            self.first = first;
        }
        self.count += 1;
    }

    #[inline]
    pub(crate) fn end(&mut self, packets: &Packets) {
        packets.received(self.first, std::mem::take(&mut self.count));
    }
}

impl Packets {
    /// Packets came that begin with this byte.
    #[inline]
    fn received(&self, first: u8, count: u64) {
        let lane = lane();
        add(&self.0[lane].received[usize::from(first >> 4)], lane, count);
    }

    /// Packets were written that begin with this byte.
    #[inline]
    pub(crate) fn sent(&self, first: u8, count: u64) {
        let lane = lane();
        add(&self.0[lane].sent[usize::from(first >> 4)], lane, count);
    }

    pub(crate) fn counts(&self) -> Vec<(&'static str, u64)> {
        let sum = |cells: fn(&Lane) -> &[AtomicU64; TYPES], packet_type: usize| {
            self.0.iter().map(|lane| cells(lane)[packet_type].load(Ordering::Relaxed)).sum()
        };
        let received = |packet_type| sum(|lane| &lane.received, packet_type);
        let sent = |packet_type| sum(|lane| &lane.sent, packet_type);
        let mut counts = vec![
            ("packets/received", (0..TYPES).map(received).sum::<u64>()),
            ("packets/sent", (0..TYPES).map(sent).sum::<u64>()),
        ];
        counts.extend(RECEIVED.map(|(packet_type, name)| (name, received(packet_type as usize))));
        counts.extend(SENT.map(|(packet_type, name)| (name, sent(packet_type as usize))));
        counts
    }
}

#[inline]
fn add(cell: &AtomicU64, lane: usize, count: u64) {
    if lane == LANES - 1 {
        cell.fetch_add(count, Ordering::Relaxed);
    } else {
        cell.store(cell.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }
}

#[inline]
fn lane() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    const NONE: usize = usize::MAX;
    thread_local! {
        // A constant at first: so looking it up needs no check of its own.
        static LANE: Cell<usize> = const { Cell::new(NONE) };
    }
    let lane = LANE.get();
    if lane != NONE {
        return lane;
    }
    LANE.set(NEXT.fetch_add(1, Ordering::Relaxed).min(LANES - 1));
    LANE.get()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn count(packets: &Packets, name: &str) -> u64 {
        packets.counts().into_iter().find(|(known, _)| *known == name).unwrap().1
    }

    #[test]
    fn threads_count_together_even_if_they_are_many() {
        const THREADS: u64 = LANES as u64 + 8;
        let shared = Arc::new(Shared::new(Config::default()));
        let work = |shared: Arc<Shared>| {
            move || {
                for _ in 0..1000 {
                    shared.packets.received(PacketType::Publish.first_byte(), 1);
                    shared.packets.sent(PacketType::Puback.first_byte(), 1);
                }
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|_| std::thread::spawn(work(shared.clone()))).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        for name in ["packets/received", "packets/publish/received", "packets/sent", "packets/puback/sent"] {
            assert_eq!(count(&shared.packets, name), 1000 * THREADS, "{name}");
        }
        assert_eq!(count(&shared.packets, "packets/publish/sent"), 0);
    }
}
