use std::task::Poll;

use gateway_model::{Qos, Reason};
use protocol_mqtt::codec::{Acknowledgement, Connack, Disconnect, Header, PacketType, Publish, Suback};

use super::Worker;
use crate::bench::client::{Client, Phase};
use crate::bench::roster::Member;
use crate::bench::stamp::Stamp;
use crate::bench::stream::Arrival;
use crate::bench::tally::Live;
use crate::bench::web::Piece;
use crate::client::{ClientError, Said, tls_explained};

impl Worker {
    /// Reads what there is.
    pub(super) fn read(&mut self, index: u32, live: &mut Live) {
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            let opened = self.clients.get_mut(index as usize).and_then(Client::open);
            let Some((open, mut context)) = opened else { break };
            let phase = open.phase;
            let error = match open.line.poll_read(&mut context, &mut buffer) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => closed(phase),
                Poll::Ready(Err(error)) => ClientError::Lost(tls_explained(&error)),
                Poll::Ready(Ok(count)) => match self.take(index, &buffer[..count], live) {
                    Ok(()) => continue,
                    Err(error) => error,
                },
            };
            self.fail(index, &error, live);
            break;
        }
        self.buffer = buffer;
    }

    fn take(&mut self, index: u32, mut bytes: &[u8], live: &mut Live) -> Result<(), ClientError> {
        let now = self.run.clock.now();
        loop {
            let opened = self.clients.get_mut(index as usize).and_then(Client::open);
            let Some((open, _)) = opened else { return Ok(()) };
            let Some(reader) = &mut open.line.web else { return self.take_mqtt(index, bytes, now, live) };
            match reader.next(&mut bytes)? {
                None => return Ok(()),
                Some(Piece::Bytes(piece)) => self.take_mqtt(index, piece, now, live)?,
                Some(Piece::Close) => return Err(closed(open.phase)),
                Some(Piece::Ping(ping)) => {
                    open.line.put_pong(&mut self.spare, &ping);
                    if !std::mem::replace(&mut open.line.is_dirty, true) {
                        self.dirty.push(index);
                    }
                }
            }
        }
    }

    /// Bytes of MQTT, from anywhere to anywhere.
    fn take_mqtt(&mut self, index: u32, bytes: &[u8], now: u64, live: &mut Live) -> Result<(), ClientError> {
        let opened = self.clients.get_mut(index as usize).and_then(Client::open);
        let Some((open, _)) = opened else { return Ok(()) };
        let mut partial = std::mem::take(&mut open.line.partial);
        let rest = if partial.is_empty() {
            let used = self.packets(index, bytes, now, live)?;
            partial.extend_from_slice(bytes.get(used..).unwrap_or_default());
            partial
        } else {
            partial.extend_from_slice(bytes);
            let used = self.packets(index, &partial, now, live)?;
            partial.drain(..used.min(partial.len()));
            partial
        };
        if !rest.is_empty()
            && let Some((open, _)) = self.clients.get_mut(index as usize).and_then(Client::open)
        {
            open.line.partial = rest;
        }
        Ok(())
    }

    /// Takes the whole packets; how many bytes that were.
    fn packets(&mut self, index: u32, bytes: &[u8], now: u64, live: &mut Live) -> Result<usize, ClientError> {
        let mut used = 0;
        while let Some(rest) = bytes.get(used..)
            && let Some(header) = Header::parse(rest)?
            && let Some(body) = rest.get(header.header_len..header.frame_len())
        {
            self.packet(index, header.first, body, now, live)?;
            used += header.frame_len();
        }
        Ok(used)
    }

    fn packet(
        &mut self,
        index: u32,
        first: u8,
        body: &[u8],
        now: u64,
        live: &mut Live,
    ) -> Result<(), ClientError> {
        let version = self.run.target.options.version;
        match PacketType::of(version, first)? {
            PacketType::Publish => {
                let publish = Publish::decode(version, first, body)?;
                let answer = match publish.qos {
                    Qos::AtMostOnce => None,
                    Qos::AtLeastOnce => Some(PacketType::Puback),
                    Qos::ExactlyOnce => Some(PacketType::Pubrec),
                };
                if let (Some(answer), Some(id)) = (answer, publish.packet_id) {
                    self.acknowledge(index, answer, Acknowledgement::new(id, Reason::Success));
                }
                self.arrived(index, publish.payload, now, live);
            }
            packet @ (PacketType::Puback | PacketType::Pubcomp) => {
                let packet = Acknowledgement::decode(version, packet, body)?;
                self.acknowledged(index, &packet, now, live);
            }
            packet @ PacketType::Pubrec => {
                let packet = Acknowledgement::decode(version, packet, body)?;
                if packet.reason.is_error() {
                    self.acknowledged(index, &packet, now, live);
                } else {
                    let answer = Acknowledgement::new(packet.packet_id, Reason::Success);
                    self.acknowledge(index, PacketType::Pubrel, answer);
                }
            }
            packet @ PacketType::Pubrel => {
                let packet = Acknowledgement::decode(version, packet, body)?;
                let answer = Acknowledgement::new(packet.packet_id, Reason::Success);
                self.acknowledge(index, PacketType::Pubcomp, answer);
            }
            PacketType::Connack => {
                self.on_connack(index, &Connack::decode(version, body)?, now, live)?;
            }
            PacketType::Suback => self.on_suback(index, &Suback::decode(version, body)?, now, live)?,
            PacketType::Disconnect => {
                let packet = Disconnect::decode(version, body)?;
                return Err(ClientError::Disconnected(Said::new(packet.reason, packet.properties)));
            }
            PacketType::Pingresp => {}
            other => return Err(ClientError::NoBroker(format!("a broker sends no {other:?}"))),
        }
        Ok(())
    }

    #[inline]
    fn acknowledge(&mut self, index: u32, packet: PacketType, answer: Acknowledgement<'_>) {
        let version = self.run.target.options.version;
        let Some((open, _)) = self.clients.get_mut(index as usize).and_then(Client::open) else { return };
        if open.put(&mut self.spare, |out| answer.encode(version, packet, out)) {
            self.dirty.push(index);
        }
    }

    fn on_suback(
        &mut self,
        index: u32,
        suback: &Suback<'_>,
        now: u64,
        live: &mut Live,
    ) -> Result<(), ClientError> {
        if let Some(reason) = suback.reasons.iter().find(|reason| reason.is_error()) {
            let said = Said::new(*reason, suback.properties);
            return Err(ClientError::Denied(format!("subscription refused by broker: {said}")));
        }
        let Some((open, _)) = self.clients.get_mut(index as usize).and_then(Client::open) else {
            return Ok(());
        };
        match open.phase {
            Phase::Suback(1) => self.is_up(index, now, live),
            Phase::Suback(left) => open.phase = Phase::Suback(left - 1),
            _ => return Err(ClientError::NoBroker("a SUBACK too many".to_owned())),
        }
        Ok(())
    }

    /// A message has been delivered.
    #[inline]
    fn arrived(&mut self, index: u32, payload: &[u8], now: u64, live: &mut Live) {
        let Some(client) = self.clients.get(index as usize) else { return };
        let tally = &mut live.tally;
        let arrival = match (Stamp::decode(payload), client.member) {
            (Some(stamp), Member::Subscriber(_)) => {
                let Some(subscriber) = self.subscribers.get_mut(client.place) else { return };
                let run = &self.run;
                let taken = subscriber.heard.take(stamp, run.subject.run, subscriber.number, &run.roster);
                taken.map(|arrival| (stamp, arrival))
            }
            _ => None,
        };
        let Some((stamp, arrival)) = arrival else {
            tally.unexpected += 1;
            return;
        };
        tally.received += 1;
        tally.progress_at = now;
        if tally.arrived_from == 0 {
            tally.arrived_from = now;
        }
        live.delivery.record(now.saturating_sub(stamp.at));
        // Between the members of a group there is no order: each arrival stands for itself.
        let is_group = self.run.group.is_some();
        let copies = match arrival {
            Arrival::Next { skipped } => {
                tally.missing = tally.missing.saturating_add(i64::try_from(skipped).unwrap_or(i64::MAX));
                if is_group { 1 } else { skipped.saturating_add(1) }
            }
            Arrival::Late => {
                tally.out_of_order += u64::from(!is_group);
                tally.missing = tally.missing.saturating_sub(1);
                u64::from(is_group)
            }
            Arrival::Duplicate => {
                tally.duplicates += 1;
                0
            }
        };
        if copies > 0 && self.run.roster.publishers > 0 {
            self.settle(stamp.publisher, copies, now);
        }
    }
}

fn closed(phase: Phase) -> ClientError {
    let text = match phase {
        Phase::Connack => "closed instead of an answer to CONNECT",
        Phase::Suback(_) | Phase::Up => "closed by the broker",
    };
    ClientError::Lost(text.to_owned())
}
