//! What outlives the process: opened before anything else, written out after everything else.

use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use gateway_bus::{Bus, Moment};
use gateway_config::{Durability, Settings};
use gateway_model::Notify;
use gateway_store::{Directory, Disk, Image, Memory, Mode, Options, Place, Store};

/// A store that is open.
pub struct Opened {
    pub store: Arc<dyn Store>,
    /// The same, if it is one that has to be closed.
    disk: Option<Arc<Disk>>,
    since: Instant,
}

/// Rung by a store that will never write again.
struct Alarm {
    disk: Weak<Disk>,
    bell: tokio::sync::Notify,
}

impl Notify for Alarm {
    fn notify(&self) {
        if self.disk.upgrade().is_some_and(|disk| disk.has_failed()) {
            self.bell.notify_one();
        }
    }
}

/// Opens the store in the data directory, which is there and locked; with what was in it.
pub fn open(settings: &Settings, moment: Moment) -> Result<(Opened, Image)> {
    let since = moment.instant;
    let path = settings.node.data_dir.join("store");
    if settings.store.durability == Durability::Memory {
        if path.exists() {
            let path = path.display();
            tracing::warn!(
                "store.durability is memory: what is stored in {path} is neither read nor changed"
            );
        }
        return Ok((Opened { store: Arc::new(Memory), disk: None, since }, Image::default()));
    }
    let named = || format!("the store in {}", path.display());
    let directory = Directory::open(&path).map_err(|error| explain(error, &path))?;
    let options = options(settings, &path).with_context(named)?;
    let (disk, image) = Disk::open(options, Arc::new(directory), moment).with_context(named)?;
    for range in disk.damaged() {
        tracing::error!("store: {range}; the file is left as it is, and all that is around is used");
    }
    if let Some(place) = disk.torn() {
        tracing::info!(%place, "store: what was being written when the gateway ended was cut off");
    }
    let disk = Arc::new(disk);
    Ok((Opened { store: disk.clone(), disk: Some(disk), since }, image))
}

impl Opened {
    /// Gives the bus what it had, and says what that is.
    pub fn recover(&self, bus: &Bus, moment: Moment, image: Image) {
        let Some(disk) = &self.disk else { return };
        let recovered = bus.recover(moment, image);
        for error in &recovered.errors {
            tracing::error!("store: {error}");
        }
        if recovered.unreadable > 0 {
            let count = recovered.unreadable;
            tracing::error!(count, "store: messages are lost, because they cannot be read");
        }
        let took = gateway_broker::moment().instant - self.since;
        tracing::info!(
            sessions = recovered.sessions,
            subscriptions = recovered.subscriptions,
            messages = recovered.copies,
            retained = recovered.retained,
            delayed = recovered.delayed,
            bytes = disk.figures().bytes_on_disk,
            millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "store: recovered"
        );
    }

    /// Ends when the store has failed so that only a restart helps.
    pub async fn failed(&self) {
        let Some(disk) = &self.disk else { return std::future::pending().await };
        let alarm = Arc::new(Alarm { disk: Arc::downgrade(disk), bell: tokio::sync::Notify::new() });
        disk.watch(alarm.clone());
        if !disk.has_failed() {
            alarm.bell.notified().await;
        }
    }

    /// Writes everything that was appended: the last thing that a gateway does.
    pub fn close(&self) {
        let Some(disk) = &self.disk else { return };
        disk.close();
        let end = disk.begin().map_or(Place::NOWHERE, |appending| appending.end());
        if disk.durable() < end {
            let bytes = disk.figures().bytes_pending;
            tracing::error!(bytes, "store: not everything could be written; nobody was told that it was");
        }
    }
}

fn options(settings: &Settings, path: &Path) -> io::Result<Options> {
    let store = &settings.store;
    let bytes_max = match store.bytes_max {
        0 => file_system_bytes(path)? / 5 * 4,
        bytes => bytes,
    };
    Ok(Options {
        mode: match store.durability {
            Durability::Interval => Mode::Interval(Duration::from_millis(store.interval_millis.into())),
            Durability::Sync | Durability::Memory => Mode::Sync,
        },
        segment_bytes: store.segment_bytes,
        bytes_max,
        pending_bytes_max: store.pending_bytes_max.into(),
    })
}

pub fn file_system_bytes(path: &Path) -> io::Result<u64> {
    let system = rustix::fs::statvfs(path)?;
    Ok(system.f_blocks.saturating_mul(system.f_frsize))
}

fn explain(error: io::Error, path: &Path) -> anyhow::Error {
    let named = format!("the store in {}", path.display());
    match error.kind() {
        io::ErrorKind::WouldBlock => anyhow::anyhow!("{named} is in use by another gateway"),
        io::ErrorKind::PermissionDenied => anyhow::anyhow!(
            "{named} cannot be written: it belongs to another user, or the file system is read-only"
        ),
        _ => anyhow::Error::new(error).context(format!("{named} cannot be opened")),
    }
}
