//! What a client asked for about one topic, and what of it was acknowledged: from this follows which
//! messages it must get, and which it must not.

use crate::faults::crash::ledger::{Message, Tick};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Subscribe,
    Unsubscribe,
    /// The session begins anew (Clean Start).
    Restart,
}

struct Change {
    wish: Wish,
    sent: Tick,
    acknowledged: Option<Tick>,
}

#[derive(Default)]
pub struct History(Vec<Change>);

impl History {
    pub fn ask(&mut self, wish: Wish, now: Tick) {
        self.0.push(Change { wish, sent: now, acknowledged: None });
    }

    /// The last that was asked for has been done.
    pub fn acknowledge(&mut self, now: Tick) {
        if let Some(last) = self.0.last_mut() {
            last.acknowledged.get_or_insert(now);
        }
    }

    /// What was asked for last is to be subscribed.
    pub fn is_subscribed(&self) -> bool {
        self.0.last().is_some_and(|last| last.wish == Wish::Subscribe)
    }

    /// What was asked for last was asked for before, and that may have been done already.
    pub fn is_repeated(&self) -> bool {
        let [.., before, last] = &self.0[..] else { return false };
        before.wish == last.wish
    }

    /// Whether the message must come: it was sent when a subscription was acknowledged, and was
    /// itself acknowledged before anything was done to end it.
    pub fn owes(&self, message: &Message) -> bool {
        let (Some(sent), Some(acknowledged)) = (message.sent, message.acknowledged) else { return false };
        let before = |change: &Change| {
            change.wish == Wish::Subscribe && change.acknowledged.is_some_and(|at| at < sent)
        };
        let Some(subscribed) = self.0.iter().rposition(before) else { return false };
        !self.0[subscribed..].iter().any(|change| match change.wish {
            Wish::Subscribe => false,
            Wish::Unsubscribe => change.sent <= acknowledged,
            Wish::Restart => true,
        })
    }

    /// Whether the subscription was there when the message was sent for the first time, and since. If it
    /// was not, a message that is sent again may be new to it after one that was sent later.
    pub fn saw_first(&self, message: &Message) -> bool {
        let before = |change: &Change| {
            change.wish == Wish::Subscribe
                && change.acknowledged.zip(message.sent).is_some_and(|(at, sent)| at < sent)
        };
        let subscribed = self.0.iter().rposition(before);
        subscribed.is_some_and(|at| self.0[at..].iter().all(|change| change.wish == Wish::Subscribe))
    }

    /// Whether the message may come: the subscription may have been there when it was published. A copy
    /// that was on its way on a connection that was cut may be taken after another was acknowledged.
    pub fn permits(&self, message: &Message) -> bool {
        let Some(sent) = message.sent else { return false };
        let taken = message.acknowledged.filter(|_| !message.abandoned).unwrap_or(Tick::MAX);
        self.0.iter().enumerate().any(|(number, change)| {
            let ended = |later: &Change| match later.wish {
                Wish::Subscribe => false,
                Wish::Unsubscribe => later.acknowledged.is_some_and(|at| at < sent),
                Wish::Restart => later.acknowledged.is_some(),
            };
            change.wish == Wish::Subscribe && change.sent <= taken && !self.0[number..].iter().any(ended)
        })
    }
}
