//! Seeded rubbish on every listener. `TIDEGATE_TESTS_SEED` replays a failing run.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::time::Duration;

use crate::harness::coap::{has_code, request};
use crate::harness::mqtt::{Subscriber, publish};
use crate::harness::random::Random;
use crate::harness::raw::{packet, text};
use crate::harness::world::eventually;
use crate::harness::{Gateway, Outcome, World};
use crate::{ensure, ensure_eq};

crate::cases!("faults":
    random_bytes_on_tcp_end_in_a_closed_connection,
    broken_mqtt_packets_end_in_a_closed_connection,
    random_bytes_on_websocket_end_in_a_closed_connection,
    random_and_broken_datagrams_are_survived,
    a_violation_of_the_protocol_is_not_waited_out,
    half_open_and_idle_connections_are_given_up,
);

const ROUNDS: usize = 200;

fn random_bytes_on_tcp_end_in_a_closed_connection(world: &mut World) -> Outcome {
    let mut random = Random::seeded();
    with_gateway(world, |gateway| {
        for _ in 0..ROUNDS {
            let bytes = random.bytes(2000);
            throw(gateway.ports.mqtt, &bytes)?;
        }
        Ok(())
    })
}

/// Packets that begin well: after a good CONNECT, each kind of packet cut short, swollen or bent.
fn broken_mqtt_packets_end_in_a_closed_connection(world: &mut World) -> Outcome {
    let mut random = Random::seeded();
    with_gateway(world, |gateway| {
        for version in [4u8, 5] {
            for round in 0..ROUNDS {
                let mut bytes = connect(version, &format!("broken-{round}"));
                for _ in 0..1 + random.below(4) {
                    let mut packet = sample(version, random.below(7));
                    bend(&mut random, &mut packet);
                    bytes.extend(packet);
                }
                throw(gateway.ports.mqtt, &bytes)?;
            }
        }
        // The largest remaining length, and one that does not end.
        throw(gateway.ports.mqtt, &[&[0x30, 0xff, 0xff, 0xff, 0x7f][..], &[0; 5000]].concat())?;
        throw(gateway.ports.mqtt, &[0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01])
    })
}

fn random_bytes_on_websocket_end_in_a_closed_connection(world: &mut World) -> Outcome {
    let mut random = Random::seeded();
    with_gateway(world, |gateway| {
        let port = gateway.ports.websocket;
        let upgrade = format!(
            "GET /mqtt HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGlkZWdhdGUtdGVzdHMtMQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
        );
        for round in 0..ROUNDS {
            let mut bytes = upgrade.clone().into_bytes();
            match round % 3 {
                0 => bytes = random.bytes(2000),
                1 => bend(&mut random, &mut bytes),
                _ => bytes.extend(random.bytes(2000)),
            }
            throw(port, &bytes)?;
        }
        // A header that does not end.
        throw(port, &[b"GET /mqtt HTTP/1.1\r\nX: ".to_vec(), vec![b'a'; 200_000]].concat())
    })
}

fn random_and_broken_datagrams_are_survived(world: &mut World) -> Outcome {
    let mut random = Random::seeded();
    with_gateway(world, |gateway| {
        for port in [gateway.ports.coap, gateway.ports.lwm2m] {
            for round in 0..ROUNDS * 5 {
                // A new source address now and then, so that what was learned of one does not shield us.
                let socket = UdpSocket::bind("127.0.0.1:0")?;
                let mut bytes = match round % 3 {
                    0 => random.bytes(1200),
                    _ => datagram(&mut random),
                };
                if round % 3 == 1 {
                    bend(&mut random, &mut bytes);
                }
                socket.send_to(&bytes, ("127.0.0.1", port))?;
            }
            // As large as a datagram can be.
            UdpSocket::bind("127.0.0.1:0")?.send_to(&vec![0x40; 65_000], ("127.0.0.1", port))?;
        }
        Ok(())
    })
}

/// The gateway closes by itself; the client's side stays open.
fn a_violation_of_the_protocol_is_not_waited_out(world: &mut World) -> Outcome {
    let after_connect = |packet: &[u8]| [&connect(5, "violator"), packet].concat();
    with_gateway(world, |gateway| {
        let violations: [(&str, Vec<u8>); 8] = [
            ("a PUBLISH before CONNECT", sample(4, 0)),
            ("an unknown protocol name", packet(0x10, b"\x00\x04MQTX\x04\x02\x00\x3c\x00\x01a")),
            ("a packet type of 0", after_connect(&[0x00, 0x00])),
            ("a second CONNECT", after_connect(&connect(5, "violator"))),
            ("a length that does not end", after_connect(&[0x30, 0xff, 0xff, 0xff, 0xff, 0x7f])),
            ("the largest length", after_connect(&[0x30, 0xff, 0xff, 0xff, 0x7f])),
            ("QoS 3", after_connect(&[0x36, 0x08, 0x00, 0x01, b'a', 0x00, 0x01, 0x00, b'x', b'y'])),
            ("a wildcard in a topic", after_connect(&packet(0x30, b"\x00\x03a/#\x00x"))),
        ];
        for (what, bytes) in violations {
            let mut stream = TcpStream::connect(("127.0.0.1", gateway.ports.mqtt))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(&bytes)?;
            ensure!(is_closed(&mut stream), "{what}: the connection stays open");
        }
        Ok(())
    })
}

/// Connections that say nothing, or half of something, must not add up.
fn half_open_and_idle_connections_are_given_up(world: &mut World) -> Outcome {
    with_gateway(world, |gateway| {
        let mut open = Vec::new();
        for port in [gateway.ports.mqtt, gateway.ports.websocket] {
            for round in 0..50 {
                let mut stream = TcpStream::connect(("127.0.0.1", port))?;
                stream.write_all(&connect(4, "half")[..round % 10])?;
                open.push(stream);
            }
        }
        Ok(())
    })
}

/// The gateway serves as before, has no file more open than before, and its accounts are in order.
fn with_gateway(world: &mut World, attack: impl FnOnce(&Gateway) -> Outcome) -> Outcome {
    let mut gateway = Gateway::start(world)?;
    serve_all(world, &gateway)?;
    let files = gateway.open_files()?;
    attack(&gateway)?;
    ensure!(gateway.process.is_running()?, "the gateway is gone");
    serve_all(world, &gateway)?;
    eventually("no file more is open than before", 15, || {
        Ok((gateway.open_files()? <= files + 2).then_some(()))
    })?;
    gateway.stop()
}

/// One message in by CoAP and one by MQTT, out by MQTT.
fn serve_all(world: &mut World, gateway: &Gateway) -> Outcome {
    let heard = Subscriber::start(world, gateway.ports.mqtt, &["-t", "well/#", "-q", "1"])?;
    let finished = request(world, gateway.ports.coap, &["-m", "post", "-e", "coap"], "/ps/well/coap")?;
    ensure!(has_code(&finished, "2.04"), "CoAP does not serve");
    publish(world, gateway.ports.mqtt, &["-t", "well/mqtt", "-q", "1", "-m", "mqtt"])?;
    let mut got: Vec<String> = heard.messages(2, 10)?.into_iter().map(|got| got.payload).collect();
    got.sort();
    ensure_eq!(got, ["coap", "mqtt"].map(str::to_owned).to_vec(), "what still arrives");
    Ok(())
}

/// Writes the bytes, ends the writing side, and expects the connection to be closed in answer.
fn throw(port: u16, bytes: &[u8]) -> Outcome {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // A refusal in the middle of our writing is a good answer too.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    ensure!(is_closed(&mut stream), "the connection stays open after {} bytes {bytes:02x?}", bytes.len());
    Ok(())
}

/// Reads until the other side has closed; false if it stays silent.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 4096];
    loop {
        match stream.read(&mut answer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

fn connect(version: u8, client_id: &str) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT".to_vec();
    body.extend([version, 0x02, 0, 60]);
    body.extend((version == 5).then_some(0));
    body.extend(text(client_id));
    packet(0x10, &body)
}

/// A right packet of some kind.
fn sample(version: u8, kind: usize) -> Vec<u8> {
    let properties: &[u8] = if version == 5 { &[0] } else { &[] };
    match kind {
        0 => packet(0x32, &[b"\x00\x03a/b\x00\x07", properties, b"payload"].concat()),
        1 => packet(0x82, &[b"\x00\x08", properties, b"\x00\x03a/#\x01"].concat()),
        2 => packet(0xa2, &[b"\x00\x09", properties, b"\x00\x03a/#"].concat()),
        3 => packet(0x62, b"\x00\x07"),
        4 => packet(0x40, b"\x00\x07"),
        5 => packet(0xc0, b""),
        _ => connect(version, "again"),
    }
}

/// A CoAP message with a right header and options at random.
fn datagram(random: &mut Random) -> Vec<u8> {
    let token = random.below(9);
    let codes = [0x01, 0x02, 0x03, 0x04, 0x05, 0x45, 0x00, 0xe1];
    let mut bytes = vec![0x40 | (random.below(4) as u8) << 4 | token as u8, codes[random.below(codes.len())]];
    bytes.extend([random.below(256) as u8, random.below(256) as u8]);
    bytes.extend((0..token).map(|_| random.below(256) as u8).collect::<Vec<_>>());
    if random.below(2) == 0 {
        bytes.extend(b"\xb2ps\x01a");
    }
    for _ in 0..random.below(6) {
        let length = random.below(13);
        bytes.push((random.below(13) as u8) << 4 | length as u8);
        bytes.extend((0..length).map(|_| random.below(256) as u8).collect::<Vec<_>>());
    }
    if random.below(2) == 0 {
        bytes.push(0xff);
        bytes.extend(random.bytes(60));
    }
    bytes
}

/// Cuts, flips, doubles or swells.
fn bend(random: &mut Random, bytes: &mut Vec<u8>) {
    let at = random.below(bytes.len());
    match random.below(4) {
        0 => bytes.truncate(at),
        1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes.extend_from_within(at..),
        _ => {
            let rubbish = random.bytes(300);
            bytes.splice(at..at, rubbish);
        }
    }
}
