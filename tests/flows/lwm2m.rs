//! Devices managed over LwM2M, seen and steered from MQTT.

use serde_json::Value;

use crate::harness::gateway::Settings;
use crate::harness::lwm2m::{Device, register};
use crate::harness::mqtt::{Subscriber, publish};
use crate::harness::{Gateway, Outcome, Process, World};
use crate::{ensure, ensure_eq};

crate::cases!("lwm2m":
    leshan_is_read_written_executed_and_observed,
    aiocoap_is_read_written_executed_and_observed_in_tlv,
    aiocoap_is_read_written_executed_and_observed_in_senml,
    aiocoap_is_read_written_executed_and_observed_in_text,
    node_lib_is_read_and_written,
    an_answer_goes_to_the_response_topic_of_mqtt_5,
    a_command_to_nobody_is_answered,
    a_device_that_falls_silent_expires,
    an_update_keeps_a_device_registered,
    a_registration_outlives_the_gateway,
    a_renamed_device_is_offline_when_the_gateway_was_killed,
);

const LIFETIME_SECS: u32 = 300;

fn leshan_is_read_written_executed_and_observed(world: &mut World) -> Outcome {
    manage(world, Device::Leshan, "leshan-1")
}

fn aiocoap_is_read_written_executed_and_observed_in_tlv(world: &mut World) -> Outcome {
    manage(world, Device::Aiocoap("tlv"), "tlv-1")
}

fn aiocoap_is_read_written_executed_and_observed_in_senml(world: &mut World) -> Outcome {
    manage(world, Device::Aiocoap("senml"), "senml-1")
}

fn aiocoap_is_read_written_executed_and_observed_in_text(world: &mut World) -> Outcome {
    manage(world, Device::Aiocoap("text"), "text-1")
}

/// The whole life of a device under management.
fn manage(world: &mut World, kind: Device, endpoint: &str) -> Outcome {
    let gateway = Gateway::start(world)?;
    let watch = Watch::start(world, &gateway, endpoint)?;
    let mut device = register(world, kind, gateway.ports.lwm2m, endpoint, LIFETIME_SECS)?;
    watch.registered()?;

    ensure_eq!(
        watch.command(world, "read", "3/0/9", "")?["value"].to_string().replace('"', ""),
        "87",
        "read"
    );
    ensure_eq!(watch.heard.on_topic(&watch.topic("r/3/0/9"))?.payload, "87", "the value's own topic");
    watch.command(world, "write", "3/0/14", "+02:00")?;
    device.line("WRITE 3/0/14 +02:00", 5)?;
    watch.command(world, "execute", "3/0/4", "")?;
    device.line("EXECUTE 3/0/4", 5)?;
    let discovered = watch.command(world, "discover", "3/0", "")?.to_string();
    ensure!(discovered.contains("/3/0/9"), "discover: {discovered}");
    let whole = watch.command(world, "read", "3/0", "")?.to_string();
    ensure!(whole.contains("Tidegate tests") && whole.contains("+02:00"), "read of an instance: {whole}");
    ensure_eq!(
        watch.heard.on_topic(&watch.topic("r/3/0/0"))?.payload,
        "Tidegate tests",
        "a value of the instance"
    );

    watch.observe(world, &mut device)?;
    device.say("deregister")?;
    device.line("DEREGISTERED", 15)?;
    watch.heard.on_topic(&watch.topic("event/deregister"))?;
    watch.heard.matching(&watch.topic("status"), |status| state(status) == "offline")?;
    gateway.stop()
}

fn node_lib_is_read_and_written(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let watch = Watch::start(world, &gateway, "node-1")?;
    let mut device = register(world, Device::NodeLib, gateway.ports.lwm2m, "node-1", LIFETIME_SECS)?;
    watch.registered()?;
    watch.command(world, "read", "3/0/9", "")?;
    ensure_eq!(watch.heard.on_topic(&watch.topic("r/3/0/9"))?.payload, "87", "the value");
    watch.command(world, "write", "3/0/14", "+02:00")?;
    device.line("WRITE 3/0/14 +02:00", 5)?;
    watch.command(world, "execute", "3/0/4", "")?;
    device.line("EXECUTE 3/0/4", 5)?;
    // It updates from another port than it registered from, and listens there from then on (the
    // library then answers by itself, without the program's handlers).
    let before = watch.heard.on_topic(&watch.topic("status"))?;
    device.say("update")?;
    device.line("UPDATED", 10)?;
    watch.heard.on_topic(&watch.topic("event/update"))?;
    let is_elsewhere = |status: &str| status != before.payload && state(status) == "online";
    watch.heard.matching(&watch.topic("status"), is_elsewhere)?;
    watch.command(world, "discover", "3/0", "")?;
    let registrations = device.lines("one registration", 1, 1, |line| line.starts_with("REGISTERED"))?;
    ensure_eq!(registrations.len(), 1, "how often it registered");
    // It takes its leave from a third one.
    device.say("deregister")?;
    watch.heard.on_topic(&watch.topic("event/deregister"))?;
    gateway.stop()
}

fn an_answer_goes_to_the_response_topic_of_mqtt_5(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let watch = Watch::start(world, &gateway, "asked")?;
    let _device = register(world, Device::Aiocoap("tlv"), gateway.ports.lwm2m, "asked", LIFETIME_SECS)?;
    watch.registered()?;
    let answers = Subscriber::start(world, gateway.ports.mqtt, &["-V", "5", "-t", "mine/#", "-q", "1"])?;
    let properties = "-D publish response-topic mine/answers -D publish correlation-data q-1";
    let mut arguments = vec!["-V", "5", "-q", "1", "-t", "lwm2m/asked/cmd/read/3/0/9", "-n"];
    arguments.extend(properties.split(' '));
    publish(world, gateway.ports.mqtt, &arguments)?;
    let answer = answers.message()?;
    ensure_eq!(
        (answer.topic.as_str(), answer.correlation.as_str()),
        ("mine/answers", "q-1"),
        "where it went"
    );
    ensure_eq!(serde_json::from_str::<Value>(&answer.payload)?["code"], "2.05", "its code");
    gateway.stop()
}

fn a_command_to_nobody_is_answered(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let watch = Watch::start(world, &gateway, "known")?;
    let _device = register(world, Device::Aiocoap("tlv"), gateway.ports.lwm2m, "known", LIFETIME_SECS)?;
    watch.registered()?;
    let answer = watch.ask(world, "read", "3/0/77", "")?;
    ensure_eq!(
        (&answer["ok"], &answer["code"]),
        (&Value::Bool(false), &Value::from("4.04")),
        "an unknown resource"
    );
    let answer = watch.ask(world, "execute", "3/0/9", "")?;
    ensure_eq!(
        (&answer["ok"], &answer["code"]),
        (&Value::Bool(false), &Value::from("4.05")),
        "not executable"
    );
    gateway.stop()
}

fn a_device_that_falls_silent_expires(world: &mut World) -> Outcome {
    let gateway = Gateway::start_with(world, short_lives())?;
    let watch = Watch::start(world, &gateway, "silent")?;
    let mut device = register(world, Device::Aiocoap("tlv"), gateway.ports.lwm2m, "silent", 3)?;
    watch.registered()?;
    device.kill()?;
    watch.heard.on_topic(&watch.topic("event/expire"))?;
    watch.heard.matching(&watch.topic("status"), |status| state(status) == "offline")?;
    gateway.stop()
}

fn an_update_keeps_a_device_registered(world: &mut World) -> Outcome {
    let gateway = Gateway::start_with(world, short_lives())?;
    let watch = Watch::start(world, &gateway, "lively")?;
    let mut device = register(world, Device::Aiocoap("tlv"), gateway.ports.lwm2m, "lively", 3)?;
    watch.registered()?;
    device.say("update 200")?;
    device.line("UPDATED 2.04", 10)?;
    watch.heard.on_topic(&watch.topic("event/update"))?;
    // Another device with the old lifetime expires in the meantime; this one does not.
    let other = Watch::start(world, &gateway, "clock")?;
    register(world, Device::Aiocoap("tlv"), gateway.ports.lwm2m, "clock", 4)?.kill()?;
    other.heard.on_topic(&other.topic("event/expire"))?;
    watch.command(world, "read", "3/0/9", "")?;
    device.say("update")?;
    device.lines("a second update", 2, 10, |line| line.starts_with("UPDATED 2.04"))?;
    gateway.stop()
}

/// Killed and started anew, it knows its device, sends what was queued and observes again.
fn a_registration_outlives_the_gateway(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let watch = Watch::start(world, &gateway, "lasting")?;
    let mut device = register(world, Device::Aiocoap("tlv"), gateway.ports.lwm2m, "lasting", LIFETIME_SECS)?;
    watch.registered()?;
    watch.command(world, "observe", "3/0/9", "")?;
    let gateway = gateway.restart(world, true)?;
    let watch = Watch::start(world, &gateway, "lasting")?;
    watch.heard.matching(&watch.topic("status"), |status| state(status) == "offline")?;
    publish(world, watch.port, &["-t", &watch.topic("cmd/write/3/0/14"), "-q", "1", "-m", "+02:00"])?;
    device.say("update")?;
    device.line("UPDATED 2.04", 10)?;
    watch.heard.matching(&watch.topic("status"), |status| state(status) == "online")?;
    device.line("WRITE 3/0/14 +02:00", 5)?;
    device.lines("observed again", 2, 5, |line| line == "OBSERVE 3/0/9")?;
    device.say("set 3/0/9 55")?;
    watch.heard.matching(&watch.topic("r/3/0/9"), |value| value == "55")?;
    gateway.stop()
}

/// The will that the log has is the one that the session has: of the rewritten topic.
fn a_renamed_device_is_offline_when_the_gateway_was_killed(world: &mut World) -> Outcome {
    let settings = Settings::file(
        r#"
        [[rewrite]]
        action = "publish"
        source = "lwm2m/#"
        pattern = "^lwm2m/(.+)$"
        target = "site/$1"
        "#,
    );
    let gateway = Gateway::start_with(world, settings)?;
    let watch = Watch::below(world, &gateway, "site/renamed")?;
    register(world, Device::Aiocoap("tlv"), gateway.ports.lwm2m, "renamed", LIFETIME_SECS)?;
    watch.registered()?;
    let online = watch.heard.on_topic(&watch.topic("status"))?.payload;
    let gateway = gateway.restart(world, true)?;
    let watch = Watch::below(world, &gateway, "site/renamed")?;
    let offline = watch.heard.matching(&watch.topic("status"), |status| state(status) == "offline")?;
    ensure_eq!(offline.payload, online.replace("online", "offline"), "what the will says");
    gateway.stop()
}

/// So that a lifetime of a few seconds is granted as it is asked for.
fn short_lives() -> Settings {
    Settings::set(&["lwm2m.lifetime_secs_min=1"])
}

/// An MQTT client that sees everything of one device.
struct Watch {
    heard: Subscriber,
    /// What its topics begin with.
    prefix: String,
    port: u16,
}

impl Watch {
    fn start(world: &mut World, gateway: &Gateway, endpoint: &str) -> Outcome<Self> {
        Self::below(world, gateway, &format!("lwm2m/{endpoint}"))
    }

    fn below(world: &mut World, gateway: &Gateway, prefix: &str) -> Outcome<Self> {
        let (port, filter) = (gateway.ports.mqtt, format!("{prefix}/#"));
        let heard = Subscriber::start(world, port, &["-V", "5", "-t", &filter, "-q", "1"])?;
        Ok(Self { heard, prefix: prefix.to_owned(), port })
    }

    fn topic(&self, rest: &str) -> String {
        format!("{}/{rest}", self.prefix)
    }

    fn registered(&self) -> Outcome {
        self.heard.on_topic(&self.topic("event/register"))?;
        let status = self.heard.matching(&self.topic("status"), |status| state(status) == "online")?;
        let status: Value = serde_json::from_str(&status.payload)?;
        ensure!(status["lifetime"].is_number(), "the status has no lifetime: {status}");
        ensure!(!status["objects"]["3"].is_null(), "the status does not name object 3: {status}");
        Ok(())
    }

    /// Sends a command and returns its answer, whatever it is.
    fn ask(&self, world: &mut World, operation: &str, path: &str, payload: &str) -> Outcome<Value> {
        let command = self.topic(&format!("cmd/{operation}/{path}"));
        publish(world, self.port, &["-t", &command, "-q", "1", "-m", payload])?;
        let answer = self.heard.on_topic(&self.topic(&format!("resp/{operation}/{path}")))?;
        Ok(serde_json::from_str(&answer.payload)?)
    }

    /// Sends a command that has to succeed.
    fn command(&self, world: &mut World, operation: &str, path: &str, payload: &str) -> Outcome<Value> {
        let answer = self.ask(world, operation, path, payload)?;
        ensure!(answer["ok"] == true, "{operation} {path} was answered {answer}");
        Ok(answer)
    }

    /// Observes the battery level, changes it, and cancels.
    fn observe(&self, world: &mut World, device: &mut Process) -> Outcome {
        self.command(world, "observe", "3/0/9", "")?;
        device.line("OBSERVE 3/0/9", 5)?;
        for level in ["55", "54"] {
            device.say(&format!("set 3/0/9 {level}"))?;
            self.heard.matching(&self.topic("r/3/0/9"), |value| value == level)?;
        }
        self.command(world, "cancel", "3/0/9", "")?;
        device.say("set 3/0/9 11")?;
        device.line("SET 3/0/9 11", 5)?;
        // An answer that was asked for later would come later than a notification.
        self.command(world, "read", "3/0/0", "")?;
        let levels: Vec<String> = self.heard.so_far()?.into_iter().map(|got| got.payload).collect();
        ensure!(!levels.contains(&"11".to_owned()), "a notification came after the cancellation");
        Ok(())
    }
}

fn state(status: &str) -> String {
    serde_json::from_str::<Value>(status)
        .ok()
        .and_then(|status| Some(status.get("state")?.as_str()?.to_owned()))
        .unwrap_or_default()
}
