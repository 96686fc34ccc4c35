//! libcoap's client against `/ps`, with MQTT at the other end.

use crate::harness::coap::{has_code, observe, request};
use crate::harness::mqtt::{Subscriber, publish};
use crate::harness::{Gateway, Outcome, World};
use crate::{ensure, ensure_eq};

crate::cases!("coap":
    a_put_reaches_an_mqtt_subscriber_with_its_content_type,
    a_post_is_an_event_that_is_not_kept,
    a_get_reads_the_retained_value_and_a_delete_clears_it,
    an_mqtt_publish_reaches_an_observer,
    an_observer_with_a_wildcard_hears_every_topic,
    the_well_known_core_lists_what_there_is,
    a_put_of_5_kb_goes_block_by_block,
    a_get_of_5_kb_comes_block_by_block,
    a_non_confirmable_put_is_published,
    a_lossy_network_loses_and_doubles_nothing,
    a_wrong_request_is_answered_with_its_error,
);

fn a_put_reaches_an_mqtt_subscriber_with_its_content_type(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let heard = Subscriber::start(world, gateway.ports.mqtt, &["-V", "5", "-t", "plant/#", "-q", "1"])?;
    let kinds =
        [("text/plain", "21.5", "text/plain"), ("application/json", "{\"v\":21.5}", "application/json")];
    for (at, (format, payload, content_type)) in kinds.into_iter().enumerate() {
        let arguments = ["-m", "put", "-t", format, "-e", payload];
        let finished = request(world, gateway.ports.coap, &arguments, "/ps/plant/temp")?;
        ensure!(has_code(&finished, "2.01") || has_code(&finished, "2.04"), "the PUT was not accepted");
        let got = heard.messages(at + 1, 10)?.remove(at);
        ensure_eq!((got.topic.as_str(), got.payload.as_str()), ("plant/temp", payload), "the message");
        ensure!(got.content_type.starts_with(content_type), "content type {:?}", got.content_type);
        ensure_eq!(got.qos, 1, "QoS of a confirmable PUT");
    }
    gateway.stop()
}

fn a_post_is_an_event_that_is_not_kept(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let heard = Subscriber::start(world, gateway.ports.mqtt, &["-t", "door/#", "-q", "1"])?;
    let finished = request(world, gateway.ports.coap, &["-m", "post", "-e", "opened"], "/ps/door/front")?;
    ensure!(has_code(&finished, "2.04"), "the POST was not answered 2.04");
    ensure_eq!(heard.message()?.payload, "opened", "the message");
    let late = request(world, gateway.ports.coap, &["-m", "get"], "/ps/door/front")?;
    ensure!(has_code(&late, "4.04"), "an event was kept");
    gateway.stop()
}

fn a_get_reads_the_retained_value_and_a_delete_clears_it(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let (coap, mqtt) = (gateway.ports.coap, gateway.ports.mqtt);
    let properties = ["-D", "publish", "content-type", "application/json"];
    publish(
        world,
        mqtt,
        &[&["-V", "5", "-t", "tank/1", "-q", "1", "-r", "-m", "{\"l\":7}"][..], &properties].concat(),
    )?;
    let got = request(world, coap, &["-m", "get"], "/ps/tank/1")?;
    ensure!(has_code(&got, "2.05") && got.text().contains("{\"l\":7}"), "GET of a value retained over MQTT");
    ensure!(got.text().contains("application/json"), "its content format");
    ensure!(got.text().contains("ETag"), "an ETag");
    request(world, coap, &["-m", "put", "-e", "8"], "/ps/tank/2")?;
    let kept = Subscriber::start(world, mqtt, &["-t", "tank/2", "-q", "1"])?.message()?;
    ensure_eq!((kept.payload.as_str(), kept.retain), ("8", true), "a PUT is kept for MQTT");
    let deleted = request(world, coap, &["-m", "delete"], "/ps/tank/2")?;
    ensure!(has_code(&deleted, "2.02"), "DELETE");
    let gone = request(world, coap, &["-m", "get"], "/ps/tank/2")?;
    ensure!(has_code(&gone, "4.04"), "GET after DELETE");
    gateway.stop()
}

fn an_mqtt_publish_reaches_an_observer(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let (coap, mqtt) = (gateway.ports.coap, gateway.ports.mqtt);
    publish(world, mqtt, &["-t", "room/1", "-q", "1", "-r", "-m", "value-0"])?;
    let mut observer = observe(world, coap, "/ps/room/1", 8)?;
    observer.line("value-0", 10)?;
    for number in 1..=5 {
        let qos = if number % 2 == 0 { "0" } else { "1" };
        publish(world, mqtt, &["-t", "room/1", "-q", qos, "-m", &format!("value-{number}")])?;
        observer.line(&format!("value-{number}"), 10)?;
    }
    // It takes its leave by itself, and then hears nothing more.
    observer.finish(20)?;
    publish(world, mqtt, &["-t", "room/1", "-q", "1", "-m", "unheard"])?;
    gateway.stop()
}

fn an_observer_with_a_wildcard_hears_every_topic(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let observer = observe(world, gateway.ports.coap, "/ps/floor/%2B/temp", 30)?;
    observer.line("c:2.05", 10)?;
    for room in ["a", "b"] {
        publish(
            world,
            gateway.ports.mqtt,
            &["-t", &format!("floor/{room}/temp"), "-q", "1", "-m", &format!("in-{room}")],
        )?;
        let line = observer.line(&format!("in-{room}"), 10)?;
        let location = observer.lines("the topic as Location-Path", 1, 5, |line| {
            line.contains("Location-Path:floor") && line.contains(&format!("Location-Path:{room}"))
        });
        ensure!(location.is_ok(), "no Location-Path with {line}");
    }
    gateway.stop()
}

fn the_well_known_core_lists_what_there_is(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let got = request(world, gateway.ports.coap, &["-m", "get"], "/.well-known/core")?;
    ensure!(
        has_code(&got, "2.05") && got.text().contains("application/link-format"),
        "GET /.well-known/core"
    );
    ensure!(got.text().contains("</ps"), "it does not list /ps");
    gateway.stop()
}

fn a_put_of_5_kb_goes_block_by_block(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let body: String = (0..500).map(|number| format!("{number:09},")).collect();
    let file = world.write("body", &body)?.display().to_string();
    for size in ["1024", "64"] {
        let heard = Subscriber::start(world, gateway.ports.mqtt, &["-t", "log/#", "-q", "1", "-R"])?;
        let arguments = ["-m", "put", "-b", size, "-f", &file];
        let finished = request(world, gateway.ports.coap, &arguments, "/ps/log/big")?;
        ensure!(has_code(&finished, "2.31") || has_code(&finished, "2.04"), "no block was asked for");
        ensure!(heard.message()?.payload == body, "the payload differs, block size {size}");
    }
    gateway.stop()
}

fn a_get_of_5_kb_comes_block_by_block(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let body: String = (0..500).map(|number| format!("{number:09},")).collect();
    let file = world.write("body", &body)?.display().to_string();
    publish(world, gateway.ports.mqtt, &["-t", "log/big", "-q", "1", "-r", "-f", &file])?;
    let out = world.dir.join("got").display().to_string();
    let got = request(world, gateway.ports.coap, &["-m", "get", "-b", "512", "-o", &out], "/ps/log/big")?;
    ensure!(has_code(&got, "2.05"), "GET of a large value");
    ensure!(std::fs::read_to_string(&out)?.trim_end() == body, "the payload differs");
    gateway.stop()
}

fn a_non_confirmable_put_is_published(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let heard = Subscriber::start(world, gateway.ports.mqtt, &["-t", "fast", "-q", "1"])?;
    request(world, gateway.ports.coap, &["-m", "put", "-N", "-e", "now"], "/ps/fast")?;
    let got = heard.message()?;
    ensure_eq!((got.payload.as_str(), got.qos), ("now", 0), "a NON is QoS 0");
    gateway.stop()
}

fn a_lossy_network_loses_and_doubles_nothing(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let heard = Subscriber::start(world, gateway.ports.mqtt, &["-t", "lossy", "-q", "1"])?;
    // libcoap drops the datagrams with these numbers: the request, then the second attempt's successor.
    for (at, losses) in ["1", "1,2", "2"].into_iter().enumerate() {
        let payload = format!("try-{at}");
        let arguments = ["-m", "post", "-B", "60", "-l", losses, "-e", &payload];
        let finished = request(world, gateway.ports.coap, &arguments, "/ps/lossy")?;
        ensure!(has_code(&finished, "2.04"), "no answer in spite of retransmission, losses {losses}");
    }
    publish(world, gateway.ports.mqtt, &["-t", "lossy", "-q", "1", "-m", "end"])?;
    heard.matching("lossy", |payload| payload == "end")?;
    let got: Vec<String> = heard.so_far()?.into_iter().map(|got| got.payload).collect();
    ensure_eq!(got, ["try-0", "try-1", "try-2", "end"].map(str::to_owned).to_vec(), "each once");
    gateway.stop()
}

fn a_wrong_request_is_answered_with_its_error(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let wrong: [(&[&str], &str, &str); 4] = [
        (&["-m", "get"], "/nowhere", "4.04"),
        (&["-m", "get"], "/ps/never/published", "4.04"),
        (&["-m", "put", "-e", "x"], "/ps/a/%23", "4.00"),
        (&["-m", "get", "-O", "65001,0x01"], "/ps/a", "4.02"),
    ];
    for (arguments, path, code) in wrong {
        let finished = request(world, gateway.ports.coap, arguments, path)?;
        ensure!(has_code(&finished, code), "{path} was not answered {code}");
    }
    gateway.stop()
}
