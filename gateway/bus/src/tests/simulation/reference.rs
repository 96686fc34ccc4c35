use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gateway_model::{DeliveryId, Qos, RetainHandling, Settlement};

use super::groups::Group;
use crate::{PriorityDefault, Sharing};

/// A server as the specification describes it, slow and simple. Time is in seconds.
#[derive(Clone)]
pub(super) struct Reference {
    pub(super) now: u64,
    pub(super) sessions: BTreeMap<usize, Session>,
    /// Each with the moment it stops being kept.
    pub(super) retained: BTreeMap<&'static str, (Body, Option<u64>)>,
    pub(super) delayed: Vec<(u64, Body)>,
    /// What comes back after a crash of what is retained: nothing that was published at QoS 0.
    pub(super) retained_log: BTreeMap<&'static str, (Body, Option<u64>)>,
    /// Topics of it that were changed at QoS 0 and go with the next look at the time.
    pub(super) unwritten: BTreeSet<&'static str>,
    pub(super) groups: Vec<Group>,
    groups_made: u32,
    pub(super) counts: Counts,
    pub(super) rules: Rules,
}

/// The configured part: what the specification leaves to the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) messages_max: usize,
    pub(super) drop_oldest: bool,
    pub(super) store_qos0: bool,
    pub(super) retained_secs_max: Option<u64>,
    pub(super) delayed_max: usize,
    /// Some topics have priorities; all others go last, or first.
    pub(super) priorities: Option<PriorityDefault>,
    pub(super) sharing: Sharing,
}

/// Filters with priorities, if there are any.
pub(super) const PRIORITIES: [(&str, u8); 3] = [("a/#", 3), ("+/b", 7), ("x/y/z", 255)];

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) accepted: u64,
    pub(super) unrouted: u64,
    pub(super) matched: u64,
    pub(super) delivered: u64,
    pub(super) queue_full: u64,
    pub(super) expired: u64,
    pub(super) offline: u64,
    pub(super) session_ended: u64,
    pub(super) refused: u64,
    pub(super) wills: u64,
    pub(super) delayed: u64,
    pub(super) delayed_released: u64,
    pub(super) delayed_expired: u64,
    pub(super) not_accepted: u64,
}

#[derive(Clone)]
pub(super) struct Session {
    pub(super) connected: bool,
    /// It was opened to outlive its connection.
    pub(super) is_durable: bool,
    /// Copies that came into it.
    pub(super) copies: u64,
    /// Seconds that it outlives its connection; `None` is for ever.
    pub(super) expiry: Option<u64>,
    /// Milliseconds: a client's deadlines are later by its number, so that no two are at once.
    pub(super) ends_at: Option<u64>,
    pub(super) will_at: Option<u64>,
    window: usize,
    /// With the seconds it may wait.
    pub(super) will: Option<(Body, u64)>,
    pub(super) subscriptions: BTreeMap<String, Wish>,
    pub(super) queue: VecDeque<Copy>,
    pub(super) sent: Vec<Sent>,
    /// The connection must have been told since it last took.
    pub(super) is_owed_a_bell: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) qos: Qos,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    pub(super) retain_handling: RetainHandling,
    pub(super) identifier: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) topic: &'static str,
    pub(super) text: String,
    pub(super) qos: Qos,
    pub(super) retain: bool,
    pub(super) expires_at: Option<u64>,
    pub(super) publisher: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Copy {
    pub(super) body: Body,
    pub(super) qos: Qos,
    pub(super) retain: bool,
    pub(super) identifiers: Vec<u32>,
    /// Retained, for a new subscription: not held to the length of the queue.
    pub(super) is_replayed: bool,
    pub(super) priority: u8,
    /// Number of the group and place in its sequence.
    pub(super) shared: Option<(u32, u64)>,
    pub(super) arrival: Arrival,
}

/// What a copy has of its session, and still has after a restart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) ordinal: u64,
    /// Whether it was sent before the restart; `None` if nobody knows.
    pub(super) was_sent: Option<bool>,
    pub(super) id: Option<DeliveryId>,
}

impl Default for Arrival {
    fn default() -> Self {
        Self { ordinal: 0, was_sent: Some(false), id: None }
    }
}

#[derive(Clone)]
pub(super) struct Sent {
    pub(super) copy: Copy,
    pub(super) id: Option<DeliveryId>,
    pub(super) received: bool,
    resend: bool,
}

/// What a receiver is to see.
#[derive(Debug, PartialEq)]
pub(super) struct Sight {
    pub(super) topic: String,
    pub(super) text: String,
    pub(super) qos: Qos,
    pub(super) retain: bool,
    /// `None`: either is right.
    pub(super) duplicate: Option<bool>,
    pub(super) released: bool,
    pub(super) identifiers: Vec<u32>,
}

impl Reference {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            now: 0,
            sessions: BTreeMap::new(),
            retained: BTreeMap::new(),
            delayed: Vec::new(),
            retained_log: BTreeMap::new(),
            unwritten: BTreeSet::new(),
            groups: Vec::new(),
            groups_made: 0,
            counts: Counts::default(),
            rules,
        }
    }

    /// Section 3.1.2.4 and section 3.1.4; whether the session is present.
    pub(super) fn open(
        &mut self,
        client: usize,
        clean_start: bool,
        expiry: Option<u64>,
        window: usize,
        will: Option<(Body, u64)>,
    ) -> bool {
        let mut due = None;
        let mut is_present = false;
        if let Some(session) = self.sessions.get_mut(&client) {
            if clean_start || session.expiry == Some(0) {
                // The end of the session does not let the will wait.
                due = self.end(client).map(|(will, _)| will);
            } else {
                let taken_over = session.connected;
                let will = session.will.take();
                due = will.filter(|(_, delay)| taken_over && *delay == 0).map(|(will, _)| will);
                is_present = true;
            }
        }
        let is_durable = expiry != Some(0);
        let session =
            self.sessions.entry(client).or_insert_with(|| Session { is_durable, ..Session::empty() });
        session.connected = true;
        session.expiry = expiry;
        (session.ends_at, session.will_at) = (None, None);
        session.window = window;
        session.will = will;
        session.sent.iter_mut().for_each(|sent| sent.resend = true);
        session.is_owed_a_bell = !session.queue.is_empty() || !session.sent.is_empty();
        if is_present {
            self.gather(client);
        }
        self.publish_will(due);
        is_present
    }

    /// Section 3.14; `expiry` replaces the session's.
    pub(super) fn close(&mut self, client: usize, is_lost: bool, expiry: Option<Option<u64>>) {
        let now = self.now;
        let at = |secs: u64| (now + secs) * 1000 + client as u64;
        let session = self.sessions.get_mut(&client).unwrap();
        session.connected = false;
        session.expiry = expiry.unwrap_or(session.expiry);
        session.ends_at = session.expiry.map(at);
        let will = session.will.take().filter(|_| is_lost);
        if session.expiry == Some(0) {
            self.end(client);
            return self.publish_will(will.map(|(will, _)| will));
        }
        let now_due = match will {
            Some((will, delay)) if delay > 0 => {
                session.will_at = Some(at(delay));
                session.will = Some((will, delay));
                None
            }
            will => will.map(|(will, _)| will),
        };
        self.hand_on(client);
        let session = self.sessions.get_mut(&client).unwrap();
        if !self.rules.store_qos0 {
            let before = session.queue.len();
            session.queue.retain(|copy| copy.qos != Qos::AtMostOnce);
            self.counts.offline += (before - session.queue.len()) as u64;
        }
        self.publish_will(now_due);
    }

    /// Wills and ends of sessions in order of time, then what was held back, then groups.
    pub(super) fn pass(&mut self, secs: u64) {
        self.now += secs;
        loop {
            let deadline = |session: &Session| session.ends_at.into_iter().chain(session.will_at).min();
            let next =
                self.sessions.iter().filter_map(|(client, session)| Some((deadline(session)?, *client)));
            let due = next.min().filter(|(at, _)| *at <= self.now * 1000);
            let Some((_, client)) = due else { break };
            let session = self.sessions.get_mut(&client).unwrap();
            let is_over = |moment: Option<u64>| moment.is_some_and(|moment| moment <= self.now * 1000);
            let will = if is_over(session.ends_at) {
                self.end(client)
            } else {
                session.will_at = None;
                session.will.take()
            };
            self.publish_will(will.map(|(will, _)| will));
        }
        let now = self.now;
        self.delayed.sort_by_key(|(due, _)| *due);
        while self.delayed.first().is_some_and(|(due, _)| *due <= now) {
            let (_, body) = self.delayed.remove(0);
            if body.expires_at.is_some_and(|at| at <= now) {
                self.counts.delayed_expired += 1;
            } else {
                self.counts.delayed_released += 1;
                self.publish(body);
            }
        }
        self.review();
        for topic in std::mem::take(&mut self.unwritten) {
            self.retained_log.remove(topic);
        }
    }

    /// Removes a session; its will, if it has one.
    fn end(&mut self, client: usize) -> Option<(Body, u64)> {
        let mut session = self.sessions.remove(&client).unwrap();
        let left = self.leave_all(client, &mut session);
        self.counts.session_ended += (session.queue.len() + session.sent.len()) as u64;
        self.bequeath(left);
        session.will
    }

    /// Section 3.8.4; false if somebody else has it for himself.
    pub(super) fn subscribe(&mut self, client: usize, filter: &str, wish: Wish) -> bool {
        let now = self.now;
        let is_taken = |(other, session): (&usize, &Session)| {
            *other != client && session.subscriptions.contains_key(filter)
        };
        if filter.starts_with("$exclusive/") && self.sessions.iter().any(is_taken) {
            return false;
        }
        let priorities = self.rules.priorities;
        let session = self.sessions.get_mut(&client).unwrap();
        let is_new = session.subscriptions.insert(filter.to_owned(), wish.clone()).is_none();
        let wants_retained = match wish.retain_handling {
            RetainHandling::Always => true,
            RetainHandling::IfNew => is_new,
            RetainHandling::Never => false,
        };
        if is_shared(filter) {
            self.join(client, filter);
            return true;
        }
        if !wants_retained {
            return true;
        }
        self.retained.retain(|_, (_, until)| until.is_none_or(|at| at > now));
        for (body, _) in self.retained.values() {
            if !matches(filter, body.topic) || (wish.no_local && body.publisher == client) {
                continue;
            }
            self.counts.matched += 1;
            session.insert(Copy {
                body: body.clone(),
                qos: body.qos.min(wish.qos),
                retain: true,
                identifiers: wish.identifiers(),
                is_replayed: true,
                priority: priority(priorities, body.topic),
                shared: None,
                arrival: Arrival::default(),
            });
        }
        true
    }

    pub(super) fn unsubscribe(&mut self, client: usize, filter: &str) -> bool {
        let session = self.sessions.get_mut(&client).unwrap();
        let existed = session.subscriptions.remove(filter).is_some();
        if existed && is_shared(filter) {
            self.leave(client, filter);
        }
        existed
    }

    /// Whether there was room to hold it back.
    pub(super) fn delay(&mut self, secs: u64, body: Body) -> bool {
        if secs == 0 {
            self.publish(body);
            return true;
        }
        if self.delayed.len() >= self.rules.delayed_max {
            self.counts.not_accepted += 1;
            return false;
        }
        self.counts.delayed += 1;
        self.delayed.push((self.now + secs, body));
        true
    }

    /// Section 3.3.4; whether anybody is to get it.
    pub(super) fn publish(&mut self, body: Body) -> bool {
        self.counts.accepted += 1;
        if body.retain {
            self.retain(&body);
        }
        let before = self.counts.matched;
        for (client, session) in &mut self.sessions {
            let matching = session.subscriptions.iter().filter(|(filter, wish)| {
                let is_own = wish.no_local && *client == body.publisher;
                !is_shared(filter) && matches(filter, body.topic) && !is_own
            });
            let wishes: Vec<Wish> = matching.map(|(_, wish)| wish.clone()).collect();
            session.enqueue(&body, &wishes, None, self.rules, &mut self.counts);
        }
        self.share(&body);
        let is_routed = self.counts.matched > before;
        self.counts.unrouted += u64::from(!is_routed);
        is_routed
    }

    fn retain(&mut self, body: &Body) {
        self.retained.remove(body.topic);
        if body.qos > Qos::AtMostOnce {
            self.unwritten.remove(body.topic);
            self.retained_log.remove(body.topic);
        } else if self.retained_log.contains_key(body.topic) {
            self.unwritten.insert(body.topic);
        }
        if !body.text.is_empty() {
            let at_most = self.rules.retained_secs_max.map(|secs| self.now + secs);
            let until = body.expires_at.into_iter().chain(at_most).min();
            self.retained.insert(body.topic, (body.clone(), until));
            if body.qos > Qos::AtMostOnce {
                self.retained_log.insert(body.topic, (body.clone(), until));
            }
        }
    }

    /// The number of a new group.
    pub(super) fn next_group(&mut self) -> u32 {
        self.groups_made += 1;
        self.groups_made
    }

    /// The next thing to send to a client, and its place in `sent`.
    pub(super) fn next(&mut self, client: usize) -> Option<(Sight, Option<usize>)> {
        let session = self.sessions.get_mut(&client).unwrap();
        let unanswered = session.sent.iter().filter(|sent| !sent.resend).count();
        if let Some(place) = session.sent.iter().position(|sent| sent.resend) {
            let sent = &mut session.sent[place];
            if !sent.received && unanswered >= session.window {
                return None;
            }
            sent.resend = false;
            return Some((sent.copy.sight(Some(!sent.received), sent.received), Some(place)));
        }
        while session.queue.front()?.body.expires_at.is_some_and(|at| at <= self.now) {
            session.queue.pop_front();
            self.counts.expired += 1;
        }
        if session.queue.front()?.qos == Qos::AtMostOnce {
            self.counts.delivered += 1;
            return Some((session.queue.pop_front()?.sight(Some(false), false), None));
        }
        if session.sent.len() >= session.window {
            return None;
        }
        let copy = session.queue.pop_front()?;
        let sight = copy.sight(copy.arrival.was_sent, false);
        session.sent.push(Sent { id: copy.arrival.id, copy, received: false, resend: false });
        Some((sight, Some(session.sent.len() - 1)))
    }

    /// Whether the answer fits what was sent.
    pub(super) fn answer(&mut self, client: usize, place: usize, answer: Settlement) -> bool {
        let session = self.sessions.get_mut(&client).unwrap();
        let sent = &mut session.sent[place];
        let qos = sent.copy.qos;
        match answer {
            Settlement::Received if qos == Qos::ExactlyOnce => sent.received = true,
            Settlement::Returned => {
                sent.resend = true;
                session.is_owed_a_bell = true;
            }
            Settlement::Delivered => self.counts.delivered += 1,
            Settlement::Acknowledged if qos == Qos::AtLeastOnce => self.counts.delivered += 1,
            Settlement::Completed if sent.received => self.counts.delivered += 1,
            Settlement::Refused(of) if of == qos => self.counts.refused += 1,
            Settlement::Dropped(_) => self.counts.refused += 1,
            _ => return false,
        }
        if !matches!(answer, Settlement::Received | Settlement::Returned) {
            session.sent.remove(place);
        }
        true
    }

    /// Texts of what is retained for a filter, by topic.
    pub(super) fn retained_texts(&self, filter: &str) -> Vec<String> {
        let alive = self.retained.values().filter(|(_, until)| until.is_none_or(|at| at > self.now));
        let matching = alive.filter(|(body, _)| matches(filter, body.topic));
        matching.map(|(body, _)| body.text.clone()).collect()
    }

    fn publish_will(&mut self, will: Option<Body>) {
        if let Some(will) = will {
            self.counts.wills += 1;
            self.publish(will);
        }
    }
}

impl Session {
    fn empty() -> Self {
        Self {
            connected: false,
            is_durable: false,
            copies: 0,
            expiry: None,
            ends_at: None,
            will_at: None,
            window: 0,
            will: None,
            subscriptions: BTreeMap::new(),
            queue: VecDeque::new(),
            sent: Vec::new(),
            is_owed_a_bell: false,
        }
    }

    /// How many more may wait.
    pub(super) fn room(&self, rules: Rules) -> usize {
        rules.messages_max.saturating_sub(self.queue.iter().filter(|copy| !copy.is_replayed).count())
    }

    /// One copy for all overlapping wishes, with the highest QoS and every identifier.
    pub(super) fn enqueue(
        &mut self,
        body: &Body,
        wishes: &[Wish],
        shared: Option<(u32, u64)>,
        rules: Rules,
        counts: &mut Counts,
    ) {
        let Some(highest) = wishes.iter().map(|wish| wish.qos).max() else { return };
        let qos = highest.min(body.qos);
        let priority = priority(rules.priorities, body.topic);
        counts.matched += 1;
        if qos == Qos::AtMostOnce && !self.connected && !rules.store_qos0 {
            counts.offline += 1;
            return;
        }
        if self.room(rules) == 0 {
            counts.queue_full += 1;
            let mut live = self.queue.iter().enumerate().filter(|(_, copy)| !copy.is_replayed);
            let lowest = live.clone().map(|(_, copy)| copy.priority).min().unwrap();
            let victim = match rules.drop_oldest {
                true if priority < lowest => return,
                true => live.find(|(_, copy)| copy.priority == lowest),
                false if priority <= lowest => return,
                false => live.next_back(),
            };
            self.queue.remove(victim.unwrap().0);
        }
        let retain = body.retain && wishes.iter().any(|wish| wish.retain_as_published);
        let mut identifiers: Vec<u32> = wishes.iter().flat_map(Wish::identifiers).collect();
        identifiers.sort();
        let body = body.clone();
        let arrival = Arrival::default();
        self.insert(Copy { body, qos, retain, identifiers, is_replayed: false, priority, shared, arrival });
    }

    /// Behind all of its priority, but before what follows it in its group.
    pub(super) fn insert(&mut self, mut copy: Copy) {
        copy.arrival = Arrival { ordinal: self.copies, ..Arrival::default() };
        self.copies += 1;
        let follows = |other: &Copy| {
            let is_later = match (copy.shared, other.shared) {
                (Some(ours), Some(theirs)) => ours.0 == theirs.0 && ours.1 < theirs.1,
                _ => false,
            };
            other.priority < copy.priority || other.priority == copy.priority && is_later
        };
        let place = self.queue.iter().position(follows).unwrap_or(self.queue.len());
        self.queue.insert(place, copy);
        self.is_owed_a_bell = true;
    }
}

impl Wish {
    pub(super) fn identifiers(&self) -> Vec<u32> {
        Some(self.identifier).filter(|identifier| *identifier > 0).into_iter().collect()
    }
}

impl Copy {
    fn sight(&self, duplicate: Option<bool>, released: bool) -> Sight {
        Sight {
            topic: self.body.topic.to_owned(),
            text: self.body.text.clone(),
            qos: self.qos,
            retain: self.retain,
            duplicate,
            released,
            identifiers: self.identifiers.clone(),
        }
    }
}

pub(super) fn is_shared(filter: &str) -> bool {
    filter.starts_with("$share/") || filter.starts_with("$queue/")
}

fn priority(default: Option<PriorityDefault>, topic: &str) -> u8 {
    let Some(default) = default else { return 0 };
    let listed = PRIORITIES.into_iter().filter(|(filter, _)| matches(filter, topic));
    let others = if default == PriorityDefault::Lowest { 0 } else { 255 };
    listed.map(|(_, priority)| priority).max().unwrap_or(others)
}

/// Section 4.7, once more.
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    let path = ["$share/g/", "$share/h/", "$queue/", "$exclusive/"].into_iter();
    let path = path.filter_map(|prefix| filter.strip_prefix(prefix)).next().unwrap_or(filter);
    if topic.starts_with('$') && path.starts_with(['#', '+']) {
        return false;
    }
    matches_levels(&path.split('/').collect::<Vec<_>>(), &topic.split('/').collect::<Vec<_>>())
}

fn matches_levels(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) => true,
        (["+", filter @ ..], [_, topic @ ..]) => matches_levels(filter, topic),
        ([wanted, filter @ ..], [level, topic @ ..]) => wanted == level && matches_levels(filter, topic),
        ([], []) => true,
        _ => false,
    }
}
