use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::num::NonZeroU16;
use std::time::Duration;

use gateway_model::{Qos, Reason, Topic, TopicFilter};
use protocol_mqtt::codec::{
    Acknowledgement, Packet, Property, Publish, Suback, Subscribe, Unsuback, Unsubscribe,
};
use tokio::time::timeout;

use super::connection::Connection;
use super::error::{ClientError, Said};
use super::format::Format;
use super::property::Command;
use super::removal::Removal;
use super::retry;
use super::subscribe_options::SubscribeOptions;

const SUBSCRIBE_ID: NonZeroU16 = NonZeroU16::MIN;
const UNSUBSCRIBE_ID: NonZeroU16 = NonZeroU16::MIN.saturating_add(1);

/// How long to finish exactly-once handshakes after the last message.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// Connects, subscribes and prints what comes, until the count, the timeout or a signal.
pub async fn run(options: &SubscribeOptions) -> Result<(), ClientError> {
    options.check()?;
    let (filters, filtered_out, format) = (options.filters()?, options.filtered_out()?, options.format()?);
    let mut subscriber = Subscriber {
        connection: Connection::open(&options.connect).await?,
        options,
        filters,
        filtered_out,
        format,
        unreleased: HashSet::new(),
        aliases: HashMap::new(),
        removal: Removal::default(),
        left: options.count,
        answers_owed: 0,
        is_over: false,
    };
    let result = tokio::select! {
        result = with_timeout(subscriber.receive(), options.timeout) => result,
        () = interrupted() => Ok(()),
    };
    match result {
        Ok(()) => subscriber.connection.close().await,
        // Whoever gave up waiting need not hear that there was no connection either.
        Err(error @ (ClientError::TimedOut(_) | ClientError::Denied(_))) => {
            let _ = subscriber.connection.close().await;
            Err(error)
        }
        Err(error) => Err(error),
    }
}

async fn with_timeout(
    messages: impl Future<Output = Result<(), ClientError>>,
    time: Option<Duration>,
) -> Result<(), ClientError> {
    match time {
        None => messages.await,
        Some(time) => timeout(time, messages).await.unwrap_or(Err(ClientError::TimedOut(time.as_secs_f64()))),
    }
}

/// Ctrl-C, or the polite signal of whoever runs us.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    // Without the signal there is still the default: the process ends.
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

struct Subscriber<'a> {
    connection: Connection,
    options: &'a SubscribeOptions,
    filters: Vec<TopicFilter>,
    filtered_out: Vec<TopicFilter>,
    format: Format,
    /// QoS 2 messages that were printed and not yet released (MQTT 5.0 section 4.3.3).
    unreleased: HashSet<NonZeroU16>,
    /// What the broker's aliases stand for, if it was asked for some.
    aliases: HashMap<u16, Vec<u8>>,
    removal: Removal,
    /// Messages still to be printed.
    left: Option<u64>,
    /// SUBACK and UNSUBACK.
    answers_owed: u8,
    /// The reader of our output has seen enough, or what was waited for has come.
    is_over: bool,
}

impl Subscriber<'_> {
    /// Receives until the end; a lost connection is made anew.
    async fn receive(&mut self) -> Result<(), ClientError> {
        loop {
            let Err(error) = self.receive_once().await else { return Ok(()) };
            self.connection = retry::reopen(&self.options.connect, error).await?;
            self.aliases.clear();
            self.removal.forget();
            if !self.connection.session_present {
                self.unreleased.clear();
            }
        }
    }

    /// Subscribes and prints until the count is reached or nobody reads any more.
    async fn receive_once(&mut self) -> Result<(), ClientError> {
        self.subscribe()?;
        self.connection.flush().await?;
        while self.left != Some(0) && !self.is_over {
            self.turn().await?;
        }
        let finish = async {
            while !(self.unreleased.is_empty() && self.removal.is_done()) {
                self.turn().await?;
            }
            Ok(())
        };
        timeout(FINISH_WITHIN, finish).await.unwrap_or(Ok(()))
    }

    fn subscribe(&mut self) -> Result<(), ClientError> {
        self.answers_owed = 0;
        if !self.filters.is_empty() {
            let properties = self.options.connect.properties(Command::Subscribe)?;
            self.connection.queue_within(&Packet::Subscribe(Subscribe {
                packet_id: SUBSCRIBE_ID,
                properties: properties.as_properties(),
                filters: self.filters.iter().map(|filter| self.options.requested(filter.as_str())).collect(),
            }))?;
            self.answers_owed += 1;
        }
        if !self.options.unsubscribe.is_empty() {
            let properties = self.options.connect.properties(Command::Unsubscribe)?;
            self.connection.queue_within(&Packet::Unsubscribe(Unsubscribe {
                packet_id: UNSUBSCRIBE_ID,
                properties: properties.as_properties(),
                filters: self.options.unsubscribe.iter().map(String::as_str).collect(),
            }))?;
            self.answers_owed += 1;
        }
        Ok(())
    }

    /// Handles the next packet and all that came with it, then prints and answers at once.
    async fn turn(&mut self) -> Result<(), ClientError> {
        let mut stdout = io::BufWriter::new(io::stdout().lock());
        loop {
            let frame = self.connection.next().await?;
            let Some(frame) = frame else { return Err(ClientError::Lost("closed by broker".to_owned())) };
            match frame.packet(self.connection.version)? {
                Packet::Suback(suback) => {
                    self.report_refusals(&suback)?;
                    self.count_answer();
                }
                Packet::Unsuback(unsuback) => {
                    self.report_unknown(&unsuback);
                    self.count_answer();
                }
                Packet::Publish(publish) => self.take(&publish, &mut stdout)?,
                Packet::Puback(acknowledgement) => self.removal.acknowledged(acknowledgement.packet_id),
                Packet::Pubrel(release) => {
                    let known = self.unreleased.remove(&release.packet_id);
                    let reason = if known { Reason::Success } else { Reason::PacketIdentifierNotFound };
                    let answer = Acknowledgement::new(release.packet_id, reason);
                    self.connection.queue(&Packet::Pubcomp(answer));
                }
                _ => {}
            }
            if !self.connection.has_whole_frame() {
                break;
            }
        }
        let printed = stdout.flush();
        self.check_printed(printed)?;
        self.removal.queue(&mut self.connection)?;
        self.connection.flush().await
    }

    fn count_answer(&mut self) {
        self.answers_owed = self.answers_owed.saturating_sub(1);
        self.is_over |= self.options.end_when_subscribed && self.answers_owed == 0;
    }

    /// Prints a message, unless it came before, and acknowledges it. What comes after the end was
    /// reached is not acknowledged: a kept session has it the next time.
    fn take(&mut self, publish: &Publish<'_>, stdout: &mut impl Write) -> Result<(), ClientError> {
        let is_repeated = publish.packet_id.is_some_and(|id| self.unreleased.contains(&id));
        let topic = self.topic_of(publish)?;
        if (self.left == Some(0) || self.is_over) && !is_repeated {
            return Ok(());
        }
        if !is_repeated {
            self.show(&Publish { topic: &topic, ..*publish }, stdout)?;
        }
        let Some(id) = publish.packet_id else { return Ok(()) };
        let answer = Acknowledgement::new(id, Reason::Success);
        if publish.qos == Qos::ExactlyOnce {
            self.unreleased.insert(id);
            self.connection.queue(&Packet::Pubrec(answer));
        } else {
            self.connection.queue(&Packet::Puback(answer));
        }
        Ok(())
    }

    /// Prints a message that the options let through, and counts it.
    fn show(&mut self, publish: &Publish<'_>, stdout: &mut impl Write) -> Result<(), ClientError> {
        let topic = Topic::parse_bytes(publish.topic).ok();
        let is_out = topic.is_some_and(|topic| self.filtered_out.iter().any(|filter| filter.matches(&topic)));
        if is_out || (self.options.no_retained && publish.retain) {
            return Ok(());
        }
        if self.options.retained_only && !publish.retain {
            self.is_over = true;
            return Ok(());
        }
        if self.options.remove_retained && publish.retain && !publish.payload.is_empty() {
            self.removal.add(publish.topic);
        }
        let printed = self.format.write(publish, stdout);
        self.check_printed(printed)?;
        self.left = self.left.map(|left| left.saturating_sub(1));
        Ok(())
    }

    /// A reader that has gone has seen enough. What cannot be printed for another reason is not
    /// acknowledged, and the exit code tells.
    fn check_printed(&mut self, printed: io::Result<()>) -> Result<(), ClientError> {
        match printed {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(ClientError::Output(error.to_string()))
            }
            printed => {
                self.is_over |= printed.is_err();
                Ok(())
            }
        }
    }

    /// The topic itself, where an alias stands for it (MQTT 5.0 section 3.3.2.3.4).
    fn topic_of(&mut self, publish: &Publish<'_>) -> Result<Vec<u8>, ClientError> {
        let alias = publish.properties.iter().find_map(|property| match property {
            Property::TopicAlias(alias) => Some(alias),
            _ => None,
        });
        match (alias, publish.topic) {
            (Some(alias), []) => match self.aliases.get(&alias) {
                Some(topic) => Ok(topic.clone()),
                None => Err(ClientError::NoBroker(format!("the broker never said what alias {alias} is"))),
            },
            (Some(alias), topic) => {
                self.aliases.insert(alias, topic.to_vec());
                Ok(topic.to_vec())
            }
            (None, topic) => Ok(topic.to_vec()),
        }
    }

    /// Says which filters were refused; an error if none is left.
    fn report_refusals(&self, suback: &Suback<'_>) -> Result<(), ClientError> {
        let answers: Vec<_> = self.filters.iter().zip(&suback.reasons).collect();
        let refused = answers.iter().filter(|(_, reason)| reason.is_error());
        for (filter, reason) in refused.clone() {
            let said = Said::new(**reason, suback.properties);
            let text = format!("subscription to {filter} refused by broker: {said}");
            self.options.connect.report().problem(text);
        }
        match refused.count() == answers.len() {
            true => Err(ClientError::Denied("no subscription was accepted".to_owned())),
            false => Ok(()),
        }
    }

    fn report_unknown(&self, unsuback: &Unsuback<'_>) {
        for (filter, reason) in self.options.unsubscribe.iter().zip(&unsuback.reasons) {
            if *reason != Reason::Success {
                let said = Said::new(*reason, unsuback.properties);
                self.options.connect.report().problem(format!("unsubscribing from {filter}: {said}"));
            }
        }
    }
}
