use std::collections::BTreeMap;

use gateway_model::{Outgoing, Qos, Reason, Topic};

use crate::violation::Violation;

/// The topics a client has given numbers (MQTT 5.0 section 3.3.2.3.4). They live as long as the
/// connection. Grows with the highest number used, up to the Topic Alias Maximum.
#[derive(Debug, Default)]
pub(crate) struct Aliases(Vec<Option<Topic>>);

impl Aliases {
    pub(crate) fn set(&mut self, alias: u16, topic: Topic, maximum: u16) -> Result<(), Violation> {
        let index = index(alias, maximum)?;
        if self.0.len() <= index {
            self.0.resize(index + 1, None);
        }
        self.0[index] = Some(topic);
        Ok(())
    }

    pub(crate) fn get(&self, alias: u16, maximum: u16) -> Result<Topic, Violation> {
        let index = index(alias, maximum)?;
        let topic = self.0.get(index).and_then(Option::as_ref);
        topic.cloned().ok_or(Violation::protocol("topic alias was never set"))
    }
}

fn index(alias: u16, maximum: u16) -> Result<usize, Violation> {
    if alias == 0 || alias > maximum {
        let text = "topic alias is 0 or above mqtt.topic_alias_maximum";
        return Err(Violation::new(Reason::TopicAliasInvalid, text));
    }
    Ok(usize::from(alias) - 1)
}

/// The topics that have a number towards the client.
///
/// The first topics get one each. When all numbers are given away, a hand goes round them, slowly,
/// and takes a number from a topic that was not sent since it last came by. It moves only with every
/// fourth topic that has no number: so topics that come round in a circle larger than the numbers
/// do not push each other out, and the ones that have a number keep saving bytes.
#[derive(Debug, Default)]
pub(crate) struct OutgoingAliases {
    numbers: BTreeMap<Topic, u16>,
    /// By number, less one.
    slots: Vec<Slot>,
    /// The slot of the topic last found: receivers often get one topic again and again.
    last: u16,
    hand: u16,
    misses: u8,
}

#[derive(Debug)]
struct Slot {
    topic: Topic,
    sent: bool,
}

/// How a topic stands to its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutgoingAlias {
    /// Without any.
    None,
    /// The client knows it: the topic is left out.
    Known(u16),
    /// The client learns it with this packet. It counts only after [`OutgoingAliases::learn`].
    New(u16),
}

impl OutgoingAlias {
    pub(crate) fn number(self) -> Option<u16> {
        match self {
            Self::None => None,
            Self::Known(number) | Self::New(number) => Some(number),
        }
    }
}

impl OutgoingAliases {
    /// A topic this long saves more with its second packet than its first one cost: the property
    /// takes three bytes each time.
    const TOPIC_LEN_MIN: usize = 7;
    /// How many topics without a number let the hand move once.
    const PATIENCE: u8 = 4;

    /// Whether a delivery may use one. A receiver may keep a QoS 2 publish until its PUBREL, even on
    /// a later connection, on which the alias means nothing: those name their topic. (npm mqtt does
    /// keep them, without the topic.)
    pub(crate) fn are_for(outgoing: &Outgoing) -> bool {
        outgoing.topic().len() >= Self::TOPIC_LEN_MIN && outgoing.qos != Qos::ExactlyOnce
    }

    /// What a packet to this topic may use, of `maximum` numbers.
    pub(crate) fn look_up(&mut self, topic: &str, maximum: u16) -> OutgoingAlias {
        if let Some(slot) = self.slots.get_mut(usize::from(self.last)).filter(|slot| &*slot.topic == topic) {
            slot.sent = true;
            return OutgoingAlias::Known(self.last + 1);
        }
        if let Some(&number) = self.numbers.get(topic) {
            self.last = number - 1;
            self.slots[usize::from(self.last)].sent = true;
            return OutgoingAlias::Known(number);
        }
        if self.slots.len() < usize::from(maximum) {
            return OutgoingAlias::New(self.slots.len() as u16 + 1);
        }
        self.misses += 1;
        if self.misses < Self::PATIENCE {
            return OutgoingAlias::None;
        }
        self.misses = 0;
        let at = usize::from(self.hand);
        self.hand = if at + 1 < self.slots.len() { self.hand + 1 } else { 0 };
        match self.slots.get_mut(at).map(|slot| std::mem::take(&mut slot.sent)) {
            Some(false) => OutgoingAlias::New(at as u16 + 1),
            _ => OutgoingAlias::None,
        }
    }

    /// The packet that tells the client the number is written.
    #[cold]
    pub(crate) fn learn(&mut self, number: u16, outgoing: &Outgoing) {
        let topic = match outgoing.mount_len {
            0 => outgoing.message.topic.clone(),
            _ => match Topic::parse(outgoing.topic()) {
                Ok(topic) => topic,
                Err(_) => return,
            },
        };
        let slot = Slot { topic: topic.clone(), sent: false };
        match self.slots.get_mut(usize::from(number) - 1) {
            Some(known) => {
                let gone = std::mem::replace(known, slot);
                self.numbers.remove(&gone.topic);
            }
            None => self.slots.push(slot),
        }
        self.numbers.insert(topic, number);
    }
}
