use std::num::NonZeroU16;
use std::sync::Arc;

use gateway_model::{Message, Qos};
use gateway_store::{Appending, Copy, Delayed, MessageRecord, Place, Record, Room};
use smallvec::SmallVec;

use crate::budget::Budget;
use crate::lock;
use crate::outbox::{Changes, Gone};
use crate::routes::Listed;
use crate::{Bus, Promise, Session};

/// What one call to the bus does to the store, if it does anything.
///
/// It is the first thing that a call makes and the last that it drops, so that no lock of the bus is
/// held when it begins to append, nor when it writes down what has left. Most calls write nothing: for
/// them it is hardly more than a pointer.
pub(crate) struct Turn<'a> {
    bus: &'a Bus,
    /// What outboxes have to say, until [`Turn::collect`].
    pub(crate) changes: Changes<'a>,
    writing: Option<Box<Writing<'a>>>,
}

/// What is written, or will be in the end.
#[derive(Default)]
struct Writing<'a> {
    appending: Option<Appending<'a>>,
    /// Those who hold the message that is being given, so far.
    storing: Option<SmallVec<[Copy; 1]>>,
    /// Copies that have left their sessions, by number of session.
    gone: SmallVec<[(u64, Gone); 1]>,
    /// Messages that somebody has let go of who is no session.
    loose: Vec<Place>,
    /// Something was appended that somebody waits for.
    is_awaited: bool,
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
    pub(crate) fn new(bus: &'a Bus) -> Self {
        Self { bus, changes: Changes::new(&bus.store), writing: None }
    }

    /// Takes the log, if there is one and unless this turn has it: no lock of the bus may be held.
    pub(crate) fn begin(&mut self) {
        if self.bus.keeps && self.appending().is_none() {
            assert!(lock::none_is_held(), "the log is the outermost lock");
            self.writing.get_or_insert_default().appending = self.bus.store.begin();
        }
    }

    #[inline]
    pub(crate) fn has_begun(&self) -> bool {
        self.writing.as_ref().is_some_and(|writing| writing.appending.is_some())
    }

    /// Whether what happens is written down: there is nothing to write to, or the turn has begun.
    pub(crate) fn is_ready(&self) -> bool {
        !self.bus.keeps || self.has_begun()
    }

    /// Whether the store keeps anything.
    pub(crate) fn keeps(&self) -> bool {
        self.bus.keeps
    }

    /// Whether copies of a message are noted.
    #[inline]
    pub(crate) fn is_storing(&self) -> bool {
        self.writing.as_ref().is_some_and(|writing| writing.storing.is_some())
    }

    /// Whether nothing new that must be kept is to be taken in.
    pub(crate) fn is_full(&self) -> bool {
        self.bus.keeps && self.bus.store.room() == Room::Full
    }

    #[inline]
    pub(crate) fn budget(&self) -> &'a Budget {
        &self.bus.budget
    }

    /// Appends what the result of the call promises.
    pub(crate) fn append(&mut self, record: &Record) {
        if let Some(appending) = self.appending() {
            appending.append(record);
            self.writing.get_or_insert_default().is_awaited = true;
        }
    }

    /// Appends what nobody waits for.
    pub(crate) fn append_lazily(&mut self, record: &Record) {
        if let Some(appending) = self.appending() {
            appending.append_lazily(record);
        }
    }

    /// From here on copies of the message are noted, until [`Turn::store`] appends it. It gets its
    /// place at once, so that it has one when the first session sees it.
    pub(crate) fn begin_message(&mut self, message: &Message, listed_max: Listed) {
        if let Some(appending) = self.appending() {
            let bytes = MessageRecord::size_max(message, listed_max.copies, listed_max.identifiers);
            let place = appending.reserve(bytes + FOLLOWING_BYTES);
            message.stored.set(place.number());
            self.writing.get_or_insert_default().storing = Some(SmallVec::new());
        }
    }

    pub(crate) fn note(&mut self, copy: Copy) {
        if let Some(copies) = self.writing.as_mut().and_then(|writing| writing.storing.as_mut()) {
            copies.push(copy);
        }
    }

    /// Appends the message that was begun, if anybody holds it.
    pub(crate) fn store(&mut self, message: &Arc<Message>, holds: Holds) {
        let Some(writing) = &mut self.writing else { return };
        let (Some(copies), Some(appending)) = (writing.storing.take(), &mut writing.appending) else {
            return;
        };
        let Holds { retained, delayed, held, is_awaited } = holds;
        if copies.is_empty() && !retained && delayed.is_none() {
            message.stored.set(Place::NOWHERE.number());
            if let Some((session, id)) = held {
                self.append(&Record::Held { session, id });
            }
            return;
        }
        // A copy at QoS 2 is not sent before it is durable.
        let exactly_once = copies.iter().any(|copy| copy.qos == Qos::ExactlyOnce);
        let is_urgent = is_awaited || delayed.is_some() || exactly_once;
        let record = MessageRecord { message: message.clone(), copies, retained, delayed, held };
        let record = Record::Message(record);
        let reserved = message.stored.get();
        let place = if is_urgent { appending.append(&record) } else { appending.append_lazily(&record) };
        debug_assert_eq!(place.number(), reserved, "a message is where its holders think");
        writing.is_awaited |= is_awaited;
    }

    /// For an outbox that is changed while the turn itself is in use.
    pub(crate) fn more_changes(&self) -> Changes<'a> {
        Changes::new(&self.bus.store)
    }

    /// Takes what the outbox of a session had to say.
    #[inline]
    pub(crate) fn collect(&mut self, session: &Session) {
        if !self.changes.gone.is_empty() {
            let gone = self.changes.gone.drain(..).map(|gone| (session.number, gone));
            self.writing.get_or_insert_default().gone.extend(gone);
        }
    }

    /// Sees to it that a session whose next message could not be read is looked at again.
    #[inline]
    pub(crate) fn collect_unread(&mut self, session: &Session) {
        if self.changes.reads_later {
            self.changes.reads_later = false;
            self.bus.unread.lock().add(session.number);
        }
    }

    /// Writes at once that a copy has left its session, if this turn writes.
    pub(crate) fn settle(&mut self, session: u64, gone: Gone) {
        match self.appending() {
            Some(appending) => {
                let ordinals = SmallVec::from_slice(&[gone.ordinal]);
                appending.append_lazily(&Record::Settled { session, ordinals });
                appending.let_go([gone.place]);
            }
            None => self.settle_later(session, gone),
        }
    }

    pub(crate) fn settle_later(&mut self, session: u64, gone: Gone) {
        self.writing.get_or_insert_default().gone.push((session, gone));
    }

    /// Copies that could not be read again.
    pub(crate) fn take_damaged(&mut self) -> u32 {
        std::mem::take(&mut self.changes.damaged)
    }

    /// The copies of a session go with it: its end says so.
    pub(crate) fn collect_end(&mut self) {
        if !self.changes.gone.is_empty() {
            let places = self.changes.gone.drain(..).map(|gone| gone.place);
            self.writing.get_or_insert_default().loose.extend(places);
        }
    }

    /// Somebody else than a session has let go of a message.
    pub(crate) fn let_go(&mut self, message: &Message) {
        self.let_go_of(Place::from_number(message.stored.get()));
    }

    pub(crate) fn let_go_of(&mut self, place: Place) {
        if place != Place::NOWHERE {
            self.writing.get_or_insert_default().loose.push(place);
        }
    }

    /// From when on the result may be told.
    #[inline]
    pub(crate) fn promise<T>(&self, value: T) -> Promise<T> {
        let place = self.writing.as_ref().map_or(Place::NOWHERE, |writing| match &writing.appending {
            Some(appending) if writing.is_awaited => appending.end(),
            _ => Place::NOWHERE,
        });
        Promise { value, place }
    }

    fn appending(&mut self) -> Option<&mut Appending<'a>> {
        self.writing.as_mut()?.appending.as_mut()
    }

    /// Writes down what has left.
    #[cold]
    fn flush(&mut self) {
        self.begin();
        let Some(writing) = &mut self.writing else { return };
        let Writing { appending: Some(appending), gone, loose, .. } = &mut **writing else { return };
        gone.sort_by_key(|(session, gone)| (*session, gone.ordinal));
        for ours in gone.chunk_by(|one, other| one.0 == other.0) {
            let ordinals = ours.iter().map(|(_, gone)| gone.ordinal).collect();
            appending.append_lazily(&Record::Settled { session: ours[0].0, ordinals });
        }
        appending.let_go(gone.drain(..).map(|(_, gone)| gone.place).chain(loose.drain(..)));
    }
}

impl Drop for Turn<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(writing) = &self.writing
            && !(writing.gone.is_empty() && writing.loose.is_empty())
            && !std::thread::panicking()
        {
            self.flush();
        }
    }
}
