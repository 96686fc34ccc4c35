use gateway_model::Qos;

use super::reference::{Body, Copy, Reference, Session, Wish, is_shared, matches};
use crate::Sharing;

/// A shared subscription (section 4.8.2), and what this gateway makes of the freedom it leaves.
#[derive(Clone)]
pub(super) struct Group {
    filter: String,
    number: u32,
    members: Vec<usize>,
    turn: usize,
    ticket: u64,
}

impl Reference {
    /// One member of each matching group gets it.
    pub(super) fn share(&mut self, body: &Body) {
        for at in 0..self.groups.len() {
            if !matches(&self.groups[at].filter, body.topic) {
                continue;
            }
            let (place, is_turn) = self.choose(at, body);
            let rules = self.rules;
            let group = &mut self.groups[at];
            let client = group.members[place];
            let shared = Some((group.number, group.ticket));
            group.ticket += 1;
            if is_turn {
                let is_sticky = rules.sharing == Sharing::Sticky;
                group.turn = if is_sticky { place } else { (place + 1) % group.members.len() };
            }
            let session = self.sessions.get_mut(&client).unwrap();
            let wish = session.subscriptions[&group.filter].clone();
            session.enqueue(body, &[wish], shared, rules, &mut self.counts);
        }
    }

    /// The place of the member that gets a message, and whether that was its turn.
    fn choose(&self, at: usize, body: &Body) -> (usize, bool) {
        let group = &self.groups[at];
        let session = |place: usize| &self.sessions[&group.members[place]];
        let count = group.members.len();
        let turn = group.turn % count;
        let order = |first: usize| (first..count).chain(0..first);
        let load = |place: &usize| {
            (!session(*place).connected, session(*place).queue.len() + session(*place).sent.len())
        };
        let first = match self.rules.sharing {
            Sharing::LeastInFlight => order(turn).min_by_key(load).unwrap(),
            _ => turn,
        };
        let has_room = |place: &usize| session(*place).room(self.rules) > 0;
        if let Some(ready) = order(first).find(|place| session(*place).connected && has_room(place)) {
            return (ready, true);
        }
        let can_store = |place: &usize| {
            let qos = session(*place).subscriptions[&group.filter].qos.min(body.qos);
            !session(*place).connected && has_room(place) && (qos > Qos::AtMostOnce || self.rules.store_qos0)
        };
        match (0..count).find(can_store) {
            Some(keeper) => (keeper, false),
            None => (first, true),
        }
    }

    pub(super) fn join(&mut self, client: usize, filter: &str) {
        let known = self.groups.iter().position(|group| group.filter == filter);
        let at = known.unwrap_or_else(|| {
            let (filter, number) = (filter.to_owned(), self.next_group());
            self.groups.push(Group { filter, number, members: Vec::new(), turn: 0, ticket: 0 });
            self.groups.len() - 1
        });
        if !self.groups[at].members.contains(&client) {
            self.groups[at].members.push(client);
        }
        self.relieve_absent(at);
    }

    pub(super) fn leave(&mut self, client: usize, filter: &str) {
        let number = self.remove_member(client, filter);
        self.relieve(client, number, false);
    }

    /// Takes what others may have out of a session that has ended: what was never sent, and what
    /// was not acknowledged at QoS 1.
    pub(super) fn leave_all(&mut self, client: usize, session: &mut Session) -> Vec<Copy> {
        let filters = session.subscriptions.keys().filter(|filter| is_shared(filter));
        filters.for_each(|filter| {
            self.remove_member(client, filter);
        });
        let (mut left, mut kept) = (Vec::new(), Vec::new());
        for sent in session.sent.drain(..) {
            match sent.copy.shared.is_some() && sent.copy.qos == Qos::AtLeastOnce {
                true => left.push(sent.copy),
                false => kept.push(sent),
            }
        }
        session.sent = kept;
        left.extend(session.queue.iter().filter(|copy| copy.shared.is_some()).cloned());
        session.queue.retain(|copy| copy.shared.is_none());
        left
    }

    /// Those that are there take over first, then those that are away.
    pub(super) fn bequeath(&mut self, mut left: Vec<Copy>) {
        // As the gateway goes through the groups.
        left.sort_by_key(|copy| {
            (std::cmp::Reverse(group_of(copy)), std::cmp::Reverse(copy.priority), copy.shared)
        });
        let mut numbers: Vec<u32> = left.iter().map(group_of).collect();
        numbers.dedup();
        for number in numbers {
            let ours: Vec<Copy> = left.iter().filter(|copy| group_of(copy) == number).cloned().collect();
            let Some(at) = self.groups.iter().position(|group| group.number == number) else {
                self.counts.session_ended += ours.len() as u64;
                continue;
            };
            let mut shares = Vec::new();
            let (mut present, mut absent) = (self.rooms(at, true, None), self.rooms(at, false, None));
            for copy in ours {
                match place(&mut present, self.rules.sharing)
                    .or_else(|| place(&mut absent, self.rules.sharing))
                {
                    Some(member) => shares.push((member, copy)),
                    None => self.counts.session_ended += 1,
                }
            }
            self.hand_over(at, shares);
        }
    }

    /// The connection of a client has ended.
    pub(super) fn hand_on(&mut self, client: usize) {
        let session = &self.sessions[&client];
        let all = session.queue.iter().chain(session.sent.iter().map(|sent| &sent.copy));
        let mut numbers: Vec<u32> = all.filter(|copy| copy.shared.is_some()).map(group_of).collect();
        numbers.sort();
        numbers.dedup();
        numbers.into_iter().for_each(|number| self.relieve(client, number, true));
    }

    /// A client has come back.
    pub(super) fn gather(&mut self, client: usize) {
        let filters: Vec<String> = self.sessions[&client].subscriptions.keys().cloned().collect();
        for filter in filters {
            if let Some(at) = self.groups.iter().position(|group| group.filter == filter) {
                self.relieve_absent(at);
            }
        }
    }

    /// Time has passed.
    pub(super) fn review(&mut self) {
        (0..self.groups.len()).for_each(|at| self.relieve_absent(at));
    }

    fn relieve_absent(&mut self, at: usize) {
        let (members, number) = (self.groups[at].members.clone(), self.groups[at].number);
        for client in members {
            if !self.sessions[&client].connected {
                self.relieve(client, number, true);
            }
        }
    }

    /// Moves what a session holds of a group to members that are there, while they have room.
    fn relieve(&mut self, from: usize, number: u32, sent: bool) {
        let Some(at) = self.groups.iter().position(|group| group.number == number) else { return };
        let sharing = self.rules.sharing;
        let mut rooms = self.rooms(at, true, Some(from));
        let session = self.sessions.get_mut(&from).unwrap();
        let mut shares = Vec::new();
        let mut is_over = false;
        let mut moves = |copy: &Copy| {
            if is_over || copy.shared.is_none_or(|(group, _)| group != number) {
                return false;
            }
            let member = place(&mut rooms, sharing);
            is_over = member.is_none();
            shares.extend(member.map(|member| (member, copy.clone())));
            member.is_some()
        };
        if sent {
            session.sent.retain(|sent| sent.copy.qos != Qos::AtLeastOnce || !moves(&sent.copy));
        }
        session.queue.retain(|copy| !moves(copy));
        self.hand_over(at, shares);
    }

    /// Members with what they hold and may still take.
    fn rooms(&self, at: usize, connected: bool, without: Option<usize>) -> Vec<(usize, usize, usize)> {
        let members = self.groups[at].members.iter().filter(|member| Some(**member) != without);
        let sessions = members.map(|member| (*member, &self.sessions[member]));
        let eligible = sessions.filter(|(_, session)| session.connected == connected);
        let load = |session: &Session| session.queue.len() + session.sent.len();
        eligible.map(|(member, session)| (member, load(session), session.room(self.rules))).collect()
    }

    fn hand_over(&mut self, at: usize, shares: Vec<(usize, Copy)>) {
        for (member, mut copy) in shares {
            let session = self.sessions.get_mut(&member).unwrap();
            let wish: &Wish = &session.subscriptions[&self.groups[at].filter];
            copy.qos = copy.body.qos.min(wish.qos);
            copy.retain = copy.body.retain && wish.retain_as_published;
            copy.identifiers = wish.identifiers();
            if copy.qos == Qos::AtMostOnce && !session.connected && !self.rules.store_qos0 {
                self.counts.offline += 1;
            } else {
                session.insert(copy);
            }
        }
    }

    /// The number of the group that was left.
    fn remove_member(&mut self, client: usize, filter: &str) -> u32 {
        let at = self.groups.iter().position(|group| group.filter == filter).unwrap();
        let group = &mut self.groups[at];
        let place = group.members.iter().position(|member| *member == client).unwrap();
        group.members.remove(place);
        group.turn -= usize::from(place < group.turn);
        let number = group.number;
        if group.members.is_empty() {
            self.groups.remove(at);
        }
        number
    }
}

fn group_of(copy: &Copy) -> u32 {
    copy.shared.map_or(0, |(group, _)| group)
}

/// Whoever has the least takes it, or with sticky groups the first that can.
fn place(rooms: &mut [(usize, usize, usize)], sharing: Sharing) -> Option<usize> {
    let open = rooms.iter_mut().filter(|(_, _, room)| *room > 0);
    let chosen = match sharing {
        Sharing::Sticky => open.into_iter().next(),
        _ => open.min_by_key(|(_, load, _)| *load),
    }?;
    (chosen.1, chosen.2) = (chosen.1 + 1, chosen.2 - 1);
    Some(chosen.0)
}
