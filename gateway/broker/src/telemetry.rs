mod store;

use std::fmt::Write;
use std::sync::atomic::Ordering;

use gateway_bus::{Audit, Counter, DropReason};
use gateway_model::BridgeState;

use crate::gauges::Handshake;
use crate::{BridgeHandle, Broker, clock};

impl Broker {
    /// Everything countable, in the text format of Prometheus. `bridges` are those running.
    pub fn metrics(&self, bridges: &[BridgeHandle]) -> String {
        let mut page = Page(String::with_capacity(4096));
        self.node(&mut page);
        self.ledger(&mut page);
        self.sessions(&mut page);
        self.listeners(&mut page);
        store::figures(&mut page, &**self.bus.store());
        bridge_states(&mut page, bridges);
        page.0
    }

    fn node(&self, page: &mut Page) {
        page.family("tidegate_info", "gauge", "1, with what this gateway is");
        let (id, version) = (&self.node_id, env!("CARGO_PKG_VERSION"));
        page.value("tidegate_info", &format!("node_id=\"{id}\",version=\"{version}\""), 1);
    }

    /// Messages: accepted x matched = delivered + queued + dropped(reason).
    fn ledger(&self, page: &mut Page) {
        let counters = self.bus.counters();
        let counter = |page: &mut Page, name: &str, help: &str, counter: Counter| {
            page.family(name, "counter", help);
            page.value(name, "", counters.count(counter));
        };
        counter(page, "tidegate_messages_accepted_total", "Publishes taken in", Counter::Accepted);
        counter(page, "tidegate_messages_refused_total", "Publishes refused", Counter::Refused);
        let name = "tidegate_denied_total";
        page.family(name, "counter", "Publishes and subscriptions that are not allowed, by reason");
        for (action, reason, count) in self.denials.counts() {
            page.value(name, &format!("action=\"{action}\",reason=\"{reason}\""), count);
        }
        counter(page, "tidegate_messages_unrouted_total", "Publishes nobody wanted", Counter::Unrouted);
        counter(
            page,
            "tidegate_messages_matched_total",
            "Copies: publishes times matching sessions",
            Counter::Matched,
        );
        counter(
            page,
            "tidegate_messages_recovered_total",
            "Copies found in the store at the start",
            Counter::Recovered,
        );
        counter(
            page,
            "tidegate_messages_moved_total",
            "Copies that went to another member of their group",
            Counter::Moved,
        );
        counter(page, "tidegate_messages_delivered_total", "Copies delivered", Counter::Delivered);
        let name = "tidegate_messages_dropped_total";
        page.family(name, "counter", "What was accepted and did not arrive, by reason");
        for reason in DropReason::ALL {
            page.value(name, &format!("reason=\"{}\"", reason.name()), counters.dropped(reason));
        }
        counter(page, "tidegate_messages_delayed_total", "Publishes held back", Counter::Delayed);
        counter(
            page,
            "tidegate_messages_delayed_released_total",
            "Publishes held back whose time came",
            Counter::DelayedReleased,
        );
        counter(
            page,
            "tidegate_messages_delayed_expired_total",
            "Publishes held back that expired before their time came",
            Counter::DelayedExpired,
        );
        counter(page, "tidegate_wills_published_total", "Wills published", Counter::WillsPublished);
        counter(page, "tidegate_sessions_opened_total", "Sessions opened", Counter::SessionsOpened);
        let recovered = "Sessions found in the store at the start";
        counter(page, "tidegate_sessions_recovered_total", recovered, Counter::SessionsRecovered);
        counter(page, "tidegate_sessions_resumed_total", "Sessions resumed", Counter::SessionsResumed);
        counter(
            page,
            "tidegate_sessions_taken_over_total",
            "Sessions taken over",
            Counter::SessionsTakenOver,
        );
        counter(page, "tidegate_sessions_ended_total", "Sessions ended", Counter::SessionsEnded);
        counter(
            page,
            "tidegate_sessions_discarded_total",
            "Sessions ended by a clean start",
            Counter::SessionsDiscarded,
        );
    }

    fn sessions(&self, page: &mut Page) {
        let Audit { sessions, unaccounted } = self.bus.audit(clock::moment());
        let connected = sessions.iter().filter(|session| session.connected).count();
        page.family("tidegate_sessions", "gauge", "Sessions, by whether they are connected");
        page.value("tidegate_sessions", "state=\"connected\"", connected);
        page.value("tidegate_sessions", "state=\"away\"", sessions.len() - connected);
        let mut sum = |name: &str, help: &str, value: usize| {
            page.family(name, "gauge", help);
            page.value(name, "", value);
        };
        let total = |of: fn(&gateway_bus::SessionView) -> usize| sessions.iter().map(of).sum::<usize>();
        sum("tidegate_queued_messages", "Copies waiting in sessions", total(|session| session.queued));
        sum("tidegate_queued_bytes", "Bytes of the copies waiting", total(|session| session.queue_bytes));
        sum(
            "tidegate_in_flight_messages",
            "Copies sent and not acknowledged",
            total(|session| session.in_flight),
        );
        sum(
            "tidegate_unaccounted_messages",
            "Copies that are neither delivered nor queued nor dropped; not 0 is a defect",
            usize::try_from(unaccounted).unwrap_or(usize::MAX),
        );
        sum("tidegate_subscriptions", "Subscriptions", self.bus.subscription_count());
        let (messages, bytes) = self.bus.retained_size();
        sum("tidegate_retained_messages", "Retained messages", messages);
        sum("tidegate_retained_bytes", "Bytes of retained messages", bytes);
        let (messages, bytes) = self.bus.delayed_size();
        sum("tidegate_delayed_messages", "Publishes held back now", messages);
        sum("tidegate_delayed_bytes", "Bytes of publishes held back now", bytes);
    }

    fn listeners(&self, page: &mut Page) {
        let listeners = self.gauges.listeners();
        page.family("tidegate_connections", "gauge", "Connections, or datagram peers, by listener");
        for listener in &listeners {
            let label = format!("listener=\"{}\"", listener.name);
            page.value("tidegate_connections", &label, listener.connections.load(Ordering::Relaxed));
        }
        let mut family = |name: &str, help: &str, of: fn(&crate::gauges::ListenerGauges) -> u64| {
            page.family(name, "counter", help);
            for listener in &listeners {
                page.value(name, &format!("listener=\"{}\"", listener.name), of(listener));
            }
        };
        family("tidegate_connects_total", "Connections accepted", |of| of.connects.load(Ordering::Relaxed));
        family("tidegate_connects_over_limit_total", "Connections turned away by connections_max", |of| {
            of.over_limit.count()
        });
        family("tidegate_connects_over_rate_total", "Connections turned away by connect_rate_max", |of| {
            of.over_rate.count()
        });
        family("tidegate_connections_stalled_total", "Connections closed by write_stall_secs", |of| {
            of.stalled.count()
        });
        family(
            "tidegate_clients_slowed_total",
            "Pauses in reading by message_rate_max or byte_rate_max",
            |of| of.slowed.count(),
        );
        family("tidegate_accepts_failed_total", "Connections that the system could not give", |of| {
            of.accepts_failed.count()
        });
        family("tidegate_bytes_received_total", "Bytes received", |of| of.bytes_in.load(Ordering::Relaxed));
        family("tidegate_bytes_sent_total", "Bytes sent", |of| of.bytes_out.load(Ordering::Relaxed));
        family("tidegate_bytes_unsent_total", "Bytes that waited when their connection ended", |of| {
            of.bytes_unsent.load(Ordering::Relaxed)
        });
        family("tidegate_datagrams_lost_total", "Datagrams the socket could not take", |of| {
            of.datagrams_lost.load(Ordering::Relaxed)
        });
        let name = "tidegate_handshakes_failed_total";
        page.family(name, "counter", "Connections closed before their protocol began, by step");
        for listener in &listeners {
            for step in Handshake::ALL {
                let labels = format!("listener=\"{}\",step=\"{}\"", listener.name, step.name());
                page.value(name, &labels, listener.handshakes_failed[step as usize].count());
            }
        }
        page.family(
            "tidegate_connects_refused_total",
            "counter",
            "Clients refused by authentication or limits",
        );
        page.value("tidegate_connects_refused_total", "", self.refused.load(Ordering::Relaxed));
    }
}

fn bridge_states(page: &mut Page, bridges: &[BridgeHandle]) {
    if bridges.is_empty() {
        return;
    }
    page.family("tidegate_bridge_up", "gauge", "1 if the bridge's sink takes messages");
    for bridge in bridges {
        let up = u8::from(bridge.state() == BridgeState::Connected);
        page.value("tidegate_bridge_up", &format!("bridge=\"{}\"", bridge.name), up);
    }
    page.family("tidegate_bridge_backlog_messages", "gauge", "Messages of the bridge not yet with its sink");
    for bridge in bridges {
        let (queued, in_flight) = bridge.backlog();
        page.value(
            "tidegate_bridge_backlog_messages",
            &format!("bridge=\"{}\"", bridge.name),
            queued + in_flight,
        );
    }
}

pub(crate) struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// `labels` is empty or `name="value",...`.
    fn value(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }
}
