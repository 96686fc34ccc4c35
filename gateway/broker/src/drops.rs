use std::collections::BTreeMap;

use gateway_bus::{ClientDrops, DropReason, Dropped, Moment};
use serde::Serialize;

use crate::{Broker, clock};

/// What was dropped, as `/api/v1/drops` has it.
#[derive(Serialize)]
struct Page<'a> {
    /// Since the start, by reason; complete.
    total: BTreeMap<&'static str, u64>,
    /// The latest first.
    clients: Vec<Client<'a>>,
    /// Clients that lost something too long ago to be remembered.
    clients_omitted: u64,
}

#[derive(Serialize)]
struct Client<'a> {
    client_id: &'a str,
    reasons: BTreeMap<&'static str, u64>,
    last_unix_millis: u64,
}

impl<'a> From<&'a ClientDrops> for Client<'a> {
    fn from(drops: &'a ClientDrops) -> Self {
        Self {
            client_id: drops.client_id.as_str(),
            reasons: drops.drops.iter().map(|dropped| (dropped.reason.name(), dropped.count)).collect(),
            last_unix_millis: drops.last_unix_millis,
        }
    }
}

/// Lines of one pass, unless everything is to be traced: a fan-out to sessions that are away may drop
/// something of each.
const LINES_MAX: usize = 100;

impl Broker {
    /// What was dropped since the start, as JSON: of all by reason, and of each client remembered.
    pub fn drops(&self) -> String {
        let (drops, clients_omitted) = self.bus.drops(clock::moment());
        let counters = self.bus.counters();
        let total = DropReason::ALL.into_iter().map(|reason| (reason.name(), counters.dropped(reason)));
        let clients = drops.iter().map(Client::from).collect();
        // Counted before it is noted: the total is never less than the sum of the clients.
        let page = Page { clients, total: total.collect(), clients_omitted };
        serde_json::to_string(&page).expect("texts and numbers are JSON")
    }

    /// Logs what was dropped since the last time: a line for each client and reason.
    pub(crate) fn log_drops(&self, moment: Moment) {
        let drops = self.bus.collect_drops(moment);
        if drops.is_empty() || !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let lines_max = if tracing::enabled!(tracing::Level::TRACE) { usize::MAX } else { LINES_MAX };
        let lines = drops.iter().flat_map(|client| client.drops.iter().map(|drop| (&client.client_id, drop)));
        for (client_id, Dropped { reason, count, topic }) in lines.clone().take(lines_max) {
            let (reason, topic) = (reason.name(), topic.as_deref());
            tracing::debug!(%client_id, topic, reason, count, "message.dropped");
        }
        let rest = lines.skip(lines_max).map(|(_, dropped)| dropped.count);
        let (lines, count) = rest.fold((0_u64, 0), |(lines, sum), count| (lines + 1, sum + count));
        if lines > 0 {
            tracing::debug!(lines, count, "message.dropped for more clients; /api/v1/drops has them");
        }
    }
}
