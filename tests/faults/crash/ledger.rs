//! Every message that was ever sent, what clients were told about it, and what was wrong.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::harness::random::Random;

/// Counts what is noticed: the only clock here.
pub type Tick = u64;

/// The number of a message in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(usize);

pub struct Message {
    pub topic: String,
    /// Its place among the messages of its topic.
    pub seq: usize,
    pub qos: u8,
    /// Clears its topic's retained message: it has no payload, so nobody can tell which one it is.
    pub clears: bool,
    length: usize,
    /// When it was sent for the first time, and how often since.
    pub sent: Option<Tick>,
    pub times: usize,
    /// Its publisher will not send it again, whatever became of it.
    pub abandoned: bool,
    /// When PUBACK or PUBREC was seen.
    pub acknowledged: Option<Tick>,
}

/// What must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Acknowledged, and somebody who was to get it did not.
    Lost,
    /// Exactly-once, and delivered twice.
    Twice,
    /// Delivered on one connection more often than it was sent.
    TooOften,
    OutOfOrder,
    WrongQos,
    /// Delivered to a session that was not subscribed.
    Unsubscribed,
    /// A subscription is gone that was acknowledged.
    SubscriptionGone,
    /// A payload that nobody sent, or a packet identifier that still named something else.
    Altered,
    /// The session of a client is gone.
    SessionGone,
    /// A session is there that should have ended.
    SessionStays,
    Retained,
    /// A request was refused, or the gateway said something that it may not say.
    Refused,
    /// What has to come does not come.
    Stalled,
    /// The gateway's own account does not add up.
    Account,
}

pub struct Violation {
    pub fault: Fault,
    pub message: Option<MessageId>,
    pub who: String,
    text: String,
}

struct Note {
    at: Tick,
    who: String,
    message: Option<MessageId>,
    text: String,
}

#[derive(Default)]
pub struct Ledger {
    pub now: Tick,
    /// What clients have seen acknowledged, of any kind: by this a crash is timed.
    pub acknowledgements: usize,
    messages: Vec<Message>,
    by_topic: BTreeMap<String, Vec<MessageId>>,
    notes: Vec<Note>,
    violations: Vec<Violation>,
}

/// Enough of the log of a failure to see what happened.
const NOTES_SHOWN: usize = 60;
const SHOWN_OF_A_KIND: usize = 2;

impl Ledger {
    pub fn create(&mut self, topic: &str, qos: u8, clears: bool, length: usize) -> MessageId {
        let id = MessageId(self.messages.len());
        let of_topic = self.by_topic.entry(topic.to_owned()).or_default();
        let (topic, seq) = (topic.to_owned(), of_topic.len());
        of_topic.push(id);
        let (sent, acknowledged) = (None, None);
        let (times, abandoned) = (0, false);
        self.messages.push(Message { topic, seq, qos, clears, length, sent, times, abandoned, acknowledged });
        id
    }

    pub fn message(&self, id: MessageId) -> &Message {
        &self.messages[id.0]
    }

    /// All from this one on.
    pub fn since(&self, first: usize) -> impl Iterator<Item = (MessageId, &Message)> {
        self.messages.iter().enumerate().skip(first).map(|(number, message)| (MessageId(number), message))
    }

    pub fn of_topic(&self, topic: &str) -> impl Iterator<Item = &Message> {
        self.by_topic.get(topic).into_iter().flatten().map(|id| self.message(*id))
    }

    pub fn id_of(&self, topic: &str, seq: usize) -> Option<MessageId> {
        self.by_topic.get(topic)?.get(seq).copied()
    }

    pub fn count(&self) -> usize {
        self.messages.len()
    }

    pub fn send(&mut self, who: &str, id: MessageId, packet_id: u16) {
        let now = self.now;
        let message = &mut self.messages[id.0];
        message.sent.get_or_insert(now);
        message.times += 1;
        let (times, qos) = (message.times, message.qos);
        self.note(who, Some(id), format!("sends it at QoS {qos} as {packet_id}, {times}. time"));
    }

    /// What is still on its way on a connection that was cut may come after what is sent on the next one.
    pub fn abandon(&mut self, id: MessageId) {
        self.messages[id.0].abandoned = true;
    }

    pub fn acknowledge(&mut self, who: &str, id: MessageId, packet: &str) {
        let now = self.now;
        self.messages[id.0].acknowledged.get_or_insert(now);
        self.acknowledgements += 1;
        self.note(who, Some(id), format!("sees {packet}"));
    }

    /// What its payload is: nothing else is taken for it.
    pub fn payload(&self, id: MessageId) -> Vec<u8> {
        let message = self.message(id);
        if message.clears {
            return Vec::new();
        }
        let mut random = Random::new(id.0 as u64);
        let mut payload = format!("{} ", message.seq).into_bytes();
        payload.extend((0..message.length).map(|_| b'a' + random.below(26) as u8));
        payload
    }

    /// Which message it is, if it is one that was sent, unchanged.
    pub fn identify(&self, topic: &str, payload: &[u8]) -> Option<MessageId> {
        let digits = payload.split(|byte| *byte == b' ').next()?;
        let seq: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let id = self.id_of(topic, seq)?;
        (self.payload(id) == payload).then_some(id)
    }

    /// Writes down what somebody did or saw, of a message or of all.
    pub fn note(&mut self, who: &str, message: Option<MessageId>, text: String) {
        self.notes.push(Note { at: self.now, who: who.to_owned(), message, text });
    }

    pub fn violate(&mut self, fault: Fault, who: &str, message: Option<MessageId>, text: String) {
        self.note(who, message, format!("{fault:?}: {text}"));
        self.violations.push(Violation { fault, message, who: who.to_owned(), text });
    }

    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// What was wrong, the first of each kind with what is known about it, and how much else.
    pub fn report(&self) -> String {
        let mut report = String::new();
        let mut counts: BTreeMap<Fault, usize> = BTreeMap::new();
        for violation in &self.violations {
            let count = counts.entry(violation.fault).or_default();
            *count += 1;
            if *count <= SHOWN_OF_A_KIND {
                self.describe(&mut report, violation);
            }
        }
        let _ = writeln!(report, "  in all: {counts:?}");
        report
    }

    /// With what its client, and the message's publisher, have written down.
    fn describe(&self, report: &mut String, violation: &Violation) {
        let Violation { fault, message, who, text } = violation;
        let of = message.map(|id| {
            let message = self.message(id);
            format!(", message {} of {}", message.seq, message.topic)
        });
        let _ = writeln!(report, "  {fault:?}: {who}{}: {text}", of.unwrap_or_default());
        let relevant = |note: &&Note| match note.message {
            None => note.who == EVERYBODY || note.who == *who,
            Some(_) => note.message == *message,
        };
        let notes: Vec<&Note> = self.notes.iter().filter(relevant).collect();
        for note in &notes[notes.len().saturating_sub(NOTES_SHOWN)..] {
            let _ = writeln!(report, "    {:>7} {}: {}", note.at, note.who, note.text);
        }
    }
}

/// Who notes what concerns all clients.
pub const EVERYBODY: &str = "gateway";
