//! `tidegate store`: looking into what a gateway keeps, checking it and making it small.

use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use gateway_model::Expiry;
use gateway_store::{CopyState, Directory, Disk, Options, SessionImage, Survey};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{serve, store};

/// `tidegate store`.
#[derive(Args, Debug)]
pub struct StoreOptions {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Show what is in the store; the gateway may run meanwhile
    Inspect {
        #[command(flatten)]
        place: PlaceOptions,
        /// Show every session too
        #[arg(long)]
        sessions: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Read every byte of the store and name what is damaged; the gateway may run meanwhile
    Verify {
        #[command(flatten)]
        place: PlaceOptions,
    },
    /// Write all that is held anew and remove the rest; the gateway must not run
    Compact {
        #[command(flatten)]
        place: PlaceOptions,
        /// Go ahead though parts are damaged, whose bytes are then gone for ever
        #[arg(long)]
        discard_damaged: bool,
    },
}

#[derive(Args, Debug)]
struct PlaceOptions {
    /// The gateway's data directory (node.data_dir)
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// What there is to say, and whether all is well.
struct Answer {
    text: String,
    is_well: bool,
}

/// Exit code 0: all is well; 1: something is damaged, or it could not be done.
pub fn run(options: &StoreOptions) -> ExitCode {
    match answer(&options.command) {
        Ok(Answer { text, is_well }) => {
            // A reader that has seen enough (`| head`) is no error.
            let _ = io::stdout().write_all(text.as_bytes());
            if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("tidegate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn answer(command: &StoreCommand) -> Result<Answer> {
    match command {
        StoreCommand::Inspect { place, sessions, json } => inspect(&place.dir, *sessions, *json),
        StoreCommand::Verify { place } => verify(&place.dir),
        StoreCommand::Compact { place, discard_damaged } => compact(&place.dir, *discard_damaged),
    }
}

fn inspect(dir: &Path, sessions: bool, json: bool) -> Result<Answer> {
    let survey = survey(dir)?;
    let node = node_id(dir);
    let text = match json {
        true => format!("{:#}\n", to_json(&survey, node.as_deref(), sessions)),
        false => to_text(&survey, node.as_deref(), sessions),
    };
    Ok(Answer { text, is_well: survey.damaged.is_empty() })
}

fn verify(dir: &Path) -> Result<Answer> {
    let survey = survey(dir)?;
    let mut text = damage_of(&survey);
    text += &match survey.damaged.len() {
        0 => format!("{} records in {} segments are whole\n", survey.records, survey.segments),
        1 => format!("1 damaged range; {} records are whole\n", survey.records),
        count => format!("{count} damaged ranges; {} records are whole\n", survey.records),
    };
    Ok(Answer { text, is_well: survey.damaged.is_empty() })
}

fn compact(dir: &Path, discard_damaged: bool) -> Result<Answer> {
    let path = store_of(dir)?;
    let _lock = serve::lock_data_dir(dir).context("compacting needs the gateway stopped")?;
    // The gateway could not open files that root has made.
    let (owner, me) = (std::fs::metadata(&path)?.uid(), std::fs::metadata("/proc/self")?.uid());
    if owner != me {
        bail!("{} belongs to the user with number {owner}; run this as that user", path.display());
    }
    let before = survey(dir)?;
    if !before.damaged.is_empty() && !discard_damaged {
        let damage = damage_of(&before);
        bail!(
            "{} has damaged parts, whose bytes would be gone for ever (--discard-damaged):\n{damage}",
            path.display()
        );
    }
    {
        let directory = Directory::open(&path).with_context(|| path.display().to_string())?;
        let options = options_to_compact(store::file_system_bytes(&path)?);
        let (disk, image) = Disk::open_unthreaded(options, Arc::new(directory), gateway_broker::moment())?;
        disk.compact(&Mutex::new(image), discard_damaged)
            .context("not all could be compacted, and nothing is lost")?;
    }
    let after = survey(dir)?;
    let counts = |survey: &Survey| (survey.image.sessions.len(), survey.image.holds().count());
    if counts(&before) != counts(&after) {
        bail!("before there were {:?} sessions and holds, now {:?}", counts(&before), counts(&after));
    }
    let text = format!("{} bytes in use before, {} after\n", before.used_bytes, after.used_bytes);
    Ok(Answer { text, is_well: true })
}

/// A store at its limit leaves a fifth of the file system: what is written anew has to begin in that.
fn options_to_compact(file_system_bytes: u64) -> Options {
    let eighth = u32::try_from(file_system_bytes / 8).unwrap_or(u32::MAX);
    let defaults = Options::default();
    Options { segment_bytes: defaults.segment_bytes.min(eighth), bytes_max: file_system_bytes, ..defaults }
}

fn survey(dir: &Path) -> Result<Survey> {
    let path = store_of(dir)?;
    let directory = Directory::look(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    Survey::of(&directory, gateway_broker::moment()).with_context(|| path.display().to_string())
}

fn store_of(dir: &Path) -> Result<PathBuf> {
    let path = dir.join("store");
    if !path.is_dir() {
        bail!("{} has no store; DIR is the data directory of a gateway (node.data_dir)", dir.display());
    }
    Ok(path)
}

fn node_id(dir: &Path) -> Option<String> {
    Some(std::fs::read_to_string(dir.join("node.id")).ok()?.trim().to_owned())
}

fn damage_of(survey: &Survey) -> String {
    survey.damaged.iter().map(|damaged| format!("{damaged}\n")).collect()
}

/// What of a session is counted.
struct Counts {
    queued: usize,
    queued_bytes: u64,
    /// May have been sent, and is not acknowledged.
    in_flight: usize,
}

impl Counts {
    fn of(session: &SessionImage) -> Self {
        let sent_before = session.record.away.map_or(0, |away| away.sent_before);
        let is_in_flight = |(ordinal, copy): &(&u64, &gateway_store::CopyImage)| {
            copy.state == CopyState::Received || **ordinal < sent_before
        };
        Self {
            queued: session.copies.len(),
            queued_bytes: session.copies.values().map(|copy| u64::from(copy.size)).sum(),
            in_flight: session.copies.iter().filter(is_in_flight).count(),
        }
    }
}

/// The sessions by the names of their clients.
fn sorted(survey: &Survey) -> Vec<&SessionImage> {
    let mut sessions: Vec<_> = survey.image.sessions.values().collect();
    sessions.sort_by(|a, b| a.record.client_id.cmp(&b.record.client_id));
    sessions
}

fn to_text(survey: &Survey, node: Option<&str>, sessions: bool) -> String {
    let counts: Vec<Counts> = survey.image.sessions.values().map(Counts::of).collect();
    let queued: usize = counts.iter().map(|counts| counts.queued).sum();
    let queued_bytes: u64 = counts.iter().map(|counts| counts.queued_bytes).sum();
    let end = match survey.torn {
        Some(place) => format!("unfinished from byte {} of {:08x}.log on", place.offset(), place.segment()),
        None => "whole".to_owned(),
    };
    let rows = [
        ("format", survey.version.to_string()),
        ("node", node.unwrap_or("none").to_owned()),
        ("segments", survey.segments.to_string()),
        ("bytes", format!("{}, of which {} are in use", survey.file_bytes, survey.used_bytes)),
        ("records", survey.records.to_string()),
        ("sessions", survey.image.sessions.len().to_string()),
        ("queued", format!("{queued} messages, {queued_bytes} bytes")),
        ("orphans", format!("{} messages, whose sessions are lost", survey.orphans)),
        ("retained", survey.image.retained.len().to_string()),
        ("delayed", survey.image.delayed.len().to_string()),
        ("end", end),
        ("damaged", format!("{} ranges", survey.damaged.len())),
    ];
    let mut text: String = rows.iter().map(|(name, value)| format!("{name:<10}{value}\n")).collect();
    for damaged in &survey.damaged {
        text += &format!("  {damaged}\n");
    }
    if sessions {
        text += "\nexpiry        subscriptions    queued       bytes  in flight  client\n";
        for session in sorted(survey) {
            let Counts { queued, queued_bytes, in_flight } = Counts::of(session);
            let expiry = match session.record.expiry {
                Expiry::Immediately => "immediately".to_owned(),
                Expiry::After(duration) => format!("{} s", duration.as_secs()),
                Expiry::Never => "never".to_owned(),
            };
            let subscriptions = session.record.subscriptions.len();
            // Whatever a client calls itself must not drive the terminal.
            let client = session.record.client_id.as_str().escape_debug();
            text += &format!(
                "{expiry:<13} {subscriptions:>13} {queued:>9} {queued_bytes:>11} {in_flight:>10}  {client}\n"
            );
        }
    }
    text
}

fn to_json(survey: &Survey, node: Option<&str>, sessions: bool) -> Value {
    let damaged = |damaged: &gateway_store::Damaged| {
        json!({
            "file": format!("{:08x}.log", damaged.segment),
            "from": damaged.range.start,
            "to": damaged.range.end,
            "what": damaged.to_string(),
        })
    };
    let session = |session: &&SessionImage| {
        let Counts { queued, queued_bytes, in_flight } = Counts::of(session);
        json!({
            "client_id": session.record.client_id.as_str(),
            "expiry_secs": match session.record.expiry {
                Expiry::Immediately => Some(0),
                Expiry::After(duration) => Some(duration.as_secs()),
                Expiry::Never => None,
            },
            "subscriptions": session.record.subscriptions.len(),
            "queued": queued,
            "queued_bytes": queued_bytes,
            "in_flight": in_flight,
        })
    };
    let all = sorted(survey);
    let counts: Vec<Counts> = all.iter().map(|session| Counts::of(session)).collect();
    let mut value = json!({
        "format": survey.version,
        "node": node,
        "segments": survey.segments,
        "file_bytes": survey.file_bytes,
        "used_bytes": survey.used_bytes,
        "records": survey.records,
        "sessions": all.len(),
        "queued": counts.iter().map(|counts| counts.queued).sum::<usize>(),
        "queued_bytes": counts.iter().map(|counts| counts.queued_bytes).sum::<u64>(),
        "orphans": survey.orphans,
        "retained": survey.image.retained.len(),
        "delayed": survey.image.delayed.len(),
        "unfinished": survey.torn.map(|place| {
            json!({ "file": format!("{:08x}.log", place.segment()), "from": place.offset() })
        }),
        "damaged": survey.damaged.iter().map(damaged).collect::<Vec<_>>(),
    });
    if sessions {
        value["session_list"] = all.iter().map(session).collect();
    }
    value
}

#[cfg(test)]
mod tests;
