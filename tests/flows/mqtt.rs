//! mosquitto_pub and mosquitto_sub, MQTT 3.1.1 and 5.

use std::process::Command;

use crate::harness::lwm2m::node;
use crate::harness::mqtt::{BOTH_VERSIONS, Subscriber, publish};
use crate::harness::world::eventually;
use crate::harness::{Gateway, Outcome, World, place};
use crate::{ensure, ensure_eq};

crate::cases!("mqtt":
    publish_and_subscribe_at_every_qos,
    the_lower_qos_of_publisher_and_subscriber_counts,
    a_retained_message_waits_for_the_subscriber,
    an_empty_retained_message_clears_the_topic,
    the_will_is_published_when_a_client_is_killed,
    messages_wait_for_a_persistent_session_that_is_away,
    wildcards_match_what_they_say,
    mqtt_5_properties_arrive_unchanged,
    a_payload_of_900_kb_arrives_unchanged,
    ten_thousand_lines_arrive_in_order,
    a_second_client_with_the_same_id_takes_the_session_over,
    a_shared_subscription_divides_the_messages,
    paho_talks_over_tcp_and_websocket,
);

fn publish_and_subscribe_at_every_qos(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let port = gateway.ports.mqtt;
    for sub in BOTH_VERSIONS {
        let heard = Subscriber::start(world, port, &["-V", sub, "-t", "plant/temp", "-q", "2"])?;
        let mut expected = Vec::new();
        // One after the other: mosquitto_sub shows a QoS 2 message when it is released.
        for pub_ in BOTH_VERSIONS {
            for qos in ["0", "1", "2"] {
                let text = format!("{pub_} to {sub} at {qos}");
                publish(world, port, &["-V", pub_, "-t", "plant/temp", "-q", qos, "-m", &text])?;
                expected.push((text, qos.to_owned()));
                heard.messages(expected.len(), 10)?;
            }
        }
        let got: Vec<_> =
            heard.messages(6, 10)?.into_iter().map(|got| (got.payload, got.qos.to_string())).collect();
        ensure_eq!(got, expected, "messages and their QoS in the order of publication");
    }
    gateway.stop()
}

fn the_lower_qos_of_publisher_and_subscriber_counts(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let port = gateway.ports.mqtt;
    for granted in [0u8, 1] {
        let heard = Subscriber::start(world, port, &["-V", "5", "-t", "q", "-q", &granted.to_string()])?;
        for qos in ["0", "1", "2"] {
            publish(world, port, &["-V", "5", "-t", "q", "-q", qos, "-m", qos])?;
        }
        let got: Vec<u8> = heard.messages(3, 10)?.iter().map(|got| got.qos).collect();
        ensure_eq!(got, vec![0, granted.min(1), granted.min(2)], "QoS of what arrived");
    }
    gateway.stop()
}

fn a_retained_message_waits_for_the_subscriber(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let port = gateway.ports.mqtt;
    publish(world, port, &["-t", "plant/level", "-q", "1", "-r", "-m", "old"])?;
    publish(world, port, &["-t", "plant/level", "-q", "1", "-r", "-m", "new"])?;
    for version in BOTH_VERSIONS {
        let heard = Subscriber::start(world, port, &["-V", version, "-t", "plant/#", "-q", "1"])?;
        let got = heard.message()?;
        ensure_eq!((got.payload.as_str(), got.retain), ("new", true), "the retained message");
        publish(world, port, &["-t", "plant/level", "-q", "1", "-m", "live"])?;
        let live = heard.messages(2, 10)?.remove(1);
        ensure_eq!((live.payload.as_str(), live.retain), ("live", false), "a live message");
    }
    gateway.stop()
}

fn an_empty_retained_message_clears_the_topic(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let port = gateway.ports.mqtt;
    publish(world, port, &["-t", "a/gone", "-q", "1", "-r", "-m", "x"])?;
    publish(world, port, &["-t", "a/kept", "-q", "1", "-r", "-m", "y"])?;
    publish(world, port, &["-t", "a/gone", "-q", "1", "-r", "-n"])?;
    let heard = Subscriber::start(world, port, &["-t", "a/+"])?;
    publish(world, port, &["-t", "a/end", "-q", "1", "-m", "end"])?;
    heard.on_topic("a/end")?;
    let topics: Vec<String> = heard.so_far()?.into_iter().map(|got| got.topic).collect();
    ensure_eq!(topics, vec!["a/kept".to_owned(), "a/end".to_owned()], "what a late subscriber gets");
    gateway.stop()
}

fn the_will_is_published_when_a_client_is_killed(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let port = gateway.ports.mqtt;
    let heard = Subscriber::start(world, port, &["-t", "will/#", "-q", "1"])?;
    for version in BOTH_VERSIONS {
        let (topic, id) = (format!("will/{version}"), format!("doomed-{version}"));
        let will = ["--will-topic", &topic, "--will-payload", "died", "--will-qos", "1", "--will-retain"];
        let arguments = [&["-V", version, "-i", &id, "-t", "x"][..], &will].concat();
        let mut doomed = Subscriber::start(world, port, &arguments)?;
        doomed.process.kill()?;
        let got = heard.on_topic(&topic)?;
        ensure_eq!((got.payload.as_str(), got.qos, got.retain), ("died", 1, false), "the will");
        let polite = Subscriber::start(world, port, &arguments)?;
        polite.leave()?;
    }
    publish(world, port, &["-t", "will/end", "-q", "1", "-m", "end"])?;
    heard.on_topic("will/end")?;
    let topics: Vec<String> = heard.so_far()?.into_iter().map(|got| got.topic).collect();
    // Over MQTT 5 mosquitto_sub takes its leave with reason 4, Disconnect with Will Message.
    let expected = ["will/311", "will/5", "will/5", "will/end"].map(str::to_owned).to_vec();
    ensure_eq!(topics, expected, "wills of the killed and of who wishes it, not of who said goodbye");
    gateway.stop()
}

fn messages_wait_for_a_persistent_session_that_is_away(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let port = gateway.ports.mqtt;
    for version in BOTH_VERSIONS {
        let (id, topic) = (format!("sleeper-{version}"), format!("night/{version}"));
        let mut arguments = vec!["-V", version, "-c", "-i", &id, "-t", &topic, "-q", "1"];
        if version == "5" {
            arguments.extend(["-x", "3600"]);
        }
        let first = Subscriber::start(world, port, &arguments)?;
        first.leave()?;
        for number in 0..20 {
            publish(world, port, &["-V", version, "-t", &topic, "-q", "1", "-m", &number.to_string()])?;
        }
        let back = Subscriber::connecting(world, port, &arguments)?;
        let got: Vec<String> = back.messages(20, 10)?.into_iter().map(|got| got.payload).collect();
        let expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        ensure_eq!(got, expected, "what waited, in order");
    }
    gateway.stop()
}

fn wildcards_match_what_they_say(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let port = gateway.ports.mqtt;
    let topics = [
        "sport",
        "sport/tennis",
        "sport/tennis/player1",
        "sport/tennis/player1/rank",
        "/sport",
        "$own/sport",
    ];
    let expectations: [(&str, &[usize]); 8] = [
        ("sport/#", &[0, 1, 2, 3]),
        ("sport/+", &[1]),
        ("sport/tennis/+", &[2]),
        ("+/tennis/#", &[1, 2, 3]),
        ("#", &[0, 1, 2, 3, 4]),
        ("+/+", &[1, 4]),
        ("/+", &[4]),
        ("+/sport", &[4]),
    ];
    let mut listeners = Vec::new();
    for (filter, expected) in expectations {
        let topics: Vec<String> = expected.iter().map(|index| topics[*index].to_owned()).collect();
        listeners.push((filter, topics, Subscriber::start(world, port, &["-t", filter, "-t", "the-end"])?));
    }
    for topic in topics {
        publish(world, port, &["-V", "5", "-t", topic, "-q", "1", "-m", "x"])?;
    }
    publish(world, port, &["-t", "the-end", "-q", "1", "-m", "x"])?;
    for (filter, expected, heard) in listeners {
        heard.on_topic("the-end")?;
        let mut got: Vec<String> = heard.so_far()?.into_iter().map(|got| got.topic).collect();
        got.dedup();
        got.retain(|topic| topic != "the-end");
        ensure_eq!(got, expected, "topics that match {filter}");
    }
    gateway.stop()
}

fn mqtt_5_properties_arrive_unchanged(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let port = gateway.ports.mqtt;
    let heard = Subscriber::start(world, port, &["-V", "5", "-t", "p/#", "-q", "1"])?;
    let old = Subscriber::start(world, port, &["-V", "311", "-t", "p/#", "-q", "1"])?;
    let properties = "-D publish content-type application/json -D publish response-topic answers/1 \
        -D publish correlation-data c-17 -D publish user-property site north -D publish user-property site south";
    let mut arguments = vec!["-V", "5", "-t", "p/a", "-q", "1", "-m", "{}"];
    arguments.extend(properties.split_whitespace());
    publish(world, port, &arguments)?;
    let got = heard.message()?;
    ensure_eq!(got.content_type, "application/json", "content type");
    ensure_eq!(got.response_topic, "answers/1", "response topic");
    ensure_eq!(got.correlation, "c-17", "correlation data");
    ensure_eq!(got.user_properties, "site:north site:south", "user properties, in order");
    ensure_eq!(old.message()?.payload, "{}", "the payload at a 3.1.1 subscriber");
    gateway.stop()
}

fn a_payload_of_900_kb_arrives_unchanged(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let port = gateway.ports.mqtt;
    let body: Vec<u8> = (0..900_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let file = world.dir.join("body.bin");
    std::fs::write(&file, &body)?;
    for (version, qos) in [("311", "1"), ("5", "2"), ("5", "0")] {
        let out = world.dir.join(format!("got-{version}-{qos}"));
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" > \"$0\""]).arg(&out).arg(place::program("mosquitto_sub")?);
        command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-V", version]);
        command.args([
            "-q",
            qos,
            "-t",
            "big",
            "-C",
            "1",
            "-N",
            "-W",
            "30",
            "-i",
            &format!("big-{version}-{qos}"),
        ]);
        let mut heard = world.spawn("mosquitto_sub", &mut command)?;
        // It does not say when it is subscribed, so the message is sent until it has come.
        let path = file.display().to_string();
        eventually("the big payload", 30, || {
            publish(world, port, &["-V", version, "-q", qos, "-t", "big", "-f", &path])?;
            Ok((!heard.is_running()?).then_some(()))
        })?;
        ensure!(std::fs::read(&out)? == body, "the payload differs at {version}, QoS {qos}");
    }
    gateway.stop()
}

fn ten_thousand_lines_arrive_in_order(world: &mut World) -> Outcome {
    const COUNT: usize = 10_000;
    let gateway = Gateway::start(world)?;
    let port = gateway.ports.mqtt;
    let lines: String = (0..COUNT).map(|number| format!("{number}\n")).collect();
    let file = world.write("lines", &lines)?;
    for (version, qos) in [("311", "1"), ("5", "2")] {
        let heard = Subscriber::start(world, port, &["-V", version, "-t", "stream", "-q", qos])?;
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" < \"$0\""]).arg(&file).arg(place::program("mosquitto_pub")?);
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-V",
            version,
            "-q",
            qos,
            "-t",
            "stream",
            "-l",
        ]);
        world.succeed("mosquitto_pub -l", &mut command, 60)?;
        let got = heard.messages(COUNT, 60)?;
        let wrong = got.iter().enumerate().find(|(number, got)| got.payload != number.to_string());
        ensure!(got.len() == COUNT && wrong.is_none(), "{} messages, out of place: {wrong:?}", got.len());
    }
    gateway.stop()
}

fn a_second_client_with_the_same_id_takes_the_session_over(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let port = gateway.ports.mqtt;
    // npm mqtt, because mosquitto_sub would come back and take over in its turn.
    let url = format!("mqtt://127.0.0.1:{port}");
    for (npm, mosquitto) in [("4", "311"), ("5", "5")] {
        let mut command = node("mqtt_npm.js")?;
        let mut first = world.spawn("npm mqtt", command.args([&url, npm, "sub", "t", "9", "twin"]))?;
        first.line("SUBSCRIBED", 15)?;
        let second = Subscriber::start(world, port, &["-V", mosquitto, "-i", "twin", "-t", "t", "-q", "1"])?;
        first.line("CLOSED", 10)?;
        let said_why = first.finish(10)?.text().contains("DISCONNECT 142");
        // MQTT 5.0 section 4.13: reason 142, Session taken over. Version 3.1.1 has no such packet.
        ensure_eq!(said_why, npm == "5", "whether it was told why");
        publish(world, port, &["-t", "t", "-q", "1", "-m", "to the second"])?;
        ensure_eq!(second.message()?.payload, "to the second", "the message");
    }
    gateway.stop()
}

fn a_shared_subscription_divides_the_messages(world: &mut World) -> Outcome {
    const COUNT: usize = 60;
    let gateway = Gateway::start(world)?;
    let port = gateway.ports.mqtt;
    let arguments = ["-V", "5", "-t", "$share/workers/jobs/#", "-q", "1"];
    let workers = [Subscriber::start(world, port, &arguments)?, Subscriber::start(world, port, &arguments)?];
    for number in 0..COUNT {
        publish(world, port, &["-V", "5", "-t", "jobs/1", "-q", "1", "-m", &number.to_string()])?;
    }
    let mut got = eventually("every job", 10, || {
        let mut got = workers[0].so_far()?;
        got.extend(workers[1].so_far()?);
        Ok((got.len() >= COUNT).then_some(got))
    })?;
    got.sort_by_key(|got| got.payload.parse::<usize>().unwrap_or(usize::MAX));
    let numbers: Vec<String> = got.into_iter().map(|got| got.payload).collect();
    ensure_eq!(numbers, (0..COUNT).map(|number| number.to_string()).collect::<Vec<_>>(), "each job once");
    for worker in &workers {
        ensure!(!worker.so_far()?.is_empty(), "one worker got nothing");
    }
    gateway.stop()
}

fn paho_talks_over_tcp_and_websocket(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    for version in BOTH_VERSIONS {
        let mut command = Command::new(place::program("python")?);
        command.arg(place::interop("mqtt_paho.py")).arg(version);
        command.arg(gateway.ports.mqtt.to_string()).arg(gateway.ports.websocket.to_string());
        let finished = world.succeed("paho", &mut command, 60)?;
        ensure!(finished.text().contains("HEARD ALL"), "Paho with {version}");
    }
    gateway.stop()
}
