use std::net::SocketAddr;

use gateway_config::{Bind, Settings};

/// A listener that is open.
pub struct Listening {
    pub name: String,
    pub protocol: String,
    pub bind: Bind,
    pub encrypted: bool,
}

/// Says what listens where, what is closed, and how to open it.
pub fn print(settings: &Settings, listening: &[Listening], admin: Option<SocketAddr>) {
    println!(
        "tidegate {} \"{}\", data in {}",
        env!("CARGO_PKG_VERSION"),
        settings.node.name,
        settings.node.data_dir.display()
    );
    let bridges = || settings.bridges().iter().filter(|bridge| bridge.enabled);
    let names =
        listening.iter().map(|listener| listener.name.len()).chain(bridges().map(|bridge| bridge.name.len()));
    let width = names.max().unwrap_or(0).max("admin".len()) + 1;
    for listener in listening {
        println!("  {:<width$} {:<42} {}", listener.name, url(settings, listener), reach(&listener.bind));
    }
    if let Some(address) = admin {
        println!(
            "  {:<width$} {:<42} /healthz /readyz /metrics /api/v1/drops",
            "admin",
            format!("http://{address}")
        );
    }
    for bridge in bridges() {
        let topics: Vec<_> = bridge.topics.iter().map(ToString::to_string).collect();
        println!("  {:<width$} {} from {}", bridge.name, bridge.kind, topics.join(", "));
    }
    if listening.iter().all(|listener| listener.bind.is_local()) {
        println!("Closed to other machines. To open MQTT to them: --set listener.mqtt.bind=0.0.0.0:1883");
        let access = settings.section::<gateway_access::Config>("access").unwrap_or_default();
        if !access.has_users() {
            println!("and a user for them to log in with: [[access.user]] in a file given with --config");
        }
    }
    println!("ready");
}

fn url(settings: &Settings, listener: &Listening) -> String {
    let secure = if listener.encrypted { "s" } else { "" };
    let Bind::Internet(address) = listener.bind else { return listener.bind.to_string() };
    match listener.protocol.as_str() {
        "mqtt-ws" => {
            let path = settings.section::<protocol_mqtt_ws::Config>("mqtt-ws").unwrap_or_default().path;
            format!("ws{secure}://{address}{path}")
        }
        "coap" => format!("coap://{address}/ps/{{topic}}"),
        "lwm2m" => format!("coap://{address}/rd"),
        other => format!("{other}{secure}://{address}"),
    }
}

fn reach(bind: &Bind) -> &'static str {
    if bind.is_local() { "this machine only" } else { "open to the network" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    #[test]
    fn the_url_of_a_websocket_holds_its_path() {
        let layers = gateway_config::Layers::new().set("mqtt-ws.path=/iot/ws");
        let settings = layers.load(&catalog::known()).unwrap_or_else(|problems| panic!("{problems}"));
        let url = |protocol: &str, bind: Bind, encrypted| {
            url(&settings, &Listening { name: String::new(), protocol: protocol.to_owned(), bind, encrypted })
        };
        let bind = Bind::from(SocketAddr::from(([127, 0, 0, 1], 8083)));
        assert_eq!(url("mqtt-ws", bind.clone(), false), "ws://127.0.0.1:8083/iot/ws");
        assert_eq!(url("mqtt-ws", bind.clone(), true), "wss://127.0.0.1:8083/iot/ws");
        assert_eq!(url("mqtt", bind.clone(), false), "mqtt://127.0.0.1:8083");
        assert_eq!(url("mqtt", bind, true), "mqtts://127.0.0.1:8083");
        assert_eq!(url("mqtt", Bind::Unix("/run/mqtt.sock".into()), false), "unix:/run/mqtt.sock");
    }
}
