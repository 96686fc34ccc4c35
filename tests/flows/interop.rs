//! MQTT clients by other people, in both versions: gmqtt, rumqttc, npm mqtt over TCP, and a page in Chromium.
//!
//! Paho, and npm mqtt over WebSocket, are in `mqtt.rs` and `websocket.rs`.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::gateway::Settings;
use crate::harness::lwm2m::node;
use crate::harness::mqtt::{BOTH_VERSIONS, Subscriber, publish};
use crate::harness::{Gateway, Outcome, Process, Stop, World, place};
use crate::{ensure, ensure_eq};

crate::cases!("interop":
    a_page_in_chromium_publishes_and_subscribes,
    a_page_of_another_origin_is_refused,
    gmqtt_talks_in_both_versions,
    npm_mqtt_talks_over_tcp,
    npm_mqtt_knows_topics_by_their_aliases,
    npm_mqtt_is_sent_elsewhere_on_shutdown,
    rumqttc_talks_in_3_1_1,
    rumqttc_talks_in_5,
);

const PATIENCE: Duration = Duration::from_secs(15);

/// npm mqtt's names of 3.1.1 and 5, and mosquitto's.
const VERSIONS: [(&str, &str); 2] = [("4", "311"), ("5", "5")];

fn a_page_in_chromium_publishes_and_subscribes(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let port = gateway.ports.mqtt;
    for (npm, mosquitto) in VERSIONS {
        let heard = Subscriber::start(world, port, &["-V", mosquitto, "-t", "browser/out/#", "-q", "2"])?;
        let mut page = browse(world, &gateway, npm)?;
        page.line("SUBSCRIBED 2", 60)?;
        for qos in ["0", "1", "2"] {
            let got = heard.on_topic(&format!("browser/out/{qos}"))?;
            ensure_eq!((got.payload.as_str(), got.qos.to_string().as_str()), ("21.5 °C", qos), "the message");
            let expected = if npm == "5" { ("text/plain", "site:web") } else { ("", "") };
            ensure_eq!((got.content_type.as_str(), got.user_properties.as_str()), expected, "its properties");
        }
        for qos in ["0", "1", "2"] {
            let mut arguments = vec!["-V", mosquitto, "-t", "browser/in/a", "-q", qos, "-m", "to the page"];
            if mosquitto == "5" {
                arguments.extend(["-D", "publish", "content-type", "text/plain"]);
            }
            publish(world, port, &arguments)?;
        }
        let got = page.lines("a message", 3, 15, |line| line.starts_with("MESSAGE"))?;
        let kind = if npm == "5" { "text/plain" } else { "-" };
        for (qos, line) in got.iter().enumerate() {
            ensure_eq!(
                line,
                &format!("MESSAGE browser/in/a {qos} {kind} to the page"),
                "what the page heard"
            );
        }
        page.finish(20)?;
    }
    gateway.stop()
}

fn a_page_of_another_origin_is_refused(world: &mut World) -> Outcome {
    let settings = Settings::file("[mqtt-ws]\norigins = [\"https://plant.example\"]\n");
    let gateway = Gateway::start_with(world, settings)?;
    let mut page = browse(world, &gateway, "5")?;
    page.line("ERROR", 60)?;
    ensure!(!page.finish(20)?.text().contains("CONNECTED"), "the page got in");
    gateway.stop()
}

/// Opens the page in a browser that has seen nothing before.
fn browse(world: &mut World, gateway: &Gateway, version: &str) -> Outcome<Process> {
    let mut command = node("browser.js")?;
    command.arg(place::program("chromium")?).arg(world.dir.join(format!("profile-{version}")));
    command.arg(format!("ws://127.0.0.1:{}/mqtt", gateway.ports.websocket)).arg(version);
    world.spawn("chromium", &mut command)
}

fn gmqtt_talks_in_both_versions(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    for version in BOTH_VERSIONS {
        let mut command = Command::new(place::program("python")?);
        command.arg(place::interop("mqtt_gmqtt.py")).arg(version).arg(gateway.ports.mqtt.to_string());
        let finished = world.succeed("gmqtt", &mut command, 60)?;
        ensure!(finished.text().contains("HEARD ALL"), "gmqtt with {version}");
    }
    gateway.stop()
}

fn npm_mqtt_talks_over_tcp(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let url = format!("mqtt://127.0.0.1:{}", gateway.ports.mqtt);
    for (version, _) in VERSIONS {
        let mut command = node("mqtt_npm.js")?;
        let heard = world.spawn("npm mqtt", command.args([&url, version, "sub", "npm/+", "3"]))?;
        heard.line("SUBSCRIBED 2", 15)?;
        for qos in ["0", "1", "2"] {
            let mut command = node("mqtt_npm.js")?;
            let arguments = [&url, version, "pub", &format!("npm/{qos}"), "21.5 °C", qos];
            world.succeed("npm mqtt", command.args(arguments), 20)?;
        }
        let kind = if version == "5" { "text/plain" } else { "-" };
        let got = heard.lines("a message", 3, 10, |line| line.starts_with("MESSAGE"))?;
        for (qos, line) in got.iter().enumerate() {
            ensure_eq!(line, &format!("MESSAGE npm/{qos} {qos} {kind} 21.5 °C"), "what it heard");
        }
    }
    gateway.stop()
}

/// What rumqttc published to itself: topic, QoS, payload length, content type and user properties.
type Heard = (String, u8, usize, String, String);

fn expected(properties: bool) -> Vec<Heard> {
    let (kind, user) = if properties { ("text/plain", "unit=mm") } else { ("", "") };
    [0u8, 1, 2].map(|qos| (format!("rust/{qos}"), qos, body(qos).len(), kind.into(), user.into())).into()
}

fn body(qos: u8) -> Vec<u8> {
    vec![b'x'; 1 + usize::from(qos) * 4000]
}

fn npm_mqtt_knows_topics_by_their_aliases(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let port = gateway.ports.mqtt;
    let mut command = node("mqtt_npm.js")?;
    let url = format!("mqtt://127.0.0.1:{port}");
    let heard = world.spawn("npm mqtt", command.args([&url, "5", "sub", "aliased/+", "6"]))?;
    heard.line("SUBSCRIBED 2", 15)?;
    let topics = ["aliased/a", "aliased/b"].repeat(3);
    for topic in &topics {
        publish(world, port, &["-V", "5", "-t", topic, "-q", "1", "-m", "21.5"])?;
    }
    let got = heard.lines("a message", 6, 10, |line| line.starts_with("MESSAGE"))?;
    let expected: Vec<String> = topics.iter().map(|topic| format!("MESSAGE {topic} 1 - 21.5")).collect();
    ensure_eq!(got, expected, "the topics");
    let aliases = heard.lines("an alias", 6, 10, |line| line.starts_with("ALIAS"))?;
    let expected = ["ALIAS 1 of aliased/a", "ALIAS 2 of aliased/b"].repeat(3);
    ensure_eq!(aliases, expected, "their aliases");
    gateway.stop()
}

fn npm_mqtt_is_sent_elsewhere_on_shutdown(world: &mut World) -> Outcome {
    let settings = Settings::file("[mqtt]\nserver_reference = \"other.example:1883\"\n");
    let gateway = Gateway::start_with(world, settings)?;
    let mut command = node("mqtt_npm.js")?;
    let url = format!("mqtt://127.0.0.1:{}", gateway.ports.mqtt);
    let heard = world.spawn("npm mqtt", command.args([&url, "5", "sub", "npm/+", "1"]))?;
    heard.line("SUBSCRIBED 2", 15)?;
    gateway.stop()?;
    heard.line("DISCONNECT 156 to other.example:1883", 10)?;
    Ok(())
}

fn rumqttc_talks_in_3_1_1(world: &mut World) -> Outcome {
    use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
    let gateway = Gateway::start(world)?;
    let mut options = MqttOptions::new("rumqttc-311", "127.0.0.1", gateway.ports.mqtt);
    options.set_keep_alive(Duration::from_secs(20));
    let (client, mut connection) = Client::new(options, 10);
    client.subscribe("rust/+", QoS::ExactlyOnce)?;
    let (mut heard, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while heard.len() < 3 {
        ensure!(Instant::now() < deadline, "rumqttc heard only {heard:?}");
        match connection.recv_timeout(PATIENCE).map_err(|error| Stop::Failed(format!("{error:?}")))?? {
            Event::Incoming(Packet::SubAck(_)) => {
                for (number, qos) in [(0, QoS::AtMostOnce), (1, QoS::AtLeastOnce), (2, QoS::ExactlyOnce)] {
                    client.publish(format!("rust/{number}"), qos, false, body(number))?;
                }
            }
            Event::Incoming(Packet::Publish(got)) => {
                heard.push((got.topic, got.qos as u8, got.payload.len(), String::new(), String::new()));
            }
            _ => {}
        }
    }
    heard.sort();
    ensure_eq!(heard, expected(false), "what rumqttc heard");
    client.disconnect()?;
    while !matches!(connection.recv_timeout(PATIENCE), Ok(Err(_)) | Err(_)) {}
    gateway.stop()
}

fn rumqttc_talks_in_5(world: &mut World) -> Outcome {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
    use rumqttc::v5::{Client, Event, MqttOptions};
    let gateway = Gateway::start(world)?;
    let mut options = MqttOptions::new("rumqttc-5", "127.0.0.1", gateway.ports.mqtt);
    options.set_keep_alive(Duration::from_secs(20));
    let (client, mut connection) = Client::new(options, 10);
    client.subscribe("rust/+", QoS::ExactlyOnce)?;
    let properties = PublishProperties {
        content_type: Some("text/plain".into()),
        user_properties: vec![("unit".into(), "mm".into())],
        ..PublishProperties::default()
    };
    let (mut heard, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while heard.len() < 3 {
        ensure!(Instant::now() < deadline, "rumqttc heard only {heard:?}");
        match connection.recv_timeout(PATIENCE).map_err(|error| Stop::Failed(format!("{error:?}")))?? {
            Event::Incoming(Packet::SubAck(_)) => {
                for (number, qos) in [(0, QoS::AtMostOnce), (1, QoS::AtLeastOnce), (2, QoS::ExactlyOnce)] {
                    let topic = format!("rust/{number}");
                    client.publish_with_properties(topic, qos, false, body(number), properties.clone())?;
                }
            }
            Event::Incoming(Packet::Publish(got)) => {
                let told = got.properties.unwrap_or_default();
                let user: Vec<_> =
                    told.user_properties.iter().map(|(name, value)| format!("{name}={value}")).collect();
                let topic = String::from_utf8_lossy(&got.topic).into_owned();
                let kind = told.content_type.unwrap_or_default();
                heard.push((topic, got.qos as u8, got.payload.len(), kind, user.join(" ")));
            }
            _ => {}
        }
    }
    heard.sort();
    ensure_eq!(heard, expected(true), "what rumqttc heard");
    client.disconnect()?;
    while !matches!(connection.recv_timeout(PATIENCE), Ok(Err(_)) | Err(_)) {}
    gateway.stop()
}
