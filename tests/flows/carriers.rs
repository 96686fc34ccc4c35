//! MQTT over TLS, secure WebSocket and Unix sockets, with certificates made here.

use std::process::Command;

use crate::harness::certificates::Authority;
use crate::harness::gateway::Settings;
use crate::harness::lwm2m::node;
use crate::harness::mqtt::{BOTH_VERSIONS, Subscriber, publish, tool};
use crate::harness::{Gateway, Outcome, World, place};
use crate::{ensure, ensure_eq};

crate::cases!("carriers":
    mosquitto_speaks_over_tls_with_whoever_speaks_without,
    only_a_client_with_a_certificate_comes_in_where_one_is_required,
    the_name_in_its_certificate_is_a_client_s_user_name,
    npm_mqtt_speaks_over_mqtts_and_wss,
    paho_speaks_over_mqtts_and_wss,
    a_new_certificate_is_served_after_sighup_and_the_old_clients_stay,
    a_changed_certificate_is_noticed_and_a_wrong_one_is_not_used,
    mosquitto_speaks_through_a_unix_socket,
    check_reads_the_certificates,
);

/// A gateway with an encrypted listener for MQTT and one for WebSocket.
struct Secure {
    gateway: Gateway,
    authority: Authority,
    mqtts: u16,
    wss: u16,
}

/// Clients show a certificate, and are who it says.
const NAMED: &str = "client_auth = \"required\"\nclient_ca_file = \"pki/ca.pem\"\nidentity = \"common_name\"";

impl Secure {
    fn start(world: &mut World, tls: &str) -> Outcome<Self> {
        Self::start_with(world, tls, "")
    }

    /// `tls` goes into that table of both listeners, `more` is the rest of the file.
    fn start_with(world: &mut World, tls: &str, more: &str) -> Outcome<Self> {
        let authority = Authority::new(world.dir.join("pki"), "our authority")?;
        authority.issue("server")?;
        let (mqtts, wss) = (place::free_port(), place::free_port());
        let section = |name: &str, protocol: &str, port: u16| {
            format!(
                "[listener.{name}]\nprotocol = \"{protocol}\"\nbind = \"127.0.0.1:{port}\"\n\
                 [listener.{name}.tls]\ncert_file = \"pki/server.pem\"\nkey_file = \"pki/server.key\"\n{tls}\n"
            )
        };
        let file = section("mqtts", "mqtt", mqtts) + &section("wss", "mqtt-ws", wss) + more;
        let gateway = Gateway::start_with(world, Settings::file(file))?;
        Ok(Self { gateway, authority, mqtts, wss })
    }
}

fn mosquitto_speaks_over_tls_with_whoever_speaks_without(world: &mut World) -> Outcome {
    let secure = Secure::start(world, "")?;
    let ca = secure.authority.path("ca.pem");
    secure.gateway.process.line(&format!("mqtts://127.0.0.1:{}", secure.mqtts), 5)?;
    secure.gateway.process.line(&format!("wss://127.0.0.1:{}/mqtt", secure.wss), 5)?;
    for (version, tls) in BOTH_VERSIONS.into_iter().zip(["tlsv1.2", "tlsv1.3"]) {
        let over_tls = ["--cafile", &ca, "--tls-version", tls, "-V", version];
        let subscribe = [&over_tls[..], &["-t", "a/#", "-q", "2"]].concat();
        let inside = Subscriber::start(world, secure.mqtts, &subscribe)?;
        let outside = Subscriber::start(world, secure.gateway.ports.mqtt, &["-t", "a/#", "-q", "2"])?;
        publish(world, secure.gateway.ports.mqtt, &["-t", "a/plain", "-q", "1", "-m", "from outside"])?;
        let long = "x".repeat(100_000);
        let file = world.write("long.txt", &long)?.display().to_string();
        let send = [&over_tls[..], &["-t", "a/secure", "-q", "2", "-f", &file]].concat();
        publish(world, secure.mqtts, &send)?;
        for subscriber in [&inside, &outside] {
            ensure_eq!(subscriber.on_topic("a/plain")?.payload, "from outside", "the message in clear");
            ensure!(subscriber.on_topic("a/secure")?.payload == long, "the long one is another");
        }
    }
    secure.gateway.stop()
}

fn only_a_client_with_a_certificate_comes_in_where_one_is_required(world: &mut World) -> Outcome {
    let secure = Secure::start(world, NAMED)?;
    secure.authority.issue("press-17")?;
    let other = Authority::new(world.dir.join("other"), "another authority")?;
    other.issue("press-17")?;
    let ca = secure.authority.path("ca.pem");
    let with = |authority: &Authority| {
        ["--cafile", &ca, "--cert", &authority.path("press-17.pem"), "--key", &authority.path("press-17.key")]
            .map(str::to_owned)
    };
    for refused in [vec!["--cafile".to_owned(), ca.clone()], with(&other).to_vec()] {
        let mut command = tool("mosquitto_pub", secure.mqtts)?;
        command.args(&refused).args(["-t", "a", "-m", "no"]);
        let finished = world.run("mosquitto_pub", &mut command, 20)?;
        ensure!(finished.code != Some(0), "it got in with {refused:?}");
    }
    let heard = Subscriber::start(world, secure.gateway.ports.mqtt, &["-t", "a"])?;
    let ours = with(&secure.authority);
    let ours: Vec<&str> =
        ours.iter().map(String::as_str).chain(["-t", "a", "-q", "1", "-m", "yes"]).collect();
    publish(world, secure.mqtts, &ours)?;
    ensure_eq!(heard.message()?.payload, "yes", "from the one with a certificate");
    let failed = secure.gateway.metric("tidegate_handshakes_failed_total")?;
    ensure_eq!(failed, Some(2.0), "handshakes that failed");
    secure.gateway.process.line("a connection was closed before its protocol began", 5)?;
    secure.gateway.stop()
}

fn the_name_in_its_certificate_is_a_client_s_user_name(world: &mut World) -> Outcome {
    world.write("rules.acl", "allow all own/${username}/#\nallow subscribe #\n")?;
    let access = "[access]\nacl_file = \"rules.acl\"\n";
    let secure = Secure::start_with(world, NAMED, access)?;
    secure.authority.issue("press-17")?;
    let path = |name: &str| secure.authority.path(name);
    let ours = ["--cafile", &path("ca.pem"), "--cert", &path("press-17.pem"), "--key", &path("press-17.key")]
        .map(str::to_owned);
    let ours: Vec<&str> = ours.iter().map(String::as_str).collect();
    let heard = Subscriber::start(world, secure.gateway.ports.mqtt, &["-t", "own/#"])?;
    let mut refused = tool("mosquitto_pub", secure.mqtts)?;
    refused.args(&ours).args(["-V", "5", "-q", "1", "-t", "own/press-18/level", "-m", "not its own"]);
    world.run("mosquitto_pub", &mut refused, 20)?;
    let mut impostor = tool("mosquitto_pub", secure.mqtts)?;
    impostor.args(&ours).args([
        "-u",
        "press-18",
        "-P",
        "x",
        "-t",
        "own/press-18/level",
        "-m",
        "an impostor's",
    ]);
    ensure!(world.run("mosquitto_pub", &mut impostor, 20)?.code != Some(0), "another user name is accepted");
    publish(
        world,
        secure.mqtts,
        &[&ours[..], &["-q", "1", "-t", "own/press-17/level", "-m", "its own"]].concat(),
    )?;
    let first = heard.message()?;
    ensure_eq!(
        (first.topic.as_str(), first.payload.as_str()),
        ("own/press-17/level", "its own"),
        "what is heard"
    );
    secure.gateway.stop()
}

fn npm_mqtt_speaks_over_mqtts_and_wss(world: &mut World) -> Outcome {
    let secure = Secure::start(world, "")?;
    let urls =
        [format!("mqtts://127.0.0.1:{}", secure.mqtts), format!("wss://127.0.0.1:{}/mqtt", secure.wss)];
    let heard = Subscriber::start(world, secure.gateway.ports.mqtt, &["-t", "web/#", "-q", "2"])?;
    for (number, url) in urls.iter().enumerate() {
        for (version, content_type) in [("4", "-"), ("5", "text/plain")] {
            let run = |world: &mut World, arguments: &[&str]| {
                let mut command = node("mqtt_npm.js")?;
                command.env("NODE_EXTRA_CA_CERTS", secure.authority.path("ca.pem"));
                world.spawn("npm mqtt", command.args([url, version]).args(arguments))
            };
            let topic = format!("web/{number}/{version}");
            let mut listener = run(world, &["sub", &topic, "1"])?;
            listener.line("SUBSCRIBED 2", 20)?;
            let finished = run(world, &["pub", &topic, "from the web", "2"])?.finish(20)?;
            ensure_eq!(finished.code, Some(0), "npm mqtt's end");
            listener.line(&format!("MESSAGE {topic} 2 {content_type} from the web"), 10)?;
            listener.finish(10)?;
            ensure_eq!(heard.on_topic(&topic)?.payload, "from the web", "over TCP");
        }
    }
    secure.gateway.stop()
}

fn paho_speaks_over_mqtts_and_wss(world: &mut World) -> Outcome {
    let secure = Secure::start(world, "")?;
    for version in BOTH_VERSIONS {
        let mut command = Command::new(place::program("python")?);
        command.arg(place::interop("mqtt_paho.py")).arg(version);
        command.args([secure.mqtts.to_string(), secure.wss.to_string(), secure.authority.path("ca.pem")]);
        let finished = world.succeed("paho", &mut command, 60)?;
        ensure!(finished.text().contains("HEARD ALL"), "Paho did not hear all");
    }
    secure.gateway.stop()
}

fn a_new_certificate_is_served_after_sighup_and_the_old_clients_stay(world: &mut World) -> Outcome {
    let secure = Secure::start(world, "")?;
    let old = secure.authority.path("ca.pem");
    // Its keep-alive lets it notice a dead connection.
    let live = Subscriber::start(world, secure.mqtts, &["--cafile", &old, "-k", "5", "-t", "a"])?;
    let successor = Authority::new(world.dir.join("new"), "the next authority")?;
    successor.issue("server")?;
    for name in ["server.pem", "server.key"] {
        std::fs::copy(successor.path(name), secure.authority.path(name))?;
    }
    secure.gateway.process.signal("HUP")?;
    secure
        .gateway
        .process
        .lines("both listeners", 2, 10, |line| line.contains("certificates were read again"))?;
    let mut command = tool("mosquitto_pub", secure.mqtts)?;
    command.args(["--cafile", &old, "-t", "a", "-m", "distrusted"]);
    ensure!(world.run("mosquitto_pub", &mut command, 20)?.code != Some(0), "the old certificate is served");
    publish(
        world,
        secure.mqtts,
        &["--cafile", &successor.path("ca.pem"), "-t", "a", "-q", "1", "-m", "trusted"],
    )?;
    ensure_eq!(live.message()?.payload, "trusted", "what the old client hears, on its old connection");
    secure.gateway.stop()
}

fn a_changed_certificate_is_noticed_and_a_wrong_one_is_not_used(world: &mut World) -> Outcome {
    let secure = Secure::start(world, "")?;
    let ca = secure.authority.path("ca.pem");
    std::fs::write(secure.authority.path("server.pem"), "half a certificate")?;
    let name = secure.authority.path("server.pem");
    secure.gateway.process.line(&format!("{name}: holds no certificate in PEM; what was read before"), 15)?;
    publish(world, secure.mqtts, &["--cafile", &ca, "-t", "a", "-q", "1", "-m", "still served"])?;
    secure.authority.issue("server")?;
    secure.gateway.process.line("certificates were read again", 15)?;
    publish(world, secure.mqtts, &["--cafile", &ca, "-t", "a", "-q", "1", "-m", "served again"])?;
    secure.gateway.stop()
}

fn mosquitto_speaks_through_a_unix_socket(world: &mut World) -> Outcome {
    // Under the system's folder: a socket's path has at most 107 bytes.
    let path = std::env::temp_dir().join(format!("tidegate-flow-{}.sock", std::process::id()));
    let name = path.display().to_string();
    let section = format!("[listener.local]\nprotocol = \"mqtt\"\nbind = \"unix:{name}\"\n");
    let gateway = Gateway::start_with(world, Settings::file(section))?;
    gateway.process.line(&format!("unix:{name}"), 5)?;
    let heard = Subscriber::start(world, gateway.ports.mqtt, &["-t", "a", "-q", "1"])?;
    publish(world, 0, &["--unix", &name, "-t", "a", "-q", "1", "-m", "from next door"])?;
    ensure_eq!(heard.message()?.payload, "from next door", "over TCP");
    gateway.stop()?;
    ensure!(!path.exists(), "the socket's file is left behind");
    Ok(())
}

fn check_reads_the_certificates(world: &mut World) -> Outcome {
    let file = world.write(
        "tls.toml",
        "[listener.mqtts]\nprotocol = \"mqtt\"\nbind = \"127.0.0.1:8883\"\n\
         tls = { cert_file = \"pki/server.pem\", key_file = \"pki/server.key\" }\n",
    )?;
    let mut check = Command::new(place::tidegate()?);
    let finished = world.run("tidegate check", check.arg("check").arg(&file), 10)?;
    let words = format!("listener.mqtts.tls.cert_file: {}/pki/server.pem: No such file", world.dir.display());
    ensure!(finished.code == Some(1) && finished.text().contains(&words), "{}", finished.text());
    Authority::new(world.dir.join("pki"), "ours")?.issue("server")?;
    let mut check = Command::new(place::tidegate()?);
    world.succeed("tidegate check", check.arg("check").arg(&file), 10)?;
    Ok(())
}
