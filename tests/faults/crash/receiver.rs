//! A client that subscribes, acknowledges with delays, and judges what it gets.

use std::collections::{BTreeMap, HashMap};

use crate::faults::crash::client::Client;
use crate::faults::crash::group::{self, Group};
use crate::faults::crash::history::{History, Wish};
use crate::faults::crash::ledger::{Fault, Ledger, MessageId, Tick};
use crate::faults::crash::packet::{self, Packet, Publish};
use crate::faults::crash::stage::{Deed, Stage};
use crate::harness::Outcome;

pub struct Receiver {
    pub client: Client,
    /// It subscribes at this QoS, always.
    qos: u8,
    /// Filters for topics that it subscribes to at the beginning, and of which it gives some up again.
    fixed: Vec<String>,
    pub changing: Vec<String>,
    histories: BTreeMap<String, History>,
    /// The SUBSCRIBE or UNSUBSCRIBE that is under way, and whether it is to be repeated.
    asked: Option<Asked>,
    lost: bool,
    /// CONNECT with Clean Start is not acknowledged yet.
    restarting: bool,
    pub got: Receipts,
    acknowledgement_due: Tick,
    reception_due: Tick,
}

#[derive(Clone)]
struct Asked {
    wish: Wish,
    filters: Vec<String>,
}

/// What came.
#[derive(Default)]
pub struct Receipts {
    /// Packet identifiers that are not released, and what they name.
    held: HashMap<u16, MessageId>,
    /// By message: whether it came as an exactly-once delivery.
    all: HashMap<MessageId, bool>,
    on_link: HashMap<MessageId, usize>,
    /// The last of each topic and QoS that came for the first time.
    latest: HashMap<(String, u8), usize>,
}

/// Ticks that an acknowledgement may be put off.
const PATIENCE: usize = 20;

impl Receiver {
    pub fn new(id: &str, qos: u8, fixed: &[&str], changing: &[&str], receive_maximum: u16) -> Self {
        let owned = |filters: &[&str]| filters.iter().map(|filter| (*filter).to_owned()).collect();
        Self {
            client: Client::new(id.to_owned(), true, receive_maximum),
            qos,
            fixed: owned(fixed),
            changing: owned(changing),
            histories: BTreeMap::new(),
            asked: None,
            lost: false,
            restarting: false,
            got: Receipts::default(),
            acknowledgement_due: 0,
            reception_due: 0,
        }
    }

    pub fn connect(&mut self, stage: &mut Stage) -> Outcome {
        self.got.begin_link();
        self.client.connect(stage, self.restarting)
    }

    /// Ends the session; the next connection begins anew.
    pub fn restart(&mut self, stage: &mut Stage) -> Outcome {
        self.client.leave(stage, true);
        self.restarting = true;
        self.asked = None;
        self.histories.values_mut().for_each(|history| history.ask(Wish::Restart, stage.ledger.now));
        self.connect(stage)
    }

    /// Subscribes to a filter if it is not subscribed to, else the opposite.
    pub fn change(&mut self, stage: &mut Stage, filter: &str) {
        if self.client.open && self.asked.is_none() {
            let subscribed = self.histories.get(filter).is_some_and(History::is_subscribed);
            let wish = if subscribed { Wish::Unsubscribe } else { Wish::Subscribe };
            self.ask(stage, Asked { wish, filters: vec![filter.to_owned()] });
        }
    }

    /// It is there, and waits for no answer.
    pub fn is_settled(&self) -> bool {
        self.client.open && self.asked.is_none() && !self.restarting
    }

    /// No exactly-once delivery is half done.
    pub fn is_released(&self) -> bool {
        self.got.held.is_empty()
    }

    pub fn lose(&mut self, stage: &mut Stage) {
        self.client.lose(stage);
        self.lost = self.asked.is_some();
    }

    pub fn leave(&mut self, stage: &mut Stage, politely: bool) {
        self.client.leave(stage, politely);
        self.lost = self.asked.is_some();
    }

    /// What it must have got by now, and has not.
    pub fn missing(&self, ledger: &Ledger, first: usize) -> Vec<MessageId> {
        let owed = ledger.since(first).filter(|(id, message)| {
            let of = |(filter, history): (&String, &History)| {
                !group::is_shared(&message.topic) && covers(filter, &message.topic) && history.owes(message)
            };
            !message.clears && !self.got.all.contains_key(id) && self.histories.iter().any(of)
        });
        owed.map(|(id, _)| id).collect()
    }

    pub fn handle(&mut self, stage: &mut Stage, group: &mut Group, packet: Packet) {
        match packet {
            Packet::Connack { present, reason } => self.accept(stage, present, reason),
            Packet::Suback { reasons } => self.answered(stage, "SUBACK", &reasons),
            Packet::Unsuback { reasons } => self.answered(stage, "UNSUBACK", &reasons),
            Packet::Publish(publish) => self.receive(stage, group, publish),
            Packet::Pubrel { id } => self.release(stage, id),
            other => self.violate(stage, Fault::Refused, None, format!("it gets {other:?}")),
        }
    }

    fn accept(&mut self, stage: &mut Stage, present: bool, reason: u8) {
        let present = self.client.accept(stage, present, reason);
        if !present {
            self.got.held.clear();
        }
        if std::mem::take(&mut self.restarting) {
            self.histories.values_mut().for_each(|history| history.acknowledge(stage.ledger.now));
        }
        let filters = || self.fixed.iter().chain(&self.changing).cloned().collect();
        if !present {
            self.ask(stage, Asked { wish: Wish::Subscribe, filters: filters() });
        } else if let Some(asked) = self.asked.clone().filter(|_| self.lost) {
            self.ask(stage, asked);
        }
    }

    fn ask(&mut self, stage: &mut Stage, asked: Asked) {
        for filter in &asked.filters {
            self.histories.entry(filter.clone()).or_default().ask(asked.wish, stage.ledger.now);
        }
        let (wish, filters) = (asked.wish, &asked.filters);
        stage.ledger.note(&self.client.id, None, format!("asks to {wish:?} {filters:?}"));
        let bytes = match asked.wish {
            Wish::Subscribe => packet::subscribe(1, filters, self.qos),
            _ => packet::unsubscribe(1, filters),
        };
        self.client.send(&bytes);
        (self.asked, self.lost) = (Some(asked), false);
    }

    fn answered(&mut self, stage: &mut Stage, packet: &str, reasons: &[u8]) {
        let Some(asked) = self.asked.take() else {
            return self.violate(stage, Fault::Refused, None, format!("{packet} answers nothing"));
        };
        stage.ledger.acknowledgements += 1;
        stage.ledger.note(&self.client.id, None, format!("sees {packet} {reasons:02x?}"));
        let good = |reason: &u8| if packet == "SUBACK" { *reason == self.qos } else { *reason < 0x80 };
        if reasons.len() != asked.filters.len() || !reasons.iter().all(good) {
            self.violate(stage, Fault::Refused, None, format!("{packet} says {reasons:02x?}"));
        }
        // The subscription is there, and the gateway has said that it is not (No subscription existed).
        if asked.wish == Wish::Unsubscribe && reasons.contains(&0x11) && !self.asked_twice(&asked) {
            self.violate(stage, Fault::SubscriptionGone, None, format!("of {:?}", asked.filters));
        }
        for filter in &asked.filters {
            if let Some(history) = self.histories.get_mut(filter) {
                history.acknowledge(stage.ledger.now);
            }
        }
    }

    fn asked_twice(&self, asked: &Asked) -> bool {
        asked.filters.iter().any(|filter| self.histories.get(filter).is_some_and(History::is_repeated))
    }

    fn receive(&mut self, stage: &mut Stage, group: &mut Group, publish: Publish) {
        let Publish { topic, id, qos, payload, .. } = publish;
        if payload.is_empty() {
            // A retained message was cleared: which time, nobody can tell.
            return self.answer(stage, qos, id, None);
        }
        let Some(message) = stage.ledger.identify(&topic, &payload) else {
            let text =
                format!("on {topic} it gets what nobody sent: {:?}", String::from_utf8_lossy(&payload));
            return self.violate(stage, Fault::Altered, None, text);
        };
        let who = self.client.id.clone();
        let repeated = if publish.duplicate { " again" } else { "" };
        stage.ledger.note(&who, Some(message), format!("gets it{repeated} at QoS {qos} as {id}"));
        let known = if qos == 2 { self.got.held.insert(id, message) } else { None };
        match known {
            None => self.judge(stage, group, message, qos),
            Some(other) if other != message => {
                let text = format!("{id} names it while it still names another");
                self.violate(stage, Fault::Altered, Some(message), text);
            }
            // The standard's way to tell that it is the same.
            Some(_) => {}
        }
        self.answer(stage, qos, id, Some(message));
    }

    /// Of a message that is not known by its packet identifier.
    fn judge(&mut self, stage: &mut Stage, group: &mut Group, id: MessageId, qos: u8) {
        let message = stage.ledger.message(id);
        let shared = group::is_shared(&message.topic);
        let wanted = |(filter, history): (&String, &History)| {
            covers(filter, &message.topic) && history.permits(message)
        };
        if !self.histories.iter().any(wanted) {
            let text = format!("it is not subscribed to {}", message.topic);
            return self.violate(stage, Fault::Unsubscribed, Some(id), text);
        }
        let expected = message.qos.min(self.qos);
        let exactly_once = message.qos == 2 && qos == 2;
        if shared {
            group.receive(&mut stage.ledger, &self.client.id, id, exactly_once);
        } else {
            let saw_first = |(filter, history): (&String, &History)| {
                covers(filter, &message.topic) && history.saw_first(message)
            };
            let ordered = !message.abandoned && (message.times == 1 || self.histories.iter().any(saw_first));
            self.got.take(&mut stage.ledger, &self.client.id, id, exactly_once, ordered);
        }
        if qos != expected {
            self.violate(stage, Fault::WrongQos, Some(id), format!("QoS {qos}, not {expected}"));
        }
    }

    fn answer(&mut self, stage: &mut Stage, qos: u8, id: u16, about: Option<MessageId>) {
        let (what, bytes) = match qos {
            0 => return,
            1 => ("PUBACK", packet::puback(id)),
            _ => ("PUBREC", packet::pubrec(id)),
        };
        let deed = self.deed(what, bytes, about);
        let due = if qos == 1 { &mut self.acknowledgement_due } else { &mut self.reception_due };
        *due = stage.put_off(deed, PATIENCE, *due);
    }

    fn release(&mut self, stage: &mut Stage, id: u16) {
        let message = self.got.held.remove(&id);
        stage.ledger.note(&self.client.id, message, format!("sees PUBREL of {id}"));
        let deed = self.deed("PUBCOMP", packet::pubcomp(id), message);
        if !stage.calm && stage.random.one_in(15) {
            // Not before all is calm, unless a crash or the end of the connection comes first.
            stage.put_off_until(deed, Tick::MAX);
        } else {
            stage.put_off(deed, PATIENCE, 0);
        }
    }

    fn deed(&self, what: &'static str, bytes: Vec<u8>, about: Option<MessageId>) -> Deed {
        Deed::Send { link: self.client.link_number(), who: self.client.id.clone(), bytes, about, what }
    }

    fn violate(&self, stage: &mut Stage, fault: Fault, message: Option<MessageId>, text: String) {
        stage.ledger.violate(fault, &self.client.id, message, text);
    }
}

impl Receipts {
    /// From now on what comes does so on another connection.
    pub fn begin_link(&mut self) {
        self.on_link.clear();
    }

    pub fn has(&self, id: MessageId) -> bool {
        self.all.contains_key(&id)
    }

    fn take(&mut self, ledger: &mut Ledger, who: &str, id: MessageId, exactly_once: bool, ordered: bool) {
        let message = ledger.message(id);
        let sent = if message.qos == 2 { 1 } else { message.times };
        let (topic, seq) = ((message.topic.clone(), message.qos), message.seq);
        let on_link = self.on_link.entry(id).or_default();
        *on_link += 1;
        if *on_link > sent {
            let text = format!("it gets it {on_link} times on one connection");
            ledger.violate(Fault::TooOften, who, Some(id), text);
        }
        match self.all.insert(id, exactly_once) {
            None => {
                let last = self.latest.entry(topic).or_default();
                let later = *last;
                *last = later.max(seq);
                if later > seq && ordered {
                    ledger.violate(Fault::OutOfOrder, who, Some(id), format!("it comes after {later}"));
                }
            }
            Some(true) if exactly_once => {
                ledger.violate(Fault::Twice, who, Some(id), "it gets an exactly-once message twice".into());
            }
            Some(_) => {}
        }
    }
}

/// Whether a filter, with a last level of `+` at most, matches the topic.
fn covers(filter: &str, topic: &str) -> bool {
    let filter = if filter == group::FILTER { "s/+" } else { filter };
    match filter.strip_suffix('+') {
        Some(prefix) => topic.strip_prefix(prefix).is_some_and(|last| !last.contains('/')),
        None => filter == topic,
    }
}
