use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use gateway_admin::{Endpoint, Probes, Readiness};
use gateway_broker::{BridgeHandle, Broker};
use gateway_config::Settings;
use gateway_store::Room;
use parking_lot::Mutex;

/// How far the gateway is, for whoever asks from outside.
#[derive(Default)]
pub struct Status {
    broker: OnceLock<Arc<Broker>>,
    pub bridges: Mutex<Vec<BridgeHandle>>,
    ready: AtomicBool,
}

impl Status {
    /// What was stored has been read.
    pub fn set_broker(&self, broker: &Arc<Broker>) {
        // Set once, at the start.
        let _ = self.broker.set(broker.clone());
    }

    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    fn readiness(&self) -> Readiness {
        match self.broker.get() {
            None => Readiness::NotReady("reading what is stored".to_owned()),
            Some(_) if !self.ready.load(Ordering::Acquire) => {
                Readiness::NotReady("starting or stopping".to_owned())
            }
            Some(broker) if broker.bus.store().room() == Room::Full => {
                let is_failing = broker.bus.store().figures().is_failing;
                Readiness::Degraded(if is_failing { "store failing" } else { "store full" }.to_owned())
            }
            Some(_) => Readiness::Ready,
        }
    }

    fn metrics(&self) -> String {
        self.broker.get().map(|broker| broker.metrics(&self.bridges.lock())).unwrap_or_default()
    }

    fn drops(&self) -> String {
        self.broker.get().map_or_else(|| "{}".to_owned(), |broker| broker.drops())
    }
}

/// Opens the admin endpoint, if the settings want one.
pub async fn start_admin(settings: &Settings, status: &Arc<Status>) -> Result<Option<SocketAddr>> {
    let admin = &settings.admin;
    if !admin.enabled {
        return Ok(None);
    }
    let listener = tokio::net::TcpListener::bind(admin.bind)
        .await
        .with_context(|| format!("admin.bind: cannot listen on {}", admin.bind))?;
    let address = listener.local_addr()?;
    let (asked, measured, losers) = (status.clone(), status.clone(), status.clone());
    let probes = Probes {
        readiness: Box::new(move || asked.readiness()),
        metrics: Box::new(move || measured.metrics()),
        drops: Box::new(move || losers.drops()),
    };
    tokio::spawn(async move {
        if let Err(error) = Endpoint::new(probes).serve(listener, std::future::pending()).await {
            tracing::error!("the admin endpoint ended: {error}");
        }
    });
    Ok(Some(address))
}
