//! What a bus would do with a store, at random, and what must be there after a crash.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use gateway_model::{
    ClientId, Expiry, Message, Publish, Qos, Stored, Subscription, Topic, TopicFilter, Will,
};
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::tests::dice::Dice;
use crate::{
    Away, Copy, CopyState, Delayed, Holder, Holders, Image, MessageRecord, Place, Record, SessionRecord,
    Shared,
};

/// Where what happens is written down.
pub(super) trait Turn {
    fn append(&mut self, record: &Record, is_lazy: bool) -> Place;

    fn let_go(&mut self, place: Place);
}

/// Some clients and what waits for them.
#[derive(Default)]
pub(super) struct Domain {
    now: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    next_session: u64,
    next_serial: u64,
    next_body: u64,
    sessions: BTreeMap<u64, Session>,
    retained: BTreeMap<Topic, Stay>,
    delayed: BTreeMap<u64, (u64, Stay)>,
}

#[derive(Clone, Debug)]
struct Session {
    record: SessionRecord,
    copies: BTreeMap<u64, (Copy, Stay)>,
}

/// Where a message is, and which one it is.
#[derive(Clone, Copy, Debug)]
struct Stay {
    place: Place,
    body: u64,
}

impl Domain {
    /// Continues from what a log amounted to.
    pub fn of(state: State) -> Self {
        Self { now: Mutex::new(state) }
    }

    pub fn state(&self) -> State {
        self.now.lock().clone()
    }

    /// Something happens, in one turn. The states after each record.
    pub fn act(&self, dice: &mut Dice, turn: &mut dyn Turn) -> Vec<State> {
        let mut now = self.now.lock();
        let mut acting = Acting { now: &mut now, turn, states: Vec::new() };
        acting.act(dice);
        acting.states
    }

    /// A few sessions are left, with so many messages each.
    pub fn settle_all(&self, left: usize, turn: &mut dyn Turn) {
        let mut now = self.now.lock();
        let mut acting = Acting { now: &mut now, turn, states: Vec::new() };
        for session in acting.now.sessions.keys().skip(8).copied().collect::<Vec<_>>() {
            acting.end(session);
        }
        for session in acting.now.sessions.keys().copied().collect::<Vec<_>>() {
            while acting.now.sessions[&session].copies.len() > left {
                acting.settle(&mut Dice(0), session);
            }
        }
    }
}

struct Acting<'a> {
    now: &'a mut State,
    turn: &'a mut dyn Turn,
    states: Vec<State>,
}

impl Acting<'_> {
    fn act(&mut self, dice: &mut Dice) {
        let Some(session) = self.any_session(dice) else { return self.open(dice) };
        match dice.below(24) {
            0 => self.open(dice),
            1 => self.attach(dice, session),
            2 => self.leave(dice, session),
            3 => self.will(session),
            4 if dice.one_in(2) => self.end(session),
            5 => self.subscribe(dice, session),
            6 => self.unsubscribe(dice, session),
            7 => self.hold(dice, session),
            8 => self.release(session),
            9 => self.keep(dice, session),
            10 => self.clear(dice),
            11 => self.undelay(),
            12 => self.receive(dice, session),
            13 => self.give_away(dice, session),
            14..18 => self.settle(dice, session),
            _ => self.publish(dice),
        }
    }

    fn open(&mut self, dice: &mut Dice) {
        let number = self.now.next_session;
        self.now.next_session += 1;
        let record = SessionRecord {
            number,
            client_id: ClientId::parse(&format!("client-{number}")).unwrap(),
            owner: dice.below(3) as u32,
            expiry: Expiry::After(Duration::from_secs(dice.below(100) as u64)),
            will: will(dice),
            away: None,
            next_ordinal: 0,
            subscriptions: Vec::new(),
            held: Vec::new(),
            kept: None,
        };
        self.now.sessions.insert(number, Session { record: record.clone(), copies: BTreeMap::new() });
        self.append(&Record::Session(Box::new(record)), false);
    }

    fn attach(&mut self, dice: &mut Dice, session: u64) {
        let (owner, expiry, will) = (dice.below(3) as u32, Expiry::Never, will(dice));
        let record = self.record(session);
        (record.owner, record.expiry, record.will, record.away) = (owner, expiry, will.clone(), None);
        self.append(&Record::Attached { session, owner, expiry, will }, false);
    }

    fn leave(&mut self, dice: &mut Dice, session: u64) {
        let record = self.record(session);
        let will_unix_millis = record.will.as_ref().map(|_| 1_000 + dice.below(1_000) as u64);
        let away = Away { ends_unix_millis: Some(5_000), will_unix_millis, sent_before: record.next_ordinal };
        record.away = Some(away);
        let (expiry, will) = (record.expiry, record.will.clone());
        self.append(&Record::Away { session, expiry, away, will }, true);
    }

    fn will(&mut self, session: u64) {
        let record = self.record(session);
        record.will = None;
        if let Some(away) = &mut record.away {
            away.will_unix_millis = None;
        }
        self.append(&Record::Willed { session }, false);
    }

    fn end(&mut self, session: u64) {
        let ended = self.now.sessions.remove(&session).unwrap();
        self.append(&Record::Ended { session }, false);
        ended.copies.values().for_each(|(_, stay)| self.turn.let_go(stay.place));
    }

    fn subscribe(&mut self, dice: &mut Dice, session: u64) {
        let filter = filter(dice);
        let mut subscription = Subscription::new(filter, Qos::AtLeastOnce);
        subscription.no_local = dice.one_in(2);
        let subscriptions = &mut self.record(session).subscriptions;
        subscriptions.retain(|other| other.filter != subscription.filter);
        subscriptions.push(subscription.clone());
        self.append(&Record::Subscribed { session, subscription }, false);
    }

    fn unsubscribe(&mut self, dice: &mut Dice, session: u64) {
        let filter = filter(dice);
        self.record(session).subscriptions.retain(|other| other.filter != filter);
        self.append(&Record::Unsubscribed { session, filter }, false);
    }

    fn hold(&mut self, dice: &mut Dice, session: u64) {
        let id = packet_id(dice);
        self.held(session, id);
        self.append(&Record::Held { session, id }, false);
    }

    fn release(&mut self, session: u64) {
        if let Some(id) = self.record(session).held.pop() {
            self.append(&Record::Released { session, id }, false);
        }
    }

    fn keep(&mut self, dice: &mut Dice, session: u64) {
        let bytes: bytes::Bytes = vec![7; dice.below(50)].into();
        self.record(session).kept = Some(bytes.clone());
        self.append(&Record::Kept { session, bytes }, true);
    }

    fn clear(&mut self, dice: &mut Dice) {
        let topic = topic(dice);
        if let Some(stay) = self.now.retained.remove(&topic) {
            self.append(&Record::Cleared { topic }, false);
            self.turn.let_go(stay.place);
        }
    }

    fn undelay(&mut self) {
        if let Some((serial, (_, stay))) = self.now.delayed.pop_first() {
            self.append(&Record::Undelayed { serial }, true);
            self.turn.let_go(stay.place);
        }
    }

    fn receive(&mut self, dice: &mut Dice, session: u64) {
        let copies = &mut self.now.sessions.get_mut(&session).unwrap().copies;
        let at = dice.below(copies.len().max(1));
        if let Some((ordinal, (copy, _))) = copies.iter_mut().nth(at) {
            let ordinal = *ordinal;
            copy.state = CopyState::Received;
            self.append(&Record::Received { session, ordinal }, false);
        }
    }

    fn settle(&mut self, dice: &mut Dice, session: u64) {
        let copies = &mut self.now.sessions.get_mut(&session).unwrap().copies;
        let mut ordinals = SmallVec::new();
        let mut left = Vec::new();
        for _ in 0..=dice.below(3) {
            let at = if dice.one_in(4) { dice.below(copies.len().max(1)) } else { 0 };
            let Some(ordinal) = copies.keys().nth(at).copied() else { break };
            left.extend(copies.remove(&ordinal));
            ordinals.push(ordinal);
        }
        if !ordinals.is_empty() {
            self.append(&Record::Settled { session, ordinals }, true);
            left.iter().for_each(|(_, stay)| self.turn.let_go(stay.place));
        }
    }

    /// A copy goes to another session: its message is stored once more.
    fn give_away(&mut self, dice: &mut Dice, from: u64) {
        let to = self.any_session(dice).unwrap();
        let first = self.now.sessions[&from].copies.iter().next();
        let Some((ordinal, (_, stay))) = first.map(|(ordinal, held)| (*ordinal, held.clone())) else {
            return;
        };
        let mut copy = self.copy(dice, to);
        copy.state = CopyState::Moved;
        self.message(message(stay.body), SmallVec::from_elem(copy, 1), false, None, None);
        self.now.sessions.get_mut(&from).unwrap().copies.remove(&ordinal);
        self.append(&Record::Settled { session: from, ordinals: SmallVec::from_elem(ordinal, 1) }, true);
        self.turn.let_go(stay.place);
    }

    fn publish(&mut self, dice: &mut Dice) {
        let body = self.now.next_body;
        self.now.next_body += 1;
        let mut copies = SmallVec::new();
        for number in self.now.sessions.keys().copied().collect::<Vec<_>>() {
            if dice.one_in(2) {
                copies.push(self.copy(dice, number));
            }
        }
        let delayed = dice.one_in(8).then(|| {
            self.now.next_serial += 1;
            Delayed { serial: self.now.next_serial - 1, due_unix_millis: dice.below(10_000) as u64 }
        });
        let held = dice.one_in(8).then(|| (self.any_session(dice).unwrap(), packet_id(dice)));
        self.message(message(body), copies, dice.one_in(4), delayed, held);
    }

    fn message(
        &mut self,
        message: Arc<Message>,
        copies: SmallVec<[Copy; 1]>,
        retained: bool,
        delayed: Option<Delayed>,
        held: Option<(u64, NonZeroU16)>,
    ) {
        let body = body_of(&message);
        if let Some((session, id)) = held {
            self.held(session, id);
        }
        // What is known of it from now on has its place, which appending tells.
        let record = MessageRecord { message, copies, retained, delayed, held };
        let place = self.turn.append(&Record::Message(record.clone()), false);
        let stay = Stay { place, body };
        for copy in record.copies {
            let session = self.now.sessions.get_mut(&copy.session).unwrap();
            session.copies.insert(copy.ordinal, (copy, stay));
        }
        if let Some(delayed) = delayed {
            self.now.delayed.insert(delayed.serial, (delayed.due_unix_millis, stay));
        }
        if retained && let Some(old) = self.now.retained.insert(record.message.topic.clone(), stay) {
            self.turn.let_go(old.place);
        }
        self.states.push(self.now.clone());
    }

    fn copy(&mut self, dice: &mut Dice, session: u64) -> Copy {
        let record = self.record(session);
        record.next_ordinal += 1;
        Copy {
            session,
            ordinal: record.next_ordinal - 1,
            qos: Qos::from_u8(1 + dice.below(2) as u8).unwrap(),
            retain: dice.one_in(2),
            priority: dice.below(3) as u8,
            state: CopyState::Waiting,
            identifiers: vec![1; dice.below(3)].into(),
            shared: dice.one_in(4).then(|| Shared { group: dice.number(), ticket: 3 }),
        }
    }

    fn held(&mut self, session: u64, id: NonZeroU16) {
        let held = &mut self.record(session).held;
        if !held.contains(&id) {
            held.push(id);
        }
    }

    fn record(&mut self, session: u64) -> &mut SessionRecord {
        &mut self.now.sessions.get_mut(&session).unwrap().record
    }

    fn any_session(&self, dice: &mut Dice) -> Option<u64> {
        let at = dice.below(self.now.sessions.len().max(1));
        self.now.sessions.keys().nth(at).copied()
    }

    fn append(&mut self, record: &Record, is_lazy: bool) {
        self.turn.append(record, is_lazy);
        self.states.push(self.now.clone());
    }
}

impl State {
    /// What an image says, with the messages that are at its places.
    pub fn of(image: &Image, read: impl Fn(Place) -> Arc<Message>) -> Self {
        // Another message must not be taken for one of before.
        let next_body = std::cell::Cell::new(0);
        let stay = |place: Place| {
            let message = read(place);
            assert_eq!(message.stored.get(), place.number());
            let body = body_of(&message);
            next_body.set(next_body.get().max(body + 1));
            Stay { place, body }
        };
        let copies = |number: &u64, session: &crate::SessionImage| {
            let copy = |(ordinal, copy): (&u64, &crate::CopyImage)| {
                assert_eq!(copy.size as usize, read(copy.place).size());
                let crate::CopyImage { place, qos, retain, priority, state, .. } = *copy;
                let (identifiers, shared) = (copy.identifiers(), copy.shared());
                let (session, ordinal) = (*number, *ordinal);
                let copy = Copy { session, ordinal, qos, retain, priority, state, identifiers, shared };
                (ordinal, (copy, stay(place)))
            };
            session.copies.iter().map(copy).collect()
        };
        let session = |(number, session): (&u64, &crate::SessionImage)| {
            (*number, Session { record: session.record.clone(), copies: copies(number, session) })
        };
        let delayed = |(serial, (due, place)): (&u64, &(u64, Place))| (*serial, (*due, stay(*place)));
        Self {
            next_session: image.next_session,
            next_serial: image.next_serial,
            sessions: image.sessions.iter().map(session).collect(),
            retained: image.retained.iter().map(|(topic, place)| (topic.clone(), stay(*place))).collect(),
            delayed: image.delayed.iter().map(delayed).collect(),
            next_body: next_body.get(),
        }
    }

    /// Everything that matters, in a fixed order and wherever it is.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for session in self.sessions.values() {
            let mut record = session.record.clone();
            record.subscriptions.sort_by(|a, b| a.filter.cmp(&b.filter));
            record.held.sort();
            text += &format!("{record:?}\n");
            for (copy, stay) in session.copies.values() {
                text += &format!("    {} is {copy:?}\n", stay.body);
            }
        }
        for (topic, stay) in &self.retained {
            text += &format!("{} is retained by {topic}\n", stay.body);
        }
        for (serial, (due, stay)) in &self.delayed {
            text += &format!("{} is delayed as {serial} until {due}\n", stay.body);
        }
        text
    }

    /// How many holds on messages there are.
    pub fn holds(&self) -> usize {
        let copies = self.sessions.values().map(|session| session.copies.len()).sum::<usize>();
        copies + self.retained.len() + self.delayed.len()
    }
}

impl Holders for Domain {
    fn holds(&self, holder: Holder<'_>, place: Place) -> Option<CopyState> {
        let now = self.now.lock();
        let (stay, state) = match holder {
            Holder::Copy { session, ordinal } => {
                let (copy, stay) = now.sessions.get(&session)?.copies.get(&ordinal)?;
                (stay, copy.state)
            }
            Holder::Retained(topic) => (now.retained.get(topic)?, CopyState::Waiting),
            Holder::Delayed { serial } => (&now.delayed.get(&serial)?.1, CopyState::Waiting),
        };
        (stay.place == place).then_some(state)
    }

    fn moved(&self, holder: Holder<'_>, from: Place, to: Place) {
        let mut now = self.now.lock();
        let stay = match holder {
            Holder::Copy { session, ordinal } => {
                &mut now.sessions.get_mut(&session).unwrap().copies.get_mut(&ordinal).unwrap().1
            }
            Holder::Retained(topic) => now.retained.get_mut(topic).unwrap(),
            Holder::Delayed { serial } => &mut now.delayed.get_mut(&serial).unwrap().1,
        };
        assert_eq!(stay.place, from);
        stay.place = to;
    }

    fn session(&self, number: u64) -> Option<SessionRecord> {
        Some(self.now.lock().sessions.get(&number)?.record.clone())
    }
}

fn message(body: u64) -> Arc<Message> {
    let mut dice = Dice(body);
    let mut payload = body.to_le_bytes().to_vec();
    payload.resize(8 + dice.below(200), body as u8);
    Arc::new(Message {
        topic: topic(&mut dice),
        payload: payload.into(),
        properties: None,
        publisher: ClientId::parse("publisher").unwrap(),
        accepted_unix_millis: body.into(),
        expires_at: None,
        qos: Qos::ExactlyOnce,
        retain: false,
        stored: Stored::default(),
    })
}

/// Which message it is; every byte of it has to be right.
fn body_of(read: &Message) -> u64 {
    let body = u64::from_le_bytes(*read.payload.first_chunk().unwrap());
    let expected = message(body);
    assert_eq!((&read.topic, &read.payload), (&expected.topic, &expected.payload));
    body
}

fn will(dice: &mut Dice) -> Option<Box<Will>> {
    let publish = Publish::new(topic(dice), vec![1; dice.below(20)]);
    dice.one_in(2).then(|| Box::new(Will { publish, delay: Duration::from_secs(1) }))
}

fn topic(dice: &mut Dice) -> Topic {
    Topic::parse(["a", "b/c", "d"][dice.below(3)]).unwrap()
}

fn filter(dice: &mut Dice) -> TopicFilter {
    TopicFilter::parse(["a", "b/+", "$share/g/#", "d"][dice.below(4)]).unwrap()
}

fn packet_id(dice: &mut Dice) -> NonZeroU16 {
    NonZeroU16::new(1 + dice.below(9) as u16).unwrap()
}
