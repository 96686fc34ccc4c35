//! What outlives the gateway, as a user of mosquitto's tools sees it.

use crate::ensure_eq;
use crate::harness::mqtt::{BOTH_VERSIONS, Subscriber, publish};
use crate::harness::{Gateway, Outcome, World};

crate::cases!("restart":
    what_waits_for_an_absent_client_survives_a_kill,
    a_retained_message_survives_a_kill,
    a_subscription_survives_a_kill,
);

fn what_waits_for_an_absent_client_survives_a_kill(world: &mut World) -> Outcome {
    let mut gateway = Gateway::start(world)?;
    for version in BOTH_VERSIONS {
        for qos in ["1", "2"] {
            let (id, topic) = (format!("away-{version}-{qos}"), format!("night/{version}/{qos}"));
            let mut arguments = vec!["-V", version, "-c", "-q", qos, "-i", &id, "-t", &topic];
            if version == "5" {
                arguments.extend(["-x", "3600"]);
            }
            leave(Subscriber::start(world, gateway.ports.mqtt, &arguments)?)?;
            for text in ["one", "two", "three"] {
                publish(world, gateway.ports.mqtt, &["-V", version, "-t", &topic, "-q", qos, "-m", text])?;
            }
            gateway = gateway.restart(world, true)?;
            let back = Subscriber::connecting(world, gateway.ports.mqtt, &arguments)?;
            let got: Vec<_> =
                back.messages(3, 10)?.into_iter().map(|got| (got.payload, got.qos.to_string())).collect();
            let expected = ["one", "two", "three"].map(|text| (text.to_owned(), qos.to_owned()));
            ensure_eq!(got, expected.to_vec(), "what waited for {id}");
            leave(back)?;
        }
    }
    gateway.stop()
}

fn a_retained_message_survives_a_kill(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    for (topic, qos, text) in [("door/1", "1", "open"), ("door/2", "2", "shut"), ("door/3", "1", "open")] {
        publish(world, gateway.ports.mqtt, &["-t", topic, "-q", qos, "-r", "-m", text])?;
    }
    publish(world, gateway.ports.mqtt, &["-t", "door/1", "-q", "1", "-r", "-m", "ajar"])?;
    publish(world, gateway.ports.mqtt, &["-t", "door/3", "-q", "1", "-r", "-n"])?;
    let gateway = gateway.restart(world, true)?;
    let heard = Subscriber::start(world, gateway.ports.mqtt, &["-t", "door/+", "-q", "1"])?;
    publish(world, gateway.ports.mqtt, &["-t", "door/end", "-q", "1", "-m", "end"])?;
    heard.on_topic("door/end")?;
    let mut got: Vec<_> =
        heard.so_far()?.into_iter().filter(|got| got.retain).map(|got| (got.topic, got.payload)).collect();
    got.sort();
    let expected = [("door/1", "ajar"), ("door/2", "shut")].map(|(topic, text)| (topic.into(), text.into()));
    ensure_eq!(got, expected.to_vec(), "what a late subscriber gets");
    gateway.stop()
}

/// mosquitto_sub comes back by itself, and need not subscribe again.
fn a_subscription_survives_a_kill(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let arguments = ["-V", "5", "-c", "-x", "3600", "-q", "1", "-i", "loyal", "-t", "news"];
    leave(Subscriber::start(world, gateway.ports.mqtt, &arguments)?)?;
    let gateway = gateway.restart(world, true)?;
    publish(world, gateway.ports.mqtt, &["-t", "news", "-q", "1", "-m", "after the kill"])?;
    let back = Subscriber::connecting(world, gateway.ports.mqtt, &arguments)?;
    ensure_eq!(back.message()?.payload, "after the kill", "what came while it was away");
    leave(back)?;
    gateway.stop()
}

fn leave(mut subscriber: Subscriber) -> Outcome {
    subscriber.process.signal("TERM")?;
    subscriber.process.finish(10)?;
    Ok(())
}
