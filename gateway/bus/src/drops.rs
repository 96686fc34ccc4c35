use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use foldhash::fast::FixedState;
use gateway_model::{ClientId, Topic};
use parking_lot::Mutex;
use smallvec::{SmallVec, smallvec};

use crate::DropReason;
use crate::counters::LANES;

/// Who did not get what, for people who ask. The counters are complete, this is not: it remembers
/// the [`CLIENTS_MAX`] clients that lost something last.
///
/// A drop is noted in the lane of its thread, without a clock and without waiting for other threads;
/// [`Drops::collect`] moves what the lanes have into the table, and says what is new. The locks here
/// are the last of all: nothing else is locked under them.
pub(crate) struct Drops {
    lanes: Box<[Mutex<Notes>; LANES]>,
    /// A lane has something.
    is_noted: AtomicBool,
    table: Mutex<Table>,
    /// When the lanes were collected last: what a full lane hands over early is dated with it.
    collected_unix_millis: AtomicU64,
}

/// What one client lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientDrops {
    pub client_id: ClientId,
    /// One entry for each reason.
    pub drops: SmallVec<[Dropped; 1]>,
    pub last_unix_millis: u64,
}

/// How many copies were dropped for a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    pub reason: DropReason,
    pub count: u64,
    /// The topic of one of them, if it is known.
    pub topic: Option<Topic>,
}

/// Clients that the table remembers; of more, those that lost something last.
const CLIENTS_MAX: usize = 10_000;
/// Clients that a lane notes before it hands over: some hundred kilobytes.
const LANE_CLIENTS_MAX: usize = 1024;

/// What each client lost since the lane was collected.
type Notes = HashMap<ClientId, SmallVec<[Dropped; 1]>, FixedState>;

struct Table {
    clients: HashMap<ClientId, Record, FixedState>,
    clients_max: usize,
    /// When clients lost something, the oldest first. What a record says otherwise by now counts for
    /// nothing.
    order: VecDeque<(u64, ClientId)>,
    /// Those whose record has something fresh.
    fresh: Vec<ClientId>,
    /// Clients that were forgotten for others.
    omitted: u64,
}

#[derive(Default)]
struct Record {
    ever: SmallVec<[Dropped; 1]>,
    /// What was not yet told.
    fresh: SmallVec<[Dropped; 1]>,
    last_unix_millis: u64,
}

impl Drops {
    pub(crate) fn new(hasher: FixedState) -> Self {
        let lane = |_| Mutex::new(Notes::with_hasher(hasher.clone()));
        let clients = HashMap::with_hasher(hasher.clone());
        Self {
            lanes: Box::new(std::array::from_fn(lane)),
            is_noted: AtomicBool::new(false),
            table: Mutex::new(Table::new(clients)),
            collected_unix_millis: AtomicU64::new(0),
        }
    }

    pub(crate) fn note(
        &self,
        lane: usize,
        client_id: &ClientId,
        topic: Option<&Topic>,
        reason: DropReason,
        count: u32,
    ) {
        let mut notes = self.lanes[lane].lock();
        let dropped = || Dropped { reason, count: count.into(), topic: topic.cloned() };
        if let Some(note) = notes.get_mut(client_id) {
            // The topic is taken of the first only: many may follow.
            match note.iter_mut().find(|known| known.reason == reason) {
                Some(known) => known.count += u64::from(count),
                None => note.push(dropped()),
            }
            return;
        }
        if notes.len() >= LANE_CLIENTS_MAX {
            let hasher = notes.hasher().clone();
            let full = std::mem::replace(&mut *notes, Notes::with_hasher(hasher));
            self.table.lock().take_in(full, self.collected_unix_millis.load(Ordering::Relaxed));
        }
        notes.insert(client_id.clone(), smallvec![dropped()]);
        drop(notes);
        self.is_noted.store(true, Ordering::Release);
    }

    /// What is new since it was last asked, by client; nothing is looked at if there is nothing.
    pub(crate) fn collect(&self, unix_millis: u64) -> Vec<ClientDrops> {
        if !self.gather(unix_millis) {
            return Vec::new();
        }
        let mut table = self.table.lock();
        let table = &mut *table;
        let tell = |client_id: ClientId| {
            let record = table.clients.get_mut(&client_id).filter(|record| !record.fresh.is_empty())?;
            let drops = std::mem::take(&mut record.fresh);
            Some(ClientDrops { client_id, drops, last_unix_millis: record.last_unix_millis })
        };
        let mut fresh: Vec<_> = table.fresh.drain(..).filter_map(tell).collect();
        fresh.sort_unstable_by(|one, other| one.client_id.cmp(&other.client_id));
        fresh
    }

    /// Everything remembered, the latest first, and how many clients were forgotten.
    pub(crate) fn all(&self, unix_millis: u64) -> (Vec<ClientDrops>, u64) {
        // What is new stays so for `collect`.
        if self.gather(unix_millis) {
            self.is_noted.store(true, Ordering::Release);
        }
        let table = self.table.lock();
        let view = |(client_id, record): (&ClientId, &Record)| ClientDrops {
            client_id: client_id.clone(),
            drops: record.ever.clone(),
            last_unix_millis: record.last_unix_millis,
        };
        let mut all: Vec<_> = table.clients.iter().map(view).collect();
        all.sort_unstable_by(|one, other| {
            (other.last_unix_millis, &one.client_id).cmp(&(one.last_unix_millis, &other.client_id))
        });
        (all, table.omitted)
    }

    /// Moves what the lanes have into the table. Whether there was anything.
    fn gather(&self, unix_millis: u64) -> bool {
        self.collected_unix_millis.store(unix_millis, Ordering::Relaxed);
        if !self.is_noted.swap(false, Ordering::Acquire) {
            return false;
        }
        for lane in self.lanes.iter() {
            let mut notes = lane.lock();
            let hasher = notes.hasher().clone();
            let notes = std::mem::replace(&mut *notes, Notes::with_hasher(hasher));
            self.table.lock().take_in(notes, unix_millis);
        }
        true
    }
}

impl Table {
    fn new(clients: HashMap<ClientId, Record, FixedState>) -> Self {
        Self { clients, clients_max: CLIENTS_MAX, order: VecDeque::new(), fresh: Vec::new(), omitted: 0 }
    }

    fn take_in(&mut self, notes: Notes, unix_millis: u64) {
        for (client_id, note) in notes {
            let record = self.clients.entry(client_id.clone()).or_default();
            if record.fresh.is_empty() {
                self.fresh.push(client_id.clone());
            }
            if record.ever.is_empty() || record.last_unix_millis != unix_millis {
                record.last_unix_millis = unix_millis;
                self.order.push_back((unix_millis, client_id));
            }
            for dropped in &note {
                add(&mut record.ever, dropped);
                add(&mut record.fresh, dropped);
            }
        }
        self.forget();
    }

    /// The oldest go. Many may have to, four times a second: nobody else is looked at.
    fn forget(&mut self) {
        const SPARE: usize = 64;
        while self.clients.len() > self.clients_max {
            let Some((at, client_id)) = self.order.pop_front() else { break };
            if is_last(&self.clients, at, &client_id) {
                self.clients.remove(&client_id);
                self.omitted += 1;
            }
        }
        if self.order.len() > 2 * self.clients.len() + SPARE {
            self.order.retain(|(at, client_id)| is_last(&self.clients, *at, client_id));
        }
    }
}

/// Whether it was then that the client lost something last.
fn is_last(clients: &HashMap<ClientId, Record, FixedState>, at: u64, client_id: &ClientId) -> bool {
    #[cfg(test)]
    tests::LOOKS.with(|looks| looks.set(looks.get() + 1));
    clients.get(client_id).is_some_and(|record| record.last_unix_millis == at)
}

/// Adds what is new to what was there; the later topic counts.
fn add(drops: &mut SmallVec<[Dropped; 1]>, new: &Dropped) {
    match drops.iter_mut().find(|known| known.reason == new.reason) {
        Some(known) => {
            known.count += new.count;
            known.topic = new.topic.clone().or(known.topic.take());
        }
        None => drops.push(new.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// How often the table has looked at a client to find the oldest.
        pub(super) static LOOKS: Cell<usize> = const { Cell::new(0) };
    }

    fn drops(clients_max: usize) -> Drops {
        let drops = Drops::new(FixedState::with_seed(7));
        drops.table.lock().clients_max = clients_max;
        drops
    }

    fn id(name: &str) -> ClientId {
        ClientId::parse(name).unwrap()
    }

    fn counts(client: &ClientDrops) -> Vec<(DropReason, u64)> {
        client.drops.iter().map(|dropped| (dropped.reason, dropped.count)).collect()
    }

    fn names(drops: &[ClientDrops]) -> Vec<&str> {
        drops.iter().map(|client| client.client_id.as_str()).collect()
    }

    #[test]
    fn many_drops_of_one_client_are_told_once() {
        let drops = drops(10);
        let topic = Topic::parse("t").unwrap();
        for number in 0..100_000 {
            drops.note(number % LANES, &id("a"), Some(&topic), DropReason::QueueFull, 1);
        }
        drops.note(0, &id("a"), None, DropReason::Expired, 2);
        let told = drops.collect(5);
        assert_eq!(names(&told), ["a"]);
        assert_eq!(counts(&told[0]), [(DropReason::QueueFull, 100_000), (DropReason::Expired, 2)]);
        assert_eq!((told[0].drops[0].topic.as_ref(), told[0].last_unix_millis), (Some(&topic), 5));
        assert_eq!(drops.collect(6), [], "what was told is not told again");
        drops.note(0, &id("a"), None, DropReason::Expired, 1);
        assert_eq!(counts(&drops.collect(7)[0]), [(DropReason::Expired, 1)]);
        let (all, omitted) = drops.all(8);
        assert_eq!(counts(&all[0]), [(DropReason::QueueFull, 100_000), (DropReason::Expired, 3)]);
        assert_eq!((all[0].last_unix_millis, omitted), (7, 0));
    }

    #[test]
    fn whoever_looks_takes_nothing_from_what_is_told() {
        let drops = drops(10);
        drops.note(0, &id("a"), None, DropReason::Offline, 1);
        assert_eq!(names(&drops.all(1).0), ["a"]);
        assert_eq!(names(&drops.collect(2)), ["a"]);
    }

    #[test]
    fn of_too_many_clients_the_oldest_are_forgotten_and_counted() {
        let drops = drops(3);
        for (name, at) in [("a", 1), ("b", 2), ("c", 3), ("a", 4), ("d", 5), ("e", 6)] {
            drops.note(0, &id(name), None, DropReason::Offline, 1);
            drops.collect(at);
        }
        let (all, omitted) = drops.all(7);
        assert_eq!((names(&all), omitted), (vec!["e", "d", "a"], 2));
        assert_eq!(counts(&all[2]), [(DropReason::Offline, 2)]);
    }

    /// When a fleet is lost, one client at a time, the table is full most of the time.
    #[test]
    fn a_full_table_costs_no_look_at_all_of_it() {
        let drops = drops(1000);
        const FLEET: usize = 100_000;
        for number in 0..FLEET {
            drops.note(0, &id(&number.to_string()), None, DropReason::Offline, 1);
            assert_eq!(drops.collect(number as u64).len(), 1);
        }
        assert!(LOOKS.get() < 2 * FLEET, "{} looks", LOOKS.get());
        assert_eq!(drops.table.lock().order.len(), 1000);
    }

    #[test]
    fn a_client_that_loses_something_all_the_time_takes_no_more_room() {
        let drops = drops(1000);
        for at in 0..100_000 {
            drops.note(0, &id("a"), None, DropReason::Offline, 1);
            drops.collect(at);
        }
        let table = drops.table.lock();
        assert!(table.order.len() < 100 && table.order.capacity() < 200, "{}", table.order.capacity());
        assert!(table.fresh.capacity() < 10);
    }

    #[test]
    fn a_lane_holds_only_so_many_clients() {
        let drops = drops(CLIENTS_MAX);
        for number in 0..CLIENTS_MAX + 500 {
            drops.note(1, &id(&number.to_string()), None, DropReason::Offline, 1);
        }
        assert!(drops.lanes[1].lock().len() <= LANE_CLIENTS_MAX);
        let (all, omitted) = drops.all(1);
        assert_eq!((all.len(), omitted), (CLIENTS_MAX, 500));
    }
}
