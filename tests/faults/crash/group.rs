//! What the members of a shared subscription got together.

use std::collections::HashMap;

use crate::faults::crash::ledger::{Fault, Ledger, MessageId};

/// It is there before the first message, and stays.
#[derive(Default)]
pub struct Group {
    got: HashMap<MessageId, String>,
}

pub const FILTER: &str = "$share/group/s/+";

/// Whether a message on the topic is for the group.
pub fn is_shared(topic: &str) -> bool {
    topic.starts_with("s/")
}

impl Group {
    pub fn receive(&mut self, ledger: &mut Ledger, who: &str, id: MessageId, exactly_once: bool) {
        let earlier = self.got.insert(id, who.to_owned());
        if let Some(other) = earlier.filter(|_| exactly_once) {
            ledger.violate(
                Fault::Twice,
                who,
                Some(id),
                format!("the group has an exactly-once message twice, first at {other}"),
            );
        }
    }

    pub fn missing<'a>(&'a self, ledger: &'a Ledger, first: usize) -> impl Iterator<Item = MessageId> + 'a {
        let owed = ledger
            .since(first)
            .filter(|(_, message)| is_shared(&message.topic) && message.acknowledged.is_some());
        owed.map(|(id, _)| id).filter(|id| !self.got.contains_key(id))
    }
}
