use std::sync::Arc;

use parking_lot::Mutex;

use crate::Session;
use crate::routes::Subscriber;

/// The members of one shared subscription, `$share/{name}/{filter}`: each message goes to one of
/// them (MQTT 5.0 section 4.8.2).
pub(crate) struct Group {
    pub(crate) name: Box<str>,
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    list: Vec<Subscriber>,
    /// Who is next.
    turn: usize,
}

impl Group {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.into(), members: Mutex::default() }
    }

    /// Adds a member or replaces its options; whether it is new.
    pub(crate) fn join(&self, subscriber: Subscriber) -> bool {
        let mut members = self.members.lock();
        match members.list.iter_mut().find(|member| member.session.number == subscriber.session.number) {
            Some(member) => {
                *member = subscriber;
                false
            }
            None => {
                members.list.push(subscriber);
                true
            }
        }
    }

    /// Whether nobody is left.
    pub(crate) fn leave(&self, session: &Session) -> bool {
        let mut members = self.members.lock();
        members.list.retain(|member| member.session.number != session.number);
        members.list.is_empty()
    }

    /// Round robin over the connected members; if none is, over all, whose queues then hold it.
    pub(crate) fn choose(&self) -> Option<Subscriber> {
        let mut members = self.members.lock();
        let count = members.list.len();
        let start = members.turn;
        let turns = (0..count).map(|offset| (start + offset) % count);
        let chosen = turns
            .clone()
            .find(|turn| members.list[*turn].session.is_attached())
            .or_else(|| turns.clone().next())?;
        members.turn = (chosen + 1) % count;
        Some(members.list[chosen].clone())
    }
}

pub(crate) type Groups = Vec<Arc<Group>>;
