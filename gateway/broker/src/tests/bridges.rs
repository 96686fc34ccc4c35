use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use gateway_access::{Access, Config};
use gateway_bus::{Bus, Limits, QueueLimits};
use gateway_model::{
    Bridge, BridgeState, ClientId, Message, Publish, Qos, Reason, Receipt, Topic, TopicFilter,
};

use crate::{BridgeSession, Broker, DoorLimits, clock, retire_bridges, start_bridge};

/// A sink that is away.
struct Absent;

impl Bridge for Absent {
    fn send(&mut self, _: Arc<Message>, receipt: Receipt) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        drop(receipt);
        Box::pin(std::future::pending())
    }

    fn watch(&self) -> Box<dyn Fn() -> BridgeState + Send + Sync> {
        Box::new(|| BridgeState::Starting)
    }

    fn close(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }
}

fn broker() -> Arc<Broker> {
    let limits = DoorLimits {
        topic_levels_max: 8,
        topic_bytes_max: 64,
        client_id_bytes_max: 64,
        logins_pending_max: 1,
    };
    Arc::new(Broker::new(Bus::new(Limits::default(), 1), Access::new(Config::default()), limits, 2))
}

fn session(filters: &[&str]) -> BridgeSession {
    BridgeSession {
        name: "plant".into(),
        filters: filters.iter().map(|filter| TopicFilter::parse(filter).unwrap()).collect(),
        queue: QueueLimits::default(),
        in_flight_max: 10,
    }
}

fn publish(broker: &Broker, topic: &str) -> Reason {
    let publish = Publish { qos: Qos::AtLeastOnce, ..Publish::new(Topic::parse(topic).unwrap(), "x") };
    broker.bus.publish_as(clock::moment(), &ClientId::parse("$test").unwrap(), publish)
}

/// The session of a bridge outlives it; its subscriptions are those of the settings.
#[tokio::test]
async fn a_bridge_that_comes_back_has_the_filters_of_now() {
    let broker = broker();
    start_bridge(&broker, session(&["a", "b"]), Box::new(Absent)).stop().await;
    assert_eq!(publish(&broker, "a"), Reason::Success);
    let handle = start_bridge(&broker, session(&["b", "c"]), Box::new(Absent));
    let wanted = ["a", "b", "c"].map(|topic| publish(&broker, topic));
    assert_eq!(wanted, [Reason::NoMatchingSubscribers, Reason::Success, Reason::Success]);
    let (queued, in_flight) = handle.backlog();
    assert_eq!(queued + in_flight, 3, "what came while it was away waits for it");
    handle.stop().await;
}

#[tokio::test]
async fn a_bridge_that_is_gone_keeps_what_waits_for_it_and_gets_no_more() {
    let broker = broker();
    start_bridge(&broker, session(&["a"]), Box::new(Absent)).stop().await;
    publish(&broker, "a");
    assert_eq!(retire_bridges(&broker, |name| name == "plant"), []);
    for _ in 0..2 {
        assert_eq!(retire_bridges(&broker, |_| false), [("plant".to_owned(), 1)]);
        assert_eq!(publish(&broker, "a"), Reason::NoMatchingSubscribers);
    }
    let handle = start_bridge(&broker, session(&["a"]), Box::new(Absent));
    let (queued, in_flight) = handle.backlog();
    assert_eq!(queued + in_flight, 1);
    handle.stop().await;
}
