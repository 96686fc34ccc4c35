use std::collections::HashMap;
use std::sync::Arc;

use crate::group::{Given, Group, Hands};
use crate::outbox::{Entry, Gone};
use crate::turn::Turn;
use crate::{Bus, DropReason, Moment, Session};

/// What happens to messages of shared subscriptions when a member comes, goes or hangs.
impl Bus {
    /// A connection has ended and its session goes on: others take over what they can.
    pub(crate) fn hand_on(&self, turn: &mut Turn<'_>, session: &Arc<Session>, groups: Vec<u32>) {
        for number in groups {
            let group = self.routes.read().group(number);
            if let Some(group) = group {
                let given = group.relieve(&mut self.hands(turn), session);
                self.watch(&group, given);
            }
        }
    }

    /// A session that was a member gives what it was not sent to others, if there are any.
    pub(crate) fn leave_behind(&self, turn: &mut Turn<'_>, session: &Arc<Session>, group: &Arc<Group>) {
        let holds = session.state.lock().outbox.holds(group.number);
        if holds {
            let given = group.relieve(&mut self.hands(turn), session);
            self.watch(group, given);
        }
    }

    /// A session has a connection again: it gets what waits in the queues of absent members.
    pub(crate) fn come_back(&self, turn: &mut Turn<'_>, session: &Arc<Session>) {
        let filters = session.state.lock().subscriptions.shared();
        for filter in filters {
            let group = self.routes.read().group_of(&filter);
            if let Some(group) = group {
                self.gather(turn, &group);
            }
        }
    }

    pub(crate) fn gather(&self, turn: &mut Turn<'_>, group: &Arc<Group>) {
        let given = group.gather(&mut self.hands(turn));
        self.watch(group, given);
    }

    /// A session has ended: others inherit what it leaves of their groups; the rest is dropped.
    pub(crate) fn bequeath(
        &self,
        turn: &mut Turn<'_>,
        session: &Session,
        mut left: Vec<Entry>,
        gone: Vec<Gone>,
    ) {
        let mut gone: HashMap<u64, Gone> = gone.into_iter().map(|gone| (gone.ordinal, gone)).collect();
        left.sort_by_key(|queued| (queued.group, queued.rank()));
        while let Some(number) = left.last().map(|queued| queued.group) {
            let ours = left.split_off(left.partition_point(|queued| queued.group < number));
            let group = self.routes.read().group(number);
            let rest = match group {
                Some(group) => {
                    let mut hands = self.hands(turn);
                    let gone = ours.iter().filter_map(|copy| gone.remove(&copy.ordinal()));
                    hands.took(session, gone.collect::<Vec<_>>(), &ours);
                    let (rest, given) = group.inherit(&mut hands, ours);
                    self.watch(&group, given);
                    rest
                }
                None => ours.len() as u32,
            };
            session.state.lock().outbox.lose(rest);
            self.counters.count_dropped(session, [(DropReason::SessionEnded, rest)]);
        }
        // Of groups that are no more.
        gone.into_values().for_each(|gone| turn.settle_later(session.number, gone));
    }

    pub(crate) fn watch(&self, group: &Arc<Group>, given: Given) {
        if given.watch {
            self.watched.lock().push(group.clone());
        }
    }

    /// Looks at the groups whose members may hang.
    pub(crate) fn review_groups(&self, moment: Moment) {
        let mut groups = std::mem::take(&mut *self.watched.lock());
        // Who is first gets the room; it is not to depend on who was watched first.
        groups.sort_unstable_by_key(|group| group.number);
        for group in groups {
            if group.review(&mut self.hands(&mut self.turn()), moment.instant) {
                self.watched.lock().push(group);
            }
        }
    }

    fn hands<'h, 't>(&'h self, turn: &'h mut Turn<'t>) -> Hands<'h, 't> {
        Hands::new(turn, &self.rules, &self.counters)
    }
}
