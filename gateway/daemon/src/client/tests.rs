//! The client against a scripted broker: what it says, answer by answer.

use std::future::Future;
use std::num::NonZeroU16;

use clap::Parser;
use gateway_model::{Qos, Reason};
use protocol_mqtt::codec::{
    Acknowledgement, Auth, Connack, Disconnect, Header, Packet, Properties, Property, PropertyBuffer,
    Publish, Suback, Unsuback, Version,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::error::ClientError;
use super::{publish, subscribe};
use crate::cli::{Cli, Command};

const FIRST: NonZeroU16 = NonZeroU16::MIN;

/// The broker's end of one connection.
struct Broker {
    stream: TcpStream,
    version: Version,
}

impl Broker {
    /// The next packet from the client, as bytes; empty at the end.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut bytes = Vec::new();
        let header = loop {
            if let Some(header) = Header::parse(&bytes).unwrap() {
                break header;
            }
            match self.stream.read_u8().await {
                Ok(byte) => bytes.push(byte),
                Err(_) => return (0, Vec::new()),
            }
        };
        let mut body = vec![0; header.body_len];
        self.stream.read_exact(&mut body).await.unwrap();
        (header.first, body)
    }

    /// The next packet must be what `expected` says.
    async fn expect(&mut self, expected: &str) {
        let (first, body) = self.frame().await;
        let packet = Packet::decode(self.version, first, &body).unwrap();
        let text = format!("{packet:?}");
        assert!(text.starts_with(expected), "expected {expected}, got {text}");
    }

    async fn send(&mut self, packet: Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes);
        self.stream.write_all(&bytes).await.unwrap();
    }

    async fn accept(&mut self) {
        self.expect("Connect(").await;
        self.send(connack(Reason::Success, Properties::default())).await;
    }
}

fn connack(reason: Reason, properties: Properties<'_>) -> Packet<'_> {
    Packet::Connack(Connack { session_present: false, reason, properties })
}

fn message(qos: Qos, dup: bool) -> Packet<'static> {
    let packet_id = (qos != Qos::AtMostOnce).then_some(FIRST);
    let properties = Properties::default();
    Packet::Publish(Publish { dup, qos, retain: false, topic: b"a", packet_id, properties, payload: b"x" })
}

fn acknowledgement(reason: Reason) -> Acknowledgement<'static> {
    Acknowledgement::new(FIRST, reason)
}

/// Runs a command line against a scripted broker, to the end of both.
async fn run<F: Future<Output = ()>>(
    line: &str,
    script: impl FnOnce(Broker) -> F,
) -> Result<(), ClientError> {
    run_through(line, async |mut connections| script(connections.next().await).await).await
}

/// What `pub -l` reads here.
fn two_lines() -> mpsc::Receiver<publish::Line> {
    let (lines, receiver) = mpsc::channel(2);
    for line in [b"one", b"two"] {
        assert!(lines.try_send(Ok(line.to_vec())).is_ok());
    }
    receiver
}

/// Where a scripted broker gets its connections, one after the other.
struct Connections {
    listener: TcpListener,
    version: Version,
}

impl Connections {
    async fn next(&mut self) -> Broker {
        let (stream, _) = self.listener.accept().await.unwrap();
        Broker { stream, version: self.version }
    }
}

async fn run_through<F: Future<Output = ()>>(
    line: &str,
    script: impl FnOnce(Connections) -> F,
) -> Result<(), ClientError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let line = format!("tidegate {line} -p {port}");
    let arguments = super::fold_properties(line.split(' ').map(Into::into));
    let command = Cli::try_parse_from(arguments).unwrap().command.unwrap();
    let client = async {
        match &command {
            Command::Pub(options) => publish::run_with(options, two_lines).await,
            Command::Sub(options) => subscribe::run(options).await,
            _ => panic!("not a client"),
        }
    };
    let version = if line.contains("-V 311") { Version::V311 } else { Version::V5 };
    tokio::join!(client, script(Connections { listener, version })).0
}

#[tokio::test]
async fn a_refusal_says_why_in_the_brokers_words() {
    let refused = run("pub a b", async |mut broker: Broker| {
        broker.expect("Connect(").await;
        let mut properties = PropertyBuffer::default();
        properties.push(Property::ReasonString("set access.anonymous"));
        broker.send(connack(Reason::NotAuthorized, properties.as_properties())).await;
    });
    let error = refused.await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "connection refused by broker: not authorized (0x87): set access.anonymous"
    );
    assert_eq!(error.exit_code(), 135);
}

#[tokio::test]
async fn mqtt_4_3_3_exactly_once_takes_four_packets() {
    let published = run("pub a b -q 2", async |mut broker: Broker| {
        broker.accept().await;
        broker.expect("Publish(Publish { dup: false, qos: ExactlyOnce").await;
        broker.send(Packet::Pubrec(acknowledgement(Reason::Success))).await;
        broker.expect("Pubrel(").await;
        broker.send(Packet::Pubcomp(acknowledgement(Reason::Success))).await;
        broker.expect("Disconnect(").await;
    });
    assert!(published.await.is_ok());
}

#[tokio::test]
async fn a_refused_message_is_a_failure_after_a_proper_goodbye() {
    for (line, qos) in [("pub a b -q 1", 1), ("pub a b -q 2", 2)] {
        let published = run(line, async |mut broker: Broker| {
            broker.accept().await;
            broker.expect("Publish(").await;
            let refusal = acknowledgement(Reason::NotAuthorized);
            broker.send(if qos == 1 { Packet::Puback(refusal) } else { Packet::Pubrec(refusal) }).await;
            broker.expect("Disconnect(").await;
        });
        let error = published.await.unwrap_err();
        assert_eq!(error.exit_code(), 1);
        assert_eq!(error.to_string(), "message refused by broker: not authorized (0x87)");
    }
}

#[tokio::test]
async fn a_lost_connection_is_told_from_a_finished_one() {
    let published = run("pub a b -q 1", async |mut broker: Broker| {
        broker.accept().await;
        broker.expect("Publish(").await;
    });
    assert_eq!(published.await.unwrap_err().exit_code(), 7);
    let published = run("pub a b -q 0", async |mut broker: Broker| {
        broker.accept().await;
        broker.expect("Publish(").await;
        broker.expect("Disconnect(").await;
    });
    assert!(published.await.is_ok());
}

#[tokio::test]
async fn what_the_broker_does_not_offer_is_not_sent() {
    let published = run("pub a b -q 2", async |mut broker: Broker| {
        broker.expect("Connect(").await;
        let mut properties = PropertyBuffer::default();
        properties.push(Property::MaximumQos(1));
        broker.send(connack(Reason::Success, properties.as_properties())).await;
        assert_eq!(broker.frame().await.1, b"", "nothing more comes");
    });
    assert_eq!(published.await.unwrap_err().to_string(), "the broker offers QoS 1 at most");
}

#[tokio::test]
async fn mqtt_4_3_3_a_message_sent_twice_is_taken_once_and_released() {
    let subscribed = run("sub a -q 2 -C 2", async |mut broker: Broker| {
        broker.accept().await;
        broker.expect("Subscribe(").await;
        let reasons = vec![Reason::GrantedQos2];
        let properties = Properties::default();
        broker.send(Packet::Suback(Suback { packet_id: FIRST, properties, reasons })).await;
        broker.send(message(Qos::ExactlyOnce, false)).await;
        broker.expect("Pubrec(").await;
        // Still one message: the second to be counted is the one at QoS 0.
        broker.send(message(Qos::ExactlyOnce, true)).await;
        broker.expect("Pubrec(").await;
        broker.send(message(Qos::AtMostOnce, false)).await;
        broker.send(Packet::Pubrel(acknowledgement(Reason::Success))).await;
        broker.expect("Pubcomp(Acknowledgement { packet_id: 1, reason: Success").await;
        broker.expect("Disconnect(").await;
    });
    assert!(subscribed.await.is_ok());
}

#[tokio::test]
async fn a_refused_subscription_ends_the_client() {
    let subscribed = run("sub a", async |mut broker: Broker| {
        broker.accept().await;
        broker.expect("Subscribe(").await;
        let reasons = vec![Reason::NotAuthorized];
        let properties = Properties::default();
        broker.send(Packet::Suback(Suback { packet_id: FIRST, properties, reasons })).await;
        broker.expect("Disconnect(").await;
    });
    assert_eq!(subscribed.await.unwrap_err().exit_code(), 1);
}

async fn grant(broker: &mut Broker) {
    broker.expect("Subscribe(").await;
    let (properties, reasons) = (Properties::default(), vec![Reason::GrantedQos2]);
    broker.send(Packet::Suback(Suback { packet_id: FIRST, properties, reasons })).await;
}

#[tokio::test]
async fn a_subscriber_comes_back_after_a_lost_connection() {
    let subscribed = run_through("sub a -C 2 --retry-delay 0.01", async |mut connections: Connections| {
        let mut broker = connections.next().await;
        broker.accept().await;
        grant(&mut broker).await;
        broker.send(message(Qos::AtMostOnce, false)).await;
        drop(broker);
        // Refused for now is no reason to give up.
        let mut broker = connections.next().await;
        broker.expect("Connect(").await;
        broker.send(connack(Reason::ServerBusy, Properties::default())).await;
        let mut broker = connections.next().await;
        broker.accept().await;
        grant(&mut broker).await;
        broker.send(message(Qos::AtMostOnce, false)).await;
        broker.expect("Disconnect(").await;
    });
    assert!(subscribed.await.is_ok());
}

#[tokio::test]
async fn a_subscriber_does_not_come_back_where_it_is_not_wanted() {
    let subscribed = run_through("sub a --retry-delay 0.01", async |mut connections: Connections| {
        let mut broker = connections.next().await;
        broker.accept().await;
        grant(&mut broker).await;
        let properties = Properties::default();
        broker.send(Packet::Disconnect(Disconnect { reason: Reason::SessionTakenOver, properties })).await;
    });
    let error = subscribed.await.unwrap_err();
    assert_eq!(error.to_string(), "disconnected by broker: session taken over (0x8e)");
    let subscribed = run_through("sub a --retry-delay 0.01", async |mut connections: Connections| {
        let mut broker = connections.next().await;
        broker.accept().await;
        drop(broker);
        let mut broker = connections.next().await;
        broker.expect("Connect(").await;
        broker.send(connack(Reason::Banned, Properties::default())).await;
    });
    assert_eq!(subscribed.await.unwrap_err().exit_code(), 0x8A);
}

#[tokio::test]
async fn a_refusal_before_mqtt_5_ends_with_its_return_code() {
    let refused = run("sub a -V 311", async |mut broker: Broker| {
        broker.expect("Connect(Connect { version: V311").await;
        broker.send(connack(Reason::BadUserNameOrPassword, Properties::default())).await;
    });
    assert_eq!(refused.await.unwrap_err().exit_code(), 4);
}

#[tokio::test]
async fn properties_go_into_the_packets_that_they_are_for() {
    let line = "pub a b -D connect receive-maximum 7 -D publish user-property k v \
                -D disconnect user-property bye now --will-topic w -D will will-delay-interval 5";
    let published = run(line, async |mut broker: Broker| {
        let (first, body) = broker.frame().await;
        let Ok(Packet::Connect(connect)) = Packet::decode(Version::V5, first, &body) else { panic!() };
        let of = |properties: Properties<'_>| format!("{:?}", properties.iter().collect::<Vec<_>>());
        assert_eq!(of(connect.properties), "[ReceiveMaximum(7)]");
        assert_eq!(of(connect.will.unwrap().properties), "[WillDelaySecs(5)]");
        broker.send(connack(Reason::Success, Properties::default())).await;
        let (first, body) = broker.frame().await;
        let Ok(Packet::Publish(publish)) = Packet::decode(Version::V5, first, &body) else { panic!() };
        assert_eq!(of(publish.properties), "[User(\"k\", \"v\")]");
        let (first, body) = broker.frame().await;
        let Ok(Packet::Disconnect(goodbye)) = Packet::decode(Version::V5, first, &body) else { panic!() };
        assert_eq!(of(goodbye.properties), "[User(\"bye\", \"now\")]");
    });
    assert!(published.await.is_ok());
}

#[tokio::test]
async fn a_topic_alias_stands_for_the_topic_from_the_second_message_on() {
    let published = run("pub a b --repeat 2 -D publish topic-alias 3", async |mut broker: Broker| {
        broker.accept().await;
        for topic in [&b"a"[..], b""] {
            let (first, body) = broker.frame().await;
            let Ok(Packet::Publish(publish)) = Packet::decode(Version::V5, first, &body) else { panic!() };
            assert_eq!(publish.topic, topic);
        }
        broker.expect("Disconnect(").await;
    });
    assert!(published.await.is_ok());
}

#[tokio::test]
async fn retained_messages_are_cleared_and_the_first_other_one_is_the_end() {
    let line = "sub # -T keep/# --remove-retained --retained-only";
    let subscribed = run(line, async |mut broker: Broker| {
        broker.accept().await;
        grant(&mut broker).await;
        for (topic, retain) in [("keep/a", true), ("old", true), ("live", false)] {
            let Packet::Publish(message) = message(Qos::AtMostOnce, false) else { panic!() };
            broker.send(Packet::Publish(Publish { topic: topic.as_bytes(), retain, ..message })).await;
        }
        let (first, body) = broker.frame().await;
        let Ok(Packet::Publish(publish)) = Packet::decode(Version::V5, first, &body) else { panic!() };
        assert_eq!((publish.topic, publish.retain, publish.payload), (&b"old"[..], true, &b""[..]));
        let answer = Acknowledgement::new(publish.packet_id.unwrap(), Reason::Success);
        broker.send(Packet::Puback(answer)).await;
        broker.expect("Disconnect(").await;
    });
    assert!(subscribed.await.is_ok());
}

#[tokio::test]
async fn it_can_only_unsubscribe_and_end() {
    let subscribed = run("sub -U a -U b -E", async |mut broker: Broker| {
        broker.accept().await;
        broker.expect("Unsubscribe(Unsubscribe { packet_id: 2").await;
        let reasons = vec![Reason::Success, Reason::NoSubscriptionExisted];
        let (packet_id, properties) = (FIRST.saturating_add(1), Properties::default());
        broker.send(Packet::Unsuback(Unsuback { packet_id, properties, reasons })).await;
        broker.expect("Disconnect(").await;
    });
    assert!(subscribed.await.is_ok());
}

#[tokio::test]
async fn another_protocol_at_the_port_is_named() {
    for (bytes, hint) in
        [(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "--ws"), (b"\x15\x03\x03\x00\x02\x02\x0a", "--tls")]
    {
        let published = run("pub a b", async |mut broker: Broker| {
            broker.expect("Connect(").await;
            broker.stream.write_all(bytes).await.unwrap();
        });
        assert!(published.await.unwrap_err().to_string().contains(hint), "{hint}");
    }
}

#[tokio::test]
async fn mqtt_4_12_the_password_is_not_sent_and_the_broker_has_to_prove_it_too() {
    let line = "pub a b --auth-method SCRAM-SHA-256 -u user -P pencil";
    let published = run(line, async |mut broker: Broker| {
        let (first, body) = broker.frame().await;
        let Ok(Packet::Connect(connect)) = Packet::decode(Version::V5, first, &body) else { panic!() };
        assert_eq!((connect.username, connect.password), (None, None));
        let said = format!("{:?}", connect.properties.iter().collect::<Vec<_>>());
        assert!(said.contains("SCRAM-SHA-256"), "{said}");
        let first = connect.properties.iter().find_map(|property| match property {
            Property::AuthenticationData(data) => std::str::from_utf8(data).ok()?.split_once("r="),
            _ => None,
        });
        let mut properties = PropertyBuffer::default();
        let challenge = format!("r={}server,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", first.unwrap().1);
        properties
            .push(Property::AuthenticationMethod("SCRAM-SHA-256"))
            .push(Property::AuthenticationData(challenge.as_bytes()));
        let reason = Reason::ContinueAuthentication;
        broker.send(Packet::Auth(Auth { reason, properties: properties.as_properties() })).await;
        let (first, body) = broker.frame().await;
        let Ok(Packet::Auth(auth)) = Packet::decode(Version::V5, first, &body) else { panic!() };
        let said = format!("{:?}", auth.properties.iter().collect::<Vec<_>>());
        assert_eq!(auth.reason, Reason::ContinueAuthentication);
        assert!(said.contains("AuthenticationMethod(\"SCRAM-SHA-256\")"), "{said}");
        // The nonce is new each time, so what would prove it cannot be written down here.
        broker.send(connack(Reason::Success, Properties::default())).await;
    });
    let error = published.await.unwrap_err();
    assert_eq!(error.to_string(), "the broker does not prove that it knows the password");
}

#[tokio::test]
async fn mqtt_4_4_what_a_kept_session_has_not_taken_is_sent_again_in_order() {
    let line = "pub -l -t a -q 2 -c -i x --retry-delay 0.01";
    let published = run_through(line, async |mut connections: Connections| {
        let mut broker = connections.next().await;
        broker.accept().await;
        broker.expect("Publish(Publish { dup: false").await;
        broker.send(Packet::Pubrec(acknowledgement(Reason::Success))).await;
        broker.expect("Publish(Publish { dup: false").await;
        broker.expect("Pubrel(Acknowledgement { packet_id: 1").await;
        drop(broker);
        let mut broker = connections.next().await;
        broker.expect("Connect(").await;
        let properties = Properties::default();
        let connack = Connack { session_present: true, reason: Reason::Success, properties };
        broker.send(Packet::Connack(connack)).await;
        broker.expect("Pubrel(Acknowledgement { packet_id: 1").await;
        broker.expect("Publish(Publish { dup: true").await;
        broker.send(Packet::Pubcomp(acknowledgement(Reason::Success))).await;
        let second = Acknowledgement::new(FIRST.saturating_add(1), Reason::Success);
        broker.send(Packet::Pubrec(second)).await;
        broker.expect("Pubrel(Acknowledgement { packet_id: 2").await;
        broker.send(Packet::Pubcomp(second)).await;
        broker.expect("Disconnect(").await;
    });
    assert!(published.await.is_ok());
}

#[tokio::test]
async fn what_a_new_session_does_not_know_is_sent_as_new() {
    let published =
        run_through("pub -l -t a -q 1 --retry-delay 0.01", async |mut connections: Connections| {
            let mut broker = connections.next().await;
            broker.accept().await;
            broker.expect("Publish(").await;
            broker.send(Packet::Puback(acknowledgement(Reason::Success))).await;
            broker.expect("Publish(").await;
            drop(broker);
            let mut broker = connections.next().await;
            broker.accept().await;
            broker.expect("Publish(Publish { dup: false, qos: AtLeastOnce").await;
            let second = Acknowledgement::new(FIRST.saturating_add(1), Reason::Success);
            broker.send(Packet::Puback(second)).await;
            broker.expect("Disconnect(").await;
        });
    assert!(published.await.is_ok());
}
