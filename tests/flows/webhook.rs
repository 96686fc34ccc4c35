//! A bridge to a web server, which here is one that can refuse and go away.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::harness::gateway::Settings;
use crate::harness::http::{Hook, HookServer};
use crate::harness::mqtt::publish;
use crate::harness::{Gateway, Outcome, World, place};
use crate::{ensure, ensure_eq};

crate::cases!("webhook":
    a_message_arrives_as_signed_json,
    a_server_that_refuses_gets_it_again,
    messages_wait_while_the_server_is_away,
);

const SECRET: &[u8] = b"tidegate-tests-and-24-bytes";

fn a_message_arrives_as_signed_json(world: &mut World) -> Outcome {
    let server = HookServer::start(place::free_port())?;
    let gateway = Gateway::start_with(world, bridge(server.port))?;
    let mut arguments = vec!["-V", "5", "-i", "press-17", "-t", "plant/7", "-q", "1", "-m", "21.5"];
    arguments.extend(["-D", "publish", "user-property", "site", "north"]);
    publish(world, gateway.ports.mqtt, &arguments)?;
    let hook = server.accepted(1, 15)?.remove(0);
    ensure_eq!(hook.path, "/hook", "the path");
    ensure!(hook.header("content-type").is_some_and(|kind| kind.contains("json")), "not JSON");
    let body = hook.json()?;
    ensure_eq!(
        (body["topic"].as_str(), body["payload"].as_str()),
        (Some("plant/7"), Some("21.5")),
        "the body"
    );
    check_signature(&hook)?;
    gateway.stop()
}

fn a_server_that_refuses_gets_it_again(world: &mut World) -> Outcome {
    let server = HookServer::start(place::free_port())?;
    server.refuse([500, 503, 429]);
    let gateway = Gateway::start_with(world, bridge(server.port))?;
    publish(world, gateway.ports.mqtt, &["-t", "plant/1", "-q", "1", "-m", "again"])?;
    server.accepted(1, 60)?;
    let hooks = server.hooks();
    ensure_eq!(
        hooks.iter().map(|hook| hook.status).collect::<Vec<_>>(),
        vec![500, 503, 429, 200],
        "the attempts"
    );
    let ids: Vec<_> = hooks.iter().map(|hook| hook.header("webhook-id")).collect();
    ensure!(ids[0].is_some() && ids.iter().all(|id| *id == ids[0]), "webhook-id is stable: {ids:?}");
    for hook in &hooks {
        check_signature(hook)?;
    }
    gateway.stop()
}

fn messages_wait_while_the_server_is_away(world: &mut World) -> Outcome {
    const COUNT: usize = 100;
    const KEYS: usize = 4;
    let server = HookServer::start(place::free_port())?;
    let gateway = Gateway::start_with(world, bridge(server.port))?;
    publish(world, gateway.ports.mqtt, &["-t", "plant/before", "-q", "1", "-m", "0"])?;
    server.accepted(1, 15)?;
    let outage = server.outage();
    for number in 0..COUNT {
        let topic = format!("plant/{}", number % KEYS);
        publish(world, gateway.ports.mqtt, &["-t", &topic, "-q", "1", "-m", &number.to_string()])?;
    }
    let server = outage.end()?;
    let mut by_topic: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for hook in server.accepted(COUNT + 1, 90)?.iter().skip(1) {
        let body = hook.json()?;
        let (topic, number) = (body["topic"].as_str(), body["payload"].as_str());
        by_topic
            .entry(topic.unwrap_or_default().into())
            .or_default()
            .push(number.unwrap_or_default().parse()?);
    }
    for key in 0..KEYS {
        let expected: Vec<usize> = (0..COUNT).filter(|number| number % KEYS == key).collect();
        ensure_eq!(by_topic.get(&format!("plant/{key}")), Some(&expected), "what plant/{key} got, in order");
    }
    gateway.stop()
}

/// Standard Webhooks 1.0: `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.
fn check_signature(hook: &Hook) -> Outcome {
    let header = |name: &str| hook.header(name).unwrap_or_default().to_owned();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET)?;
    mac.update(format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).as_bytes());
    mac.update(&hook.body);
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    let got = header("webhook-signature");
    ensure!(got.split(' ').any(|signature| signature == expected), "signature {got}, expected {expected}");
    Ok(())
}

fn bridge(port: u16) -> Settings {
    Settings::file(format!(
        "[[bridge]]\n\
         name = \"to-web\"\n\
         kind = \"webhook\"\n\
         topics = [\"plant/#\"]\n\
         url = \"http://127.0.0.1:{port}/hook\"\n\
         retry_delay_min_millis = 50\n\
         retry_delay_max_millis = 400\n\
         secret = \"whsec_{}\"\n",
        STANDARD.encode(SECRET)
    ))
}
