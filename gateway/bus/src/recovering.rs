mod library;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use gateway_model::{ClientId, Expiry, Message, Moment, Tick, Topic};
use gateway_store::{CopyImage, Image, Place, ReadError, Record, SessionImage, Shared};

use self::library::Library;
use crate::group::Group;
use crate::outbox::{Changes, Gone, Outbox};
use crate::routes::Subscriber;
use crate::session::Named;
use crate::{Bus, Counter, DropReason, Session};

/// What an earlier run of the gateway had left, as far as it was found.
#[derive(Debug, Default)]
pub struct Recovered {
    pub sessions: usize,
    pub subscriptions: usize,
    /// What waits in queues or is in flight.
    pub copies: usize,
    pub retained: usize,
    pub delayed: usize,
    /// Copies, retained and delayed messages that cannot be read: they are dropped.
    pub unreadable: usize,
    /// Why, for the first of them.
    pub errors: Vec<ReadError>,
}

/// A session with what is still to come into its outbox.
type Restored = (Arc<Session>, SessionImage);

/// The groups of recovered subscriptions, by their names in the log.
type Marks = HashMap<u64, Arc<Group>>;

impl Bus {
    /// Takes in what the store has found, before anything else happens on the bus.
    ///
    /// A session that a connection held when the gateway stopped waits for its client from now on,
    /// and has its will published. One that waited goes on waiting: its time ran on.
    pub fn recover(&self, moment: Moment, image: Image) -> Recovered {
        self.set_clock(moment);
        let Image { sessions, retained, delayed, next_session, next_serial, .. } = image;
        let copies = sessions.values().flat_map(|session| session.copies.values());
        let shared: Vec<Place> = copies.map(|copy| copy.place).chain(retained.values().copied()).collect();
        let mut library = Library::new(self.store.clone(), shared);
        let mut recovered = Recovered::default();
        self.next_session.store(next_session.div_ceil(2).max(1), Ordering::Relaxed);
        let restored = self.restore_sessions(moment, sessions, &mut recovered);
        self.restore_copies(moment, &mut library, restored, &mut recovered);
        self.restore_retained(moment, &mut library, retained, &mut recovered);
        self.restore_delayed(moment, &mut library, delayed, next_serial, &mut recovered);
        self.counters.add(Counter::Recovered, recovered.copies as u64);
        self.counters.add(Counter::SessionsRecovered, recovered.sessions as u64);
        recovered.errors = library.into_errors();
        recovered
    }

    /// What protocols keep with the sessions that there are.
    pub fn kept(&self) -> Vec<(ClientId, Bytes)> {
        let sessions: Vec<_> = self.sessions.lock().iter().map(|named| named.0.clone()).collect();
        let kept = |session: &Arc<Session>| {
            let kept = session.state.lock().kept()?;
            Some((session.client_id.clone(), kept))
        };
        let mut all: Vec<_> = sessions.iter().filter_map(kept).collect();
        all.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        all
    }

    fn restore_sessions(
        &self,
        moment: Moment,
        images: HashMap<u64, SessionImage>,
        recovered: &mut Recovered,
    ) -> Vec<Restored> {
        let mut images: Vec<_> = images.into_values().collect();
        images.sort_unstable_by_key(|image| image.record.number);
        let mut restored: Vec<Restored> = Vec::with_capacity(images.len());
        for image in images {
            let mut turn = self.turn();
            turn.begin();
            let session = self.restore_session(moment, &image);
            let replaced = self.sessions.lock().replace(Named(session.clone()));
            if let Some(Named(older)) = replaced {
                // Its end was lost to damage: no two have one name.
                self.durable.lock().remove(&older.number);
                turn.append_lazily(&Record::Ended { session: older.number });
                restored.retain(|(session, _)| session.number != older.number);
            }
            self.durable.lock().insert(session.number, session.clone());
            restored.push((session, image));
        }
        let mut routes = self.routes.write();
        for (session, image) in &restored {
            for subscription in &image.record.subscriptions {
                let subscriber = Subscriber::new(session.clone(), subscription);
                routes.subscribe(&subscription.filter, subscriber);
                recovered.subscriptions += 1;
            }
        }
        self.generation.fetch_add(1, Ordering::Release);
        recovered.sessions = restored.len();
        restored
    }

    /// A session without subscriptions in the routes, and without copies.
    fn restore_session(&self, moment: Moment, image: &SessionImage) -> Arc<Session> {
        let record = &image.record;
        let outbox = Outbox::new(self.limits.in_flight_max, self.limits.queue, true);
        let session = Arc::new(Session::new(record.client_id.clone(), record.number, outbox));
        let mut state = session.state.lock();
        state.owner = record.owner;
        state.set_expiry(record.expiry);
        state.set_will(record.will.clone().map(|will| (*will).into()));
        record.subscriptions.iter().for_each(|one| state.subscriptions.insert(one.clone()));
        state.restore_rare(record.held.clone(), record.kept.clone());
        let (will, expiry) = match &record.away {
            Some(away) => {
                let instant = |unix_millis: Option<u64>| Some(moment.instant_at(unix_millis?));
                (instant(away.will_unix_millis), instant(away.ends_unix_millis))
            }
            None => {
                let will = record.will.as_ref().map(|will| moment.instant + will.delay);
                let expiry = match record.expiry {
                    Expiry::Immediately => Some(moment.instant),
                    Expiry::After(after) => Some(moment.instant + after),
                    Expiry::Never => None,
                };
                (will, expiry)
            }
        };
        if will.is_some() || expiry.is_some() {
            let deadlines = state.deadlines.get_or_insert_default();
            (deadlines.will, deadlines.expiry) = (will.map(Tick::from), expiry.map(Tick::from));
            self.timers.lock().arm(&session, deadlines);
        }
        drop(state);
        session
    }

    fn restore_copies(
        &self,
        moment: Moment,
        library: &mut Library,
        mut restored: Vec<Restored>,
        recovered: &mut Recovered,
    ) {
        self.settle_moved(library, &mut restored);
        let marks = self.marks(&restored);
        let mut tickets: HashMap<u64, u32> = HashMap::new();
        for (session, image) in restored {
            let shared = image.copies.values().filter_map(CopyImage::shared);
            for Shared { group, ticket } in shared {
                let last = tickets.entry(group).or_default();
                *last = ticket.max(*last);
            }
            recovered.copies += image.copies.len();
            let group = |shared: Shared| marks.get(&shared.group).map(|group| group.number);
            // What was on its way when the gateway stopped may have arrived.
            let next_ordinal = image.record.next_ordinal;
            let sent_before = image.record.away.map_or(u64::MAX, |away| away.sent_before);
            let mut turn = self.turn();
            let mut changes = Changes::new(&self.store);
            let mut state = session.state.lock();
            let outbox = &mut state.outbox;
            let mut read = |place| library.read(place);
            outbox.restore(image.copies, next_ordinal, sent_before, &group, &mut read, &mut changes);
            state.account(&self.budget);
            drop(state);
            recovered.unreadable += changes.damaged as usize;
            self.counters.count_dropped(&session, [(DropReason::Damaged, changes.damaged)]);
            turn.changes.gone = changes.gone;
            turn.collect(&session);
            if image.record.away.is_none() {
                // A second crash is not to give it its time once more.
                turn.begin();
                self.write_away(&mut turn, moment, &session);
            }
        }
        for (mark, ticket) in tickets {
            if let Some(group) = marks.get(&mark) {
                group.resume(ticket);
            }
        }
    }

    /// A copy of a group that moves is first written down for its new holder, then settled for the old
    /// one. If a crash came between, both have it: the older one goes.
    fn settle_moved(&self, library: &mut Library, restored: &mut [Restored]) {
        let mut last: HashMap<Shared, Place> = HashMap::new();
        let copies = restored.iter().flat_map(|(_, image)| image.copies.values());
        for (shared, place) in copies.filter_map(|copy| Some((copy.shared()?, copy.place))) {
            let known = last.entry(shared).or_insert(place);
            *known = place.max(*known);
        }
        // A group that was given up and made anew counts from the beginning: the message tells.
        let mut is_same = |one, other| {
            let mut read = |place| library.read(place).ok();
            read(one).zip(read(other)).is_some_and(|(one, other)| {
                let known_by =
                    |message: &Arc<Message>| (message.accepted_unix_millis.get(), message.publisher.clone());
                one.topic == other.topic && one.payload == other.payload && known_by(&one) == known_by(&other)
            })
        };
        for (session, image) in restored {
            let mut turn = self.turn();
            image.copies.retain(|ordinal, copy| {
                let last = copy.shared().map_or(copy.place, |shared| last[&shared]);
                let has_moved = last != copy.place && is_same(last, copy.place);
                if has_moved {
                    turn.changes.gone.push(Gone { ordinal: *ordinal, place: copy.place });
                }
                !has_moved
            });
            turn.collect(session);
        }
    }

    fn marks(&self, restored: &[Restored]) -> Marks {
        let routes = self.routes.read();
        let subscriptions = restored.iter().flat_map(|(_, image)| &image.record.subscriptions);
        let groups = subscriptions.filter_map(|subscription| {
            let group = routes.group_of(&subscription.filter)?;
            Some((Shared::group_of(&subscription.filter), group))
        });
        groups.collect()
    }

    fn restore_retained(
        &self,
        moment: Moment,
        library: &mut Library,
        places: HashMap<Topic, Place>,
        recovered: &mut Recovered,
    ) {
        let mut turn = self.turn();
        let mut places: Vec<Place> = places.into_values().collect();
        places.sort_unstable();
        let mut retained = self.retained.lock();
        for place in places {
            match library.read(place) {
                Ok(message) if retained.restore(&message, moment, &self.limits) => recovered.retained += 1,
                // Its time has passed.
                Ok(message) => turn.let_go(&message),
                Err(_) => recovered.unreadable += 1,
            }
        }
    }

    fn restore_delayed(
        &self,
        moment: Moment,
        library: &mut Library,
        places: impl IntoIterator<Item = (u64, (u64, Place))>,
        next_serial: u64,
        recovered: &mut Recovered,
    ) {
        let mut delayed = self.delayed.lock();
        delayed.continue_from(next_serial);
        for (serial, (due, place)) in places {
            match library.read(place) {
                Ok(message) => {
                    delayed.restore(serial, moment.instant_at(due), message);
                    recovered.delayed += 1;
                }
                Err(_) => recovered.unreadable += 1,
            }
        }
    }
}
