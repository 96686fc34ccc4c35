use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use gateway_model::{
    Expiry, Open, Outgoing, Publish, Qos, Reason, RetainHandling, Settlement, Subscription, Will,
};

use gateway_store::Options;

use super::reference::{Body, Counts, PRIORITIES, Reference, Rules, Sight, Wish, is_shared};
use crate::session::Named;
use crate::tests::scene::{self, Client, QOS, Scene, secs_of};
use crate::{Counter, DropPolicy, DropReason, Limits, PriorityDefault, QueueLimits, Sharing};

const CLIENTS: usize = 8;
const TOPICS: [&str; 12] =
    ["a", "b", "a/b", "a/c", "a/b/c", "b/c", "a/", "/a", "$s/a", "$s", "x/y/z", "a/b/d"];
const FILTERS: [&str; 19] = [
    "#",
    "+",
    "a/#",
    "a/+",
    "a/b",
    "+/b",
    "+/+",
    "$s/#",
    "/+",
    "a/b/c",
    "$exclusive/a/b",
    "$exclusive/a/#",
    "$exclusive/a/+",
    "$share/g/a/#",
    "$share/g/a/b",
    "$share/h/a/#",
    "$queue/a/#",
    "$queue/+",
    "$share/g/#",
];

/// From here on they are of groups.
const FILTERS_SHARED: usize = 13;

/// Steps drawn from a seed, done to a bus and to the reference.
pub(super) struct Program {
    seed: u64,
    dice: Dice,
    scene: Scene,
    reference: Reference,
    connections: BTreeMap<usize, Client>,
    /// A connection that lost its session.
    void: Option<Client>,
    published: u32,
    /// With a store that crashes: what is in it.
    durable: Option<Reference>,
    log: Vec<String>,
}

impl Program {
    pub(super) fn new(seed: u64) -> Self {
        Self::with(Dice(seed), |rules, _| Scene::with(limits(rules)), false)
    }

    /// With a store that writes now and then, cleans up, and loses what it has not written. Who is next
    /// in a group is not stored, so there are none.
    pub(super) fn durable(seed: u64) -> Self {
        let options = Options { segment_bytes: 16 * 1024, ..Options::default() };
        let scene = |rules, seed| {
            let limits = Limits { retained_qos0_write: None, ..limits(rules) };
            Scene::stored(limits, seed, options)
        };
        Self::with(Dice(seed), scene, true)
    }

    fn with(mut dice: Dice, scene: impl FnOnce(Rules, u64) -> Scene, is_durable: bool) -> Self {
        let seed = dice.0;
        let rules = Rules {
            messages_max: if dice.one_in(2) { 5 } else { 10_000 },
            drop_oldest: dice.one_in(2),
            store_qos0: dice.one_in(2),
            retained_secs_max: dice.one_in(2).then_some(4),
            delayed_max: if dice.one_in(2) { 3 } else { 1000 },
            priorities: [None, Some(PriorityDefault::Lowest), Some(PriorityDefault::Highest)][dice.below(3)],
            sharing: [Sharing::RoundRobin, Sharing::Sticky, Sharing::LeastInFlight][dice.below(3)],
        };
        Self {
            seed,
            dice,
            scene: scene(rules, seed),
            reference: Reference::new(rules),
            durable: is_durable.then(|| Reference::new(rules)),
            connections: BTreeMap::new(),
            void: None,
            published: 0,
            log: vec![format!("{rules:?}")],
        }
    }

    pub(super) fn step(&mut self) {
        let client = self.dice.below(CLIENTS);
        if !self.connections.contains_key(&client) {
            return if self.dice.one_in(3) { self.open(client) } else { self.pass() };
        }
        match self.dice.below(100) {
            0..4 => self.open(client),
            4..10 => self.close(client),
            10..13 => self.pass(),
            13..28 => self.subscribe(client),
            28..33 => self.unsubscribe(client),
            33..61 => self.publish(client),
            61..65 => self.publish_later(client),
            65..80 => self.take(client),
            80..98 => self.answer(client),
            _ => self.use_void(),
        }
    }

    /// A step of a program with a store.
    pub(super) fn step_durably(&mut self) {
        match self.dice.below(40) {
            0 => self.crash(),
            1 => self.clean(),
            2..8 => self.commit(),
            _ => self.step(),
        }
    }

    fn commit(&mut self) {
        if self.durable.is_some() {
            self.log("commit".to_owned());
            self.scene.commit();
            self.durable = Some(self.reference.clone());
        }
    }

    fn clean(&mut self) {
        // What is on its way and written anew is not known any more to have been retained once, so
        // that it counts where queues are short.
        if self.reference.rules.messages_max < 100 {
            return;
        }
        self.commit();
        self.log("clean".to_owned());
        self.scene.bus.clean();
    }

    /// What was not written is lost, and everybody loses his connection.
    pub(super) fn crash(&mut self) {
        self.log("crash".to_owned());
        let durable = self.durable.clone().expect("the program has a store");
        let now = self.reference.now;
        self.reference = durable;
        self.reference.restart(now);
        self.connections.clear();
        self.void = None;
        let recovered = self.scene.crash(0);
        assert_eq!(recovered.unreadable, 0);
        self.commit();
    }

    /// What can be seen from outside is as the reference says.
    pub(super) fn check(&mut self) {
        self.scene.assert_balanced();
        let views = self.scene.bus.sessions();
        assert_eq!(views.len(), self.reference.sessions.len(), "sessions");
        for view in &views {
            let client: usize = view.client_id.as_str()[1..].parse().unwrap();
            let session = &self.reference.sessions[&client];
            let expected =
                (session.connected, session.subscriptions.len(), session.queue.len(), session.sent.len());
            let actual = (view.connected, view.subscriptions, view.queued, view.in_flight);
            assert_eq!(actual, expected, "client {client}: connected, subscriptions, queued, in flight");
        }
        for Named(session) in self.scene.bus.sessions.lock().iter() {
            let client: usize = session.client_id.as_str()[1..].parse().unwrap();
            let room = self.reference.sessions[&client].room(self.reference.rules);
            assert_eq!(session.state.lock().outbox.messages_free(), room, "client {client}: room");
        }
        assert_eq!(self.counts(), self.reference.counts);
    }

    /// Everybody comes back and empties their queues; nothing may be left.
    pub(super) fn finish(&mut self) {
        let clients: Vec<usize> = self.reference.sessions.keys().copied().collect();
        for client in &clients {
            if !self.connections.contains_key(client) {
                self.open_with(*client, false, None, 3, None);
            }
        }
        // What is held back comes too, and what some have no room for moves on when time passes.
        for _ in 0..20 {
            self.pass_secs(1);
            clients.iter().for_each(|client| self.empty(*client));
        }
        self.check();
        for filter in FILTERS {
            let expected = self.reference.retained_texts(filter);
            assert_eq!(self.scene.retained_texts(filter), expected, "retained for {filter}");
        }
        assert!(self.scene.bus.sessions().iter().all(|view| view.queued + view.in_flight == 0));
    }

    fn empty(&mut self, client: usize) {
        while self.take_some(client, 100) + self.reference.sessions[&client].sent.len() > 0 {
            while !self.reference.sessions[&client].sent.is_empty() {
                self.answer_at(client, 0, Settlement::Delivered);
            }
        }
    }

    fn open(&mut self, client: usize) {
        let clean_start = self.dice.one_in(4);
        let mut expiry = [None, Some(0), Some(5), Some(20)][self.dice.below(4)];
        let window = [1, 2, 3, 100][self.dice.below(4)];
        let mut delay = [0, 0, 2, 8][self.dice.below(4)];
        if self.durable.is_some() {
            // After a crash such wills and ends would be due at once, in any order.
            delay = delay.max(1);
            let is_known = self.reference.sessions.contains_key(&client);
            expiry = expiry.filter(|secs| *secs > 0 || clean_start || !is_known);
        }
        let will = self.dice.one_in(3).then(|| (Body { expires_at: None, ..self.body(client) }, delay));
        self.open_with(client, clean_start, expiry, window, will);
    }

    fn open_with(
        &mut self,
        client: usize,
        clean_start: bool,
        expiry: Option<u64>,
        window: u16,
        will: Option<(Body, u64)>,
    ) {
        self.log(format!("open {client} clean {clean_start} expiry {expiry:?} window {window} {will:?}"));
        let to_will = |(body, delay): &(Body, u64)| {
            Will { publish: self.to_publish(body), delay: wait_of(client, *delay) }.into()
        };
        let open = Open {
            clean_start,
            expiry: expiry_of(client, expiry),
            receive_maximum: window,
            will: will.as_ref().map(to_will),
            ..Open::transient()
        };
        let present = self.reference.open(client, clean_start, expiry, window.into(), will);
        let connection = self.scene.open(&format!("c{client}"), open);
        assert_eq!(connection.opened.session_present, present, "session present");
        if let Some(void) = self.connections.insert(client, connection) {
            assert!(void.bell.rung() > 0, "told that it lost the session");
            self.void = Some(void);
        }
    }

    fn close(&mut self, client: usize) {
        let is_lost = self.dice.one_in(2);
        let expiry = self.dice.one_in(4).then(|| [None, Some(0), Some(7)][self.dice.below(3)]);
        self.log(format!("close {client} lost {is_lost} expiry {expiry:?}"));
        let connection = self.connections.remove(&client).unwrap();
        self.reference.close(client, is_lost, expiry);
        let moment = self.scene.moment;
        self.scene.bus.detach(
            moment,
            &connection.attachment,
            is_lost,
            expiry.map(|expiry| expiry_of(client, expiry)),
        );
        self.void = Some(connection);
    }

    fn pass(&mut self) {
        let secs = [1, 1, 3, 10][self.dice.below(4)];
        self.pass_secs(secs);
    }

    fn pass_secs(&mut self, secs: u64) {
        self.log(format!("pass {secs}"));
        self.reference.pass(secs);
        self.scene.pass(secs);
        // What is overdue after a crash is due at once, in any order.
        self.commit();
    }

    fn subscribe(&mut self, client: usize) {
        let filters = if self.durable.is_some() { FILTERS_SHARED } else { FILTERS.len() };
        let filter = FILTERS[self.dice.below(filters)];
        let handlings = [RetainHandling::Always, RetainHandling::IfNew, RetainHandling::Never];
        let wish = Wish {
            qos: QOS[self.dice.below(3)],
            // All or none of a client's: how mixed ones overlap is left open by section 3.3.4.
            no_local: client < 2 && !is_shared(filter),
            retain_as_published: self.dice.one_in(2),
            retain_handling: handlings[self.dice.below(3)],
            identifier: self.dice.below(4) as u32,
        };
        self.log(format!("subscribe {client} {filter} {wish:?}"));
        let subscription = Subscription {
            filter: scene::filter(filter),
            qos: wish.qos,
            no_local: wish.no_local,
            retain_as_published: wish.retain_as_published,
            retain_handling: wish.retain_handling,
            identifier: NonZeroU32::new(wish.identifier),
        };
        let granted = [Reason::Success, Reason::GrantedQos1, Reason::GrantedQos2][wish.qos as usize];
        let granted = match self.reference.subscribe(client, filter, wish) {
            true => granted,
            false => Reason::QuotaExceeded,
        };
        assert_eq!(self.scene.subscribe_as(&self.connections[&client], subscription), granted);
    }

    fn unsubscribe(&mut self, client: usize) {
        let filter = FILTERS[self.dice.below(FILTERS.len())];
        self.log(format!("unsubscribe {client} {filter}"));
        let existed = self.reference.unsubscribe(client, filter);
        let reason = self.scene.unsubscribe(&self.connections[&client], filter);
        assert_eq!(reason == Reason::Success, existed, "{reason}");
    }

    fn publish(&mut self, client: usize) {
        let body = self.body(client);
        self.log(format!("publish {body:?}"));
        let publish = self.to_publish(&body);
        let routed = self.reference.publish(body);
        let reason = self.scene.send(&self.connections[&client], publish);
        assert_eq!(reason, if routed { Reason::Success } else { Reason::NoMatchingSubscribers });
    }

    fn publish_later(&mut self, client: usize) {
        let body = self.body(client);
        let secs = self.dice.below(9) as u64;
        self.log(format!("publish in {secs} {body:?}"));
        let publish = self.to_publish(&body);
        let is_held = self.reference.delay(secs, body);
        let publisher = self.connections[&client].attachment.client_id();
        let reason =
            self.scene.bus.publish_delayed(self.scene.moment, publisher, secs_of(secs), publish, None).value;
        assert_eq!(reason == Reason::QuotaExceeded, !is_held, "{reason}");
    }

    fn take(&mut self, client: usize) {
        let count = [1, 2, 4, 100][self.dice.below(4)];
        self.take_some(client, count);
    }

    fn take_some(&mut self, client: usize, count: usize) -> usize {
        // Nothing at QoS 2 is sent before it is durable.
        self.commit();
        self.log(format!("take {client} {count}"));
        let connection = &self.connections[&client];
        let is_told = connection.bell.rung() > 0;
        let session = self.reference.sessions.get_mut(&client).unwrap();
        assert!(is_told || !session.is_owed_a_bell, "a wake-up was lost");
        session.is_owed_a_bell = false;
        let taken = self.scene.take_at_most(connection, count);
        for outgoing in &taken {
            let (expected, place) = self.reference.next(client).expect("nothing more is due");
            let duplicate = expected.duplicate.or(Some(outgoing.duplicate));
            assert_eq!(sight(outgoing), Sight { duplicate, ..expected });
            assert_eq!(outgoing.id.is_some(), place.is_some());
            let Some(place) = place else { continue };
            let sent = &mut self.reference.sessions.get_mut(&client).unwrap().sent;
            let others = sent.iter().enumerate().filter(|(other, _)| *other != place);
            assert!(others.map(|(_, sent)| sent.id).all(|id| id != outgoing.id), "identifier in flight");
            let known = *sent[place].id.get_or_insert(outgoing.id.unwrap());
            assert_eq!(Some(known), outgoing.id, "the same identifier again");
        }
        if taken.len() < count {
            assert!(self.reference.next(client).is_none(), "more was due");
        }
        taken.len()
    }

    fn answer(&mut self, client: usize) {
        let in_flight = self.reference.sessions[&client].sent.len();
        if in_flight == 0 {
            return self.take(client);
        }
        let place = self.dice.below(in_flight);
        let answers = [
            Settlement::Delivered,
            Settlement::Acknowledged,
            Settlement::Acknowledged,
            Settlement::Received,
            Settlement::Completed,
            Settlement::Refused(QOS[1 + self.dice.below(2)]),
            Settlement::Dropped("refused"),
            Settlement::Returned,
        ];
        let answer = answers[self.dice.below(answers.len())];
        self.answer_at(client, place, answer);
    }

    fn answer_at(&mut self, client: usize, place: usize, answer: Settlement) {
        self.log(format!("answer {client} {place} {answer:?}"));
        let id = self.reference.sessions[&client].sent[place].id.expect("it was sent");
        let fits = self.reference.answer(client, place, answer);
        assert_eq!(self.scene.settle(&self.connections[&client], id, answer), fits, "in flight");
    }

    /// Whatever a connection without a session tries changes nothing.
    fn use_void(&mut self) {
        let Some(void) = &self.void else { return };
        self.log.push("use a void attachment".to_owned());
        assert!(self.scene.bus.deliver(&void.attachment, |_| panic!("void")).is_err());
        assert!(self.scene.subscribe(void, "#", Qos::ExactlyOnce).is_error());
        assert_eq!(self.scene.unsubscribe(void, "#"), Reason::NoSubscriptionExisted);
        assert!(!self.scene.settle(void, std::num::NonZeroU16::MIN, Settlement::Delivered));
        self.scene.goodbye(void, Some(Expiry::Immediately));
    }

    fn body(&mut self, publisher: usize) -> Body {
        self.published += 1;
        let retain = self.dice.one_in(3);
        let clears = retain && self.dice.one_in(4);
        Body {
            topic: TOPICS[self.dice.below(TOPICS.len())],
            text: if clears { String::new() } else { self.published.to_string() },
            qos: QOS[self.dice.below(3)],
            retain,
            expires_at: self.dice.one_in(5).then(|| self.reference.now + 1 + self.dice.below(10) as u64),
            publisher,
        }
    }

    fn to_publish(&self, body: &Body) -> Publish {
        let expiry = body.expires_at.map(|at| secs_of(at - self.reference.now));
        Publish { retain: body.retain, expiry, ..scene::publish(body.topic, &body.text, body.qos) }
    }

    fn counts(&self) -> Counts {
        let (count, dropped) = (|counter| self.scene.count(counter), |reason| self.scene.dropped(reason));
        Counts {
            accepted: count(Counter::Accepted),
            unrouted: count(Counter::Unrouted),
            matched: count(Counter::Matched),
            delivered: count(Counter::Delivered),
            queue_full: dropped(DropReason::QueueFull),
            expired: dropped(DropReason::Expired),
            offline: dropped(DropReason::Offline),
            session_ended: dropped(DropReason::SessionEnded),
            refused: dropped(DropReason::Refused),
            wills: count(Counter::WillsPublished),
            delayed: count(Counter::Delayed),
            delayed_released: count(Counter::DelayedReleased),
            delayed_expired: count(Counter::DelayedExpired),
            not_accepted: count(Counter::Refused),
        }
    }

    fn log(&mut self, step: String) {
        self.log.push(step);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.seed;
            eprintln!("{}", self.log.join("\n"));
            eprintln!("seed {seed} failed; TIDEGATE_SIMULATION_SEED={seed} runs it alone");
        }
    }
}

fn sight(outgoing: &Outgoing) -> Sight {
    let mut identifiers = outgoing.identifiers.as_slice().to_vec();
    identifiers.sort();
    Sight {
        topic: outgoing.message.topic.to_string(),
        text: scene::text(outgoing),
        qos: outgoing.qos,
        retain: outgoing.retain,
        duplicate: Some(outgoing.duplicate),
        released: outgoing.released,
        identifiers,
    }
}

fn limits(rules: Rules) -> Limits {
    let table = PRIORITIES.map(|(filter, priority)| (scene::filter(filter), priority));
    Limits {
        queue: QueueLimits {
            messages_max: rules.messages_max as u32,
            drop: if rules.drop_oldest { DropPolicy::Oldest } else { DropPolicy::Newest },
            store_qos0: rules.store_qos0,
            ..QueueLimits::default()
        },
        retained_expiry_max: rules.retained_secs_max.map(secs_of),
        delayed_messages_max: rules.delayed_max,
        queue_priorities: if rules.priorities.is_some() { table.to_vec() } else { Vec::new() },
        queue_priority_default: rules.priorities.unwrap_or_default(),
        sharing: rules.sharing,
        // Who hangs is told from who is slow by watching: tested elsewhere.
        sharing_stall: None,
        sharing_ack: None,
        ..Limits::default()
    }
}

/// Deadlines of different clients never fall together, so that their order is known.
fn wait_of(client: usize, secs: u64) -> Duration {
    if secs == 0 { Duration::ZERO } else { secs_of(secs) + Duration::from_millis(client as u64) }
}

fn expiry_of(client: usize, secs: Option<u64>) -> Expiry {
    secs.map_or(Expiry::Never, |secs| Expiry::After(wait_of(client, secs)))
}

/// SplitMix64.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }

    pub(super) fn one_in(&mut self, sides: usize) -> bool {
        self.below(sides) == 0
    }
}
