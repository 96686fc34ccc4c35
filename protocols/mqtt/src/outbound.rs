use std::time::Instant;

use gateway_model::{Deliveries, DeliveryId, Outgoing, Qos, Reason, Settled, Settlement, Sink};

use crate::alias::{OutgoingAlias, OutgoingAliases};
use crate::codec::{Acknowledgement, PacketType, PublishHead, Version, publish_flags};
use crate::connection::Connection;
use crate::translate::OutgoingProperties;
use crate::violation::Violation;

impl Connection {
    /// Writes one delivery. Whether it was a PUBLISH, which the caller is to count.
    #[inline]
    pub(crate) fn send(
        &mut self,
        now: Instant,
        outgoing: &Outgoing,
        outbox: &mut dyn Deliveries,
        out: &mut dyn Sink,
    ) -> bool {
        if let (true, Some(id)) = (outgoing.released, outgoing.id) {
            self.release(id, Some(Reason::Success), out);
            return false;
        }
        if self.outgoing_alias_maximum > 0 && OutgoingAliases::are_for(outgoing) {
            return self.send_aliased(now, outgoing, outbox, out);
        }
        let is_5 = self.version == Version::V5;
        let properties = if is_5 { OutgoingProperties::of(outgoing, now) } else { None };
        let mut head = head(outgoing);
        head.properties_len = match &properties {
            Some(properties) => properties.wire_len(),
            None => usize::from(is_5), // their length, 0
        };
        if head.frame_len() > self.frame_len_max as usize {
            too_large(outgoing, head.frame_len(), outbox, out);
            return false;
        }
        let wire = out.wire();
        let bytes = wire.as_mut_vec();
        head.encode(bytes);
        match &properties {
            Some(properties) => properties.encode(bytes),
            None if is_5 => bytes.push(0),
            None => {}
        }
        wire.append(&outgoing.message.payload);
        true
    }

    /// The same towards a client that takes topic aliases, for a topic that is worth one.
    fn send_aliased(
        &mut self,
        now: Instant,
        outgoing: &Outgoing,
        outbox: &mut dyn Deliveries,
        out: &mut dyn Sink,
    ) -> bool {
        let (maximum, frame_len_max) = (self.outgoing_alias_maximum, self.frame_len_max as usize);
        let aliases = self.extras().outgoing_aliases.get_or_insert_default();
        let mut alias = aliases.look_up(outgoing.topic(), maximum);
        let mut properties = OutgoingProperties::new(outgoing, now);
        properties.set_alias(alias.number());
        let mut head = head(outgoing);
        head.properties_len = properties.wire_len();
        if let OutgoingAlias::Known(_) = alias {
            head.topic = &[];
        }
        if head.frame_len() > frame_len_max && matches!(alias, OutgoingAlias::New(_)) {
            alias = OutgoingAlias::None;
            properties.set_alias(None);
            head.properties_len = properties.wire_len();
        }
        if head.frame_len() > frame_len_max {
            too_large(outgoing, head.frame_len(), outbox, out);
            return false;
        }
        if let OutgoingAlias::New(number) = alias {
            aliases.learn(number, outgoing);
        }
        let wire = out.wire();
        let bytes = wire.as_mut_vec();
        head.encode(bytes);
        properties.encode(bytes);
        wire.append(&outgoing.message.payload);
        true
    }

    /// PUBACK, PUBREC or PUBCOMP: how far a delivery has come.
    #[inline]
    pub(crate) fn acknowledged(
        &mut self,
        packet_type: PacketType,
        body: &[u8],
        out: &mut dyn Sink,
    ) -> Result<(), Violation> {
        let packet = Acknowledgement::decode(self.version, packet_type, body)?;
        let id = packet.packet_id;
        let is_error = packet.reason.is_error();
        let settlement = match packet_type {
            PacketType::Puback if is_error => Settlement::Refused(Qos::AtLeastOnce),
            PacketType::Puback => Settlement::Acknowledged,
            PacketType::Pubrec if is_error => Settlement::Refused(Qos::ExactlyOnce),
            PacketType::Pubrec => Settlement::Received,
            _ => Settlement::Completed,
        };
        if self.is_releasing(id) {
            match packet_type {
                // The PUBREL that waits answers both.
                PacketType::Pubrec if !is_error => return Ok(()),
                PacketType::Pubcomp => return Err(Violation::protocol("PUBCOMP before its PUBREL")),
                _ => {}
            }
        }
        let reason = match out.settle(id, settlement) {
            Settled::Done => Some(Reason::Success),
            Settled::Later => None,
            Settled::Unknown => Some(Reason::PacketIdentifierNotFound),
            // PUBACK for QoS 2, PUBREC or PUBCOMP for QoS 1, PUBCOMP before PUBREC: an unexpected or
            // out of order packet (MQTT 5.0 section 2.4, 0x82).
            Settled::Misfit => return Err(Violation::protocol("acknowledgement does not fit its publish")),
        };
        if settlement == Settlement::Received {
            // MQTT-4.3.3-4: the answer is a PUBREL, and from 5.0 on it can say "never heard of".
            self.release(id, reason, out);
        }
        Ok(())
    }

    /// Whether the PUBREL of a delivery waits.
    #[inline]
    fn is_releasing(&self, id: DeliveryId) -> bool {
        let releases = self.extras.as_ref().and_then(|extras| extras.releases.as_ref());
        releases.is_some_and(|releases| releases.contains(id))
    }

    /// Sends a PUBREL when its turn has come; without a reason, not before [`Connection::settled`].
    fn release(&mut self, id: DeliveryId, reason: Option<Reason>, out: &mut dyn Sink) {
        let waiting = self.extras.as_mut().and_then(|extras| extras.releases.as_mut());
        match (reason, waiting.filter(|releases| !releases.is_empty())) {
            (Some(reason), None) => self.write_acknowledgement(id, PacketType::Pubrel, reason, out),
            (reason, Some(releases)) => releases.push(id, reason),
            (None, None) => self.extras().releases.get_or_insert_default().push(id, None),
        }
    }

    /// It is durable that the client has a delivery: it may be released.
    pub(crate) fn settled(&mut self, id: DeliveryId, out: &mut dyn Sink) {
        let Some(mut releases) = self.extras.as_mut().and_then(|extras| extras.releases.take()) else {
            return;
        };
        releases.settled(id);
        while let Some((id, reason)) = releases.pop_ready() {
            self.write_acknowledgement(id, PacketType::Pubrel, reason, out);
        }
        self.extras().releases = Some(releases);
    }
}

/// The beginning of a delivery, its properties still to be counted.
#[inline]
fn head(outgoing: &Outgoing) -> PublishHead<'_> {
    PublishHead {
        first: publish_flags(outgoing.duplicate, outgoing.qos, outgoing.retain),
        topic: outgoing.topic().as_bytes(),
        packet_id: outgoing.id,
        properties_len: 0,
        payload_len: outgoing.message.payload.len(),
    }
}

/// MQTT-3.1.2-24 and -25 (5.0): to the client it is as if it had been delivered.
#[cold]
fn too_large(outgoing: &Outgoing, frame_len: usize, outbox: &mut dyn Deliveries, out: &mut dyn Sink) {
    tracing::debug!(topic = %outgoing.message.topic, frame_len, "larger than the client takes");
    match outgoing.id {
        Some(id) => {
            out.settle(id, Settlement::Dropped("packet_too_large"));
        }
        None => outbox.refuse_last("packet_too_large"),
    }
}
