//! What the gateway does without being asked: `$SYS`, events, renamed topics, subscriptions.

use crate::harness::gateway::Settings;
use crate::harness::mqtt::{BOTH_VERSIONS, Subscriber, publish, tool};
use crate::harness::{Gateway, Outcome, Stop, World, coap, place};
use crate::{ensure, ensure_eq};

crate::cases!("services":
    the_gateway_tells_of_itself_in_sys,
    clients_that_come_and_go_are_told,
    a_takeover_is_told_in_its_order,
    topics_are_rewritten_for_publishers_and_subscribers,
    a_client_is_subscribed_without_asking,
    two_listeners_with_mount_points_do_not_meet,
    a_delayed_message_of_a_mounted_client_stays_below_its_mount_point,
    a_client_whose_name_does_not_fit_the_mount_point_is_refused,
);

fn the_gateway_tells_of_itself_in_sys(world: &mut World) -> Outcome {
    let set = ["node.name=press", "sys.interval_secs=1", "sys.heartbeat_secs=1"].map(str::to_owned);
    let gateway = Gateway::start_with(world, Settings { set: set.into(), ..Settings::default() })?;
    let port = gateway.ports.mqtt;
    for version in BOTH_VERSIONS {
        let heard = Subscriber::start(world, port, &["-V", version, "-t", "$SYS/#"])?;
        let retained = heard.on_topic("$SYS/brokers/press/version")?;
        ensure!(retained.retain && retained.payload.starts_with("0."), "the version: {retained:?}");
        ensure_eq!(heard.on_topic("$SYS/brokers")?.payload, "press".to_owned(), "the nodes");
        for topic in [
            "$SYS/brokers/press/uptime",
            "$SYS/broker/press/datetime",
            "$SYS/broker/uptime",
            "$SYS/brokers/press/stats/connections/max",
            "$SYS/broker/press/stats/subscriptions.count",
            "$SYS/brokers/press/metrics/messages/received",
        ] {
            ensure!(!heard.on_topic(topic)?.retain, "{topic} is retained");
        }
        heard.matching("$SYS/brokers/press/stats/connections.count", |count| count == "1")?;
        heard.matching("$SYS/broker/clients/connected", |count| count == "1")?;
        heard.matching("$SYS/brokers/press/metrics/packets/connect/received", |count| count != "0")?;
        publish(world, port, &["-t", "a", "-m", "x", "-q", "1"])?;
        heard.matching("$SYS/brokers/press/messages/qos1/received", |count| count != "0")?;
    }
    let everything = Subscriber::start(world, port, &["-t", "#"])?;
    publish(world, port, &["-t", "end", "-m", "x", "-q", "1"])?;
    everything.on_topic("end")?;
    ensure_eq!(everything.so_far()?.len(), 1, "messages that # matches");
    gateway.stop()
}

fn clients_that_come_and_go_are_told(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let port = gateway.ports.mqtt;
    let heard = Subscriber::start(world, port, &["-t", "$SYS/brokers/+/clients/#"])?;
    let topic = |id: &str, what: &str| format!("$SYS/brokers/tidegate/clients/{id}/{what}");
    for (version, level) in [("311", 4), ("5", 5)] {
        let id = format!("press-{version}");
        publish(world, port, &["-V", version, "-i", &id, "-k", "77", "-t", "a", "-m", "x"])?;
        let event = json(&heard.on_topic(&topic(&id, "connected"))?.payload)?;
        let expected = serde_json::json!({
            "clientid": id, "ipaddress": "127.0.0.1", "sockport": port, "proto_name": "MQTT",
            "proto_ver": level, "keepalive": 77, "clean_start": true, "connack": 0,
        });
        for (key, value) in expected.as_object().into_iter().flatten() {
            ensure_eq!(&event[key], value, "{key}");
        }
        let event = json(&heard.on_topic(&topic(&id, "disconnected"))?.payload)?;
        ensure_eq!(&event["reason"], &serde_json::Value::from("normal"), "the reason of a goodbye");
    }
    let mut killed = Subscriber::start(world, port, &["-i", "lost/1", "-t", "x"])?;
    killed.process.kill()?;
    let event = json(&heard.on_topic(&topic("lost%2F1", "disconnected"))?.payload)?;
    ensure_eq!(&event["clientid"], &serde_json::Value::from("lost/1"), "whose event it is");
    ensure_eq!(&event["reason"], &serde_json::Value::from("connection_lost"), "the reason");
    if place::program("coap-client-notls").is_ok() {
        coap::request(world, gateway.ports.coap, &["-m", "put", "-e", "x"], "/ps/a?clientid=probe")?;
        let is_coap = |payload: &str| payload.contains("\"proto_name\":\"coap\"");
        let all = heard.process.lines("an event of CoAP", 1, 10, |line| is_coap(line))?;
        ensure!(!all.is_empty(), "a CoAP client was not told of");
    }
    gateway.stop()
}

fn a_takeover_is_told_in_its_order(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let port = gateway.ports.mqtt;
    let heard = Subscriber::start(world, port, &["-q", "1", "-t", "$SYS/brokers/+/clients/twin/+"])?;
    let _first = Subscriber::start(world, port, &["-V", "5", "-i", "twin", "-t", "x"])?;
    heard.messages(1, 10)?;
    let _second = Subscriber::start(world, port, &["-V", "5", "-i", "twin", "-t", "x"])?;
    let told: Vec<_> = heard.messages(3, 10)?.into_iter().map(|got| (got.topic, got.payload)).collect();
    let ends = ["connected", "disconnected", "connected"];
    for ((topic, payload), end) in told.iter().zip(ends) {
        ensure!(topic.ends_with(&format!("/{end}")), "{end} expected, not {topic}");
        ensure!(
            end == "connected" || payload.contains("session_taken_over"),
            "the reason of the takeover: {payload}"
        );
    }
    gateway.stop()
}

fn topics_are_rewritten_for_publishers_and_subscribers(world: &mut World) -> Outcome {
    let settings = Settings::file(
        r#"
        [[rewrite]]
        source = "x/#"
        pattern = "^x/y/(.+)$"
        target = "z/y/$1"

        [[rewrite]]
        action = "publish"
        source = "up/#"
        pattern = "^up/(.+)$"
        target = "devices/${clientid}/$1"
        "#,
    );
    let gateway = Gateway::start_with(world, settings)?;
    let port = gateway.ports.mqtt;
    let observer = Subscriber::start(world, port, &["-t", "z/#", "-t", "devices/#", "-t", "will/#"])?;
    let rewritten = Subscriber::start(world, port, &["-t", "x/y/+"])?;
    publish(world, port, &["-t", "x/y/1", "-m", "one"])?;
    observer.on_topic("z/y/1")?;
    rewritten.on_topic("z/y/1")?;
    if place::program("coap-client-notls").is_ok() {
        let coap_port = gateway.ports.coap;
        coap::request(world, coap_port, &["-m", "put", "-e", "two"], "/ps/x/y/2")?;
        observer.matching("z/y/2", |payload| payload == "two")?;
        let got = coap::request(world, coap_port, &["-m", "get"], "/ps/x/y/2")?;
        ensure!(got.text().contains("two"), "what CoAP reads: {}", got.text());
    }
    for version in BOTH_VERSIONS {
        let id = format!("press-{version}");
        publish(world, port, &["-V", version, "-i", &id, "-t", "up/temp", "-q", "1", "-m", version])?;
        observer.matching(&format!("devices/{id}/temp"), |payload| payload == version)?;
    }
    let will = ["--will-topic", "up/will", "--will-payload", "died"];
    let mut doomed = Subscriber::start(world, port, &[&["-i", "doomed", "-t", "q"][..], &will].concat())?;
    doomed.process.kill()?;
    observer.on_topic("devices/doomed/will")?;
    gateway.stop()
}

fn a_client_is_subscribed_without_asking(world: &mut World) -> Outcome {
    let settings = Settings::file("[[auto_subscribe]]\ntopic = \"devices/${clientid}/in\"\nqos = 1\n");
    let gateway = Gateway::start_with(world, settings)?;
    let port = gateway.ports.mqtt;
    publish(world, port, &["-t", "devices/d1/in", "-r", "-q", "1", "-m", "retained"])?;
    for version in BOTH_VERSIONS {
        // Its own subscription is another one, and one message comes once.
        let device = Subscriber::start(world, port, &["-V", version, "-i", "d1", "-t", "other"])?;
        ensure_eq!(device.message()?.payload, "retained".to_owned(), "what was retained");
        publish(world, port, &["-t", "devices/d1/in", "-q", "1", "-m", version])?;
        publish(world, port, &["-t", "other", "-q", "1", "-m", "end"])?;
        device.on_topic("other")?;
        let got: Vec<_> = device.so_far()?.into_iter().map(|got| (got.payload, got.qos)).collect();
        let expected = [("retained", 1), (version, 1), ("end", 0)].map(|(text, qos)| (text.to_owned(), qos));
        ensure_eq!(got, expected.to_vec(), "payload and QoS with {version}");
    }
    gateway.stop()
}

/// A gateway with a second MQTT listener; each has a mount point. Returns its port too.
fn mounted(world: &mut World) -> Outcome<(Gateway, u16)> {
    let second = place::free_port();
    let settings = Settings::file(format!(
        "[listener.mqtt]\nmountpoint = \"site-a/\"\n[listener.second]\nprotocol = \"mqtt\"\n\
         bind = \"127.0.0.1:{second}\"\nmountpoint = \"site-b/${{clientid}}/\"\n"
    ));
    Ok((Gateway::start_with(world, settings)?, second))
}

fn two_listeners_with_mount_points_do_not_meet(world: &mut World) -> Outcome {
    let (gateway, second) = mounted(world)?;
    let first = gateway.ports.mqtt;
    let everything = Subscriber::start(world, first, &["-V", "5", "-t", "#"])?;
    let device = Subscriber::start(world, second, &["-V", "5", "-i", "d1", "-t", "#"])?;
    publish(world, first, &["-t", "temp", "-q", "1", "-m", "a"])?;
    let properties = ["-D", "publish", "response-topic", "answers/7"];
    let own = [&["-V", "5", "-i", "d1-pub", "-t", "temp", "-q", "1", "-m", "b"][..], &properties].concat();
    publish(world, second, &own)?;
    publish(world, first, &[&["-V", "5", "-t", "ask", "-q", "1", "-m", "c"][..], &properties].concat())?;
    let asked = everything.on_topic("ask")?;
    ensure_eq!(asked.response_topic, "answers/7".to_owned(), "the response topic below the mount point");
    ensure_eq!(everything.so_far()?.len(), 2, "messages of the first listener");
    ensure!(device.so_far()?.is_empty(), "another client's message crossed a mount point");
    // CoAP has no mount point: the whole tree is there.
    if place::program("coap-client-notls").is_ok() {
        let coap_port = gateway.ports.coap;
        coap::request(world, coap_port, &["-m", "put", "-e", "in"], "/ps/site-b/d1/set")?;
        ensure_eq!(device.on_topic("set")?.payload, "in".to_owned(), "what came from outside");
    }
    publish(world, first, &["-t", "kept", "-r", "-q", "1", "-m", "x"])?;
    let late = Subscriber::start(world, first, &["-t", "kept"])?;
    ensure!(late.message()?.retain, "the retained message");
    gateway.stop()
}

fn a_delayed_message_of_a_mounted_client_stays_below_its_mount_point(world: &mut World) -> Outcome {
    let (gateway, second) = mounted(world)?;
    let everything = Subscriber::start(world, gateway.ports.mqtt, &["-t", "#"])?;
    let device = Subscriber::start(world, second, &["-i", "d1", "-t", "later"])?;
    let other = Subscriber::start(world, second, &["-i", "d2", "-t", "later"])?;
    publish(world, gateway.ports.mqtt, &["-t", "$delayed/1/later", "-q", "1", "-m", "a"])?;
    ensure_eq!(everything.on_topic("later")?.payload, "a".to_owned(), "the delayed message");
    for heard in [&device, &other] {
        ensure!(heard.so_far()?.is_empty(), "a delayed message crossed a mount point");
    }
    gateway.stop()
}

fn a_client_whose_name_does_not_fit_the_mount_point_is_refused(world: &mut World) -> Outcome {
    let (gateway, second) = mounted(world)?;
    for (version, code) in [("311", 2), ("5", 133)] {
        let mut command = tool("mosquitto_pub", second)?;
        command.args(["-d", "-V", version, "-i", "a/b", "-t", "a", "-m", "x"]);
        let finished = world.run("mosquitto_pub", &mut command, 20)?;
        ensure!(finished.code.is_some_and(|code| code != 0), "it got in with {version}");
        ensure!(finished.text().contains(&format!("CONNACK ({code})")), "CONNACK with {code} for {version}");
    }
    gateway.process.line("listener.second.mountpoint", 5)?;
    gateway.stop()
}

fn json(text: &str) -> Outcome<serde_json::Value> {
    serde_json::from_str(text).map_err(|error| Stop::Failed(format!("{error}: {text}")))
}
