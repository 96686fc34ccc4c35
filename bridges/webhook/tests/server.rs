//! The bridge against a small HTTP server on 127.0.0.1: order per key, outages, odd answers.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bridge_webhook::{Config, Webhook};
use gateway_model::{
    Bridge, BridgeState, ClientId, DeliveryId, Message, Qos, Receipt, Settle, Settlement, Topic,
};
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

const PATIENCE: Duration = Duration::from_secs(30);

/// In the session's place: what became of each message, in order of settlement.
#[derive(Default)]
struct Ledger {
    settled: Mutex<Vec<(u16, Settlement)>>,
    changed: Notify,
}

impl Settle for Ledger {
    fn settle(&self, id: DeliveryId, settlement: Settlement) {
        self.settled.lock().unwrap().push((id.get(), settlement));
        self.changed.notify_one();
    }
}

impl Ledger {
    fn all(&self) -> Vec<(u16, Settlement)> {
        self.settled.lock().unwrap().clone()
    }

    async fn wait_for(&self, count: usize) {
        let wait = async {
            while self.all().len() < count {
                self.changed.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("settled in time");
    }
}

/// One request as the server saw it.
struct Seen {
    id: String,
    body: Value,
    status: u16,
}

/// Chooses the whole answer to the request with the given number, counted from 0.
type Answer = fn(usize) -> (u16, Vec<u8>);

#[derive(Default)]
struct Log {
    seen: Mutex<Vec<Seen>>,
    connections: Mutex<usize>,
    changed: Notify,
}

struct Server {
    port: u16,
    log: Arc<Log>,
    /// Dropping it closes all connections.
    tasks: JoinSet<()>,
}

impl Server {
    async fn start(port: u16, log: Arc<Log>, answer: Answer) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut tasks = JoinSet::new();
        let shared = log.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                *shared.connections.lock().unwrap() += 1;
                connections.spawn(serve(stream, shared.clone(), answer));
            }
        });
        Self { port, log, tasks }
    }

    /// The numbers that were taken (answered 200), by key, in order.
    fn taken(&self) -> BTreeMap<String, Vec<u16>> {
        let mut taken = BTreeMap::<String, Vec<u16>>::new();
        for seen in self.log.seen.lock().unwrap().iter().filter(|seen| seen.status == 200) {
            let number = seen.body["payload"].as_str().unwrap().parse().unwrap();
            taken.entry(seen.body["topic"].as_str().unwrap().into()).or_default().push(number);
        }
        taken
    }
}

async fn serve(stream: TcpStream, log: Arc<Log>, answer: Answer) {
    let mut stream = BufReader::new(stream);
    while let Some((id, body)) = read_request(&mut stream).await {
        let text = {
            let mut seen = log.seen.lock().unwrap();
            let (status, text) = answer(seen.len());
            seen.push(Seen { id, body, status });
            text
        };
        log.changed.notify_one();
        if stream.write_all(&text).await.is_err() {
            return;
        }
    }
}

async fn read_request(stream: &mut (impl AsyncBufRead + Unpin)) -> Option<(String, Value)> {
    let (mut id, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end().to_ascii_lowercase().split_once(": ") {
            Some(("webhook-id", value)) => id = value.into(),
            Some(("content-length", value)) => length = value.parse().unwrap(),
            None if line == "\r\n" => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((id, serde_json::from_slice(&body).unwrap()))
}

fn plain(status: u16) -> (u16, Vec<u8>) {
    (status, format!("HTTP/1.1 {status} x\r\ncontent-length: 2\r\n\r\nok").into_bytes())
}

fn webhook(port: u16) -> Webhook {
    let config: Config = serde_json::from_str(&format!(
        r#"{{"url":"http://127.0.0.1:{port}/in","retry_delay_min_millis":1,"retry_delay_max_millis":20}}"#
    ))
    .unwrap();
    Webhook::new("test", config).unwrap()
}

async fn send(webhook: &mut Webhook, ledger: &Arc<Ledger>, numbers: std::ops::RangeInclusive<u16>) {
    for number in numbers {
        let message = Message {
            topic: Topic::parse(&format!("plant/{}", number % 7)).unwrap(),
            payload: number.to_string().into(),
            properties: None,
            publisher: ClientId::parse("sensor").unwrap(),
            accepted_unix_millis: 1_700_000_000_000.into(),
            expires_at: None,
            qos: Qos::AtLeastOnce,
            retain: false,
            stored: Default::default(),
        };
        let receipt = Receipt::new(ledger.clone(), NonZeroU16::new(number).unwrap());
        webhook.send(Arc::new(message), receipt).await;
    }
}

fn assert_complete_and_in_order(server: &Server, last: u16) {
    let taken = server.taken();
    for (key, numbers) in &taken {
        assert!(numbers.is_sorted(), "{key}: {numbers:?}");
    }
    let all: BTreeSet<u16> = taken.values().flatten().copied().collect();
    assert_eq!(all, (1..=last).collect());
}

#[tokio::test]
async fn a_failing_server_costs_neither_messages_nor_order_nor_identifiers() {
    let answer: Answer = |number| plain(if number % 3 == 2 { 200 } else { 500 + (number % 4) as u16 });
    let server = Server::start(0, Arc::default(), answer).await;
    let (mut webhook, ledger) = (webhook(server.port), Arc::<Ledger>::default());
    send(&mut webhook, &ledger, 1..=200).await;
    ledger.wait_for(200).await;
    assert!(ledger.all().iter().all(|(_, settlement)| *settlement == Settlement::Delivered));
    assert_complete_and_in_order(&server, 200);
    let mut ids = BTreeMap::<String, BTreeSet<String>>::new();
    for seen in server.log.seen.lock().unwrap().iter() {
        assert_eq!(seen.id, seen.body["id"].as_str().unwrap());
        ids.entry(seen.id.clone()).or_default().insert(seen.body["payload"].to_string());
    }
    assert_eq!(ids.len(), 200);
    assert!(ids.values().all(|payloads| payloads.len() == 1));
    assert_eq!(webhook.state(), BridgeState::Connected);
}

#[tokio::test]
async fn connections_are_kept_alive_one_per_lane() {
    let server = Server::start(0, Arc::default(), |_| plain(200)).await;
    let (mut webhook, ledger) = (webhook(server.port), Arc::<Ledger>::default());
    assert_eq!(webhook.state(), BridgeState::Starting);
    send(&mut webhook, &ledger, 1..=100).await;
    ledger.wait_for(100).await;
    // The pool may open one while another is about to come back.
    assert!(*server.log.connections.lock().unwrap() <= 2 * 8);
}

#[tokio::test]
async fn a_server_that_goes_and_comes_back_gets_everything() {
    let log = Arc::<Log>::default();
    let mut server = Server::start(0, log.clone(), |_| plain(200)).await;
    let port = server.port;
    let (mut webhook, ledger) = (webhook(port), Arc::<Ledger>::default());
    send(&mut webhook, &ledger, 1..=50).await;
    ledger.wait_for(50).await;
    server.tasks.shutdown().await;
    send(&mut webhook, &ledger, 51..=100).await;
    let outage = async {
        loop {
            if let BridgeState::Retrying(cause) = webhook.state() {
                return cause;
            }
            tokio::task::yield_now().await;
        }
    };
    let cause = tokio::time::timeout(PATIENCE, outage).await.unwrap();
    assert!(cause.contains("refused") || cause.contains("closed") || cause.contains("reset"), "{cause}");
    let server = Server::start(port, log, |_| plain(200)).await;
    ledger.wait_for(100).await;
    assert_complete_and_in_order(&server, 100);
}

#[tokio::test]
async fn poison_is_dropped_and_only_that() {
    let server = Server::start(0, Arc::default(), |number| plain(if number == 0 { 422 } else { 200 })).await;
    let (mut webhook, ledger) = (webhook(server.port), Arc::<Ledger>::default());
    send(&mut webhook, &ledger, 7..=7).await;
    ledger.wait_for(1).await;
    send(&mut webhook, &ledger, 14..=14).await;
    ledger.wait_for(2).await;
    assert_eq!(ledger.all(), [(7, Settlement::Dropped("poison")), (14, Settlement::Delivered)]);
}

#[tokio::test]
async fn the_body_of_an_answer_means_nothing_however_long_or_cut_short() {
    let answer: Answer = |number| match number {
        0 => (
            200,
            [b"HTTP/1.1 200 x\r\ncontent-length: 10485760\r\n\r\n".as_slice(), &vec![0; 10_485_760]].concat(),
        ),
        1 => (200, b"HTTP/1.1 204 x\r\n\r\n".to_vec()),
        _ => plain(200),
    };
    let server = Server::start(0, Arc::default(), answer).await;
    let (mut webhook, ledger) = (webhook(server.port), Arc::<Ledger>::default());
    send(&mut webhook, &ledger, 1..=5).await;
    ledger.wait_for(5).await;
    assert!(ledger.all().iter().all(|(_, settlement)| *settlement == Settlement::Delivered));
    assert_eq!(server.log.seen.lock().unwrap().len(), 5, "each was sent once");
}

#[tokio::test]
async fn garbage_is_retried_and_a_redirect_is_not_followed() {
    let answer: Answer = |number| match number {
        0 => (0, b"SSH-2.0-OpenSSH\r\n".to_vec()),
        1 => (302, b"HTTP/1.1 302 x\r\nlocation: /else\r\ncontent-length: 0\r\n\r\n".to_vec()),
        _ => plain(200),
    };
    let server = Server::start(0, Arc::default(), answer).await;
    let (mut webhook, ledger) = (webhook(server.port), Arc::<Ledger>::default());
    send(&mut webhook, &ledger, 1..=1).await;
    let wanted = BridgeState::Retrying("the server answers 302 Found".into());
    let redirected = async {
        while webhook.state() != wanted {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, redirected).await.unwrap();
    assert_eq!(server.log.seen.lock().unwrap().len(), 2);
    Box::new(webhook).close().await;
    assert_eq!(ledger.all(), [(1, Settlement::Returned)]);
}

#[tokio::test]
async fn closing_lets_the_request_under_way_finish_and_returns_the_rest_in_order() {
    let server = Server::start(0, Arc::default(), |_| plain(200)).await;
    let (mut webhook, ledger) = (webhook(server.port), Arc::<Ledger>::default());
    send(&mut webhook, &ledger, 7..=7).await;
    for number in [14, 21, 28] {
        send(&mut webhook, &ledger, number..=number).await;
    }
    server.log.changed.notified().await;
    Box::new(webhook).close().await;
    let settled = ledger.all();
    assert_eq!(settled.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [7, 14, 21, 28]);
    let delivered = settled.iter().filter(|(_, settlement)| *settlement == Settlement::Delivered).count();
    assert_eq!(delivered, server.log.seen.lock().unwrap().len());
    assert!(delivered >= 1);
}
