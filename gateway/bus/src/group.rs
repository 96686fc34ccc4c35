mod hands;
mod member;
mod members;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use gateway_model::{Message, Qos};
use gateway_store::Shared;

pub(crate) use self::hands::Hands;
use self::member::{Member, Standing};
use crate::lock::{Mutex, MutexGuard};
use crate::outbox::{Entry, Reach};
use crate::publishing::again;
use crate::routes::{Listed, Subscriber};
use crate::session::State;
use crate::turn::{Holds, Turn};
use crate::{Counters, DropReason, Session, Sharing};

/// The members of one shared subscription, `$share/{name}/{filter}`: each message goes to one of
/// them (MQTT 5.0 section 4.8.2).
///
/// A group has no queue of its own: what nobody can take now waits in the outbox of a member, with
/// its place in the sequence of the group, and moves from there: when its holder goes, when another
/// comes back first, and when its holder takes or acknowledges nothing while others do.
pub(crate) struct Group {
    pub(crate) name: Box<str>,
    /// What its messages are marked with in outboxes; unique while it lasts, not 0.
    pub(crate) number: u32,
    /// What the log knows it by.
    mark: u64,
    /// Sessions that outlive their connections are, or were, members.
    durable: AtomicBool,
    members: Mutex<Members>,
}

/// A group has got its first durable member since the caller thought that it had none: he is to begin
/// to append, and to try again.
pub(crate) struct NeedsLog;

#[derive(Default)]
struct Members {
    list: Vec<Member>,
    /// Who is next.
    turn: usize,
    /// Of the next message.
    ticket: u32,
    /// A member that is away may hold messages.
    waiting: bool,
    /// The bus looks at it from time to time.
    watched: bool,
}

/// How groups choose, for all of them.
pub(crate) struct Rules {
    pub(crate) sharing: Sharing,
    pub(crate) stall: Option<Duration>,
    pub(crate) ack: Option<Duration>,
    pub(crate) hasher: FixedState,
}

/// What became of a message that was given to a group.
#[derive(Clone, Copy, Default)]
pub(crate) struct Given {
    pub(crate) matched: bool,
    /// The group has to be looked at later, as nobody looks yet.
    pub(crate) watch: bool,
}

/// One message on its way into a group.
#[derive(Clone, Copy)]
struct Copy<'a> {
    message: &'a Arc<Message>,
    priority: u8,
    group: u32,
    shared: Shared,
}

/// What another member could still hold.
struct Room {
    member: usize,
    session: u64,
    /// When it hung, if nothing shows that it does not any more.
    suspect: Option<Instant>,
    load: usize,
    messages: usize,
    bytes: usize,
}

impl Group {
    pub(crate) fn new(name: &str, number: u32, mark: u64) -> Self {
        Self { name: name.into(), number, mark, durable: AtomicBool::new(false), members: Mutex::default() }
    }

    /// Whether the log may have to know what happens in it.
    pub(crate) fn is_durable(&self) -> bool {
        self.durable.load(Ordering::Relaxed)
    }

    /// Adds a member or replaces its options; whether it is new.
    pub(crate) fn join(&self, subscriber: Subscriber) -> bool {
        let mut members = self.members.lock();
        if subscriber.session.is_durable() {
            self.durable.store(true, Ordering::Relaxed);
        }
        match members.position(&subscriber.session) {
            Some(place) => {
                members.list[place].subscriber = subscriber;
                false
            }
            None => {
                members.list.push(Member::new(subscriber));
                true
            }
        }
    }

    /// Whether nobody is left.
    pub(crate) fn leave(&self, session: &Session) -> bool {
        let mut members = self.members.lock();
        if let Some(place) = members.position(session) {
            members.list.remove(place);
            // Who was next is next still.
            members.turn -= usize::from(place < members.turn);
        }
        members.list.is_empty()
    }

    /// Gives a message to one member: the first, from where the rules begin, that is ready; if none
    /// is, the one that can take it best.
    pub(crate) fn give(
        &self,
        turn: &mut Turn<'_>,
        rules: &Rules,
        message: &Arc<Message>,
        priority: u8,
        counters: &Counters,
    ) -> Result<Given, NeedsLog> {
        let mut members = self.members.lock();
        if message.qos > Qos::AtMostOnce && self.is_durable() && !turn.is_ready() {
            return Err(NeedsLog);
        }
        let shared = Shared { group: self.mark, ticket: members.ticket };
        let copy = Copy { message, priority, group: self.number, shared };
        let awaits_ack = rules.ack.is_some() && message.qos > Qos::AtMostOnce;
        loop {
            let count = members.list.len();
            if count == 0 {
                return Ok(Given::default());
            }
            let first = members.first(rules, message, self.number);
            let mut best = (Standing::Ended, first);
            let mut is_anybody_there = false;
            for place in (first..count).chain(0..first) {
                let member = &mut members.list[place];
                let state = member.subscriber.session.state.lock();
                is_anybody_there |= state.is_attached();
                let standing = member.standing(&state, message);
                if standing == Standing::Ready {
                    member.stalled = false;
                    let watch = awaits_ack || state.outbox.is_behind();
                    member.subscriber.push(turn, state, copy, counters);
                    return Ok(members.given(rules.sharing, place, watch));
                }
                // Of those that are away always the same one: its queue is the group's, in order.
                let is_keeper = standing == best.0 && standing == Standing::Away && place < best.1;
                if standing < best.0 || is_keeper {
                    best = (standing, place);
                }
            }
            let (standing, place) = best;
            if standing == Standing::Ended {
                return Ok(Given::default());
            }
            let subscriber = &members.list[place].subscriber;
            let state = subscriber.session.state.lock();
            if state.ended {
                // It was not, when it was looked at.
                continue;
            }
            let is_away = !state.is_attached();
            subscriber.push(turn, state, copy, counters);
            members.waiting |= is_away;
            // While nobody is there it is soon enough when one comes.
            let may_hang = standing == Standing::Stalled || awaits_ack && !is_away;
            let watch = may_hang || is_away && is_anybody_there;
            if standing == Standing::Away {
                members.ticket = members.ticket.wrapping_add(1);
                return Ok(members.watch_if(watch));
            }
            return Ok(members.given(rules.sharing, place, watch));
        }
    }

    /// Moves what waits with a session that is away, or is no member any more, to those that are
    /// there, as far as they have room.
    pub(crate) fn relieve(&self, hands: &mut Hands<'_, '_>, from: &Session) -> Given {
        let mut members = self.lock(hands.turn);
        let mut rooms = members.openings();
        members.relieve(hands, self, (from, Reach::Sent), &mut rooms);
        members.watch_if_needed(hands.rules)
    }

    /// A member has come (back): what waits with those that are away moves to who is there.
    pub(crate) fn gather(&self, hands: &mut Hands<'_, '_>) -> Given {
        let mut members = self.lock(hands.turn);
        members.gather(hands, self);
        members.watch_if_needed(hands.rules)
    }

    /// Gives what a session that has ended left behind to others: to those that are there, else to
    /// the queues of those that are away. Returns how many nobody could take.
    pub(crate) fn inherit(&self, hands: &mut Hands<'_, '_>, left: Vec<Entry>) -> (u32, Given) {
        let mut members = self.lock(hands.turn);
        let rest = members.bestow(hands, self, left);
        (rest.len() as u32, members.watch_if_needed(hands.rules))
    }

    /// Looks at a group that is watched: who is stalled or acknowledges nothing, and what can move
    /// now. Whether to look again.
    pub(crate) fn review(&self, hands: &mut Hands<'_, '_>, now: Instant) -> bool {
        let rules = hands.rules;
        let mut members = self.lock(hands.turn);
        let mut watch = false;
        let mut hanging = Vec::new();
        for (place, member) in members.list.iter_mut().enumerate() {
            watch |= member.observe(now, rules, self.number);
            // All before anything moves, so that nothing moves from one of them to another.
            let overdue = member.lapse_if_overdue(now, rules, self.number);
            if overdue.is_some() || member.stalled {
                hanging.push((place, member.subscriber.session.clone(), overdue));
            }
        }
        let mut rooms = if hanging.is_empty() { Vec::new() } else { members.openings() };
        for (place, session, overdue) in hanging {
            let reach = overdue.map_or(Reach::Queued, Reach::SentBefore);
            members.relieve(hands, self, (&session, reach), &mut rooms);
            members.list[place].lapse_if_overdue(now, rules, self.number);
            watch = true;
        }
        if members.waiting {
            members.gather(hands, self);
        }
        members.watched = watch || members.waiting && members.is_anybody_there();
        members.watched
    }

    /// After a restart: the next message comes behind what members have already, which may wait with
    /// those that are away.
    pub(crate) fn resume(&self, ticket: u32) {
        let mut members = self.members.lock();
        members.ticket = ticket.wrapping_add(1);
        members.waiting = true;
    }

    /// Its members, with the log if that may have to know. No lock of the bus may be held.
    fn lock(&self, turn: &mut Turn<'_>) -> MutexGuard<'_, Members> {
        loop {
            if self.is_durable() {
                turn.begin();
            }
            let members = self.members.lock();
            if turn.is_ready() || !self.is_durable() {
                return members;
            }
        }
    }
}

impl Subscriber {
    /// Queues copies that another member had, as this subscription wants them; returns them if its
    /// session has ended. If it is away, they are `waiting`.
    fn take_over(
        &self,
        hands: &mut Hands<'_, '_>,
        group: &Group,
        mut copies: Vec<Entry>,
        waiting: &mut bool,
    ) -> Vec<Entry> {
        let state = self.session.state.lock();
        if state.ended {
            return copies;
        }
        *waiting |= !state.is_attached();
        for copy in &mut copies {
            copy.qos = state.effective_qos(copy.message.qos, self.qos);
            copy.retain = copy.message.retain && self.retain_as_published;
            copy.identifiers = self.identifiers();
        }
        take_in(hands, group, &self.session, state, copies);
        Vec::new()
    }

    fn push(&self, turn: &mut Turn<'_>, state: MutexGuard<'_, State>, copy: Copy<'_>, counters: &Counters) {
        let Copy { message, priority, group, shared } = copy;
        let qos = state.effective_qos(message.qos, self.qos);
        let retain = message.retain && self.retain_as_published;
        let entry = Entry::new(message.clone(), self.identifiers(), qos, retain, priority);
        let entry = entry.shared(group, shared.ticket);
        let dropped = self.session.push(turn, state, entry, Some(shared));
        counters.count_dropped(&self.session, dropped);
    }
}

/// Queues copies that were somebody else's. In the log each becomes a message of its own: nobody
/// joins those who held it from the beginning.
fn take_in(
    hands: &mut Hands<'_, '_>,
    group: &Group,
    session: &Session,
    mut state: MutexGuard<'_, State>,
    copies: Vec<Entry>,
) {
    // The log gets them while the session is locked, the turn's changes when it no longer is.
    let (turn, leaving) = (&mut *hands.turn, &mut hands.leaving);
    let mut changes = turn.more_changes();
    let dropped = state.merge(copies, &mut changes, &mut |entry| {
        if !session.is_durable() || entry.qos == Qos::AtMostOnce || entry.message.qos == Qos::AtMostOnce {
            return;
        }
        entry.message = again(&entry.message);
        turn.begin_message(&entry.message, Listed::one(&entry.identifiers));
        if turn.is_storing() {
            entry.list();
            let shared = Shared { group: group.mark, ticket: entry.ticket };
            turn.note(session.copy(entry, Some(shared)));
            turn.store(&entry.message, Holds::default());
        }
        // In the same segment if possible, so that after a crash one of both has it.
        let left = leaving.remove(&entry.ticket);
        left.into_iter().for_each(|(session, gone)| turn.settle(session, gone));
    });
    state.account(turn.budget());
    drop(state);
    turn.changes = changes;
    turn.collect(session);
    hands.counters.count_dropped(session, dropped);
}

/// What nobody else took after all stays where it was.
fn give_back(hands: &mut Hands<'_, '_>, group: &Group, session: &Session, copies: Vec<Entry>) {
    let mut state = session.state.lock();
    if state.ended {
        let lost = copies.len() as u32;
        state.outbox.lose(lost);
        return hands.counters.count_dropped(session, [(DropReason::SessionEnded, lost)]);
    }
    take_in(hands, group, session, state, copies);
}

pub(crate) type Groups = Vec<Arc<Group>>;
