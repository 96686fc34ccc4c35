use std::sync::atomic::Ordering;

use gateway_bus::{Counter, DropReason};

use crate::Broker;

/// Everything countable at one moment, by the names of `$SYS`.
pub(crate) struct Figures {
    pub(crate) stats: [Stat; STATS],
    pub(crate) metrics: Vec<(&'static str, u64)>,
    /// The same by the names of Mosquitto.
    pub(crate) mosquitto: Vec<(&'static str, u64)>,
}

/// How many there are, and how many there were at most.
#[derive(Clone, Copy)]
pub(crate) struct Stat {
    pub(crate) name: &'static str,
    pub(crate) count: u64,
    pub(crate) max: u64,
}

const STATS: usize = 10;

/// The most of each that was seen at an interval.
pub(crate) type Maxima = [u64; STATS];

impl Figures {
    pub(crate) fn read(broker: &Broker, maxima: &mut Maxima) -> Self {
        let (bus, clients) = (&broker.bus, &broker.services.clients);
        let totals = bus.totals();
        let connections = clients.connections();
        // A filter is a topic and a route; who subscribed, with which options, is a subscription.
        let counts = [
            ("connections", connections),
            ("channels", connections),
            ("sessions", totals.sessions as u64),
            ("topics", totals.filters as u64),
            ("suboptions", totals.subscriptions as u64),
            ("subscribers", totals.subscriptions as u64),
            ("subscriptions", totals.subscriptions as u64),
            ("subscriptions/shared", totals.shared_subscriptions as u64),
            ("routes", totals.filters as u64),
            ("retained", totals.retained as u64),
        ];
        let connections_max = clients.connections_max.load(Ordering::Relaxed);
        maxima[..2].iter_mut().for_each(|max| *max = connections_max);
        let stats = std::array::from_fn(|index| {
            let (name, count) = counts[index];
            maxima[index] = maxima[index].max(count);
            Stat { name, count, max: maxima[index] }
        });
        let mut metrics = metrics(broker, totals.retained as u64);
        metrics.extend(broker.services.protocol_counts());
        let mosquitto = mosquitto(&stats, &metrics);
        Self { stats, metrics, mosquitto }
    }
}

fn metrics(broker: &Broker, retained: u64) -> Vec<(&'static str, u64)> {
    let counters = broker.bus.counters();
    let count = |counter| counters.count(counter);
    let dropped = |reason| counters.dropped(reason);
    let of_copies = DropReason::ALL.into_iter().filter(|reason| reason.is_of_copies());
    let copies_dropped = of_copies.map(dropped).sum::<u64>();
    let clients = &broker.services.clients;
    let listeners = broker.gauges.listeners();
    let (received, sent, acknowledged) = broker.services.traffic();
    let relaxed = |cell: &std::sync::atomic::AtomicU64| cell.load(Ordering::Relaxed);
    let refused = relaxed(&broker.refused);
    let connected = relaxed(&clients.connected);
    vec![
        ("bytes/received", listeners.iter().map(|listener| relaxed(&listener.bytes_in)).sum()),
        ("bytes/sent", listeners.iter().map(|listener| relaxed(&listener.bytes_out)).sum()),
        ("messages/received", received.iter().sum()),
        ("messages/sent", sent.iter().sum()),
        ("messages/qos0/received", received[0]),
        ("messages/qos1/received", received[1]),
        ("messages/qos2/received", received[2]),
        ("messages/qos0/sent", sent[0]),
        ("messages/qos1/sent", sent[1]),
        ("messages/qos2/sent", sent[2]),
        ("messages/publish", count(Counter::Accepted)),
        ("messages/retained", retained),
        ("messages/delayed", count(Counter::Delayed)),
        ("messages/delivered", count(Counter::Delivered)),
        ("messages/acked", acknowledged),
        ("messages/dropped", copies_dropped + count(Counter::Unrouted)),
        ("messages/dropped/expired", dropped(DropReason::Expired)),
        ("messages/dropped/no_subscribers", count(Counter::Unrouted)),
        ("delivery/dropped", copies_dropped),
        ("delivery/dropped/too_large", dropped(DropReason::PacketTooLarge)),
        ("delivery/dropped/qos0_msg", dropped(DropReason::Offline)),
        ("delivery/dropped/queue_full", dropped(DropReason::QueueFull)),
        ("delivery/dropped/expired", dropped(DropReason::Expired)),
        ("packets/connack/error", refused),
        ("packets/connack/auth_error", relaxed(&clients.connects_refused.not_authorized)),
        ("packets/publish/error", relaxed(&clients.publishes_refused.all)),
        ("packets/publish/auth_error", relaxed(&clients.publishes_refused.not_authorized)),
        ("packets/subscribe/error", relaxed(&clients.subscribes_refused.all)),
        ("packets/subscribe/auth_error", relaxed(&clients.subscribes_refused.not_authorized)),
        ("client/connect", connected + refused),
        ("client/connack", connected + refused),
        ("client/connected", connected),
        ("client/disconnected", relaxed(&clients.disconnected)),
        ("client/authenticate", connected + refused),
        ("client/auth/anonymous", relaxed(&clients.anonymous)),
        ("client/subscribe", relaxed(&clients.subscribes)),
        ("client/unsubscribe", relaxed(&clients.unsubscribes)),
        ("session/created", count(Counter::SessionsOpened)),
        ("session/resumed", count(Counter::SessionsResumed)),
        ("session/takeovered", count(Counter::SessionsTakenOver)),
        ("session/discarded", count(Counter::SessionsDiscarded)),
        ("session/terminated", count(Counter::SessionsEnded)),
    ]
}

fn mosquitto(stats: &[Stat], metrics: &[(&'static str, u64)]) -> Vec<(&'static str, u64)> {
    let stat = |name: &str| stats.iter().find(|stat| stat.name == name).expect("it is one of them");
    let metric = |name: &str| metrics.iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value);
    let (connections, sessions) = (stat("connections"), stat("sessions"));
    vec![
        ("clients/connected", connections.count),
        ("clients/maximum", connections.max),
        ("clients/total", sessions.count),
        ("clients/disconnected", sessions.count.saturating_sub(connections.count)),
        // There a message is any packet.
        ("messages/received", metric("packets/received")),
        ("messages/sent", metric("packets/sent")),
        ("publish/messages/received", metric("messages/received")),
        ("publish/messages/sent", metric("messages/sent")),
        ("publish/messages/dropped", metric("messages/dropped")),
        ("bytes/received", metric("bytes/received")),
        ("bytes/sent", metric("bytes/sent")),
        ("subscriptions/count", stat("subscriptions").count),
        ("retained messages/count", stat("retained").count),
    ]
}
