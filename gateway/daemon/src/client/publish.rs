use std::collections::VecDeque;
use std::io::{BufRead, Read};
use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use gateway_model::{Qos, Reason, Topic};
use protocol_mqtt::codec::{Acknowledgement, Packet, Property, PropertyBuffer, Publish};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::connection::{Connection, Frame};
use super::error::{ClientError, Said};
use super::property::Command;
use super::publish_options::{Payload, PublishOptions};
use super::retry;

/// Unacknowledged messages at a time, unless the broker allows fewer: enough to hide the way there
/// and back, few enough to be kept and sent again.
const IN_FLIGHT_MAX: u16 = 64;

/// A line, or why there are no more.
pub type Line = Result<Vec<u8>, ClientError>;

/// Connects, publishes everything, waits for every acknowledgement and says goodbye.
pub async fn run(options: &PublishOptions) -> Result<(), ClientError> {
    run_with(options, stdin_lines).await
}

/// The same, with lines from elsewhere.
pub async fn run_with(
    options: &PublishOptions,
    lines: impl FnOnce() -> mpsc::Receiver<Line>,
) -> Result<(), ClientError> {
    options.connect.check()?;
    let (topic, payload) = options.subject()?;
    let properties = options.connect.properties(Command::Publish)?;
    let alias = |property| matches!(property, Property::TopicAlias(_));
    let has_alias = properties.as_properties().iter().any(alias);
    let connection = Connection::open(&options.connect).await?;
    check_against(&connection, options)?;
    let mut publisher = Publisher {
        connection,
        options,
        topic,
        has_alias,
        alias_is_known: false,
        properties,
        comes_back: payload == Payload::Lines,
        in_flight: VecDeque::new(),
        last_id: 0,
        refused: 0,
        refused_because: String::new(),
    };
    match payload {
        Payload::One(bytes) => publisher.publish_repeatedly(bytes.into()).await?,
        Payload::File(path) => publisher.publish_repeatedly(read_file(&path)?.into()).await?,
        Payload::Lines => publisher.publish_lines(lines()).await?,
    }
    publisher.finish().await
}

struct Publisher<'a> {
    connection: Connection,
    options: &'a PublishOptions,
    topic: Topic,
    properties: PropertyBuffer,
    has_alias: bool,
    /// The broker has seen the topic together with its alias on this connection.
    alias_is_known: bool,
    /// A lost connection is made anew.
    comes_back: bool,
    /// In the order of sending, which is the order of sending again (MQTT 5.0 section 4.6).
    in_flight: VecDeque<Flight>,
    last_id: u16,
    refused: u64,
    /// Of a single message the end of the run tells why.
    refused_because: String,
}

/// A message that the broker has not taken yet.
struct Flight {
    id: NonZeroU16,
    payload: Bytes,
    owed: Step,
}

/// What the broker owes for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// PUBACK, or PUBREC at QoS 2.
    Receipt,
    Completion,
}

impl Publisher<'_> {
    async fn publish_repeatedly(&mut self, payload: Bytes) -> Result<(), ClientError> {
        for number in 0..self.options.repeat {
            if number > 0 {
                self.wait(self.options.repeat_delay).await?;
            }
            self.publish(payload.clone()).await?;
        }
        Ok(())
    }

    async fn publish_lines(&mut self, mut lines: mpsc::Receiver<Line>) -> Result<(), ClientError> {
        loop {
            tokio::select! {
                line = lines.recv() => match line {
                    Some(line) => self.publish(line?.into()).await?,
                    None => return Ok(()),
                },
                frame = self.connection.next() => self.advance_with(frame).await?,
            }
        }
    }

    /// Keeps the connection going for a while.
    async fn wait(&mut self, time: Duration) -> Result<(), ClientError> {
        let end = Instant::now() + time;
        loop {
            tokio::select! {
                () = sleep_until(end) => return Ok(()),
                frame = self.connection.next() => self.advance_with(frame).await?,
            }
        }
    }

    /// Sends one message, as soon as the window allows it.
    async fn publish(&mut self, payload: Bytes) -> Result<(), ClientError> {
        while !self.has_room() {
            self.advance().await?;
        }
        if self.options.qos == Qos::AtMostOnce {
            self.queue(None, &payload, false)?;
            while let Err(error) = self.connection.flush().await {
                self.come_back(error).await?;
                self.queue(None, &payload, false)?;
            }
            return Ok(());
        }
        let id = self.next_id();
        self.queue(Some(id), &payload, false)?;
        self.in_flight.push_back(Flight { id, payload, owed: Step::Receipt });
        match self.connection.flush().await {
            Ok(()) => Ok(()),
            Err(error) => self.come_back(error).await,
        }
    }

    fn has_room(&self) -> bool {
        self.in_flight.len() < usize::from(self.connection.broker.receive_maximum.min(IN_FLIGHT_MAX))
    }

    fn queue(&mut self, packet_id: Option<NonZeroU16>, payload: &[u8], dup: bool) -> Result<(), ClientError> {
        let topic = if self.alias_is_known { &[] } else { self.topic.as_bytes() };
        let packet = Packet::Publish(Publish {
            dup,
            qos: self.options.qos,
            retain: self.options.retain,
            topic,
            packet_id,
            properties: self.properties.as_properties(),
            payload,
        });
        self.connection.queue_within(&packet)?;
        self.alias_is_known = self.has_alias;
        Ok(())
    }

    /// Waits for what is owed, then says goodbye.
    async fn finish(mut self) -> Result<(), ClientError> {
        while !self.in_flight.is_empty() {
            self.advance().await?;
        }
        let is_single = self.is_single();
        self.connection.close().await?;
        match self.refused {
            0 => Ok(()),
            _ if is_single => Err(ClientError::Denied(self.refused_because)),
            count => Err(ClientError::Denied(format!("{count} of the messages refused by broker"))),
        }
    }

    async fn advance(&mut self) -> Result<(), ClientError> {
        let frame = self.connection.next().await;
        self.advance_with(frame).await
    }

    /// Handles what came, or comes back if that is the end of the connection.
    async fn advance_with(&mut self, frame: Result<Option<Frame>, ClientError>) -> Result<(), ClientError> {
        let result = match frame.and_then(|frame| self.handle(frame)) {
            Ok(()) => self.connection.flush().await,
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => Ok(()),
            Err(error) => self.come_back(error).await,
        }
    }

    /// Connects anew and sends again what the broker has not taken (MQTT 5.0 section 4.4).
    async fn come_back(&mut self, error: ClientError) -> Result<(), ClientError> {
        let mut error = error;
        loop {
            if !self.comes_back {
                return Err(error);
            }
            self.connection = retry::reopen(&self.options.connect, error).await?;
            check_against(&self.connection, self.options)?;
            self.alias_is_known = false;
            self.queue_again()?;
            match self.connection.flush().await {
                Ok(()) => return Ok(()),
                Err(failed) => error = failed,
            }
        }
    }

    fn queue_again(&mut self) -> Result<(), ClientError> {
        let is_kept = self.connection.session_present;
        if !is_kept {
            // The broker has these, and has forgotten that it would have completed them.
            self.in_flight.retain(|flight| flight.owed == Step::Receipt);
        }
        let flights = std::mem::take(&mut self.in_flight);
        for flight in &flights {
            match flight.owed {
                Step::Receipt => self.queue(Some(flight.id), &flight.payload, is_kept)?,
                Step::Completion => {
                    let release = Acknowledgement::new(flight.id, Reason::Success);
                    self.connection.queue(&Packet::Pubrel(release));
                }
            }
        }
        self.in_flight = flights;
        Ok(())
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
                let known = self.in_flight.iter_mut().find(|flight| flight.id == id);
                let reason = match known {
                    Some(flight) => {
                        flight.owed = Step::Completion;
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
        let place = self.in_flight.iter().position(|flight| flight.id == acknowledgement.packet_id);
        let was_in_flight = place.and_then(|place| self.in_flight.remove(place)).is_some();
        if was_in_flight && acknowledgement.reason.is_error() {
            let said = Said::new(acknowledgement.reason, acknowledgement.properties);
            let text = format!("message refused by broker: {said}");
            match self.is_single() {
                true => self.refused_because = text,
                false => self.options.connect.report().problem(text),
            }
            self.refused += 1;
        }
    }

    fn is_single(&self) -> bool {
        !self.comes_back && self.options.repeat == 1
    }

    fn next_id(&mut self) -> NonZeroU16 {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            match NonZeroU16::new(self.last_id) {
                Some(id) if self.in_flight.iter().all(|flight| flight.id != id) => return id,
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
fn stdin_lines() -> mpsc::Receiver<Line> {
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
