use std::num::NonZeroU16;
use std::sync::Arc;
use std::task::Poll;

use protocol_mqtt::codec::{Connack, Property, RequestedFilter, Subscribe};

use super::{Subscriber, Worker};
use crate::bench::client::{Client, Open, Phase, State};
use crate::bench::heard::{Heard, Streams};
use crate::bench::publisher::Publisher;
use crate::bench::roster::Member;
use crate::bench::run::Stage;
use crate::bench::tally::Live;
use crate::client::{ClientError, Said};

/// Filters in one SUBSCRIBE.
const FILTERS_PER_PACKET: usize = 100;

impl Worker {
    /// Begins as many connections as may be under way; when the next is due, if none is now.
    pub(super) fn open_more(&mut self, now: u64, live: &mut Live) -> u64 {
        if self.stage > Stage::Publishing {
            return u64::MAX;
        }
        let from = *self.opening_from.get_or_insert(now);
        while self.pending < self.run.concurrency {
            if let Some(pace) = &self.run.connect_pace {
                // Of all threads in turn, as the roster deals them.
                let due = from + pace.due(self.thread as u32, self.clients.len() as u64);
                if due > now {
                    return due;
                }
            }
            let Some(member) = self.members.next() else { return u64::MAX };
            self.begin(member, now, live);
        }
        u64::MAX
    }

    fn begin(&mut self, member: Member, now: u64, live: &mut Live) {
        let index = self.clients.len() as u32;
        let (run, roster) = (Arc::clone(&self.run), &self.run.roster);
        let (place, number) = match member {
            Member::Publisher(number) => {
                let (topic, copies) = (roster.topic(number), roster.copies(number));
                let subject = &self.run.subject;
                self.publishers.push(Publisher::new(subject, &self.filler, &topic, number, index, copies));
                (self.publishers.len() - 1, roster.subscribers + number)
            }
            Member::Subscriber(number) => {
                let group = self.run.group.as_ref().and_then(Heard::member);
                let heard = match (group, roster.publishers) {
                    (Some(group), _) => group,
                    (None, 0) => Heard::Anybody(Streams::default()),
                    (None, _) => Heard::known(roster.heard(number)),
                };
                self.subscribers.push(Subscriber { number, heard });
                (self.subscribers.len() - 1, number)
            }
        };
        let opening = Box::pin(async move { run.target.open(number).await });
        let ready = Arc::clone(&self.run.threads[self.thread].ready);
        self.clients.push(Client::new(&ready, index, member, place, opening, now));
        self.pending += 1;
        self.go_on_opening(index, now, live);
    }

    pub(super) fn go_on_opening(&mut self, index: u32, now: u64, live: &mut Live) {
        let Some(client) = self.clients.get_mut(index as usize) else { return };
        let member = client.member;
        let (state, mut context) = client.parts();
        let State::Opening(opening) = state else { return };
        let line = match opening.as_mut().poll(&mut context) {
            Poll::Pending => return,
            Poll::Ready(Err(error)) => return self.fail(index, &error, live),
            Poll::Ready(Ok(line)) => line,
        };
        let mut open = Box::new(Open::new(line, now));
        let client_id = self.run.roster.client_id(member);
        open.put(&mut self.spare, |out| self.run.target.put_connect(&client_id, out));
        *state = State::Open(open);
        self.dirty.push(index);
        // Whoever wants to be told of bytes has to have asked for some.
        self.read(index, live);
    }

    pub(super) fn on_connack(
        &mut self,
        index: u32,
        connack: &Connack<'_>,
        now: u64,
        live: &mut Live,
    ) -> Result<(), ClientError> {
        let version = self.run.target.options.version;
        if connack.reason.is_error() {
            return Err(ClientError::Refused {
                said: Said::new(connack.reason, connack.properties),
                version,
            });
        }
        let Some(client) = self.clients.get_mut(index as usize) else { return Ok(()) };
        let (member, opened_at) = (client.member, client.opened_at);
        let Some((open, _)) = client.open() else { return Ok(()) };
        if open.phase != Phase::Connack {
            return Err(ClientError::NoBroker("a second CONNACK".to_owned()));
        }
        live.connect.record(now.saturating_sub(opened_at));
        let mut keep_alive_secs = self.run.target.options.keep_alive;
        for property in connack.properties.iter() {
            match property {
                Property::ReceiveMaximum(maximum) => open.receive_maximum = maximum,
                Property::ServerKeepAliveSecs(secs) => keep_alive_secs = secs,
                _ => {}
            }
        }
        open.keep_alive_nanos = u64::from(keep_alive_secs) * 1_000_000_000;
        let filters = match member {
            Member::Subscriber(number) => self.run.roster.filters(number),
            Member::Publisher(_) => Vec::new(),
        };
        if filters.is_empty() {
            self.is_up(index, now, live);
            return Ok(());
        }
        open.phase = Phase::Suback(filters.len().div_ceil(FILTERS_PER_PACKET) as u32);
        let qos = self.run.subscription_qos;
        for (filters, id) in filters.chunks(FILTERS_PER_PACKET).zip(1..=u16::MAX) {
            let subscribe = Subscribe {
                packet_id: NonZeroU16::new(id).unwrap_or(NonZeroU16::MIN),
                properties: Default::default(),
                filters: filters.iter().map(|filter| RequestedFilter::new(filter, qos)).collect(),
            };
            if open.put(&mut self.spare, |out| subscribe.encode(version, out)) {
                self.dirty.push(index);
            }
        }
        Ok(())
    }

    /// The client is there.
    pub(super) fn is_up(&mut self, index: u32, now: u64, live: &mut Live) {
        let Some((open, _)) = self.clients.get_mut(index as usize).and_then(Client::open) else { return };
        open.phase = Phase::Up;
        self.pending -= 1;
        live.tally.connected += 1;
        live.tally.established += 1;
        live.tally.established_at = now;
    }
}
