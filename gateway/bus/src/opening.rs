use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use gateway_model::{ClientId, Expiry, Moment, Notifier, Open, Opened, Reason, Testament, TopicFilter};
use gateway_store::Record;

use crate::lock::MutexGuard;
use crate::outbox::{Entry, Gone, Outbox, Tail};
use crate::session::{Named, State};
use crate::turn::Turn;
use crate::vacancy::Vacancy;
use crate::{Attachment, Bus, Counter, DropReason, Promise, Session, SessionOptions};

/// What is left of a session that has ended.
struct Remains {
    session: Arc<Session>,
    /// A connection held it.
    was_held: bool,
    /// Another session of its name has its place.
    was_replaced: bool,
    filters: Vec<TopicFilter>,
    /// What others of its groups may take.
    shared: Vec<Entry>,
    /// Those of them that the log has.
    gone: Vec<Gone>,
    /// What nobody takes, as far as it was not at hand.
    tail: Option<Tail>,
    will: Option<Arc<dyn Testament>>,
}

/// How many filters of a session that ends are taken out of the routes under one lock.
const FILTERS_AT_A_TIME: usize = 256;

/// Sessions come, wait for their clients, and go.
///
/// Whatever the log has to know of one of them happens in one turn: first what others get of it
/// (copies, its will), then what becomes of itself, so that a crash between leaves too much rather
/// than too little.
impl Bus {
    /// Opens a session under `client_id`, or resumes it; whoever holds it loses it.
    ///
    /// One that outlives its connection is durable: it is refused with `QuotaExceeded`, unless it is
    /// known, while the store has no room. There is always room for those of the gateway's own, which are
    /// few.
    pub fn open(
        &self,
        moment: Moment,
        client_id: ClientId,
        open: Open,
        options: SessionOptions,
        notify: Notifier,
    ) -> Result<(Attachment, Promise<Opened>), Reason> {
        let expiry = self.grant(&client_id, open.expiry);
        let window_max = options.in_flight_max.unwrap_or(self.limits.in_flight_max);
        let window = open.receive_maximum.clamp(1, window_max.max(1));
        let mut turn = self.turn();
        let is_durable = self.keeps && expiry != Expiry::Immediately;
        if is_durable {
            turn.begin();
        }
        let (mut sessions, previous) = self.find(&mut turn, &client_id);
        let is_own = client_id.is_reserved();
        if previous.is_none() && sessions.len() >= self.limits.sessions_max && !is_own {
            return Err(Reason::QuotaExceeded);
        }
        let is_over = previous.as_ref().is_some_and(|session| session.state.lock().is_over(moment.instant));
        let resumes = |session: &Arc<Session>| session.state.lock().may_be_resumed_by(options.owner);
        let session_present = !open.clean_start && !is_over && previous.as_ref().is_some_and(resumes);
        if is_durable && !session_present && turn.is_full() && !is_own {
            return Err(Reason::QuotaExceeded);
        }
        let mut will = None;
        let mut remains = None;
        let session = match previous {
            Some(session) if session_present => session,
            previous => {
                if let Some(previous) = previous {
                    remains = self.end(&mut turn, &previous);
                    self.counters.add(Counter::SessionsDiscarded, u64::from(!is_over));
                }
                let outbox = Outbox::new(window, options.queue.unwrap_or(self.limits.queue), is_durable);
                let session = self.make_session(&client_id, outbox);
                sessions.replace(Named(session.clone()));
                session
            }
        };
        let mut took_over = remains.as_ref().is_some_and(|remains: &Remains| remains.was_held);
        let (attachment, held) = {
            let mut state = session.state.lock();
            if session_present {
                took_over = state.is_attached();
                will = self.take_over(&mut state, moment.instant);
                self.counters.add(Counter::SessionsResumed, 1);
            }
            self.disarm(&session, &mut state);
            state.outbox.set_limits(options.queue.unwrap_or(self.limits.queue));
            state.owner = options.owner;
            state.set_will(open.will);
            state.set_expiry(expiry);
            let held = state.held();
            (session.attach(&mut state, notify, window, took_over), held)
        };
        drop(sessions);
        if let Some(remains) = remains {
            self.settle_estate(&mut turn, moment, Remains { was_replaced: true, ..remains });
        }
        if session_present {
            self.come_back(&mut turn, &session);
        }
        will.into_iter().for_each(|will| self.publish_will(&mut turn, moment, &client_id, &*will));
        self.write_open(&mut turn, moment, &session, session_present);
        let opened = Opened { client_id, session_present, expiry, held, authentication_data: None };
        Ok((attachment, turn.promise(opened)))
    }

    /// The connection ends. Void attachments change nothing; whether this one was not.
    pub fn detach(
        &self,
        moment: Moment,
        attachment: &Attachment,
        publish_will: bool,
        expiry: Option<Expiry>,
    ) -> bool {
        let session = &attachment.session;
        let mut turn = self.turn_of(session);
        let mut state = session.state.lock();
        if !attachment.holds(&state) {
            return false;
        }
        state.release();
        if let Some(expiry) = expiry {
            state.set_expiry(self.grant(&session.client_id, expiry));
        }
        let will = state.take_will().filter(|_| publish_will);
        let expiry = state.expiry();
        if expiry == Expiry::Immediately {
            drop(state);
            self.remove(&mut turn, moment, session, will);
            return true;
        }
        // What others of a group may take goes to them first.
        let groups = state.outbox.groups();
        let now_due = match will {
            Some(will) if !will.delay().is_zero() => {
                state.deadlines.get_or_insert_default().will = Some((moment.instant + will.delay()).into());
                state.set_will(Some(will));
                None
            }
            will => will,
        };
        if let Expiry::After(expiry) = expiry {
            state.deadlines.get_or_insert_default().expiry = Some((moment.instant + expiry).into());
        }
        if let Some(deadlines) = &mut state.deadlines {
            self.timers.lock().arm(session, deadlines);
        }
        if groups.is_empty() {
            self.leave_alone(&mut turn, session, state);
        } else {
            drop(state);
            self.hand_on(&mut turn, session, groups);
            let state = session.state.lock();
            if !state.is_attached() {
                self.leave_alone(&mut turn, session, state);
            }
        }
        now_due.into_iter().for_each(|will| self.publish_will(&mut turn, moment, &session.client_id, &*will));
        self.write_away(&mut turn, moment, session);
        true
    }

    /// Publishes wills and ends sessions whose time has come.
    pub(crate) fn end_waiting(&self, moment: Moment) {
        loop {
            let next = self.timers.lock().pop(moment.instant);
            let Some((at, session)) = next else { return };
            let Some(session) = session.upgrade() else { continue };
            let mut turn = self.turn_of(&session);
            let mut state = session.state.lock();
            let Some((will_is_due, is_expired)) = state.look(at, moment.instant) else { continue };
            // A session that ends is the last moment for its will (MQTT 5.0 section 3.1.2.5).
            let will = if will_is_due || is_expired { state.take_will() } else { None };
            if let (false, Some(deadlines)) = (is_expired, &mut state.deadlines) {
                self.timers.lock().arm(&session, deadlines);
            }
            drop(state);
            if is_expired {
                self.remove(&mut turn, moment, &session, will);
            } else if let Some(will) = will {
                self.publish_will(&mut turn, moment, &session.client_id, &*will);
                if session.is_durable() {
                    turn.append_lazily(&Record::Willed { session: session.number });
                }
            }
        }
    }

    /// The session table, and who is in it under the name; in a turn if the log knows of him.
    #[allow(clippy::type_complexity)] // a guard and what was found under it
    fn find(
        &self,
        turn: &mut Turn<'_>,
        client_id: &ClientId,
    ) -> (MutexGuard<'_, crate::bus::Sessions>, Option<Arc<Session>>) {
        loop {
            let sessions = self.sessions.lock();
            let previous = sessions.get(client_id).map(|named| named.0.clone());
            if turn.is_ready() || previous.as_ref().is_none_or(|previous| !previous.is_durable()) {
                return (sessions, previous);
            }
            drop(sessions);
            turn.begin();
        }
    }

    fn make_session(&self, client_id: &ClientId, outbox: Outbox) -> Arc<Session> {
        let count = self.next_session.fetch_add(1, Ordering::Relaxed);
        let number = Session::number(count, outbox.is_durable());
        self.counters.add(Counter::SessionsOpened, 1);
        Arc::new(Session::new(client_id.clone(), number, outbox))
    }

    /// What the gateway opens for itself (a bridge) lasts as long as it says.
    fn grant(&self, client_id: &ClientId, expiry: Expiry) -> Expiry {
        match (expiry, self.limits.session_expiry_max.filter(|_| !client_id.is_reserved())) {
            (Expiry::After(wish), _) if wish.is_zero() => Expiry::Immediately,
            (Expiry::After(wish), Some(max)) => Expiry::After(wish.min(max)),
            (Expiry::Never, Some(max)) => Expiry::After(max),
            (expiry, _) => expiry,
        }
    }

    /// The connection of a session that goes on is replaced. A will is due unless it may wait for
    /// exactly this (MQTT 5.0 section 3.1.3.2.2), or if it was before, and nobody has looked since.
    fn take_over(&self, state: &mut State, now: Instant) -> Option<Arc<dyn Testament>> {
        let will = state.take_will();
        if !state.evict() {
            return will.filter(|_| state.is_will_overdue(now));
        }
        self.counters.add(Counter::SessionsTakenOver, 1);
        will.filter(|will| will.delay().is_zero())
    }

    /// Nothing waits for a client that is there, or that will not come back.
    fn disarm(&self, session: &Arc<Session>, state: &mut State) {
        if let Some(deadlines) = state.deadlines.take() {
            self.timers.lock().disarm(session, &deadlines);
        }
    }

    /// A session waits for its client: what is not kept for one goes.
    fn leave_alone(&self, turn: &mut Turn<'_>, session: &Session, mut state: MutexGuard<'_, State>) {
        let forgotten = state.forget_qos0(&mut turn.changes);
        state.outbox.leave(&mut turn.changes);
        state.account(&self.budget);
        drop(state);
        turn.collect(session);
        self.counters.count_dropped(session, [(DropReason::Offline, forgotten)]);
    }

    /// Ends a session that nobody holds, and publishes a will that is due.
    fn remove(
        &self,
        turn: &mut Turn<'_>,
        moment: Moment,
        session: &Arc<Session>,
        will: Option<Arc<dyn Testament>>,
    ) {
        let is_in_use = {
            let mut sessions = self.sessions.lock();
            let is_current = |present: &Named| Arc::ptr_eq(&present.0, session);
            let is_current = sessions.get(&session.client_id).is_some_and(is_current);
            // Between the moment that made it due and this lock it may have been resumed.
            let is_in_use = is_current && session.state.lock().is_attached();
            if is_current && !is_in_use {
                sessions.remove(&session.client_id);
                sessions.give_back();
            }
            is_in_use
        };
        let remains = if is_in_use { None } else { self.end(turn, session) };
        match remains {
            Some(remains) => {
                let will = will.or(remains.will);
                self.settle_estate(turn, moment, Remains { will, ..remains });
            }
            None => {
                will.into_iter().for_each(|will| self.publish_will(turn, moment, &session.client_id, &*will));
            }
        }
    }

    /// Ends a session, unless it has ended: nothing comes into it any more.
    fn end(&self, turn: &mut Turn<'_>, session: &Arc<Session>) -> Option<Remains> {
        let mut state = session.state.lock();
        if state.ended {
            return None;
        }
        state.ended = true;
        let was_held = state.evict();
        let shared = state.outbox.take_shared(&mut turn.changes);
        let left = turn.changes.gone.drain(..).collect();
        let (gone, tail) = state.outbox.clear(&mut turn.changes);
        state.account(&self.budget);
        let filters = std::mem::take(&mut state.subscriptions).into_filters();
        let will = state.take_will();
        self.disarm(session, &mut state);
        drop(state);
        turn.collect_end();
        if was_held {
            self.counters.add(Counter::SessionsTakenOver, 1);
        }
        self.counters.add(Counter::SessionsEnded, 1);
        self.counters.count_dropped(session, [(DropReason::SessionEnded, gone)]);
        if session.is_durable() {
            let mut durable = self.durable.lock();
            durable.remove(&session.number);
            durable.give_back();
        }
        Some(Remains {
            session: session.clone(),
            was_held,
            was_replaced: false,
            filters,
            shared,
            gone: left,
            tail,
            will,
        })
    }

    /// Gives what a session leaves to those that it is for. No lock of the bus is held.
    fn settle_estate(&self, turn: &mut Turn<'_>, moment: Moment, remains: Remains) {
        let Remains { session, was_replaced, filters, shared, gone, tail, will, .. } = remains;
        if let Some(mut tail) = tail {
            tail.clear(&mut turn.changes);
            turn.collect_end();
        }
        // Others look up routes in between: there may be a hundred thousand filters.
        for some in filters.chunks(FILTERS_AT_A_TIME) {
            let mut routes = self.routes.write();
            some.iter().for_each(|filter| routes.unsubscribe(filter, &session));
            self.generation.fetch_add(1, Ordering::Release);
        }
        self.bequeath(turn, &session, shared, gone);
        will.into_iter().for_each(|will| self.publish_will(turn, moment, &session.client_id, &*will));
        if session.is_durable() {
            // Whoever makes it end by opening another one waits for this: a crash is not to bring it back.
            let end = Record::Ended { session: session.number };
            if was_replaced { turn.append(&end) } else { turn.append_lazily(&end) }
        }
    }

    fn write_open(&self, turn: &mut Turn<'_>, moment: Moment, session: &Arc<Session>, is_known: bool) {
        if !session.is_durable() {
            return;
        }
        self.set_clock(moment);
        if is_known {
            let state = session.state.lock();
            let (owner, expiry, will) = (state.owner, state.expiry(), state.will());
            drop(state);
            turn.append(&Record::Attached { session: session.number, owner, expiry, will });
        } else {
            self.durable.lock().insert(session.number, session.clone());
            turn.append(&Record::Session(Box::new(session.record(moment))));
        }
    }

    pub(crate) fn write_away(&self, turn: &mut Turn<'_>, moment: Moment, session: &Session) {
        if !session.is_durable() {
            return;
        }
        self.set_clock(moment);
        let state = session.state.lock();
        let (expiry, away, will) = (state.expiry(), state.away(moment), state.will());
        drop(state);
        let session = session.number;
        turn.append_lazily(&Record::Away { session, expiry, away: away.unwrap_or_default(), will });
    }
}
