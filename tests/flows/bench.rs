//! `tidegate bench` against the gateway, against mosquitto, and against what is broken.

use std::process::Command;

use serde_json::Value;

use crate::harness::gateway::Settings;
use crate::harness::mosquitto::Mosquitto;
use crate::harness::mqtt::BOTH_VERSIONS;
use crate::harness::process::Finished;
use crate::harness::unreliable::Unreliable;
use crate::harness::{Gateway, Outcome, Process, Stop, World, place};
use crate::{ensure, ensure_eq};

crate::cases!("bench":
    it_connects_and_tells_what_that_costs,
    pairs_lose_nothing_at_any_qos,
    pairs_lose_nothing_through_mosquitto,
    many_to_few_and_few_to_many,
    a_rate_is_kept,
    pub_and_sub_are_two_processes,
    members_of_a_group_share_a_stream,
    a_wrong_password_is_told_once,
    a_killed_broker_ends_it,
    ctrl_c_ends_it_with_the_summary,
    losses_duplicates_and_order_are_counted,
    too_few_descriptors_are_told,
);

fn it_connects_and_tells_what_that_costs(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let pid = gateway.process.id().to_string();
    let arguments = ["-c", "200", "-t", "bench/%i", "-q", "1", "--hold", "0.1", "--pid", &pid];
    let found = measure(world, gateway.ports.mqtt, "connect", &arguments)?;
    ensure_eq!(found["complete"], true, "complete");
    ensure_eq!(found["connections"]["established"], 200, "established");
    ensure_eq!(found["errors"], Value::Array(Vec::new()), "errors");
    ensure!(is_above(&found["connections"]["connack_us"]["p50"], 0.0), "CONNACK takes time");
    let broker = &found["broker"];
    ensure!(is_above(&broker["rss_connected_bytes"], 1e6), "the memory of the gateway");
    ensure!(is_above(&broker["cpu_us_per_connection"], 0.0), "the CPU time of the gateway");
    // On Linux 127.0.0.0/8 is this machine; the gateway tells who came from where.
    let arguments = ["-c", "20", "--hold", "0", "--source", "127.0.0.0/8", "-R", "200", "--threads", "2"];
    let found = measure(world, gateway.ports.mqtt, "connect", &arguments)?;
    ensure_eq!(found["connections"]["established"], 20, "from many addresses");
    ensure!(is_above(&found["connections"]["seconds"], 0.09), "at the rate that was asked for");
    gateway.stop()
}

fn pairs_lose_nothing_at_any_qos(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    for version in BOTH_VERSIONS {
        pairs(world, gateway.ports.mqtt, &SIZES, &["-V", version])?;
        pairs(world, gateway.ports.websocket, &SIZES, &["-V", version, "--ws"])?;
    }
    gateway.stop()
}

fn pairs_lose_nothing_through_mosquitto(world: &mut World) -> Outcome {
    let mosquitto = Mosquitto::start(world)?;
    for version in BOTH_VERSIONS {
        pairs(world, mosquitto.mqtt, &SIZES, &["-V", version])?;
    }
    // It takes 0.1 s for each step, and seconds for a long message.
    pairs(world, mosquitto.websocket, &SIZES[..1], &["--ws=/"])?;
    Ok(())
}

/// Bytes of a payload. The second is longer than what a socket takes, so that packets come in pieces.
const SIZES: [&str; 2] = ["64", "100000"];

fn pairs(world: &mut World, port: u16, sizes: &[&str], options: &[&str]) -> Outcome {
    for qos in ["0", "1", "2"] {
        for size in sizes {
            let mut arguments = vec!["-c", "5", "--count", "20", "-w", "5", "-q", qos, "-s", size];
            arguments.extend(options);
            let found = measure(world, port, "p2p", &arguments)?;
            exact(&found, 100, 100, &format!("{arguments:?}"))?;
            let acknowledged = if qos == "0" { 0 } else { 100 };
            ensure_eq!(found["messages"]["acknowledged"], acknowledged, "acknowledged at QoS {qos}");
            ensure!(is_above(&found["delivery_us"]["p50"], 0.0), "delivery takes time");
        }
    }
    Ok(())
}

fn many_to_few_and_few_to_many(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    for (options, sent, received) in [
        (&["--pubs", "10", "--subs", "3"][..], 200, 200),
        (&["--pubs", "2", "--subs", "10"], 40, 200),
        (&["--pubs", "3", "--subs", "4", "-t", "one"], 60, 240),
    ] {
        // In three threads most publishers are in another one than their subscribers.
        for threads in ["1", "3"] {
            let mut arguments = vec!["--count", "20", "-w", "4", "-q", "1", "--threads", threads];
            arguments.extend(options);
            let found = measure(world, gateway.ports.mqtt, "p2p", &arguments)?;
            exact(&found, sent, received, &format!("{arguments:?}"))?;
        }
    }
    gateway.stop()
}

fn a_rate_is_kept(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let arguments = ["-c", "10", "--rate", "100", "-d", "0.5", "--warmup", "0.2", "-q", "1"];
    let found = measure(world, gateway.ports.mqtt, "p2p", &arguments)?;
    ensure_eq!(found["complete"], true, "complete");
    let rate = number(&found["messages"]["sent_per_second"]);
    ensure!((900.0..1100.0).contains(&rate), "10 clients with 100/s each sent {rate}/s");
    let sent = number(&found["messages"]["sent"]);
    ensure!((690.0..900.0).contains(&sent), "{sent} messages in 0.7 s");
    gateway.stop()
}

fn pub_and_sub_are_two_processes(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let port = gateway.ports.mqtt;
    // What another run has left behind is not missed, and not taken for ours.
    measure(world, port, "pub", &["-c", "10", "--count", "3", "-q", "1", "-r"])?;
    let arguments = ["-c", "10", "-q", "1", "--count", "210", "--json"];
    let mut listener = spawn(world, port, "sub", &arguments)?;
    listener.line("connected 10 of 10", 10)?;
    let found = measure(world, port, "pub", &["-c", "10", "--count", "20", "-q", "1"])?;
    ensure_eq!(found["complete"], true, "pub");
    ensure_eq!(found["messages"]["acknowledged"], 200, "acknowledged");
    ensure!(is_above(&found["acknowledgement_us"]["p99"], 0.0), "an acknowledgement takes time");
    let finished = listener.finish(10)?;
    ensure_eq!(finished.code, Some(0), "how sub ended");
    let found = summary(&finished)?;
    ensure_eq!(found["messages"]["received"], 210, "10 retained and 200 new");
    ensure_eq!(found["messages"]["lost"], 0, "lost");
    gateway.stop()
}

fn members_of_a_group_share_a_stream(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let port = gateway.ports.mqtt;
    let arguments =
        ["-c", "4", "-t", "$share/g/bench/+", "-q", "1", "--count", "200", "--threads", "2", "--json"];
    let mut group = spawn(world, port, "sub", &arguments)?;
    group.line("connected 4 of 4", 10)?;
    measure(world, port, "pub", &["-c", "10", "--count", "20", "-q", "1"])?;
    let finished = group.finish(10)?;
    let found = summary(&finished)?;
    ensure_eq!(finished.code, Some(0), "how it ended");
    for name in ["lost", "duplicates", "out_of_order"] {
        ensure_eq!(found["messages"][name], 0, "{name}");
    }
    gateway.stop()
}

fn a_wrong_password_is_told_once(world: &mut World) -> Outcome {
    let user = "[[access.user]]\nname = \"press\"\npassword = \"right\"\n";
    let gateway = Gateway::start_with(world, Settings::file(user))?;
    for (version, said) in [("5", "(0x86)"), ("311", "(0x86)")] {
        let arguments = ["-c", "20", "-u", "press", "-P", "wrong", "-V", version, "--json"];
        let finished = spawn(world, gateway.ports.mqtt, "p2p", &arguments)?.finish(10)?;
        ensure_eq!(finished.code, Some(1), "its exit code");
        let told = finished.lines.iter().filter(|line| line.starts_with("tidegate: ")).count();
        ensure_eq!(told, 1, "lines about the refusal");
        let found = summary(&finished)?;
        ensure_eq!(found["connections"]["refused"], 40, "refused");
        ensure_eq!(found["errors"][0]["count"], 40, "of one kind");
        let kind = found["errors"][0]["kind"].to_string();
        ensure!(kind.contains(said), "{kind} does not say {said}");
    }
    let found = measure(
        world,
        gateway.ports.mqtt,
        "p2p",
        &["-c", "2", "--count", "5", "-u", "press", "-P", "right"],
    )?;
    exact(&found, 10, 10, "with the right one")?;
    gateway.stop()
}

fn a_killed_broker_ends_it(world: &mut World) -> Outcome {
    let mut gateway = Gateway::start(world)?;
    let arguments = ["-c", "10", "-q", "1", "-d", "60"];
    let mut bench = spawn(world, gateway.ports.mqtt, "p2p", &arguments)?;
    bench.lines("traffic", 1, 10, |line| line.contains("acknowledged ") && !line.contains("sent 0/s"))?;
    gateway.process.kill()?;
    let finished = bench.finish(5)?;
    ensure_eq!(finished.code, Some(1), "its exit code");
    let text = finished.text();
    ensure!(text.contains("20 lost") && text.contains("complete        no"), "the summary");
    let told = finished.lines.iter().filter(|line| line.starts_with("tidegate: ")).count();
    ensure!((1..=3).contains(&told), "{told} lines about 20 connections that ended");
    Ok(())
}

fn ctrl_c_ends_it_with_the_summary(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let mut bench =
        spawn(world, gateway.ports.mqtt, "p2p", &["-c", "5", "-d", "0", "--rate", "20", "--json"])?;
    bench.line("connected 10 of 10", 10)?;
    bench.signal("INT")?;
    let finished = bench.finish(5)?;
    ensure_eq!(finished.code, Some(0), "everything has arrived");
    let found = summary(&finished)?;
    ensure_eq!((&found["interrupted"], &found["complete"]), (&Value::Bool(true), &Value::Bool(true)), "how");
    gateway.stop()
}

fn losses_duplicates_and_order_are_counted(world: &mut World) -> Outcome {
    let broker = Unreliable::start()?;
    let arguments =
        ["-V", "311", "-c", "1", "--count", "100", "--rate", "1000", "--drain", "0.2", "--json", "--quiet"];
    let finished = spawn(world, broker.port, "p2p", &arguments)?.finish(10)?;
    ensure_eq!(finished.code, Some(1), "its exit code");
    let found = summary(&finished)?;
    let counts =
        ["sent", "received", "lost", "duplicates", "out_of_order"].map(|name| &found["messages"][name]);
    ensure_eq!(
        counts,
        [100, 100, 10, 10, 10].map(Value::from).each_ref(),
        "sent, received, lost, twice, late"
    );
    ensure_eq!(found["complete"], false, "complete");
    Ok(())
}

fn too_few_descriptors_are_told(world: &mut World) -> Outcome {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 100; exec \"$0\" bench connect -c 200"]).arg(place::tidegate()?);
    let finished = world.run("tidegate bench", &mut command, 10)?;
    ensure_eq!(finished.code, Some(2), "its exit code");
    ensure!(finished.text().contains("200 connections need"), "what it said");
    Ok(())
}

fn spawn(world: &mut World, port: u16, verb: &str, arguments: &[&str]) -> Outcome<Process> {
    let mut command = Command::new(place::tidegate()?);
    command.args(["bench", verb, "-p", &port.to_string()]).args(arguments);
    world.spawn(&format!("tidegate bench {verb}"), &mut command)
}

/// Runs it to its end, which has to be good, and returns the summary.
fn measure(world: &mut World, port: u16, verb: &str, arguments: &[&str]) -> Outcome<Value> {
    let arguments = [arguments, &["--json", "--quiet"]].concat();
    let finished = spawn(world, port, verb, &arguments)?.finish(20)?;
    ensure!(finished.code == Some(0), "bench {verb} {arguments:?} ended with {:?}", finished.code);
    summary(&finished)
}

fn summary(finished: &Finished) -> Outcome<Value> {
    let line = finished.lines.iter().find(|line| line.starts_with('{'));
    let line = line.ok_or_else(|| Stop::Failed("it printed no JSON".into()))?;
    Ok(serde_json::from_str(line)?)
}

fn exact(found: &Value, sent: u64, received: u64, what: &str) -> Outcome {
    let messages = &found["messages"];
    ensure_eq!(found["complete"], true, "{what}: complete");
    ensure_eq!(messages["sent"], sent, "{what}: sent");
    ensure_eq!(messages["received"], received, "{what}: received");
    for name in ["lost", "duplicates", "out_of_order", "unexpected"] {
        ensure_eq!(messages[name], 0, "{what}: {name}");
    }
    Ok(())
}

fn is_above(value: &Value, limit: f64) -> bool {
    number(value) > limit
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}
