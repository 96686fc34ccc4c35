//! Many threads at once: publishers through caches of their own, receivers that come and go.
//!
//! Nothing here waits for time to pass; the bounds on waiting only turn a hang into a failure.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use gateway_model::{Deliveries, Expiry, Notify, Open, Outgoing, Qos, Settlement, Subscription};
use gateway_store::{Disk, Mode, Options, Place, Simulated};
use parking_lot::Mutex;

use super::scene::{assert_balanced, filter, id, lasting, publish, secs_of, text, transient};
use crate::{Attachment, Bus, DropReason, Limits, Moment, QueueLimits, SessionOptions};

const PUBLISHERS: usize = 4;
const MESSAGES: usize = 10_000;
const QOS: Qos = Qos::AtLeastOnce;

struct Doorbell(Sender<()>);

impl Notify for Doorbell {
    fn notify(&self) {
        // The receiver may have hung up already.
        let _ = self.0.send(());
    }
}

struct Line {
    attachment: Attachment,
    bell: Receiver<()>,
}

/// How far a receiver has come with each publisher.
#[derive(Default)]
struct Progress([usize; PUBLISHERS]);

#[test]
fn nothing_is_lost_or_reordered_while_sessions_come_and_go() {
    in_time(|| come_and_go(&Yard::new()));
}

/// The same with a store, which is cleaned at the same time.
#[test]
fn nothing_is_lost_or_reordered_on_its_way_through_the_log() {
    in_time(|| {
        let yard = Yard::durable();
        yard.while_it_is_cleaned(|| come_and_go(&yard));
        assert_eq!(yard.reopen(), 0, "everything was acknowledged");
    });
}

fn come_and_go(yard: &Yard) {
    let bus = &yard.bus;
    let moment = yard.moment;
    let finished = AtomicBool::new(false);
    let shared = AtomicU64::new(0);
    let ready = std::sync::Barrier::new(PUBLISHERS + 3 + 2);
    std::thread::scope(|scope| {
        let (finished, shared, ready) = (&finished, &shared, &ready);
        let receivers: Vec<_> =
            (0..3).map(|number| scope.spawn(move || receive(bus, moment, number, ready))).collect();
        for number in 0..2 {
            scope.spawn(move || share(bus, moment, number, ready, shared));
        }
        for number in 0..PUBLISHERS {
            scope.spawn(move || send(bus, moment, number, MESSAGES, ready));
        }
        scope.spawn(move || churn(bus, moment, finished));
        let received: Vec<_> = receivers.into_iter().map(|receiver| receiver.join()).collect();
        finished.store(true, Ordering::Release);
        received.into_iter().for_each(|result| result.unwrap());
    });
    assert_balanced(bus);
    assert_eq!(shared.load(Ordering::Acquire), (PUBLISHERS * MESSAGES) as u64);
    assert_eq!(bus.counters().dropped(DropReason::QueueFull), 0);
    let views = bus.sessions();
    let mut lasting = views.iter().filter(|view| !view.client_id.as_str().starts_with("brief"));
    assert!(lasting.all(|view| view.queued + view.in_flight == 0));
}

/// Sessions are opened under one name from several threads; one of them holds it in the end.
#[test]
fn a_contested_name_has_one_holder() {
    in_time(|| contest(&Yard::new()));
}

#[test]
fn a_contested_name_has_one_holder_in_the_log_too() {
    in_time(|| {
        let yard = Yard::durable();
        yard.while_it_is_cleaned(|| contest(&yard));
        assert_eq!(yard.reopen(), 0);
    });
}

fn contest(yard: &Yard) {
    let bus = &yard.bus;
    let moment = yard.moment;
    std::thread::scope(|scope| {
        for number in 0..PUBLISHERS {
            scope.spawn(move || {
                let mut cache = bus.route_cache();
                for round in 0..500 {
                    let clean_start = (round + number) % 3 == 0;
                    let expiry = [Expiry::Never, Expiry::Immediately][round % 2];
                    let line = connect(bus, moment, "a", Open { clean_start, ..lasting(expiry) });
                    subscribe(bus, moment, &line, "t", 1);
                    let publish = publish("t", "x", QOS);
                    let _ = bus.publish(moment, &line.attachment, publish, None, &mut cache);
                    let _ = bus.deliver(&line.attachment, |outbox| {
                        outbox.next(moment.instant);
                    });
                    if round % 5 == 0 {
                        bus.detach(moment, &line.attachment, true, None);
                    }
                }
            });
        }
    });
    assert!(bus.sessions().len() <= 1);
    assert_balanced(bus);
    let line = connect(bus, moment, "a", transient());
    bus.detach(moment, &line.attachment, false, None);
    assert!(bus.sessions().is_empty());
    assert_balanced(bus);
}

/// Members of a group end, leave, lose their connections and hang on all threads at once; what they
/// did not acknowledge is received by somebody. The group lasts, as one member does.
#[test]
fn nothing_shared_is_lost_while_members_come_and_go() {
    in_time(|| members_come_and_go(&Yard::new()));
}

#[test]
fn nothing_shared_is_lost_on_its_way_through_the_log() {
    in_time(|| {
        let yard = Yard::durable();
        yard.while_it_is_cleaned(|| members_come_and_go(&yard));
        assert_eq!(yard.reopen(), 0, "everything was acknowledged");
    });
}

fn members_come_and_go(yard: &Yard) {
    let bus = &yard.bus;
    let moment = yard.moment;
    let keeper = connect(bus, moment, "keeper", lasting(Expiry::Never));
    subscribe(bus, moment, &keeper, GROUP, 1);
    bus.detach(moment, &keeper.attachment, false, None);
    let finished = AtomicBool::new(false);
    let ready = std::sync::Barrier::new(PUBLISHERS);
    let mut received = BTreeSet::new();
    std::thread::scope(|scope| {
        let (finished, ready) = (&finished, &ready);
        let workers: Vec<_> =
            (0..4).map(|number| scope.spawn(move || work(bus, moment, number, finished))).collect();
        scope.spawn(move || {
            while !finished.load(Ordering::Acquire) {
                assert_eq!(bus.audit(now()).unaccounted, 0, "no moment looks like a defect");
            }
        });
        let senders: Vec<_> = (0..PUBLISHERS)
            .map(|number| scope.spawn(move || send(bus, moment, number, yard.messages, ready)))
            .collect();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        finished.store(true, Ordering::Release);
        workers.into_iter().for_each(|worker| received.extend(worker.join().unwrap()));
    });
    assert_balanced(bus);
    let keeper = connect(bus, moment, "keeper", lasting(Expiry::Never));
    loop {
        let taken = take(bus, moment, &keeper);
        acknowledge(bus, &keeper, &taken);
        received.extend(taken.iter().map(parse));
        if taken.is_empty() {
            break;
        }
    }
    assert_eq!(received.len(), PUBLISHERS * yard.messages);
    let dropped = DropReason::ALL.into_iter().map(|reason| bus.counters().dropped(reason));
    assert_eq!(dropped.sum::<u64>(), 0);
    assert_eq!(bus.counters().count(crate::Counter::Matched), (PUBLISHERS * yard.messages) as u64);
    assert_balanced(bus);
}

/// Members of a group acknowledge nothing, or late, while time passes on another thread: others get
/// what they have, and whatever answer comes when, it fits.
#[test]
fn nothing_shared_is_lost_while_members_do_not_acknowledge() {
    in_time(|| do_not_acknowledge(&Yard::new()));
}

#[test]
fn nothing_shared_is_lost_in_the_log_while_members_do_not_acknowledge() {
    in_time(|| {
        let yard = Yard::durable();
        yard.while_it_is_cleaned(|| do_not_acknowledge(&yard));
        assert_eq!(yard.reopen(), 0, "everything was acknowledged");
    });
}

fn do_not_acknowledge(yard: &Yard) {
    let bus = &yard.bus;
    let moment = yard.moment;
    let hung = connect(bus, moment, "hung", Open { receive_maximum: 40, ..lasting(Expiry::Never) });
    subscribe(bus, moment, &hung, GROUP, 2);
    for count in yard.messages..yard.messages + 40 {
        let publish = publish("t/0", &format!("0 {count}"), QOS);
        let _ = bus.publish(moment, &hung.attachment, publish, None, &mut bus.route_cache());
    }
    let owed = take(bus, moment, &hung).len();
    let all = PUBLISHERS * yard.messages + owed;
    let received = Mutex::default();
    let finished = AtomicBool::new(false);
    let ready = std::sync::Barrier::new(PUBLISHERS);
    std::thread::scope(|scope| {
        let (received, finished, ready) = (&received, &finished, &ready);
        for patience in [0, 0, 50, 500] {
            scope.spawn(move || answer_late(bus, moment, patience, received, finished));
        }
        let senders: Vec<_> = (0..PUBLISHERS)
            .map(|number| scope.spawn(move || send(bus, moment, number, yard.messages, ready)))
            .collect();
        let mut secs = 0..;
        let mut pass = || {
            bus.poll(Moment { instant: moment.instant + secs_of(secs.next().unwrap()), ..moment });
            std::thread::yield_now();
        };
        while !senders.iter().all(|sender| sender.is_finished()) {
            pass();
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        while received.lock().len() < all {
            pass();
        }
        finished.store(true, Ordering::Release);
    });
    assert_balanced(bus);
    let dropped = DropReason::ALL.into_iter().map(|reason| bus.counters().dropped(reason));
    assert_eq!(dropped.sum::<u64>(), 0);
    assert_eq!(bus.counters().count(crate::Counter::Matched), all as u64);
}

/// A member that acknowledges everything, but only after it has looked so many times.
fn answer_late(
    bus: &Bus,
    moment: Moment,
    patience: usize,
    received: &Mutex<BTreeSet<(usize, usize)>>,
    finished: &AtomicBool,
) {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    let name = format!("member {}", NAMES.fetch_add(1, Ordering::Relaxed));
    let line = connect(bus, moment, &name, Open { receive_maximum: 40, ..lasting(Expiry::Never) });
    subscribe(bus, moment, &line, GROUP, 2);
    let mut owed: Vec<Outgoing> = Vec::new();
    for round in 1.. {
        for outgoing in take(bus, moment, &line) {
            assert!(owed.iter().all(|other| other.id != outgoing.id), "an identifier names two messages");
            owed.push(outgoing);
        }
        let is_last = finished.load(Ordering::Acquire);
        if is_last || round % (patience + 1) == 0 {
            acknowledge(bus, &line, &owed);
            received.lock().extend(owed.drain(..).map(|outgoing| parse(&outgoing)));
        }
        if is_last && bus.sessions().iter().all(|view| view.queued + view.in_flight == 0) {
            return;
        }
        std::thread::yield_now();
    }
}

const GROUP: &str = "$share/g/t/+";

/// A member that does not stay; returns what it acknowledged.
fn work(bus: &Bus, moment: Moment, number: usize, finished: &AtomicBool) -> Vec<(usize, usize)> {
    let name = format!("worker {number}");
    let mut received = Vec::new();
    for round in number.. {
        let open = Open { receive_maximum: 40, clean_start: round % 5 == 0, ..lasting(Expiry::Never) };
        let line = connect(bus, moment, &name, open);
        subscribe(bus, moment, &line, GROUP, 2);
        let taken = take(bus, moment, &line);
        let acknowledged = &taken[..taken.len() - taken.len().min(round % 7)];
        acknowledge(bus, &line, acknowledged);
        received.extend(acknowledged.iter().map(parse));
        let is_last = finished.load(Ordering::Acquire);
        match round % 6 {
            _ if is_last => {}
            0 => assert!(!bus.unsubscribe(&line.attachment, &[filter(GROUP)]).value[0].is_error()),
            1 => continue,
            2 => std::thread::yield_now(),
            3 => drop(bus.poll(Moment { instant: moment.instant + secs_of(round as u64), ..moment })),
            _ => {}
        }
        let expiry = if is_last || round % 3 == 0 { Expiry::Immediately } else { Expiry::Never };
        bus.detach(moment, &line.attachment, false, Some(expiry));
        if is_last {
            return received;
        }
    }
    received
}

/// A bus with room for everything, perhaps with a store on a disk in memory, and its time.
struct Yard {
    bus: Bus,
    moment: Moment,
    /// From each publisher to groups.
    messages: usize,
    simulated: Option<Simulated>,
}

/// Small, so that there are many to be cleaned.
const OPTIONS: Options =
    Options { mode: Mode::Sync, segment_bytes: 128 * 1024, bytes_max: 1 << 30, pending_bytes_max: 1 << 30 };

impl Yard {
    fn new() -> Self {
        let queue = QueueLimits { messages_max: 1_000_000, bytes_max: u32::MAX, ..QueueLimits::default() };
        let bus = Bus::new(Limits { queue, ..Limits::default() }, 7);
        Self { bus, moment: now(), messages: MESSAGES, simulated: None }
    }

    fn durable() -> Self {
        let Self { bus, moment, .. } = Self::new();
        let simulated = Simulated::new(1);
        let (disk, _) = Disk::open(OPTIONS, Arc::new(simulated.clone()), moment).unwrap();
        let bus = bus.with_store(Arc::new(disk));
        // What moves is written anew, and everything moves whenever somebody comes or goes.
        Self { bus, moment, messages: MESSAGES / 10, simulated: Some(simulated) }
    }

    fn while_it_is_cleaned(&self, run: impl FnOnce()) {
        let finished = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !finished.load(Ordering::Acquire) {
                    self.bus.clean();
                    std::thread::yield_now();
                }
            });
            // Also if it fails, or the cleaner would go on for ever.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
            finished.store(true, Ordering::Release);
            if let Err(panic) = result {
                std::panic::resume_unwind(panic);
            }
        });
    }

    /// How many copies there are when the gateway starts again; sessions are as they were.
    fn reopen(self) -> usize {
        let mut before = names(&self.bus);
        let Self { bus, moment, simulated, .. } = self;
        before.retain(|name| !name.starts_with("brief") && !name.starts_with("publisher"));
        drop(bus);
        let simulated = simulated.expect("the yard has a store");
        simulated.restart();
        let (disk, image) = Disk::open_unthreaded(OPTIONS, Arc::new(simulated), moment).unwrap();
        let bus = Bus::new(Limits::default(), 7).with_store(Arc::new(disk));
        let recovered = bus.recover(moment, image);
        assert_eq!(names(&bus), before);
        assert_balanced(&bus);
        recovered.copies
    }
}

fn now() -> Moment {
    Moment { instant: Instant::now(), unix_millis: 0 }
}

fn names(bus: &Bus) -> Vec<String> {
    let mut names: Vec<_> = bus.sessions().iter().map(|view| view.client_id.to_string()).collect();
    names.sort();
    names
}

/// Runs it on a thread of its own, so that a hang is a failure.
fn in_time(run: impl FnOnce() + Send + 'static) {
    let (done, is_done) = channel();
    std::thread::spawn(move || {
        run();
        done.send(()).unwrap();
    });
    is_done.recv_timeout(secs_of(120)).expect("all threads come to their end");
}

fn connect(bus: &Bus, moment: Moment, name: &str, open: Open) -> Line {
    let (sender, bell) = channel();
    let opened =
        bus.open(moment, id(name), open, SessionOptions::default(), Arc::new(Doorbell(sender)).into());
    Line { attachment: opened.unwrap().0, bell }
}

fn subscribe(bus: &Bus, moment: Moment, line: &Line, path: &str, identifier: u32) {
    let identifier = std::num::NonZeroU32::new(identifier);
    let subscription = Subscription { identifier, ..Subscription::new(filter(path), QOS) };
    let _ = bus.subscribe(moment.instant, &line.attachment, vec![subscription]);
}

fn send(bus: &Bus, moment: Moment, number: usize, messages: usize, ready: &std::sync::Barrier) {
    let line = connect(bus, moment, &format!("publisher {number}"), transient());
    let mut cache = bus.route_cache();
    ready.wait();
    for count in 0..messages {
        let topic = format!("t/{}", count % 3);
        let publish = publish(&topic, &format!("{number} {count}"), QOS);
        let reason = bus.publish(moment, &line.attachment, publish, None, &mut cache).value;
        assert!(!reason.is_error(), "{reason}");
        if count % 100 == 0 {
            bus.trim(&mut cache);
        }
    }
    bus.detach(moment, &line.attachment, false, None);
}

/// Receives everything in order, while it changes other subscriptions and reconnects.
fn receive(bus: &Bus, moment: Moment, number: usize, ready: &std::sync::Barrier) {
    let name = format!("receiver {number}");
    let open = || Open { receive_maximum: 64, ..lasting(Expiry::Never) };
    let mut line = connect(bus, moment, &name, open());
    subscribe(bus, moment, &line, "t/#", 1);
    ready.wait();
    let durable = Tide::new(bus);
    let mut progress = Progress::default();
    for round in 1.. {
        let (taken, waits_for) = drain(bus, moment, &line);
        taken.iter().for_each(|outgoing| progress.note(outgoing));
        let is_reconnect = round % 13 == number;
        // What is not acknowledged comes again on the next connection.
        let acknowledged = if is_reconnect { taken.len() / 2 } else { taken.len() };
        acknowledge(bus, &line, &taken[..acknowledged]);
        if progress.is_complete() && acknowledged == taken.len() {
            break;
        }
        if is_reconnect {
            if round % 2 == 0 {
                bus.detach(moment, &line.attachment, true, None);
            }
            line = connect(bus, moment, &name, open());
        } else if round % 5 == 0 {
            subscribe(bus, moment, &line, "t/+", 1);
        } else if round % 5 == 2 {
            let _ = bus.unsubscribe(&line.attachment, &[filter("t/+")]);
        } else if taken.is_empty() {
            match waits_for {
                Place::NOWHERE => line.bell.recv_timeout(secs_of(20)).expect("a wake-up was lost"),
                place => durable.wait(bus, place),
            }
        }
    }
}

/// A member of a group that subscribes again and again, as workers do after they reconnect.
fn share(bus: &Bus, moment: Moment, number: usize, ready: &std::sync::Barrier, total: &AtomicU64) {
    let line = connect(bus, moment, &format!("worker {number}"), lasting(Expiry::Never));
    subscribe(bus, moment, &line, "$share/g/t/+", 2);
    ready.wait();
    let mut last = [None; PUBLISHERS];
    while total.load(Ordering::Acquire) < (PUBLISHERS * MESSAGES) as u64 {
        let taken = take(bus, moment, &line);
        for outgoing in &taken {
            let (publisher, count) = parse(outgoing);
            assert!(last[publisher] < Some(count), "in order");
            last[publisher] = Some(count);
        }
        acknowledge(bus, &line, &taken);
        total.fetch_add(taken.len() as u64, Ordering::AcqRel);
        subscribe(bus, moment, &line, "$share/g/t/+", 2);
        std::thread::yield_now();
    }
}

/// Sessions that are never there for long.
fn churn(bus: &Bus, moment: Moment, finished: &AtomicBool) {
    for round in 0.. {
        if finished.load(Ordering::Acquire) {
            return;
        }
        let line = connect(bus, moment, &format!("brief {}", round % 3), transient());
        subscribe(bus, moment, &line, ["t/#", "t/1", "+/2"][round % 3], 3);
        take(bus, moment, &line);
        if round % 4 > 0 {
            bus.detach(moment, &line.attachment, false, None);
        }
        bus.poll(moment);
        std::thread::yield_now();
    }
}

fn take(bus: &Bus, moment: Moment, line: &Line) -> Vec<Outgoing> {
    drain(bus, moment, line).0
}

/// What can be sent, and what the rest waits for.
fn drain(bus: &Bus, moment: Moment, line: &Line) -> (Vec<Outgoing>, Place) {
    let mut taken = Vec::new();
    let drain = |outbox: &mut dyn Deliveries| {
        taken.extend(std::iter::from_fn(|| outbox.next(moment.instant)));
    };
    let drained = bus.deliver(&line.attachment, drain).unwrap();
    (taken, drained.waits_for)
}

/// How far the store has come.
struct Tide(Receiver<()>);

impl Tide {
    fn new(bus: &Bus) -> Self {
        let (sender, rung) = channel();
        bus.store().watch(Arc::new(Doorbell(sender)));
        Self(rung)
    }

    fn wait(&self, bus: &Bus, place: Place) {
        while bus.store().durable() < place {
            self.0.recv_timeout(secs_of(20)).expect("the store goes on");
        }
    }
}

fn acknowledge(bus: &Bus, line: &Line, taken: &[Outgoing]) {
    for outgoing in taken {
        let settled = bus.settle(&line.attachment, outgoing.id.unwrap(), Settlement::Delivered).value;
        assert_eq!(settled, gateway_model::Settled::Done);
    }
}

fn parse(outgoing: &Outgoing) -> (usize, usize) {
    let text = text(outgoing);
    let (publisher, count) = text.split_once(' ').unwrap();
    (publisher.parse().unwrap(), count.parse().unwrap())
}

impl Progress {
    fn note(&mut self, outgoing: &Outgoing) {
        let (publisher, count) = parse(outgoing);
        let next = &mut self.0[publisher];
        if outgoing.duplicate {
            assert!(count < *next, "a duplicate was seen before");
        } else {
            assert_eq!(count, *next, "of publisher {publisher}: the next, and nothing left out");
            *next += 1;
        }
    }

    fn is_complete(&self) -> bool {
        self.0.iter().all(|count| *count == MESSAGES)
    }
}
