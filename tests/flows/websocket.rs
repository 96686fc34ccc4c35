//! npm mqtt over WebSocket, and mosquitto over TCP at the other end.

use crate::harness::lwm2m::node;
use crate::harness::mqtt::{Subscriber, publish};
use crate::harness::{Gateway, Outcome, Process, World};
use crate::{ensure, ensure_eq};

crate::cases!("websocket":
    a_browser_client_hears_what_is_published_over_tcp,
    a_browser_client_publishes_to_a_tcp_subscriber,
);

/// npm mqtt's names of 3.1.1 and 5, and mosquitto's.
const VERSIONS: [(&str, &str); 2] = [("4", "311"), ("5", "5")];

fn a_browser_client_hears_what_is_published_over_tcp(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    for (npm, mosquitto) in VERSIONS {
        let heard = run(world, &gateway, npm, &["sub", "plant/+/temp", "3"])?;
        ensure_eq!(heard.line("SUBSCRIBED", 15)?, "SUBSCRIBED 2", "granted QoS");
        for qos in ["0", "1", "2"] {
            let mut arguments = vec!["-V", mosquitto, "-t", "plant/7/temp", "-q", qos, "-m", "21.5 °C"];
            if mosquitto == "5" {
                arguments.extend(["-D", "publish", "content-type", "text/plain"]);
            }
            publish(world, gateway.ports.mqtt, &arguments)?;
        }
        let got = heard.lines("a message", 3, 10, |line| line.starts_with("MESSAGE"))?;
        let kind = if mosquitto == "5" { "text/plain" } else { "-" };
        for (qos, line) in got.iter().enumerate() {
            ensure_eq!(line, &format!("MESSAGE plant/7/temp {qos} {kind} 21.5 °C"), "what it heard");
        }
    }
    gateway.stop()
}

fn a_browser_client_publishes_to_a_tcp_subscriber(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let heard = Subscriber::start(world, gateway.ports.mqtt, &["-V", "5", "-t", "web/#", "-q", "2"])?;
    for (npm, _) in VERSIONS {
        for qos in ["0", "1", "2"] {
            let topic = format!("web/{npm}/{qos}");
            let finished = run(world, &gateway, npm, &["pub", &topic, "from the web", qos])?.finish(20)?;
            ensure!(finished.code == Some(0), "npm mqtt ended with {:?}", finished.code);
            let got = heard.on_topic(&topic)?;
            ensure_eq!(
                (got.payload.as_str(), got.qos.to_string().as_str()),
                ("from the web", qos),
                "the message"
            );
            if npm == "5" {
                ensure_eq!(
                    (got.content_type.as_str(), got.user_properties.as_str()),
                    ("text/plain", "site:ws"),
                    "properties"
                );
            }
        }
    }
    gateway.stop()
}

fn run(world: &mut World, gateway: &Gateway, version: &str, arguments: &[&str]) -> Outcome<Process> {
    let mut command = node("mqtt_npm.js")?;
    command.arg(format!("ws://127.0.0.1:{}/mqtt", gateway.ports.websocket)).arg(version).args(arguments);
    world.spawn("npm mqtt", &mut command)
}
