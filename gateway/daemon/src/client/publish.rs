use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::num::NonZeroU16;

use gateway_model::{Qos, Reason, Topic};
use protocol_mqtt::codec::{Acknowledgement, Packet, PropertyBuffer, Publish};
use tokio::sync::mpsc;

use super::connection::{Connection, Frame};
use super::error::{ClientError, Said};
use super::options::{Payload, PublishOptions};

/// Unacknowledged messages at a time, unless the broker allows fewer: enough to hide the way there
/// and back, few enough to be sent again by hand.
const IN_FLIGHT_MAX: u16 = 64;

/// Connects, publishes everything, waits for every acknowledgement and says goodbye.
pub async fn run(options: &PublishOptions) -> Result<(), ClientError> {
    let (topic, payload) = options.subject()?;
    let properties = options.properties()?;
    let connection = Connection::open(&options.connect).await?;
    check_against(&connection, options)?;
    let mut publisher = Publisher {
        window: connection.broker.receive_maximum.min(IN_FLIGHT_MAX),
        connection,
        qos: options.qos,
        retain: options.retain,
        topic,
        properties,
        in_flight: HashMap::new(),
        last_id: 0,
        refused: 0,
    };
    match payload {
        Payload::One(bytes) => publisher.publish(&bytes).await?,
        Payload::File(path) => publisher.publish(&read_file(&path)?).await?,
        Payload::Lines => publisher.publish_lines().await?,
    }
    publisher.finish().await
}

struct Publisher {
    connection: Connection,
    window: u16,
    qos: Qos,
    retain: bool,
    topic: Topic,
    properties: PropertyBuffer,
    in_flight: HashMap<NonZeroU16, Step>,
    last_id: u16,
    refused: u64,
}

/// What the broker owes for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// PUBACK, or PUBREC at QoS 2.
    Receipt,
    Completion,
}

impl Publisher {
    async fn publish_lines(&mut self) -> Result<(), ClientError> {
        let mut lines = stdin_lines();
        loop {
            tokio::select! {
                line = lines.recv() => match line {
                    Some(line) => self.publish(&line?).await?,
                    None => return Ok(()),
                },
                frame = self.connection.next() => {
                    self.handle(frame?)?;
                    self.connection.flush().await?;
                }
            }
        }
    }

    /// Sends one message, as soon as the window allows it.
    async fn publish(&mut self, payload: &[u8]) -> Result<(), ClientError> {
        while self.in_flight.len() >= usize::from(self.window) {
            self.advance().await?;
        }
        let packet_id = (self.qos != Qos::AtMostOnce).then(|| self.next_id());
        let packet = Packet::Publish(Publish {
            dup: false,
            qos: self.qos,
            retain: self.retain,
            topic: self.topic.as_bytes(),
            packet_id,
            properties: self.properties.as_properties(),
            payload,
        });
        let mut bytes = Vec::new();
        packet.encode(self.connection.version, &mut bytes);
        let len_max = self.connection.broker.packet_bytes_max;
        if bytes.len() > len_max as usize {
            let text = format!("the broker takes packets of {len_max} bytes; this one has {}", bytes.len());
            return Err(ClientError::Denied(text));
        }
        if let Some(id) = packet_id {
            self.in_flight.insert(id, Step::Receipt);
        }
        self.connection.queue(&packet);
        self.connection.flush().await
    }

    /// Waits for what is owed, then says goodbye.
    async fn finish(mut self) -> Result<(), ClientError> {
        while !self.in_flight.is_empty() {
            self.advance().await?;
        }
        self.connection.close().await?;
        match self.refused {
            0 => Ok(()),
            count => Err(ClientError::Denied(format!("{count} of the messages refused by broker"))),
        }
    }

    async fn advance(&mut self) -> Result<(), ClientError> {
        let frame = self.connection.next().await?;
        self.handle(frame)?;
        self.connection.flush().await
    }

    fn handle(&mut self, frame: Option<Frame>) -> Result<(), ClientError> {
        let Some(frame) = frame else {
            let owed = self.in_flight.len();
            return Err(ClientError::Lost(format!("closed by broker, {owed} messages unacknowledged")));
        };
        match frame.packet(self.connection.version)? {
            Packet::Puback(acknowledgement) => self.complete(&acknowledgement),
            Packet::Pubrec(acknowledgement) if acknowledgement.reason.is_error() => {
                self.complete(&acknowledgement);
            }
            Packet::Pubrec(acknowledgement) => {
                let id = acknowledgement.packet_id;
                let known = self.in_flight.get_mut(&id);
                let reason = match known {
                    Some(step) => {
                        *step = Step::Completion;
                        Reason::Success
                    }
                    None => Reason::PacketIdentifierNotFound,
                };
                self.connection.queue(&Packet::Pubrel(Acknowledgement::new(id, reason)));
            }
            Packet::Pubcomp(acknowledgement) => self.complete(&acknowledgement),
            // A kept session may have subscriptions; their messages are for another run.
            _ => {}
        }
        Ok(())
    }

    fn complete(&mut self, acknowledgement: &Acknowledgement<'_>) {
        let was_in_flight = self.in_flight.remove(&acknowledgement.packet_id).is_some();
        if was_in_flight && acknowledgement.reason.is_error() {
            self.refused += 1;
            let said = Said::new(acknowledgement.reason, acknowledgement.properties);
            eprintln!("tidegate: message refused by broker: {said}");
        }
    }

    fn next_id(&mut self) -> NonZeroU16 {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            match NonZeroU16::new(self.last_id) {
                Some(id) if !self.in_flight.contains_key(&id) => return id,
                _ => {}
            }
        }
    }
}

fn check_against(connection: &Connection, options: &PublishOptions) -> Result<(), ClientError> {
    if options.qos > connection.broker.qos_max {
        let text = format!("the broker offers QoS {} at most", connection.broker.qos_max as u8);
        return Err(ClientError::Denied(text));
    }
    if options.retain && !connection.broker.retain_available {
        return Err(ClientError::Denied("the broker does not retain messages".to_owned()));
    }
    Ok(())
}

fn read_file(path: &str) -> Result<Vec<u8>, ClientError> {
    let mut bytes = Vec::new();
    let read = match path {
        "-" => std::io::stdin().lock().read_to_end(&mut bytes).map(|_| ()),
        path => std::fs::read(path).map(|contents| bytes = contents),
    };
    read.map_err(|error| ClientError::Input(format!("{path}: {error}")))?;
    Ok(bytes)
}

/// The lines of standard input without their ends. A thread of its own reads them, because a read
/// of a terminal cannot be given up.
fn stdin_lines() -> mpsc::Receiver<Result<Vec<u8>, ClientError>> {
    let (lines, receiver) = mpsc::channel(64);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().split(b'\n') {
            let line = line
                .map(|mut line| {
                    line.pop_if(|last| *last == b'\r');
                    line
                })
                .map_err(|error| ClientError::Input(format!("standard input: {error}")));
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
