use std::hash::BuildHasher;

use gateway_model::Message;

use super::{Given, Group, Hands, Member, Members, Room, Rules, give_back};
use crate::outbox::{Entry, Reach};
use crate::session::State;
use crate::{Counter, Session, Sharing};

impl Members {
    pub(super) fn position(&self, session: &Session) -> Option<usize> {
        self.list.iter().position(|member| member.subscriber.session.number == session.number)
    }

    /// Where the search for a member begins.
    pub(super) fn first(&self, rules: &Rules, message: &Message, number: u32) -> usize {
        let count = self.list.len();
        let hashed = |value: u64| (value % count as u64) as usize;
        match rules.sharing {
            Sharing::RoundRobin | Sharing::Sticky => self.turn % count,
            Sharing::Random => {
                let draw = |attempt: u32| hashed(rules.hasher.hash_one((number, self.ticket, attempt)));
                // Drawn again if it is away: the one behind it would get its share as well.
                let is_there = |place: &usize| self.list[*place].subscriber.session.is_attached();
                (0..4).map(draw).find(is_there).unwrap_or_else(|| draw(0))
            }
            Sharing::HashClient => hashed(rules.hasher.hash_one(message.publisher.as_str())),
            Sharing::HashTopic => hashed(rules.hasher.hash_one(message.topic.as_str())),
            Sharing::LeastInFlight => {
                let turn = self.turn % count;
                let load = |place: &usize| {
                    let state = self.list[*place].subscriber.session.state.lock();
                    (!state.is_attached(), state.outbox.backlog())
                };
                (turn..count).chain(0..turn).min_by_key(load).unwrap_or(turn)
            }
        }
    }

    /// Notes that a member got the message whose turn it was.
    pub(super) fn given(&mut self, sharing: Sharing, place: usize, watch: bool) -> Given {
        self.ticket = self.ticket.wrapping_add(1);
        self.turn = if sharing == Sharing::Sticky { place } else { (place + 1) % self.list.len() };
        self.watch_if(watch)
    }

    pub(super) fn watch_if(&mut self, watch: bool) -> Given {
        let watch = watch && !self.watched;
        self.watched |= watch;
        Given { matched: true, watch }
    }

    /// After messages have moved, or may have: a look later costs less than a look now at each
    /// member.
    pub(super) fn watch_if_needed(&mut self, rules: &Rules) -> Given {
        let watch = rules.ack.is_some() || self.waiting && self.is_anybody_there();
        self.watch_if(watch)
    }

    pub(super) fn is_anybody_there(&self) -> bool {
        self.list.iter().any(|member| member.subscriber.session.is_attached())
    }

    pub(super) fn gather(&mut self, hands: &mut Hands<'_, '_>, group: &Group) {
        if !self.waiting || !self.is_anybody_there() {
            return;
        }
        self.waiting = false;
        let sessions: Vec<_> = self.list.iter().map(|member| member.subscriber.session.clone()).collect();
        let mut rooms = self.openings();
        for session in sessions.iter().filter(|session| !session.is_attached()) {
            self.relieve(hands, group, (session, Reach::Sent), &mut rooms);
        }
    }

    /// What those can take who are there and do not hang.
    pub(super) fn openings(&self) -> Vec<Room> {
        let mut rooms = self.rooms(|state, member| state.is_attached() && !member.hangs(state));
        // Those that have hung come last, and take turns.
        let suspect = rooms.iter().map(|room| room.suspect).min().flatten();
        rooms.retain(|room| room.suspect == suspect);
        rooms
    }

    /// Moves what a session holds to the `rooms` of others, as far as they go.
    pub(super) fn relieve(
        &mut self,
        hands: &mut Hands<'_, '_>,
        group: &Group,
        (from, reach): (&Session, Reach),
        rooms: &mut Vec<Room>,
    ) {
        let (rules, number) = (hands.rules, group.number);
        // It is among them only if it has come back meanwhile.
        rooms.retain(|room| room.session != from.number);
        let mut state = from.state.lock();
        // It may have come back meanwhile: then what it was sent is its own again.
        let is_away = !state.is_attached();
        let reach = if reach == Reach::Sent && !is_away { Reach::Queued } else { reach };
        let is_nobody_there = rooms.is_empty();
        let place = |queued: &Entry| self.place(rules, number, rooms, queued);
        let taken = if is_nobody_there {
            Vec::new()
        } else {
            state.outbox.take(number, reach, &mut hands.turn.changes, place)
        };
        let is_more = is_away && state.outbox.holds(number);
        state.account(hands.turn.budget);
        drop(state);
        hands.turn.collect(from);
        self.waiting |= is_more;
        let returned = self.hand_over(hands, group, taken);
        let rest = self.bestow(hands, group, returned);
        if !rest.is_empty() {
            give_back(hands, group, from, rest);
        }
    }

    /// Gives copies to whoever can take them; returns those that nobody can.
    pub(super) fn bestow(
        &mut self,
        hands: &mut Hands<'_, '_>,
        group: &Group,
        mut copies: Vec<Entry>,
    ) -> Vec<Entry> {
        let (rules, number) = (hands.rules, group.number);
        let mut rest = Vec::new();
        // A member may end before it gets its share: then that is shared out again.
        while !copies.is_empty() {
            let mut present = self.rooms(|state, _| state.is_attached());
            let mut absent = self.rooms(|state, _| !state.is_attached());
            let mut shares = Vec::with_capacity(copies.len());
            for queued in copies {
                let mut found = self.place(rules, number, &mut present, &queued);
                if found.is_none() {
                    found = self.place(rules, number, &mut absent, &queued);
                }
                match found {
                    Some(place) => shares.push((place, queued)),
                    None => rest.push(queued),
                }
            }
            copies = self.hand_over(hands, group, shares);
        }
        rest
    }

    /// The members that are `eligible` and what they have room for.
    fn rooms(&self, eligible: impl Fn(&State, &Member) -> bool) -> Vec<Room> {
        let room = |(place, member): (usize, &Member)| {
            let state = member.subscriber.session.state.lock();
            let outbox = &state.outbox;
            let (load, messages, bytes) = (outbox.backlog(), outbox.messages_free(), outbox.bytes_free());
            let suspect = member.suspect(&state);
            let is_eligible = !state.ended && eligible(&state, member);
            let session = member.subscriber.session.number;
            is_eligible.then_some(Room { member: place, session, suspect, load, messages, bytes })
        };
        self.list.iter().enumerate().filter_map(room).collect()
    }

    /// Which member is to take over a copy; its room shrinks.
    fn place(&self, rules: &Rules, number: u32, rooms: &mut [Room], queued: &Entry) -> Option<usize> {
        let size = queued.message.size();
        let count = rooms.len();
        let fits = |room: &Room| room.messages > 0 && room.bytes >= size;
        let first = match rules.sharing {
            _ if count == 0 => return None,
            // Whoever has taken over least so far has the most turns left.
            Sharing::RoundRobin | Sharing::LeastInFlight => {
                let least = rooms.iter().enumerate().filter(|(_, room)| fits(room));
                least.min_by_key(|(_, room)| room.load)?.0
            }
            Sharing::Sticky => 0,
            Sharing::Random => (rules.hasher.hash_one((number, queued.ticket)) % count as u64) as usize,
            Sharing::HashClient | Sharing::HashTopic => {
                let wanted = self.first(rules, &queued.message, number);
                rooms.iter().position(|room| room.member >= wanted).unwrap_or(0)
            }
        };
        let place = (first..count).chain(0..first).find(|place| fits(&rooms[*place]))?;
        let room = &mut rooms[place];
        room.messages -= 1;
        room.bytes -= size;
        room.load += 1;
        Some(room.member)
    }

    /// Gives copies to the members they were meant for; returns those of members that have ended.
    fn hand_over(
        &mut self,
        hands: &mut Hands<'_, '_>,
        group: &Group,
        mut copies: Vec<(usize, Entry)>,
    ) -> Vec<Entry> {
        let mut returned = Vec::new();
        hands.counters.add(Counter::Moved, copies.len() as u64);
        copies.sort_by_key(|(place, _)| *place);
        let mut copies = copies.into_iter().peekable();
        while let Some((place, first)) = copies.next() {
            let mut share = vec![first];
            share.extend(std::iter::from_fn(|| Some(copies.next_if(|(other, _)| *other == place)?.1)));
            let member = &self.list[place].subscriber;
            returned.extend(member.take_over(hands, group, share, &mut self.waiting));
        }
        returned
    }
}
