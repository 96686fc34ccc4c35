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

    /// Logs what was dropped since the last time: a line for each client and reason. What the disk has
    /// spoilt is an error, not a matter of limits.
    pub(crate) fn log_drops(&self, moment: Moment) {
        let drops = self.bus.collect_drops(moment);
        let is_damaged = |dropped: &&Dropped| dropped.reason == DropReason::Damaged;
        let damaged = drops.iter().filter_map(|client| {
            let dropped = client.drops.iter().find(is_damaged)?;
            Some((&client.client_id, dropped.count))
        });
        for (client_id, count) in damaged.clone().take(LINES_MAX) {
            tracing::error!(%client_id, count, "stored messages cannot be read again; they are dropped");
        }
        let (clients, count) =
            damaged.skip(LINES_MAX).fold((0_u64, 0), |(clients, sum), (_, count)| (clients + 1, sum + count));
        if clients > 0 {
            tracing::error!(clients, count, "stored messages of more clients cannot be read again");
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use gateway_access::{Access, Config};
    use gateway_bus::{Bus, Limits};
    use gateway_model::{Expiry, Notify, Open, Publish, Qos, Subscription, Topic, TopicFilter};
    use gateway_store::{Disk, Options, Simulated};
    use tracing::{Event, Level, Metadata, span};

    use super::*;
    use crate::tests::desk::Desk;

    /// Counts lines up to a level.
    struct Log(Level, Arc<AtomicUsize>);

    impl tracing::Subscriber for Log {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() <= self.0
        }

        fn event(&self, _: &Event<'_>) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    struct Deaf;

    impl Notify for Deaf {
        fn notify(&self) {}
    }

    /// A broker with this many sessions that are away and have each lost as many messages.
    fn losing(sessions: usize, messages: usize) -> Arc<Broker> {
        let broker = Desk::new().world.broker;
        let moment = clock::moment();
        for number in 0..sessions {
            let client_id = gateway_model::ClientId::parse(&format!("away {number}")).unwrap();
            let open = Open { expiry: Expiry::Never, ..Open::transient() };
            let opened = broker.bus.open(moment, client_id, open, Default::default(), Arc::new(Deaf).into());
            let attachment = opened.unwrap().0;
            let filter = TopicFilter::parse("#").unwrap();
            let subscriptions = vec![Subscription::new(filter, Qos::AtLeastOnce)];
            let _ = broker.bus.subscribe(moment.instant, &attachment, subscriptions);
            broker.bus.detach(moment, &attachment, false, None);
        }
        let publisher = gateway_model::ClientId::parse("publisher").unwrap();
        for _ in 0..messages {
            let publish = Publish::new(Topic::parse("t").unwrap(), "x");
            let _ = broker.bus.publish_as(moment, &publisher, publish);
        }
        broker
    }

    fn lines(broker: &Broker, level: Level) -> usize {
        let count = Arc::new(AtomicUsize::new(0));
        tracing::subscriber::with_default(Log(level, count.clone()), || {
            broker.log_drops(clock::moment());
        });
        count.load(Ordering::Relaxed)
    }

    #[test]
    fn many_drops_of_one_client_are_one_line() {
        let broker = losing(1, 10_000);
        assert_eq!(lines(&broker, Level::DEBUG), 1);
        assert_eq!(lines(&broker, Level::DEBUG), 0, "told once");
        assert_eq!(lines(&losing(1, 10), Level::INFO), 0);
    }

    #[test]
    fn drops_of_many_clients_are_so_many_lines_and_one_of_the_rest() {
        assert_eq!(lines(&losing(LINES_MAX + 50, 2), Level::DEBUG), LINES_MAX + 1);
        assert_eq!(lines(&losing(LINES_MAX + 50, 2), Level::TRACE), LINES_MAX + 50);
    }

    /// Whether drops are traced or not.
    #[test]
    fn what_the_disk_has_spoilt_is_an_error_of_each_client() {
        let (files, moment) = (Simulated::new(1), clock::moment());
        let disk = Disk::open_unthreaded(Options::default(), Arc::new(files.clone()), moment).unwrap().0;
        let disk = Arc::new(disk);
        let bus = Bus::new(Limits::default(), 1).with_store(disk.clone());
        let broker = Broker::new(bus, Access::new(Config::default()), Desk::LIMITS, 2);
        let names = ["a", "b"].map(|name| gateway_model::ClientId::parse(name).unwrap());
        let open = |name: &gateway_model::ClientId| {
            let open = Open { clean_start: false, expiry: Expiry::Never, ..Open::transient() };
            broker.bus.open(moment, name.clone(), open, Default::default(), Arc::new(Deaf).into()).unwrap().0
        };
        for name in &names {
            let attachment = open(name);
            let subscription = Subscription::new(TopicFilter::parse("t").unwrap(), Qos::AtLeastOnce);
            let _ = broker.bus.subscribe(moment.instant, &attachment, vec![subscription]);
            broker.bus.detach(moment, &attachment, false, None);
        }
        for _ in 0..3 {
            let publish =
                Publish { qos: Qos::AtLeastOnce, ..Publish::new(Topic::parse("t").unwrap(), "spoilt") };
            broker.bus.publish_as(moment, &gateway_model::ClientId::parse("$test").unwrap(), publish);
        }
        assert!(disk.commit());
        let file = "00000001.log";
        let contents = files.contents(file).unwrap();
        for offset in 0..contents.len() - 6 {
            if &contents[offset..offset + 6] == b"spoilt" {
                files.flip(file, offset as u64, 1);
            }
        }
        for name in &names {
            assert!(broker.bus.next(&open(name), moment.instant).unwrap().is_none());
        }
        assert_eq!(broker.bus.counters().dropped(DropReason::Damaged), 6);
        assert_eq!([lines(&broker, Level::ERROR), lines(&broker, Level::ERROR)], [2, 0]);
    }

    #[test]
    fn the_page_has_totals_and_clients() {
        let broker = losing(2, 3);
        let page: serde_json::Value = serde_json::from_str(&broker.drops()).unwrap();
        assert_eq!((&page["total"]["offline"], &page["total"]["queue_full"]), (&6.into(), &0.into()));
        assert_eq!(page["total"].as_object().unwrap().len(), DropReason::ALL.len());
        let clients: Vec<_> = page["clients"].as_array().unwrap().iter().collect();
        assert_eq!(clients.len(), 2);
        for client in clients {
            assert_eq!(client["reasons"], serde_json::json!({ "offline": 3 }));
            assert!(client["last_unix_millis"].as_u64() > Some(0));
        }
        assert_eq!(page["clients_omitted"], 0);
    }
}
