use std::num::NonZeroU16;
use std::sync::Arc;

use gateway_model::Qos;
use protocol_mqtt::codec::{Header, Properties, Publish, Version};

use super::packet_ids::PacketIds;
use super::stamp::Stamp;

/// What one client publishes: its packet, ready but for identifier and stamp, and how much of it is
/// under way.
pub struct Publisher {
    /// Its number in the run.
    pub number: u32,
    /// Its client's number in the thread.
    pub client: u32,
    /// The packet up to the end of the stamp.
    head: Vec<u8>,
    /// Where in it the packet identifier stands; `None` at QoS 0.
    packet_id_at: Option<usize>,
    /// The rest of the payload, the same for all.
    filler: Arc<[u8]>,
    pub sent: u64,
    /// How many subscribers get each message.
    copies: u32,
    /// Copies that have not arrived, and when the last of them came or the first was sent.
    outstanding: u64,
    moved_at: u64,
    pub packet_ids: PacketIds,
    /// It is on the thread's list of those that may send.
    pub is_listed: bool,
}

/// What publishers have in common.
#[derive(Clone, Debug)]
pub struct Subject {
    pub run: u32,
    pub version: Version,
    pub qos: Qos,
    pub retain: bool,
    pub payload_bytes: u32,
}

impl Subject {
    /// What follows the stamp in each payload.
    pub fn filler(&self) -> Arc<[u8]> {
        let len = (self.payload_bytes as usize).saturating_sub(Stamp::LEN);
        (b'a'..=b'z').cycle().take(len).collect()
    }
}

impl Publisher {
    pub fn new(
        subject: &Subject,
        filler: &Arc<[u8]>,
        topic: &str,
        number: u32,
        client: u32,
        copies: u32,
    ) -> Self {
        let stamp = Stamp { run: subject.run, publisher: number, sequence: 0, at: 0 }.encode();
        let payload = [&stamp, &filler[..]].concat();
        let packet = Publish {
            dup: false,
            qos: subject.qos,
            retain: subject.retain,
            topic: topic.as_bytes(),
            packet_id: (subject.qos > Qos::AtMostOnce).then_some(NonZeroU16::MIN),
            properties: Properties::default(),
            payload: &payload,
        };
        let mut head = Vec::new();
        packet.encode(subject.version, &mut head);
        head.truncate(head.len() - filler.len());
        head.shrink_to_fit();
        let header_len = Header::parse(&head).ok().flatten().map_or(0, |header| header.header_len);
        // After the topic and its length (MQTT 5.0 section 3.3.2).
        let packet_id_at = packet.packet_id.map(|_| header_len + 2 + topic.len());
        Self {
            number,
            client,
            head,
            packet_id_at,
            filler: Arc::clone(filler),
            sent: 0,
            copies,
            outstanding: 0,
            moved_at: 0,
            packet_ids: PacketIds::default(),
            is_listed: false,
        }
    }

    /// How many messages may be sent now so that `window` are under way: neither acknowledged, nor
    /// arrived where this run has the subscribers.
    pub fn room(&self, window: u16) -> u16 {
        let undelivered = match self.copies {
            0 => 0,
            copies => self.outstanding.div_ceil(u64::from(copies)),
        };
        let under_way = undelivered.max(u64::from(self.packet_ids.in_use()));
        window.saturating_sub(u16::try_from(under_way).unwrap_or(u16::MAX))
    }

    /// Whether anything tells it that a message has been taken.
    pub fn is_answered(&self) -> bool {
        self.copies > 0 || self.takes_ids()
    }

    /// Whether its messages are acknowledged.
    pub fn takes_ids(&self) -> bool {
        self.packet_id_at.is_some()
    }

    /// Appends the next message. `now` is when it is sent, `at` what it says.
    #[inline]
    pub fn emit(&mut self, now: u64, at: u64, out: &mut Vec<u8>) {
        if let Some(place) = self.packet_id_at
            && let Some(id) = self.packet_ids.take(now)
        {
            self.head[place..place + 2].copy_from_slice(&id.get().to_be_bytes());
        }
        // Run and publisher stand there already.
        let end = self.head.len();
        self.head[end - 16..end - 8].copy_from_slice(&self.sent.to_be_bytes());
        self.head[end - 8..].copy_from_slice(&at.to_be_bytes());
        out.extend_from_slice(&self.head);
        out.extend_from_slice(&self.filler);
        self.sent += 1;
        if self.outstanding == 0 {
            self.moved_at = now;
        }
        self.outstanding += u64::from(self.copies);
    }

    /// Copies have arrived, or are known to be lost.
    #[inline]
    pub fn settle(&mut self, copies: u64, now: u64) {
        self.outstanding = self.outstanding.saturating_sub(copies);
        self.moved_at = now;
    }

    /// Gives up what has not arrived if nothing has since `then`: true if there was something.
    pub fn give_up(&mut self, then: u64) -> bool {
        let is_stuck = self.outstanding > 0 && self.moved_at < then;
        if is_stuck {
            self.outstanding = 0;
        }
        is_stuck
    }

    pub fn copies(&self) -> u32 {
        self.copies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(version: Version, qos: Qos, payload_bytes: u32) -> Subject {
        Subject { run: 7, version, qos, retain: true, payload_bytes }
    }

    #[test]
    fn each_packet_says_what_it_is() {
        for version in [Version::V31, Version::V311, Version::V5] {
            for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
                for bytes in [28, 64, 200, 20_000] {
                    let subject = subject(version, qos, bytes);
                    let mut publisher = Publisher::new(&subject, &subject.filler(), "a/b", 3, 0, 1);
                    for sequence in 0..3 {
                        let mut out = Vec::new();
                        publisher.emit(5, 100 + sequence, &mut out);
                        let header = Header::parse(&out).unwrap().unwrap();
                        assert_eq!(header.frame_len(), out.len());
                        let packet =
                            Publish::decode(version, header.first, &out[header.header_len..]).unwrap();
                        assert_eq!((packet.topic, packet.qos, packet.retain), (&b"a/b"[..], qos, true));
                        assert_eq!(packet.payload.len(), bytes as usize);
                        let id = packet.packet_id.map(NonZeroU16::get);
                        let expected = (qos > Qos::AtMostOnce).then_some(sequence as u16 + 1);
                        assert_eq!(id, expected);
                        let stamp = Stamp { run: 7, publisher: 3, sequence, at: 100 + sequence };
                        assert_eq!(Stamp::decode(packet.payload), Some(stamp));
                    }
                }
            }
        }
    }

    #[test]
    fn a_window_is_what_is_unacknowledged_or_undelivered() {
        let subject = subject(Version::V5, Qos::AtLeastOnce, 28);
        let mut publisher = Publisher::new(&subject, &subject.filler(), "a", 0, 0, 3);
        let mut out = Vec::new();
        (0..4).for_each(|_| publisher.emit(1, 1, &mut out));
        assert_eq!(publisher.room(10), 6);
        publisher.settle(12, 2);
        assert_eq!(publisher.room(10), 6, "not acknowledged");
        for id in 1..=4 {
            assert_eq!(publisher.packet_ids.release(NonZeroU16::new(id).unwrap()), Some(1));
        }
        assert_eq!(publisher.room(10), 10);
        publisher.emit(1, 1, &mut out);
        assert!(publisher.packet_ids.release(NonZeroU16::new(4).unwrap()).is_some());
        publisher.settle(2, 3);
        assert_eq!(publisher.room(10), 9, "one of three copies has not arrived");
        assert!(!publisher.give_up(3) && publisher.give_up(4));
        assert_eq!(publisher.room(10), 10);
    }
}
