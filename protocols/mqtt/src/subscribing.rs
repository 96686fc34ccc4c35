use std::num::{NonZeroU16, NonZeroU32};

use gateway_model::{Reason, Request, Sink, Subscription, Ticket, TopicFilter};

use crate::codec::{Properties, Property, RequestedFilter, Suback, Subscribe, Unsuback, Unsubscribe};
use crate::connection::{Connection, Kind};
use crate::violation::Violation;

/// A SUBSCRIBE or UNSUBSCRIBE some of whose filters are none: the others have been asked for.
pub(crate) struct PartlyInvalid {
    ticket: Ticket,
    /// One per filter of the packet: whether it was asked for.
    asked: Vec<bool>,
}

impl Connection {
    pub(crate) fn subscribe(&mut self, body: &[u8], out: &mut dyn Sink) -> Result<(), Violation> {
        let packet = Subscribe::decode(self.version, body, self.config.packet_filters_max.into())?;
        let identifier = packet.properties.iter().find_map(|property| match property {
            Property::SubscriptionIdentifier(identifier) => NonZeroU32::new(identifier),
            _ => None,
        });
        let mut subscriptions = Vec::with_capacity(packet.filters.len());
        let mut asked = Vec::with_capacity(packet.filters.len());
        for requested in &packet.filters {
            let subscription = subscription(requested, identifier)?;
            asked.push(subscription.is_some());
            subscriptions.extend(subscription);
        }
        let ticket = self.request_ticket(packet.packet_id);
        if subscriptions.is_empty() {
            let reasons = vec![Reason::TopicFilterInvalid; asked.len()];
            self.write_suback(packet.packet_id, reasons, out);
            return Ok(());
        }
        self.note_invalid(ticket, asked);
        self.reply_is_due = true;
        out.request(ticket, Request::Subscribe(subscriptions));
        Ok(())
    }

    pub(crate) fn unsubscribe(&mut self, body: &[u8], out: &mut dyn Sink) -> Result<(), Violation> {
        let packet = Unsubscribe::decode(self.version, body, self.config.packet_filters_max.into())?;
        let mut filters = Vec::with_capacity(packet.filters.len());
        let mut asked = Vec::with_capacity(packet.filters.len());
        for text in &packet.filters {
            let filter = TopicFilter::parse(text).ok();
            asked.push(filter.is_some());
            filters.extend(filter);
        }
        let ticket = self.request_ticket(packet.packet_id);
        if filters.is_empty() {
            let reasons = vec![Reason::TopicFilterInvalid; asked.len()];
            self.write_unsuback(packet.packet_id, reasons, out);
            return Ok(());
        }
        self.note_invalid(ticket, asked);
        self.reply_is_due = true;
        out.request(ticket, Request::Unsubscribe(filters));
        Ok(())
    }

    pub(crate) fn subscribed(&mut self, ticket: Ticket, reasons: Vec<Reason>, out: &mut dyn Sink) {
        self.reply_is_due = false;
        if let Some(packet_id) = packet_id(ticket) {
            let reasons = self.with_invalid(ticket, reasons);
            self.write_suback(packet_id, reasons.into_iter().map(subscribe_reason).collect(), out);
        }
    }

    pub(crate) fn unsubscribed(&mut self, ticket: Ticket, reasons: Vec<Reason>, out: &mut dyn Sink) {
        self.reply_is_due = false;
        if let Some(packet_id) = packet_id(ticket) {
            let reasons = self.with_invalid(ticket, reasons);
            self.write_unsuback(packet_id, reasons.into_iter().map(unsubscribe_reason).collect(), out);
        }
    }

    fn request_ticket(&mut self, packet_id: NonZeroU16) -> Ticket {
        self.requests = self.requests.wrapping_add(1);
        Kind::Request.ticket(u64::from(self.requests) << 16 | u64::from(packet_id.get()))
    }

    fn note_invalid(&mut self, ticket: Ticket, asked: Vec<bool>) {
        if asked.contains(&false) {
            self.inflow().partly_invalid.push(PartlyInvalid { ticket, asked });
        }
    }

    /// Puts the reasons of the filters that were not asked for between those that were.
    fn with_invalid(&mut self, ticket: Ticket, reasons: Vec<Reason>) -> Vec<Reason> {
        let Some(inflow) = &mut self.inflow else { return reasons };
        let Some(index) = inflow.partly_invalid.iter().position(|noted| noted.ticket == ticket) else {
            return reasons;
        };
        let noted = inflow.partly_invalid.swap_remove(index);
        let mut answered = reasons.into_iter();
        let reason_of = |asked: bool| match asked {
            true => answered.next().unwrap_or(Reason::UnspecifiedError),
            false => Reason::TopicFilterInvalid,
        };
        noted.asked.into_iter().map(reason_of).collect()
    }

    fn write_suback(&self, packet_id: NonZeroU16, reasons: Vec<Reason>, out: &mut dyn Sink) {
        Suback { packet_id, properties: Properties::default(), reasons }
            .encode(self.version, out.wire().as_mut_vec());
    }

    fn write_unsuback(&self, packet_id: NonZeroU16, reasons: Vec<Reason>, out: &mut dyn Sink) {
        Unsuback { packet_id, properties: Properties::default(), reasons }
            .encode(self.version, out.wire().as_mut_vec());
    }
}

/// `None` if the filter is none.
fn subscription(
    requested: &RequestedFilter<'_>,
    identifier: Option<NonZeroU32>,
) -> Result<Option<Subscription>, Violation> {
    let Ok(filter) = TopicFilter::parse(requested.filter) else { return Ok(None) };
    if requested.no_local && filter.group().is_some() {
        return Err(Violation::protocol("no local on a shared subscription")); // MQTT-3.8.3-4
    }
    Ok(Some(Subscription {
        filter,
        qos: requested.qos,
        no_local: requested.no_local,
        retain_as_published: requested.retain_as_published,
        retain_handling: requested.retain_handling,
        identifier,
    }))
}

fn packet_id(ticket: Ticket) -> Option<NonZeroU16> {
    NonZeroU16::new(Kind::Request.number(ticket)? as u16)
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
