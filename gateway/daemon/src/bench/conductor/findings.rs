use gateway_model::Qos;
use protocol_mqtt::codec::Version;

use super::{Conductor, Mark, per_second};
use crate::bench::clock::{nanos, seconds};
use crate::bench::failures::Failure;
use crate::bench::options::FlowOptions;
use crate::bench::summary::{BrokerCost, Connections, Error, GeneratorCost, Messages, Percentiles, Summary};

/// The moments of a run between which something is measured.
pub(super) struct Marks {
    /// Before the first connection.
    pub(super) before: Mark,
    /// All are there that will be.
    pub(super) connected: Mark,
    /// The measured part.
    pub(super) from: Mark,
    pub(super) to: Mark,
    /// Nothing is under way any more; the clients are still there.
    pub(super) end: Mark,
}

impl Conductor<'_> {
    pub(super) fn summary(&self, marks: &Marks) -> Summary {
        let (roster, flow) = (&self.run.roster, self.plan.flow.as_ref());
        let (from, to) = (&marks.from, &marks.to);
        let handled = match (to.tally.received - from.tally.received, to.tally.sent - from.tally.sent) {
            (0, sent) => sent,
            (received, _) => received,
        };
        let own_cpu = nanos(to.own_cpu.saturating_sub(from.own_cpu));
        Summary {
            command: self.plan.command,
            complete: self.is_complete(&marks.end),
            interrupted: self.interrupts > 0,
            mqtt_version: match self.run.subject.version {
                Version::V31 => "3.1",
                Version::V311 => "3.1.1",
                Version::V5 => "5",
            },
            qos: self.run.subject.qos as u8,
            publishers: roster.publishers,
            subscribers: roster.subscribers,
            threads: roster.threads,
            payload_bytes: flow.map(|flow| flow.size),
            window_messages: flow.filter(|flow| flow.rate().is_none()).map(|flow| flow.window),
            rate_per_publisher_per_second: flow.and_then(FlowOptions::rate),
            connections: self.connections(&marks.before, &marks.end),
            messages: (self.plan.command != "connect").then(|| self.messages(from, to)),
            delivery_us: Percentiles::of(&self.total.delivery),
            acknowledgement_us: Percentiles::of(&self.total.acknowledgement),
            broker: self.broker_cost(marks, handled),
            generator: GeneratorCost {
                cpu_us_per_message: micros_each(own_cpu, handled),
                cpus: rounded(own_cpu as f64 / (to.at - from.at).max(1) as f64, 3),
            },
            errors: self.errors(),
        }
    }

    fn is_complete(&self, end: &Mark) -> bool {
        let (tally, qos) = (&self.total.tally, self.run.subject.qos);
        let publishes = self.run.roster.publishers > 0;
        let is_unanswered =
            publishes && qos > Qos::AtMostOnce && tally.acknowledged < tally.sent || end.tally.blocked > 0;
        let is_repeated = publishes && qos == Qos::ExactlyOnce && tally.duplicates > 0;
        tally.established == self.plan.members()
            && tally.lost_connections == 0
            && tally.lost() == 0
            && !is_unanswered
            && !is_repeated
            && self.plan.end.received.is_none_or(|count| tally.arrived() >= count)
    }

    fn connections(&self, before: &Mark, end: &Mark) -> Connections {
        let tally = &self.total.tally;
        let elapsed = end.tally.established_at.saturating_sub(before.at);
        Connections {
            asked: u32::try_from(self.plan.members()).unwrap_or(u32::MAX),
            established: tally.established,
            refused: tally.refused,
            lost: tally.lost_connections,
            seconds: rounded(seconds(elapsed), 3),
            per_second: per_second(tally.established, elapsed).round(),
            connack_us: Percentiles::of(&self.total.connect),
        }
    }

    fn messages(&self, from: &Mark, to: &Mark) -> Messages {
        let tally = &self.total.tally;
        let elapsed = self.elapsed(from, to);
        let rate = |of: fn(&Mark) -> u64| per_second(of(to) - of(from), elapsed).round();
        Messages {
            sent: tally.sent,
            acknowledged: tally.acknowledged,
            denied: tally.denied,
            received: tally.received,
            lost: tally.lost(),
            duplicates: tally.duplicates,
            out_of_order: tally.out_of_order,
            unexpected: tally.unexpected,
            stalls: tally.stalls,
            unsent: tally.unsent,
            seconds: rounded(seconds(elapsed), 3),
            sent_per_second: rate(|mark| mark.tally.sent),
            acknowledged_per_second: rate(|mark| mark.tally.acknowledged),
            received_per_second: rate(|mark| mark.tally.received),
        }
    }

    /// How long it took that is measured, without the time in which nothing could come.
    fn elapsed(&self, from: &Mark, to: &Mark) -> u64 {
        let tally = &to.tally;
        match self.plan.flow {
            None if tally.arrived_from > 0 => tally.progress_at - tally.arrived_from,
            Some(_) if self.plan.end.after.is_none() && tally.progress_at > from.at => {
                tally.progress_at - from.at
            }
            _ => to.at - from.at,
        }
    }

    fn broker_cost(&self, marks: &Marks, handled: u64) -> Option<BrokerCost> {
        let Marks { before, connected, from, to, .. } = marks;
        let clients = connected.tally.established.max(1);
        let grown = connected.broker.rss_bytes as i64 - before.broker.rss_bytes as i64;
        let connecting = connected.broker.cpu_nanos.saturating_sub(before.broker.cpu_nanos);
        let cpu = to.broker.cpu_nanos.saturating_sub(from.broker.cpu_nanos);
        Some(BrokerCost {
            pid: self.broker?.pid(),
            threads: to.broker.threads,
            rss_before_bytes: before.broker.rss_bytes,
            rss_connected_bytes: connected.broker.rss_bytes,
            rss_after_bytes: to.broker.rss_bytes,
            bytes_per_connection: grown / clients as i64,
            cpu_us_per_connection: micros_each(connecting, clients).unwrap_or(0.0),
            cpu_us_per_message: micros_each(cpu, handled),
            cpus: rounded(cpu as f64 / (to.at - from.at).max(1) as f64, 3),
        })
    }

    fn errors(&self) -> Vec<Error> {
        let error = |(kind, failure): (&str, &Failure)| Error {
            kind: kind.to_owned(),
            count: failure.count,
            first: failure.first.clone(),
        };
        self.total.failures.iter().map(error).collect()
    }
}

/// Microseconds for each of so many; `None` of nothing.
fn micros_each(nanos: u64, count: u64) -> Option<f64> {
    (count > 0).then(|| rounded(nanos as f64 / 1000.0 / count as f64, 3))
}

fn rounded(value: f64, digits: i32) -> f64 {
    let power = 10_f64.powi(digits);
    (value * power).round() / power
}
