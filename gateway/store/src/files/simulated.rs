use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{File, Files};

/// A disk in memory that does the worst that a disk may do.
///
/// When the power fails, of what was not synced anything may be lost: whole writes, single pages or
/// sectors of one, in any order, and the names of files. It fails when told to, flips bits when told
/// to, and forgets what it could not sync, as Linux does. Clones are the same disk.
#[derive(Clone)]
pub struct Simulated {
    state: Arc<Mutex<State>>,
}

/// What goes wrong with an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power is off from here on.
    PowerCut,
    /// ENOSPC.
    NoSpace,
    /// EIO.
    Io,
}

/// What a file or a directory is asked for, for whoever decides what goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Remove,
    Rename,
    Write,
    Allocate,
    Truncate,
    Sync,
    SyncNames,
}

type Judge = Box<dyn FnMut(u64, Operation) -> Option<Fault> + Send>;

struct State {
    chance: Chance,
    names: BTreeMap<String, u64>,
    /// As they are if the power fails and all changes are lost, and these changes.
    names_synced: BTreeMap<String, u64>,
    names_changed: Vec<(String, Option<u64>)>,
    nodes: HashMap<u64, Node>,
    next_node: u64,
    operations: u64,
    judge: Option<Judge>,
    is_off: bool,
    /// Grows with each restart: what was opened before is gone.
    life: u64,
    capacity: Option<u64>,
}

#[derive(Default)]
struct Node {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    changes: Vec<Change>,
    unreadable: Vec<Range<u64>>,
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Resize(u64),
}

impl Simulated {
    pub fn new(seed: u64) -> Self {
        let state = State {
            chance: Chance(seed),
            names: BTreeMap::new(),
            names_synced: BTreeMap::new(),
            names_changed: Vec::new(),
            nodes: HashMap::new(),
            next_node: 0,
            operations: 0,
            judge: None,
            is_off: false,
            life: 0,
            capacity: None,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Operations that change something, so far.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Asks before every operation that changes something, by its number, what is to go wrong.
    pub fn judge(&self, judge: impl FnMut(u64, Operation) -> Option<Fault> + Send + 'static) {
        self.state.lock().judge = Some(Box::new(judge));
    }

    /// The power fails in the middle of the operation with this number.
    pub fn cut_power_at(&self, operation: u64) {
        self.judge(move |number, _| (number == operation).then_some(Fault::PowerCut));
    }

    pub fn cut_power(&self) {
        self.state.lock().is_off = true;
    }

    pub fn is_off(&self) -> bool {
        self.state.lock().is_off
    }

    /// The power is back, and what was not synced may be lost. What was open is not any more.
    pub fn restart(&self) {
        self.state.lock().restart(true);
    }

    /// The process was killed and begins again; nothing that was written is lost.
    pub fn kill(&self) {
        self.state.lock().restart(false);
    }

    /// So many bytes fit on it.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// Flips a bit of what is stored, now and for ever.
    pub fn flip(&self, name: &str, offset: u64, bit: u8) {
        self.state.lock().with(name, |node| {
            for bytes in [&mut node.bytes, &mut node.synced] {
                if let Some(byte) = bytes.get_mut(offset as usize) {
                    *byte ^= 1 << (bit % 8);
                }
            }
        });
    }

    /// Reading any of these bytes fails.
    pub fn make_unreadable(&self, name: &str, range: Range<u64>) {
        self.state.lock().with(name, |node| node.unreadable.push(range));
    }

    /// All bytes of a file can be read again.
    pub fn make_readable(&self, name: &str) {
        self.state.lock().with(name, |node| node.unreadable.clear());
    }

    /// A file is gone, or never was.
    pub fn lose(&self, name: &str) {
        let mut state = self.state.lock();
        state.names.remove(name);
        state.names_synced.remove(name);
    }

    /// The bytes of a file, as they would be read.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        self.state.lock().with(name, |node| node.bytes.clone())
    }

    /// All bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.state.lock().used()
    }
}

impl State {
    fn with<T>(&mut self, name: &str, change: impl FnOnce(&mut Node) -> T) -> Option<T> {
        let node = *self.names.get(name)?;
        self.nodes.get_mut(&node).map(change)
    }

    fn used(&self) -> u64 {
        self.names.values().map(|node| self.nodes[node].bytes.len() as u64).sum()
    }

    /// Counts an operation, and says what goes wrong with it.
    fn begin(&mut self, operation: Operation) -> io::Result<Option<Fault>> {
        if self.is_off {
            return Err(off());
        }
        let number = self.operations;
        self.operations += 1;
        let fault = self.judge.as_mut().and_then(|judge| judge(number, operation));
        if fault == Some(Fault::PowerCut) {
            self.is_off = true;
        }
        Ok(fault)
    }

    fn restart(&mut self, lose: bool) {
        self.is_off = false;
        self.judge = None;
        self.life += 1;
        if !lose {
            return;
        }
        let mut names = std::mem::take(&mut self.names_synced);
        for (name, node) in std::mem::take(&mut self.names_changed) {
            if self.chance.is(2) {
                match node {
                    Some(node) => names.insert(name, node),
                    None => names.remove(&name),
                };
            }
        }
        self.names = names.clone();
        self.names_synced = names;
        let chance = &mut self.chance;
        self.nodes.retain(|number, _| self.names.values().any(|node| node == number));
        // In the order of their numbers: what happens depends on the seed alone.
        let mut numbers: Vec<u64> = self.nodes.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            self.nodes.get_mut(&number).expect("it was listed").lose(chance);
        }
    }
}

impl Node {
    /// Some of what was not synced reaches the disk, the rest never will.
    fn lose(&mut self, chance: &mut Chance) {
        self.persist_some(chance);
        self.bytes = self.synced.clone();
    }

    fn persist_some(&mut self, chance: &mut Chance) {
        let changes = std::mem::take(&mut self.changes);
        // The first so many in order, or each by its own luck.
        let first = chance.is(3).then(|| chance.below(changes.len() as u64 + 1) as usize);
        for (index, change) in changes.into_iter().enumerate() {
            let kept = first.map_or_else(|| chance.is(2), |first| index < first);
            match change {
                Change::Write(offset, bytes) if !kept => self.tear(offset, &bytes, chance),
                change if kept => apply(&mut self.synced, &change),
                _ => {}
            }
        }
    }

    /// Some pages or sectors of a write reach the disk.
    fn tear(&mut self, offset: u64, bytes: &[u8], chance: &mut Chance) {
        let unit = if chance.is(2) { 512 } else { 4096 };
        let mut at = 0;
        while at < bytes.len() {
            let end = bytes.len().min(at + unit - (offset as usize + at) % unit);
            if chance.is(2) {
                apply(&mut self.synced, &Change::Write(offset + at as u64, bytes[at..end].to_vec()));
            }
            at = end;
        }
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.bytes, &change);
        self.changes.push(change);
    }
}

fn apply(to: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(offset, bytes) => {
            let end = *offset as usize + bytes.len();
            if to.len() < end {
                to.resize(end, 0);
            }
            to[*offset as usize..end].copy_from_slice(bytes);
        }
        Change::Resize(size) => to.resize(*size as usize, 0),
    }
}

impl Files for Simulated {
    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        if state.is_off { Err(off()) } else { Ok(state.names.keys().cloned().collect()) }
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        if let Ok(file) = self.open(name) {
            return Ok(file);
        }
        let mut state = self.state.lock();
        fail(state.begin(Operation::Create)?)?;
        let node = state.next_node;
        state.next_node += 1;
        state.nodes.insert(node, Node::default());
        state.names.insert(name.to_owned(), node);
        state.names_changed.push((name.to_owned(), Some(node)));
        Ok(Arc::new(Handle { disk: self.clone(), node, life: state.life }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let state = self.state.lock();
        if state.is_off {
            return Err(off());
        }
        let node = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Handle { disk: self.clone(), node, life: state.life }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.names.contains_key(name) {
            return Err(if state.is_off { off() } else { io::ErrorKind::NotFound.into() });
        }
        let fault = state.begin(Operation::Remove)?;
        if fault.is_none() || fault == Some(Fault::PowerCut) {
            state.names.remove(name);
            state.names_changed.push((name.to_owned(), None));
        }
        fail(fault)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        fail(state.begin(Operation::Rename)?)?;
        let node = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), node);
        state.names_changed.push((from.to_owned(), None));
        state.names_changed.push((to.to_owned(), Some(node)));
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        fail(state.begin(Operation::SyncNames)?)?;
        state.names_synced = state.names.clone();
        state.names_changed.clear();
        Ok(())
    }

    fn salt(&self) -> u32 {
        0x5EED_5A17
    }
}

struct Handle {
    disk: Simulated,
    node: u64,
    life: u64,
}

impl Handle {
    fn with<T>(&self, run: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state.lock();
        if state.is_off || state.life != self.life {
            return Err(off());
        }
        run(&mut state)
    }

    /// Changes the file; if that fails, any part of it may have happened.
    fn change(&self, operation: Operation, change: Change) -> io::Result<()> {
        self.with(|state| {
            let mut fault = state.begin(operation)?;
            let node = state.nodes[&self.node].bytes.len() as u64;
            let end = match &change {
                Change::Write(offset, bytes) => offset + bytes.len() as u64,
                Change::Resize(size) => *size,
            };
            let grown = state.used() + end.saturating_sub(node);
            if end > node && state.capacity.is_some_and(|capacity| grown > capacity) {
                fault = fault.or(Some(Fault::NoSpace));
            }
            let part = match (&fault, change) {
                (None | Some(Fault::PowerCut), change) => Some(change),
                (Some(_), Change::Write(offset, mut bytes)) if end <= node => {
                    bytes.truncate(state.chance.below(bytes.len() as u64 + 1) as usize);
                    Some(Change::Write(offset, bytes))
                }
                _ => None,
            };
            if let Some(part) = part {
                state.nodes.get_mut(&self.node).ok_or_else(off)?.change(part);
            }
            fail(fault)
        })
    }
}

impl File for Handle {
    fn size(&self) -> io::Result<u64> {
        self.with(|state| Ok(state.nodes[&self.node].bytes.len() as u64))
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|state| {
            let node = &state.nodes[&self.node];
            let end = offset + bytes.len() as u64;
            if node.unreadable.iter().any(|range| range.start < end && offset < range.end) {
                return Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
            }
            let from = node.bytes.get(offset as usize..).unwrap_or_default();
            let length = from.len().min(bytes.len());
            bytes[..length].copy_from_slice(&from[..length]);
            Ok(length)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.change(Operation::Write, Change::Write(offset, bytes.to_vec()))
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        let size = size.max(self.size()?);
        self.change(Operation::Allocate, Change::Resize(size))
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.change(Operation::Truncate, Change::Resize(size))
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state| {
            let fault = state.begin(Operation::Sync)?;
            let node = state.nodes.get_mut(&self.node).ok_or_else(off)?;
            match fault {
                None => {
                    for change in std::mem::take(&mut node.changes) {
                        apply(&mut node.synced, &change);
                    }
                }
                // The power decides what of it happened.
                Some(Fault::PowerCut) => {}
                // What could not be written counts as written from now on, and is lost.
                Some(_) => node.persist_some(&mut state.chance),
            }
            fail(fault)
        })
    }
}

fn fail(fault: Option<Fault>) -> io::Result<()> {
    match fault {
        None => Ok(()),
        Some(Fault::PowerCut) => Err(off()),
        Some(Fault::NoSpace) => Err(io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error())),
        Some(Fault::Io) => Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())),
    }
}

fn off() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the power is off")
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ mixed >> 31) % end.max(1)
    }

    /// One time in so many.
    fn is(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}
