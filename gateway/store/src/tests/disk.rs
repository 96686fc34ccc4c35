use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use gateway_model::{ClientId, Expiry, Message, Moment, Notify, Qos, Topic};
use smallvec::smallvec;

use crate::{
    Copy, CopyState, Directory, Disk, Fault, Files, Identity, MessageRecord, Operation, Options, PAGE_BYTES,
    Place, Record, Room, SessionRecord, Simulated, Store,
};

struct Bell(mpsc::Sender<()>);

impl Notify for Bell {
    fn notify(&self) {
        // Whoever has stopped listening needs no bell.
        let _ = self.0.send(());
    }
}

fn now() -> Moment {
    Moment { instant: Instant::now(), unix_millis: 1_700_000_000_000 }
}

fn session(number: u64) -> Record {
    Record::Session(Box::new(SessionRecord {
        number,
        client_id: ClientId::parse("sensor").expect("it is valid"),
        owner: 1,
        expiry: Expiry::Never,
        will: None,
        away: None,
        next_ordinal: 0,
        subscriptions: Vec::new(),
        held: Vec::new(),
        kept: None,
    }))
}

fn message(session: u64, ordinal: u64, payload: &str) -> Record {
    let message = Message {
        topic: Topic::parse("a/b").expect("it is valid"),
        payload: payload.to_owned().into(),
        properties: None,
        publisher: ClientId::parse("meter").expect("it is valid"),
        accepted_unix_millis: 1_700_000_000_000.into(),
        expires_at: None,
        qos: Qos::AtLeastOnce,
        retain: false,
        stored: Default::default(),
    };
    let copy = Copy {
        session,
        ordinal,
        qos: Qos::AtLeastOnce,
        retain: false,
        priority: 0,
        state: CopyState::Waiting,
        identifiers: Default::default(),
        shared: None,
    };
    Record::Message(MessageRecord {
        message: Arc::new(message),
        copies: smallvec![copy],
        retained: false,
        delayed: None,
        held: None,
    })
}

/// Appends a session and a message for it, and waits until that is durable.
fn store_one(disk: &Disk) -> Place {
    let (sender, rings) = mpsc::channel();
    disk.watch(Arc::new(Bell(sender)));
    let mut appending = disk.begin().expect("it is a log");
    appending.append(&session(7));
    let record = message(7, 0, "21.5");
    let Record::Message(MessageRecord { message, copies, .. }) = &record else { panic!("it is one") };
    let reserved = appending.reserve(MessageRecord::size_max(message, copies.len(), 0));
    let place = appending.append(&record);
    assert_eq!(place, reserved);
    let end = appending.end();
    drop(appending);
    let read = disk.read(place).expect("it can be read at once");
    assert_eq!(&read.payload[..], b"21.5");
    while disk.durable() < end {
        rings.recv_timeout(Duration::from_secs(10)).expect("it rings when it is durable");
    }
    place
}

fn check(files: Arc<dyn Files>, place: Place) {
    let (disk, image) = Disk::open(Options::default(), files, now()).expect("it opens again");
    let session = &image.sessions[&7];
    assert_eq!(session.record.client_id.as_str(), "sensor");
    assert_eq!(session.copies[&0].place, place);
    assert_eq!(&disk.read(place).expect("it is there").payload[..], b"21.5");
    assert_eq!(disk.room(), Room::Open);
}

/// A directory that is removed afterwards.
pub(super) struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-store-{name}-{}", std::process::id()));
        // From a run that was killed.
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    pub fn open(&self) -> Arc<dyn Files> {
        Arc::new(Directory::open(&self.0).expect("the directory can be made"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_message_is_there_after_a_restart() {
    let folder = Folder::new("restart");
    let (disk, _) = Disk::open(Options::default(), folder.open(), now()).expect("it opens");
    let place = store_one(&disk);
    drop(disk);
    check(folder.open(), place);
}

#[test]
fn what_is_lazy_is_written_when_it_closes() {
    let folder = Folder::new("lazy");
    let (disk, _) = Disk::open(Options::default(), folder.open(), now()).expect("it opens");
    disk.begin().expect("it is a log").append_lazily(&session(1));
    drop(disk);
    let (_, image) = Disk::open(Options::default(), folder.open(), now()).expect("it opens");
    assert!(image.sessions.contains_key(&1));
}

#[test]
fn what_is_lazy_is_written_after_a_while() {
    let simulated = Simulated::new(1);
    let files = Arc::new(simulated.clone());
    let (disk, _) = Disk::open(Options::default(), files, now()).expect("it opens");
    let (sender, rings) = mpsc::channel();
    disk.watch(Arc::new(Bell(sender)));
    let before = Instant::now();
    let mut appending = disk.begin().expect("it is a log");
    appending.append_lazily(&session(1));
    let end = appending.end();
    drop(appending);
    while disk.durable() < end {
        rings.recv_timeout(Duration::from_secs(10)).expect("it rings when it is durable");
    }
    assert!(before.elapsed() >= Duration::from_millis(900), "nobody was in a hurry");
}

#[test]
fn much_that_is_lazy_does_not_wait() {
    let (disk, _) =
        Disk::open_unthreaded(Options::default(), Arc::new(Simulated::new(1)), now()).expect("it opens");
    let is_urgent = || disk.engine().log.lock().urgent;
    let mut appending = disk.begin().expect("it is a log");
    for ordinal in 0..100 {
        assert!(!is_urgent());
        appending.append_lazily(&message(1, ordinal, &"x".repeat(100)));
    }
    for ordinal in 100..1000 {
        appending.append_lazily(&message(1, ordinal, &"x".repeat(100)));
    }
    assert!(is_urgent());
    drop(appending);
    assert!(disk.commit() && !is_urgent());
}

#[test]
fn nobody_else_gets_the_directory() {
    let folder = Folder::new("lock");
    let first = Directory::open(&folder.0).expect("it is free");
    let refused = Directory::open(&folder.0).err().expect("it is not free");
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);
    Directory::look(&folder.0).expect("one may look");
    drop(first);
    Directory::open(&folder.0).expect("it is free again");
}

#[test]
fn many_threads_append_and_each_gets_what_it_was_promised() {
    const THREADS: u64 = 4;
    const EACH: u64 = 300;
    let folder = Folder::new("threads");
    let options = Options { segment_bytes: 16 << 10, ..Options::default() };
    let (disk, _) = Disk::open(options, folder.open(), now()).expect("it opens");
    let (sender, rings) = mpsc::channel();
    disk.watch(Arc::new(Bell(sender)));
    std::thread::scope(|scope| {
        for number in 0..THREADS {
            let disk = &disk;
            scope.spawn(move || {
                disk.begin().expect("it is a log").append(&session(number));
                for ordinal in 0..EACH {
                    let mut appending = disk.begin().expect("it is a log");
                    let place = appending.append(&message(number, ordinal, &format!("{number} {ordinal}")));
                    drop(appending);
                    let read = disk.read(place).expect("it can be read at once");
                    assert_eq!(read.payload, format!("{number} {ordinal}"));
                }
            });
        }
    });
    let end = disk.begin().expect("it is a log").end();
    while disk.durable() < end {
        rings.recv_timeout(Duration::from_secs(10)).expect("it rings when it is durable");
    }
    assert_eq!(disk.figures().messages, THREADS * EACH);
    drop(disk);
    let (disk, image) = Disk::open(options, folder.open(), now()).expect("it opens");
    for number in 0..THREADS {
        let copies = &image.sessions[&number].copies;
        assert_eq!(copies.len() as u64, EACH);
        for (ordinal, copy) in copies {
            let message = disk.read(copy.place).expect("it is there");
            assert_eq!(message.payload, format!("{number} {ordinal}"));
        }
    }
}

#[test]
fn a_disk_that_fails_is_full_until_it_works() {
    let simulated = Simulated::new(1);
    let (disk, _) =
        Disk::open_unthreaded(Options::default(), Arc::new(simulated.clone()), now()).expect("it opens");
    let (sender, rings) = mpsc::channel();
    disk.watch(Arc::new(Bell(sender)));
    simulated.judge(|_, operation| (operation == Operation::Sync).then_some(Fault::Io));
    disk.begin().expect("it is a log").append(&session(1));
    let before = disk.durable();
    assert!(!disk.commit());
    assert_eq!((disk.durable(), disk.room(), disk.figures().failures), (before, Room::Full, 1));
    assert!(disk.figures().is_failing);
    assert!(rings.try_iter().count() > 0, "it rings when the room changes");
    simulated.judge(|_, _| None);
    assert!(disk.commit());
    assert!(!disk.figures().is_failing);
    assert_eq!((disk.room(), disk.figures().bytes_pending), (Room::Open, 0));
    assert!(disk.durable() > before && rings.try_iter().count() > 0);
}

#[test]
fn a_turn_knows_where_it_ended_and_who_let_go() {
    let (disk, _) =
        Disk::open_unthreaded(Options::default(), Arc::new(Simulated::new(1)), now()).expect("it opens");
    let end_of_log = || disk.engine().log.lock().end();
    let mut appending = disk.begin().expect("it is a log");
    assert_eq!(appending.end(), end_of_log());
    let places: Vec<Place> =
        (0..200).map(|ordinal| appending.append_lazily(&message(1, ordinal, "x"))).collect();
    assert_eq!(appending.end(), end_of_log());
    appending.append(&session(1));
    assert_eq!(appending.end(), end_of_log());
    let holders = || disk.engine().log.lock().segments[&1].holders;
    assert_eq!(holders(), 200);
    appending.let_go(places.into_iter().skip(3));
    assert_eq!(holders(), 3);
    appending.let_go([]);
    drop(appending);
    assert_eq!(disk.begin().expect("it is a log").end(), end_of_log());
}

#[test]
fn pages_are_scratch() {
    let simulated = Simulated::new(1);
    let open = || Disk::open_unthreaded(Options::default(), Arc::new(simulated.clone()), now());
    let (disk, _) = open().expect("it opens");
    let pages = disk.pages().expect("a disk has pages");
    let first = pages.put(b"one").expect("the disk works");
    let second = pages.put(&[2; PAGE_BYTES]).expect("the disk works");
    assert_eq!(pages.get(first).expect("it is there"), b"one");
    pages.free(second);
    let third = pages.put(b"three").expect("the disk works");
    assert_eq!(third, second, "what is free is used again");
    assert_eq!(pages.get(first).expect("it is there"), b"one");
    assert_eq!(pages.get(third).expect("it is there"), b"three");
    assert!(simulated.contents("scratch").is_some_and(|bytes| !bytes.is_empty()));
    pages.free(first);
    pages.free(third);
    assert_eq!(simulated.contents("scratch"), Some(Vec::new()), "unused space goes back");
    pages.put(b"left over").expect("the disk works");
    drop(disk);
    open().expect("it opens");
    assert_eq!(simulated.contents("scratch"), None);
}

#[test]
fn a_node_keeps_its_identity() {
    for operation in 0.. {
        let simulated = Simulated::new(operation);
        simulated.cut_power_at(operation);
        let first = Identity::of(&simulated);
        let finished = !simulated.is_off();
        simulated.restart();
        let second = Identity::of(&simulated).expect("the disk works");
        assert!(first.is_err() || first.is_ok_and(|first| first == second));
        assert_eq!(Identity::of(&simulated).expect("the disk works"), second);
        assert_eq!(second.to_string().len(), 32);
        if finished {
            break;
        }
    }
    let folder = Folder::new("identity");
    let one = Identity::of(&*folder.open()).expect("the disk works");
    assert_eq!(Identity::of(&*folder.open()).expect("the disk works"), one);
    let other = Identity::of(&*Folder::new("identity2").open()).expect("the disk works");
    assert_ne!(one, other);
    fs::write(folder.0.join("node.id"), "what").expect("the disk works");
    assert!(Identity::of(&*folder.open()).is_err_and(|error| error.kind() == ErrorKind::InvalidData));
}

#[test]
fn a_message_is_there_after_a_power_cut() {
    let simulated = Simulated::new(1);
    let (disk, image) =
        Disk::open(Options::default(), Arc::new(simulated.clone()), now()).expect("an empty disk opens");
    assert!(image.sessions.is_empty());
    let place = store_one(&disk);
    simulated.cut_power();
    drop(disk);
    simulated.restart();
    check(Arc::new(simulated), place);
}

/// A defect of ours in the thread that writes: nobody is told that something is durable, and whoever
/// runs the store is told that nothing will be.
#[test]
fn a_store_that_panics_says_so() {
    let simulated = Simulated::new(1);
    let (disk, _) =
        Disk::open(Options::default(), Arc::new(simulated.clone()), now()).expect("an empty disk opens");
    let (sender, rings) = mpsc::channel();
    disk.watch(Arc::new(Bell(sender)));
    store_one(&disk);
    simulated.judge(|_, operation| {
        assert_ne!(operation, Operation::Sync, "a panic on purpose");
        None
    });
    let before = disk.durable();
    disk.begin().expect("it is a log").append(&session(8));
    while !disk.has_failed() {
        rings.recv_timeout(Duration::from_secs(10)).expect("it rings when it fails");
    }
    assert_eq!((disk.durable(), disk.room()), (before, Room::Full));
    disk.close();
    assert_eq!(disk.durable(), before);
}
