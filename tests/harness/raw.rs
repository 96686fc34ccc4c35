//! MQTT by hand, for what no client would send.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::{Outcome, Stop};
use crate::{ensure, ensure_eq};

/// MQTT 5 by hand, one packet at a time.
pub struct RawClient {
    stream: TcpStream,
    session_present: bool,
}

impl RawClient {
    pub fn connect(port: u16, client_id: &str) -> Outcome<Self> {
        Self::open(port, &[b"\x00\x04MQTT\x05\x02\x00\x00\x00", &text(client_id)[..]].concat())
    }

    /// With a session that outlives it by an hour, and is resumed if it is there.
    pub fn persistent(port: u16, client_id: &str) -> Outcome<Self> {
        let head = b"\x00\x04MQTT\x05\x00\x00\x00\x05\x11\x00\x00\x0e\x10";
        Self::open(port, &[head, &text(client_id)[..]].concat())
    }

    /// What the gateway says to this CONNECT is still to be read.
    pub fn begin(port: u16, connect: &[u8]) -> Outcome<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut client = Self { stream, session_present: false };
        client.send(0x10, connect)?;
        Ok(client)
    }

    fn open(port: u16, connect: &[u8]) -> Outcome<Self> {
        let mut client = Self::begin(port, connect)?;
        let (first, body) = client.packet()?;
        ensure!(first == 0x20 && body.get(1) == Some(&0), "CONNACK {body:02x?}");
        client.session_present = body[0] == 1;
        Ok(client)
    }

    pub fn session_present(&self) -> bool {
        self.session_present
    }

    /// The reasons of the SUBACK.
    pub fn subscribe(&mut self, filters: &[String]) -> Outcome<Vec<u8>> {
        let mut body = b"\x00\x01\x00".to_vec();
        for filter in filters {
            body.extend(text(filter));
            body.push(1);
        }
        self.send(0x82, &body)?;
        let (first, body) = self.packet()?;
        ensure_eq!(first, 0x90, "a SUBACK");
        // Less than 128 bytes of properties: a reason in words.
        let properties = usize::from(body.get(2).copied().unwrap_or(0));
        Ok(body.get(3 + properties..).unwrap_or_default().to_vec())
    }

    /// The reason of the PUBACK.
    pub fn publish(&mut self, topic: &str) -> Outcome<u8> {
        self.publish_payload(topic, &[])
    }

    pub fn publish_payload(&mut self, topic: &str, payload: &[u8]) -> Outcome<u8> {
        self.send(0x32, &[&text(topic)[..], b"\x00\x02\x00", payload].concat())?;
        let (first, body) = self.packet()?;
        ensure_eq!(first, 0x40, "a PUBACK");
        Ok(body.get(2).copied().unwrap_or(0))
    }

    pub fn send_qos0(&mut self, topic: &str, payload: &[u8]) -> Outcome {
        self.send(0x30, &[&text(topic)[..], b"\x00", payload].concat())
    }

    /// The next message at QoS 1, with its packet identifier; it is not acknowledged.
    pub fn message(&mut self) -> Outcome<(u16, Vec<u8>)> {
        let (first, body) = self.packet()?;
        ensure_eq!(first & 0b1111_0110, 0x32, "a PUBLISH at QoS 1");
        let mut rest = &body[..];
        let mut take = |count: usize| {
            let part = rest.split_off(..count);
            part.ok_or_else(|| Stop::Failed(format!("a PUBLISH that ends early: {body:02x?}")))
        };
        let topic = take(2)?;
        take(usize::from(topic[0]) << 8 | usize::from(topic[1]))?;
        let id = take(2)?;
        let id = u16::from(id[0]) << 8 | u16::from(id[1]);
        // Less than 128 bytes of properties.
        let properties = take(1)?[0];
        take(properties.into())?;
        Ok((id, rest.to_vec()))
    }

    pub fn acknowledge(&mut self, id: u16) -> Outcome {
        self.send(0x40, &id.to_be_bytes())
    }

    pub fn send(&mut self, first: u8, body: &[u8]) -> Outcome {
        Ok(self.stream.write_all(&packet(first, body))?)
    }

    /// First byte and body of the next packet.
    pub fn packet(&mut self) -> Outcome<(u8, Vec<u8>)> {
        Ok(read(&mut self.stream)?)
    }
}

/// First byte and body of the next packet; an error of kind `InvalidData` if it is none.
pub fn read(from: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut byte = || {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        io::Result::Ok(byte[0])
    };
    let first = byte()?;
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let byte = byte()?;
        length |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
        if shift == 21 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a length of five bytes"));
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok((first, body))
}

/// A text with its length.
pub fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// A packet with its length.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first][..], &variable(body.len()), body].concat()
}

/// A Variable Byte Integer.
pub fn variable(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let more = value >= 128;
        bytes.push((value % 128) as u8 | u8::from(more) << 7);
        value /= 128;
        if !more {
            return bytes;
        }
    }
}
