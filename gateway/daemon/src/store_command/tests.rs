use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use gateway_model::{ClientId, Identifiers, Message, Qos, Stored, Subscription, Topic, TopicFilter};
use gateway_store::{Away, Copy, MessageRecord, Record, SessionRecord, Store};

use super::*;

/// A data directory with a store in it, gone when dropped.
struct DataDir(PathBuf);

impl DataDir {
    /// Two sessions; of 60 messages 20 wait for the first, and one is retained.
    fn make(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("tidegate-store-command-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let directory = Directory::open(&dir.join("store")).unwrap();
        let options = Options::default();
        let (disk, _) =
            Disk::open_unthreaded(options, Arc::new(directory), gateway_broker::moment()).unwrap();
        let mut appending = disk.begin().unwrap();
        appending.append(&session(1, "meter\u{1b}[31m", Expiry::Never));
        appending.append(&session(2, "lamp", Expiry::After(Duration::from_secs(3_600))));
        for ordinal in 0..60 {
            appending.append(&message(ordinal));
        }
        drop(appending);
        // What follows proves that this had been written.
        assert!(disk.commit());
        let mut appending = disk.begin().unwrap();
        appending.append(&Record::Settled { session: 1, ordinals: (0..40).collect() });
        drop(appending);
        assert!(disk.commit());
        std::fs::write(dir.join("node.id"), "00112233445566778899aabbccddeeff\n").unwrap();
        Self(dir)
    }

    fn inspect(&self, sessions: bool, json: bool) -> Answer {
        inspect(&self.0, sessions, json).unwrap()
    }

    /// Changes one byte in the middle of the log.
    fn damage(&self) {
        self.damage_at(3_000);
    }

    fn damage_at(&self, byte: usize) {
        let path = self.0.join("store/00000001.log");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[byte] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn session(number: u64, client_id: &str, expiry: Expiry) -> Record {
    let mut subscription = Subscription::new(TopicFilter::parse("a/#").unwrap(), Qos::AtLeastOnce);
    subscription.identifier = NonZeroU32::new(7);
    Record::Session(Box::new(SessionRecord {
        number,
        client_id: ClientId::parse(client_id).unwrap(),
        owner: 0,
        expiry,
        will: None,
        away: Some(Away { ends_unix_millis: None, will_unix_millis: None, sent_before: 45 }),
        next_ordinal: 0,
        subscriptions: vec![subscription],
        held: Vec::new(),
        kept: None,
    }))
}

fn message(ordinal: u64) -> Record {
    let message = Message {
        topic: Topic::parse("a/b").unwrap(),
        payload: Bytes::from(vec![7; 64]),
        properties: None,
        publisher: ClientId::parse("p").unwrap(),
        accepted_unix_millis: 0.into(),
        expires_at: None,
        qos: Qos::AtLeastOnce,
        retain: false,
        stored: Stored::default(),
    };
    let copy = Copy {
        session: 1,
        ordinal,
        qos: Qos::AtLeastOnce,
        retain: false,
        priority: 0,
        state: CopyState::Waiting,
        identifiers: Identifiers::One(7),
        shared: None,
    };
    Record::Message(MessageRecord {
        message: Arc::new(message),
        copies: [copy].into_iter().collect(),
        retained: ordinal == 3,
        delayed: None,
        held: None,
    })
}

#[test]
fn inspecting_shows_what_is_there() {
    let dir = DataDir::make("inspect");
    let Answer { text, is_well } = dir.inspect(true, false);
    assert!(is_well);
    for line in [
        "node      00112233445566778899aabbccddeeff\n",
        "sessions  2\n",
        "retained  1\n",
        "end       whole\n",
    ] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
    let rows: Vec<_> = text.lines().rev().take(2).map(|row| row.split_whitespace().collect()).collect();
    let [meter, lamp]: &[Vec<&str>; 2] = rows[..].try_into().unwrap();
    assert_eq!((&lamp[..3], lamp[6]), (&["3600", "s", "1"][..], "lamp"));
    assert_eq!((&meter[..3], meter[4], meter[5]), (&["never", "1", "20"][..], "5", r"meter\u{1b}[31m"));

    let json: Value = serde_json::from_str(&dir.inspect(true, true).text).unwrap();
    assert_eq!((&json["sessions"], &json["queued"], &json["damaged"]), (&json!(2), &json!(20), &json!([])));
    assert_eq!(json["session_list"][0]["expiry_secs"], json!(3_600));
    assert_eq!(json["session_list"][1]["in_flight"], json!(5));
    assert_eq!(
        serde_json::from_str::<Value>(&dir.inspect(false, true).text).unwrap().get("session_list"),
        None
    );
}

/// What waits for a session whose record was damaged is not in any queue, and not forgotten either.
#[test]
fn inspecting_counts_what_has_lost_its_session() {
    let dir = DataDir::make("orphans");
    assert!(dir.inspect(false, false).text.contains("orphans   0 messages, "));
    dir.damage_at(80);
    let Answer { text, is_well } = dir.inspect(false, false);
    let is_told = text.contains("orphans   20 messages, whose sessions are lost\n");
    assert!(is_told && !is_well && text.contains("queued    0 messages, "), "{text}");
    let json: Value = serde_json::from_str(&dir.inspect(false, true).text).unwrap();
    assert_eq!((&json["orphans"], &json["sessions"]), (&json!(20), &json!(1)));
}

#[test]
fn verifying_names_what_is_damaged() {
    let dir = DataDir::make("verify");
    let answer = verify(&dir.0).unwrap();
    assert!(answer.is_well && answer.text.starts_with("63 records in "), "{}", answer.text);
    dir.damage();
    let answer = verify(&dir.0).unwrap();
    let [range, total] = answer.text.lines().collect::<Vec<_>>()[..] else { panic!("{}", answer.text) };
    let bytes = range.strip_prefix("00000001.log: bytes ").unwrap().strip_suffix(" are damaged").unwrap();
    let (from, to) = bytes.split_once(" to ").unwrap();
    let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
    assert!(from <= 3_000 && 3_000 < to && to - from < 200, "{range}");
    assert!(!answer.is_well && total == "1 damaged range; 62 records are whole", "{total}");
    assert!(!dir.inspect(false, false).is_well);
    let Err(refused) = compact(&dir.0, false) else { panic!("it would be gone") };
    assert!(refused.to_string().contains(range), "{refused}");
    assert!(compact(&dir.0, true).unwrap().is_well);
    assert!(verify(&dir.0).unwrap().is_well);
}

#[test]
fn compacting_keeps_what_is_held() {
    let dir = DataDir::make("compact");
    let before = survey(&dir.0).unwrap();
    let answer = compact(&dir.0, false).unwrap();
    let after = survey(&dir.0).unwrap();
    assert_eq!(
        answer.text,
        format!("{} bytes in use before, {} after\n", before.used_bytes, after.used_bytes)
    );
    assert!(after.used_bytes * 2 < before.used_bytes);
    let held: Vec<u64> = after.image.sessions[&1].copies.keys().copied().collect();
    assert_eq!((held, after.image.retained.len()), ((40..60).collect(), 1));

    let lock = serve::lock_data_dir(&dir.0).unwrap();
    let Err(refused) = compact(&dir.0, false) else { panic!("a gateway runs") };
    assert!(format!("{refused:#}").starts_with("compacting needs the gateway stopped: "), "{refused:#}");
    assert!(inspect(&dir.0, false, false).is_ok());
    drop(lock);
}

#[test]
fn segments_fit_into_what_a_full_store_leaves_of_a_small_disk() {
    assert_eq!(options_to_compact(16 << 20).segment_bytes, 2 << 20);
    assert_eq!(options_to_compact(1 << 40).segment_bytes, Options::default().segment_bytes);
}

#[test]
fn a_directory_without_a_store_is_none() {
    let dir = std::env::temp_dir().join("tidegate-store-command-of-nobody");
    for command in [inspect(&dir, false, false), verify(&dir), compact(&dir, false)] {
        let Err(error) = command else { panic!("there is none") };
        assert!(error.to_string().contains("has no store"), "{error}");
    }
    assert!(!dir.exists());
}
