//! What an operator does: start, look, check a file, and get it wrong.

use std::net::TcpListener;
use std::process::Command;

use crate::harness::gateway::{Ports, Settings, UNACCOUNTED, command};
use crate::harness::http::get;
use crate::harness::mqtt::{Subscriber, publish};
use crate::harness::process::Finished;
use crate::harness::raw::RawClient;
use crate::harness::{Gateway, Outcome, Stop, World, place};
use crate::{ensure, ensure_eq};

crate::cases!("operations":
    the_banner_says_what_listens_where,
    what_is_hardly_meant_is_warned_about_at_the_start,
    health_readiness_and_metrics_are_served,
    the_metrics_account_for_every_message,
    the_metrics_account_for_every_message_at_every_moment,
    what_is_dropped_is_told_by_reason_and_client,
    check_prints_the_origin_of_every_value,
    check_names_the_mistakes_of_a_file,
    a_wrong_set_ends_the_start,
    an_environment_variable_overrules_the_file,
    a_port_in_use_ends_the_start,
    an_unwritable_data_folder_ends_the_start,
    a_gateway_that_is_killed_starts_again,
);

fn the_banner_says_what_listens_where(world: &mut World) -> Outcome {
    let settings = Settings { set: vec!["mqtt-ws.path=/iot/ws".to_owned()], ..Settings::default() };
    let gateway = Gateway::start_with(world, settings)?;
    let ports = gateway.ports;
    gateway.process.line(&format!("ws://127.0.0.1:{}/iot/ws", ports.websocket), 5)?;
    for port in [ports.mqtt, ports.websocket, ports.coap, ports.lwm2m, ports.admin] {
        gateway.process.line(&format!("127.0.0.1:{port}"), 5)?;
    }
    gateway.stop()
}

fn what_is_hardly_meant_is_warned_about_at_the_start(world: &mut World) -> Outcome {
    let settings = Settings { set: vec!["access.anonymous=never".to_owned()], ..Settings::default() };
    let gateway = Gateway::start_with(world, settings)?;
    gateway.process.line("nobody can connect", 5)?;
    gateway.stop()
}

fn health_readiness_and_metrics_are_served(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let admin = gateway.ports.admin;
    ensure_eq!(get(admin, "/healthz")?.0, 200, "/healthz");
    ensure_eq!(get(admin, "/readyz")?.0, 200, "/readyz");
    ensure_eq!(get(admin, "/nowhere")?.0, 404, "an unknown page");
    let metrics = gateway.metrics()?;
    ensure!(metrics.lines().any(|line| line == format!("{UNACCOUNTED} 0")), "{UNACCOUNTED} 0 is not there");
    for line in metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let value = line.rsplit(' ').next().and_then(|text| text.parse::<f64>().ok());
        ensure!(value.is_some() && line.starts_with("tidegate_"), "not a sample of ours: {line}");
    }
    gateway.stop()
}

fn the_metrics_account_for_every_message(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let port = gateway.ports.mqtt;
    let heard = Subscriber::start(world, port, &["-t", "a/#", "-q", "1"])?;
    let away = Subscriber::start(world, port, &["-c", "-i", "away", "-t", "a/#", "-q", "1"])?;
    away.leave()?;
    for number in 0..20 {
        publish(world, port, &["-t", "a/b", "-q", "1", "-m", &number.to_string()])?;
        publish(world, port, &["-t", "nobody/listens", "-q", "1", "-m", &number.to_string()])?;
    }
    heard.messages(20, 10)?;
    gateway.account()?;
    gateway.stop()
}

fn the_metrics_account_for_every_message_at_every_moment(world: &mut World) -> Outcome {
    let settings = Settings { set: vec!["session.queue_messages_max=50".to_owned()], ..Settings::default() };
    let gateway = Gateway::start_with(world, settings)?;
    let port = gateway.ports.mqtt;
    let mut away = RawClient::persistent(port, "away")?;
    away.subscribe(&["load/#".to_owned()])?;
    drop(away);
    let members = ["one", "two"]
        .map(|name| Subscriber::start(world, port, &["-q", "1", "-i", name, "-t", "$share/group/load/#"]));
    let load = |name: &str| {
        let mut publisher = RawClient::connect(port, name)?;
        for _ in 0..3_000 {
            publisher.publish(&format!("load/{name}"))?;
        }
        Ok::<_, Stop>(())
    };
    let looks = std::thread::scope(|scope| {
        let publishers = ["a", "b", "c"].map(|name| scope.spawn(move || load(name)));
        let mut looks = 0;
        while !publishers.iter().all(|publisher| publisher.is_finished()) {
            ensure_eq!(gateway.metric(UNACCOUNTED)?, Some(0.0), "{UNACCOUNTED} under load");
            looks += 1;
        }
        for publisher in publishers {
            publisher.join().expect("it does not panic")?;
        }
        Ok::<_, Stop>(looks)
    })?;
    ensure!(looks > 10, "it was looked at {looks} times only");
    ensure_eq!(gateway.metric("tidegate_messages_matched_total")?, Some(18_000.0), "copies");
    for member in members {
        drop(member?);
    }
    gateway.stop()
}

fn what_is_dropped_is_told_by_reason_and_client(world: &mut World) -> Outcome {
    let set = ["session.queue_messages_max=5", "log.level=debug"].map(str::to_owned).into();
    let gateway = Gateway::start_with(world, Settings { set, ..Settings::default() })?;
    let port = gateway.ports.mqtt;
    let away = Subscriber::start(world, port, &["-c", "-i", "away", "-t", "a/#", "-q", "1"])?;
    away.leave()?;
    for number in 0..12 {
        publish(world, port, &["-t", "a/b", "-q", "1", "-m", &number.to_string()])?;
    }
    publish(world, port, &["-t", "a/c", "-m", "nobody is there"])?;
    let (status, page) = get(gateway.ports.admin, "/api/v1/drops")?;
    ensure_eq!(status, 200, "/api/v1/drops");
    let page: serde_json::Value = serde_json::from_str(&page)?;
    ensure_eq!(page["clients"].as_array().map(Vec::len), Some(1), "clients of {page}");
    ensure_eq!(page["clients"][0]["client_id"], "away", "the client of {page}");
    let expected = serde_json::json!({ "queue_full": 7, "offline": 1 });
    ensure_eq!(page["clients"][0]["reasons"], expected, "its reasons");
    ensure!(page["clients"][0]["last_unix_millis"].as_u64() > Some(1_600_000_000_000), "the time of {page}");
    ensure_eq!(page["clients_omitted"], 0, "clients omitted");
    ensure_eq!(page["total"]["queue_full"], 7, "the total of {page}");
    let name = "tidegate_messages_dropped_total";
    for (reason, count) in [("queue_full", 7), ("offline", 1)] {
        let line = format!("{name}{{reason=\"{reason}\"}} {count}");
        ensure!(gateway.metrics()?.lines().any(|sample| sample == line), "{line} is not there");
    }
    let told = gateway.process.line("reason=\"offline\"", 10)?;
    ensure!(told.contains("message.dropped") && told.contains("client_id=away"), "the log has {told}");
    ensure!(told.contains("topic=\"a/c\"") && told.contains("count=1"), "the log has {told}");
    gateway.process.line("reason=\"queue_full\"", 10)?;
    gateway.stop()
}

fn check_prints_the_origin_of_every_value(world: &mut World) -> Outcome {
    let file = world.write("good.toml", "[listener.mqtt]\nbind = \"127.0.0.1:2883\"\n")?;
    let mut check = Command::new(place::tidegate()?);
    let finished = world.succeed("tidegate check", check.arg("check").arg(&file), 10)?;
    let line = finished.lines.iter().find(|line| line.contains("127.0.0.1:2883"));
    ensure!(line.is_some_and(|line| line.contains("good.toml")), "the file's value and origin: {line:?}");
    ensure!(finished.lines.iter().any(|line| line.contains("127.0.0.1:8083")), "a default value");
    Ok(())
}

fn check_names_the_mistakes_of_a_file(world: &mut World) -> Outcome {
    // The file; then what the message has to name: the key, the value or the nearest right name.
    let mistakes: [(&str, &[&str]); 7] = [
        ("[listener.mqtt]\nbnd = \"127.0.0.1:1\"\n", &["bad.toml:2:", "bnd", "bind"]),
        ("[listener.mqtt]\nbind = \"localhots\"\n", &["listener.mqtt.bind", "localhots"]),
        (
            "[listener.x]\nprotocol = \"mqt\"\nbind = \"127.0.0.1:1\"\n",
            &["listener.x.protocol", "mqt", "mqtt"],
        ),
        ("[session]\nqueue_messages_max = \"many\"\n", &["session.queue_messages_max", "many"]),
        ("[sesion]\nqueue_qos0 = true\n", &["sesion", "session"]),
        ("[[bridge]]\nname = \"b\"\nkind = \"kafak\"\ntopics = [\"a\"]\n", &["kafak", "kafka"]),
        ("[listener.mqtt\n", &["bad.toml:1:"]),
    ];
    for (text, names) in mistakes {
        let file = world.write("bad.toml", text)?;
        let mut check = Command::new(place::tidegate()?);
        let finished = world.run("tidegate check", check.arg("check").arg(&file), 10)?;
        refused(&finished, &[&["bad.toml"], names].concat())?;
    }
    Ok(())
}

fn a_wrong_set_ends_the_start(world: &mut World) -> Outcome {
    for (setting, names) in [
        ("listener.mqtt.bnd=127.0.0.1:1", ["bnd", "bind"]),
        ("listener.mqtt.bind=nowhere", ["listener.mqtt.bind", "nowhere"]),
        ("no-equals-sign", ["no-equals-sign", "="]),
    ] {
        let settings = Settings::set(&[setting]);
        let finished = world.run("tidegate", &mut command(world, &Ports::choose(), &settings)?, 20)?;
        refused(&finished, &names)?;
    }
    Ok(())
}

fn an_environment_variable_overrules_the_file(world: &mut World) -> Outcome {
    let file = world.write("good.toml", "[node]\nname = \"from-file\"\n")?;
    let mut check = Command::new(place::tidegate()?);
    check.arg("check").arg(&file).env("TIDEGATE__NODE__NAME", "from-environment");
    let finished = world.succeed("tidegate check", &mut check, 10)?;
    let text = finished.text();
    ensure!(
        text.contains("from-environment") && text.contains("TIDEGATE__NODE__NAME"),
        "the environment's value"
    );
    Ok(())
}

fn a_port_in_use_ends_the_start(world: &mut World) -> Outcome {
    let ports = Ports::choose();
    let _holder = TcpListener::bind(("127.0.0.1", ports.mqtt))?;
    let finished = world.run("tidegate", &mut command(world, &ports, &Settings::default())?, 20)?;
    refused(&finished, &[&ports.mqtt.to_string(), "in use"])
}

fn an_unwritable_data_folder_ends_the_start(world: &mut World) -> Outcome {
    // A file in its place stops root too.
    world.write("data", "not a folder")?;
    let finished = world.run("tidegate", &mut command(world, &Ports::choose(), &Settings::default())?, 20)?;
    refused(&finished, &["data"])
}

fn a_gateway_that_is_killed_starts_again(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    publish(world, gateway.ports.mqtt, &["-t", "a", "-r", "-q", "1", "-m", "x"])?;
    let gateway = gateway.restart(world, true)?;
    publish(world, gateway.ports.mqtt, &["-t", "a", "-r", "-q", "1", "-m", "y"])?;
    let gateway = gateway.restart(world, false)?;
    gateway.stop()
}

/// It ended at once, not with success, not with a panic, and its message names all of these.
fn refused(finished: &Finished, names: &[&str]) -> Outcome {
    let text = finished.text();
    ensure!(finished.code.is_some_and(|code| code != 0), "it ended with {:?}", finished.code);
    ensure!(!text.contains("panicked at"), "it panicked");
    for name in names {
        ensure!(text.contains(name), "the message does not name {name:?}:\n{text}");
    }
    Ok(())
}
