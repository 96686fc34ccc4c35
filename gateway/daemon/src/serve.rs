//! `tidegate serve`: the parts put together, and taken apart again in the opposite order.

use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use gateway_admin::{Endpoint, Probes};
use gateway_broker::{
    AutoSubscriptions, BridgeHandle, BridgeSession, Broker, ClientLimits, DoorLimits, ListenerSettings,
    Rewrites, ServicesSettings, Shards, Tls, TlsError,
};
use gateway_bus::{Bus, DropPolicy, Limits, PriorityDefault, QueueLimits, Sharing};
use gateway_config::{BridgeEntry, ProxyProtocol, QueueDrop, Settings, Strategy};
use gateway_model::TopicFilter;
use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};

use crate::reload::{self, Reload};
use crate::{access, banner, catalog, logging, warnings};

/// Runs the gateway until SIGINT or SIGTERM.
pub fn run(settings: &Settings) -> Result<()> {
    logging::start(&settings.log);
    for warning in warnings::warnings(settings) {
        tracing::warn!("{warning}");
    }
    // Every connection is a descriptor; what the system allows is there to be used.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let _lock = lock_data_dir(&settings.node.data_dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(settings))
}

async fn serve(settings: &Settings) -> Result<()> {
    // Registered first, so that a signal during the start is not lost.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let broker = Arc::new(broker(settings)?);
    let bridges = Arc::new(Mutex::new(start_bridges(settings, &broker)?));
    let workers = match settings.node.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => usize::from(workers),
    };
    let shards = gateway_broker::start_shards(&broker, workers, random())?;
    // What is read again on SIGHUP and when its files change.
    let mut reloads = Vec::new();
    let listening = open_listeners(settings, &broker, &shards, &mut reloads)?;
    let ready = Arc::new(AtomicBool::new(false));
    let admin = start_admin(settings, &broker, &bridges, &ready).await?;
    tokio::spawn(keep_time(broker.clone()));
    reloads.push(access::reload(broker.clone()));
    reload::start(reloads)?;
    ready.store(true, Ordering::Release);
    banner::print(settings, &listening, admin);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("stopping");
    ready.store(false, Ordering::Release);
    tokio::task::spawn_blocking(move || shards.stop()).await?;
    let bridges = std::mem::take(&mut *bridges.lock());
    for bridge in bridges {
        bridge.stop().await;
    }
    Ok(())
}

fn broker(settings: &Settings) -> Result<Broker> {
    let limits = DoorLimits {
        topic_levels_max: settings.limits.topic_levels_max.into(),
        topic_bytes_max: settings.limits.topic_bytes_max.into(),
        client_id_bytes_max: settings.limits.client_id_bytes_max.into(),
        logins_pending_max: settings.limits.logins_pending_max as usize,
    };
    let bus = Bus::new(bus_limits(settings)?, random());
    let broker = Broker::new(bus, access::open(settings)?, limits, random());
    Ok(broker.with_client_limits(client_limits(settings)).with_services(services(settings)?))
}

fn client_limits(settings: &Settings) -> ClientLimits {
    let limits = &settings.limits;
    let given = |limit: u32| (limit < u32::MAX).then_some(limit);
    ClientLimits {
        message_rate_max: given(limits.message_rate_max),
        byte_rate_max: given(limits.byte_rate_max),
        write_stall: given(limits.write_stall_secs).map(|secs| Duration::from_secs(secs.into())),
    }
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

fn bus_limits(settings: &Settings) -> Result<Limits> {
    let (session, retained, delayed) = (&settings.session, &settings.retained, &settings.delayed);
    let at_most = |secs: u32| (secs < u32::MAX).then(|| Duration::from_secs(secs.into()));
    let priority = |(filter, priority): (&String, &u8)| Ok((TopicFilter::parse(filter)?, *priority));
    Ok(Limits {
        queue: QueueLimits {
            messages_max: session.queue_messages_max,
            bytes_max: session.queue_bytes_max,
            drop: drop_policy(session.queue_drop),
            store_qos0: session.queue_qos0,
            upgrade_qos: false,
        },
        in_flight_max: session.in_flight_max,
        subscriptions_max: settings.limits.subscriptions_max as usize,
        session_expiry_max: at_most(session.expiry_secs_max),
        sessions_max: settings.limits.sessions_max as usize,
        retained_messages_max: retained.messages_max as usize,
        retained_bytes_max: usize::try_from(retained.bytes_max).unwrap_or(usize::MAX),
        retained_payload_bytes_max: retained.payload_bytes_max as usize,
        retained_expiry_max: at_most(retained.expiry_secs_max),
        delayed_messages_max: delayed.messages_max as usize,
        delayed_bytes_max: usize::try_from(delayed.bytes_max).unwrap_or(usize::MAX),
        queue_priorities: session.queue_priorities.iter().map(priority).collect::<Result<_>>()?,
        queue_priority_default: match session.queue_priority_default {
            gateway_config::PriorityDefault::Lowest => PriorityDefault::Lowest,
            gateway_config::PriorityDefault::Highest => PriorityDefault::Highest,
        },
        sharing: sharing(settings.shared.strategy),
        sharing_stall: at_most(settings.shared.stall_secs),
        sharing_ack: at_most(settings.shared.ack_secs),
        ..Limits::default()
    })
}

fn sharing(strategy: Strategy) -> Sharing {
    match strategy {
        Strategy::RoundRobin => Sharing::RoundRobin,
        Strategy::Random => Sharing::Random,
        Strategy::Sticky => Sharing::Sticky,
        Strategy::LeastInFlight => Sharing::LeastInFlight,
        Strategy::HashClient => Sharing::HashClient,
        Strategy::HashTopic => Sharing::HashTopic,
    }
}

fn drop_policy(drop: QueueDrop) -> DropPolicy {
    match drop {
        QueueDrop::Oldest => DropPolicy::Oldest,
        QueueDrop::Newest => DropPolicy::Newest,
    }
}

fn start_bridges(settings: &Settings, broker: &Arc<Broker>) -> Result<Vec<BridgeHandle>> {
    let enabled = settings.bridges().iter().filter(|entry| entry.enabled);
    enabled.map(|entry| start_bridge(entry, broker)).collect()
}

fn start_bridge(entry: &BridgeEntry, broker: &Arc<Broker>) -> Result<BridgeHandle> {
    let bridge = catalog::bridge(entry).with_context(|| format!("bridge {}", entry.name))?;
    let session = BridgeSession {
        name: entry.name.as_str().into(),
        filters: entry.topics.clone(),
        queue: QueueLimits {
            messages_max: entry.queue_messages_max,
            bytes_max: entry.queue_bytes_max,
            drop: drop_policy(entry.queue_drop),
            store_qos0: entry.queue_qos0,
            upgrade_qos: true,
        },
        in_flight_max: entry.in_flight_max,
    };
    Ok(gateway_broker::start_bridge(broker, session, bridge))
}

fn open_listeners(
    settings: &Settings,
    broker: &Arc<Broker>,
    shards: &Shards,
    reloads: &mut Vec<Reload>,
) -> Result<Vec<banner::Listening>> {
    let mut listening = Vec::new();
    for (listener, tls) in load_tls(settings)? {
        let (carrier, protocol) = catalog::protocol(settings, &listener.protocol)?;
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

async fn start_admin(
    settings: &Settings,
    broker: &Arc<Broker>,
    bridges: &Arc<Mutex<Vec<BridgeHandle>>>,
    ready: &Arc<AtomicBool>,
) -> Result<Option<std::net::SocketAddr>> {
    let admin = &settings.admin;
    if !admin.enabled {
        return Ok(None);
    }
    let listener = tokio::net::TcpListener::bind(admin.bind)
        .await
        .with_context(|| format!("admin.bind: cannot listen on {}", admin.bind))?;
    let address = listener.local_addr()?;
    let (broker, bridges, ready) = (broker.clone(), bridges.clone(), ready.clone());
    let losers = broker.clone();
    let probes = Probes {
        readiness: Box::new(move || match ready.load(Ordering::Acquire) {
            true => Ok(()),
            false => Err("starting or stopping".to_owned()),
        }),
        metrics: Box::new(move || broker.metrics(&bridges.lock())),
        drops: Box::new(move || losers.drops()),
    };
    tokio::spawn(async move {
        if let Err(error) = Endpoint::new(probes).serve(listener, std::future::pending()).await {
            tracing::error!("the admin endpoint ended: {error}");
        }
    });
    Ok(Some(address))
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
    std::fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", named()))?;
    let path = dir.join("tidegate.lock");
    let lock = File::options().create(true).append(true).open(&path);
    let lock = lock.with_context(|| format!("{} cannot be written", named()))?;
    if lock.try_lock().is_err() {
        bail!("{} is in use by another gateway", named());
    }
    Ok(lock)
}

/// Unpredictable to clients; the standard library's hash keys come from the system.
fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
