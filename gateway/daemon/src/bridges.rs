use std::sync::Arc;

use anyhow::{Context, Result};
use gateway_broker::{BridgeHandle, BridgeSession, Broker};
use gateway_bus::QueueLimits;
use gateway_config::{BridgeEntry, Settings};

use crate::{catalog, limits};

/// Starts every enabled bridge, and says what waits for those that are no longer there.
pub fn start(settings: &Settings, broker: &Arc<Broker>) -> Result<Vec<BridgeHandle>> {
    let enabled = || settings.bridges().iter().filter(|entry| entry.enabled);
    let handles = enabled().map(|entry| start_one(entry, broker)).collect::<Result<_>>()?;
    let is_known = |name: &str| enabled().any(|entry| entry.name == name);
    for (name, backlog) in gateway_broker::retire_bridges(broker, is_known) {
        tracing::warn!(
            bridge = name,
            backlog,
            "{backlog} messages wait for a bridge that is not configured, or not enabled; it gets no new ones. To have \
             them delivered, configure and enable [[bridge]] name = \"{name}\" again"
        );
    }
    Ok(handles)
}

fn start_one(entry: &BridgeEntry, broker: &Arc<Broker>) -> Result<BridgeHandle> {
    let bridge = catalog::bridge(entry).with_context(|| format!("bridge {}", entry.name))?;
    let session = BridgeSession {
        name: entry.name.as_str().into(),
        filters: entry.topics.clone(),
        queue: QueueLimits {
            messages_max: entry.queue_messages_max,
            bytes_max: entry.queue_bytes_max,
            drop: limits::drop_policy(entry.queue_drop),
            store_qos0: entry.queue_qos0,
            upgrade_qos: true,
        },
        in_flight_max: entry.in_flight_max,
    };
    Ok(gateway_broker::start_bridge(broker, session, bridge))
}
