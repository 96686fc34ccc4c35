//! `tidegate serve`: the parts put together, and taken apart again in the opposite order.

use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use gateway_broker::{
    AutoSubscriptions, Broker, ListenerSettings, Rewrites, ServicesSettings, Shards, Tls, TlsError,
};
use gateway_bus::Bus;
use gateway_config::{ProxyProtocol, Settings};
use gateway_store::{Directory, Identity};
use tokio::signal::unix::{SignalKind, signal};

use crate::cleaner::Cleaner;
use crate::reload::{self, Reload};
use crate::room_log::RoomLog;
use crate::status::{self, Status};
use crate::{access, banner, bridges, catalog, limits, logging, store, warnings};

/// Runs the gateway until SIGINT or SIGTERM.
pub fn run(settings: &Settings) -> Result<()> {
    logging::start(&settings.log);
    for warning in warnings::warnings(settings) {
        tracing::warn!("{warning}");
    }
    // Every connection is a descriptor; what the system allows is there to be used.
    if let Ok(allowed) = rlimit::increase_nofile_limit(u64::MAX) {
        gateway_broker::reserve_descriptors(allowed);
    }
    let _lock = lock_data_dir(&settings.node.data_dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(settings))
}

async fn serve(settings: &Settings) -> Result<()> {
    // Registered first, so that a signal during the start is not lost.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let node_id = node_id(&settings.node.data_dir)?;
    let status = Arc::<Status>::default();
    let admin = status::start_admin(settings, &status).await?;
    let (broker, store) = {
        // Reading what there was may take seconds; meanwhile the admin endpoint says so.
        let settings = settings.clone();
        tokio::task::spawn_blocking(move || broker(&settings, node_id)).await??
    };
    let broker = Arc::new(broker);
    let cleaned = broker.clone();
    let cleaner = Cleaner::start(broker.bus.store(), move || cleaned.bus.clean())?;
    RoomLog::start(broker.bus.store());
    status.set_broker(&broker);
    status.bridges.lock().extend(bridges::start(settings, &broker)?);
    let workers = match settings.node.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => usize::from(workers),
    };
    let shards = gateway_broker::start_shards(&broker, workers, random())?;
    // What is read again on SIGHUP and when its files change.
    let mut reloads = Vec::new();
    let listening = open_listeners(settings, &broker, &shards, &mut reloads)?;
    tokio::spawn(keep_time(broker.clone()));
    reloads.push(access::reload(broker.clone()));
    reload::start(reloads)?;
    status.set_ready(true);
    tracing::info!(node = settings.node.name, %node_id, "started");
    banner::print(settings, &listening, admin);
    let failed = tokio::select! {
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        () = store.failed() => Some("the store"),
        () = cleaner.failed() => Some("the cleaner of the store"),
    };
    tracing::info!("stopping");
    status.set_ready(false);
    tokio::task::spawn_blocking(move || shards.stop()).await?;
    let bridges = std::mem::take(&mut *status.bridges.lock());
    for bridge in bridges {
        bridge.stop().await;
    }
    tokio::task::spawn_blocking(move || {
        cleaner.stop();
        broker.bus.write_retained_now(gateway_broker::moment());
        store.close();
    })
    .await?;
    if let Some(part) = failed {
        bail!("{part} has failed; what was acknowledged is there at the next start");
    }
    Ok(())
}

/// The broker, with everything in it that was there when the gateway stopped.
fn broker(settings: &Settings, node_id: Identity) -> Result<(Broker, store::Opened)> {
    let moment = gateway_broker::moment();
    let access = access::open(settings)?;
    let (store, image) = store::open(settings, moment)?;
    let bus = Bus::new(limits::bus(settings)?, random()).with_store(store.store.clone());
    store.recover(&bus, moment, image);
    let broker = Broker::new(bus, access, limits::door(settings), random())
        .with_node_id(node_id.to_string())
        .with_owner_key(access::secret(settings)?)
        .with_client_limits(limits::client(settings))
        .with_services(services(settings)?);
    Ok((broker, store))
}

fn services(settings: &Settings) -> Result<ServicesSettings> {
    // The lists have been checked by the configuration.
    let wrong = |list: &str| {
        let list = list.to_owned();
        move |(key, text): (String, String)| anyhow::anyhow!("{list}.{key}: {text}")
    };
    let mountpoint =
        |listener: &gateway_config::Listener| Some((listener.name.clone(), listener.mountpoint.clone()?));
    Ok(ServicesSettings {
        node: settings.node.name.clone(),
        sys: settings.section("sys")?,
        rewrites: Rewrites::new(&settings.list("rewrite")?).map_err(wrong("rewrite"))?,
        auto_subscriptions: AutoSubscriptions::new(&settings.list("auto_subscribe")?)
            .map_err(wrong("auto_subscribe"))?,
        mountpoints: settings.listeners().iter().filter_map(mountpoint).collect(),
    })
}

fn open_listeners(
    settings: &Settings,
    broker: &Arc<Broker>,
    shards: &Shards,
    reloads: &mut Vec<Reload>,
) -> Result<Vec<banner::Listening>> {
    let mut listening = Vec::new();
    let kept = broker.bus.kept();
    for (listener, tls) in load_tls(settings)? {
        let (carrier, protocol) = catalog::protocol(settings, &listener.protocol)?;
        let now = gateway_broker::moment().instant;
        kept.iter().for_each(|(client_id, bytes)| protocol.restore(now, client_id, bytes));
        let connect_rate = listener.connect_rate_max;
        let listener_settings = ListenerSettings {
            name: listener.name.as_str().into(),
            bind: listener.bind.clone(),
            carrier,
            protocol: protocol.clone(),
            connections_max: listener.connections_max as usize,
            connect_rate_max: (connect_rate < u32::MAX).then_some(connect_rate),
            handshake_timeout: Duration::from_secs(listener.handshake_timeout_secs.into()),
            proxy_protocol: listener.proxy_protocol == ProxyProtocol::Required,
            trusted_proxies: listener.trusted_proxies.clone(),
            unix_mode: listener.unix_mode,
            tls: tls.clone(),
        };
        let bind = gateway_broker::bind(broker, shards, listener_settings)?;
        broker.listens(&listener.name, bind.port(), protocol);
        listening.push(banner::Listening {
            name: listener.name.clone(),
            protocol: listener.protocol.clone(),
            bind,
            encrypted: tls.is_some(),
        });
        reloads.extend(tls.map(|tls| Reload::new(move |always| tls.reload(always))));
    }
    Ok(listening)
}

/// A listener's settings, and what it encrypts with.
type Encrypted<'s> = (&'s gateway_config::Listener, Option<Arc<Tls>>);

/// Every enabled listener.
pub fn load_tls(settings: &Settings) -> Result<Vec<Encrypted<'_>>, TlsError> {
    let enabled = settings.listeners().iter().filter(|listener| listener.enabled);
    let load = |listener: &gateway_config::Listener| {
        let tls = listener.tls.clone().map(|tls| Tls::load(&listener.name, tls));
        tls.transpose().map(|tls| tls.map(Arc::new))
    };
    enabled.map(|listener| Ok((listener, load(listener)?))).collect()
}

/// Expires sessions, publishes what is delayed, looks after shared subscriptions.
async fn keep_time(broker: Arc<Broker>) {
    // New deadlines are noticed at this pace; the protocols' own are exact.
    const LOOK_EVERY: Duration = Duration::from_millis(250);
    loop {
        broker.poll();
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Makes the data directory and keeps every other gateway out of it until the lock is dropped.
pub fn lock_data_dir(dir: &Path) -> Result<File> {
    let named = || format!("node.data_dir: {}", dir.display());
    // The umask says who may enter it; the store within is its owner's only.
    Directory::make(dir, 0o777).with_context(|| format!("{} cannot be made", named()))?;
    let path = dir.join("tidegate.lock");
    let lock = File::options().create(true).append(true).open(&path);
    let lock = lock.with_context(|| format!("{} cannot be written", named()))?;
    if lock.try_lock().is_err() {
        bail!("{} is in use by another gateway", named());
    }
    Ok(lock)
}

/// Which gateway this is: made when there is none.
fn node_id(data_dir: &Path) -> Result<Identity> {
    let id = Directory::look(data_dir).and_then(|directory| Identity::of(&directory));
    id.with_context(|| format!("node.data_dir: {}: node.id cannot be kept", data_dir.display()))
}

/// Unpredictable to clients; the standard library's hash keys come from the system.
fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
