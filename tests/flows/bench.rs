//! `tidegate bench` against the gateway, against mosquitto, and against what is broken.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use serde_json::Value;

use crate::harness::certificates::Authority;
use crate::harness::gateway::Settings;
use crate::harness::mosquitto::Mosquitto;
use crate::harness::mqtt::BOTH_VERSIONS;
use crate::harness::process::Finished;
use crate::harness::random::{self, Random};
use crate::harness::unreliable::Unreliable;
use crate::harness::{Gateway, Outcome, Process, Stop, World, place};
use crate::{ensure, ensure_eq};

crate::cases!("bench":
    it_connects_and_tells_what_that_costs,
    pairs_lose_nothing_at_any_qos,
    pairs_lose_nothing_over_websocket,
    pairs_lose_nothing_through_mosquitto,
    many_to_few_and_few_to_many,
    it_takes_every_carrier,
    a_rate_is_kept,
    a_stall_of_the_broker_shows_in_full,
    clients_that_say_nothing_are_kept_alive,
    pub_and_sub_are_two_processes,
    members_of_a_group_share_a_stream,
    a_wrong_password_is_told_once,
    who_did_not_get_in_is_not_waited_for,
    a_killed_broker_ends_it,
    ctrl_c_ends_it_with_the_summary,
    losses_duplicates_and_order_are_counted,
    a_broker_that_talks_nonsense_is_told,
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
    }
    gateway.stop()
}

fn pairs_lose_nothing_over_websocket(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    for version in BOTH_VERSIONS {
        pairs(world, gateway.ports.websocket, &SIZES, &["-V", version, "--ws"])?;
    }
    gateway.stop()
}

fn pairs_lose_nothing_through_mosquitto(world: &mut World) -> Outcome {
    let mosquitto = Mosquitto::start(world)?;
    for version in BOTH_VERSIONS {
        pairs(world, mosquitto.mqtt, &SIZES, &["-V", version])?;
    }
    // More than the Receive Maximum of 20 that it asks for: a client that does not mind it is thrown out.
    let arguments = ["-c", "2", "--count", "100", "-w", "100", "-q", "1"];
    exact(&measure(world, mosquitto.mqtt, "p2p", &arguments)?, 200, 200, "a small Receive Maximum")?;
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
        (&["--pubs", "10", "--subs", "4", "--share", "group"], 200, 200),
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

fn it_takes_every_carrier(world: &mut World) -> Outcome {
    let authority = Authority::new(world.dir.join("pki"), "our authority")?;
    authority.issue("server")?;
    let (tls, wss) = (place::free_port(), place::free_port());
    let socket = std::env::temp_dir().join(format!("tidegate-bench-{}.sock", std::process::id()));
    let socket = socket.display().to_string();
    let secure = "tls.cert_file = \"pki/server.pem\"\ntls.key_file = \"pki/server.key\"\n";
    let file = format!(
        "[listener.mqtts]\nprotocol = \"mqtt\"\nbind = \"127.0.0.1:{tls}\"\n{secure}\
         [listener.wss]\nprotocol = \"mqtt-ws\"\nbind = \"127.0.0.1:{wss}\"\n{secure}\
         [listener.local]\nprotocol = \"mqtt\"\nbind = \"unix:{socket}\"\n"
    );
    let gateway = Gateway::start_with(world, Settings::file(file))?;
    let trust = authority.path("ca.pem");
    let (tls, wss) = (format!("mqtts://localhost:{tls}"), format!("wss://localhost:{wss}/mqtt"));
    for carrier in
        [&["-L", &tls, "--cafile", &trust][..], &["-L", &wss, "--cafile", &trust], &["--unix", &socket]]
    {
        for size in SIZES {
            let arguments = [carrier, &["-c", "3", "--count", "20", "-q", "1", "-s", size]].concat();
            let found = measure_at(world, "p2p", &arguments)?;
            exact(&found, 60, 60, &format!("{arguments:?}"))?;
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

/// A generator that waits for the broker, or that counts from when a message left, would show one late
/// message or none. A third of all were due while it stood still.
fn a_stall_of_the_broker_shows_in_full(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let arguments = ["-c", "5", "--rate", "100", "-d", "1.2", "--json"];
    let mut bench = spawn(world, gateway.ports.mqtt, "p2p", &arguments)?;
    bench.line("connected 10 of 10", 10)?;
    let mut stall = Command::new("sh");
    stall
        .args(["-c", "sleep 0.2; kill -STOP $0; sleep 0.4; kill -CONT $0"])
        .arg(gateway.process.id().to_string());
    world.succeed("a stall", &mut stall, 10)?;
    let finished = bench.finish(10)?;
    ensure_eq!(finished.code, Some(0), "nothing is lost");
    let found = summary(&finished)?;
    let (sent, delivery) = (number(&found["messages"]["sent"]), &found["delivery_us"]);
    ensure!((590.0..=700.0).contains(&sent), "{sent} messages in 1.2 s at 500/s");
    ensure!(is_above(&delivery["max"], 350_000.0), "the longest wait: {delivery}");
    ensure!(is_above(&delivery["p90"], 200_000.0), "one in ten waited half of it or longer: {delivery}");
    gateway.stop()
}

/// Nobody sends anything, and the gateway ends connections that are silent for 1.5 s.
fn clients_that_say_nothing_are_kept_alive(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let arguments = ["-c", "10", "-k", "1", "--hold", "2.2"];
    let found = measure(world, gateway.ports.mqtt, "connect", &arguments)?;
    ensure_eq!(found["connections"]["lost"], 0, "connections that ended");
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

/// Four subscribers and two of four publishers get in.
fn who_did_not_get_in_is_not_waited_for(world: &mut World) -> Outcome {
    let gateway = Gateway::start_with(world, Settings::set(&["listener.mqtt.connections_max=6"]))?;
    let arguments = ["-c", "4", "--count", "10", "-q", "1", "--json"];
    let finished = spawn(world, gateway.ports.mqtt, "p2p", &arguments)?.finish(5)?;
    ensure_eq!(finished.code, Some(1), "its exit code");
    let found = summary(&finished)?;
    ensure_eq!(found["connections"]["refused"], 2, "refused");
    ensure_eq!(
        (&found["messages"]["sent"], &found["messages"]["lost"]),
        (&20.into(), &0.into()),
        "sent, lost"
    );
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

/// After a CONNACK, or without: random bytes, most of which begin as a packet would.
fn a_broker_that_talks_nonsense_is_told(world: &mut World) -> Outcome {
    let (listener, seed) = (TcpListener::bind(("127.0.0.1", 0))?, random::seed());
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        let mut random = Random::new(seed);
        for mut stream in listener.incoming().flatten() {
            let mut nonsense = if random.one_in(4) { Vec::new() } else { b"\x20\x03\0\0\0".to_vec() };
            for _ in 0..random.below(20) {
                let body = random.bytes(60);
                nonsense.push(random.next() as u8);
                nonsense.push(if random.one_in(5) { random.next() as u8 } else { body.len() as u8 });
                nonsense.extend_from_slice(&body);
            }
            // The CONNECT; the client may be gone before it has heard everything.
            let _ = stream.read(&mut [0; 200]).and_then(|_| stream.write_all(&nonsense));
        }
    });
    let arguments =
        ["-c", "200", "-d", "0.2", "-q", "1", "--drain", "0.1", "--connect-timeout", "1", "--json"];
    let finished = spawn(world, port, "p2p", &arguments)?.finish(10)?;
    ensure_eq!(finished.code, Some(1), "its exit code, seed {seed}");
    ensure!(!finished.text().contains("panicked"), "it panicked, seed {seed}");
    let kinds = summary(&finished)?["errors"].as_array().map_or(0, Vec::len);
    ensure!(kinds >= 5, "only {kinds} ways in which that is wrong, seed {seed}");
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
    spawn_at(world, verb, &[&["-p", &port.to_string()], arguments].concat())
}

fn spawn_at(world: &mut World, verb: &str, arguments: &[&str]) -> Outcome<Process> {
    let mut command = Command::new(place::tidegate()?);
    command.args(["bench", verb]).args(arguments);
    world.spawn(&format!("tidegate bench {verb}"), &mut command)
}

/// Runs it to its end, which has to be good, and returns the summary.
fn measure(world: &mut World, port: u16, verb: &str, arguments: &[&str]) -> Outcome<Value> {
    measure_at(world, verb, &[&["-p", &port.to_string()], arguments].concat())
}

/// The same where the arguments say where the broker is.
fn measure_at(world: &mut World, verb: &str, arguments: &[&str]) -> Outcome<Value> {
    let arguments = [arguments, &["--json", "--quiet"]].concat();
    let finished = spawn_at(world, verb, &arguments)?.finish(20)?;
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
