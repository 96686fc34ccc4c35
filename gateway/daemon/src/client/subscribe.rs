use std::collections::HashSet;
use std::io::{self, Write};
use std::num::NonZeroU16;
use std::time::Duration;

use gateway_model::{Qos, Reason, RetainHandling, TopicFilter};
use protocol_mqtt::codec::{
    Acknowledgement, Packet, Properties, Publish, RequestedFilter, Suback, Subscribe, Version,
};
use tokio::time::timeout;

use super::connection::Connection;
use super::error::ClientError;
use super::format::Format;
use super::options::SubscribeOptions;

const SUBSCRIBE_ID: NonZeroU16 = NonZeroU16::MIN;

/// How long to finish exactly-once handshakes after the last message.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// Connects, subscribes and prints what comes, until the count, the timeout or an interrupt.
pub async fn run(options: &SubscribeOptions) -> Result<(), ClientError> {
    let filters = options.filters()?;
    let format = match (&options.format, options.verbose) {
        (Some(format), _) => Format::parse(format).map_err(ClientError::Usage)?,
        (None, true) => Format::verbose(),
        (None, false) => Format::payload(),
    };
    let time = match options.timeout {
        None => None,
        Some(secs) => Some(
            Duration::try_from_secs_f64(secs)
                .map_err(|_| ClientError::Usage(format!("-W {secs} is not a time in seconds")))?,
        ),
    };
    let connection = Connection::open(&options.connect).await?;
    let mut subscriber = Subscriber {
        connection,
        format,
        unreleased: HashSet::new(),
        left: options.count,
        skip_retained: options.no_retained,
        stdout_is_gone: false,
    };
    let messages = subscriber.receive(&filters, options.qos);
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without the signal there is still the default: the process ends.
            std::future::pending::<()>().await;
        }
    };
    let result = tokio::select! {
        result = with_timeout(messages, time) => result,
        () = interrupted => Ok(()),
    };
    match result {
        Ok(()) => subscriber.connection.close().await,
        Err(error @ (ClientError::TimedOut(_) | ClientError::Denied(_))) => {
            subscriber.connection.close().await?;
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

struct Subscriber {
    connection: Connection,
    format: Format,
    /// QoS 2 messages that were printed and not yet released (MQTT 5.0 section 4.3.3).
    unreleased: HashSet<NonZeroU16>,
    /// Messages still to be printed.
    left: Option<u64>,
    skip_retained: bool,
    /// The reader of our output has seen enough.
    stdout_is_gone: bool,
}

impl Subscriber {
    /// Subscribes and prints until the count is reached or nobody reads any more.
    async fn receive(&mut self, filters: &[TopicFilter], qos: Qos) -> Result<(), ClientError> {
        self.subscribe(filters, qos);
        self.connection.flush().await?;
        while self.left != Some(0) && !self.stdout_is_gone {
            self.turn(filters).await?;
        }
        let finish = async {
            while !self.unreleased.is_empty() {
                self.turn(filters).await?;
            }
            Ok(())
        };
        timeout(FINISH_WITHIN, finish).await.unwrap_or(Ok(()))
    }

    fn subscribe(&mut self, filters: &[TopicFilter], qos: Qos) {
        let is_v5 = self.connection.version == Version::V5;
        let requested = |filter| RequestedFilter {
            retain_handling: match self.skip_retained && is_v5 {
                true => RetainHandling::Never,
                false => RetainHandling::Always,
            },
            ..RequestedFilter::new(filter, qos)
        };
        let packet = Packet::Subscribe(Subscribe {
            packet_id: SUBSCRIBE_ID,
            properties: Properties::default(),
            filters: filters.iter().map(|filter| requested(filter.as_str())).collect(),
        });
        self.connection.queue(&packet);
    }

    /// Handles the next packet and all that came with it, then prints and answers at once.
    async fn turn(&mut self, filters: &[TopicFilter]) -> Result<(), ClientError> {
        let mut stdout = io::BufWriter::new(io::stdout().lock());
        loop {
            let frame = self.connection.next().await?;
            let Some(frame) = frame else { return Err(ClientError::Lost("closed by broker".to_owned())) };
            match frame.packet(self.connection.version)? {
                Packet::Suback(suback) => report_refusals(&suback, filters)?,
                Packet::Publish(publish) => self.take(&publish, &mut stdout),
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
        self.stdout_is_gone |= stdout.flush().is_err();
        self.connection.flush().await
    }

    /// Prints a message, unless it came before, and acknowledges it. What comes after the count
    /// was reached is not acknowledged: a kept session has it the next time.
    fn take(&mut self, publish: &Publish<'_>, stdout: &mut impl Write) {
        let is_repeated = publish.packet_id.is_some_and(|id| self.unreleased.contains(&id));
        if self.left == Some(0) && !is_repeated {
            return;
        }
        let is_skipped = self.skip_retained && publish.retain;
        if !(is_repeated || is_skipped) {
            self.stdout_is_gone |= self.format.write(publish, stdout).is_err();
            self.left = self.left.map(|left| left.saturating_sub(1));
        }
        let Some(id) = publish.packet_id else { return };
        let answer = Acknowledgement::new(id, Reason::Success);
        if publish.qos == Qos::ExactlyOnce {
            self.unreleased.insert(id);
            self.connection.queue(&Packet::Pubrec(answer));
        } else {
            self.connection.queue(&Packet::Puback(answer));
        }
    }
}

/// Says which filters were refused; an error if none is left.
fn report_refusals(suback: &Suback<'_>, filters: &[TopicFilter]) -> Result<(), ClientError> {
    let answers: Vec<_> = filters.iter().zip(&suback.reasons).collect();
    let refused = answers.iter().filter(|(_, reason)| reason.is_error());
    for (filter, reason) in refused.clone() {
        let said = super::error::Said::new(**reason, suback.properties);
        eprintln!("tidegate: subscription to {filter} refused by broker: {said}");
    }
    match refused.count() == answers.len() {
        true => Err(ClientError::Denied("no subscription was accepted".to_owned())),
        false => Ok(()),
    }
}
