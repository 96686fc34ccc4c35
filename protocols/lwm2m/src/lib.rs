//! LwM2M for the gateway: an OMA LwM2M 1.0 and 1.1 server (1.2 clients register too) as a pure
//! state machine over UDP without security, on the message layer of `protocol-coap`.
//!
//! It is no bootstrap server and has no composite operations, no DTLS and no object files; what it
//! does not know about an object it takes from the format that carries it.
//!
//! Devices register at `/rd` and send at `/dp`. On the bus, under `topic_prefix` and the endpoint name:
//!
//! | topic | what |
//! |---|---|
//! | `lwm2m/{ep}/status` | retained JSON: `state` (online, asleep, offline), version, lifetime, binding, objects |
//! | `lwm2m/{ep}/event/{register,update,deregister,expire}` | JSON, not retained |
//! | `lwm2m/{ep}/r/3/0/9` | retained value of a resource; `/r/3/0/6/1` of a resource instance. From Read, Notify and Send |
//! | `lwm2m/{ep}/cmd/{operation}/{path...}` | a command, see below |
//! | `lwm2m/{ep}/resp/{operation}/{path...}` | its answer, if it named no response topic |
//!
//! Commands and their payloads; all may be a JSON object with an `id`, which comes back:
//!
//! | operation | path | payload |
//! |---|---|---|
//! | `read`, `observe`, `cancel`, `discover` | any | none |
//! | `write` | `1/0/1` | `60`, or `{"value":60,"type":"integer"}`; `{"value":{"0":1}}` for resource instances |
//! | `write` | `1/0` | `{"1":60,"6":true}`; with `"replace":true` and the resources in `value`, all others go |
//! | `create` | `3303`, `3303/5` | resources as above |
//! | `execute` | `3/0/4` | none, or the arguments |
//! | `delete` | `3303/5` | none |
//! | `attributes` | any | `{"pmin":1,"pmax":60}`; null unsets |
//!
//! The answer: `{"id":..,"code":"2.05","ok":true,"value":..}`, or `"ok":false` with an `error`; `code`
//! is `timeout`, `reset` or `bad_command` where no code came from the device.
//!
//! A device is a session named `lwm2m/{ep}` (the prefix keeps it apart from MQTT clients of that
//! name). Commands wait in its queue while another is under way, and while a device in queue mode
//! sleeps; the queue outlives the device's address by one lifetime.
//!
//! A device is known by its UDP address. An Update from another port of the same host moves its
//! registration there, observations and queue included, and a goodbye from there ends it: NATs
//! rebind, and some clients open a new socket each time. From another host both get 4.04 unless
//! `update_from_other_address` says otherwise; a device then registers again, which resumes its
//! session.
//!
//! A registration outlives a restart of the gateway, until its lifetime, which then starts anew, is
//! over. 2.01, 2.04 and 2.02 leave when what they say is durable. After a restart the gateway does
//! not call a device, it waits for it: the device's status is offline until its next Update, Send or
//! goodbye, which goes on as if nothing had happened, and then what was observed is observed again
//! and the queued commands are sent. Until then its notifications are answered with a Reset. If it
//! never comes, it stays offline: its session ends after its lifetime, without an `expire` event.
//!
//! Read `endpoint` (what the device asks of us), then `device` and `downlink` (what we ask of it),
//! then `translate`; the formats are in `codec`.

mod absent;
mod answer;
pub mod codec;
mod command;
mod config;
mod device;
mod downlink;
mod endpoint;
mod kept;
mod location;
mod object_list;
pub mod objects;
mod packed;
mod path;
mod registration;
mod registry;
mod request;
mod said;
#[cfg(test)]
mod tests;
mod translate;
mod value;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_model::{Adapter, ClientId, Peer, Protocol};
use protocol_coap::exchange::Transmission;

pub use config::{Config, ConfigError, PayloadMode};
pub use path::{Path, PathError};
pub use value::{Kind, Value, ValueError};

/// The protocol with its configuration.
#[derive(Clone, Debug)]
pub struct Lwm2m {
    transmission: Arc<Transmission>,
    registry: Arc<registry::Registry>,
}

impl Lwm2m {
    /// Check the configuration first: [`Config::check`]. What does not pass is ignored here.
    pub fn new(config: Config) -> Self {
        let transmission = Transmission {
            response_timeout: Duration::from_secs(config.command_timeout_secs.into()),
            ..Transmission::default()
        };
        Self { transmission: Arc::new(transmission), registry: Arc::new(registry::Registry::new(config)) }
    }
}

impl Protocol for Lwm2m {
    fn connect(&self, now: Instant, peer: &Peer, seed: u64) -> Box<dyn Adapter> {
        let (transmission, registry) = (self.transmission.clone(), self.registry.clone());
        Box::new(endpoint::Endpoint::new(now, transmission, registry, peer, seed))
    }

    fn restore(&self, now: Instant, client_id: &ClientId, kept: &Bytes) {
        let Some(endpoint) = client_id.as_str().strip_prefix(&*self.registry.config.client_id_prefix) else {
            return;
        };
        if kept.is_empty() {
            return;
        }
        match kept::Kept::decode(&self.registry.config.topic_prefix, kept) {
            Ok(kept) if kept.registration.endpoint() == endpoint => self.registry.restore(now, kept),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(endpoint, %error, "registration not restored: the device has to register again");
            }
        }
    }
}
