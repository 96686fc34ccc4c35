use std::num::{NonZeroU16, NonZeroU32};

use gateway_model::{Reason, Request, Sink, Subscription, Ticket, TopicFilter};

use crate::codec::{
    Property, PropertyBuffer, RequestedFilter, Suback, Subscribe, Unsuback, Unsubscribe, Version,
};
use crate::connection::{Connection, Kind};
use crate::explanation;
use crate::violation::Violation;

impl Connection {
    pub(crate) fn subscribe(&mut self, body: &[u8], out: &mut dyn Sink) -> Result<(), Violation> {
        let packet = Subscribe::decode(self.version, body, self.config.packet_filters_max.into())?;
        let identifier = packet.properties.iter().find_map(|property| match property {
            Property::SubscriptionIdentifier(identifier) => NonZeroU32::new(identifier),
            _ => None,
        });
        if self.is_in_use(packet.packet_id) {
            let reasons = vec![Reason::PacketIdentifierInUse; packet.filters.len()];
            self.write_suback(packet.packet_id, &reasons, out);
            return Ok(());
        }
        let mut subscriptions = Vec::with_capacity(packet.filters.len());
        let mut asked = Vec::with_capacity(packet.filters.len());
        for requested in &packet.filters {
            let subscription = self.subscription(requested, identifier)?;
            asked.push(subscription.is_some());
            subscriptions.extend(subscription);
        }
        if subscriptions.is_empty() {
            let reasons = vec![Reason::TopicFilterInvalid; asked.len()];
            self.write_suback(packet.packet_id, &reasons, out);
            return Ok(());
        }
        self.note_invalid(asked);
        self.reply_is_due = true;
        let ticket = Kind::Request.ticket(packet.packet_id.get().into());
        out.request(ticket, Request::Subscribe(subscriptions));
        Ok(())
    }

    pub(crate) fn unsubscribe(&mut self, body: &[u8], out: &mut dyn Sink) -> Result<(), Violation> {
        let packet = Unsubscribe::decode(self.version, body, self.config.packet_filters_max.into())?;
        if self.is_in_use(packet.packet_id) {
            let reasons = vec![Reason::PacketIdentifierInUse; packet.filters.len()];
            self.write_unsuback(packet.packet_id, &reasons, out);
            return Ok(());
        }
        let mut filters = Vec::with_capacity(packet.filters.len());
        let mut asked = Vec::with_capacity(packet.filters.len());
        for text in &packet.filters {
            let filter = TopicFilter::parse(text).ok();
            asked.push(filter.is_some());
            filters.extend(filter);
        }
        if filters.is_empty() {
            let reasons = vec![Reason::TopicFilterInvalid; asked.len()];
            self.write_unsuback(packet.packet_id, &reasons, out);
            return Ok(());
        }
        self.note_invalid(asked);
        self.reply_is_due = true;
        let ticket = Kind::Request.ticket(packet.packet_id.get().into());
        out.request(ticket, Request::Unsubscribe(filters));
        Ok(())
    }

    pub(crate) fn subscribed(&mut self, ticket: Ticket, reasons: Vec<Reason>, out: &mut dyn Sink) {
        if let Some(packet_id) = self.answered(ticket) {
            let reasons = self.with_invalid(reasons);
            self.write_suback(packet_id, &reasons, out);
        }
    }

    pub(crate) fn unsubscribed(&mut self, ticket: Ticket, reasons: Vec<Reason>, out: &mut dyn Sink) {
        if let Some(packet_id) = self.answered(ticket) {
            let reasons = self.with_invalid(reasons);
            self.write_unsuback(packet_id, &reasons, out);
        }
    }

    /// The packet identifier that a reply is for. Only one is ever due.
    fn answered(&mut self, ticket: Ticket) -> Option<NonZeroU16> {
        let packet_id = NonZeroU16::new(Kind::Request.number(ticket)? as u16)?;
        std::mem::take(&mut self.reply_is_due).then_some(packet_id)
    }

    /// Whether an identifier belongs to a publish that is not finished (MQTT-2.2.1-3). Before 5.0
    /// there is no way to say so.
    fn is_in_use(&self, packet_id: NonZeroU16) -> bool {
        let extras = self.extras.as_ref().filter(|_| self.version == Version::V5);
        extras.is_some_and(|extras| {
            extras.received.contains(packet_id) || extras.acknowledgements.is_waiting(packet_id)
        })
    }

    /// `None` if the filter is none, or not one for a client that cannot be told more.
    fn subscription(
        &self,
        requested: &RequestedFilter<'_>,
        identifier: Option<NonZeroU32>,
    ) -> Result<Option<Subscription>, Violation> {
        let Ok(filter) = TopicFilter::parse(requested.filter) else { return Ok(None) };
        if requested.no_local && filter.group().is_some() {
            return Err(Violation::protocol("no local on a shared subscription")); // MQTT-3.8.3-4
        }
        match self.check_subscription(&filter, identifier.is_some()) {
            Ok(()) => {}
            Err(violation) if self.version == Version::V5 => return Err(violation),
            Err(_) => return Ok(None),
        }
        Ok(Some(Subscription {
            filter,
            qos: self.config.granted_qos(requested.qos),
            no_local: requested.no_local,
            retain_as_published: requested.retain_as_published,
            retain_handling: requested.retain_handling,
            identifier,
        }))
    }

    fn note_invalid(&mut self, asked: Vec<bool>) {
        if asked.contains(&false) {
            self.extras().partly_invalid = Some(asked.into());
        }
    }

    /// Puts the reasons of the filters that were not asked for between those that were.
    fn with_invalid(&mut self, reasons: Vec<Reason>) -> Vec<Reason> {
        let noted = self.extras.as_mut().and_then(|extras| extras.partly_invalid.take());
        let Some(asked) = noted else { return reasons };
        let mut answered = reasons.into_iter();
        let reason_of = |asked: &bool| match asked {
            true => answered.next().unwrap_or(Reason::UnspecifiedError),
            false => Reason::TopicFilterInvalid,
        };
        asked.iter().map(reason_of).collect()
    }

    fn write_suback(&mut self, packet_id: NonZeroU16, reasons: &[Reason], out: &mut dyn Sink) {
        let text = explanation::of_subscribe(reasons);
        let reasons: Vec<Reason> = reasons.iter().copied().map(subscribe_reason).collect();
        let fits = self.write(PropertyBuffer::default(), text, out, |properties, into| {
            Suback { packet_id, properties, reasons: reasons.clone() }.encode(self.version, into);
        });
        self.dismiss_unless(fits, out);
    }

    /// A request whose answer is larger than the client takes (MQTT-3.1.2-24) would leave it waiting.
    fn dismiss_unless(&mut self, fits: bool, out: &mut dyn Sink) {
        if !fits {
            self.dismiss(Reason::PacketTooLarge, "the answer is larger than the client takes", out);
        }
    }

    fn write_unsuback(&mut self, packet_id: NonZeroU16, reasons: &[Reason], out: &mut dyn Sink) {
        let text = explanation::of_unsubscribe(reasons);
        let reasons: Vec<Reason> = reasons.iter().copied().map(unsubscribe_reason).collect();
        let fits = self.write(PropertyBuffer::default(), text, out, |properties, into| {
            Unsuback { packet_id, properties, reasons: reasons.clone() }.encode(self.version, into);
        });
        self.dismiss_unless(fits, out);
    }
}

/// The nearest reason that SUBACK can carry (MQTT 5.0 table 3-8).
fn subscribe_reason(reason: Reason) -> Reason {
    match reason.code() {
        0..=2 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2 => reason,
        _ => Reason::UnspecifiedError,
    }
}

/// The nearest reason that UNSUBACK can carry (MQTT 5.0 table 3-9).
fn unsubscribe_reason(reason: Reason) -> Reason {
    match reason.code() {
        0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 => reason,
        _ => Reason::UnspecifiedError,
    }
}
