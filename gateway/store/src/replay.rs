//! What records make of an image.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU16;

use gateway_model::{Subscription, TopicFilter};

use crate::decode::{FirstHolders, Outline, Replayed};
use crate::{Away, SessionRecord};
use crate::{Copy, CopyImage, CopyState, DecodeError, Image, MessageRecord, Place, Record, SessionImage};

/// From so many subscriptions on, those of a session are not searched one by one.
const SEARCHED_MAX: usize = 64;

impl Image {
    /// Replays a record that was at `place`.
    pub fn apply(&mut self, place: Place, record: Record) {
        match record {
            Record::Message(record) => self.message(place, outline(record)),
            other => self.other(other),
        }
    }

    /// The same from what [`Record::encode`] wrote; of messages only their size is kept. Returns how
    /// many hold the message in the beginning, 0 for what is no message.
    pub fn replay(&mut self, place: Place, bytes: &[u8]) -> Result<usize, DecodeError> {
        match Record::decode_replayed(bytes)? {
            Replayed::Message(outline) => {
                let FirstHolders { copies, delayed, .. } = &outline.holders;
                let holders =
                    copies.len() + usize::from(outline.topic.is_some()) + usize::from(delayed.is_some());
                self.message(place, outline);
                Ok(holders)
            }
            Replayed::Other(record) => {
                self.other(record);
                Ok(0)
            }
        }
    }

    /// Ends replaying, and says how many copies belong to no session. That takes damage: a session
    /// is written anew before its old records go.
    pub fn finish(&mut self) -> usize {
        self.positions = HashMap::new();
        std::mem::take(&mut self.orphans).values().map(BTreeMap::len).sum()
    }

    fn message(&mut self, place: Place, outline: Outline) {
        let Outline { size, topic, holders: FirstHolders { copies, delayed, held }, .. } = outline;
        if let Some(topic) = topic {
            self.retained.insert(topic, place);
        }
        if let Some(delayed) = delayed {
            self.next_serial = self.next_serial.max(delayed.serial.saturating_add(1));
            self.delayed.insert(delayed.serial, (delayed.due_unix_millis, place));
        }
        if let Some((session, id)) = held {
            self.hold(session, id);
        }
        for copy in copies {
            let Copy { session, ordinal, .. } = copy;
            let copy = CopyImage::new(place, size, copy);
            match self.known_copies(session, ordinal) {
                Some(copies) => copies.insert(ordinal, copy),
                None => self.orphans.entry(session).or_default().insert(ordinal, copy),
            };
        }
    }

    fn other(&mut self, record: Record) {
        match record {
            // Taken apart by the callers.
            Record::Message(_) => {}
            Record::Settled { session, ordinals } => {
                for ordinal in ordinals {
                    self.known_copies(session, ordinal).map(|copies| copies.remove(&ordinal));
                }
            }
            Record::Received { session, ordinal } => {
                let copies = self.known_copies(session, ordinal);
                if let Some(copy) = copies.and_then(|copies| copies.get_mut(&ordinal)) {
                    copy.state = CopyState::Received;
                }
            }
            Record::Session(record) => self.session(*record),
            Record::Attached { session, owner, expiry, will } => {
                self.change(session, |record| {
                    (record.owner, record.expiry, record.will, record.away) = (owner, expiry, will, None);
                });
            }
            Record::Away { session, expiry, away, will } => {
                self.change(session, |record| {
                    (record.expiry, record.will, record.away) = (expiry, will, Some(away));
                });
            }
            Record::Willed { session } => self.change(session, |record| {
                record.will = None;
                record.away = record.away.map(|away| Away { will_unix_millis: None, ..away });
            }),
            Record::Ended { session } => {
                self.spoken_of(session);
                self.sessions.remove(&session);
                self.orphans.remove(&session);
                self.positions.remove(&session);
            }
            Record::Subscribed { session, subscription } => self.subscribe(session, subscription),
            Record::Unsubscribed { session, filter } => self.unsubscribe(session, &filter),
            Record::Held { session, id } => self.hold(session, id),
            Record::Released { session, id } => {
                self.change(session, |record| record.held.retain(|held| *held != id));
            }
            Record::Kept { session, bytes } => self.change(session, |record| record.kept = Some(bytes)),
            Record::Cleared { topic } => {
                self.retained.remove(&topic);
            }
            Record::Undelayed { serial } => {
                self.next_serial = self.next_serial.max(serial.saturating_add(1));
                self.delayed.remove(&serial);
            }
        }
    }

    fn session(&mut self, mut record: SessionRecord) {
        let number = record.number;
        self.spoken_of(number);
        self.positions.remove(&number);
        if let Some(session) = self.sessions.get_mut(&number) {
            // An ordinal is never given twice, even if the record does not know of the last ones.
            record.next_ordinal = record.next_ordinal.max(session.record.next_ordinal);
            session.record = record;
            return;
        }
        let copies = self.orphans.remove(&number).unwrap_or_default();
        let above = copies.last_key_value().map_or(0, |(ordinal, _)| ordinal.saturating_add(1));
        record.next_ordinal = record.next_ordinal.max(above);
        self.sessions.insert(number, SessionImage { record, copies });
    }

    /// The copies of a session, if there are any; it has had one with this ordinal.
    fn known_copies(&mut self, session: u64, ordinal: u64) -> Option<&mut BTreeMap<u64, CopyImage>> {
        self.spoken_of(session);
        match self.sessions.get_mut(&session) {
            Some(SessionImage { record, copies }) => {
                record.next_ordinal = record.next_ordinal.max(ordinal.saturating_add(1));
                Some(copies)
            }
            None => self.orphans.get_mut(&session),
        }
    }

    fn change(&mut self, session: u64, change: impl FnOnce(&mut SessionRecord)) {
        self.spoken_of(session);
        if let Some(session) = self.sessions.get_mut(&session) {
            change(&mut session.record);
        }
    }

    fn hold(&mut self, session: u64, id: NonZeroU16) {
        self.change(session, |record| {
            if !record.held.contains(&id) {
                record.held.push(id);
            }
        });
    }

    fn subscribe(&mut self, session: u64, subscription: Subscription) {
        self.spoken_of(session);
        let at = self.position(session, &subscription.filter);
        let Some(image) = self.sessions.get_mut(&session) else { return };
        let subscriptions = &mut image.record.subscriptions;
        match at {
            Some(at) => subscriptions[at] = subscription,
            None => {
                if let Some(positions) = self.positions.get_mut(&session) {
                    positions.insert(subscription.filter.clone(), subscriptions.len());
                }
                subscriptions.push(subscription);
            }
        }
    }

    fn unsubscribe(&mut self, session: u64, filter: &TopicFilter) {
        self.spoken_of(session);
        let Some(at) = self.position(session, filter) else { return };
        let Some(image) = self.sessions.get_mut(&session) else { return };
        let subscriptions = &mut image.record.subscriptions;
        subscriptions.swap_remove(at);
        if let Some(positions) = self.positions.get_mut(&session) {
            positions.remove(filter);
            if let Some(moved) = subscriptions.get(at) {
                positions.insert(moved.filter.clone(), at);
            }
        }
    }

    /// Where the filter stands among the session's subscriptions.
    fn position(&mut self, session: u64, filter: &TopicFilter) -> Option<usize> {
        let subscriptions = &self.sessions.get(&session)?.record.subscriptions;
        if subscriptions.len() < SEARCHED_MAX && !self.positions.contains_key(&session) {
            return subscriptions.iter().position(|subscription| subscription.filter == *filter);
        }
        let positions = self.positions.entry(session).or_insert_with(|| {
            let numbered = subscriptions.iter().enumerate();
            numbered.map(|(at, subscription)| (subscription.filter.clone(), at)).collect()
        });
        positions.get(filter).copied()
    }

    fn spoken_of(&mut self, session: u64) {
        self.next_session = self.next_session.max(session.saturating_add(1));
    }
}

fn outline(record: MessageRecord) -> Outline {
    let MessageRecord { message, copies, retained, delayed, held } = record;
    Outline {
        size: u32::try_from(message.size()).unwrap_or(u32::MAX),
        topic: retained.then(|| message.topic.clone()),
        holders: FirstHolders { copies, delayed, held },
        message_len: 0,
    }
}
