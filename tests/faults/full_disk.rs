//! A disk that is full: what would have to be stored is refused, everything else goes on, and what was
//! acknowledged is there.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::faults::absent::{Absent, are_numbered, payload};
use crate::harness::coap::{has_code, request};
use crate::harness::gateway::{Settings, data_dir};
use crate::harness::raw::{RawClient, text};
use crate::harness::world::eventually;
use crate::harness::{Gateway, Outcome, Stop, World};
use crate::{ensure, ensure_eq};

crate::cases!("full_disk":
    what_was_acknowledged_survives_a_full_disk_and_a_kill,
    everything_else_goes_on_when_the_disk_is_full,
    a_store_at_its_limit_refuses_like_a_full_disk,
);

const BYTES: usize = 1_000;
const QUOTA_EXCEEDED: u8 = 0x97;
const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;
/// What a session that is kept had subscribed to before, and what it had not.
const KNOWN: &str = "known";
const NEW: &str = "new";
const DISK_MIB: usize = 3;
/// Messages that fit on any account: half of the disk.
const FIT: usize = DISK_MIB * 1024 * 1024 / BYTES / 2;

fn what_was_acknowledged_survives_a_full_disk_and_a_kill(world: &mut World) -> Outcome {
    let disk = SmallDisk::mount(&data_dir(world))?;
    let gateway = Gateway::start_with(world, settings(0))?;
    let away = Absent::begin(&gateway, "away", "full/#")?;
    let accepted = fill(&gateway)?;
    ensure!(accepted > FIT, "only {accepted} messages fit on {DISK_MIB} MiB");
    let gateway = gateway.restart(world, true)?;
    are_numbered(&away.fetch(&gateway, accepted)?, BYTES)?;
    accepts_again(&gateway)?;
    let gateway = gateway.restart(world, true)?;
    are_numbered(&away.fetch(&gateway, 1)?, BYTES)?;
    gateway.stop()?;
    drop(disk);
    Ok(())
}

fn everything_else_goes_on_when_the_disk_is_full(world: &mut World) -> Outcome {
    let disk = SmallDisk::mount(&data_dir(world))?;
    let gateway = Gateway::start_with(world, settings(0))?;
    let away = Absent::begin(&gateway, "away", "full/#")?;
    let known = Absent::begin(&gateway, "known", KNOWN)?;
    let accepted = fill(&gateway)?;
    gateway.process.line("no room on the disk", 5)?;
    everything_else_is_served(world, &gateway)?;
    are_numbered(&away.fetch(&gateway, accepted)?, BYTES)?;
    accepts_again(&gateway)?;
    gateway.process.line("there is room again", 5)?;
    are_numbered(&away.fetch(&gateway, 1)?, BYTES)?;
    // What was granted is there, and what was refused is not.
    let mut publisher = RawClient::connect(gateway.ports.mqtt, "publisher")?;
    ensure_eq!(publisher.publish(NEW)?, NO_MATCHING_SUBSCRIBERS, "the PUBACK of what nobody was granted");
    ensure_eq!(publisher.publish_payload(KNOWN, &payload(0, BYTES))?, 0, "the PUBACK of what was granted");
    are_numbered(&known.fetch(&gateway, 1)?, BYTES)?;
    gateway.stop()?;
    drop(disk);
    Ok(())
}

fn a_store_at_its_limit_refuses_like_a_full_disk(world: &mut World) -> Outcome {
    let gateway = Gateway::start_with(world, settings(DISK_MIB * 1024 * 1024))?;
    let away = Absent::begin(&gateway, "away", "full/#")?;
    Absent::begin(&gateway, "known", KNOWN)?;
    let accepted = fill(&gateway)?;
    ensure!(accepted > FIT, "only {accepted} messages fit into {DISK_MIB} MiB");
    everything_else_is_served(world, &gateway)?;
    let gateway = gateway.restart(world, true)?;
    are_numbered(&away.fetch(&gateway, accepted)?, BYTES)?;
    accepts_again(&gateway)?;
    gateway.stop()
}

/// Publishes to who is away until it is refused. How many were accepted.
fn fill(gateway: &Gateway) -> Outcome<usize> {
    let mut publisher = RawClient::connect(gateway.ports.mqtt, "publisher")?;
    let mut accepted = 0;
    loop {
        match publisher.publish_payload("full/1", &payload(accepted, BYTES))? {
            0 => accepted += 1,
            QUOTA_EXCEEDED => break,
            reason => return Err(Stop::Failed(format!("the PUBACK has reason {reason:#04x}"))),
        }
        ensure!(accepted < 10 * FIT, "{accepted} messages are on {DISK_MIB} MiB");
    }
    ensure_eq!(publisher.publish_payload("full/1", b"again")?, QUOTA_EXCEEDED, "the next PUBACK");
    Ok(accepted)
}

/// What needs no disk: QoS 0, sessions that end with their connection, and what is there already. What does is
/// refused in the words of each protocol.
fn everything_else_is_served(world: &mut World, gateway: &Gateway) -> Outcome {
    let mut other = RawClient::connect(gateway.ports.mqtt, "other")?;
    ensure_eq!(other.subscribe(&["live".to_owned()])?, vec![1], "the SUBACK");
    other.send_qos0("live", b"at QoS 0")?;
    ensure_eq!(other.packet()?.0 >> 4, 3, "its own message");
    let mut publisher = RawClient::connect(gateway.ports.mqtt, "publisher")?;
    ensure_eq!(publisher.publish_payload("live", b"at QoS 1")?, 0, "the PUBACK");
    ensure_eq!(other.message()?.1, b"at QoS 1".to_vec(), "what comes at QoS 1");

    // Clients subscribe again whenever they come.
    let mut known = RawClient::persistent(gateway.ports.mqtt, "known")?;
    ensure!(known.session_present(), "a session is gone");
    let filters = [KNOWN, NEW, KNOWN].map(str::to_owned);
    ensure_eq!(known.subscribe(&filters)?, vec![1, QUOTA_EXCEEDED, 1], "known, new and known filters");

    let connect = [b"\x00\x04MQTT\x05\x00\x00\x00\x05\x11\x00\x00\x0e\x10", &text("newcomer")[..]].concat();
    let (first, body) = RawClient::begin(gateway.ports.mqtt, &connect)?.packet()?;
    let why = String::from_utf8_lossy(&body);
    ensure!(
        first == 0x20 && body.get(1) == Some(&QUOTA_EXCEEDED) && why.contains("no room for a session"),
        "who wants to be remembered gets {first:02x} {body:02x?} {why:?}"
    );

    // MQTT 3.1.1 has no words for it.
    let connect = [b"\x00\x04MQTT\x04\x02\x00\x00", &text("old")[..]].concat();
    let mut old = RawClient::begin(gateway.ports.mqtt, &connect)?;
    ensure_eq!(old.packet()?, (0x20, vec![0, 0]), "the CONNACK");
    old.send(0x32, &[&text("full/1")[..], b"\x00\x01refused"].concat())?;
    ensure!(old.packet().is_err(), "the old client is told that all is well");

    let arguments = ["-m", "put", "-e", "refused"];
    let finished = request(world, gateway.ports.coap, &arguments, "/ps/full/2")?;
    ensure!(has_code(&finished, "5.03"), "a Confirmable PUT gets something else:\n{}", finished.text());
    Ok(())
}

/// By itself, now that there is room.
fn accepts_again(gateway: &Gateway) -> Outcome {
    let mut publisher = RawClient::connect(gateway.ports.mqtt, "publisher")?;
    eventually("a publish is accepted again", 10, || {
        Ok((publisher.publish_payload("full/1", &payload(0, BYTES))? == 0).then_some(()))
    })
}

/// With a small log, and sessions without a limit of their own. A limit of 0 leaves it to the disk.
fn settings(bytes_max: usize) -> Settings {
    let bytes_max = if bytes_max == 0 { 1 << 40 } else { bytes_max };
    let bytes_max = format!("store.bytes_max={bytes_max}");
    Settings::set(&[
        &bytes_max,
        "store.segment_bytes=262144",
        "session.queue_messages_max=0",
        "session.queue_bytes_max=0",
    ])
}

/// A file system in memory. Unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(at)?;
        let size = format!("size={DISK_MIB}m");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(at).output();
        match mount {
            Ok(done) if done.status.success() => Ok(Self(at.to_owned())),
            Ok(done) => {
                let why = String::from_utf8_lossy(&done.stderr).trim().to_owned();
                Err(Stop::Skipped(format!("no file system can be mounted here: {why}")))
            }
            Err(error) => Err(Stop::Skipped(format!("there is no mount: {error}"))),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Even if a gateway that failed is still on it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
