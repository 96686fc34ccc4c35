use std::future::pending;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gateway_model::{Qos, Reason};
use protocol_mqtt::codec::{
    Auth, Connect, Disconnect, Header, LastWill, Packet, Properties, Property, PropertyBuffer, Version,
};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::rustls::crypto::ring;

use super::broker_options::Credentials;
use super::carrier::Carrier;
use super::error::{ClientError, Said};
use super::format::hex;
use super::options::ConnectOptions;
use super::property::Command;
use super::report::Report;
use super::scram::{self, Scram};
use super::tls;

/// How long a broker may take to answer a CONNECT, and to close after a DISCONNECT.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// An open MQTT connection: whole packets in and out, kept alive.
pub struct Connection {
    carrier: Carrier,
    pub version: Version,
    received: BytesMut,
    unsent: BytesMut,
    /// Zero: none.
    keep_alive: Duration,
    last_sent: Instant,
    ping_unanswered_since: Option<Instant>,
    /// What the broker said that it can do.
    pub broker: Broker,
    /// The broker has kept the session of this client.
    pub session_present: bool,
    /// For the DISCONNECT.
    goodbye: PropertyBuffer,
    report: Report,
}

/// What the CONNACK said that the broker can do (MQTT 5.0 section 3.2.2.3).
#[derive(Clone, Copy, Debug)]
pub struct Broker {
    pub receive_maximum: u16,
    pub packet_bytes_max: u32,
    pub qos_max: Qos,
    pub retain_available: bool,
    server_keep_alive_secs: Option<u16>,
}

impl Connection {
    /// Connects, sends CONNECT and waits for a CONNACK that says yes.
    pub async fn open(options: &ConnectOptions) -> Result<Self, ClientError> {
        options.check()?;
        let mut connection = Self {
            carrier: Carrier::connect(&options.broker).await?,
            version: options.broker.version,
            received: BytesMut::new(),
            unsent: BytesMut::new(),
            keep_alive: Duration::ZERO,
            last_sent: Instant::now(),
            ping_unanswered_since: None,
            broker: Broker::of(Properties::default()),
            session_present: false,
            goodbye: options.properties(Command::Disconnect)?,
            report: options.report(),
        };
        let credentials = options.broker.credentials()?;
        let mut scram = match (&options.auth_method, &credentials.username, &credentials.password) {
            (Some(_), Some(username), Some(password)) => Some(Scram::new(username, password, scram_nonce()?)),
            _ => None,
        };
        connection.queue_connect(options, &credentials, scram.as_ref())?;
        match timeout(ANSWER_WITHIN, connection.log_in(options, scram.as_mut())).await {
            Ok(answer) => answer?,
            Err(_) => return Err(ClientError::Lost("no answer to CONNECT within 10 s".to_owned())),
        }
        Ok(connection)
    }

    /// Sends the CONNECT and answers what comes, until a CONNACK says yes.
    async fn log_in(
        &mut self,
        options: &ConnectOptions,
        mut scram: Option<&mut Scram>,
    ) -> Result<(), ClientError> {
        loop {
            let frame = self.answer(options).await?;
            let packet = frame.packet(self.version)?;
            self.report.received(&packet);
            match packet {
                Packet::Connack(connack) if connack.reason.is_error() => {
                    let said = Said::new(connack.reason, connack.properties);
                    return Err(ClientError::Refused { said, version: self.version });
                }
                Packet::Connack(connack) => {
                    let data = authentication_data(connack.properties);
                    if scram.is_some_and(|scram| !scram.is_proven_by(data)) {
                        let text = "the broker does not prove that it knows the password";
                        return Err(ClientError::NoBroker(text.to_owned()));
                    }
                    self.broker = Broker::of(connack.properties);
                    self.session_present = connack.session_present;
                    let secs = self.broker.server_keep_alive_secs.unwrap_or(options.broker.keep_alive);
                    self.keep_alive = Duration::from_secs(u64::from(secs));
                    return Ok(());
                }
                Packet::Auth(auth) => self.answer_auth(&auth, scram.as_deref_mut())?,
                Packet::Disconnect(goodbye) => {
                    let said = Said::new(goodbye.reason, goodbye.properties);
                    return Err(ClientError::Refused { said, version: self.version });
                }
                _ => return Err(ClientError::NoBroker("the answer to CONNECT is no CONNACK".to_owned())),
            }
        }
    }

    /// Sends what is queued and waits for what the broker says to it.
    async fn answer(&mut self, options: &ConnectOptions) -> Result<Frame, ClientError> {
        let hint = match (options.broker.is_tls(), &options.broker.tls.cert) {
            (false, _) => "; is its port for TLS (--tls, --cafile FILE) or for WebSocket (--ws)?",
            (true, None) => "; it may want a certificate of yours: --cert FILE --key FILE",
            (true, Some(_)) => "",
        };
        self.flush().await?;
        match self.frame().await {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => Err(ClientError::Lost(format!("closed instead of an answer to CONNECT{hint}"))),
            Err(ClientError::Lost(text)) if options.broker.is_tls() && !text.contains("--cert") => {
                Err(ClientError::Lost(format!("{text}{hint}")))
            }
            Err(error) => Err(error),
        }
    }

    /// The next step of a login (MQTT 5.0 section 4.12).
    fn answer_auth(&mut self, auth: &Auth<'_>, scram: Option<&mut Scram>) -> Result<(), ClientError> {
        let Some(scram) = scram else {
            return Err(ClientError::NoBroker("it asks for authentication: --auth-method".to_owned()));
        };
        let answer = scram
            .answer(authentication_data(auth.properties))
            .map_err(|error| ClientError::NoBroker(format!("{}: {error}", scram::METHOD)))?;
        let mut properties = PropertyBuffer::default();
        properties
            .push(Property::AuthenticationMethod(scram::METHOD))
            .push(Property::AuthenticationData(answer.as_bytes()));
        self.queue(&Packet::Auth(Auth {
            reason: Reason::ContinueAuthentication,
            properties: properties.as_properties(),
        }));
        Ok(())
    }

    fn queue_connect(
        &mut self,
        options: &ConnectOptions,
        credentials: &Credentials,
        scram: Option<&Scram>,
    ) -> Result<(), ClientError> {
        let mut properties = options.properties(Command::Connect)?;
        if let Some(secs) = options.session_expiry_secs()? {
            properties.push(Property::SessionExpirySecs(secs));
        }
        if let Some(scram) = scram {
            properties
                .push(Property::AuthenticationMethod(scram::METHOD))
                .push(Property::AuthenticationData(scram.first().as_bytes()));
        }
        let will_properties = options.properties(Command::Will)?;
        let will = options.will.topic.as_ref().map(|topic| LastWill {
            qos: options.will.qos,
            retain: options.will.retain,
            properties: will_properties.as_properties(),
            topic,
            payload: options.will.payload.as_deref().unwrap_or_default().as_bytes(),
        });
        self.queue(&Packet::Connect(Box::new(Connect {
            version: self.version,
            clean_start: !options.keep_session,
            keep_alive_secs: options.broker.keep_alive,
            properties: properties.as_properties(),
            client_id: &options.client_id(),
            will,
            username: credentials.username.as_deref().filter(|_| scram.is_none()),
            password: credentials.password.as_deref().filter(|_| scram.is_none()).map(str::as_bytes),
        })));
        Ok(())
    }

    /// Puts a packet into the output; [`Connection::flush`] sends it.
    pub fn queue(&mut self, packet: &Packet<'_>) {
        self.report.sent(packet);
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes);
        self.unsent.extend_from_slice(&bytes);
    }

    /// The same, unless the broker takes no packet of this size (MQTT-3.1.2-24 the other way round).
    pub fn queue_within(&mut self, packet: &Packet<'_>) -> Result<(), ClientError> {
        let len_before = self.unsent.len();
        self.queue(packet);
        let (len, len_max) = (self.unsent.len() - len_before, self.broker.packet_bytes_max);
        if len <= len_max as usize {
            return Ok(());
        }
        self.unsent.truncate(len_before);
        let text = format!("the broker takes packets of {len_max} bytes; this one has {len}");
        Err(ClientError::Denied(text))
    }

    pub async fn flush(&mut self) -> Result<(), ClientError> {
        self.carrier
            .write(&mut self.unsent)
            .await
            .map_err(|error| ClientError::Lost(tls::explained(&error)))?;
        self.last_sent = Instant::now();
        Ok(())
    }

    /// The next packet; `None` is the end of the connection. Keeps the connection alive while it
    /// waits, and may be given up and called again: nothing is lost.
    ///
    /// A DISCONNECT of the broker is an error; PINGRESP is not shown.
    pub async fn next(&mut self) -> Result<Option<Frame>, ClientError> {
        loop {
            let Some(frame) = self.frame().await? else { return Ok(None) };
            let packet = frame.packet(self.version)?;
            self.report.received(&packet);
            match packet {
                Packet::Pingresp => self.ping_unanswered_since = None,
                Packet::Disconnect(goodbye) => {
                    return Err(ClientError::Disconnected(Said::new(goodbye.reason, goodbye.properties)));
                }
                _ => return Ok(Some(frame)),
            }
        }
    }

    /// A packet that has been received whole already, if any.
    pub fn has_whole_frame(&self) -> bool {
        matches!(Header::parse(&self.received), Ok(Some(header)) if header.frame_len() <= self.received.len())
    }

    /// Sends DISCONNECT and waits until the broker has read everything.
    pub async fn close(mut self) -> Result<(), ClientError> {
        let goodbye = std::mem::take(&mut self.goodbye);
        let properties = goodbye.as_properties();
        self.queue(&Packet::Disconnect(Disconnect { reason: Reason::Success, properties }));
        self.flush().await?;
        // The broker may be faster in closing, which is not worth an error any more.
        let _ = self.carrier.finish().await;
        self.keep_alive = Duration::ZERO;
        let end = async {
            // What is still on its way is read, or closing would reset the connection and with it
            // what the broker has not read yet.
            loop {
                match self.next().await {
                    Ok(Some(_)) => {}
                    Err(ClientError::Disconnected(said)) => return Err(ClientError::Disconnected(said)),
                    Ok(None) | Err(_) => return Ok(()),
                }
            }
        };
        timeout(ANSWER_WITHIN, end).await.unwrap_or(Ok(()))
    }

    async fn frame(&mut self) -> Result<Option<Frame>, ClientError> {
        loop {
            if let Some(header) = self.header()?
                && header.frame_len() <= self.received.len()
            {
                let bytes = self.received.split_to(header.frame_len()).freeze();
                return Ok(Some(Frame { header, bytes }));
            }
            let ping_at = self.ping_at()?;
            tokio::select! {
                read = self.carrier.read(&mut self.received) => match read {
                    Ok(0) => return Ok(None),
                    Ok(_) => {}
                    Err(error) => return Err(ClientError::Lost(tls::explained(&error))),
                },
                () = sleep_until_some(ping_at) => {
                    if self.ping_unanswered_since.is_none() {
                        self.queue(&Packet::Pingreq);
                        self.ping_unanswered_since = Some(Instant::now());
                    }
                    self.flush().await?;
                }
            }
        }
    }

    /// The fixed header of what is received next, unless it is plainly something else.
    fn header(&self) -> Result<Option<Header>, ClientError> {
        let wrong = |text: &str| Err(ClientError::NoBroker(text.to_owned()));
        match self.received.get(..4) {
            // RFC 8446 section 5.1: an alert, and the major version. No packet begins like this.
            Some([21, 3, ..]) => wrong("this port speaks TLS: use --tls or --cafile FILE"),
            Some(b"HTTP") => wrong("this port speaks HTTP; for MQTT over WebSocket use --ws"),
            _ => Ok(Header::parse(&self.received)?),
        }
    }

    /// When to ping next; an error if the last ping has not been answered in time.
    fn ping_at(&self) -> Result<Option<Instant>, ClientError> {
        if self.keep_alive.is_zero() {
            return Ok(None);
        }
        match self.ping_unanswered_since {
            Some(since) if since.elapsed() >= self.keep_alive => {
                Err(ClientError::Lost("the broker does not answer pings".to_owned()))
            }
            Some(since) => Ok(Some(since + self.keep_alive)),
            None => Ok(Some(self.last_sent + self.keep_alive.mul_f32(0.8))),
        }
    }
}

/// One whole packet, as bytes.
pub struct Frame {
    header: Header,
    bytes: Bytes,
}

impl Frame {
    pub fn packet(&self, version: Version) -> Result<Packet<'_>, ClientError> {
        let body = self.bytes.get(self.header.header_len..).unwrap_or_default();
        Ok(Packet::decode(version, self.header.first, body)?)
    }
}

impl Broker {
    fn of(connack: Properties<'_>) -> Self {
        let mut broker = Self {
            receive_maximum: u16::MAX,
            packet_bytes_max: u32::MAX,
            qos_max: Qos::ExactlyOnce,
            retain_available: true,
            server_keep_alive_secs: None,
        };
        for property in connack.iter() {
            match property {
                Property::ReceiveMaximum(value) => broker.receive_maximum = value,
                Property::MaximumPacketBytes(value) => broker.packet_bytes_max = value,
                Property::MaximumQos(value) => broker.qos_max = Qos::from_u8(value).unwrap_or_default(),
                Property::RetainAvailable(value) => broker.retain_available = value,
                Property::ServerKeepAliveSecs(value) => broker.server_keep_alive_secs = Some(value),
                _ => {}
            }
        }
        broker
    }
}

fn authentication_data(properties: Properties<'_>) -> &[u8] {
    let data = properties.iter().find_map(|property| match property {
        Property::AuthenticationData(data) => Some(data),
        _ => None,
    });
    data.unwrap_or_default()
}

fn scram_nonce() -> Result<String, ClientError> {
    let mut bytes = [0; 18];
    ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| ClientError::Input("random numbers".to_owned()))?;
    Ok(hex(&bytes))
}

async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
