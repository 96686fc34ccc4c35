//! Everybody who takes part in a run: publishers, receivers, the sink.

use std::sync::mpsc::Sender;

use crate::faults::crash::group::{self, Group};
use crate::faults::crash::ledger::{Fault, Ledger, MessageId, Tick};
use crate::faults::crash::link::{Event, Posted};
use crate::faults::crash::publisher::Publisher;
use crate::faults::crash::receiver::Receiver;
use crate::faults::crash::retained;
use crate::faults::crash::sink::{self, Sink};
use crate::faults::crash::stage::{Deed, Stage};
use crate::harness::Outcome;

pub struct Cast {
    pub sink: Sink,
    publishers: Vec<Publisher>,
    receivers: Vec<Receiver>,
    group: Group,
}

/// Topics whose messages come behind all others at each receiver.
const FENCE: &str = "fence";
/// Ticks that a client may stay away, and the sink may take for its answer.
const AWAY: usize = 300;
const SINK_PATIENCE: usize = 15;

impl Cast {
    pub fn new(events: Sender<Event>) -> Outcome<Self> {
        let owned = |topics: &[&str]| topics.iter().map(|topic| (*topic).to_owned()).collect();
        let publishers = vec![
            Publisher::new("publisher-0".into(), true, owned(&["t/0", "t/1", "s/0"])),
            Publisher::new("publisher-1".into(), true, owned(&["t/2", "t/3", "s/1"])),
            Publisher::new("publisher-2".into(), true, owned(&retained::TOPICS)),
            Publisher::new("guest".into(), false, owned(&["t/guest"])),
        ];
        let changing = ["t/0", "t/1", "t/2"];
        let receivers = vec![
            Receiver::new("once", 2, &[FENCE, "t/+", "r/+"], &[], 20),
            Receiver::new("once-slowly", 2, &[FENCE, "t/3"], &changing, 4),
            Receiver::new("at-least-once", 1, &[FENCE, "t/guest", "r/0", "r/1"], &changing, 10),
            Receiver::new("member-0", 2, &[FENCE, group::FILTER], &[], 5),
            Receiver::new("member-1", 2, &[FENCE, group::FILTER], &[], 5),
            Receiver::new(RESTARTS, 2, &[FENCE], &changing, 10),
        ];
        Ok(Self { sink: Sink::start(events)?, publishers, receivers, group: Group::default() })
    }

    /// Everybody who belongs here and is away comes back.
    pub fn come(&mut self, stage: &mut Stage) -> Outcome {
        for publisher in self.publishers.iter_mut().filter(|publisher| publisher.client.link.is_none()) {
            publisher.connect(stage)?;
        }
        for receiver in self.receivers.iter_mut().filter(|receiver| receiver.client.link.is_none()) {
            receiver.connect(stage)?;
        }
        Ok(())
    }

    pub fn leave(&mut self, stage: &mut Stage) {
        for publisher in self.publishers.iter_mut().filter(|publisher| publisher.client.link.is_some()) {
            publisher.client.leave(stage, false);
        }
        for receiver in self.receivers.iter_mut().filter(|receiver| receiver.client.link.is_some()) {
            receiver.leave(stage, false);
        }
    }

    /// Those whose sessions end with them go; they leave unacknowledged what they got.
    pub fn dismiss(&mut self, stage: &mut Stage) {
        for guest in self.publishers.iter_mut().filter(|publisher| !publisher.client.persistent) {
            guest.client.leave(stage, true);
        }
    }

    /// Each does something, now and then.
    pub fn act(&mut self, stage: &mut Stage) -> Outcome {
        for publisher in &mut self.publishers {
            if publisher.client.link.is_none() {
                if stage.ledger.now >= publisher.client.away_until {
                    publisher.connect(stage)?;
                }
            } else if publisher.client.open && stage.random.one_in(400) {
                publisher.client.leave(stage, false);
                publisher.client.away_until = stage.ledger.now + stage.random.below(AWAY) as Tick;
            } else {
                publisher.work(stage);
            }
        }
        for receiver in &mut self.receivers {
            if receiver.client.link.is_none() {
                if stage.ledger.now >= receiver.client.away_until {
                    receiver.connect(stage)?;
                }
            } else if receiver.client.open && stage.random.one_in(300) {
                let politely = stage.random.one_in(2);
                receiver.leave(stage, politely);
                receiver.client.away_until = stage.ledger.now + stage.random.below(AWAY) as Tick;
            } else if receiver.client.id == RESTARTS && receiver.client.open && stage.random.one_in(200) {
                receiver.restart(stage)?;
            } else if !receiver.changing.is_empty() && stage.random.one_in(80) {
                let filter = receiver.changing[stage.random.below(receiver.changing.len())].clone();
                receiver.change(stage, &filter);
            }
        }
        Ok(())
    }

    pub fn handle(&mut self, stage: &mut Stage, event: Event) {
        match event {
            Event::Packet { link, packet } => {
                if let Some(publisher) = self.publishers.iter_mut().find(|one| one.client.is_on(link)) {
                    publisher.handle(stage, packet);
                } else if let Some(receiver) = self.receivers.iter_mut().find(|one| one.client.is_on(link)) {
                    receiver.handle(stage, &mut self.group, packet);
                }
            }
            Event::Closed { link, nonsense } => {
                if let Some(nonsense) = nonsense {
                    stage.ledger.violate(Fault::Refused, "a client", None, nonsense);
                }
                if let Some(publisher) = self.publishers.iter_mut().find(|one| one.client.is_on(link)) {
                    publisher.client.lose(stage);
                } else if let Some(receiver) = self.receivers.iter_mut().find(|one| one.client.is_on(link)) {
                    receiver.lose(stage);
                }
            }
            Event::Posted(posted) => self.post(stage, posted),
        }
    }

    /// Does what was put off.
    pub fn perform(&mut self, stage: &mut Stage, deed: Deed) {
        match deed {
            Deed::Send { link, who, bytes, about, what } => {
                let publishers = self.publishers.iter_mut().map(|one| &mut one.client);
                let receivers = self.receivers.iter_mut().map(|one| &mut one.client);
                if let Some(client) = publishers.chain(receivers).find(|client| client.is_on(link)) {
                    if about.is_some() {
                        stage.ledger.note(&who, about, format!("sends {what}"));
                    }
                    client.send(&bytes);
                }
            }
            Deed::Answer { answer, status, message } => {
                if status == 200 {
                    self.sink.receive(&mut stage.ledger, message);
                }
                // The gateway may have gone meanwhile.
                let _ = answer.send(status);
            }
        }
    }

    /// The gateway has nothing left to answer, and no exactly-once exchange is half done.
    pub fn is_settled(&self) -> bool {
        self.publishers.iter().all(|publisher| publisher.client.open && publisher.is_idle())
            && self.receivers.iter().all(|receiver| receiver.is_settled() && receiver.is_released())
    }

    pub fn is_gone(&self) -> bool {
        self.publishers.iter().all(|publisher| publisher.client.link.is_none())
            && self.receivers.iter().all(|receiver| receiver.client.link.is_none())
    }

    /// One message at each QoS, after which no receiver gets anything that was published before.
    pub fn publish_fences(&mut self, stage: &mut Stage) -> [MessageId; 2] {
        [1, 2].map(|qos| {
            let fence = stage.ledger.create(FENCE, qos, false, 0);
            self.publishers[0].publish(stage, fence);
            fence
        })
    }

    /// Nothing that is owed can still be on its way. A group and a sink have no fence.
    pub fn is_complete(&self, ledger: &Ledger, first: usize, fences: &[MessageId]) -> bool {
        self.receivers.iter().all(|receiver| fences.iter().all(|fence| receiver.got.has(*fence)))
            && self.group.missing(ledger, first).next().is_none()
            && self.sink.missing(ledger, first).next().is_none()
    }

    /// Everything from this message on has come to everybody who was to get it.
    pub fn judge(&self, ledger: &mut Ledger, first: usize) {
        let mut missing: Vec<(String, MessageId)> = Vec::new();
        for receiver in &self.receivers {
            let who = &receiver.client.id;
            missing.extend(receiver.missing(ledger, first).into_iter().map(|id| (who.clone(), id)));
        }
        missing.extend(self.group.missing(ledger, first).map(|id| ("the group".to_owned(), id)));
        missing.extend(self.sink.missing(ledger, first).map(|id| (sink::WHO.to_owned(), id)));
        for (who, id) in missing {
            ledger.violate(Fault::Lost, &who, Some(id), "it was acknowledged, and did not come".into());
        }
    }

    /// Who waits for what, in words.
    pub fn waiting(&self) -> String {
        let publishers = self.publishers.iter().filter(|one| !one.client.open || !one.is_idle());
        let publishers = publishers.map(|one| format!("{} (open {})", one.client.id, one.client.open));
        let receivers = self.receivers.iter().filter(|one| !one.is_settled() || !one.is_released());
        let receivers = receivers.map(|one| {
            let (open, settled) = (one.client.open, one.is_settled());
            format!("{} (open {open}, answered {settled}, released {})", one.client.id, one.is_released())
        });
        format!("waiting: {}", publishers.chain(receivers).collect::<Vec<_>>().join(", "))
    }

    fn post(&mut self, stage: &mut Stage, posted: Posted) {
        let Posted { topic, payload, answer } = posted;
        let Some(message) = stage.ledger.identify(&topic, payload.as_bytes()) else {
            let text = format!("on {topic} it gets what nobody sent: {payload:?}");
            return stage.ledger.violate(Fault::Altered, sink::WHO, None, text);
        };
        let status = if !stage.calm && stage.random.one_in(12) { 503 } else { 200 };
        stage.put_off(Deed::Answer { answer, status, message }, SINK_PATIENCE, 0);
    }
}

/// The receiver that begins anew now and then.
const RESTARTS: &str = "restarts";
