use std::num::NonZeroU16;

use bytes::Bytes;
use gateway_model::{Outcome, Qos, Reason, Sink, Ticket, Topic};

use crate::acknowledgements::Waiting;
use crate::codec::{Acknowledgement, PacketType, PropertyBuffer, Publish, Version};
use crate::connection::{Connection, Kind};
use crate::explanation;
use crate::extras::Extras;
use crate::received::Found;
use crate::translate::{self, Translated};
use crate::violation::Violation;

// QoS 2 is method B of MQTT 5.0 section 4.3.3: the message is published when it arrives and only
// its packet identifier is kept until PUBREL. Method A would keep the message and answer for it
// later; publishing first means that PUBREC, like PUBACK, already stands for "safe". And PUBCOMP
// stands for "forgotten": after it the client uses the identifier for another message.
impl Connection {
    #[inline]
    pub(crate) fn publish(&mut self, first: u8, body: &[u8], out: &mut dyn Sink) -> Result<(), Violation> {
        let packet = Publish::decode(self.version, first, body)?;
        if first & self.refused_flags != 0 {
            self.check_publish(packet.qos, packet.retain)?;
        }
        let translated = match packet.properties.is_empty() {
            true => Translated::default(),
            false => translate::properties(packet.properties, |raw| out.topic(raw))?,
        };
        let topic = self.topic(packet.topic, translated.topic_alias, out)?;
        let ticket = match packet.packet_id {
            None => Kind::Unacknowledged.ticket(0),
            Some(packet_id) => match self.admit(packet_id, packet.qos)? {
                Admission::New(ticket) => ticket,
                Admission::Again => {
                    self.extras().received.insert(packet_id);
                    let done = Outcome::Done(Reason::Success);
                    return self.acknowledge(packet_id, PacketType::Pubrec, done, out);
                }
                Admission::AgainTooSoon => return Ok(()),
                Admission::InUse => {
                    let answer = answer_type(packet.qos);
                    self.write_refusal(packet_id, answer, Reason::PacketIdentifierInUse, out);
                    return Ok(());
                }
            },
        };
        let formatted = translate::check_payload(translated.properties.as_deref(), packet.payload);
        let outcome = match (formatted, packet.packet_id) {
            (Ok(()), _) => out.publish(
                ticket,
                gateway_model::Publish {
                    topic,
                    payload: Bytes::copy_from_slice(packet.payload),
                    qos: packet.qos,
                    retain: packet.retain,
                    expiry: translated.expiry,
                    properties: translated.properties,
                },
                packet.packet_id.filter(|_| packet.qos == Qos::ExactlyOnce),
            ),
            (Err(reason), Some(_)) => Outcome::Done(reason),
            (Err(reason), None) => return Err(Violation::new(reason, "payload is not UTF-8")),
        };
        let Some(packet_id) = packet.packet_id else { return Ok(()) };
        if packet.qos == Qos::ExactlyOnce {
            self.extras().received.insert(packet_id);
        }
        self.acknowledge(packet_id, answer_type(packet.qos), outcome, out)
    }

    /// The topic of a PUBLISH, through the alias if there is one (MQTT 5.0 section 3.3.2.3.4).
    #[inline]
    fn topic(&mut self, raw: &[u8], alias: Option<u16>, out: &mut dyn Sink) -> Result<Topic, Violation> {
        let maximum = self.config.topic_alias_maximum;
        if let (true, Some(alias)) = (raw.is_empty(), alias) {
            return self.extras().aliases.get(alias, maximum);
        }
        let topic = match &self.last_topic {
            Some(topic) if topic.as_bytes() == raw => topic.clone(),
            _ => {
                let topic = out.topic(raw)?;
                self.last_topic = Some(topic.clone());
                topic
            }
        };
        if let Some(alias) = alias {
            self.extras().aliases.set(alias, topic.clone(), maximum)?;
        }
        Ok(topic)
    }

    /// Whether a PUBLISH above QoS 0 is new, and within the Receive Maximum (MQTT-3.3.4-9).
    fn admit(&mut self, packet_id: NonZeroU16, qos: Qos) -> Result<Admission, Violation> {
        let limit = match self.version {
            Version::V5 => usize::from(self.config.receive_maximum.get()),
            _ => usize::MAX,
        };
        let Some(extras) = &self.extras else {
            return Ok(Admission::New(Kind::Acknowledged.ticket(0)));
        };
        let Extras { acknowledgements, received, .. } = &**extras;
        if received.contains(packet_id) {
            return Ok(match qos {
                // MQTT-2.2.1-3: until its PUBCOMP comes the client may not use it. Before 5.0
                // there is no way to say so, and to take it for the old message would lose the new.
                Qos::ExactlyOnce if received.is_releasing(packet_id) && self.version != Version::V5 => {
                    let text = "packet identifier used anew before its PUBCOMP";
                    return Err(Violation::new(Reason::PacketIdentifierInUse, text));
                }
                Qos::ExactlyOnce if received.is_releasing(packet_id) => Admission::InUse,
                Qos::ExactlyOnce if acknowledgements.is_waiting(packet_id) => Admission::AgainTooSoon,
                Qos::ExactlyOnce => Admission::Again,
                // The same for one that belongs to an exactly-once publish. A publish at QoS 1 can
                // be taken all the same.
                _ if self.version == Version::V5 => Admission::InUse,
                _ => Admission::New(Kind::Acknowledged.ticket(acknowledgements.next_number())),
            });
        }
        if acknowledgements.at_least_once() + received.published_here() >= limit {
            let text = "more unacknowledged publishes than mqtt.receive_maximum";
            return Err(Violation::new(Reason::ReceiveMaximumExceeded, text));
        }
        Ok(Admission::New(Kind::Acknowledged.ticket(acknowledgements.next_number())))
    }

    /// Answers a publish or a release when its turn has come.
    fn acknowledge(
        &mut self,
        packet_id: NonZeroU16,
        answer: PacketType,
        outcome: Outcome,
        out: &mut dyn Sink,
    ) -> Result<(), Violation> {
        let is_idle = self.extras.as_ref().is_none_or(|extras| extras.acknowledgements.is_empty());
        let reason = match outcome {
            Outcome::Done(reason) if is_idle => return self.answer(packet_id, answer, reason, out),
            Outcome::Done(reason) => Some(reason),
            Outcome::Later => None,
        };
        self.extras().acknowledgements.push(Waiting { packet_id, answer, reason });
        Ok(())
    }

    /// A publish that was `Outcome::Later` is durable now, or refused; or a release is durable.
    pub(crate) fn resolved(&mut self, ticket: Ticket, reason: Reason, out: &mut dyn Sink) {
        let Some(number) = Kind::Acknowledged.number(ticket) else { return };
        if let Some(extras) = &mut self.extras {
            extras.acknowledgements.resolve(number, reason);
        }
        while let Some((waiting, reason)) =
            self.extras.as_mut().and_then(|extras| extras.acknowledgements.pop_ready())
        {
            if let Err(violation) = self.answer(waiting.packet_id, waiting.answer, reason, out) {
                return self.fail(violation, out);
            }
        }
    }

    /// Answers with PUBACK, PUBREC or PUBCOMP, if the version can say what is to be said.
    #[inline]
    fn answer(
        &mut self,
        packet_id: NonZeroU16,
        answer: PacketType,
        reason: Reason,
        out: &mut dyn Sink,
    ) -> Result<(), Violation> {
        if answer == PacketType::Pubcomp {
            let known = self.extras().received.complete(packet_id);
            let reason = if known { Reason::Success } else { Reason::PacketIdentifierNotFound };
            self.write_acknowledgement(packet_id, answer, reason, out);
            return Ok(());
        }
        if reason.is_error() {
            return self.answer_refused(packet_id, answer, reason, out);
        }
        self.write_acknowledgement(packet_id, answer, publish_reason(reason), out);
        Ok(())
    }

    /// In its short form, without a word of explanation.
    #[inline]
    pub(crate) fn write_acknowledgement(
        &self,
        packet_id: NonZeroU16,
        packet_type: PacketType,
        reason: Reason,
        out: &mut dyn Sink,
    ) {
        self.config.packets.sent(packet_type.first_byte(), 1);
        let bytes = out.wire().as_mut_vec();
        Acknowledgement::new(packet_id, reason).encode(self.version, packet_type, bytes);
    }

    #[cold]
    fn answer_refused(
        &mut self,
        packet_id: NonZeroU16,
        answer: PacketType,
        reason: Reason,
        out: &mut dyn Sink,
    ) -> Result<(), Violation> {
        if self.version == Version::V5 {
            if answer == PacketType::Pubrec {
                // MQTT-4.3.3-9: after an error the identifier is free again.
                self.extras().received.refuse(packet_id);
            }
            self.write_refusal(packet_id, answer, reason, out);
            return Ok(());
        }
        // MQTT-3.3.5-2 (3.1.1): there is no way to say no. What may never be published is
        // acknowledged, or it would come again for ever; anything else ends the connection, so
        // that nothing is acknowledged which is not safe.
        if reason != Reason::NotAuthorized {
            return Err(Violation::new(reason, "publish refused"));
        }
        self.write_acknowledgement(packet_id, answer, Reason::Success, out);
        Ok(())
    }

    /// A PUBACK or PUBREC of MQTT 5.0 that says why not (MQTT-3.4.2-2, MQTT-3.5.2-2).
    #[cold]
    fn write_refusal(&self, packet_id: NonZeroU16, answer: PacketType, reason: Reason, out: &mut dyn Sink) {
        let told = publish_reason(reason);
        self.write(PropertyBuffer::default(), explanation::of_publish(reason), out, |properties, into| {
            let acknowledgement = Acknowledgement { packet_id, reason: told, properties };
            acknowledgement.encode(Version::V5, answer, into);
        });
    }

    /// PUBREL: the client forgets the message, so we forget its identifier, and say so when that is
    /// durable: a PUBLISH with it is another message from then on (MQTT-4.3.3-12).
    pub(crate) fn released(&mut self, body: &[u8], out: &mut dyn Sink) -> Result<(), Violation> {
        let packet = Acknowledgement::decode(self.version, PacketType::Pubrel, body)?;
        let packet_id = packet.packet_id;
        let found = self.extras.as_mut().map_or(Found::Unknown, |extras| extras.received.release(packet_id));
        match found {
            Found::Unknown => {
                let reason = Reason::PacketIdentifierNotFound;
                self.write_acknowledgement(packet_id, PacketType::Pubcomp, reason, out);
                Ok(())
            }
            // The PUBCOMP that waits answers both.
            Found::Releasing => Ok(()),
            Found::Held => {
                let ticket = Kind::Acknowledged.ticket(self.extras().acknowledgements.next_number());
                let outcome = out.release(ticket, packet_id);
                self.acknowledge(packet_id, PacketType::Pubcomp, outcome, out)
            }
        }
    }
}

enum Admission {
    New(Ticket),
    /// A QoS 2 message that is already published: only its PUBREC was lost.
    Again,
    /// The same, while its PUBREC still waits for the first one to be durable.
    AgainTooSoon,
    /// The identifier belongs to another publish.
    InUse,
}

/// What a publish above QoS 0 is answered with.
#[inline]
fn answer_type(qos: Qos) -> PacketType {
    match qos {
        Qos::ExactlyOnce => PacketType::Pubrec,
        _ => PacketType::Puback,
    }
}

/// The nearest reason that PUBACK and PUBREC can carry (MQTT 5.0 tables 3-4 and 3-5).
fn publish_reason(reason: Reason) -> Reason {
    match reason.code() {
        0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99 => reason,
        0x00..0x80 => Reason::Success,
        _ => match reason {
            Reason::MessageRateTooHigh | Reason::ServerBusy | Reason::PacketTooLarge => Reason::QuotaExceeded,
            Reason::Banned => Reason::NotAuthorized,
            _ => Reason::ImplementationSpecificError,
        },
    }
}
