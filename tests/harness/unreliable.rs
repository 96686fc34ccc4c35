//! A broker that does what none may: it loses, doubles and reorders, by a rule, so that one can see whether
//! that is noticed.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::harness::Outcome;

/// MQTT 3.1.1 at QoS 0, one publisher and one subscriber. Of each ten messages it loses number 3, delivers
/// number 5 twice, and number 7 after number 8.
pub struct Unreliable {
    pub port: u16,
}

const LOST: usize = 3;
const DOUBLED: usize = 5;
const HELD_BACK: usize = 7;

impl Unreliable {
    /// It ends with the test binary.
    pub fn start() -> Outcome<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        std::thread::spawn(move || {
            let subscriber = Arc::new(Mutex::new(None));
            for stream in listener.incoming().flatten() {
                let subscriber = Arc::clone(&subscriber);
                // A connection ends with an error: that is how the other side leaves.
                std::thread::spawn(move || serve(stream, &subscriber));
            }
        });
        Ok(Self { port })
    }
}

fn serve(mut stream: TcpStream, subscriber: &Mutex<Option<TcpStream>>) -> io::Result<()> {
    let (mut number, mut held_back) = (0, None);
    loop {
        let (first, frame, body) = packet(&mut stream)?;
        match first >> 4 {
            1 => stream.write_all(&[0x20, 2, 0, 0])?,
            8 => {
                stream.write_all(&[0x90, 3, body[0], body[1], 0])?;
                *subscriber.lock().expect("not poisoned") = Some(stream.try_clone()?);
            }
            3 => {
                let mut subscriber = subscriber.lock().expect("not poisoned");
                let subscriber = subscriber.as_mut().ok_or(io::ErrorKind::NotConnected)?;
                match number % 10 {
                    LOST => {}
                    HELD_BACK => held_back = Some(frame),
                    DOUBLED => subscriber.write_all(&[&frame[..], &frame].concat())?,
                    _ => {
                        subscriber.write_all(&frame)?;
                        subscriber.write_all(&held_back.take().unwrap_or_default())?;
                    }
                }
                number += 1;
            }
            _ => {}
        }
    }
}

/// The first byte, all bytes, and those after the fixed header.
fn packet(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>, Vec<u8>)> {
    let mut frame = vec![0; 2];
    stream.read_exact(&mut frame)?;
    let mut len = usize::from(frame[1] & 0x7F);
    if frame[1] >= 0x80 {
        // None of these tests needs more than two bytes.
        frame.push(0);
        stream.read_exact(&mut frame[2..])?;
        len += usize::from(frame[2]) << 7;
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body)?;
    frame.extend_from_slice(&body);
    Ok((frame[0], frame, body))
}
