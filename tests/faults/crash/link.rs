//! A connection of a client, and the one place where everything arrives that happens outside.

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Sender, SyncSender};
use std::time::Duration;

use crate::faults::crash::packet::{self, Packet};

/// Bytes that the gateway does not read for so long mean that it hangs.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// Session taken over (MQTT 5.0 section 3.14.2.1).
const TAKEN_OVER: u8 = 0x8e;

/// What happens outside, in the order in which it is noticed.
pub enum Event {
    Packet {
        link: u32,
        packet: Packet,
    },
    Closed {
        link: u32,
        /// What came that no gateway may send.
        nonsense: Option<String>,
    },
    Posted(Posted),
}

/// A message that the webhook bridge delivers. It has it when the answer is 200.
pub struct Posted {
    pub topic: String,
    pub payload: String,
    pub answer: SyncSender<u16>,
}

/// A connection with a number that no other has.
pub struct Link {
    pub number: u32,
    stream: TcpStream,
}

impl Link {
    /// Connects; what arrives is told until it ends, and that it has ended.
    pub fn open(port: u16, number: u32, events: Sender<Event>) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        std::thread::spawn(move || {
            let error = loop {
                let event = match packet::read(&mut reader) {
                    Ok(packet) => Event::Packet { link: number, packet },
                    Err(error) => break error,
                };
                // It was taken over, and ends: by a CONNECT that its client gave up, and that is read late.
                if matches!(event, Event::Packet { packet: Packet::Disconnect { reason: TAKEN_OVER }, .. }) {
                    continue;
                }
                if events.send(event).is_err() {
                    return;
                }
            };
            let nonsense = (error.kind() == io::ErrorKind::InvalidData).then(|| error.to_string());
            // Nobody listens any more at the end of a run.
            let _ = events.send(Event::Closed { link: number, nonsense });
        });
        Ok(Self { number, stream })
    }

    /// A gateway that is gone is noticed by who reads.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Without a word.
    pub fn cut(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.cut();
    }
}
