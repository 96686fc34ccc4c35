mod member;
mod members;

use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use gateway_model::{Message, Qos};
use parking_lot::{Mutex, MutexGuard};

use self::member::{Member, Standing};
use crate::outbox::{Entry, Reach};
use crate::routes::Subscriber;
use crate::session::State;
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
    members: Mutex<Members>,
}

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
    ticket: u32,
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
    pub(crate) fn new(name: &str, number: u32) -> Self {
        Self { name: name.into(), number, members: Mutex::default() }
    }

    /// Adds a member or replaces its options; whether it is new.
    pub(crate) fn join(&self, subscriber: Subscriber) -> bool {
        let mut members = self.members.lock();
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
        rules: &Rules,
        message: &Arc<Message>,
        priority: u8,
        counters: &Counters,
    ) -> Given {
        let mut members = self.members.lock();
        let copy = Copy { message, priority, group: self.number, ticket: members.ticket };
        let awaits_ack = rules.ack.is_some() && message.qos > Qos::AtMostOnce;
        loop {
            let count = members.list.len();
            if count == 0 {
                return Given::default();
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
                    member.subscriber.push(state, copy, counters);
                    return members.given(rules.sharing, place, watch);
                }
                // Of those that are away always the same one: its queue is the group's, in order.
                let is_keeper = standing == best.0 && standing == Standing::Away && place < best.1;
                if standing < best.0 || is_keeper {
                    best = (standing, place);
                }
            }
            let (standing, place) = best;
            if standing == Standing::Ended {
                return Given::default();
            }
            let subscriber = &members.list[place].subscriber;
            let state = subscriber.session.state.lock();
            if state.ended {
                // It was not, when it was looked at.
                continue;
            }
            let is_away = !state.is_attached();
            subscriber.push(state, copy, counters);
            members.waiting |= is_away;
            // While nobody is there it is soon enough when one comes.
            let may_hang = standing == Standing::Stalled || awaits_ack && !is_away;
            let watch = may_hang || is_away && is_anybody_there;
            if standing == Standing::Away {
                members.ticket = members.ticket.wrapping_add(1);
                return members.watch_if(watch);
            }
            return members.given(rules.sharing, place, watch);
        }
    }

    /// Moves what waits with a session that is away, or is no member any more, to those that are
    /// there, as far as they have room.
    pub(crate) fn relieve(&self, rules: &Rules, from: &Session, counters: &Counters) -> Given {
        let mut members = self.members.lock();
        let mut rooms = members.openings();
        members.relieve(rules, self.number, (from, Reach::Sent), &mut rooms, counters);
        members.watch_if_needed(rules)
    }

    /// A member has come (back): what waits with those that are away moves to who is there.
    pub(crate) fn gather(&self, rules: &Rules, counters: &Counters) -> Given {
        let mut members = self.members.lock();
        members.gather(rules, self.number, counters);
        members.watch_if_needed(rules)
    }

    /// Gives what a session that has ended left behind to others: to those that are there, else to
    /// the queues of those that are away. Returns how many nobody could take.
    pub(crate) fn inherit(&self, rules: &Rules, left: Vec<Entry>, counters: &Counters) -> (u32, Given) {
        let mut members = self.members.lock();
        let rest = members.bestow(rules, self.number, left, counters);
        (rest.len() as u32, members.watch_if_needed(rules))
    }

    /// Looks at a group that is watched: who is stalled or acknowledges nothing, and what can move
    /// now. Whether to look again.
    pub(crate) fn review(&self, rules: &Rules, now: Instant, counters: &Counters) -> bool {
        let mut members = self.members.lock();
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
            members.relieve(rules, self.number, (&session, reach), &mut rooms, counters);
            members.list[place].lapse_if_overdue(now, rules, self.number);
            watch = true;
        }
        if members.waiting {
            members.gather(rules, self.number, counters);
        }
        members.watched = watch || members.waiting && members.is_anybody_there();
        members.watched
    }
}

impl Subscriber {
    /// Queues copies that another member had, as this subscription wants them; returns them if its
    /// session has ended. If it is away, they are `waiting`.
    fn take_over(&self, mut copies: Vec<Entry>, waiting: &mut bool, counters: &Counters) -> Vec<Entry> {
        let mut state = self.session.state.lock();
        if state.ended {
            return copies;
        }
        *waiting |= !state.is_attached();
        for copy in &mut copies {
            copy.qos = state.effective_qos(copy.message.qos, self.qos);
            copy.retain = copy.message.retain && self.retain_as_published;
            copy.identifiers = self.identifiers();
        }
        let dropped = state.merge(copies);
        drop(state);
        count(&self.session, dropped, counters);
        Vec::new()
    }

    fn push(&self, mut state: MutexGuard<'_, State>, copy: Copy<'_>, counters: &Counters) {
        let Copy { message, priority, group, ticket } = copy;
        let qos = state.effective_qos(message.qos, self.qos);
        let retain = message.retain && self.retain_as_published;
        let entry = Entry::new(message.clone(), self.identifiers(), qos, retain, priority);
        let dropped = state.push(entry.shared(group, ticket));
        drop(state);
        count(&self.session, dropped, counters);
    }
}

/// What nobody else took after all stays where it was.
fn give_back(session: &Session, copies: Vec<Entry>, counters: &Counters) {
    let mut state = session.state.lock();
    if state.ended {
        let lost = copies.len() as u32;
        state.outbox.lose(lost);
        return count(session, [(DropReason::SessionEnded, lost)], counters);
    }
    count(session, state.merge(copies), counters);
}

fn count(session: &Session, dropped: impl IntoIterator<Item = (DropReason, u32)>, counters: &Counters) {
    for (reason, count) in dropped {
        counters.add_dropped(&session.client_id, None, reason, count);
    }
}

pub(crate) type Groups = Vec<Arc<Group>>;
