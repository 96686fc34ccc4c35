use std::num::NonZeroU16;
use std::sync::Arc;

use gateway_model::{Message, Qos};
use gateway_store::{Appending, Copy, Delayed, MessageRecord, Place, Record, Room, Store};
use smallvec::SmallVec;

use crate::budget::Budget;
use crate::lock;
use crate::outbox::{Changes, Gone};
use crate::{Promise, Session};

/// What one call to the bus does to the store, if it does anything.
///
/// It is the first thing that a call makes and the last that it drops, so that no lock of the bus is
/// held when it begins to append, nor when it writes down what has left.
pub(crate) struct Turn<'a> {
    store: &'a Arc<dyn Store>,
    /// The store keeps something.
    keeps: bool,
    pub(crate) budget: &'a Budget,
    appending: Option<Appending<'a>>,
    /// The message that is being given to those who hold it.
    storing: Option<Storing>,
    /// What outboxes have to say, until [`Turn::collect`].
    pub(crate) changes: Changes<'a>,
    /// Copies that have left their sessions, by number of session.
    gone: Vec<(u64, Gone)>,
    /// Messages that somebody has let go of who is no session.
    loose: Vec<Place>,
    /// Something was appended that somebody waits for.
    is_awaited: bool,
}

#[derive(Default)]
struct Storing {
    copies: SmallVec<[Copy; 1]>,
}

/// Who holds a message besides sessions, from the beginning.
#[derive(Default)]
pub(crate) struct Holds {
    pub(crate) retained: bool,
    pub(crate) delayed: Option<Delayed>,
    pub(crate) held: Option<(u64, NonZeroU16)>,
    /// The publisher waits for it.
    pub(crate) is_awaited: bool,
}

/// What small records may follow a message's in the same turn; if possible they are in the same
/// segment, so that a crash leaves both or neither.
const FOLLOWING_BYTES: usize = 256;

impl<'a> Turn<'a> {
    #[inline]
    pub(crate) fn new(store: &'a Arc<dyn Store>, keeps: bool, budget: &'a Budget) -> Self {
        Self {
            store,
            keeps,
            budget,
            appending: None,
            storing: None,
            changes: Changes::new(store),
            gone: Vec::new(),
            loose: Vec::new(),
            is_awaited: false,
        }
    }

    /// Takes the log, if there is one and unless this turn has it: no lock of the bus may be held.
    pub(crate) fn begin(&mut self) {
        if self.keeps && self.appending.is_none() {
            assert!(lock::none_is_held(), "the log is the outermost lock");
            self.appending = self.store.begin();
        }
    }

    /// Whether what happens is written down: there is nothing to write to, or the turn has begun.
    pub(crate) fn is_ready(&self) -> bool {
        !self.keeps || self.appending.is_some()
    }

    /// Whether the store keeps anything.
    pub(crate) fn keeps(&self) -> bool {
        self.keeps
    }

    pub(crate) fn is_storing(&self) -> bool {
        self.storing.is_some()
    }

    /// Whether nothing new that must be kept is to be taken in.
    pub(crate) fn is_full(&self) -> bool {
        self.keeps && self.store.room() == Room::Full
    }

    /// Appends what the result of the call promises.
    pub(crate) fn append(&mut self, record: &Record) {
        if let Some(appending) = &mut self.appending {
            appending.append(record);
            self.is_awaited = true;
        }
    }

    /// Appends what nobody waits for.
    pub(crate) fn append_lazily(&mut self, record: &Record) {
        if let Some(appending) = &mut self.appending {
            appending.append_lazily(record);
        }
    }

    /// From here on copies of the message are noted, until [`Turn::store`] appends it. It gets its
    /// place at once, so that it has one when the first session sees it.
    pub(crate) fn begin_message(&mut self, message: &Message, copies_max: usize, identifiers_max: usize) {
        if let Some(appending) = &mut self.appending {
            let bytes = MessageRecord::size_max(message, copies_max, identifiers_max);
            let place = appending.reserve(bytes + FOLLOWING_BYTES);
            message.stored.set(place.number());
            self.storing = Some(Storing::default());
        }
    }

    pub(crate) fn note(&mut self, copy: Copy) {
        if let Some(storing) = &mut self.storing {
            storing.copies.push(copy);
        }
    }

    /// Appends the message that was begun, if anybody holds it.
    pub(crate) fn store(&mut self, message: &Arc<Message>, holds: Holds) {
        let (Some(storing), Some(appending)) = (self.storing.take(), &mut self.appending) else { return };
        let Holds { retained, delayed, held, is_awaited } = holds;
        let copies = storing.copies;
        if copies.is_empty() && !retained && delayed.is_none() {
            message.stored.set(Place::NOWHERE.number());
            if let Some((session, id)) = held {
                self.append(&Record::Held { session, id });
            }
            return;
        }
        let exactly_once = copies.iter().any(|copy| copy.qos == Qos::ExactlyOnce);
        let reserved = message.stored.get();
        let record =
            Record::Message(MessageRecord { message: message.clone(), copies, retained, delayed, held });
        // A copy at QoS 2 is not sent before it is durable.
        let is_urgent = is_awaited || delayed.is_some() || exactly_once;
        let place = if is_urgent { appending.append(&record) } else { appending.append_lazily(&record) };
        debug_assert_eq!(place.number(), reserved, "a message is where its holders think");
        self.is_awaited |= is_awaited;
    }

    /// For an outbox that is changed while the turn itself is in use.
    pub(crate) fn more_changes(&self) -> Changes<'a> {
        Changes::new(self.store)
    }

    /// Takes what the outbox of a session had to say.
    #[inline]
    pub(crate) fn collect(&mut self, session: &Session) {
        if !self.changes.gone.is_empty() {
            self.gone.extend(self.changes.gone.drain(..).map(|gone| (session.number, gone)));
        }
    }

    /// Copies that could not be read again.
    pub(crate) fn take_damaged(&mut self) -> u32 {
        std::mem::take(&mut self.changes.damaged)
    }

    /// The copies of a session go with it: its end says so.
    pub(crate) fn collect_end(&mut self) {
        self.loose.extend(self.changes.gone.drain(..).map(|gone| gone.place));
    }

    /// Somebody else than a session has let go of a message.
    pub(crate) fn let_go(&mut self, message: &Message) {
        let place = message.stored.get();
        if place != Place::NOWHERE.number() {
            self.loose.push(Place::from_number(place));
        }
    }

    /// From when on the result may be told.
    pub(crate) fn promise<T>(&self, value: T) -> Promise<T> {
        match &self.appending {
            Some(appending) if self.is_awaited => Promise { value, place: appending.end() },
            _ => Promise::now(value),
        }
    }

    /// Writes down what has left.
    fn flush(&mut self) {
        self.begin();
        let Some(appending) = &mut self.appending else { return };
        self.gone.sort_by_key(|(session, gone)| (*session, gone.ordinal));
        for ours in self.gone.chunk_by(|one, other| one.0 == other.0) {
            let ordinals = ours.iter().map(|(_, gone)| gone.ordinal).collect();
            appending.append_lazily(&Record::Settled { session: ours[0].0, ordinals });
        }
        let places = self.gone.drain(..).map(|(_, gone)| gone.place).chain(self.loose.drain(..));
        places.for_each(|place| appending.let_go(place));
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        debug_assert!(self.changes.gone.is_empty() || std::thread::panicking(), "changes are collected");
        let is_clean = self.gone.is_empty() && self.loose.is_empty();
        if !is_clean && !std::thread::panicking() {
            self.flush();
        }
    }
}
