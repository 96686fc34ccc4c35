//! What a gateway makes of the files that it finds: none, older ones, newer ones, damaged ones, and
//! ones that another gateway is at work on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::faults::absent::{Absent, are_numbered, payload};
use crate::faults::segments;
use crate::harness::gateway::{Ports, Settings, command, data_dir};
use crate::harness::raw::{RawClient, text};
use crate::harness::{Gateway, Outcome, Stop, World, place};
use crate::{ensure, ensure_eq};

crate::cases!("store_files":
    a_data_directory_without_a_store_is_taken_over,
    a_store_of_this_format_is_read,
    a_store_of_a_newer_format_is_refused,
    two_gateways_do_not_share_a_directory,
    a_damaged_byte_costs_what_is_reported,
    a_torn_end_is_cut_off,
    a_store_is_left_alone_where_nothing_is_stored,
);

const BYTES: usize = 1_000;
/// Some files of the least size.
const COUNT: usize = 400;
/// Where a segment's header has the version of the format, and its checksum.
const VERSION_AT: usize = 8;
const CHECKSUM_AT: usize = 20;
/// Directories that gateways have left behind, one for each format of the store.
const FORMATS: &str = "tests/faults/stores";

/// What versions without a store kept: a lock file and a secret.
fn a_data_directory_without_a_store_is_taken_over(world: &mut World) -> Outcome {
    let data = data_dir(world);
    fs::create_dir_all(&data)?;
    fs::write(data.join("tidegate.lock"), b"")?;
    fs::write(data.join("access.secret"), [7; 32])?;
    let gateway = Gateway::start(world)?;
    let away = Absent::begin(&gateway, "away", "a/#")?;
    publish(&gateway, 3)?;
    let gateway = gateway.restart(world, true)?;
    are_numbered(&away.fetch(&gateway, 3)?, BYTES)?;
    ensure_eq!(fs::read(data.join("access.secret"))?, vec![7; 32], "the secret");
    gateway.stop()
}

/// Later versions have to read what this one wrote. `UPDATE=1 cargo test -p tidegate-tests --test tests
/// -- a_store_of_this_format` adds the directory of a new format; those that are there stay as they are.
fn a_store_of_this_format_is_read(world: &mut World) -> Outcome {
    let formats = place::root().join(FORMATS);
    if std::env::var_os("UPDATE").is_some() {
        write_format(world, &formats)?;
    }
    let mut folders: Vec<PathBuf> =
        fs::read_dir(&formats)?.map(|entry| Ok(entry?.path())).collect::<Outcome<_>>()?;
    folders.sort();
    ensure!(!folders.is_empty(), "{FORMATS} is empty");
    for folder in folders {
        let store = data_dir(world).join("store");
        let _ = fs::remove_dir_all(data_dir(world));
        fs::create_dir_all(&store)?;
        for file in fs::read_dir(&folder)? {
            let file = file?;
            fs::copy(file.path(), store.join(file.file_name()))?;
        }
        let gateway = Gateway::start_with(world, Settings::set(&["session.expiry_secs_max=0"]))?;
        read_format(&gateway)?;
        gateway.stop()?;
    }
    Ok(())
}

fn a_store_of_a_newer_format_is_refused(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let away = Absent::begin(&gateway, "away", "a/#")?;
    publish(&gateway, 3)?;
    gateway.stop()?;
    let before = segments::of(&data_dir(world))?;
    for path in &before {
        set_version(path, 2)?;
    }
    let mut serve = command(world, &Ports::choose(), &Settings::default())?;
    let finished = world.run("tidegate", &mut serve, 20)?;
    ensure_eq!(finished.code, Some(1), "the exit code");
    for words in ["written by a newer version", "format 2", "store"] {
        ensure!(finished.text().contains(words), "the message does not say {words:?}:\n{}", finished.text());
    }
    ensure_eq!(segments::of(&data_dir(world))?, before, "the files");
    // It was not touched: the version that knows it finds everything.
    for path in &before {
        set_version(path, 1)?;
    }
    let gateway = Gateway::start(world)?;
    are_numbered(&away.fetch(&gateway, 3)?, BYTES)?;
    gateway.stop()
}

fn two_gateways_do_not_share_a_directory(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let away = Absent::begin(&gateway, "away", "a/#")?;
    let mut serve = command(world, &Ports::choose(), &Settings::default())?;
    let finished = world.run("tidegate", &mut serve, 20)?;
    ensure_eq!(finished.code, Some(1), "the exit code");
    ensure!(finished.text().contains("is in use by another gateway"), "it says\n{}", finished.text());
    publish(&gateway, 3)?;
    are_numbered(&away.fetch(&gateway, 3)?, BYTES)?;
    gateway.stop()
}

fn a_damaged_byte_costs_what_is_reported(world: &mut World) -> Outcome {
    let gateway = Gateway::start_with(world, small_segments())?;
    let away = Absent::begin(&gateway, "away", "a/#")?;
    publish(&gateway, COUNT)?;
    kill(gateway)?;
    let files = segments::of(&data_dir(world))?;
    ensure!(files.len() > 4, "only {files:?}");
    // In the payload of a message, in a segment that is neither the first nor the last.
    let victim = &files[2];
    let mut bytes = fs::read(victim)?;
    let at = bytes.len() / 2;
    let at = at + bytes[at..].windows(100).position(|window| window == [b'.'; 100]).unwrap_or(0) + 50;
    bytes[at] ^= 0x20;
    fs::write(victim, &bytes)?;

    let mut verify = Command::new(place::tidegate()?);
    let verified =
        world.run("tidegate store verify", verify.args(["store", "verify"]).arg(data_dir(world)), 20)?;
    let gateway = Gateway::start_with(world, small_segments())?;
    let name = victim.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let line = gateway.process.line(&format!("{name}: bytes "), 5)?;
    let (from, to) = range(&line).unwrap_or_default();
    ensure!(line.contains("ERROR") && (from..to).contains(&at), "byte {at} is damaged, and it says: {line}");
    ensure_eq!(gateway.metric("tidegate_store_damaged_ranges")?, Some(1.0), "damaged ranges");
    ensure_eq!(verified.code, Some(1), "the exit code of `tidegate store verify`");
    let found: Vec<_> = verified.lines.iter().filter_map(|line| range(line)).collect();
    ensure_eq!(found, vec![(from, to)], "what `tidegate store verify` finds");
    // The record of one message.
    ensure!(to - from < 2 * BYTES, "{} bytes are set aside for one", to - from);
    let lost = 1;
    let got = away.fetch(&gateway, COUNT - lost)?;
    let numbers: Vec<Vec<u8>> = (0..COUNT).map(|number| payload(number, BYTES)).collect();
    let missing: Vec<usize> = (0..COUNT).filter(|number| !got.contains(&numbers[*number])).collect();
    ensure_eq!(missing.len(), lost, "messages that are missing, {missing:?}");
    let rest: Vec<_> =
        numbers.into_iter().enumerate().filter(|(number, _)| !missing.contains(number)).collect();
    ensure!(rest.into_iter().map(|(_, payload)| payload).eq(got), "the rest is out of order");
    gateway.stop()
}

fn a_torn_end_is_cut_off(world: &mut World) -> Outcome {
    let gateway = Gateway::start_with(world, small_segments())?;
    let away = Absent::begin(&gateway, "away", "a/#")?;
    publish(&gateway, COUNT)?;
    kill(gateway)?;
    let Some((path, mut bytes, used)) = segments::last_used(&data_dir(world))? else {
        return Err(Stop::Failed("the log is empty".into()));
    };
    // What looks like the begin of something.
    let part = bytes[segments::HEADER..][..36].to_vec();
    bytes.truncate(used + segments::ZEROS);
    bytes.extend(part);
    fs::write(&path, &bytes)?;
    let gateway = Gateway::start_with(world, small_segments())?;
    gateway.process.line("cut off", 5)?;
    ensure_eq!(gateway.metric("tidegate_store_damaged_ranges")?, Some(0.0), "damaged ranges");
    let said = gateway.process.transcript.snapshot();
    ensure!(!said.iter().any(|line| line.contains("ERROR")), "it is an error:\n{}", said.join("\n"));
    are_numbered(&away.fetch(&gateway, COUNT)?, BYTES)?;
    gateway.stop()
}

/// `memory` on a directory that has a store; and from one way of storing to another.
fn a_store_is_left_alone_where_nothing_is_stored(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let away = Absent::begin(&gateway, "away", "a/#")?;
    publish(&gateway, 3)?;
    gateway.stop()?;
    let data = data_dir(world);
    let read =
        || -> Outcome<Vec<Vec<u8>>> { segments::of(&data)?.iter().map(|path| Ok(fs::read(path)?)).collect() };
    let before = read()?;
    let memory = Gateway::start_with(world, Settings::set(&["store.durability=memory"]))?;
    memory.process.line("is neither read nor changed", 5)?;
    memory.stop()?;
    ensure!(read()? == before, "the files have changed");
    let gateway = Gateway::start_with(world, Settings::set(&["store.durability=interval"]))?;
    gateway.stop()?;
    let gateway = Gateway::start(world)?;
    are_numbered(&away.fetch(&gateway, 3)?, BYTES)?;
    gateway.stop()
}

/// A session with three messages that wait, one of them at QoS 2 that it has received, and a retained one.
fn write_format(world: &mut World, formats: &Path) -> Outcome {
    let gateway = Gateway::start_with(
        world,
        Settings::set(&["session.expiry_secs_max=0", "store.segment_bytes=65536"]),
    )?;
    let forever = [b"\x00\x04MQTT\x05\x00\x00\x00\x05\x11\xff\xff\xff\xff", &text("away")[..]].concat();
    let mut client = RawClient::begin(gateway.ports.mqtt, &forever)?;
    ensure_eq!(client.packet()?.0, 0x20, "a CONNACK");
    ensure_eq!(client.subscribe(&["a/#".to_owned()])?, vec![1], "the SUBACK");
    drop(client);
    publish(&gateway, 3)?;
    let mut publisher = RawClient::connect(gateway.ports.mqtt, "publisher")?;
    publisher.send(0x33, &[&text("state")[..], b"\x00\x02\x00kept"].concat())?;
    ensure_eq!(publisher.packet()?.0, 0x40, "a PUBACK");
    drop(publisher);
    gateway.stop()?;
    let version = fs::read(&segments::of(&data_dir(world))?[0])?[VERSION_AT];
    let folder = formats.join(format!("format-{version}"));
    fs::create_dir_all(&folder)?;
    for path in segments::of(&data_dir(world))? {
        let mut bytes = fs::read(&path)?;
        bytes.truncate(segments::used(&bytes) + segments::ZEROS);
        fs::write(folder.join(path.file_name().unwrap_or_default()), bytes)?;
    }
    Ok(())
}

fn read_format(gateway: &Gateway) -> Outcome {
    let mut newcomer = RawClient::connect(gateway.ports.mqtt, "newcomer")?;
    ensure_eq!(newcomer.subscribe(&["state".to_owned()])?, vec![1], "the SUBACK");
    ensure_eq!(newcomer.message()?.1, b"kept".to_vec(), "the retained message");
    are_numbered(&Absent::of_before("away").fetch(gateway, 3)?, BYTES)
}

fn small_segments() -> Settings {
    Settings::set(&["store.segment_bytes=65536"])
}

fn publish(gateway: &Gateway, count: usize) -> Outcome {
    let mut publisher = RawClient::connect(gateway.ports.mqtt, "publisher")?;
    for number in 0..count {
        ensure_eq!(publisher.publish_payload("a/b", &payload(number, BYTES))?, 0, "the PUBACK");
    }
    Ok(())
}

fn kill(mut gateway: Gateway) -> Outcome {
    gateway.process.kill()
}

fn set_version(path: &Path, version: u8) -> Outcome {
    let mut bytes = fs::read(path)?;
    bytes[VERSION_AT] = version;
    let checksum = crc32fast::hash(&bytes[..CHECKSUM_AT]);
    bytes[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&checksum.to_le_bytes());
    Ok(fs::write(path, bytes)?)
}

/// The numbers in `bytes 17 to 42`.
fn range(line: &str) -> Option<(usize, usize)> {
    let (from, rest) = line.split_once("bytes ")?.1.split_once(" to ")?;
    Some((from.parse().ok()?, rest.split(' ').next()?.parse().ok()?))
}
