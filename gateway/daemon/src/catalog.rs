//! Every protocol and bridge of the gateway, by the name it has in the configuration.
//!
//! Adding one is adding its lines to the lists here; nothing registers itself.

use std::fmt::Display;
use std::sync::Arc;

use anyhow::Result;
use gateway_broker::{
    AutoSubscribeSettings, AutoSubscriptions, Carrier, RewriteSettings, Rewrites, SysSettings, Upgrade,
};
use gateway_config::{BridgeEntry, Known, Schema, Settings};
use gateway_model::{Bridge, Protocol};

/// What a protocol needs of the settings: its carrier, and itself.
type Made = Result<(Carrier, Arc<dyn Protocol>)>;

/// A protocol: its name, what it runs on, and how it is made from the settings.
struct ProtocolEntry {
    name: &'static str,
    carrier: gateway_config::Carrier,
    make: fn(&Settings) -> Made,
}

/// A kind of bridge: what its keys are, and how one is made of them.
struct BridgeKind {
    name: &'static str,
    schema: fn(&'static str) -> Schema,
    make: fn(&BridgeEntry) -> Result<Box<dyn Bridge>>,
}

const PROTOCOLS: &[ProtocolEntry] = &[
    ProtocolEntry { name: "mqtt", carrier: gateway_config::Carrier::Stream, make: mqtt },
    ProtocolEntry { name: "mqtt-ws", carrier: gateway_config::Carrier::Stream, make: mqtt_ws },
    ProtocolEntry { name: "coap", carrier: gateway_config::Carrier::Datagram, make: coap },
    ProtocolEntry { name: "lwm2m", carrier: gateway_config::Carrier::Datagram, make: lwm2m },
];

const BRIDGES: &[BridgeKind] = &[
    #[cfg(feature = "kafka")]
    BridgeKind { name: "kafka", schema: kafka_keys, make: kafka },
    BridgeKind { name: "webhook", schema: webhook_keys, make: webhook },
];

/// What the configuration may name, and the types of the sections.
pub fn known() -> Known {
    Known {
        sections: vec![
            Schema::checked("access", gateway_access::Config::check),
            Schema::of::<protocol_mqtt::Config>("mqtt"),
            Schema::of::<protocol_mqtt_ws::Config>("mqtt-ws"),
            Schema::of::<protocol_coap::Config>("coap"),
            Schema::checked("lwm2m", |config: &protocol_lwm2m::Config| {
                judged(config.check(), protocol_lwm2m::ConfigError::key)
            }),
            Schema::of::<SysSettings>("sys"),
            Schema::list("rewrite", |rules: &[RewriteSettings]| Rewrites::new(rules).map(drop)),
            Schema::list("auto_subscribe", auto_subscribe),
        ],
        protocols: PROTOCOLS.iter().map(|entry| (entry.name, entry.carrier)).collect(),
        bridges: BRIDGES.iter().map(|kind| (kind.schema)(kind.name)).collect(),
    }
}

/// The protocol of a listener. Its name has been checked by the configuration.
pub fn protocol(settings: &Settings, name: &str) -> Made {
    let entry = PROTOCOLS.iter().find(|entry| entry.name == name);
    (entry.ok_or_else(|| anyhow::anyhow!("unknown protocol {name}"))?.make)(settings)
}

/// The setting that says how much a client may send at once, and what it says.
pub fn largest_packet(settings: &Settings, protocol: &str) -> Option<(&'static str, u64)> {
    Some(match protocol {
        "mqtt" | "mqtt-ws" => {
            let mqtt = settings.section::<protocol_mqtt::Config>("mqtt").ok()?;
            ("mqtt.packet_bytes_max", mqtt.packet_bytes_max.into())
        }
        "coap" => {
            let coap = settings.section::<protocol_coap::Config>("coap").ok()?;
            ("coap.body_bytes_max", coap.body_bytes_max as u64)
        }
        "lwm2m" => {
            let lwm2m = settings.section::<protocol_lwm2m::Config>("lwm2m").ok()?;
            ("lwm2m.body_bytes_max", lwm2m.body_bytes_max as u64)
        }
        _ => return None,
    })
}

/// The bridge of a `[[bridge]]` entry. Its kind has been checked by the configuration.
pub fn bridge(entry: &BridgeEntry) -> Result<Box<dyn Bridge>> {
    let kind = BRIDGES.iter().find(|kind| kind.name == entry.kind);
    (kind.ok_or_else(|| anyhow::anyhow!("unknown bridge kind {}", entry.kind))?.make)(entry)
}

/// What sessions say of their protocol; without a number it stands for all versions.
const SPOKEN: [&str; 6] = ["mqtt", "mqtt31", "mqtt311", "mqtt5", "coap", "lwm2m"];

fn auto_subscribe(entries: &[AutoSubscribeSettings]) -> Result<(), (String, String)> {
    for (index, entry) in entries.iter().enumerate() {
        if let Some(unknown) = entry.protocols.iter().find(|name| !SPOKEN.contains(&name.as_str())) {
            let text = format!("{unknown:?} is none of {}", SPOKEN.join(", "));
            return Err((format!("{index}.protocols"), text));
        }
    }
    AutoSubscriptions::new(entries).map(drop)
}

#[cfg(feature = "kafka")]
fn kafka_keys(name: &'static str) -> Schema {
    Schema::checked(name, |config: &bridge_kafka::Config| {
        judged(config.check(), bridge_kafka::ConfigError::key)
    })
}

fn webhook_keys(name: &'static str) -> Schema {
    Schema::checked(name, |config: &bridge_webhook::Config| {
        judged(config.check(), bridge_webhook::ConfigError::key)
    })
}

/// An adapter's verdict in the configuration's terms: the key, and what is wrong with it.
fn judged<E: Display>(
    verdict: Result<(), E>,
    key_of: impl Fn(&E) -> &'static str,
) -> Result<(), (String, String)> {
    verdict.map_err(|error| {
        let (key, text) = (key_of(&error), error.to_string());
        // The configuration puts the key before the text; the error's own words begin with it too.
        let rest = text.strip_prefix(key).map(|rest| rest.trim_start_matches([':', ' ']).to_owned());
        (key.to_owned(), rest.unwrap_or(text))
    })
}

fn mqtt(settings: &Settings) -> Made {
    Ok((Carrier::Stream, Arc::new(protocol_mqtt::Mqtt::new(settings.section("mqtt")?))))
}

fn mqtt_ws(settings: &Settings) -> Made {
    let handshake = protocol_mqtt_ws::Handshake::new(settings.section("mqtt-ws")?);
    let upgrade: Upgrade = Arc::new(move |path, offered, origin| {
        handshake
            .check(path, offered.iter().copied(), origin)
            .map_err(|error| (error.status(), error.to_string()))
    });
    let mqtt: protocol_mqtt::Config = settings.section("mqtt")?;
    // Clients may put several packets into one message (MQTT 5.0 section 6).
    let message_bytes_max = (mqtt.packet_bytes_max as usize).saturating_mul(2).max(1024 * 1024);
    // Room for the headers of frames, and for what follows a CONNECT before its answer.
    let stranger_bytes_max = (mqtt.connect_bytes_max as usize).saturating_mul(2).saturating_add(64 * 1024);
    let carrier = Carrier::WebSocket { upgrade, message_bytes_max, stranger_bytes_max };
    Ok((carrier, Arc::new(protocol_mqtt::Mqtt::new(mqtt))))
}

fn coap(settings: &Settings) -> Made {
    Ok((Carrier::Udp, Arc::new(protocol_coap::Coap::new(settings.section("coap")?))))
}

fn lwm2m(settings: &Settings) -> Made {
    Ok((Carrier::Udp, Arc::new(protocol_lwm2m::Lwm2m::new(settings.section("lwm2m")?))))
}

#[cfg(feature = "kafka")]
fn kafka(entry: &BridgeEntry) -> Result<Box<dyn Bridge>> {
    Ok(Box::new(bridge_kafka::Kafka::new(&entry.name, entry.extract()?)?))
}

fn webhook(entry: &BridgeEntry) -> Result<Box<dyn Bridge>> {
    Ok(Box::new(bridge_webhook::Webhook::new(&entry.name, entry.extract()?)?))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use gateway_config::Layers;

    use super::*;

    fn problems_of(text: &str) -> String {
        let loaded = Layers::new().text(Path::new("t.toml"), text).load(&known());
        loaded.err().map(|problems| problems.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_an_adapter_cannot_serve_is_said_of_its_key() {
        let bridge = "[[bridge]]\nname = \"a\"\ntopics = [\"t\"]\n";
        for (text, words) in [
            ("[lwm2m]\ntopic_prefix = \"a/#\"", "lwm2m.topic_prefix: \"a/#\" holds"),
            ("[lwm2m]\nlifetime_secs_min = 9\nlifetime_secs_max = 8", "lwm2m.lifetime_secs_min: 9 is above"),
            ("[lwm2m]\nauto_observe = [\"/3/x\"]", "lwm2m.auto_observe: \"/3/x\" is not a path"),
            (&format!("{bridge}kind = \"webhook\""), "bridge[0].url: \"\": must begin with http"),
            (
                &format!("{bridge}kind = \"webhook\"\nurl = \"http://h\"\nlanes = 0"),
                "bridge[0].lanes: must be at least 1",
            ),
            (
                &format!("{bridge}kind = \"webhook\"\nurl = \"http://h\"\nsecret = \"hunter2\""),
                "bridge[0].secret: must begin with whsec_",
            ),
            (
                "[[rewrite]]\nsource = \"a\"\npattern = \"(\"\ntarget = \"b\"",
                "t.toml:3: rewrite[0].pattern: \"(\": ",
            ),
            (
                "[[auto_subscribe]]\ntopic = \"a\"\n[[auto_subscribe]]\ntopic = \"${ip}\"",
                "t.toml:4: auto_subscribe[1].topic: \"${ip}\": ${ip} is no placeholder",
            ),
            (
                "[[auto_subscribe]]\ntopic = \"a\"\nprotocols = [\"mqtt-ws\"]",
                "auto_subscribe[0].protocols: \"mqtt-ws\" is none of mqtt,",
            ),
            #[cfg(feature = "kafka")]
            (&format!("{bridge}kind = \"kafka\"\ntopic = \"t\""), "bridge[0].servers: is empty"),
            #[cfg(feature = "kafka")]
            (
                &format!("{bridge}kind = \"kafka\"\ntopic = \"t\"\nservers = [\"h\"]\nacks = \"leader\""),
                "bridge[0].idempotence: needs acks",
            ),
        ] {
            let problems = problems_of(text);
            assert!(problems.contains(words), "{text}\n{problems}");
            assert!(!problems.contains("hunter2"), "{problems}");
        }
    }
}
