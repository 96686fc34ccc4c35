use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use foldhash::fast::FixedState;
use gateway_model::{ClientId, Topic};
use parking_lot::Mutex;
use smallvec::SmallVec;

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
    /// How many for which reason.
    pub reasons: SmallVec<[(DropReason, u64); 2]>,
    /// The topic of one of them, if it is known.
    pub topic: Option<Topic>,
    pub last_unix_millis: u64,
}

/// Clients that the table remembers; of more, those that lost something last.
const CLIENTS_MAX: usize = 10_000;
/// Clients that a lane notes before it hands over: some hundred kilobytes.
const LANE_CLIENTS_MAX: usize = 1024;

type Notes = HashMap<ClientId, Note, FixedState>;

/// What one client lost since the lane was collected.
#[derive(Default)]
struct Note {
    reasons: SmallVec<[(DropReason, u64); 2]>,
    topic: Option<Topic>,
}

struct Table {
    clients: HashMap<ClientId, Record, FixedState>,
    clients_max: usize,
    /// Clients that were forgotten for others.
    omitted: u64,
}

#[derive(Default)]
struct Record {
    /// For each reason how many ever, and how many since it was last told.
    reasons: SmallVec<[(DropReason, u64, u64); 1]>,
    /// The latest, as far as it is known.
    topic: Option<Topic>,
    last_unix_millis: u64,
    /// Something is new.
    is_fresh: bool,
}

impl Drops {
    pub(crate) fn new(hasher: FixedState) -> Self {
        let lane = |_| Mutex::new(Notes::with_hasher(hasher.clone()));
        let clients = HashMap::with_hasher(hasher.clone());
        Self {
            lanes: Box::new(std::array::from_fn(lane)),
            is_noted: AtomicBool::new(false),
            table: Mutex::new(Table { clients, clients_max: CLIENTS_MAX, omitted: 0 }),
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
        if let Some(note) = notes.get_mut(client_id) {
            return note.add(reason, count.into());
        }
        if notes.len() >= LANE_CLIENTS_MAX {
            let hasher = notes.hasher().clone();
            let full = std::mem::replace(&mut *notes, Notes::with_hasher(hasher));
            self.table.lock().take_in(full, self.collected_unix_millis.load(Ordering::Relaxed));
        }
        let mut note = Note { topic: topic.cloned(), ..Note::default() };
        note.add(reason, count.into());
        notes.insert(client_id.clone(), note);
        drop(notes);
        self.is_noted.store(true, Ordering::Release);
    }

    /// What is new since it was last asked, by client; nothing is looked at if there is nothing.
    pub(crate) fn collect(&self, unix_millis: u64) -> Vec<ClientDrops> {
        if !self.gather(unix_millis) {
            return Vec::new();
        }
        let mut table = self.table.lock();
        let fresh = table.clients.iter_mut().filter(|(_, record)| record.is_fresh);
        let mut fresh: Vec<_> = fresh.map(|(client_id, record)| record.tell(client_id)).collect();
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
        let mut all: Vec<_> =
            table.clients.iter().map(|(client_id, record)| record.view(client_id)).collect();
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

impl Note {
    fn add(&mut self, reason: DropReason, count: u64) {
        match self.reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, so_far)) => *so_far += count,
            None => self.reasons.push((reason, count)),
        }
    }
}

impl Table {
    fn take_in(&mut self, notes: Notes, unix_millis: u64) {
        for (client_id, note) in notes {
            let record = self.clients.entry(client_id).or_default();
            record.add(note, unix_millis);
        }
        let excess = self.clients.len().saturating_sub(self.clients_max);
        if excess == 0 {
            return;
        }
        // The oldest go, all at once: a walk for each would be dear.
        let mut ages: Vec<_> = self
            .clients
            .iter()
            .map(|(client_id, record)| (record.last_unix_millis, client_id.clone()))
            .collect();
        ages.select_nth_unstable(excess - 1);
        ages[..excess].iter().for_each(|(_, client_id)| drop(self.clients.remove(client_id)));
        self.omitted += excess as u64;
    }
}

impl Record {
    fn add(&mut self, note: Note, unix_millis: u64) {
        for (reason, count) in note.reasons {
            match self.reasons.iter_mut().find(|(known, ..)| *known == reason) {
                Some((_, ever, fresh)) => (*ever, *fresh) = (*ever + count, *fresh + count),
                None => self.reasons.push((reason, count, count)),
            }
        }
        self.topic = note.topic.or(self.topic.take());
        self.last_unix_millis = unix_millis;
        self.is_fresh = true;
    }

    /// What is new, which is old from now on.
    fn tell(&mut self, client_id: &ClientId) -> ClientDrops {
        self.is_fresh = false;
        let fresh = self.reasons.iter_mut().map(|(reason, _, fresh)| (*reason, std::mem::take(fresh)));
        ClientDrops {
            client_id: client_id.clone(),
            reasons: fresh.filter(|(_, count)| *count > 0).collect(),
            topic: self.topic.clone(),
            last_unix_millis: self.last_unix_millis,
        }
    }

    fn view(&self, client_id: &ClientId) -> ClientDrops {
        ClientDrops {
            client_id: client_id.clone(),
            reasons: self.reasons.iter().map(|(reason, ever, _)| (*reason, *ever)).collect(),
            topic: self.topic.clone(),
            last_unix_millis: self.last_unix_millis,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drops(clients_max: usize) -> Drops {
        let drops = Drops::new(FixedState::with_seed(7));
        drops.table.lock().clients_max = clients_max;
        drops
    }

    fn id(name: &str) -> ClientId {
        ClientId::parse(name).unwrap()
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
        assert_eq!(told[0].reasons[..], [(DropReason::QueueFull, 100_000), (DropReason::Expired, 2)]);
        assert_eq!((told[0].topic.as_ref(), told[0].last_unix_millis), (Some(&topic), 5));
        assert_eq!(drops.collect(6), [], "what was told is not told again");
        drops.note(0, &id("a"), None, DropReason::Expired, 1);
        assert_eq!(drops.collect(7)[0].reasons[..], [(DropReason::Expired, 1)]);
        let (all, omitted) = drops.all(8);
        assert_eq!(all[0].reasons[..], [(DropReason::QueueFull, 100_000), (DropReason::Expired, 3)]);
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
        assert_eq!(all[2].reasons[..], [(DropReason::Offline, 2)]);
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
