use std::collections::{BTreeMap, VecDeque};

use gateway_model::{DeliveryId, Qos, RetainHandling};

/// A server as the specification describes it, slow and simple. Time is in seconds.
pub(super) struct Reference {
    pub(super) now: u64,
    pub(super) sessions: BTreeMap<usize, Session>,
    pub(super) retained: BTreeMap<&'static str, Body>,
    pub(super) counts: Counts,
    pub(super) queue: Queue,
}

/// The configured part: what the specification leaves to the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    pub(super) messages_max: usize,
    pub(super) drop_oldest: bool,
    pub(super) store_qos0: bool,
}

#[derive(Debug, Default, PartialEq)]
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
}

pub(super) struct Session {
    pub(super) connected: bool,
    /// Seconds that it outlives its connection; `None` is for ever.
    expiry: Option<u64>,
    ends_at: Option<u64>,
    window: usize,
    will: Option<Body>,
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
    body: Body,
    qos: Qos,
    retain: bool,
    identifiers: Vec<u32>,
    /// Retained, for a new subscription: not held to the length of the queue.
    is_replayed: bool,
}

pub(super) struct Sent {
    copy: Copy,
    pub(super) id: Option<DeliveryId>,
    received: bool,
    resend: bool,
}

/// What a receiver is to see.
#[derive(Debug, PartialEq)]
pub(super) struct Sight {
    pub(super) topic: String,
    pub(super) text: String,
    pub(super) qos: Qos,
    pub(super) retain: bool,
    pub(super) duplicate: bool,
    pub(super) released: bool,
    pub(super) identifiers: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Answer {
    Acknowledged,
    Received,
    Refused,
    Returned,
}

impl Reference {
    pub(super) fn new(queue: Queue) -> Self {
        Self {
            now: 0,
            sessions: BTreeMap::new(),
            retained: BTreeMap::new(),
            counts: Counts::default(),
            queue,
        }
    }

    /// Section 3.1.2.4 and section 3.1.4; whether the session is present.
    pub(super) fn open(
        &mut self,
        client: usize,
        clean_start: bool,
        expiry: Option<u64>,
        window: usize,
        will: Option<Body>,
    ) -> bool {
        let mut due = None;
        let mut kept = None;
        if let Some(mut session) = self.sessions.remove(&client) {
            due = session.will.take().filter(|_| session.connected);
            if clean_start || session.expiry == Some(0) {
                self.counts.session_ended += (session.queue.len() + session.sent.len()) as u64;
            } else {
                kept = Some(session);
            }
        }
        let present = kept.is_some();
        let mut session = kept.unwrap_or_else(Session::empty);
        session.connected = true;
        session.expiry = expiry;
        session.ends_at = None;
        session.window = window;
        session.will = will;
        session.sent.iter_mut().for_each(|sent| sent.resend = true);
        session.is_owed_a_bell = !session.queue.is_empty() || !session.sent.is_empty();
        self.sessions.insert(client, session);
        self.publish_will(due);
        present
    }

    /// Section 3.14; `expiry` replaces the session's.
    pub(super) fn close(&mut self, client: usize, is_lost: bool, expiry: Option<Option<u64>>) {
        let session = self.sessions.get_mut(&client).unwrap();
        session.connected = false;
        session.expiry = expiry.unwrap_or(session.expiry);
        session.ends_at = session.expiry.map(|expiry| self.now + expiry);
        let will = session.will.take().filter(|_| is_lost);
        if !self.queue.store_qos0 && session.expiry != Some(0) {
            let before = session.queue.len();
            session.queue.retain(|copy| copy.qos != Qos::AtMostOnce);
            self.counts.offline += (before - session.queue.len()) as u64;
        }
        self.pass(0);
        self.publish_will(will);
    }

    pub(super) fn pass(&mut self, secs: u64) {
        self.now += secs;
        let now = self.now;
        let counts = &mut self.counts;
        self.sessions.retain(|_, session| {
            let ends = session.ends_at.is_some_and(|at| at <= now);
            counts.session_ended += if ends { (session.queue.len() + session.sent.len()) as u64 } else { 0 };
            !ends
        });
    }

    /// Section 3.8.4.
    pub(super) fn subscribe(&mut self, client: usize, filter: &str, wish: Wish) {
        let now = self.now;
        let session = self.sessions.get_mut(&client).unwrap();
        let is_new = session.subscriptions.insert(filter.to_owned(), wish.clone()).is_none();
        let wants_retained = match wish.retain_handling {
            RetainHandling::Always => true,
            RetainHandling::IfNew => is_new,
            RetainHandling::Never => false,
        };
        if !wants_retained || filter.starts_with("$share/") {
            return;
        }
        self.retained.retain(|_, body| body.expires_at.is_none_or(|at| at > now));
        for body in self.retained.values() {
            if !matches(filter, body.topic) || (wish.no_local && body.publisher == client) {
                continue;
            }
            let qos = body.qos.min(wish.qos);
            let identifiers = wish.identifiers();
            self.counts.matched += 1;
            let copy = Copy { body: body.clone(), qos, retain: true, identifiers, is_replayed: true };
            session.queue.push_back(copy);
            session.is_owed_a_bell = true;
        }
    }

    pub(super) fn unsubscribe(&mut self, client: usize, filter: &str) -> bool {
        self.sessions.get_mut(&client).unwrap().subscriptions.remove(filter).is_some()
    }

    /// Section 3.3.4; whether anybody is to get it.
    pub(super) fn publish(&mut self, body: Body) -> bool {
        self.counts.accepted += 1;
        if body.retain {
            self.retained.remove(body.topic);
            if !body.text.is_empty() {
                self.retained.insert(body.topic, body.clone());
            }
        }
        let before = self.counts.matched;
        for (client, session) in &mut self.sessions {
            let matching: Vec<_> = session
                .subscriptions
                .iter()
                .filter(|(filter, wish)| {
                    matches(filter, body.topic) && !(wish.no_local && *client == body.publisher)
                })
                .map(|(filter, wish)| (filter.starts_with("$share/"), wish.clone()))
                .collect();
            let (shared, plain): (Vec<_>, Vec<_>) = matching.into_iter().partition(|(shared, _)| *shared);
            let plain: Vec<Wish> = plain.into_iter().map(|(_, wish)| wish).collect();
            session.enqueue(&body, &plain, self.queue, &mut self.counts);
            for (_, wish) in shared {
                session.enqueue(&body, &[wish], self.queue, &mut self.counts);
            }
        }
        let is_routed = self.counts.matched > before;
        self.counts.unrouted += u64::from(!is_routed);
        is_routed
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
            return Some((sent.copy.sight(!sent.received, sent.received), Some(place)));
        }
        while session.queue.front()?.body.expires_at.is_some_and(|at| at <= self.now) {
            session.queue.pop_front();
            self.counts.expired += 1;
        }
        if session.queue.front()?.qos == Qos::AtMostOnce {
            self.counts.delivered += 1;
            return Some((session.queue.pop_front()?.sight(false, false), None));
        }
        if session.sent.len() >= session.window {
            return None;
        }
        let copy = session.queue.pop_front()?;
        let sight = copy.sight(false, false);
        session.sent.push(Sent { copy, id: None, received: false, resend: false });
        Some((sight, Some(session.sent.len() - 1)))
    }

    pub(super) fn answer(&mut self, client: usize, place: usize, answer: Answer) {
        let session = self.sessions.get_mut(&client).unwrap();
        match answer {
            Answer::Received => session.sent[place].received = true,
            Answer::Returned => {
                session.sent[place].resend = true;
                session.is_owed_a_bell = true;
            }
            Answer::Acknowledged => self.counts.delivered += 1,
            Answer::Refused => self.counts.refused += 1,
        }
        if matches!(answer, Answer::Acknowledged | Answer::Refused) {
            session.sent.remove(place);
        }
    }

    /// Texts of what is retained for a filter, by topic.
    pub(super) fn retained_texts(&self, filter: &str) -> Vec<String> {
        let alive = |body: &&Body| body.expires_at.is_none_or(|at| at > self.now);
        let matching = self.retained.values().filter(alive).filter(|body| matches(filter, body.topic));
        matching.map(|body| body.text.clone()).collect()
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
            expiry: None,
            ends_at: None,
            window: 0,
            will: None,
            subscriptions: BTreeMap::new(),
            queue: VecDeque::new(),
            sent: Vec::new(),
            is_owed_a_bell: false,
        }
    }

    /// One copy for all overlapping wishes, with the highest QoS and every identifier.
    fn enqueue(&mut self, body: &Body, wishes: &[Wish], queue: Queue, counts: &mut Counts) {
        let Some(highest) = wishes.iter().map(|wish| wish.qos).max() else { return };
        let qos = highest.min(body.qos);
        counts.matched += 1;
        if qos == Qos::AtMostOnce && !self.connected && !queue.store_qos0 {
            counts.offline += 1;
            return;
        }
        let live = self.queue.iter().filter(|copy| !copy.is_replayed).count();
        if live >= queue.messages_max {
            counts.queue_full += 1;
            if !queue.drop_oldest {
                return;
            }
            let oldest = self.queue.iter().position(|copy| !copy.is_replayed);
            self.queue.remove(oldest.unwrap());
        }
        let retain = body.retain && wishes.iter().any(|wish| wish.retain_as_published);
        let mut identifiers: Vec<u32> = wishes.iter().flat_map(Wish::identifiers).collect();
        identifiers.sort();
        self.queue.push_back(Copy { body: body.clone(), qos, retain, identifiers, is_replayed: false });
        self.is_owed_a_bell = true;
    }
}

impl Wish {
    fn identifiers(&self) -> Vec<u32> {
        Some(self.identifier).filter(|identifier| *identifier > 0).into_iter().collect()
    }
}

impl Copy {
    fn sight(&self, duplicate: bool, released: bool) -> Sight {
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

/// Section 4.7, once more.
fn matches(filter: &str, topic: &str) -> bool {
    let path = match filter.strip_prefix("$share/") {
        Some(shared) => shared.split_once('/').unwrap().1,
        None => filter,
    };
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
