//! A disk that takes its time: who waits for it waits, and nobody else.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::faults::absent::{Absent, are_numbered, payload};
use crate::harness::gateway::Settings;
use crate::harness::raw::{RawClient, text};
use crate::harness::{Gateway, Outcome, Stop, World, place};
use crate::{ensure, ensure_eq};

crate::cases!("slow_disk": only_who_waits_for_the_disk_waits);

/// Stands between the gateway and the disk.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
static int slowly(const char *name, int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    usleep(MICROS);
    return real(file);
}
int fdatasync(int file) { return slowly("fdatasync", file); }
int fsync(int file) { return slowly("fsync", file); }
"#;
const SYNC: Duration = Duration::from_millis(200);
const ONE_BY_ONE: usize = 8;
const TOGETHER: usize = 100;
const BYTES: usize = 100;

fn only_who_waits_for_the_disk_waits(world: &mut World) -> Outcome {
    // If the thread that serves all waited for the disk, everybody would.
    let set = vec!["node.workers=1".to_owned()];
    let gateway = Gateway::start_with(world, Settings { set, ..settings(world, SYNC)? })?;
    let away = Absent::begin(&gateway, "away", "slow/#")?;
    let port = gateway.ports.mqtt;
    let mut witness = RawClient::connect(port, "witness")?;
    ensure_eq!(witness.subscribe(&["witness".to_owned()])?, vec![1], "the SUBACK");

    let publishing = std::thread::spawn(move || publish_all(port));
    let mut round_trips = Vec::new();
    while !publishing.is_finished() {
        let begin = Instant::now();
        witness.send_qos0("witness", b"?")?;
        ensure_eq!(witness.packet()?.0 >> 4, 3, "its own message");
        round_trips.push(begin.elapsed());
    }
    let (one_by_one, together) = publishing.join().expect("no panic")?;
    round_trips.sort();
    let median = round_trips[round_trips.len() / 2];
    let slow = round_trips[round_trips.len() * 99 / 100];
    ensure!(one_by_one >= SYNC * ONE_BY_ONE as u32, "{ONE_BY_ONE} publishes took only {one_by_one:?}");
    ensure!(
        together < one_by_one,
        "{TOGETHER} publishes together took {together:?}, {ONE_BY_ONE} one by one {one_by_one:?}"
    );
    ensure!(
        median < SYNC / 10 && slow < SYNC / 2,
        "of {} round trips of others half took {median:?}, and one in 100 {slow:?}",
        round_trips.len()
    );
    let gateway = gateway.restart(world, true)?;
    are_numbered(&away.fetch(&gateway, ONE_BY_ONE + TOGETHER)?, BYTES)?;
    gateway.stop()
}

/// Publishes messages one by one, and then many without waiting for the acknowledgements. What both took.
fn publish_all(port: u16) -> Outcome<(Duration, Duration)> {
    let mut publisher = RawClient::connect(port, "publisher")?;
    let begin = Instant::now();
    for number in 0..ONE_BY_ONE {
        ensure_eq!(publisher.publish_payload("slow/1", &payload(number, BYTES))?, 0, "the PUBACK");
    }
    let one_by_one = begin.elapsed();
    let begin = Instant::now();
    for number in 0..TOGETHER {
        let id = (number as u16 + 1).to_be_bytes();
        let payload = payload(ONE_BY_ONE + number, BYTES);
        publisher.send(0x32, &[&text("slow/1")[..], &id, b"\x00", &payload].concat())?;
    }
    for _ in 0..TOGETHER {
        ensure_eq!(publisher.packet()?.0, 0x40, "a PUBACK");
    }
    Ok((one_by_one, begin.elapsed()))
}

/// Of a gateway whose disk takes so long to sync.
pub(super) fn settings(world: &World, sync: Duration) -> Outcome<Settings> {
    let env = vec![("LD_PRELOAD".to_owned(), shim(world, sync)?.display().to_string())];
    Ok(Settings { env, ..Settings::default() })
}

fn shim(world: &World, sync: Duration) -> Outcome<PathBuf> {
    let compiler = place::program("cc")?;
    let source = SHIM.replace("MICROS", &sync.as_micros().to_string());
    let source = world.write("slow.c", &source)?;
    let library = world.dir.join("slow.so");
    let mut command = Command::new(compiler);
    let done = command.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").output()?;
    if done.status.success() {
        return Ok(library);
    }
    Err(Stop::Failed(format!("cc: {}", String::from_utf8_lossy(&done.stderr))))
}
