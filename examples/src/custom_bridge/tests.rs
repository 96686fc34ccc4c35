use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use gateway_model::{ClientId, DeliveryId, Qos, Settle, Topic};

use super::*;

#[derive(Default)]
struct Ledger(Mutex<Vec<(DeliveryId, Settlement)>>);

impl Settle for Ledger {
    fn settle(&self, id: DeliveryId, settlement: Settlement) {
        self.0.lock().unwrap().push((id, settlement));
    }
}

fn message(payload: &'static str) -> Arc<Message> {
    Arc::new(Message {
        topic: Topic::parse("plant/7").unwrap(),
        payload: payload.into(),
        properties: None,
        publisher: ClientId::parse("c").unwrap(),
        accepted_unix_millis: 0.into(),
        expires_at: None,
        qos: Qos::AtLeastOnce,
        retain: false,
        stored: Default::default(),
    })
}

/// A directory of this test's own.
fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("tidegate-example-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

#[tokio::test]
async fn messages_become_lines_in_order_and_are_settled() {
    let directory = directory("lines");
    let ledger = Arc::new(Ledger::default());
    let mut bridge = Appender::new(directory.join("out.txt"));
    for payload in ["one", "two"] {
        bridge.send(message(payload), Receipt::new(ledger.clone(), DeliveryId::MIN)).await;
    }
    assert_eq!(bridge.state(), BridgeState::Connected);
    Box::new(bridge).close().await;
    assert_eq!(std::fs::read_to_string(directory.join("out.txt")).unwrap(), "plant/7 one\nplant/7 two\n");
    assert_eq!(*ledger.0.lock().unwrap(), [(DeliveryId::MIN, Settlement::Delivered); 2]);
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn an_outage_drops_nothing_and_names_its_cause() {
    let directory = directory("outage");
    let ledger = Arc::new(Ledger::default());
    let mut bridge = Appender::new(directory.join("missing/out.txt"));
    let mut sending = bridge.send(message("one"), Receipt::new(ledger.clone(), DeliveryId::MIN));
    assert_eq!(sending.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending);
    assert!(ledger.0.lock().unwrap().is_empty());
    drop(sending);
    assert_eq!(*ledger.0.lock().unwrap(), [(DeliveryId::MIN, Settlement::Returned)]);
    let BridgeState::Retrying(cause) = bridge.state() else { panic!() };
    assert!(cause.contains("missing/out.txt"), "{cause}");
    std::fs::create_dir(directory.join("missing")).unwrap();
    bridge.send(message("one"), Receipt::new(ledger, DeliveryId::MIN)).await;
    assert_eq!(bridge.state(), BridgeState::Connected);
    std::fs::remove_dir_all(directory).unwrap();
}
