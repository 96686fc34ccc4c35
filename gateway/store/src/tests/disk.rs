use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use gateway_model::{ClientId, Expiry, Message, Moment, Notify, Qos, Topic};
use smallvec::smallvec;

use crate::{
    Copy, CopyState, Disk, Files, MessageRecord, Options, Place, Record, Room, SessionRecord, Simulated,
    Store,
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
        accepted_unix_millis: 1_700_000_000_000,
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
    let reserved = appending.reserve(record.size_max());
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
