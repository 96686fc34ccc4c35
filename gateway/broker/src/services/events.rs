use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;
use gateway_bus::{Bus, Moment};
use gateway_model::{ClientId, Close, Expiry, Open, Opened, Peer, Publish, Qos, Reason, Topic};
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;

use crate::Principal;
use crate::services::sys;

/// `$SYS/brokers/{node}/clients/{clientid}/connected` and `.../disconnected`.
///
/// Made only if somebody subscribed to a topic of the gateway's. For each client they come in the
/// order of what happened: whoever opens or leaves a session holds the client's turn meanwhile.
pub(crate) struct Events {
    enabled: bool,
    node: Box<str>,
    turns: Box<[Mutex<()>; TURNS]>,
    hasher: RandomState,
}

const TURNS: usize = 64;

/// A client's turn: what is announced before it is dropped comes before what others announce.
pub(crate) struct Turn<'a> {
    events: &'a Events,
    bus: &'a Bus,
    _turn: MutexGuard<'a, ()>,
}

/// What a client asked for, as far as it is announced.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) protocol: &'static str,
    keep_alive_secs: u16,
    clean_start: bool,
}

#[derive(Serialize)]
struct Connected<'a> {
    clientid: &'a str,
    username: Option<&'a str>,
    ipaddress: String,
    sockport: u16,
    proto_name: &'a str,
    proto_ver: Option<u8>,
    keepalive: u16,
    connack: u8,
    clean_start: bool,
    expiry_interval: u32,
    /// Seconds since 1970.
    connected_at: u64,
    /// Milliseconds since 1970.
    ts: u64,
}

#[derive(Serialize)]
struct Disconnected<'a> {
    clientid: &'a str,
    username: Option<&'a str>,
    reason: &'a str,
    /// Seconds since 1970.
    disconnected_at: u64,
    /// Milliseconds since 1970.
    ts: u64,
}

impl Asked {
    pub(crate) fn of(open: &Open) -> Self {
        let Open { protocol, keep_alive_secs, clean_start, .. } = *open;
        Self { protocol, keep_alive_secs, clean_start }
    }
}

impl Events {
    pub(crate) fn new(enabled: bool, node: &str) -> Self {
        let node = sys::level(node).into();
        Self {
            enabled,
            node,
            turns: Box::new(std::array::from_fn(|_| Mutex::new(()))),
            hasher: RandomState::default(),
        }
    }

    /// Begins the turn of a client, if anybody may want to hear.
    pub(crate) fn turn<'a>(&'a self, bus: &'a Bus, client_id: &ClientId) -> Option<Turn<'a>> {
        if !self.enabled || !bus.reads_reserved() {
            return None;
        }
        let place = self.hasher.hash_one(Hashed(client_id.as_str())) as usize % TURNS;
        Some(Turn { events: self, bus, _turn: self.turns[place].lock() })
    }
}

/// Hashes as its text does.
struct Hashed<'a>(&'a str);

impl Hash for Hashed<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Turn<'_> {
    /// `port` is the listener's.
    pub(crate) fn connected(
        &self,
        moment: Moment,
        peer: &Peer,
        port: u16,
        asked: Asked,
        principal: &Principal,
        opened: &Opened,
    ) {
        let who = principal.who();
        if principal.attachment.took_over {
            // Whose connection it was is known to that connection only, which may be stuck.
            self.gone(moment, who.client_id, None, Reason::SessionTakenOver.name());
        }
        let (proto_name, proto_ver) = protocol(asked.protocol);
        let event = Connected {
            clientid: who.client_id,
            username: who.username,
            ipaddress: peer.address.ip().to_string(),
            sockport: port,
            proto_name,
            proto_ver,
            keepalive: asked.keep_alive_secs,
            connack: 0,
            clean_start: asked.clean_start,
            expiry_interval: match opened.expiry {
                Expiry::Immediately => 0,
                Expiry::After(expiry) => u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX),
                Expiry::Never => u32::MAX,
            },
            connected_at: moment.unix_millis / 1000,
            ts: moment.unix_millis,
        };
        self.publish(moment, who.client_id, "connected", &event);
    }

    /// `close` is how the gateway or the client ended it; without, the carrier was gone.
    pub(crate) fn disconnected(&self, moment: Moment, principal: &Principal, close: Option<Close>) {
        let who = principal.who();
        let reason = match close {
            None => "connection_lost",
            Some(Close { reason: Reason::Success, .. }) => "normal",
            Some(close) => close.reason.name(),
        };
        self.gone(moment, who.client_id, who.username, reason);
    }

    fn gone(&self, moment: Moment, clientid: &str, username: Option<&str>, reason: &str) {
        let (disconnected_at, ts) = (moment.unix_millis / 1000, moment.unix_millis);
        let event = Disconnected { clientid, username, reason, disconnected_at, ts };
        self.publish(moment, clientid, "disconnected", &event);
    }

    fn publish(&self, moment: Moment, client_id: &str, what: &str, event: &impl Serialize) {
        let mut payload = None;
        for prefix in sys::PREFIXES {
            let topic = format!("{prefix}{}/clients/{}/{what}", self.events.node, sys::level(client_id));
            if !self.bus.is_wanted(&topic) {
                continue;
            }
            // A client identifier of the greatest length makes a topic that is too long.
            let Ok(topic) = Topic::parse(&topic) else { continue };
            let payload = payload.get_or_insert_with(|| {
                bytes::Bytes::from(serde_json::to_vec(event).expect("texts and numbers are JSON"))
            });
            // Subscribers that want it at QoS 1 miss none of a client's events.
            let publish = Publish { qos: Qos::AtLeastOnce, ..Publish::new(topic, payload.clone()) };
            self.bus.publish_as(moment, &sys::publisher(), publish);
        }
    }
}

/// Name and level of a protocol, as the CONNECT of MQTT spells them.
fn protocol(name: &str) -> (&str, Option<u8>) {
    match name {
        "mqtt31" => ("MQIsdp", Some(3)),
        "mqtt311" => ("MQTT", Some(4)),
        "mqtt5" => ("MQTT", Some(5)),
        other => (other, None),
    }
}
