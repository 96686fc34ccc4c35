//! Chapter 6 and section 4.2: the carriers, on real sockets of this machine.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use gateway_access::Access;
use gateway_broker::{Broker, Carrier, DoorLimits, ListenerSettings, Shards, Upgrade};
use gateway_bus::{Bus, Limits};
use gateway_config::Bind;
use protocol_mqtt::Mqtt;
use protocol_mqtt_ws::Handshake;

use crate::Version::{self, V5};
use crate::wire::{self, Connect, PINGREQ, Publish, subscribe};

conformance! {
    mqtt5_4_2_0_1_tcp_carries_a_stream_both_ways: tcp(V5);
    mqtt311_7_1_1_1_tcp_carries_a_stream_both_ways: tcp(V311);
    mqtt5_6_0_0_1_mqtt_travels_in_binary_frames: binary_frames(V5);
    mqtt311_6_0_0_1_mqtt_travels_in_binary_frames: binary_frames(V311);
    mqtt5_6_0_0_2_packets_and_frames_need_not_be_aligned: unaligned(V5);
    mqtt311_6_0_0_2_packets_and_frames_need_not_be_aligned: unaligned(V311);
    mqtt5_6_0_0_3_the_subprotocol_mqtt_is_offered also "6.0.0-4": subprotocol();
    mqtt311_6_0_0_3_the_subprotocol_mqtt_is_offered also "6.0.0-4": subprotocol();
}

/// A gateway with one listener.
struct Gateway {
    shards: Shards,
    address: SocketAddr,
}

impl Gateway {
    fn new(carrier: Carrier) -> Self {
        let door = DoorLimits {
            topic_levels_max: 128,
            topic_bytes_max: 65_535,
            client_id_bytes_max: 1024,
            logins_pending_max: 64,
        };
        let access = Access::new(gateway_access::Config::default());
        let broker = Arc::new(Broker::new(Bus::new(Limits::default(), 1), access, door, 2));
        let shards = gateway_broker::start_shards(&broker, 1, 3).expect("a shard");
        let protocol = Arc::new(Mqtt::new(protocol_mqtt::Config::default()));
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let settings = ListenerSettings::new("conformance", loopback.into(), carrier, protocol);
        let Ok(Bind::Internet(address)) = gateway_broker::bind(&broker, &shards, settings) else {
            panic!("no free port");
        };
        Self { shards, address }
    }

    fn websocket() -> Self {
        let handshake = Handshake::new(protocol_mqtt_ws::Config::default());
        let upgrade: Upgrade = Arc::new(move |path, offered, origin| {
            handshake
                .check(path, offered.iter().copied(), origin)
                .map_err(|error| (error.status(), error.to_string()))
        });
        Self::new(Carrier::WebSocket {
            upgrade,
            message_bytes_max: 1024 * 1024,
            stranger_bytes_max: 512 * 1024,
        })
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
        stream
    }

    /// The answer to a handshake that offers these subprotocols, and the stream after it.
    fn upgrade(&self, offered: Option<&str>) -> (TcpStream, String) {
        let mut stream = self.connect();
        let protocols =
            offered.map_or(String::new(), |offered| format!("Sec-WebSocket-Protocol: {offered}\r\n"));
        let path = protocol_mqtt_ws::Config::default().path;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocols}\r\n"
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(byte(&mut stream));
        }
        (stream, String::from_utf8(answer).expect("text"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shards.stop();
    }
}

fn byte(stream: &mut TcpStream) -> u8 {
    let mut byte = [0];
    stream.read_exact(&mut byte).expect("a byte");
    byte[0]
}

/// A masked frame (RFC 6455 section 5.2); the mask is 0, which changes nothing.
fn frame(opcode: u8, is_last: bool, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).expect("a short frame");
    [&[u8::from(is_last) << 7 | opcode, 0x80 | 126], &len.to_be_bytes()[..], &[0; 4], payload].concat()
}

/// The next frame: its opcode and payload; `None` if the stream has ended.
fn receive(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).ok()?;
    assert_eq!(head[0] & 0x80, 0x80, "one frame for each message");
    let len = match head[1] {
        126 => usize::from(byte(stream)) << 8 | usize::from(byte(stream)),
        len => len.into(),
    };
    let mut payload = vec![0; len];
    stream.read_exact(&mut payload).expect("a payload");
    Some((head[0] & 0x0F, payload))
}

/// So many bytes of MQTT, in whatever frames.
fn stream_of(stream: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let (opcode, payload) = receive(stream).expect("a frame");
        assert_eq!(opcode, 2, "binary");
        bytes.extend(payload);
    }
    bytes
}

fn tcp(version: Version) {
    let gateway = Gateway::new(Carrier::Stream);
    let mut stream = gateway.connect();
    let payload: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
    let publish = Publish::new(version, "t", &payload).encode();
    let mut bytes = Connect::new(version, "c").encode();
    bytes.extend(subscribe(version, 1, &[("t", 0)]));
    (0..20).for_each(|_| bytes.extend(&publish));
    // In pieces that fit nothing.
    let mut writer = stream.try_clone().expect("cloned");
    let sending = std::thread::spawn(move || {
        bytes.chunks(7919).for_each(|chunk| writer.write_all(chunk).expect("sent"))
    });
    let suback = if version == V5 { 6 } else { 5 };
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("CONNACK");
    let mut rest = vec![0; usize::from(head[1]) + suback];
    stream.read_exact(&mut rest).expect("SUBACK");
    for _ in 0..20 {
        let mut came = vec![0; publish.len()];
        stream.read_exact(&mut came).expect("PUBLISH");
        assert!(came == publish, "not what was sent");
    }
    sending.join().expect("sent");
}

fn binary_frames(version: Version) {
    let gateway = Gateway::websocket();
    let connect = Connect::new(version, "c").encode();
    let (mut stream, _) = gateway.upgrade(Some("mqtt"));
    stream.write_all(&frame(2, true, &connect)).expect("sent");
    assert_eq!(stream_of(&mut stream, 4)[0], 0x20);
    // A text frame ends the connection, though its bytes be those of a packet.
    stream.write_all(&frame(1, true, PINGREQ)).expect("sent");
    match receive(&mut stream) {
        None => {}
        Some((8, _)) => assert_eq!(receive(&mut stream), None),
        Some(other) => panic!("{other:?}"),
    }
    let (mut stream, _) = gateway.upgrade(Some("mqtt"));
    stream.write_all(&frame(1, true, &connect)).expect("sent");
    assert!(!matches!(receive(&mut stream), Some((2, _))), "answered in MQTT");
}

fn unaligned(version: Version) {
    let gateway = Gateway::websocket();
    let (mut stream, _) = gateway.upgrade(Some("mqtt"));
    let bytes = [Connect::new(version, "c").encode(), PINGREQ.to_vec(), PINGREQ.to_vec()].concat();
    // Several packets in one frame.
    stream.write_all(&frame(2, true, &bytes)).expect("sent");
    let mut came = stream_of(&mut stream, 8);
    while !came.ends_with(b"\xD0\0\xD0\0") {
        came.extend(stream_of(&mut stream, 1));
    }
    // A packet in several frames, and in the fragments of one, with a ping between them.
    for one in wire::PINGREQ {
        stream.write_all(&frame(2, true, &[*one])).expect("sent");
    }
    assert_eq!(stream_of(&mut stream, 2), b"\xD0\0");
    stream.write_all(&frame(2, false, &PINGREQ[..1])).expect("sent");
    stream.write_all(&frame(9, true, b"ping")).expect("sent");
    stream.write_all(&frame(0, true, &PINGREQ[1..])).expect("sent");
    assert_eq!(receive(&mut stream), Some((10, b"ping".to_vec())));
    assert_eq!(stream_of(&mut stream, 2), b"\xD0\0");
}

fn subprotocol() {
    let gateway = Gateway::websocket();
    for offered in ["mqtt", "mqtt, chat", "chat,mqtt"] {
        let (_, answer) = gateway.upgrade(Some(offered));
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.to_lowercase().contains("sec-websocket-protocol: mqtt\r\n"), "{answer}");
    }
    // Who offers other protocols only is not served.
    let (_, answer) = gateway.upgrade(Some("chat"));
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}
