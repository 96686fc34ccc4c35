use std::net::SocketAddr;

use gateway_config::Settings;

/// A listener that is open.
pub struct Listening {
    pub name: String,
    pub protocol: String,
    pub address: SocketAddr,
}

/// Says what listens where, what is closed, and how to open it.
pub fn print(settings: &Settings, listening: &[Listening], admin: Option<SocketAddr>) {
    println!("tidegate {} \"{}\", data in {}", env!("CARGO_PKG_VERSION"), settings.node.name, settings.node.data_dir.display());
    for Listening { name, protocol, address } in listening {
        println!("  {name:<12} {:<42} {}", url(protocol, *address), reach(*address));
    }
    if let Some(address) = admin {
        println!("  {:<12} {:<42} /healthz /readyz /metrics", "admin", format!("http://{address}"));
    }
    for bridge in settings.bridges().iter().filter(|bridge| bridge.enabled) {
        let topics: Vec<_> = bridge.topics.iter().map(ToString::to_string).collect();
        println!("  {:<12} {} from {}", bridge.name, bridge.kind, topics.join(", "));
    }
    if listening.iter().all(|listener| listener.address.ip().is_loopback()) {
        println!("Closed to other machines. To open MQTT to them: --set listener.mqtt.bind=0.0.0.0:1883");
        println!("and a user for them to log in with: [[access.user]] in a file given with --config");
    }
    println!("ready");
}

fn url(protocol: &str, address: SocketAddr) -> String {
    match protocol {
        "mqtt-ws" => format!("ws://{address}/mqtt"),
        "coap" => format!("coap://{address}/ps/{{topic}}"),
        "lwm2m" => format!("coap://{address}/rd"),
        other => format!("{other}://{address}"),
    }
}

fn reach(address: SocketAddr) -> &'static str {
    if address.ip().is_loopback() { "this machine only" } else { "open to the network" }
}
