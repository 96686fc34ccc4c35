//! What a gateway makes of the files that it finds: none, older ones, newer ones, damaged ones, and
//! ones that another gateway is at work on.

use std::fs;
use std::process::Command;

use crate::faults::absent::{Absent, are_numbered, payload};
use crate::faults::segments;
use crate::harness::gateway::{Ports, Settings, command, data_dir};
use crate::harness::raw::RawClient;
use crate::harness::{Gateway, Outcome, Stop, World, place};
use crate::{ensure, ensure_eq};

crate::cases!("store_files":
    a_data_directory_without_a_store_is_taken_over,
    a_store_of_a_newer_format_is_refused,
    two_gateways_do_not_share_a_directory,
    a_damaged_byte_costs_what_is_reported,
    a_torn_end_is_cut_off,
    a_store_is_left_alone_where_nothing_is_stored,
);

const BYTES: usize = 1_000;
/// Some files of the least size.
const COUNT: usize = 400;
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

fn a_store_of_a_newer_format_is_refused(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let away = Absent::begin(&gateway, "away", "a/#")?;
    publish(&gateway, 3)?;
    gateway.stop()?;
    let data = data_dir(world);
    let (files, version) = (segments::of(&data)?, segments::version(&data)?);
    for path in &files {
        segments::set_version(path, version + 1)?;
    }
    let before = segments::contents(&data)?;
    let mut serve = command(world, &Ports::choose(), &Settings::default())?;
    let finished = world.run("tidegate", &mut serve, 20)?;
    ensure_eq!(finished.code, Some(1), "the exit code");
    let format = format!("(format {}, this one knows {version})", version + 1);
    for words in ["written by a newer version", &format, &data.display().to_string()] {
        ensure!(finished.text().contains(words), "the message does not say {words:?}:\n{}", finished.text());
    }
    ensure!(segments::contents(&data)? == before, "the files have changed");
    // The version that knows it finds everything.
    for path in &files {
        segments::set_version(path, version)?;
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
    let before = segments::contents(&data)?;
    let memory = Gateway::start_with(world, Settings::set(&["store.durability=memory"]))?;
    memory.process.line("is neither read nor changed", 5)?;
    memory.stop()?;
    ensure!(segments::contents(&data)? == before, "the files have changed");
    let gateway = Gateway::start_with(world, Settings::set(&["store.durability=interval"]))?;
    gateway.stop()?;
    let gateway = Gateway::start(world)?;
    are_numbered(&away.fetch(&gateway, 3)?, BYTES)?;
    gateway.stop()
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

/// The numbers in `bytes 17 to 42`.
fn range(line: &str) -> Option<(usize, usize)> {
    let (from, rest) = line.split_once("bytes ")?.1.split_once(" to ")?;
    Some((from.parse().ok()?, rest.split(' ').next()?.parse().ok()?))
}
