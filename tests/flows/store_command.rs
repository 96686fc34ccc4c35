//! `tidegate store`, as an operator uses it: on a gateway that runs, and on one that does not.

use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use serde_json::Value;

use crate::harness::gateway::{Settings, data_dir};
use crate::harness::mqtt::{Subscriber, publish};
use crate::harness::process::Finished;
use crate::harness::raw::{RawClient, text};
use crate::harness::{Gateway, Outcome, Stop, World, place};
use crate::{ensure, ensure_eq};

crate::cases!("store_command":
    inspect_shows_what_waits_while_the_gateway_runs,
    verify_finds_nothing_while_the_gateway_is_at_work,
    compact_needs_the_gateway_stopped_and_keeps_everything,
    a_directory_without_a_store_is_named,
);

/// So often at least the log is read while it is written to, and until so many files have gone; so often at most.
const VERIFIED: usize = 20;
const VERIFIED_MAX: usize = 300;
const FILES_GONE: usize = 8;

fn inspect_shows_what_waits_while_the_gateway_runs(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let port = gateway.ports.mqtt;
    Subscriber::start(world, port, &["-c", "-i", "away", "-t", "night/#", "-q", "1"])?.leave()?;
    for number in 0..5 {
        publish(world, port, &["-t", "night/1", "-q", "1", "-m", &number.to_string()])?;
    }
    publish(world, port, &["-t", "door", "-q", "1", "-r", "-m", "open"])?;
    let told: Value = serde_json::from_str(&store(world, &["inspect", "--json", "--sessions"], 0)?.text())?;
    let counts = ["sessions", "queued", "retained", "delayed"].map(|key| told[key].as_u64());
    ensure_eq!(counts, [Some(1), Some(5), Some(1), Some(0)], "sessions, queued, retained and delayed");
    let away = &told["session_list"][0];
    ensure_eq!(away["client_id"].as_str(), Some("away"), "whose session it is");
    ensure_eq!(away["queued"].as_u64(), Some(5), "what waits for it");
    let text = store(world, &["inspect", "--sessions"], 0)?.text();
    for words in ["5 messages", "away", "0 ranges"] {
        ensure!(text.contains(words), "{words:?} is not in\n{text}");
    }
    gateway.stop()
}

/// Files are added while it reads, and others go.
fn verify_finds_nothing_while_the_gateway_is_at_work(world: &mut World) -> Outcome {
    let gateway = Gateway::start_with(world, Settings::set(&["store.segment_bytes=65536"]))?;
    let port = gateway.ports.mqtt;
    Subscriber::start(world, port, &["-c", "-i", "away", "-t", "busy", "-q", "1"])?.leave()?;
    let files = data_dir(world).join("store");
    let left = || (1..=FILES_GONE).filter(|n| files.join(format!("{n:08}.log")).exists()).count();
    ensure!(left() > 0, "there is no file of the log");
    let (count, ends) = (AtomicUsize::new(0), AtomicBool::new(false));
    let publishing = || -> Outcome {
        let mut publisher = RawClient::connect(port, "publisher")?;
        while !ends.load(Relaxed) {
            // Few wait for somebody; the others are of no use any more when the next one has come.
            let (first, topic) =
                if count.load(Relaxed).is_multiple_of(20) { (0x32, "busy") } else { (0x33, "state") };
            publisher.send(first, &[&text(topic)[..], b"\x00\x02\x00", &[b'x'; 3_000]].concat())?;
            let (first, body) = publisher.packet()?;
            // Nobody subscribes to the others.
            ensure!(
                first == 0x40 && matches!(body[2..], [] | [0x10]),
                "the PUBACK is {first:02x} {body:02x?}"
            );
            count.fetch_add(1, Relaxed);
        }
        Ok(())
    };
    let mut verifying = || -> Outcome {
        let mut meanwhile = 0;
        for _ in 0..VERIFIED_MAX {
            let before = count.load(Relaxed);
            let text = store(world, &["verify"], 0)?.text();
            ensure!(text.contains("are whole"), "it says {text}");
            meanwhile += usize::from(count.load(Relaxed) > before);
            if meanwhile >= VERIFIED && left() == 0 {
                return Ok(());
            }
        }
        let count = count.load(Relaxed);
        Err(Stop::Failed(format!(
            "verified {VERIFIED_MAX} times, {meanwhile} while some of {count} messages came; {} old files are there",
            left()
        )))
    };
    std::thread::scope(|scope| {
        let publishing = scope.spawn(publishing);
        let verified = verifying();
        ends.store(true, Relaxed);
        publishing.join().expect("no panic")?;
        verified
    })?;
    gateway.stop()
}

fn compact_needs_the_gateway_stopped_and_keeps_everything(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let arguments = ["-c", "-i", "away", "-t", "night/#", "-q", "1"];
    Subscriber::start(world, gateway.ports.mqtt, &arguments)?.leave()?;
    let mut publisher = RawClient::connect(gateway.ports.mqtt, "publisher")?;
    for number in 0..200 {
        // All but the last of the retained ones are nobody's.
        publisher.send(0x33, &[b"\x00\x05state\x00\x02\x00".as_slice(), &[b'x'; 2_000]].concat())?;
        ensure_eq!(publisher.packet()?.0, 0x40, "a PUBACK");
        if number % 20 == 0 {
            publish(world, gateway.ports.mqtt, &["-t", "night/1", "-q", "1", "-m", &number.to_string()])?;
        }
    }
    drop(publisher);
    let refused = store(world, &["compact"], 1)?.text();
    ensure!(refused.contains("needs the gateway stopped"), "it says {refused}");
    gateway.stop()?;
    let used = |world: &mut World| -> Outcome<u64> {
        let told: Value = serde_json::from_str(&store(world, &["inspect", "--json"], 0)?.text())?;
        Ok(told["used_bytes"].as_u64().unwrap_or_default())
    };
    let before = used(world)?;
    store(world, &["compact"], 0)?;
    let after = used(world)?;
    ensure!(after < before / 10, "{before} bytes were in use, and now {after}");
    let gateway = Gateway::start(world)?;
    let back = Subscriber::connecting(world, gateway.ports.mqtt, &arguments)?;
    let got: Vec<String> = back.messages(10, 10)?.into_iter().map(|got| got.payload).collect();
    ensure_eq!(got, (0..10).map(|number| (20 * number).to_string()).collect::<Vec<_>>(), "what waited");
    let heard = Subscriber::start(world, gateway.ports.mqtt, &["-t", "state", "-q", "1"])?;
    ensure_eq!(heard.message()?.payload.len(), 2_000, "bytes of the retained message");
    drop((back, heard));
    gateway.stop()
}

fn a_directory_without_a_store_is_named(world: &mut World) -> Outcome {
    for command in ["inspect", "verify", "compact"] {
        let said = store(world, &[command], 1)?.text();
        ensure!(said.contains(&data_dir(world).display().to_string()), "{command} says {said}");
    }
    Ok(())
}

/// Runs `tidegate store` on the case's data directory; it has to end with this code.
fn store(world: &mut World, arguments: &[&str], code: i32) -> Outcome<Finished> {
    let mut command = Command::new(place::tidegate()?);
    command.arg("store").args(arguments).arg(data_dir(world));
    let finished = world.run("tidegate store", &mut command, 20)?;
    ensure_eq!(finished.code, Some(code), "the exit code of {arguments:?}, which says\n{}", finished.text());
    Ok(finished)
}
